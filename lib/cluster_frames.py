"""Frames of a link between two hubs: whole frames of one flow, with their namespace before them.

Knows: the layout. Refuses to know: whose frames they are (cluster_receive), what is in them (forward).

     0      1      2       4                20
    +------+------+-------+----------------+------------------------------+
    | 0xE0 |  0   | label | namespace (16) | frames: LEN (2) | content …  |
    +------+------+-------+----------------+------------------------------+

The label, of 12 bits, is the same for all frames of a flow, so that a queue keeps their order without a look
into them.
The first nibble, 14, is none of those of other contents (framing). Which host gets them is not said: the hub
that receives them decides that, by its own tables, and only among the hosts that it has itself.

Between processes of one hub (worker_link) an envelope also has the number of the other hub that it is for, or
from: 8 bits of it in the zero, and 4 above the label. 0 is none. No such envelope goes to another hub.
"""

from __future__ import annotations

import struct

from lib import framing
from lib.errors import ProtocolError
from lib.packet import Buffer

MARK = 0xE0
_FRAME = struct.Struct("!HBBH16s")
HEADER = _FRAME.size - 2
"""Bytes before the frames."""
BEGIN = _FRAME.size
"""Where the frames begin in an envelope, with its length."""
MAX_FRAMES = framing.MAX_CONTENT - HEADER
"""Bytes of frames in one envelope."""
MAX_HUB = (1 << 12) - 1
"""The largest number of a hub."""


def head(namespace: bytes, label: int, size: int, hub: int = 0) -> bytes:
    """What stands before `size` bytes of whole frames of one flow, MAX_FRAMES at most: then it is a frame.

    `hub` is a number, 0 to MAX_HUB, within one hub; 0 between hubs.
    """
    return _FRAME.pack(HEADER + size, MARK, hub & 0xFF, label & 0xFFF | hub >> 8 << 12, namespace)


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


def within_hub(data: Buffer, start: int, end: int) -> tuple[int, bytes]:
    """(number of the other hub or 0, namespace) of an envelope between processes of one hub.

    Raises ProtocolError for what is none.
    """
    if end - start < HEADER or data[start] != MARK:
        raise ProtocolError("no proper envelope")
    return data[start + 1] | data[start + 2] >> 4 << 8, bytes(data[start + 4 : start + HEADER])
