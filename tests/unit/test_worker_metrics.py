"""Metrics and probes of workers: who does not answer, or not as a whole, costs its own figures only."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import gevent
import gevent.socket
import pytest

from lib import metrics, worker_channel, worker_metrics
from lib.ctl_server import Answers, Streamed
from lib.forward_drop_reasons import Refusal
from lib.hub_tables import Tables
from lib.settings import Settings
from lib.worker_channel import Channel
from lib.worker_figures import END
from lib.worker_metrics import WorkerMetrics
from lib.worker_state import Worker
from tests.support.seen import hub_of, seen_of
from tests.unit.test_metrics import of, samples

TEXT = b"".join(metrics.exposition(seen_of(hub_of(1)))) + END
Run = Callable[[Any], None]


def whole(sock: Any) -> None:
    for start in range(0, len(TEXT), 1000):
        sock.sendall(TEXT[start : start + 1000])


def silent(sock: Any) -> None:
    gevent.sleep(60)


def cut(sock: Any) -> None:
    sock.sendall(TEXT[: len(TEXT) // 2])


def broken(sock: Any) -> None:
    sock.sendall(b"this is no text of metrics\n" + END)


def endless(sock: Any) -> None:
    while True:
        sock.sendall(b"x 1.0\n" * 1000)
        gevent.sleep(0)


class World:
    """Some workers, each of which tells its metrics in a way of its own."""

    def __init__(self) -> None:
        self.workers: dict[int, Worker] = {}
        self.greenlets: list[Any] = []
        self.asked: Counter[int] = Counter()
        self.problems: dict[int, list[str]] = {}
        front = SimpleNamespace(refused=Counter({Refusal.NO_WORKER: 4}), listens=True)
        self.fronts = {"service-0": front}
        self.is_ending = False
        crew = SimpleNamespace(
            workers=self.workers,
            everybody=lambda: iter(list(self.workers.values())),
            count=2,
            deaths=3,
            fault=lambda: "",
        )
        self.tables = Tables(Settings())
        sources: Any = SimpleNamespace(all=lambda: iter(()))
        self.made = WorkerMetrics(
            *(cast(Any, crew), cast(Any, self.fronts), self.tables, sources, lambda: self.is_ending)
        )

    def add(self, number: int, run: Run) -> None:
        ours, theirs = worker_channel.pair(gevent.socket.socket)
        self.workers[number] = Worker(number, Channel(ours), 1, -1, 0.0, 0.0, ready=True)

        def told(request: Any) -> Streamed:
            self.asked[number] += 1
            return Streamed({}, run)

        def probe(request: Any) -> dict[str, object]:
            if run is silent:
                gevent.sleep(60)
            return {"problems": self.problems.get(number, [])}

        answers, channel = Answers({"metrics": told, "probe": probe}), Channel(theirs)

        def serve() -> None:
            while found := channel.receive():
                (descriptor,) = found[1]
                self.greenlets.append(gevent.spawn(answers.serve, gevent.socket.socket(fileno=descriptor)))

        self.greenlets.append(gevent.spawn(serve))

    def text(self) -> str:
        return b"".join(self.made.exposition()).decode()

    def close(self) -> None:
        gevent.killall(self.greenlets)
        for worker in self.workers.values():
            worker.channel.close()
        self.tables.stop()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(worker_metrics, "SECONDS", 20.0)
    made = World()
    yield made
    made.close()


def up(text: str) -> list[float]:
    return [of(text, "tunrouter_worker_up", worker=str(number)) for number in (1, 2)]


def test_both_tell_theirs(world: World) -> None:
    world.add(1, whole)
    world.add(2, whole)
    text = world.text()
    assert up(text) == [1, 1]
    assert of(text, "tunrouter_sent_bytes_total", host="host-0") == 4000
    assert of(text, "tunrouter_refused_connections_total", reason=Refusal.NO_WORKER.value) == 4
    assert of(text, "tunrouter_refused_connections_total", reason="late") == 4
    assert (of(text, "gost_services"), of(text, "tunrouter_worker_deaths_total")) == (1, 3)
    processes = [dict(labels) for name, labels in samples(text) if name == "process_max_fds"]
    assert processes == [{}, {"worker": "1"}, {"worker": "2"}]


def while_one_is_silent(world: World, monkeypatch: pytest.MonkeyPatch) -> str:
    """The text where worker 2 says nothing; worker 1 has half a second, which a busy machine may need."""
    monkeypatch.setattr(worker_metrics, "SECONDS", 0.5)
    for _ in range(20):
        began = time.monotonic()
        text = world.text()
        assert time.monotonic() - began < 8
        assert up(text)[1] == 0
        if up(text)[0]:
            break
    return text


@pytest.mark.parametrize("other", [cut, broken, endless])
def test_what_one_does_not_tell_costs_its_own_figures(
    world: World, other: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_metrics, "MAX_BYTES", 4 * len(TEXT))
    world.add(1, whole)
    world.add(2, other)
    began = time.monotonic()
    text = world.text()
    assert time.monotonic() - began < 10, "it is not waited for until its time is up"
    assert up(text) == [1, 0]
    assert of(text, "tunrouter_sent_bytes_total", host="host-0") == 2000


def test_one_that_says_nothing_costs_its_own_figures(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.add(1, whole)
    world.add(2, silent)
    text = while_one_is_silent(world, monkeypatch)
    assert of(text, "tunrouter_sent_bytes_total", host="host-0") == 2000


def test_without_any_worker_the_main_process_tells_its_own(world: World) -> None:
    text = world.text()
    assert up(text) == [0, 0]
    assert of(text, "tunrouter_refused_connections_total") == 4


def test_those_who_scrape_at_the_same_time_share_one_text(world: World) -> None:
    world.add(1, whole)
    world.add(2, whole)
    scrapes = [gevent.spawn(world.text) for _ in range(10)]
    gevent.joinall(scrapes, raise_error=True)
    assert all(up(one.value) == [1, 1] for one in scrapes)
    assert world.asked[1] == world.asked[2] == 2, "the first one's, and one for all who came meanwhile"
    assert world.made._text == [], "nothing is kept that nobody waits for"
    world.text()
    assert world.asked[1] == 3


def test_a_scrape_that_is_broken_off_holds_up_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.add(1, whole)
    world.add(2, silent)
    gone = gevent.spawn(world.text)
    while not world.asked[2]:
        gevent.sleep(0.001)
    gone.kill()
    assert up(while_one_is_silent(world, monkeypatch)) == [1, 0]


def test_probes_tell_of_all(world: World) -> None:
    world.add(1, whole)
    world.add(2, whole)
    healthy, ready = (world.made.probes()[path] for path in ("/healthz", "/readyz"))
    assert healthy() == ready() == []
    world.problems = {1: ["a source"], 2: ["a source", "another"]}
    assert healthy() == ["a source", "another"]
    world.problems = {}
    world.fronts["service-0"].listens = False
    assert healthy() == ["hub service-0: nothing is accepted"]
    world.is_ending = True
    assert (healthy(), ready()) == ([], ["the process has been told to end"])


def test_a_probe_of_a_worker_that_says_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.add(1, whole)
    world.add(2, silent)
    monkeypatch.setattr(worker_metrics, "SECONDS", 0.5)
    assert world.made.probes()["/healthz"]()[-1] == "worker 2: it does not answer"
