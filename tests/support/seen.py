"""A hub's counters as metrics see them, without a hub: so many hosts, each with a session and some drops."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from lib.forward_drop_reasons import Reason, Refusal
from lib.hub import DURATIONS
from lib.metrics import Seen
from lib.metrics_ledger import Histogram, Ledger
from lib.namespace import Port
from lib.namespace_domain import Domain
from lib.session_queue import Budget


def port_of(domain: Domain, host: str, namespace: bytes = bytes(16)) -> Port:
    """A session that has sent, received and lost something."""
    port = Port(domain.namespace(namespace), host, "10.0.0.1:1")
    port.traffic.received_bytes, port.traffic.sent_bytes = 1000, 2000
    port.traffic.received_packets, port.traffic.sent_packets = 10, 20
    port.traffic.drop(Reason.NO_ROUTE, 3)
    port.traffic.queued, port.traffic.waited = 4, 0.5
    return port


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
    )
    for number in range(hosts):
        port = port_of(domain, f"host-{number}")
        hub.sessions[port] = SimpleNamespace(
            liveness=SimpleNamespace(rtt=0.01), link=SimpleNamespace(queued=7), port=port
        )
        for book in (
            hub.by_host.book((port.namespace.id, port.host)),
            hub.by_address.book(f"10.0.{number % addresses // 250}.{number % addresses % 250}"),
        ):
            book.opened += 1
            book.enter(port)
    return hub


def seen_of(hub: Any) -> Seen:
    """A process with this hub, and nothing else."""
    return Seen({"service-0": hub}, {}, cast(Any, SimpleNamespace(all=lambda: ())))
