"""Frames on a stream: where one ends and the next begins, for both roles.

Knows: the length prefix, GOST's limits on it, and the one receive buffer of a process.
Refuses to know: what a frame holds (packet, packet_offload, wire_control) and where it goes (forward).

    +---------+------------------------------+
    | LEN (2) | content, LEN bytes           |   back to back, big-endian
    +---------+------------------------------+

    first nibble of the content    what it is
    4, 6                           an IP packet (all that GOST knows)
    0                              virtio-net header and packet (packet_offload)
    15                             a control frame (wire_control)

The receive buffer is shared by all sessions, for nobody keeps anything in it while it waits:

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
GOST_HUB_MAX = 4096
"""Content a GOST hub takes; it truncates (3.3) or ends (3.2) on more."""
GOST_CLIENT_MAX = 16384
"""Content a GOST client takes; it ends on more, and on a frame of length 0."""
HEADROOM = 2 + MAX_CONTENT + 15  # 15: whole words, and room for a header before the first packet
RECEIVE = 1 << 18
SLACK = 64
"""Room to read a frame's first bytes in one go even where it is shorter."""

_LENGTH = struct.Struct("!H")


class ReceiveBuffer:
    """The buffer of the drawing above; `view` is a memoryview over it."""

    __slots__ = ("data", "landing", "view")

    def __init__(self) -> None:
        self.data = bytearray(HEADROOM + RECEIVE + SLACK)
        self.view = memoryview(self.data)
        self.landing = self.view[HEADROOM : HEADROOM + RECEIVE]
        """Where a receive goes."""

    def join(self, tail: bytes) -> int:
        """Lay an earlier tail before what was just received; returns where to start reading."""
        start = HEADROOM - len(tail)
        self.data[start:HEADROOM] = tail
        return start


def encode(content: bytes) -> bytes:
    """One frame. Raises ValueError for content the wire cannot carry (empty, over 65,535)."""
    if not 0 < len(content) <= MAX_CONTENT:
        raise ValueError(f"a frame holds 1 to {MAX_CONTENT} bytes, not {len(content)}")
    return _LENGTH.pack(len(content)) + content


def is_gost_keepalive(buf: bytes | bytearray, start: int, end: int) -> bool:
    """Whether the content is 20 bytes that start with GOST, which both GOST roles pass over."""
    return end - start == 20 and bytes(buf[start : start + 4]) == b"GOST"


def is_whole(data: bytes | memoryview) -> bool:
    """Whether data begins with a whole frame."""
    return len(data) >= 2 and len(data) - 2 >= _LENGTH.unpack_from(data)[0]


def split(data: bytes | bytearray | memoryview) -> list[int]:
    """The end of each whole frame in data, in order (a truncated last one is left out)."""
    ends, at = [], 0
    while at + 2 <= len(data):
        at += 2 + _LENGTH.unpack_from(data, at)[0]
        if at > len(data):
            break
        ends.append(at)
    return ends
