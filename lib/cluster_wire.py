"""Messages of hubs about their hosts, in a registry: encoded and decoded (PROTOCOL.md, A cluster).

Knows: the layout of a message and of news, the sum of a list.
Refuses to know: signatures (cluster_seal), which messages are believed (cluster_registry), how they travel
(cluster_redis).

     0         1      2         4
    +---------+------+---------+-------------------------------------+------------------------+
    | version | kind | LEN (2) | fields: TYPE (1) | LEN (1) | DATA … | signature: HUB and BYE |
    +---------+------+---------+-------------------------------------+------------------------+

LEN is that of the fields. Messages travel as news: frames (framing) of changes, JOIN and LEAVE, and then the
HUB or BYE that vouches for them by their DIGEST.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from lib import framing, wire_fields
from lib.errors import ProtocolError

VERSION = 2
SUM = 32
"""Bytes of a sum, and of a digest."""
MAX_MESSAGE = 1536
"""Bytes of a message: an RSA signature has 512."""
MAX_CHANGES = 64
"""Changes that are published as one."""
MAX_NAME = 255
"""Bytes of a host name, as in GOST's handshake, and of the name of a hub."""
MOST = (1 << 64) - 1
"""The largest number."""
_NUMBER = struct.Struct("!Q")
_HEAD = struct.Struct("!BBH")
_WIDE = 256
"""Bytes of a sum before it is hashed. Of 32 bytes one could find other messages with the same sum."""


class Kind(IntEnum):
    """Kinds of messages."""

    HUB = 1
    """A hub lives; how many hosts it has, and the sum of their JOINs."""
    JOIN = 2
    """A host has a session with the hub."""
    LEAVE = 3
    """A host has none any more."""
    BYE = 4
    """The hub ends."""


class Field(IntEnum):
    """Fields of a message."""

    NAME = 1
    EPOCH = 2
    SEQUENCE = 3
    BEAT = 4
    CLOCK = 5
    ADDRESS = 6
    COUNT = 7
    SUM = 8
    NAMESPACE = 9
    HOST = 10
    SINCE = 11
    INSTANCE = 12
    SOFTWARE = 13
    SESSIONS = 14
    STEADY = 15
    DIGEST = 16


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a hub. Numbers are below 2^64, and 0 where a kind has no use for them."""

    kind: Kind
    name: str
    """The hub's."""
    epoch: int
    """A larger number at each start of the hub."""
    sequence: int
    """The number of the hub's last change (HUB, BYE), or of this one (JOIN, LEAVE); the first one is 1."""
    beat: int = 0
    """HUB, BYE: larger each time."""
    clock: int = 0
    """HUB, BYE: milliseconds since 1970 by the hub's clock, which may be set."""
    steady: int = 0
    """HUB, BYE: milliseconds by a clock of the hub that nobody sets, since any moment before its epoch."""
    digest: bytes = bytes(SUM)
    """HUB, BYE: SHA-256 of the frames of changes before it."""
    address: str = ""
    """HUB: where other hubs reach it, HOST:PORT."""
    count: int = 0
    """HUB: how many hosts it has."""
    sum: bytes = bytes(SUM)
    """HUB: SHA-256 of the sum of their JOINs (`summed`)."""
    software: str = ""
    """HUB: what runs there, for who looks at the cluster; empty where it does not say."""
    sessions: int = 0
    """HUB: how many sessions it has."""
    namespace: bytes = b""
    """JOIN, LEAVE: 16 bytes."""
    host: str = ""
    since: int = 0
    """JOIN: when the session began, milliseconds since 1970 by the hub's clock."""
    instance: bytes = b""
    """JOIN: the client's instance, 16 bytes; empty where it has said none."""

    @property
    def place(self) -> tuple[bytes, str]:
        """(namespace, host)."""
        return self.namespace, self.host


_ALWAYS = (Field.NAME, Field.EPOCH, Field.SEQUENCE)
_SIGNED = (Field.BEAT, Field.CLOCK, Field.STEADY, Field.DIGEST)
_USED = {
    Kind.HUB: (*_SIGNED, Field.ADDRESS, Field.COUNT, Field.SUM),
    Kind.JOIN: (Field.NAMESPACE, Field.HOST, Field.SINCE, Field.INSTANCE),
    Kind.LEAVE: (Field.NAMESPACE, Field.HOST),
    Kind.BYE: _SIGNED,
}
_MAY = {Kind.HUB: (Field.SOFTWARE, Field.SESSIONS)}
"""Fields that a hub need not send, and may skip."""
SIGNED = frozenset({Kind.HUB, Kind.BYE})
"""Kinds of messages that have a signature."""
_CLOCKS = (Field.CLOCK, Field.STEADY, Field.SINCE)
_NUMBERS = frozenset({Field.EPOCH, Field.SEQUENCE, Field.BEAT, Field.COUNT, Field.SESSIONS, *_CLOCKS})
_TEXTS = frozenset({Field.NAME, Field.ADDRESS, Field.HOST, Field.SOFTWARE})
_SIZES = {Field.SUM: (SUM,), Field.DIGEST: (SUM,), Field.NAMESPACE: (16,), Field.INSTANCE: (0, 16)}


def encode(message: Message) -> bytes:
    """A message without a signature."""
    fields = []
    for field in _ALWAYS + _USED[message.kind] + _MAY.get(message.kind, ()):
        value = getattr(message, field.name.lower())
        if field in _NUMBERS:
            value = _NUMBER.pack(value)
        elif field in _TEXTS:
            value = value.encode()
        fields.append((int(field), value))
    body = wire_fields.encode(fields)
    return _HEAD.pack(VERSION, message.kind, len(body)) + body


def decode(data: bytes) -> tuple[Message, bytes]:
    """(message, signature) of `data`; the signature is not checked. Raises ProtocolError for what is none."""
    if not _HEAD.size < len(data) <= MAX_MESSAGE:
        raise ProtocolError(f"{len(data)} bytes are no message of a hub")
    version, number, size = _HEAD.unpack_from(data)
    if version != VERSION or number not in _KINDS:
        raise ProtocolError(f"message {number} of version {version} is not known")
    kind, end = Kind(number), _HEAD.size + size
    if end > len(data) or (end == len(data)) == (kind in SIGNED):
        raise ProtocolError("a message that is cut off, or whose signature is missing")
    found = dict(wire_fields.decode(data[_HEAD.size : end], "field"))
    values: dict[str, object] = {}
    for field in _ALWAYS + _USED[kind]:
        values[field.name.lower()] = _value(field, found.get(field))
    for field in _MAY.get(kind, ()):
        if field in found:
            values[field.name.lower()] = _value(field, found[field])
    message = Message(kind=kind, **values)  # type: ignore[arg-type]
    if not message.name:
        raise ProtocolError("a hub without a name")
    return message, data[end:]


def _value(field: Field, data: bytes | None) -> object:
    if data is None or len(data) > MAX_NAME or len(data) not in _SIZES.get(field, (len(data),)):
        raise ProtocolError(f"field {field.name} is missing, or of a wrong size")
    if field in _NUMBERS:
        if len(data) != _NUMBER.size:
            raise ProtocolError(f"field {field.name} is no number")
        return _NUMBER.unpack(data)[0]
    if field not in _TEXTS:
        return data
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ProtocolError(f"field {field.name} is no text") from None


_KINDS = frozenset(Kind)


def news(changes: list[bytes], vouching: Callable[[bytes], bytes]) -> bytes:
    """Changes and the signed message that vouches for them, which `vouching` makes of their digest."""
    frames = b"".join(map(framing.encode, changes))
    return frames + framing.encode(vouching(digest(frames)))


def opened(data: bytes) -> tuple[list[bytes], bytes, bytes]:
    """(changes, the message that vouches for them, their digest) of news. Raises ProtocolError."""
    found: list[bytes] = []
    at = before = 0
    while at + 2 <= len(data) and len(found) <= MAX_CHANGES:
        before, at = at, at + 2 + (data[at] << 8 | data[at + 1])
        found.append(data[before + 2 : at])
    if not found or at != len(data):
        raise ProtocolError("no news of a hub")
    return found[:-1], found[-1], digest(data[:before])


def digest(frames: bytes) -> bytes:
    """SHA-256."""
    return hashlib.sha256(frames).digest()


def added(total: int, joined: bytes, sign: int = 1) -> int:
    """A sum with one more JOIN (`sign` 1), or with one less (-1). Of no JOINs it is 0."""
    one = int.from_bytes(hashlib.shake_256(joined).digest(_WIDE), "big")
    return (total + sign * one) & _ALL


def summed(total: int) -> bytes:
    """A sum as it stands in a HUB."""
    return hashlib.sha256(total.to_bytes(_WIDE, "big")).digest()


_ALL = (1 << 8 * _WIDE) - 1
NO_CHANGES = digest(b"")
"""The digest of no changes."""
