"""The list of enrolled hosts and of open invitations of a hub, and each change to it.

Knows: what is kept (hashes only), when an invitation is good, how the list is written as JSON.
Refuses to know: where it is kept (enrol_file, enrol_redis), clocks and randomness, which come in.

Every change is a function from one Book to the next. Whoever keeps the list applies it to what is there at
that moment, under a lock or by compare-and-set; so of two hosts that show one invitation only one gets in.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lib import ids
from lib.addresses import packed_prefix
from lib.enrol_token import is_invitable
from lib.prefixes import Prefix
from lib.prefixes import text as prefix_text
from lib.wire_enrol import HASH_SIZE, ID_SIZE, Answer, Ask

SLACK = 120.0
"""Seconds by which the clocks of two hubs that share a list may differ."""
KEPT = 30 * 86400.0
"""Seconds for which it is remembered that an invitation was used, has expired or was withdrawn."""
MAX_INVITATIONS = 10_000
"""Invitations that are remembered; the oldest ones that are over go first."""

_KIND, _VERSION = "enrolled hosts", 1

Place = tuple[bytes, str]
"""(namespace, host name): who is enrolled."""


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A host that may log in by the password that it has made when it joined."""

    host: str
    namespace: bytes
    password: bytes = field(repr=False)
    """SHA-256 of its password."""
    since: float
    """Seconds since 1970, as all times here."""
    gateways: tuple[Prefix, ...] = ()
    """The prefixes that are routed to it."""
    seen: float = 0.0
    """When it was last connected; 0 for never."""
    invitation: bytes = b""
    """The invitation that it came by."""

    @property
    def place(self) -> Place:
        """Its namespace and name."""
        return self.namespace, self.host


@dataclass(frozen=True, slots=True)
class Invitation:
    """An invitation for one host, which is good once."""

    id: bytes
    secret: bytes = field(repr=False)
    """SHA-256 of its secret."""
    host: str
    namespace: bytes
    made: float
    expires: float
    gateways: tuple[Prefix, ...] = ()
    used: float = 0.0
    withdrawn: float = 0.0

    @property
    def place(self) -> Place:
        """The namespace and the name of the host that it is for."""
        return self.namespace, self.host

    @property
    def over(self) -> float:
        """When it was used or withdrawn, or when it expires."""
        return self.used or self.withdrawn or self.expires

    def is_open(self, now: float) -> bool:
        """Whether somebody may still join by it."""
        return not self.used and not self.withdrawn and now < self.expires


@dataclass(frozen=True, slots=True)
class Book:
    """All that a hub, or several hubs together, know of enrolled hosts."""

    id: bytes
    """8 random bytes, by which an invitation of another hub is told from one of this one."""
    hosts: Mapping[Place, Enrolled] = field(default_factory=dict)
    invitations: Mapping[bytes, Invitation] = field(default_factory=dict)


def hashed(secret: bytes) -> bytes:
    """What is kept of a secret, 32 bytes. It has 128 random bits or more: a slow hash would add nothing."""
    return hashlib.sha256(secret).digest()


def invited(book: Book, invitation: Invitation, now: float) -> Book:
    """The list with one more invitation. An older one for the same host is withdrawn."""
    others = {
        key: replace(one, withdrawn=now) if one.place == invitation.place and one.is_open(now) else one
        for key, one in book.invitations.items()
    }
    return replace(book, invitations=_bounded({**others, invitation.id: invitation}, now))


def joined(book: Book, ask: Ask, now: float) -> tuple[Book, Answer, float]:
    """The list after somebody has shown an invitation, the answer, and the time that the answer is about.

    Without the right secret the answer says nothing about the invitation. The host that has joined by it may
    ask again with the same password, for its answer may have been lost on the way.
    """
    if not hmac.compare_digest(ask.store, book.id):
        return book, Answer.OTHER_HUB, 0.0
    invitation = book.invitations.get(ask.invitation)
    secret = hashed(ask.secret)
    if (
        not hmac.compare_digest(secret, invitation.secret if invitation else bytes(HASH_SIZE))
        or not invitation
    ):
        return book, Answer.UNKNOWN, 0.0
    if invitation.used:
        own = book.hosts.get(invitation.place)
        is_own = own is not None and own.invitation == invitation.id and _same(own.password, ask.password)
        return book, Answer.WELCOME if is_own else Answer.USED, invitation.used
    if invitation.withdrawn:
        return book, Answer.WITHDRAWN, invitation.withdrawn
    if now < invitation.made - SLACK:
        return book, Answer.CLOCK, invitation.made
    if now >= invitation.expires:
        return book, Answer.EXPIRED, invitation.expires
    row = Enrolled(
        *(invitation.host, invitation.namespace, ask.password, now, invitation.gateways),
        invitation=invitation.id,
    )
    invitations = {**book.invitations, invitation.id: replace(invitation, used=now)}
    return replace(book, hosts={**book.hosts, row.place: row}, invitations=invitations), Answer.WELCOME, now


def revoked(book: Book, place: Place, now: float) -> Book:
    """The list without a host, and without an invitation that it could come back by."""
    hosts = {key: row for key, row in book.hosts.items() if key != place}
    invitations = {
        key: replace(one, withdrawn=now) if one.place == place and one.is_open(now) else one
        for key, one in book.invitations.items()
    }
    return replace(book, hosts=hosts, invitations=_bounded(invitations, now))


def met(book: Book, seen: Mapping[Place, float]) -> Book:
    """The list with the times at which hosts were last connected."""
    hosts = {
        place: replace(row, seen=seen[place]) if seen.get(place, 0.0) > row.seen else row
        for place, row in book.hosts.items()
    }
    return replace(book, hosts=hosts)


def changed(old: Book, new: Book) -> set[Place]:
    """The hosts of the old list whose password is not good any more."""
    return {
        place
        for place, row in old.hosts.items()
        if place not in new.hosts or new.hosts[place].password != row.password
    }


def has_password(row: Enrolled, password: str) -> bool:
    """Whether this is the host's password."""
    return _same(row.password, hashed(password.encode("utf-8", "surrogateescape")))


def _same(one: bytes, other: bytes) -> bool:
    return hmac.compare_digest(one, other)


def _bounded(invitations: dict[bytes, Invitation], now: float) -> dict[bytes, Invitation]:
    """The invitations without those that have been over for long, and at most MAX_INVITATIONS of them."""
    kept = {key: one for key, one in invitations.items() if one.is_open(now) or now - one.over < KEPT}
    spare = len(kept) - MAX_INVITATIONS
    if spare > 0:
        over = sorted((one for one in kept.values() if not one.is_open(now)), key=lambda one: one.over)
        for one in over[:spare]:
            del kept[one.id]
    return kept


# --- as text


def dump(book: Book) -> bytes:
    """The list as JSON, a host or an invitation a line."""
    hosts = [
        _row(row)
        | {
            "password": row.password.hex(),
            "since": row.since,
            "seen": row.seen,
            "invitation": row.invitation.hex(),
        }
        for row in book.hosts.values()
    ]
    invitations = [
        {"id": one.id.hex(), "secret": one.secret.hex()}
        | _row(one)
        | {"made": one.made, "expires": one.expires, "used": one.used, "withdrawn": one.withdrawn}
        for one in book.invitations.values()
    ]
    lines = [f'{{"kind": "{_KIND}", "version": {_VERSION}, "id": "{book.id.hex()}",']
    lines += ['"hosts": [', ",\n".join(map(json.dumps, hosts)), "],"]
    lines += ['"invitations": [', ",\n".join(map(json.dumps, invitations)), "]}"]
    return ("\n".join(filter(None, lines)) + "\n").encode()


def _row(row: Enrolled | Invitation) -> dict[str, Any]:
    """What a host and an invitation have in common."""
    return {
        "host": row.host,
        "namespace": ids.format_uuid(row.namespace),
        "gateways": [prefix_text(*prefix) for prefix in row.gateways],
    }


def parse(text: bytes) -> Book:
    """Read a list. Raises ValueError, in words for people, where it is none."""
    try:
        whole = json.loads(text)
        if whole["kind"] != _KIND:
            raise ValueError("it is no list of enrolled hosts")
        if whole["version"] != _VERSION:
            raise ValueError(f"it is of version {whole['version']!r}, and this tunrouter knows {_VERSION}")
        hosts = [_enrolled(row) for row in whole["hosts"]]
        invitations = [_invitation(row) for row in whole["invitations"]]
        book = Book(
            _hex(whole["id"], ID_SIZE),
            {row.place: row for row in hosts},
            {one.id: one for one in invitations},
        )
    except KeyError as missing:
        raise ValueError(f"it is no list of enrolled hosts: {missing} is missing") from None
    except json.JSONDecodeError as wrong:
        raise ValueError(f"it is no list of enrolled hosts: not JSON: {wrong}") from None
    except (TypeError, AttributeError, RecursionError, UnicodeDecodeError):
        raise ValueError("it is no list of enrolled hosts: something in it is of another kind") from None
    return book


def _enrolled(row: dict[str, Any]) -> Enrolled:
    return Enrolled(
        _host(row),
        ids.parse_uuid(row["namespace"]),
        _hex(row["password"], HASH_SIZE),
        _time(row["since"]),
        _prefixes(row),
        _time(row["seen"]),
        bytes.fromhex(row["invitation"]),
    )


def _invitation(row: dict[str, Any]) -> Invitation:
    made, expires, used, withdrawn = (_time(row[name]) for name in ("made", "expires", "used", "withdrawn"))
    return Invitation(
        _hex(row["id"], ID_SIZE),
        _hex(row["secret"], HASH_SIZE),
        _host(row),
        ids.parse_uuid(row["namespace"]),
        made,
        expires,
        _prefixes(row),
        used,
        withdrawn,
    )


def _host(row: dict[str, Any]) -> str:
    host = row["host"]
    if not isinstance(host, str) or not is_invitable(host):
        raise ValueError(f"no name of a host: {str(host)[:64]!r}")
    return host


def _prefixes(row: dict[str, Any]) -> tuple[Prefix, ...]:
    return tuple(packed_prefix(str(text)) for text in row["gateways"])


def _hex(text: str, size: int) -> bytes:
    data = bytes.fromhex(text)
    if len(data) != size:
        raise ValueError(f"{len(data)} bytes, where {size} belong")
    return data


def _time(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1 << 40:
        raise ValueError(f"no time: {str(value)[:64]!r}")
    return float(value)
