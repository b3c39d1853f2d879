"""Frames of a link between two hubs: whole frames of one flow, with their namespace before them.

Knows: the layout. Refuses to know: whose frames they are (cluster_link), what is in them (forward).

     0      1      2       4                20
    +------+------+-------+----------------+------------------------------+
    | 0xE0 |  0   | label | namespace (16) | frames: LEN (2) | content …  |
    +------+------+-------+----------------+------------------------------+

The label is the same for all frames of a flow, so that a queue keeps their order without a look into them.
The first nibble, 14, is none of those of other contents (framing). Which host gets them is not said: the hub
that receives them decides that, by its own tables, and only among the hosts that it has itself.
"""

from __future__ import annotations

import struct

from lib import framing
from lib.errors import ProtocolError
from lib.packet import Buffer

MARK = 0xE0
_FRAME = struct.Struct("!HBxH16s")
HEADER = _FRAME.size - 2
"""Bytes before the frames."""
MAX_FRAMES = framing.MAX_CONTENT - HEADER
"""Bytes of frames in one envelope."""


def encode(namespace: bytes, label: int, frames: Buffer) -> bytes:
    """Whole frames of one flow, MAX_FRAMES bytes at most, in an envelope: one frame of a link."""
    return b"".join((_FRAME.pack(HEADER + len(frames), MARK, label & 0xFFFF, namespace), frames))


def decode(data: bytes) -> tuple[bytes, list[bytes]]:
    """(namespace, frames) of an envelope's content. Raises ProtocolError where it is not exactly one."""
    if len(data) < HEADER or data[0] != MARK or data[1]:
        raise ProtocolError("no proper envelope")
    frames, begin = data[HEADER:], 0
    found = []
    for end in framing.split(frames):
        found.append(frames[begin:end])
        begin = end
    if begin != len(frames):
        raise ProtocolError("frames in an envelope are cut off")
    return data[4:20], found
