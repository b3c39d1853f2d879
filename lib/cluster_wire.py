"""Messages of hubs about their hosts, in a registry: signed, encoded and decoded (PROTOCOL.md, Clusters).

Knows: the layout of a message, its signature, how keys are made of a cluster's secret.
Refuses to know: which messages are believed (cluster_registry), how they travel (cluster_redis).

     0         1      2                                    end - 32
    +---------+------+-------------------------------------+----------------+
    | version | kind | fields: TYPE (1) | LEN (2) | DATA … | HMAC-SHA256    |
    +---------+------+-------------------------------------+----------------+

The signature is over everything before it. Several messages travel as frames (framing).
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from lib import framing, wire_fields
from lib.errors import ProtocolError

VERSION = 1
SIGNATURE = 32
MAX_MESSAGE = 1024
"""Bytes of a message."""
MAX_NAME = 255
"""Bytes of a host name, as in GOST's handshake, and of the name of a hub."""
MOST = (1 << 64) - 1
"""The largest number."""
_NUMBER = struct.Struct("!Q")


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
    """HUB: larger each time."""
    clock: int = 0
    """HUB: milliseconds since 1970 by the hub's clock."""
    address: str = ""
    """HUB: where other hubs reach it, HOST:PORT."""
    count: int = 0
    """HUB: how many hosts it has."""
    sum: bytes = bytes(SIGNATURE)
    """HUB: the sum of the signatures of their JOINs (`added`), 32 bytes."""
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


_USED = {
    Kind.HUB: (Field.BEAT, Field.CLOCK, Field.ADDRESS, Field.COUNT, Field.SUM),
    Kind.JOIN: (Field.NAMESPACE, Field.HOST, Field.SINCE, Field.INSTANCE),
    Kind.LEAVE: (Field.NAMESPACE, Field.HOST),
    Kind.BYE: (),
}
_ALWAYS = (Field.NAME, Field.EPOCH, Field.SEQUENCE)
_MAY = {Kind.HUB: (Field.SOFTWARE, Field.SESSIONS)}
"""Fields that a hub of an older version does not send, and skips."""
_NUMBERS = frozenset(
    {Field.EPOCH, Field.SEQUENCE, Field.BEAT, Field.CLOCK, Field.COUNT, Field.SINCE, Field.SESSIONS}
)
_TEXTS = frozenset({Field.NAME, Field.ADDRESS, Field.HOST, Field.SOFTWARE})
_SIZES = {Field.SUM: (SIGNATURE,), Field.NAMESPACE: (16,), Field.INSTANCE: (0, 16)}


def key_for(secret: bytes, purpose: str) -> bytes:
    """The key for one purpose, made of a cluster's secret: 32 bytes, which do not give the secret away."""
    return hmac.digest(secret, b"tunrouter cluster: " + purpose.encode(), hashlib.sha256)


def encode(message: Message, key: bytes) -> bytes:
    """A signed message."""
    fields = []
    for field in _ALWAYS + _USED[message.kind] + _MAY.get(message.kind, ()):
        value = getattr(message, field.name.lower())
        if field in _NUMBERS:
            value = _NUMBER.pack(value)
        elif field in _TEXTS:
            value = value.encode()
        fields.append((int(field), value))
    body = bytes([VERSION, message.kind]) + wire_fields.encode(fields)
    return body + hmac.digest(key, body, hashlib.sha256)


def decode(data: bytes, key: bytes) -> Message:
    """The message in `data`. Raises ProtocolError for what is none, or was not signed with the key."""
    if not 2 + SIGNATURE < len(data) <= MAX_MESSAGE:
        raise ProtocolError(f"{len(data)} bytes are no message of a hub")
    body, signature = data[:-SIGNATURE], data[-SIGNATURE:]
    if not hmac.compare_digest(hmac.digest(key, body, hashlib.sha256), signature):
        raise ProtocolError("not signed with this cluster's secret")
    if body[0] != VERSION or body[1] not in _KINDS:
        raise ProtocolError(f"message {body[1]} of version {body[0]} is not known")
    kind = Kind(body[1])
    found = dict(wire_fields.decode(body[2:], "field"))
    values: dict[str, object] = {}
    for field in _ALWAYS + _USED[kind]:
        values[field.name.lower()] = _value(field, found.get(field))
    for field in _MAY.get(kind, ()):
        if field in found:
            values[field.name.lower()] = _value(field, found[field])
    message = Message(kind=kind, **values)  # type: ignore[arg-type]
    if not message.name:
        raise ProtocolError("a hub without a name")
    return message


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


def split(data: bytes) -> Iterator[bytes]:
    """The messages in a sequence of frames; what is cut off at its end is left out."""
    begin = 0
    for end in framing.split(data):
        yield data[begin + 2 : end]
        begin = end


def added(total: bytes, joined: bytes, sign: int = 1) -> bytes:
    """A sum of signatures with that of one more JOIN (`sign` 1), or of one less (-1); modulo 2^256."""
    one = int.from_bytes(joined[-SIGNATURE:], "big")
    value = (int.from_bytes(total, "big") + sign * one) & _ALL
    return value.to_bytes(SIGNATURE, "big")


_ALL = (1 << 8 * SIGNATURE) - 1
