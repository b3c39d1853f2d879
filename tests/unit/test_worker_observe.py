"""Observers beside workers: they get the sums of all, from one process, also after a worker has ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from lib import worker_ask
from lib.forward_drop_reasons import Refusal
from lib.observe_events import HANDLER, SERVICE
from lib.observe_stats import Stats
from lib.settings import HubSettings
from lib.settings_observe import Observation, ObserverSettings, ObserveSettings
from lib.settings_sources import PluginSettings
from lib.worker_observe import WorkerObserve
from lib.worker_state import Worker

ASKED = Observation(ObserverSettings("o", PluginSettings("http://127.0.0.1:1")))
OBSERVED = ObserveSettings(service=ASKED, handler=ASKED, enable_stats=True)


class World:
    """A main process and two workers with figures."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        channel: Any = None
        self.workers = {number: Worker(number, channel, 1, -1, 0.0, 0.0) for number in (0, 1, 2)}
        crew: Any = SimpleNamespace(
            workers=self.workers, gone=[], everybody=lambda: iter(list(self.workers.values()))
        )
        self.crew = crew
        settings = HubSettings("hub", "127.0.0.1", 0, observe=OBSERVED)
        front: Any = SimpleNamespace(settings=settings, refused=Counter())
        self.front = front
        self.watch = WorkerObserve({"hub": front}, crew)
        self.totals = {1: Stats(2, 1, 1, 10, 20), 2: Stats(3, 2, 0, 100, 200)}
        self.clients = {1: {"a": Stats(1, 1, 0, 10, 20)}, 2: {"a": Stats(2, 1, 0, 5, 5), "b": Stats(1)}}
        self.silent: set[int] = set()
        monkeypatch.setattr(worker_ask, "one", self._one)

    def _one(self, worker: Any, request: dict[str, Any]) -> dict[str, Any] | None:
        number = worker.number
        assert (request["do"], request["with"]) == ("api", ["hub"])
        assert number, "the cluster's process has none"
        if number in self.silent:
            return None
        if request["what"] == "stats":
            return {"ok": True, **self.totals[number].fields()}
        rows = [
            [client, one.total_conns, one.current_conns, one.total_errs, one.input_bytes, one.output_bytes]
            for client, one in self.clients[number].items()
        ]
        return {"ok": True, "rows": rows}

    def figures(self, kind: str) -> dict[str, Stats]:
        reports = dict(self.watch._reports())
        rows: Callable[[], Any] = reports[kind, "hub"]._rows
        return dict(rows())

    def end(self, number: int) -> None:
        for told in self.crew.gone:
            told(self.workers[number])
        del self.workers[number]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_the_figures_are_sums(world: World) -> None:
    assert world.figures(SERVICE) == {"": Stats(5, 3, 1, 110, 220)}
    assert world.figures(HANDLER) == {"a": Stats(3, 2, 0, 15, 25), "b": Stats(1)}


def test_connections_that_the_main_process_refuses_count(world: World) -> None:
    world.front.refused[Refusal.CONNECTIONS] += 4
    assert world.figures(SERVICE) == {"": Stats(9, 3, 5, 110, 220)}


def test_a_worker_that_is_late_or_has_ended_takes_nothing_back(world: World) -> None:
    assert world.figures(SERVICE)[""].input_bytes == 110
    assert world.figures(HANDLER)["a"].total_conns == 3
    world.silent.add(2)
    world.totals[1] = Stats(2, 1, 1, 11, 20)
    assert world.figures(SERVICE) == {"": Stats(5, 3, 1, 111, 220)}
    world.end(2)
    assert world.figures(SERVICE) == {"": Stats(5, 1, 1, 111, 220)}
    assert world.figures(HANDLER) == {"a": Stats(3, 1, 0, 15, 25), "b": Stats(1)}


def test_what_comes_from_one_that_has_just_ended_is_not_counted_twice(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.figures(SERVICE)
    reply = world._one

    def late(worker: Any, request: dict[str, Any]) -> dict[str, Any] | None:
        said = reply(worker, request)
        if worker.number == 2:
            world.end(2)
        return said

    monkeypatch.setattr(worker_ask, "one", late)
    assert world.figures(SERVICE) == {"": Stats(5, 1, 1, 110, 220)}
