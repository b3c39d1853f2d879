"""What the web API knows of each host: its state, figures, problems, and its row in the list.

Knows: when a host is away, flapping, dropping or stuck, which figures are rounded how.
Refuses to know: where samples come from (api_live), who is shown which rows (api_board), clocks.

A row is a list in the order of COLUMNS. What stands still has to stay the same to the byte, for only what
differs is sent to pages: so figures are rounded to two digits that count.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lib.api_history import History
from lib.session_problems import DROP_SECONDS, LOSSY, QUEUE_SECONDS

COLUMNS = (
    *("id", "host", "ns", "state", "since", "problems", "peer", "address", "prefixes", "rtt", "loss"),
    *("in", "out", "queue", "queue_s", "drops", "drops_s", "software", "service"),
)
ID, NS, STATE, PROBLEMS = (COLUMNS.index(name) for name in ("id", "ns", "state", "problems"))
IN, OUT, DROPS_S = (COLUMNS.index(name) for name in ("in", "out", "drops_s"))
UP, AWAY, DRAINING = "up", "away", "draining"
MAX_HOSTS = 5000
"""Hosts that are kept, those that are connected first."""
MAX_EVENTS = 20
"""What has happened to a host, the latest."""

AWAY_SECONDS = 10.0
FLAPS, FLAP_SECONDS = 3, 600.0
"""So many sessions that began within so long are a host that comes and goes."""
STANDS_SECONDS = 8.0
"""A queue stands where what is in it has waited long (QUEUE_SECONDS), for so long."""

Row = list[Any]


class Counts(NamedTuple):
    """The counters of one session."""

    received: int
    """Bytes from the host."""
    sent: int
    dropped: int
    """Packets."""
    missed: int
    """Those that were not dropped by intent."""


class Sample(NamedTuple):
    """What a look has found of a host that is connected."""

    sessions: Mapping[Any, Counts]
    """By what no two sessions have in common."""
    service: str
    peer: str
    address: str
    software: str
    rtt: float
    loss: float | None
    queue: int
    queue_s: float
    draining: bool
    conflict: bool
    misnamed: bool
    silent: bool
    """Whether nothing reaches it by one of its sessions."""


@dataclass(slots=True, eq=False)
class Host:
    """One host, as long as it is kept."""

    id: int
    host: str
    namespace: bytes
    ns: str
    """Its UUID as text."""
    domain: str
    """The services among which its sessions may move: they share a domain."""
    service: str = ""
    state: str = AWAY
    since: int = 0
    """Seconds since 1970."""
    changed_at: float = 0.0
    """The same by a steady clock."""
    peer: str = ""
    address: str = ""
    software: str = ""
    prefixes: list[str | int] = field(default_factory=list)
    rtt: float = 0.0
    loss: float | None = None
    received_s: float = 0.0
    sent_s: float = 0.0
    drops_s: float = 0.0
    drops: int = 0
    queue: int = 0
    queue_s: float = 0.0
    conflict: bool = False
    misnamed: bool = False
    silent: bool = False
    excused: bool = False
    """Whether an operator has ended its session: it is no problem that it is away."""
    history: History | None = None
    events: deque[tuple[int, str, str]] = field(default_factory=lambda: deque(maxlen=MAX_EVENTS))
    """(seconds since 1970, what, a sentence), the latest last."""
    _known: Mapping[Any, Counts] = field(default_factory=dict)
    _opened: int = -1
    _starts: deque[float] = field(default_factory=lambda: deque(maxlen=FLAPS))
    _missed_at: float = float("-inf")
    _queued_at: float = float("inf")
    _looked_at: float = 0.0

    def happened(self, wall: float, what: str, text: str) -> None:
        """Remember what has happened to it."""
        self.events.append((int(wall), what, text))

    def take(self, sample: Sample | None, opened: int, now: float, wall: float) -> None:
        """Take what a look has found; None where it is not connected.

        `opened` counts the sessions that it has had (-1: nobody knows), `now` is of a steady clock, `wall` is
        seconds since 1970.
        """
        self._count_starts(sample, opened, now)
        seconds = max(0.05, now - self._looked_at) if self._looked_at else 0.0
        self._looked_at = now
        state = AWAY if sample is None else DRAINING if sample.draining else UP
        if state != self.state or not self.since:
            self._change(state, sample, now, wall)
        if sample is None:
            self._known = {}
            self.received_s = self.sent_s = self.drops_s = self.queue_s = self.rtt = 0.0
            self.loss, self.queue, self._queued_at = None, 0, float("inf")
            self.conflict = self.misnamed = self.silent = False
            return
        self._rate(sample, seconds, now)
        _, self.service, self.peer, self.address, self.software, self.rtt, self.loss = sample[:7]
        self.queue, self.queue_s = sample.queue, sample.queue_s
        self.conflict, self.misnamed, self.silent = sample.conflict, sample.misnamed, sample.silent
        self._queued_at = min(self._queued_at, now) if self.queue_s > QUEUE_SECONDS else float("inf")

    def _count_starts(self, sample: Sample | None, opened: int, now: float) -> None:
        begun = [key for key in sample.sessions if key not in self._known] if sample is not None else []
        count = len(begun)
        if opened >= 0:
            count, self._opened = opened - self._opened if self._opened >= 0 else count, opened
        self._starts.extend([now] * min(max(count, 0), FLAPS))

    def _change(self, state: str, sample: Sample | None, now: float, wall: float) -> None:
        before, self.state = self.state, state
        first, self.since, self.changed_at = not self.since, int(wall), now
        if state == UP and before != DRAINING:
            self.excused = False
            if sample is not None:
                self.happened(wall, "up", f"connected from {sample.peer}")
        elif state == AWAY and not first:
            self.happened(wall, "down", f"its session with {self.peer} has ended")

    def _rate(self, sample: Sample, seconds: float, now: float) -> None:
        received = sent = dropped = missed = 0
        for key, counts in sample.sessions.items():
            before = self._known.get(key) or (Counts(0, 0, 0, 0) if seconds else counts)
            received += counts.received - before.received
            sent += counts.sent - before.sent
            dropped += counts.dropped - before.dropped
            missed += counts.missed - before.missed
        self._known = sample.sessions
        self.drops = sum(counts.dropped for counts in sample.sessions.values())
        if missed > 0:
            self._missed_at = now
        if seconds:
            self.received_s = _smooth(self.received_s, max(0, received) / seconds)
            self.sent_s = _smooth(self.sent_s, max(0, sent) / seconds)
            self.drops_s = _smooth(self.drops_s, max(0, dropped) / seconds)

    def problems(self, now: float) -> list[str]:
        """The codes of its problems, the worst first."""
        found = []
        if self.state == AWAY and not self.excused and now - self.changed_at > AWAY_SECONDS:
            found.append("away")
        if self.conflict:
            found.append("conflict")
        if self.silent:
            found.append("silent")
        if len(self._starts) == FLAPS and now - self._starts[0] < FLAP_SECONDS:
            found.append("flapping")
        if now - self._missed_at < DROP_SECONDS:
            found.append("dropping")
        if now - self._queued_at >= STANDS_SECONDS:
            found.append("queue")
        if self.loss is not None and self.loss > LOSSY:
            found.append("loss")
        if self.misnamed:
            found.append("name")
        return found

    def row(self, now: float) -> Row:
        """Its row, in the order of COLUMNS."""
        return [
            *(self.id, self.host, self.ns, self.state, self.since, self.problems(now), self.peer),
            *(self.address, self.prefixes, two(self.rtt) or None if self.rtt else None),
            *(None if self.loss is None else round(self.loss, 3), two(self.received_s), two(self.sent_s)),
            *(two(self.queue), round(self.queue_s, 3), self.drops, two(self.drops_s), self.software),
            self.service,
        ]

    def figures(self) -> tuple[float | None, ...]:
        """What its history keeps, in the order of api_history.FIELDS."""
        if self.state == AWAY:
            return (None,) * 6
        return (*(self.received_s, self.sent_s, self.rtt or None, self.loss, self.queue_s, self.drops_s),)


def two(value: float) -> float:
    """A figure with two digits that count, as an int where it is one."""
    if value >= 10:
        scale = 1
        while value >= 100 * scale:
            scale *= 10
        return int(value / scale + 0.5) * scale
    return float(f"{value:.2g}") if value else 0


def _smooth(before: float, value: float) -> float:
    """Half of the news, half of what was: what comes in bursts stands still on the page."""
    smooth = (before + value) / 2
    return smooth if smooth >= 0.05 else 0.0


class Hosts:
    """All hosts that are kept, by (domain, namespace, host name)."""

    def __init__(self, uuid: Callable[[bytes], str]) -> None:
        """`uuid` writes the id of a namespace."""
        self.by_key: dict[tuple[str, bytes, str], Host] = {}
        self.by_id: dict[int, Host] = {}
        self._uuid, self._last = uuid, 0
        self.left_out = 0
        """Hosts that found no room since the last look began."""

    def get(self, domain: str, namespace: bytes, host: str) -> Host | None:
        """The host of a name, made where there is room; None where there is none."""
        key = domain, namespace, host
        found = self.by_key.get(key)
        if found is None:
            if len(self.by_key) >= MAX_HOSTS and not self._make_room():
                self.left_out += 1
                return None
            self._last += 1
            found = Host(self._last, host, namespace, self._uuid(namespace), domain)
            self.by_key[key] = self.by_id[found.id] = found
        return found

    def _make_room(self) -> bool:
        """Forget the host that has been away longest."""
        away = [one for one in self.by_key.values() if one.state == AWAY]
        if not away:
            return False
        self.forget(min(away, key=lambda one: one.changed_at))
        return True

    def forget(self, one: Host) -> None:
        """Keep a host no longer."""
        del self.by_key[one.domain, one.namespace, one.host], self.by_id[one.id]
