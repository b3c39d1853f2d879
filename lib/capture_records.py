"""Records of packets, as a running process hands them to who captures, and as its flight recorder keeps them.

     0          4      5          7               15          17
    +----------+------+----------+---------------+-----------+-------+---------------------------+
    | size (4) | kind | snap (2) | time, ns (8)  | label (2) | label | LEN (2) | content[:snap] …|
    +----------+------+----------+---------------+-----------+-------+---------------------------+

Big-endian; size is that of the whole record. Kind 1 holds frames as the wire has them, of which each
content beyond `snap` bytes has been cut off (LEN is still the whole one's), all with one label
(capture_fate): a run of frames is one record, and a superpacket is one frame. Kind 2 has no label, and two
counts of 8 bytes: packets that fitted, and those of them that were lost because nobody took them in time.

Knows: this format. Refuses to know: what a label says (capture_fate), who keeps or reads it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from lib.errors import ProtocolError
from lib.packet import Buffer

PACKETS, COUNTS = 1, 2
WHOLE = 0xFFFF
"""As `snap`: nothing is cut off."""
MAX_SIZE = 1 << 20
"""More than any batch of frames with its label."""

_HEAD = struct.Struct("!IBHQH")
_COUNTS = struct.Struct("!QQ")


class Record(NamedTuple):
    """One of either kind; `body` is its frames, or its counts."""

    kind: int
    when: int
    """Nanoseconds since 1970."""
    snap: int
    label: bytes
    body: bytes


def packets(when: int, label: bytes, frames: bytes, snap: int = WHOLE) -> bytes:
    """A record of frames, each already cut to `snap` bytes of content (see cut)."""
    return _HEAD.pack(_HEAD.size + len(label) + len(frames), PACKETS, snap, when, len(label)) + label + frames


def counts(when: int, fitted: int, lost: int) -> bytes:
    """A record of how many packets there were."""
    return _HEAD.pack(_HEAD.size + _COUNTS.size, COUNTS, 0, when, 0) + _COUNTS.pack(fitted, lost)


def cut(frames: Buffer, begin: int, end: int, snap: int) -> bytes:
    """The whole frames in frames[begin:end], the content of each cut to `snap` bytes."""
    parts, most, at = [], snap + 2, begin
    while at < end:
        size = 2 + (frames[at] << 8 | frames[at + 1])
        parts.append(frames[at : at + min(size, most)])
        at += size
    return b"".join(parts)


def contents(record: Record) -> Iterator[tuple[int, bytes]]:
    """Each frame of a record of packets, as (size of its content, as much of it as there is)."""
    body, at = record.body, 0
    while at + 2 <= len(body):
        size = body[at] << 8 | body[at + 1]
        kept = min(size, record.snap)
        yield size, body[at + 2 : at + 2 + kept]
        at += 2 + kept


def read_counts(record: Record) -> tuple[int, int]:
    """(packets that fitted, packets lost) of a record of counts."""
    fitted, lost = _COUNTS.unpack(record.body)
    return fitted, lost


def decode(data: bytes) -> Record:
    """One whole record. Raises ProtocolError."""
    if len(data) < _HEAD.size:
        raise ProtocolError("a record that is cut off")
    size, kind, snap, when, label = _HEAD.unpack_from(data)
    at = _HEAD.size + label
    if size != len(data) or at > size:
        raise ProtocolError("a record that lies about its size")
    if kind not in (PACKETS, COUNTS) or (kind == COUNTS and size - at != _COUNTS.size):
        raise ProtocolError("not a record")
    return Record(kind, when, snap, data[_HEAD.size : at], data[at:])


class Reader:
    """Records out of a stream of bytes."""

    __slots__ = ("_data",)

    def __init__(self) -> None:
        self._data = b""

    def feed(self, data: bytes) -> Iterator[Record]:
        """The records that are whole now. Raises ProtocolError."""
        self._data += data
        at = 0
        try:
            while len(self._data) - at >= _HEAD.size:
                size = int.from_bytes(self._data[at : at + 4], "big")
                if not _HEAD.size <= size <= MAX_SIZE:
                    raise ProtocolError(f"a record of {size} bytes")
                if len(self._data) - at < size:
                    break
                yield decode(self._data[at : at + size])
                at += size
        finally:
            self._data = self._data[at:]
