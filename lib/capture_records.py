"""Format of captured packets between a running process and `tunrouter capture`, and in the flight recorder.

     0          4      5          7               15          17
    +----------+------+----------+---------------+-----------+-------+---------------------------+
    | size (4) | kind | snap (2) | time, ns (8)  | label (2) | label | LEN (2) | content[:snap] …|
    +----------+------+----------+---------------+-----------+-------+---------------------------+

Big-endian; size is that of the whole record. Kind 1 holds frames as the wire has them. The content of each
is cut to `snap` bytes, but LEN is still that of the whole content. All frames of a record have the same label
(capture_fate): a run of frames is one record, and a superpacket is one frame. Kind 2 has no label, and two
counts of 8 bytes: packets that matched the filter, and those of them that were lost because the reader was
too slow.

Knows: this format. Refuses to know: what a label says (capture_fate), who keeps or reads it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from lib.errors import ProtocolError
from lib.packet import Buffer

PACKETS, COUNTS = 1, 2
"""The two kinds of records."""
WHOLE = 0xFFFF
"""The value of `snap` with which nothing is cut off."""
MAX_SIZE = 1 << 20
"""Most bytes of a record: more than any batch of frames with its label has."""

_HEAD = struct.Struct("!IBHQH")
_COUNTS = struct.Struct("!QQ")


class Record(NamedTuple):
    """A decoded record of either kind; `body` holds the frames or the two counts."""

    kind: int
    when: int
    """Nanoseconds since 1970."""
    snap: int
    label: bytes
    body: bytes


def packets(when: int, label: bytes, frames: bytes, snap: int = WHOLE) -> bytes:
    """Encode a record of frames, each already cut to `snap` bytes of content (see cut)."""
    return _HEAD.pack(_HEAD.size + len(label) + len(frames), PACKETS, snap, when, len(label)) + label + frames


def counts(when: int, fitted: int, lost: int) -> bytes:
    """Encode a record of counts: packets that matched, and those of them that were lost."""
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
    """(whole size, kept bytes) of the content of each frame in a record of packets."""
    body, at = record.body, 0
    while at + 2 <= len(body):
        size = body[at] << 8 | body[at + 1]
        kept = min(size, record.snap)
        yield size, body[at + 2 : at + 2 + kept]
        at += 2 + kept


def read_counts(record: Record) -> tuple[int, int]:
    """(packets that matched, packets lost) of a record of counts."""
    fitted, lost = _COUNTS.unpack(record.body)
    return fitted, lost


def decode(data: bytes) -> Record:
    """Decode one whole record. Raises ProtocolError."""
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
    """Decoder of records from a stream of bytes."""

    __slots__ = ("_data",)

    def __init__(self) -> None:
        self._data = b""

    def feed(self, data: bytes) -> Iterator[Record]:
        """Yield the records that `data` completes; keeps the rest for later. Raises ProtocolError."""
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
