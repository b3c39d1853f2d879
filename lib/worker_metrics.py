"""Metrics and probes of a process with workers: each worker is asked, and what they tell is merged.

Knows: how long a scrape waits for a worker, how much one may tell, that scrapes at the same time share one
text; what only the main process can tell (who was turned away, which workers there are, how sources do).
Refuses to know: how values are merged (worker_figures), what a worker tells (metrics), HTTP (metrics_server).

A worker that does not answer in time costs its gauges, and no scrape: what it had counted stands still until
it answers again.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from itertools import chain

from gevent.lock import BoundedSemaphore

from lib import metrics, worker_ask
from lib.ctl_health import Probes
from lib.hub_tables import Tables
from lib.metrics import Seen, label_text
from lib.metrics_names import GOST, REFUSED, WORKER, Family
from lib.service_scheduling import Breaths
from lib.worker_crew import Crew
from lib.worker_figures import Figures, Sheet
from lib.worker_front import Front
from lib.worker_sources import Sources
from lib.worker_state import Worker

SECONDS = 3.0
"""How long a worker may take: less than a third of the time that Prometheus gives a scrape."""
MAX_BYTES = 64 << 20
"""Of one worker's text; 2,000 hosts and as many addresses in ten services are half of it."""


class WorkerMetrics:
    """Whoever reads the metrics of this process is told those of all workers by it."""

    def __init__(
        self,
        crew: Crew,
        fronts: Mapping[str, Front],
        tables: Tables,
        sources: Sources,
        ending: Callable[[], bool],
    ) -> None:
        """`tables` are those of this process; `ending` says whether it has been told to end."""
        self._crew, self._fronts, self._tables, self._ending = crew, fronts, tables, ending
        self._sources = sources
        self._figures = Figures()
        self._one = BoundedSemaphore(1)
        self._askers = 0
        self._began = 0.0
        """When the text that is there was begun (seconds of a steady clock)."""
        self._text: list[bytes] = []
        """Kept while somebody waits for one."""

    def exposition(self) -> list[bytes]:
        """The whole text in pieces; those who ask while one is made share the next."""
        asked = time.monotonic()
        self._askers += 1
        try:
            with self._one:
                if self._began < asked:
                    began = time.monotonic()
                    self._text = list(self._made(Breaths()))
                    self._began = began
                return self._text
        finally:
            self._askers -= 1
            if not self._askers:
                self._text = []

    def _made(self, step: Breaths) -> Iterator[bytes]:
        found = worker_ask.each(list(self._crew.everybody()), self._sheet, SECONDS)
        told = {worker: sheet for worker, sheet in found.items() if sheet is not None}
        own, numbers = Sheet(), {worker.number: sheet for worker, sheet in told.items()}
        for piece in chain(metrics.exposition(Seen({}, {}, self._tables)), self._own_rows(numbers)):
            own.read(piece)
            step()
        self._figures.take(told, list(self._crew.workers.values()))
        for piece in self._figures.text(own, numbers):
            yield piece
            step()

    def _sheet(self, worker: Worker) -> Sheet | None:
        """What a worker tells; None where that is not the whole."""
        sheet, size, step = Sheet(), 0, Breaths()
        try:
            with worker_ask.connected(worker, {"do": "metrics"}) as sock:
                if not json.loads(worker_ask.line(sock))["ok"]:
                    return None
                while not sheet.whole and size < MAX_BYTES:
                    piece = sock.recv(worker_ask.PIECE)
                    if not piece:
                        return None
                    size += len(piece)
                    sheet.read(piece)
                    step()
        except (OSError, ValueError):
            return None
        return sheet if sheet.whole else None

    def _own_rows(self, told: Collection[int]) -> Iterator[bytes]:
        services = [(label_text(GOST["services"], socket.gethostname()), float(len(self._fronts)))]
        yield from metrics.written(GOST["services"], services)
        refused = [
            (label_text(REFUSED, name, why.value), float(count))
            for name, front in self._fronts.items()
            for why, count in front.refused.items()
        ]
        yield from metrics.written(REFUSED, refused)
        for family, rows in metrics.of_sources((label, feed) for _, label, feed in self._sources.all()):
            yield from metrics.written(family, rows)
        numbers = range(1, self._crew.count + 1)
        yield from _by_worker(WORKER["up"], {n: float(n in told) for n in numbers})
        given = {one.number: float(one.connections()) for one in self._crew.workers.values()}
        yield from _by_worker(WORKER["connections"], {n: given.get(n, 0.0) for n in numbers})
        yield from metrics.written(WORKER["deaths"], [("", float(self._crew.deaths))])

    # --- probes

    def probes(self) -> Probes:
        """What `/healthz` and `/readyz` tell of: this process and all workers."""
        return {path: partial(self._problems, path) for path in ("/healthz", "/readyz")}

    def _problems(self, path: str) -> list[str]:
        request = {"do": "probe", "path": path}
        found = worker_ask.each(
            list(self._crew.everybody()), lambda worker: worker_ask.one(worker, request), SECONDS
        )
        problems = ["the process has been told to end"] if path == "/readyz" and self._ending() else []
        if not self._ending():
            deaf = (name for name, front in self._fronts.items() if not front.listens)
            problems += [f"hub {name}: nothing is accepted" for name in deaf]
        fault = self._crew.fault()
        problems += [fault] if fault else []
        for worker, reply in found.items():
            if reply is not None and reply["ok"]:
                problems += reply["problems"]
            elif worker.ready:
                problems.append(f"{worker.name}: {(reply or {}).get('error') or 'it does not answer'}")
        return list(dict.fromkeys(problems))


def _by_worker(family: Family, values: Mapping[int, float]) -> Iterator[bytes]:
    return metrics.written(family, [(label_text(family, str(n)), value) for n, value in values.items()])
