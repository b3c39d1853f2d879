"""Metrics of several processes, merged into one text in which no counter goes backwards.

Knows: which metrics add up, of which one value stands for all, and which each process has for itself; that
what a worker has counted stays counted when it has ended, or does not answer for a while.
Refuses to know: how workers are asked (worker_metrics), where values come from (metrics).

A text is read as our own processes write it (metrics.exposition): HELP, TYPE, then the rows of that metric.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeVar

END = b"# EOF\n"
"""Ends the text of a worker: without it a part is missing."""
MAX_ENDED = 20_000
"""Rows of one metric that are kept of workers that have ended; more only while a worker has them too."""
PIECE = 200
"""Rows in one piece of text."""

W = TypeVar("W", bound=Hashable)
Rows = dict[bytes, float]
"""A row's name and labels, as in the text -> its value."""


class How(Enum):
    """What becomes of the values that several processes have for one row."""

    ADD = "they are summed"
    MOST = "the largest stands for all"
    LEAST = "the smallest stands for all"
    EACH = "a row for each, those of workers with the label `worker`"


GAUGES: Mapping[str, How] = {
    "gost_services": How.MOST,
    "gost_service_requests_in_flight": How.ADD,
    "tunrouter_build_info": How.MOST,
    "tunrouter_sessions": How.ADD,
    "tunrouter_silent_sessions": How.ADD,
    "tunrouter_session_rtt_seconds": How.MOST,
    "tunrouter_datagram_sessions": How.ADD,
    "tunrouter_datagram_rtt_seconds": How.MOST,
    "tunrouter_datagram_loss_ratio": How.MOST,
    "tunrouter_queue_bytes": How.ADD,
    "tunrouter_queue_memory_bytes": How.ADD,
    "tunrouter_client_connected": How.MOST,
    "tunrouter_client_silent_sessions": How.MOST,
    "tunrouter_client_rtt_seconds": How.MOST,
    "tunrouter_client_datagrams": How.MOST,
    "tunrouter_client_datagram_rtt_seconds": How.MOST,
    "tunrouter_client_datagram_loss_ratio": How.MOST,
    "tunrouter_client_queue_bytes": How.ADD,
    "tunrouter_cluster_hub_live": How.LEAST,
    "tunrouter_cluster_hub_hosts": How.MOST,
    "tunrouter_cluster_hub_sessions": How.MOST,
    "tunrouter_cluster_link_rtt_seconds": How.MOST,
    "tunrouter_cluster_link_datagrams": How.MOST,
    "tunrouter_cluster_link_datagram_rtt_seconds": How.MOST,
    "tunrouter_cluster_link_datagram_loss_ratio": How.MOST,
    "tunrouter_cluster_registry_up": How.LEAST,
    "tunrouter_sd_sessions": How.ADD,
    "tunrouter_routes": How.MOST,
    "tunrouter_rules": How.MOST,
    "tunrouter_source_up": How.LEAST,
    "tunrouter_source_age_seconds": How.MOST,
    "tunrouter_log_waiting": How.ADD,
    "tunrouter_notify_waiting": How.ADD,
    "tunrouter_namespace_info": How.MOST,
    "tunrouter_policy_tests": How.MOST,
    "tunrouter_task_up": How.LEAST,
    "tunrouter_worker_up": How.MOST,
    "tunrouter_worker_connections": How.MOST,
}
"""All gauges of metrics_names, and our version: how is to be thought about for each. All others add up."""
_OF_A_PROCESS = ("process_", "python_")


def how(name: str, kind: str) -> How:
    """How a metric of this name and kind is merged; one that nobody knows is told of each process."""
    if name.startswith(_OF_A_PROCESS):
        return How.EACH
    return How.ADD if kind in ("counter", "histogram") else GAUGES.get(name, How.EACH)


@dataclass(slots=True)
class Merged:
    """One metric of one process."""

    head: bytes = b""
    """HELP and TYPE."""
    how: How = How.EACH
    counts: bool = False
    """Whether its values only grow, and have to go on where a worker cannot tell them any more."""
    rows: Rows = field(default_factory=dict)


class Sheet:
    """The metrics of one process, read from its text in pieces of any size."""

    def __init__(self) -> None:
        self.metrics: dict[str, Merged] = {}
        self.whole = False
        """Whether the end has come."""
        self._rest = b""
        self._now = Merged()

    def read(self, piece: bytes) -> None:
        """Take one more piece. Raises ValueError where it is no text of metrics."""
        lines = (self._rest + piece).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            if not line.startswith(b"#"):
                name, _, value = line.rpartition(b" ")
                self._now.rows[name] = float(value)
            elif line == END[:-1]:
                self.whole = True
            else:
                self._comment(line)

    def _comment(self, line: bytes) -> None:
        _, word, name, text = line.decode().split(" ", 3)
        if word == "HELP":
            self._now = self.metrics.setdefault(name, Merged())
            self._now.head = line + b"\n"
        elif word == "TYPE":
            now = self._now
            now.head += line + b"\n"
            now.how = how(name, text)
            now.counts = now.how is How.ADD and text != "gauge"


class Figures:
    """The figures of a process with workers: what they count goes on, whatever becomes of them."""

    def __init__(self) -> None:
        self._last: dict[Hashable, dict[str, Rows]] = {}
        """What each worker has counted when it was asked the last time."""
        self._ended: dict[str, Rows] = {}
        """What those have counted that have ended."""

    def take(self, told: Mapping[W, Sheet], alive: Collection[Hashable]) -> None:
        """Note what workers have told, and which are there still; lets nobody run meanwhile."""
        for worker, sheet in told.items():
            self._last[worker] = {name: one.rows for name, one in sheet.metrics.items() if one.counts}
        for gone in [worker for worker in self._last if worker not in alive]:
            for name, rows in self._last.pop(gone).items():
                self._end(name, rows)

    def _end(self, name: str, rows: Rows) -> None:
        ended = self._ended.setdefault(name, {})
        for row, value in rows.items():
            ended[row] = ended.pop(row, 0.0) + value  # the last one that was added to is at the end
        surplus = len(ended) - MAX_ENDED
        if surplus > 0:
            needed = set[bytes]().union(*(last.get(name, {}) for last in self._last.values()))
            for row in [row for row in ended if row not in needed][:surplus]:
                del ended[row]

    def text(self, own: Sheet, told: Mapping[int, Sheet]) -> Iterator[bytes]:
        """The whole text (UTF-8) in pieces: of this process, and of workers by their numbers."""
        sheets = [own, *told.values()]
        for name in dict.fromkeys(name for sheet in sheets for name in sheet.metrics):
            found = [sheet.metrics[name] for sheet in sheets if name in sheet.metrics]
            first = found[0]
            if first.how is How.EACH:
                rows = _each(own, told, name)
            elif first.counts:
                counted = [last[name] for last in self._last.values() if name in last]
                mine = own.metrics[name].rows if name in own.metrics else {}
                rows = _added([self._ended.get(name, {}), mine, *counted])
            else:
                rows = _one(first.how, (one.rows for one in found))
            yield first.head
            yield from _pieces(rows)


def _pieces(rows: Mapping[bytes, float]) -> Iterator[bytes]:
    lines: list[bytes] = []
    for row, value in rows.items():
        lines.append(b"%b %b\n" % (row, repr(value).encode()))
        if len(lines) == PIECE:
            yield b"".join(lines)
            lines.clear()
    yield b"".join(lines)


def _added(some: Iterable[Rows]) -> Rows:
    total: Rows = {}
    for rows in some:
        for row, value in rows.items():
            total[row] = total.get(row, 0.0) + value
    return total


def _one(how: How, some: Iterable[Rows]) -> Rows:
    if how is How.ADD:
        return _added(some)
    choose = max if how is How.MOST else min
    found: Rows = {}
    for rows in some:
        for row, value in rows.items():
            found[row] = choose(found[row], value) if row in found else value
    return found


def _each(own: Sheet, told: Mapping[int, Sheet], name: str) -> Rows:
    rows = dict(own.metrics[name].rows) if name in own.metrics else {}
    for number, sheet in told.items():
        if name in sheet.metrics:
            rows |= {
                labelled(row, b'worker="%d"' % number): value
                for row, value in sheet.metrics[name].rows.items()
            }
    return rows


def labelled(row: bytes, label: bytes) -> bytes:
    """A row's name and labels with one label more."""
    if not row.endswith(b"}"):
        return b"%b{%b}" % (row, label)
    return b"%b%b%b}" % (row[:-1], b"" if row.endswith(b"{}") else b",", label)
