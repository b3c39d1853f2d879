"""Escaping of untrusted text for a terminal or the log: no control or invisible characters are left.

Knows: which characters are visible (Unicode), and how the others are written.
Refuses to know: where a text comes from, and where it is shown. JSON escapes by itself.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import TypeVar

Value = TypeVar("Value")

_BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\uffa0\ufe00-\ufe0f\U000e0100-\U000e01ef]"
)
"""Letters and marks of Unicode that show nothing (default ignorable), and the empty braille cell."""
MAX_MARKS = 2
"""Combining marks on one letter: languages need two, more of them grow over the lines above and below."""
_AMBIGUOUS = re.compile(r"\\(?=[xuU])")


def printable(text: str) -> str:
    """A text in which every character is seen: the others are written `\\x1b`, `\\u202e` or `\\U000e0041`.

    The others are: control characters, line ends, characters that change the direction of writing or have no
    width, blanks other than the space, characters that Unicode has not assigned, and lone surrogates. An
    escaped text is not changed again.
    """
    if text.isprintable() and text.isascii():
        return text
    found: list[str] = []
    marks = 0
    for character in text:
        marks = marks + 1 if unicodedata.category(character) in ("Mn", "Me") else 0
        seen = character.isprintable() and marks <= MAX_MARKS and not _BLANK.match(character)
        found.append(character if seen else _written(character))
    return "".join(found)


def exact(text: str) -> str:
    """As printable, but different texts stay different: a backslash that could begin an escape is escaped."""
    return printable(_AMBIGUOUS.sub(r"\\x5c", text))


def lines(text: str) -> str:
    """A text of several lines, each made printable; its line feeds stay."""
    return "\n".join(map(printable, text.split("\n")))


def every(value: Value) -> Value:
    """A JSON value with every text in it made printable, names of fields too."""
    found: object = value
    if isinstance(value, str):
        found = printable(value)
    elif isinstance(value, Mapping):
        found = {every(name): every(part) for name, part in value.items()}
    elif isinstance(value, list | tuple):
        found = [every(part) for part in value]
    return found  # type: ignore[return-value]


def _written(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
