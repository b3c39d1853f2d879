"""Log lines about a hub's connections: sessions that begin and end, refused connections, drops.

Knows: the words of each line. Lines that one address causes very often are written a few times and then
counted: everything else in a line (host, namespace) is chosen by the peer.
Refuses to know: when a line is due (hub, hub_session), how lines are folded and written (log_setup).
"""

from __future__ import annotations

import time
from enum import Enum

from lib import ids, namespace_titles
from lib.forward_drop_reasons import Reason, Refusal
from lib.limits import stranger
from lib.log_dedup import BUSY, RETRIED
from lib.log_events import Entry
from lib.log_setup import say, settle_all
from lib.namespace import Attachment


def listening(name: str, address: str) -> None:
    """Log that service `name` accepts clients from now on."""
    say(Entry.LISTENING, "service %s: listening on %s", name, address, service=name, address=address)


def opened(name: str, attachment: Attachment, transport: str, via: str) -> None:
    """Log that a session of service `name` has begun, over this kind of transport (tcp, tls, ws, wss).

    `via` is the address of the trusted proxy that has named the client's, empty for none.
    """
    namespace = ids.format_uuid(attachment.namespace.id)
    by = stranger(attachment.peer)
    for event in (Entry.REFUSED, Entry.CONNECTION_LOST):  # whatever failed before is over
        settle_all(event, name, by)
    say(
        Entry.SESSION_OPENED,
        "service %s: %s is host %s in namespace %s",
        *(name, f"{attachment.peer} (through {via})" if via else attachment.peer, attachment.host),
        namespace_titles.named(attachment.namespace.id),
        fold=name,
        by=by,
        habit=BUSY,
        service=name,
        host=attachment.host,
        namespace=namespace,
        peer=attachment.peer,
        via=via,
        transport=transport,
    )


def lane(name: str, attachment: Attachment, peer: str) -> None:
    """Log that a session has a second lane, which comes from `peer`."""
    say(
        Entry.LANE_JOINED,
        "service %s: %s (%s) has a second lane, of %s",
        *(name, attachment.peer, attachment.host, peer),
        fold=name,
        by=stranger(attachment.peer),
        habit=BUSY,
        service=name,
        host=attachment.host,
        peer=attachment.peer,
        lane=peer,
    )


def lane_lost(name: str, attachment: Attachment, peer: str, why: str) -> None:
    """Log that a session goes on without one of its two lanes, and why."""
    say(
        Entry.LANE_LOST,
        "service %s: %s (%s) goes on without its lane of %s: %s",
        *(name, attachment.peer, attachment.host, peer, why),
        fold=name,
        by=stranger(attachment.peer),
        habit=BUSY,
        service=name,
        host=attachment.host,
        peer=attachment.peer,
        lane=peer,
        reason=why,
    )


def closed(name: str, attachment: Attachment, why: str) -> None:
    """Log that a session has ended, and why."""
    say(
        Entry.SESSION_CLOSED,
        "service %s: %s (%s) left: %s",
        *(name, attachment.peer, attachment.host, why),
        fold=name,
        by=stranger(attachment.peer),
        habit=BUSY,
        service=name,
        host=attachment.host,
        namespace=ids.format_uuid(attachment.namespace.id),
        peer=attachment.peer,
        reason=why,
        seconds=round(time.monotonic() - attachment.since, 1),
        received_bytes=attachment.traffic.received_bytes,
        sent_bytes=attachment.traffic.sent_bytes,
    )


HARMLESS = frozenset((Reason.MULTICAST, Reason.LINK_LOCAL))
"""Reasons for drops that say nothing about a mistake: every host sends such packets by itself."""


def datagrams_dropped(name: str, reason: Reason, detail: str) -> None:
    """Log that datagrams of other hubs are dropped for a reason the first time; `detail` may be empty."""
    what = f" {detail}" if detail else ""
    say(
        Entry.DROPS,
        "service %s: datagrams of other hubs are dropped: %s%s: %s",
        *(name, reason.value, what, reason.doc),
        fold=f"{name} {reason.value}",
        habit=BUSY,
        service=name,
        host="",
        peer="",
        reason=reason.value,
        detail=detail,
    )


def drops(name: str, attachment: Attachment, reason: Reason, detail: str) -> None:
    """Log that packets of a session are dropped for a reason the first time; `detail` may be empty."""
    what = f" {detail}" if detail else ""
    by = stranger(attachment.peer)
    if reason in HARMLESS:
        say(
            Entry.HARMLESS_DROPS,
            "host %s (%s): packets are dropped, as always: %s%s: %s",
            *(attachment.host, attachment.peer, reason.value, what, reason.doc),
            fold=f"{name} {reason.value}",
            by=by,
            service=name,
            host=attachment.host,
            peer=attachment.peer,
            reason=reason.value,
            detail=detail,
        )
        return
    say(
        Entry.DROPS,
        "host %s (%s): packets are dropped: %s%s: %s",
        *(attachment.host, attachment.peer, reason.value, what, reason.doc),
        fold=f"{name} {reason.value}",
        by=by,
        service=name,
        host=attachment.host,
        peer=attachment.peer,
        reason=reason.value,
        detail=detail,
    )
    if reason is Reason.WRONG_SOURCE:
        source = detail.partition(" ")[0]
        say(
            Entry.ADVICE,
            "a route `dst: %s, gateway: %s` would allow it, `sourceCheck: off` would allow all",
            *(source, attachment.host),
            fold=name,
            by=by,
            service=name,
            host=attachment.host,
            advice=f"dst: {source}, gateway: {attachment.host}",
        )


class Mistake(Enum):
    """What is wrong with the identity of a host (hub_identity); the value is its name in the log."""

    GATEWAY_OF_NOTHING = "gateway-of-nothing"
    UNKNOWN_NAMESPACE = "unknown-namespace"
    NAME_TWICE = "name-twice"


def identity(mistake: Mistake, name: str, line: str, host: str, namespace: bytes, peer: str) -> None:
    """Log what is wrong with the identity of a host, in the words of `line`."""
    say(
        Entry.MISTAKEN_IDENTITY,
        "service %s: %s (%s)",
        *(name, line, peer),
        fold=f"{name} {mistake.value}",
        by=stranger(peer),
        habit=RETRIED,
        service=name,
        host=host,
        namespace=ids.format_uuid(namespace),
        peer=peer,
        mistake=mistake.value,
        reason=line,
    )


def hello(name: str, attachment: Attachment, software: str) -> None:
    """Log that a client is a tunrouter: its HELLO has come."""
    say(
        Entry.HELLO,
        "%s (%s) is %s, offloads %#x",
        *(attachment.peer, attachment.host, software, attachment.offloads),
        fold=name,
        by=stranger(attachment.peer),
        habit=BUSY,
        service=name,
        host=attachment.host,
        peer=attachment.peer,
        software=software,
        offloads=attachment.offloads,
    )


def refused(name: str, peer: str, refusal: Refusal, why: str) -> None:
    """Log that a connection is refused."""
    say(
        Entry.REFUSED,
        "service %s: %s: %s",
        *(name, peer, why),
        fold=f"{name} {refusal.value}",
        by=stranger(peer),
        habit=RETRIED,
        service=name,
        peer=peer,
        reason=refusal.value,
        detail=why,
    )


def lost(name: str, peer: str, error: OSError) -> None:
    """Log that a connection broke before it became a session."""
    reason = error.strerror or str(error)
    say(
        Entry.CONNECTION_LOST,
        "service %s: %s: %s",
        *(name, peer, reason),
        fold=name,
        by=stranger(peer),
        habit=RETRIED,
        service=name,
        peer=peer,
        reason=reason,
    )
