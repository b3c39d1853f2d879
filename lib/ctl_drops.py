"""Reply to the control socket's `drops`: dropped packets and refused clients, by reason, with a remedy.

Knows: the fields of the reply (PROTOCOL.md, the control socket). Refuses to know: why packets are dropped
(forward_drop_reasons, forward).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from lib import cluster_running, ctl_filter, namespace_titles
from lib.counters import Traffic
from lib.forward_drop_reasons import Refusal
from lib.hub import Hub
from lib.namespace import Lost
from lib.namespace_domain import Domain
from lib.packet import format_address
from lib.packet_text import summary

if TYPE_CHECKING:
    from lib.client import Client

MAX_LOST = 20
"""Destinations of a namespace that are listed with their drops, the latest ones."""
OTHER_HUBS = "(another hub)"
"""Host name of the rows of what comes from another hub and goes there."""
ENDED = "(ended)"
"""Host name of the row that sums up all sessions that have ended."""

Row = dict[str, object]


class Refusing(Protocol):
    """What turns clients away."""

    refused: Counter[Refusal]
    turned_away: dict[Refusal, tuple[float, str, str]]
    """The last one for each reason: (when, its address:port, why)."""


def drops(
    hubs: Mapping[str, Hub], clients: Mapping[str, Client], request: Mapping[str, Any]
) -> dict[str, object]:
    """The reply: drops by namespace, session and reason, the latest by destination, and refusals.

    With "host" or "ns" in the request only what fits, so no refusals, and with "host" no destinations, since
    nobody knows whose those were. Raises ValueError for a wrong "ns".
    """
    now, wanted = time.monotonic(), ctl_filter.read(request)
    domains = list({id(hub.domain): hub.domain for hub in hubs.values()}.values())
    namespaces = [namespace for domain in domains for namespace in domain.namespaces.values()]
    namespaces = [one for one in namespaces if wanted.fits(wanted.host, one.id)]

    def rows() -> Iterator[Row | None]:
        for namespace in namespaces:
            name = namespace_titles.fields(namespace.id)
            for attachment in namespace.attachments():
                yield None
                if wanted.host in ("", attachment.host):
                    yield from _rows(name, attachment.host, attachment.peer, attachment.traffic, now)
            if not wanted.host:
                yield from _rows(name, ENDED, "", namespace.gone, now)
        for counters in _of_no_session(domains) if not wanted else ():
            yield from _rows(*counters, now)
        for client in clients.values():
            if wanted.fits(client.settings.host, client.node.namespace):
                peer = client.session.peer if client.session else ""
                yield from _rows(_nowhere("-"), client.settings.host, peer, client.traffic, now)

    def destinations() -> Iterator[Row]:
        for namespace in namespaces if not wanted.host else ():
            name = namespace_titles.fields(namespace.id)
            for where, lost in list(namespace.lost.items())[-MAX_LOST:]:
                yield _late(name, where, lost, now)

    refusals = [row for name, hub in hubs.items() if not wanted for row in refusals_of(name, hub, now)]
    return {"drops": rows(), "destinations": destinations(), "refusals": refusals}


def _of_no_session(domains: Iterable[Domain]) -> Iterator[tuple[Row, str, str, Traffic]]:
    """Where, who, the peer and the counters, of namespaces that have gone and of other hubs.

    Datagrams that are nobody's have our own address.
    """
    for domain in domains:
        yield _nowhere("(gone)"), ENDED, "", domain.gone
    for one in cluster_running.counted():
        yield _nowhere("-"), OTHER_HUBS, one.address, one.traffic


def _nowhere(what: str) -> Row:
    """The fields that name a namespace, for what is in none."""
    return {"namespace": what, "title": ""}


def _rows(namespace: Row, host: str, peer: str, traffic: Traffic, now: float) -> Iterator[Row]:
    for reason, count in list(traffic.drops.items()):
        if not count:
            continue
        seen = traffic.last.get(reason)
        yield {
            **namespace,
            "host": host,
            "peer": peer,
            "reason": reason.value,
            "count": count,
            "about": reason.doc,
            "remedy": reason.remedy,
            "last": {"packet": summary(seen.head), "ago_s": round(now - seen.at, 1)} if seen else None,
        }


def _late(namespace: Row, destination: bytes, lost: Lost, now: float) -> Row:
    return {
        **namespace,
        "destination": format_address(destination),
        "reasons": {reason.value: count for reason, count in lost.reasons.items()},
        "last_s": round(now - lost.last, 1),
    }


def refusals_of(service: str, hub: Refusing, now: float) -> Iterator[Row]:
    """The clients that a service has turned away, by reason."""
    for refusal, count in hub.refused.items():
        at, peer, why = hub.turned_away[refusal]
        yield {
            "service": service,
            "reason": refusal.value,
            "count": count,
            "about": refusal.doc,
            "remedy": refusal.remedy,
            "last": {"peer": peer, "why": why, "ago_s": round(now - at, 1)},
        }
