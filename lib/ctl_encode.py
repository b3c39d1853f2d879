"""JSON encoder for replies of the control socket, in small pieces: a million rows hold up no packet.

Knows: how a reply whose rows are made while it is written becomes one line.
Refuses to know: sockets, what runs between two pieces (ctl_server), what the reply says.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

ROWS = 16
"""Rows in a piece; a row may have a third of a kilobyte and take 30 µs to make."""

_encode = json.JSONEncoder(separators=(", ", ": ")).encode


def pieces(reply: Mapping[str, object]) -> Iterator[bytes]:
    """Yield the reply as one line of JSON; a value that is an iterator becomes an array of its rows.

    A \\r stands before each row (PROTOCOL.md). An iterator yields None where it has worked for a while and
    has no row yet: that ends a piece, so that packets get their turn.
    """
    before = "{"
    for name, value in reply.items():
        head = f"{before}{_encode(name)}: "
        if isinstance(value, Iterator):
            yield from _rows(head, value)
        else:
            yield (head + _encode(value)).encode()
        before = ", "
    yield b"}\n" if reply else b"{}\n"


def _rows(head: str, rows: Iterator[object]) -> Iterator[bytes]:
    text, separator = head + "[", "\r"
    batch: list[object] = []
    for row in rows:
        if row is not None:
            batch.append(row)
        if row is None or len(batch) == ROWS:
            if batch:
                text += separator + ",\r".join(map(_encode, batch))
                separator, batch = ",\r", []
            yield text.encode()
            text = ""
    if batch:
        text += separator + ",\r".join(map(_encode, batch))
    yield (text + ("\r]" if batch or separator[0] == "," else "]")).encode()
