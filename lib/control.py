"""Control frames: how two tunrouters talk beside the packets (PROTOCOL.md).

Knows: the layout of a control frame and of the one message so far, HELLO.
Refuses to know: when to send one, and what a capability changes (session, forward).

     0      1      2      3
    +------+------+-------------------------------------+
    | 0xF0 | type | fields: TYPE (1) | LEN (2) | DATA … |
    +------+------+-------------------------------------+

The first nibble 15 is neither IP version nor virtio-net header, so a control frame needs no
mode switch. Unknown types and unknown fields are skipped: that is the room to grow.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from lib import fields
from lib.errors import ProtocolError

MARK = 0xF0
INSTANCE_SIZE = 16


class Type(IntEnum):
    """Control messages."""

    HELLO = 1


class Field(IntEnum):
    """Fields of HELLO."""

    INSTANCE = 1
    OFFLOADS = 2
    MTU = 3
    SOFTWARE = 4


@dataclass(frozen=True, slots=True)
class Hello:
    """What one tunrouter tells the other once, right after the handshake."""

    instance: bytes = bytes(INSTANCE_SIZE)
    """16 random bytes a service draws at start: a new session of the same instance and host
    replaces its old one."""
    offloads: int = 0
    """What the sender can receive: TUN_F bits (lib.offload); 0 means plain packets only."""
    mtu: int = 0
    """Largest single packet the sender's device takes, bytes; 0 when it has no device."""
    software: str = ""


def encode_hello(hello: Hello) -> bytes:
    """A HELLO as the content of a frame."""
    body = (
        (Field.INSTANCE, hello.instance),
        (Field.OFFLOADS, struct.pack("!I", hello.offloads)),
        (Field.MTU, struct.pack("!I", hello.mtu)),
        (Field.SOFTWARE, hello.software.encode()[:255]),
    )
    return bytes([MARK, Type.HELLO]) + fields.encode(body)


def decode(content: bytes) -> Hello | None:
    """Read the content of a control frame; None for a type this version does not know.

    Raises ProtocolError for a frame that does not parse.
    """
    if len(content) < 2 or content[0] != MARK:
        raise ProtocolError("control frame without a type")
    if content[1] != Type.HELLO:
        return None
    return _decode_hello(dict(fields.decode(content[2:], "control field")))


def _decode_hello(found: dict[int, bytes]) -> Hello:
    instance = found.get(Field.INSTANCE, b"")
    if len(instance) != INSTANCE_SIZE:
        raise ProtocolError("HELLO without an instance id")
    return Hello(
        instance,
        int.from_bytes(found.get(Field.OFFLOADS, b"")[:4], "big"),
        int.from_bytes(found.get(Field.MTU, b"")[:4], "big"),
        found.get(Field.SOFTWARE, b"").decode("utf-8", "replace"),
    )
