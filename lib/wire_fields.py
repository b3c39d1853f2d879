"""Type-length-value fields, as in GOST's handshake features and in our control frames.

Knows: their layout. Refuses to know: what a type means (wire_relay, wire_control).

    +----------+---------+-----------------+
    | TYPE (1) | LEN (2) | DATA, LEN bytes |   back to back, big-endian
    +----------+---------+-----------------+

A field of prefixes has for each: SIZE (1, 4 or 16) | LENGTH in bits (1) | network address, SIZE bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from itertools import islice

from lib.errors import ProtocolError
from lib.prefixes import Prefix, network

MAX_FIELDS = 256
"""Fields of a message: as many as there are types. Each that is read takes time."""
_HEADER = struct.Struct("!BH")


def encode(fields: Iterable[tuple[int, bytes]]) -> bytes:
    """Encode pairs (type, data). Raises struct.error for data of more than 65,535 bytes."""
    return b"".join(_HEADER.pack(kind, len(data)) + data for kind, data in fields)


def decode(data: bytes, noun: str) -> Iterator[tuple[int, bytes]]:
    """Decode all of `data` as pairs (type, data). Raises ProtocolError, in which a field is called `noun`."""
    at = count = 0
    while at < len(data):
        count += 1
        if count > MAX_FIELDS:
            raise ProtocolError(f"more than {MAX_FIELDS} {noun}s")
        if at + _HEADER.size > len(data):
            raise ProtocolError(f"{noun} header cut off")
        kind, length = _HEADER.unpack_from(data, at)
        at += _HEADER.size
        if at + length > len(data):
            raise ProtocolError(f"{noun} {kind:#04x} runs past the end of the list")
        yield kind, data[at : at + length]
        at += length


def encode_prefixes(prefixes: Iterable[Prefix], most: int) -> bytes:
    """Encode the first `most` prefixes as a field's data."""
    return b"".join(bytes([len(address), length]) + address for address, length in islice(prefixes, most))


def decode_prefixes(data: bytes, most: int) -> Iterator[Prefix]:
    """Decode at most so many prefixes of a field; what is no prefix ends them."""
    at = 0
    for _ in range(most):
        if at + 2 > len(data):
            return
        size, length = data[at], data[at + 1]
        address = data[at + 2 : at + 2 + size]
        if size not in (4, 16) or len(address) != size or length > 8 * size:
            return
        yield network(address, length), length
        at += 2 + size
