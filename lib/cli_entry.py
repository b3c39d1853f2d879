"""The way in: arguments as docopt reads them, what each error costs, and what is done at once.

Knows: exit statuses; that help, version and a question to a running process need neither gevent nor the rest.
Refuses to know: every other command (cli_main), what is asked (cli_show).

    exit status   0 done   1 this host does not let us   2 the command line or a file is wrong
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lib import __version__, log_redact, printable
from lib.cli_flags import first_word, normalise
from lib.cli_usage import USAGE
from lib.errors import ConfigError, HostError

Arguments = Mapping[str, Any]


def is_at_once(argv: Sequence[str]) -> bool:
    """Whether this is done at once, and nothing else has to be loaded for it.

    The executable's bootloader unpacks little where the first word says so (tunrouter_unpack.c, AT_ONCE).
    """
    return not _WORDS.isdisjoint((first_word(argv), *normalise(argv[:1])[:1]))


def do_at_once(argv: Sequence[str]) -> int:
    """Do it; returns the exit status."""
    return run(argv, lambda arguments: next(act for name, act in AT_ONCE if arguments[name])(arguments))


def run(argv: Sequence[str], command: Callable[[Arguments], int]) -> int:
    """Run a command with these arguments; returns its exit status."""
    import docopt  # 14 ms

    words = normalise(argv)
    try:
        arguments = docopt.docopt(USAGE, words, default_help=False)
    except docopt.DocoptExit:
        from lib import cli_mistakes

        print(printable.lines(cli_mistakes.explanation(words)), file=sys.stderr)
        return 2
    try:
        status = command(arguments)
        sys.stdout.flush()
        return status
    except ConfigError as error:
        for problem in error.problems:
            print(printable.printable(f"error: {log_redact.secrets(str(problem))}"), file=sys.stderr)
        return 2
    except HostError as error:
        print(printable.lines(f"error: {log_redact.secrets(str(error))}"), file=sys.stderr)
        return 1
    except BrokenPipeError:  # whoever read the output has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except KeyboardInterrupt:
        return 130


def _help(arguments: Arguments) -> int:
    print(USAGE, end="")
    return 0


def _version(arguments: Arguments) -> int:
    print(f"tunrouter {__version__}")
    return 0


def _show(arguments: Arguments) -> int:
    from lib import cli_show

    return cli_show.show(next(name for name in _SHOWN if arguments[name]), arguments)


def _top(arguments: Arguments) -> int:
    from lib import cli_top

    return cli_top.run(arguments)


_SHOWN = ("status", "drops", "routes", "kick", "drain")
AT_ONCE: tuple[tuple[str, Callable[[Arguments], int]], ...] = (
    ("--help", _help),
    ("--version", _version),
    *((name, _show) for name in _SHOWN),
    ("top", _top),
)
"""What is done at once, as docopt names it, and how."""
_WORDS = frozenset(("-h", "-V", *dict(AT_ONCE)))
