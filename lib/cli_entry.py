"""Entry point of the program: docopt, exit statuses, and the commands that start without gevent.

Knows: exit statuses; that help, version and questions to a running process need neither gevent nor the rest.
Refuses to know: every other command (cli_main), what is asked (cli_show).

    exit status   0 done   1 this host does not allow it   2 the command line or a file is wrong
                  (cli_explain and cli_health have more to say with theirs)
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lib import __version__, log_redact, printable, service_signals
from lib.cli_descriptors import OutputError, complain, give_up
from lib.cli_flags import first_word, normalise, repeated
from lib.cli_usage import USAGE
from lib.errors import ConfigError, HostError

Arguments = Mapping[str, Any]


def is_at_once(argv: Sequence[str]) -> bool:
    """Whether this command line is one of AT_ONCE, for which gevent and the rest need not be loaded.

    The executable's bootloader has the same list, to unpack little for these (tunrouter_unpack.c, AT_ONCE).
    """
    return not _WORDS.isdisjoint((first_word(argv), *normalise(argv[:1])[:1]))


def do_at_once(argv: Sequence[str]) -> int:
    """Run a command of AT_ONCE; returns the exit status."""
    service_signals.ordinary()
    return run(argv, lambda arguments: next(act for name, act in AT_ONCE if arguments[name])(arguments))


def run(argv: Sequence[str], command: Callable[[Arguments], int]) -> int:
    """Parse `argv`, call `command` with the result, and turn its errors into messages and an exit status."""
    try:
        return _run(argv, command)
    finally:
        give_up()


def _run(argv: Sequence[str], command: Callable[[Arguments], int]) -> int:
    import docopt  # 14 ms

    words = normalise(argv)
    try:
        read = docopt.docopt(USAGE, words, default_help=False)
        arguments = {
            name: repeated(words, name, value) if isinstance(value, list) and name.startswith("-") else value
            for name, value in read.items()
        }
    except docopt.DocoptExit:
        from lib import cli_help, cli_mistakes

        if cli_help.is_asked(words):
            print(cli_help.text(words), end="")
            return 0
        complain(printable.lines(cli_mistakes.explanation(words)))
        return 2
    try:
        status = command(arguments)
        sys.stdout.flush()
        return status
    except ConfigError as error:
        _print_findings(error)
        return 2
    except HostError as error:
        complain(printable.lines(f"error: {log_redact.secrets(str(error))}"))
        return 1
    except BrokenPipeError:  # whoever read the output has read enough
        return 1
    except (OutputError, BlockingIOError) as error:
        complain(f"error: the output cannot be written: {error.strerror}")
        return 1
    except KeyboardInterrupt:
        return 130


def _print_findings(error: ConfigError) -> None:
    """Print all that was found, the errors last, where they are seen."""
    kinds = (("note", error.notices), ("warning", error.warnings), ("error", error.problems))
    for kind, findings in kinds:
        for finding in findings:
            complain(printable.printable(f"{kind}: {log_redact.secrets(str(finding))}"))


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


def _enrol(arguments: Arguments) -> int:
    from lib import cli_enrol

    return cli_enrol.run(next(name for name in _ENROLLED if arguments[name]), arguments)


def _health(arguments: Arguments) -> int:
    from lib import cli_health

    return cli_health.run(arguments)


_SHOWN = ("status", "drops", "routes", "kick", "drain")
_ENROLLED = ("invite", "hosts", "revoke")
AT_ONCE: tuple[tuple[str, Callable[[Arguments], int]], ...] = (
    ("--help", _help),
    ("--version", _version),
    *((name, _show) for name in _SHOWN),
    *((name, _enrol) for name in _ENROLLED),
    ("top", _top),
    ("health", _health),
)
"""Commands and options that need no gevent, by docopt's name, with the function for each."""
_WORDS = frozenset(("-h", "-V", *dict(AT_ONCE)))
