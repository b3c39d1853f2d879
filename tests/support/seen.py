"""A stand-in for a hub in tests of metrics: its counters, with some hosts, sessions and drops."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from lib.datagram_channel import Figures
from lib.forward_drop_reasons import Reason, Refusal
from lib.hub import DURATIONS
from lib.metrics import Seen
from lib.metrics_ledger import Histogram, Ledger
from lib.namespace import Attachment
from lib.namespace_domain import Domain
from lib.session_budget import Budget


def attachment_of(domain: Domain, host: str, namespace: bytes = bytes(16)) -> Attachment:
    """An attachment whose session has sent, received and dropped something."""
    attachment = Attachment(domain.namespace(namespace), host, "10.0.0.1:1")
    attachment.traffic.received_bytes, attachment.traffic.sent_bytes = 1000, 2000
    attachment.traffic.received_packets, attachment.traffic.sent_packets = 10, 20
    attachment.traffic.drop(Reason.NO_ROUTE, 3)
    attachment.traffic.queued, attachment.traffic.waited, attachment.traffic.marked = 4, 0.5, 6
    return attachment


def figures(now: float) -> Figures:
    """Those of a datagram channel that is good."""
    return Figures("good", "", "10.0.0.1:4000", 0.02, 0.001, 0.015, 1500, 60, 50)


def hub_of(hosts: int, addresses: int = 1, most: int = 2000) -> Any:
    """A hub with a session of each of so many hosts, over so many client addresses."""
    domain = Domain({})
    hub = SimpleNamespace(
        by_host=Ledger[tuple[bytes, str]](most),
        by_address=Ledger[str](most),
        sessions={},
        domain=domain,
        durations=Histogram(DURATIONS),
        budget=Budget(1 << 20),
        refused={Refusal.LATE: 2},
        unnamed=0,
    )
    for number in range(hosts):
        attachment = attachment_of(domain, f"host-{number}")
        hub.sessions[attachment] = SimpleNamespace(
            control=SimpleNamespace(liveness=SimpleNamespace(rtt=0.01)),
            sender=SimpleNamespace(queued=7, silent_at=9.0 if number == 0 else 0.0),
            attachment=attachment,
            channel=SimpleNamespace(figures=figures) if number == 0 else None,
        )
        for book in (
            hub.by_host.book((attachment.namespace.id, attachment.host)),
            hub.by_address.book(f"10.0.{number % addresses // 250}.{number % addresses % 250}"),
        ):
            book.opened += 1
            book.enter(attachment)
    return hub


def seen_of(hub: Any) -> Seen:
    """A process with this hub, and nothing else."""
    return Seen({"service-0": hub}, {}, cast(Any, SimpleNamespace(all=lambda: ())))
