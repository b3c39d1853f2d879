"""Figures of a service, or of its clients, summed over the workers that count them; no sum goes backwards.

Knows: that what a worker has counted stays in the sums after its end, but for connections, which have ended.
Refuses to know: how workers are asked (worker_observe), what is counted (observe_stats).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lib.metrics_names import MAX_KEYS, OTHER
from lib.observe_stats import Stats

Rows = Mapping[str, Stats]
"""Client, "" for a service -> its figures."""
NOTHING = Stats()


@dataclass(slots=True, eq=False)
class Sums:
    """The figures of one service, or of its clients."""

    _told: dict[Any, Rows] = field(default_factory=dict)
    """Worker -> what it has told last."""
    _ended: dict[str, Stats] = field(default_factory=dict)
    """What workers had counted that have ended."""

    def take(self, worker: object, rows: Rows) -> None:
        """What a worker tells now."""
        self._told[worker] = rows

    def gone(self, worker: object) -> None:
        """A worker has ended, with all its connections."""
        for client, stats in self._told.pop(worker, {}).items():
            known = client in self._ended or len(self._ended) < MAX_KEYS
            key = client if known else OTHER
            self._ended[key] = _sum([self._ended.get(key, NOTHING), replace(stats, current_conns=0)])

    def rows(self) -> dict[str, Stats]:
        """The sums by client: the clients of workers, and those that were at workers which have ended."""
        found: dict[str, Stats] = dict(self._ended)
        for rows in self._told.values():
            for client, stats in rows.items():
                found[client] = _sum([found[client], stats]) if client in found else stats
        return found


def _sum(some: Iterable[Stats]) -> Stats:
    total = current = errors = into = out = 0
    for one in some:
        total, current, errors = (
            total + one.total_conns,
            current + one.current_conns,
            errors + one.total_errs,
        )
        into, out = into + one.input_bytes, out + one.output_bytes
    return Stats(total, current, errors, into, out)
