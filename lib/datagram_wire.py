"""Datagrams of a session's UDP channel as bytes: header, frames, PROBE and ACK (PROTOCOL.md).

Knows: the layout of a datagram, how many frames fit into one, the messages and their bounds.
Refuses to know: keys and ciphers (datagram_keys), which session it is (datagram_peer), sockets.

     0        1           4             8
    +--------+-----------+-------------+--------------------------------------------+----------+
    |  0x54  | index (3) | counter (4) | encrypted: frames, or one message          | tag (16) |
    +--------+-----------+-------------+--------------------------------------------+----------+

    PROBE   | 0xF1 | 1 | token (8) | padding
    ACK     | 0xF1 | 2 | token (8) | expected (8) | received (8)

The first byte of frames is the high byte of a length, which is below 0xF1 in a datagram. So a look at that
byte tells frames from a message. The type and the index are looked up together, as one number: the label.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from lib.packet import Buffer

TYPE = 0x54
"""The first byte. A QUIC packet may begin with it too, so where those pass this does (RFC 9443)."""
MARK = 0xF1
"""The first byte of a message."""
HEADER_SIZE, TAG_SIZE = 8, 16
OVERHEAD = HEADER_SIZE + TAG_SIZE
"""Bytes of a datagram beside what is encrypted; each frame has two for its length."""
MAX_DATAGRAM = 16384
"""Bytes of the largest datagram that is sent."""
MAX_COUNTER = 0xFFFFFFFF
"""The last counter of a key."""
TOKEN_SIZE = 8
PROBE, ACK = 1, 2
_HEADER = struct.Struct("!II")
_PROBE = struct.Struct(f"!BB{TOKEN_SIZE}s")
_ACK = struct.Struct(f"!BB{TOKEN_SIZE}sQQ")
LEAST_PROBE = OVERHEAD + _PROBE.size
"""Bytes of a datagram with a PROBE without padding."""
_LENGTH = struct.Struct("!H").unpack_from

header = _HEADER.pack
"""The first 8 bytes of a datagram, of a label and a counter."""


class Probe(NamedTuple):
    """A request for an ACK with the same token (8 bytes), to where it came from."""

    token: bytes


class Ack(NamedTuple):
    """The reply to a PROBE, and how many datagrams of this session have come until now."""

    token: bytes
    expected: int
    """How many should have come, by their counters."""
    received: int


def label_of(index: bytes) -> int:
    """The label of a datagram with this index (3 bytes)."""
    return TYPE << 24 | int.from_bytes(index, "big")


def look(datagram: bytes) -> tuple[int, int]:
    """(label, counter) of a datagram; (0, 0), which is no label, where it is too short to be one."""
    return _HEADER.unpack_from(datagram) if len(datagram) > OVERHEAD else (0, 0)


def encode_probe(token: bytes, size: int = 0) -> bytes:
    """What is encrypted in a datagram of `size` bytes with a PROBE; of the least size where `size` is less.

    Raises ValueError for a size above MAX_DATAGRAM.
    """
    if size > MAX_DATAGRAM:
        raise ValueError(f"a datagram has at most {MAX_DATAGRAM} bytes, not {size}")
    return _PROBE.pack(MARK, PROBE, token).ljust(size - OVERHEAD, b"\0")


def encode_ack(ack: Ack) -> bytes:
    """What is encrypted in a datagram with an ACK."""
    return _ACK.pack(MARK, ACK, *ack)


def decode(plain: bytes) -> Probe | Ack | None:
    """The message in what was encrypted; None for one that is not known, or too short."""
    if len(plain) < 2 or plain[0] != MARK:
        return None
    if plain[1] == PROBE and len(plain) >= _PROBE.size:
        return Probe(plain[2 : _PROBE.size])
    if plain[1] == ACK and len(plain) >= _ACK.size:
        return Ack(*_ACK.unpack_from(plain)[2:])
    return None


def bundles(frames: Buffer, size: int) -> Iterator[tuple[bool, Buffer]]:
    """Cut a run of whole frames into pieces that fit into datagrams of `size` bytes, in their order.

    Yields (whether it fits, frames); each that does not fit is alone. A piece has as many frames as it can.
    """
    room, whole = min(size, MAX_DATAGRAM) - OVERHEAD, len(frames)
    if whole <= room:
        yield True, frames
        return
    view, begin, at = memoryview(frames), 0, 0
    while at + 2 <= whole:
        after = at + 2 + _LENGTH(frames, at)[0]
        if after - begin > room:
            if at > begin:
                yield True, view[begin:at]
                begin = at
            if after - at > room:
                yield False, view[at:after]
                begin = after
        at = after
    if whole > begin:
        yield True, view[begin:whole]
