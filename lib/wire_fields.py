"""Typed fields one after the other: GOST's handshake features, and our control frames alike.

Knows: the layout. Refuses to know: what any type means (wire_relay, wire_control).

    +----------+---------+-----------------+
    | TYPE (1) | LEN (2) | DATA, LEN bytes |   back to back, big-endian
    +----------+---------+-----------------+
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from lib.errors import ProtocolError

_HEADER = struct.Struct("!BH")


def encode(fields: Iterable[tuple[int, bytes]]) -> bytes:
    """Write (type, data) pairs. Raises struct.error for data over 65,535 bytes."""
    return b"".join(_HEADER.pack(kind, len(data)) + data for kind, data in fields)


def decode(data: bytes, noun: str) -> Iterator[tuple[int, bytes]]:
    """Read (type, data) pairs to the end of data. Raises ProtocolError, naming a `noun`."""
    at = 0
    while at < len(data):
        if at + _HEADER.size > len(data):
            raise ProtocolError(f"{noun} header cut off")
        kind, length = _HEADER.unpack_from(data, at)
        at += _HEADER.size
        if at + length > len(data):
            raise ProtocolError(f"{noun} {kind:#04x} runs past the end of the list")
        yield kind, data[at : at + length]
        at += length
