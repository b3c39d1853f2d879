"""The way in: arguments as docopt reads them, what each error costs, and the questions to a running process.

Knows: exit statuses; that a question is answered before gevent and the rest would have started.
Refuses to know: every other command (app), what is asked (showing).

    exit status   0 done   1 this host does not let us   2 the command line or a file is wrong
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lib import redact
from lib.errors import ConfigError, HostError
from lib.flags import first_word, normalise
from lib.usage import USAGE

Arguments = Mapping[str, Any]


def is_question(argv: Sequence[str]) -> bool:
    """Whether this is a question to a running process, and nothing else has to be loaded for it."""
    return first_word(argv) in dict(QUESTIONS)


def ask(argv: Sequence[str]) -> int:
    """Ask it; returns the exit status."""
    return run(argv, lambda arguments: next(act for name, act in QUESTIONS if arguments[name])(arguments))


def run(argv: Sequence[str], command: Callable[[Arguments], int]) -> int:
    """Run a command with these arguments; returns its exit status."""
    import docopt  # 14 ms

    words = normalise(argv)
    try:
        arguments = docopt.docopt(USAGE, words, default_help=False)
    except docopt.DocoptExit:
        from lib import wrong_words

        print(wrong_words.explanation(words), file=sys.stderr)
        return 2
    try:
        status = command(arguments)
        sys.stdout.flush()
        return status
    except ConfigError as error:
        for problem in error.problems:
            print(f"error: {redact.secrets(str(problem))}", file=sys.stderr)
        return 2
    except HostError as error:
        print(f"error: {redact.secrets(str(error))}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # whoever read the output has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except KeyboardInterrupt:
        return 130


def _show(arguments: Arguments) -> int:
    from lib import showing

    return showing.show(next(name for name in _SHOWN if arguments[name]), arguments)


def _top(arguments: Arguments) -> int:
    from lib import top

    return top.run(arguments)


_SHOWN = ("status", "drops", "routes", "kick", "drain")
QUESTIONS: tuple[tuple[str, Callable[[Arguments], int]], ...] = (
    *((name, _show) for name in _SHOWN),
    ("top", _top),
)
"""Commands that ask a running process, and how each is done."""
