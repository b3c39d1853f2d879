"""Enrolment at a hub: a host shows its invitation, and is told whether it is in the list now.

Knows: how often somebody may try, which status and words an answer has, what a new host is told of routes.
Refuses to know: when an invitation is good (enrol_book), how the answer is written (wire_enrol).
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Protocol

from lib import ids, wire_enrol, wire_relay
from lib.bounded_dict import BoundedDict
from lib.enrol_book import Enrolled
from lib.enrol_lists import gives_addresses
from lib.enrol_live import LOOK_SECONDS, EnrolError, Enrolment
from lib.forward_drop_reasons import Refusal
from lib.hub_tables import Tables
from lib.limits import Bucket, stranger
from lib.log_dedup import BUSY
from lib.log_events import Entry
from lib.log_setup import say
from lib.namespace import Namespace
from lib.namespace_domain import Domain
from lib.prefixes import Prefix
from lib.route_table import RouteTable
from lib.settings import HubSettings
from lib.stream_layer import AnyStream
from lib.wire_enrol import MAX_PREFIXES, Answer, Ask, Reply
from lib.wire_relay import Request, Response, Status

TRIES, TRIES_SECONDS = 10, 60.0
"""Wrong invitations that one address may show at once, and the seconds after which as many are forgotten."""
MAX_ADDRESSES = 4096
"""Addresses whose wrong invitations are counted."""
FEW = 4096
"""Routes of the biggest table that a new host is told of."""

_WORDS = {
    Answer.UNKNOWN: "an invitation that is not known",
    Answer.EXPIRED: "its invitation has expired",
    Answer.USED: "its invitation has been used already",
    Answer.WITHDRAWN: "its invitation was withdrawn",
    Answer.OTHER_HUB: "an invitation of another hub",
    Answer.CLOCK: "its invitation was made in the future: this host's clock is wrong",
    Answer.TOO_OFTEN: "too many wrong invitations from there",
    Answer.NOT_HERE: "this service has no 'enrol'",
}
_STATUS = {
    Answer.WELCOME: Status.OK,
    Answer.NOT_HERE: Status.BAD_REQUEST,
    Answer.LATER: Status.SERVICE_UNAVAILABLE,
}
"""Answer -> status of the response; of all others UNAUTHORIZED."""


class Attempts:
    """Wrong invitations by the address that has shown them."""

    def __init__(self) -> None:
        self._buckets: BoundedDict[str, Bucket] = BoundedDict(MAX_ADDRESSES)

    def may(self, address: str, now: float) -> bool:
        """Whether this address may show an invitation now."""
        bucket = self._buckets.get(address)
        return bucket is None or not bucket.wait(now)

    def failed(self, address: str, now: float) -> None:
        """Note that it has shown a wrong one."""
        bucket = self._buckets.get(address) or Bucket(TRIES / TRIES_SECONDS, TRIES - 1, at=now)
        bucket.take(1, now)
        self._buckets.renew(address, bucket)


class Owner(Protocol):
    """What is used of a hub."""

    settings: HubSettings
    tables: Tables
    domain: Domain
    attempts: Attempts

    def refuse(self, refusal: Refusal, peer: str, why: str) -> None:
        """Count and log a connection that becomes no session."""


def answer(hub: Owner, stream: AnyStream, request: Request) -> None:
    """Answer somebody who shows an invitation. Raises ProtocolError, OSError."""
    reply, why = _reply(hub, stream.peer, request)
    if reply.answer != Answer.WELCOME:
        refusal = Refusal.UNAVAILABLE if reply.answer == Answer.LATER else Refusal.UNAUTHORIZED
        hub.refuse(refusal, stream.peer, f"enrolment refused: {why}")
    status = _STATUS.get(Answer(reply.answer), Status.UNAUTHORIZED)
    tunnel_id = ids.hub_tunnel_id(bytes(16)) if status == Status.OK else b""
    stream.send_all(wire_relay.encode_response(Response(status, tunnel_id, wire_enrol.encode_reply(reply))))


def _reply(hub: Owner, peer: str, request: Request) -> tuple[Reply, str]:
    """The answer, and why in words for the log."""
    ask = wire_enrol.decode_ask(request.enrol)
    source = hub.settings.enrol
    if source is None:
        return _no(Answer.NOT_HERE)
    address, now = stranger(peer), time.monotonic()
    if not hub.attempts.may(address, now):
        return _no(Answer.TOO_OFTEN)
    live = hub.tables.enrolled.of(source)
    if not _is_known(live, ask):
        live.wait(4 * LOOK_SECONDS)  # another hub, or process, may have made it just now
    if live.book is None:
        return Reply(Answer.LATER, time.time()), live.error
    if not _is_known(live, ask):
        hub.attempts.failed(address, now)
        return _no(Answer.OTHER_HUB if live.book.id != ask.store else Answer.UNKNOWN)
    try:
        found, when, book = live.join(ask)
    except (EnrolError, ValueError) as error:
        return Reply(Answer.LATER, time.time()), str(error)
    if found != Answer.WELCOME:
        if found == Answer.UNKNOWN:
            hub.attempts.failed(address, now)
        return _no(found, when)
    row = next(row for row in book.hosts.values() if row.invitation == ask.invitation)
    _tell(hub.settings.name, row, peer)
    own, others = _prefixes(hub.domain.namespace(row.namespace), row.host)
    gives = gives_addresses(hub.tables.enrolled.settings, hub.settings, row.namespace)
    return Reply(Answer.WELCOME, time.time(), when, own, others, gives), ""


def _no(answer: Answer, when: float = 0.0) -> tuple[Reply, str]:
    return Reply(answer, time.time(), when), _WORDS[answer]


def _is_known(live: Enrolment, ask: Ask) -> bool:
    return live.book is not None and live.book.id == ask.store and ask.invitation in live.book.invitations


def _tell(name: str, row: Enrolled, peer: str) -> None:
    namespace = ids.format_uuid(row.namespace)
    say(
        Entry.ENROLLED,
        "service %s: host %s in namespace %s has joined from %s",
        *(name, row.host, namespace, peer),
        fold=name,
        by=stranger(peer),
        habit=BUSY,
        service=name,
        host=row.host,
        namespace=namespace,
        peer=peer,
    )


def _prefixes(namespace: Namespace, host: str) -> tuple[tuple[Prefix, ...], tuple[Prefix, ...]]:
    """The prefixes that lead to a host, and those that lead to others only; none of long tables."""
    own: list[Prefix] = []
    others: list[Prefix] = []
    for table in namespace.tables:
        if isinstance(table, RouteTable) and len(table) <= FEW:
            for trie in (table.tries.four, table.tries.six):
                for prefix, length, group in trie.unordered():
                    (own if host in group.names else others).append((prefix, length))
    return _sorted(own), _sorted(others)


def _sorted(found: Iterable[Prefix]) -> tuple[Prefix, ...]:
    return tuple(sorted(set(found), key=lambda one: (len(one[0]), one)))[:MAX_PREFIXES]
