"""Type-length-value fields, as in GOST's handshake features and in our control frames.

Knows: their layout. Refuses to know: what a type means (wire_relay, wire_control).

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
    """Encode pairs (type, data). Raises struct.error for data of more than 65,535 bytes."""
    return b"".join(_HEADER.pack(kind, len(data)) + data for kind, data in fields)


def decode(data: bytes, noun: str) -> Iterator[tuple[int, bytes]]:
    """Decode all of `data` as pairs (type, data). Raises ProtocolError, in which a field is called `noun`."""
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
