"""Observers of a hub with workers: the main process tells them, once for all workers.

Knows: that a service is up as the main process accepts, that figures are the sums of all workers and of the
connections that the main process has refused.
Refuses to know: how an observer is told (observe_delivery), how figures are summed (observe_sums).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from lib import worker_ask
from lib.observe_delivery import Rows
from lib.observe_stats import Stats
from lib.observe_sums import Sums
from lib.observe_watch import ObserveWatch
from lib.worker_crew import Crew
from lib.worker_front import Front
from lib.worker_state import CLUSTER_NUMBER, Worker

SECONDS = 3.0
"""How long a worker is waited for; of one that does not answer in time the last figures count."""


class WorkerObserve(ObserveWatch):
    """The observers of a process with workers."""

    def __init__(self, fronts: Mapping[str, Front], crew: Crew) -> None:
        super().__init__(fronts, {})
        self._crew = crew
        self._sums: dict[tuple[str, str], Sums] = {}
        """(what, service) -> the figures."""
        crew.gone.append(self._gone)

    def _of_service(self, name: str, one: Any) -> Rows:
        return partial(self._service_rows, name, one)

    def _of_clients(self, name: str, one: Any) -> Rows | None:
        return partial(self._client_rows, name)

    def _service_rows(self, name: str, front: Front) -> Iterable[tuple[str, Stats]]:
        sums = self._asked("stats", name)
        refused = sum(front.refused.values())
        sums.take("the main process", {"": Stats(total_conns=refused, total_errs=refused)})
        return list(sums.rows().items())

    def _client_rows(self, name: str) -> Iterable[tuple[str, Stats]]:
        return list(self._asked("clients", name).rows().items())

    def _asked(self, what: str, name: str) -> Sums:
        """The sums, once all workers have told their figures."""
        sums = self._sums.setdefault((what, name), Sums())
        request = {"do": "api", "what": what, "with": [name]}
        workers = [one for one in self._crew.everybody() if one.number != CLUSTER_NUMBER]
        found = worker_ask.each(workers, lambda worker: worker_ask.one(worker, request), SECONDS)
        for worker, reply in found.items():
            if reply is not None and reply.get("ok") and self._crew.workers.get(worker.number) is worker:
                sums.take(worker, _READ[what](reply))
        return sums

    def _gone(self, worker: Worker) -> None:
        for sums in self._sums.values():
            sums.gone(worker)


def _read_stats(reply: Mapping[str, Any]) -> dict[str, Stats]:
    """GOST's figures of a service (observe_stats.Stats.fields)."""
    return {
        "": Stats(
            *(
                reply[name]
                for name in ("totalConns", "currentConns", "totalErrs", "inputBytes", "outputBytes")
            )
        )
    }


def _read_clients(reply: Mapping[str, Any]) -> dict[str, Stats]:
    return {client: Stats(*figures) for client, *figures in reply["rows"]}


_READ: dict[str, Callable[[Mapping[str, Any]], dict[str, Stats]]] = {
    "stats": _read_stats,
    "clients": _read_clients,
}
