"""Frames of a link between two hubs: whole frames of one flow, with their namespace before them.

Knows: the layout. Refuses to know: whose frames they are (cluster_receive), what is in them (forward).

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
BEGIN = _FRAME.size
"""Where the frames begin in an envelope, with its length."""
MAX_FRAMES = framing.MAX_CONTENT - HEADER
"""Bytes of frames in one envelope."""


def head(namespace: bytes, label: int, size: int) -> bytes:
    """What stands before `size` bytes of whole frames of one flow, MAX_FRAMES at most: then it is a frame."""
    return _FRAME.pack(HEADER + size, MARK, label & 0xFFFF, namespace)


def anew(envelope: bytes, frames: bytes) -> bytes:
    """An envelope with other frames in it."""
    return (HEADER + len(frames)).to_bytes(2, "big") + envelope[2:BEGIN] + frames


def namespace_of(data: Buffer, start: int, end: int) -> bytes:
    """The namespace of the envelope whose content is data[start:end]; its frames begin HEADER bytes later.

    Raises ProtocolError for what is none.
    """
    if end - start < HEADER or data[start] != MARK or data[start + 1]:
        raise ProtocolError("no proper envelope")
    return bytes(data[start + 4 : start + HEADER])
