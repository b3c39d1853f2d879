"""Events as GOST's observers get them, and which figures are news to an observer.

    {"events": [{"kind": "service", "service": "service-0", "type": "status",
                 "status": {"state": "running", "msg": "service service-0 is running"}},
                {"kind": "handler", "service": "service-0", "client": "host-1@UUID", "type": "stats",
                 "stats": {"totalConns": 1, "currentConns": 1, "inputBytes": 28, …}}]}

Knows: the shape of each event, what has been told of each client and what has changed since.
Refuses to know: how events travel (observe_delivery), when it is time for them (observe_watch).
Source: recorded from a GOST 3.3 (tests/data/admission_and_observer_requests.json).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from lib.observe_stats import Stats

SERVICE, HANDLER = "service", "handler"
RUNNING, READY, CLOSED = "running", "ready", "closed"
MOST = 500
"""Events of one request at most; the others come in further requests."""

Event = dict[str, object]
NOTHING = Stats()


def status(service: str, state: str) -> Event:
    """The event of a service whose state is new: RUNNING, READY or CLOSED."""
    words = {"state": state, "msg": f"service {service} is {state}"}
    return {"kind": SERVICE, "service": service, "type": "status", "status": words}


def stats(kind: str, service: str, client: str, figures: Stats) -> Event:
    """The event with the figures of a service (`client` is "" then), or of one client of its handler."""
    event: Event = {"kind": kind, "service": service}
    if client:
        event["client"] = client
    return {**event, "type": "stats", "stats": figures.fields()}


@dataclass(slots=True)
class Ledger:
    """What an observer knows of a service or of the clients of a handler.

    Figures count as told only once the observer has taken them, so none is lost and none is told twice.
    """

    kind: str
    """SERVICE or HANDLER."""
    service: str
    reset: bool = False
    """Whether bytes count from what was told last, instead of the start (GOST's resetTraffic)."""
    _told: dict[str, Stats] = field(default_factory=dict)
    """Client, "" for a service -> the figures that the observer has."""

    def news(self, rows: Iterable[tuple[str, Stats]]) -> list[tuple[str, Stats]]:
        """The rows that are not what the observer knows; clients that are there no more are forgotten."""
        now = dict(rows)
        self._told = {client: figures for client, figures in self._told.items() if client in now}
        return [(client, figures) for client, figures in now.items() if figures != self._known(client)]

    def event(self, client: str, figures: Stats) -> Event:
        """The event that tells of such a row."""
        if self.reset:
            before = self._known(client)
            figures = replace(
                figures,
                input_bytes=_since(figures.input_bytes, before.input_bytes),
                output_bytes=_since(figures.output_bytes, before.output_bytes),
            )
        return stats(self.kind, self.service, client, figures)

    def took(self, rows: Iterable[tuple[str, Stats]]) -> None:
        """The observer has taken the events of these rows."""
        self._told.update(rows)

    def _known(self, client: str) -> Stats:
        return self._told.get(client, NOTHING)


def _since(now: int, before: int) -> int:
    """What has been counted since; a counter that has begun anew counts from zero."""
    return now - before if now >= before else now
