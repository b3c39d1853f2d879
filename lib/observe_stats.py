"""Figures of a service and of its clients as GOST counts them: connections, bytes each way, errors.

Knows: which of our counters each figure is (metrics_ledger). Refuses to know: who is told of them, in the web
API's status of a service or by an observer (observe_watch).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from lib.counters import Traffic
from lib.ids import format_uuid
from lib.metrics_ledger import Book, Ledger
from lib.metrics_names import OTHER


@dataclass(frozen=True, slots=True)
class Stats:
    """The figures of a service, or of one client of it, since the process has started."""

    total_conns: int = 0
    """Connections of a service, sessions of a client."""
    current_conns: int = 0
    total_errs: int = 0
    """Connections that became no session; of a client none."""
    input_bytes: int = 0
    """Bytes of packets received from clients; of a client service, from its hub."""
    output_bytes: int = 0

    def fields(self) -> dict[str, int]:
        """The figures with GOST's names, in the order in which its observers get them."""
        return {
            "totalConns": self.total_conns,
            "currentConns": self.current_conns,
            "inputBytes": self.input_bytes,
            "outputBytes": self.output_bytes,
            "totalErrs": self.total_errs,
        }


class HubLike(Protocol):
    """What is used of a hub."""

    by_address: Ledger[str]
    by_host: Ledger[tuple[bytes, str]]


class ClientLike(Protocol):
    """What is used of a client."""

    traffic: Traffic

    @property
    def sessions_made(self) -> int:
        """How many sessions it has had."""

    @property
    def session(self) -> object | None:
        """Its session with a hub, while there is one."""

    @property
    def failures(self) -> Mapping[str, int]:
        """How often each node could not be reached."""


def of_hub(hub: HubLike) -> Stats:
    """The figures of a hub's service, also of clients that have gone."""
    total = current = errors = into = out = 0
    for _, book in hub.by_address.rows():
        received, sent = _bytes(book)
        total, current, errors = total + book.opened, current + book.in_flight, errors + book.failed
        into, out = into + received, out + sent
    return Stats(total, current, errors, into, out)


def of_client(client: ClientLike) -> Stats:
    """The figures of a client's service."""
    traffic = client.traffic
    failed = sum(client.failures.values())
    current = int(client.session is not None)
    return Stats(client.sessions_made, current, failed, traffic.received_bytes, traffic.sent_bytes)


def by_host(hub: HubLike) -> Iterator[tuple[str, Stats]]:
    """(client, its figures) for each host of a hub, the client as GOST names it: `host-1@UUID`.

    Of very many hosts the rest are one row, `other`, as in metrics.
    """
    for key, book in hub.by_host.rows():
        client = f"{key[1]}@{format_uuid(key[0])}" if key else OTHER
        received, sent = _bytes(book)
        yield client, Stats(book.opened, len(book.live), 0, received, sent)


def _bytes(book: Book) -> tuple[int, int]:
    """(received, sent) of a book, without the rest of its counters: it is asked for often."""
    received, sent = book.over.received_bytes, book.over.sent_bytes
    for one in book.live:
        received += one.traffic.received_bytes
        sent += one.traffic.sent_bytes
    return received, sent
