"""`tunrouter COMMAND --help`: the usage line of one command, what it does, and its options.

Knows: how that is laid out. Refuses to know: what commands and options there are (cli_grammar).
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from lib import cli_grammar
from lib.cli_flags import first_word
from lib.cli_grammar import Option
from lib.cli_usage import USAGE

WORDS = frozenset({"-h", "--help"})
WIDTH = 100
_COLUMN = 20


def is_asked(words: Sequence[str]) -> bool:
    """Whether a command line that docopt refuses asks for help; `words` are those of cli_flags.normalise."""
    return not WORDS.isdisjoint(words)


def text(words: Sequence[str]) -> str:
    """The help for the command in these words; for all of them where there is none."""
    name = first_word(words)
    command = next((one for one in cli_grammar.commands() if one.name and one.name == name), None)
    if command is None:
        return USAGE
    usage = textwrap.fill(f"usage: tunrouter {command.synopsis}", WIDTH, subsequent_indent=" " * 7)
    parts = [usage, textwrap.fill(command.about, WIDTH)]
    if command.options:
        parts.append("\n".join(map(_line, command.options)))
    return "\n\n".join((*parts, "tunrouter --help tells of every command and option\n"))


def _line(option: Option) -> str:
    names = ", ".join(option.names) + (f" {option.value}" if option.value else "")
    return textwrap.fill(
        option.about, WIDTH, initial_indent=f"  {names:{_COLUMN - 3}} ", subsequent_indent=" " * _COLUMN
    )
