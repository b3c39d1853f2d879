"""Enrolment on the wire: what `tunrouter join` asks a hub, and the hub's answer (PROTOCOL.md, Enrolment).

Knows: the two features of the handshake, and the words for each answer.
Refuses to know: which invitations there are (enrol_book), sockets (client_enrol, hub_enrol).

    request    store (8) | invitation (8) | secret (16) | SHA-256 of the host's own password (32)
    answer     fields: TYPE (1) | LEN (2) | DATA, as in control frames; unknown types are skipped
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum

from lib import wire_fields
from lib.errors import ProtocolError
from lib.prefixes import Prefix

ID_SIZE, SECRET_SIZE, HASH_SIZE = 8, 16, 32
MAX_PREFIXES = 256
"""Prefixes of a list in an answer; what is beyond is left out."""

_ASK = struct.Struct(f"!{ID_SIZE}s{ID_SIZE}s{SECRET_SIZE}s{HASH_SIZE}s")


class Answer(IntEnum):
    """What a hub says to an invitation that somebody shows."""

    WELCOME = 0
    UNKNOWN = 1
    EXPIRED = 2
    USED = 3
    WITHDRAWN = 4
    OTHER_HUB = 5
    CLOCK = 6
    TOO_OFTEN = 7
    NOT_HERE = 8
    LATER = 9


class Field(IntEnum):
    """Fields of an answer."""

    ANSWER = 1
    CLOCK = 2
    WHEN = 3
    OWN = 4
    OTHERS = 5
    GIVES = 6


@dataclass(frozen=True, slots=True)
class Ask:
    """A host's request to be enrolled by an invitation."""

    store: bytes
    """The list of hosts that the invitation is in, 8 bytes."""
    invitation: bytes
    """8 bytes."""
    secret: bytes = field(repr=False)
    """The one-time secret of the invitation, 16 bytes."""
    password: bytes = field(repr=False)
    """SHA-256 of the password that the host will log in with; the password itself never leaves the host."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A hub's answer."""

    answer: int
    """One of Answer; a later version may have others."""
    clock: float = 0.0
    """The hub's clock, seconds since 1970."""
    when: float = 0.0
    """When the invitation expired, was used or was made, seconds since 1970; 0 where that means nothing."""
    own: tuple[Prefix, ...] = ()
    """With WELCOME: the prefixes that the hub routes to the host."""
    others: tuple[Prefix, ...] = ()
    """With WELCOME: the prefixes that it routes to other hosts."""
    gives: bool = False
    """With WELCOME: whether the hub gives the host an address out of a pool once it is connected."""


def encode_ask(ask: Ask) -> bytes:
    """A request as the data of its feature."""
    return _ASK.pack(ask.store, ask.invitation, ask.secret, ask.password)


def decode_ask(data: bytes) -> Ask:
    """Decode the data of the feature; what comes behind is skipped. Raises ProtocolError."""
    if len(data) < _ASK.size:
        raise ProtocolError(f"enrolment of {len(data)} bytes, {_ASK.size} needed")
    return Ask(*_ASK.unpack_from(data))


def encode_reply(reply: Reply) -> bytes:
    """An answer as the data of its feature."""
    return wire_fields.encode(
        (
            (Field.ANSWER, bytes([reply.answer])),
            (Field.CLOCK, struct.pack("!Q", max(0, int(reply.clock)))),
            (Field.WHEN, struct.pack("!Q", max(0, int(reply.when)))),
            (Field.OWN, wire_fields.encode_prefixes(reply.own, MAX_PREFIXES)),
            (Field.OTHERS, wire_fields.encode_prefixes(reply.others, MAX_PREFIXES)),
            (Field.GIVES, bytes([reply.gives])),
        )
    )


def decode_reply(data: bytes) -> Reply:
    """Decode the data of the feature. Raises ProtocolError where it is cut off, or says nothing."""
    found = dict(wire_fields.decode(data, "enrolment field"))
    answer = found.get(Field.ANSWER, b"")
    if not answer:
        raise ProtocolError("an answer to the enrolment that says nothing")
    clock, when = (int.from_bytes(found.get(kind, b"")[:8], "big") for kind in (Field.CLOCK, Field.WHEN))
    own, others = (
        tuple(wire_fields.decode_prefixes(found.get(kind, b""), MAX_PREFIXES))
        for kind in (Field.OWN, Field.OTHERS)
    )
    gives = any(found.get(Field.GIVES, b""))
    return Reply(answer[0], float(clock), float(when), own, others, gives)
