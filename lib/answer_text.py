"""An answer of the control socket as JSON, in pieces: a million rows without a pause.

Knows: how an answer whose rows are made while it is written becomes one line.
Refuses to know: sockets, whoever has to run between two pieces (control_socket), what is answered.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import islice

ROWS = 16
"""Rows of a piece; some are a third of a kilobyte and take 30 µs to make."""

_encode = json.JSONEncoder(separators=(", ", ": ")).encode


def pieces(answer: Mapping[str, object]) -> Iterator[bytes]:
    """One line; a value that is an iterator becomes an array, a row after each \\r (PROTOCOL.md).

    An iterator may yield None where it has worked for a while and has no row yet.
    """
    before = "{"
    for name, value in answer.items():
        head = f"{before}{_encode(name)}: "
        if isinstance(value, Iterator):
            yield from _rows(head, value)
        else:
            yield (head + _encode(value)).encode()
        before = ", "
    yield b"}\n" if answer else b"{}\n"


def _rows(head: str, rows: Iterator[object]) -> Iterator[bytes]:
    text, separator = head + "[", "\r"
    while batch := list(islice(rows, ROWS)):
        found = [_encode(row) for row in batch if row is not None]
        if found:
            text += separator + ",\r".join(found)
            separator = ",\r"
        yield text.encode()
        text = ""
    yield (text + ("\r]" if separator[0] == "," else "]")).encode()
