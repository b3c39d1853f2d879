"""Length-prefixed frames on a stream, and the receive buffer that all sessions of a process share.

Knows: the length prefix, GOST's limits on it, the layout of the receive buffer.
Refuses to know: what a frame holds (packet, packet_offload, wire_control) and where it goes (forward).

    +---------+------------------------------+
    | LEN (2) | content, LEN bytes           |   back to back, big-endian
    +---------+------------------------------+

    first nibble of the content    what it is
    4, 6                           an IP packet (all that GOST knows)
    0                              virtio-net header and packet (packet_offload)
    15                             a control frame (wire_control)

All sessions share the receive buffer, because no session keeps anything in it while it waits:

    0                     HEADROOM                                    end of buffer
    +---------------------+---------------------------------+---------+
    |          tail of the| bytes just received             |  slack  |
    |        last receive |                                 |         |
    +---------------------+---------------------------------+---------+

A session receives at HEADROOM, lays the unfinished frame it kept (`tail`) right before, works
through every whole frame, and copies what is left into its tail before it waits again.
"""

from __future__ import annotations

import struct

MAX_CONTENT = 0xFFFF
"""Bytes of the largest frame content: LEN has 16 bits."""
GOST_HUB_MAX = 4096
"""Bytes of content that a GOST hub takes; more is truncated (GOST 3.3) or ends the session (3.2)."""
GOST_CLIENT_MAX = 16384
"""Bytes of content that a GOST client takes; more ends its session, as does a frame of length 0."""
HEADROOM = 2 + MAX_CONTENT + 15  # 15: whole words, and room for a header before the first packet
RECEIVE = 1 << 18
"""Bytes of one receive."""
SLACK = 64
"""Bytes after the end that may be read: a frame's first bytes are unpacked at once, even of a shorter one."""

_LENGTH = struct.Struct("!H")


class ReceiveBuffer:
    """The buffer of the drawing above; `view` is a memoryview over it."""

    __slots__ = ("data", "landing", "view")

    def __init__(self) -> None:
        self.data = bytearray(HEADROOM + RECEIVE + SLACK)
        self.view = memoryview(self.data)
        self.landing = self.view[HEADROOM : HEADROOM + RECEIVE]
        """The part of the buffer into which the next receive writes."""

    def join(self, tail: bytes) -> int:
        """Copy the tail of the last receive in front of the new bytes; returns where to start reading."""
        start = HEADROOM - len(tail)
        self.data[start:HEADROOM] = tail
        return start


def encode(content: bytes) -> bytes:
    """The frame of a content. Raises ValueError for one that is empty or over 65,535 bytes."""
    if not 0 < len(content) <= MAX_CONTENT:
        raise ValueError(f"a frame holds 1 to {MAX_CONTENT} bytes, not {len(content)}")
    return _LENGTH.pack(len(content)) + content


def is_gost_keepalive(buf: bytes | bytearray, start: int, end: int) -> bool:
    """Whether the content is GOST's keepalive: 20 bytes that start with `GOST`, which both roles skip."""
    return end - start == 20 and bytes(buf[start : start + 4]) == b"GOST"


def is_whole(data: bytes | memoryview) -> bool:
    """Whether data begins with a whole frame."""
    return len(data) >= 2 and len(data) - 2 >= _LENGTH.unpack_from(data)[0]


def split(data: bytes | bytearray | memoryview) -> list[int]:
    """The end of each whole frame in data, in order; a truncated last one is left out."""
    ends, at = [], 0
    while at + 2 <= len(data):
        at += 2 + _LENGTH.unpack_from(data, at)[0]
        if at > len(data):
            break
        ends.append(at)
    return ends
