"""Encoding of a text that people wrote: UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

Knows: byte order marks, and how the first two characters of a text look in each encoding (YAML 1.2, 5.2).
Refuses to know: what the text says, and where it comes from.

Editors on Windows put a mark before UTF-8, and its shells write UTF-16. The same text means the same, however
it was saved.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_ZEROS: dict[tuple[bool, ...], str] = {
    (False, True, True, True): "utf-32-le",
    (True, True, True, False): "utf-32-be",
    (False, True, False, True): "utf-16-le",
    (True, False, True, False): "utf-16-be",
}
"""Which of the first four bytes are zero where the first characters are ASCII; in UTF-8 none of them is."""


def of(start: bytes, guess: bool = True) -> tuple[str, int]:
    """The encoding of a text by its first four bytes: (Python's name of it, the length of its mark).

    With `guess`, a text without a mark is looked at too; without, it is UTF-8.
    """
    for mark, name in _MARKS:
        if start.startswith(mark):
            return name, len(mark)
    zeros = tuple(byte == 0 for byte in start[:4])
    return _ZEROS.get(zeros, "utf-8") if guess else "utf-8", 0


def utf8(data: bytes, guess: bool = True) -> bytes:
    """The text in UTF-8, without its mark; what is UTF-8 stays as it is, right or wrong.

    Raises UnicodeDecodeError for UTF-16 or UTF-32 that is none.
    """
    name, size = of(data[:4], guess)
    rest = data[size:]
    return rest if name == "utf-8" else rest.decode(name).encode()


def utf8_pieces(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """As utf8, for a text that comes in pieces, of which the first has four bytes or is the whole text."""
    later = iter(pieces)
    first = next(later, b"")
    name, size = of(first[:4])
    if name == "utf-8":
        yield first[size:]
        yield from later
        return
    decoder = codecs.getincrementaldecoder(name)()
    yield decoder.decode(first[size:]).encode()
    for piece in later:
        yield decoder.decode(piece).encode()
    yield decoder.decode(b"", True).encode()
