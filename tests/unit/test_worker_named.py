"""Clients that a trusted proxy names: limits by address hold for the workers together, as without workers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from lib import worker_channel, worker_handover, worker_named
from lib.addresses import prefix
from lib.forward_drop_reasons import Refusal
from lib.limits import MAX_UNNAMED, Gate, Visit
from lib.prefixes import PrefixSet, packed
from lib.settings import HubSettings
from lib.settings_limits import CountLimit, HubLimits
from lib.worker_crew import Crew
from lib.worker_ends import Ends
from lib.worker_front import Front, Guest
from lib.worker_named import AskedCounts, NamedClients
from lib.worker_settings import _of_sessions
from lib.worker_state import Worker

PROXY, CLIENT, OTHER = "192.0.2.1", "198.51.100.7", "198.51.100.8"
TRUSTED = PrefixSet([packed(prefix("192.0.2.1/32"))])
LIMITS = HubLimits(connections=(CountLimit("$$", 2),), handshakes=(CountLimit("$$", 3),))


class World:
    """A main process and two workers, with what each counts."""

    def __init__(self, limits: HubLimits) -> None:
        self.front = Front(HubSettings("hub", "127.0.0.1", 0, limits=limits, trusted_proxies=TRUSTED))
        self.crew = Crew(None, 2, 64, lambda number: ({}, ()))  # type: ignore[arg-type]
        self.crew.tell = self._tell  # type: ignore[assignment,method-assign]
        NamedClients(self.crew)
        self.asked: dict[int, AskedCounts] = {}
        self.gates: dict[int, Gate] = {}
        self.workers: dict[int, Worker] = {}
        self.ends: dict[int, Ends] = {}
        self.is_deaf = False
        for number in (1, 2):
            giver, (sock, file) = worker_handover.made(64)
            self.ends[number] = Ends(file)
            for descriptor in (sock, file):
                worker_channel.shut(descriptor)
            channel: Any = None
            self.workers[number] = Worker(number, channel, 1, -1, 0.0, 0.0, giver, ready=True, knows=True)
            self.asked[number] = AskedCounts(partial(self._said, number))
            gate = Gate(_of_sessions(limits), TRUSTED)
            gate.elsewhere = self.asked[number].named
            self.gates[number] = gate

    def _said(self, number: int, message: dict[str, object]) -> None:
        if not self.is_deaf:
            self.crew.heard[str(message["did"])](self.workers[number], message)

    def _tell(self, worker: Worker, message: dict[str, object]) -> bool:
        assert message["do"] == "named"
        self.asked[worker.number].hear(message)
        return True

    def come(self, worker: int) -> tuple[Refusal | None, Visit]:
        """A connection of the proxy, given to a worker."""
        here = Visit(PROXY)
        refusal = self.front.gate.enter(here, time.monotonic())
        giver = self.workers[worker].giver
        assert giver is not None
        self.front._inside += 1
        number, _ = giver._noted("hub", ("127.0.0.1", 1), Guest(self.front, here))
        there = Visit(PROXY, number=number)
        return refusal or self.gates[worker].enter(there, time.monotonic()), there

    def named(self, worker: int, address: str = CLIENT) -> tuple[Refusal | None, Visit]:
        refusal, visit = self.come(worker)
        assert refusal is None
        return self.gates[worker].rename(visit, address, time.monotonic()), visit

    def leave(self, worker: int, visit: Visit) -> None:
        """It ends in its worker, and the main process looks."""
        self.gates[worker].leave(visit)
        self.ends[worker].tell(visit.number)
        self.crew.workers = self.workers
        self.crew.settle()

    def close(self) -> None:
        for worker in self.workers.values():
            assert worker.giver is not None
            worker.giver.close()
            self.ends[worker.number].close()
        self.front.close()


@pytest.fixture
def world() -> Iterator[World]:
    made = World(LIMITS)
    yield made
    made.close()


def test_a_limit_by_address_holds_for_all_workers(world: World) -> None:
    (first, visit), (second, _) = world.named(1), world.named(2)
    assert (first, second) == (None, None)
    refused, again = world.named(2)
    assert refused is Refusal.CONNECTIONS
    assert world.named(2, OTHER)[0] is None, "only that client has too many"
    world.leave(2, again)
    world.leave(1, visit)
    assert world.named(2)[0] is None
    assert world.front._inside == 3


def test_handshakes_of_a_client_count_at_all_workers(world: World) -> None:
    for worker in (1, 2, 1):
        refused, visit = world.named(worker)
        assert refused is None
        world.leave(worker, visit)
    assert world.named(2)[0] is Refusal.RATE
    assert world.named(2, OTHER)[0] is None


def test_the_end_of_a_worker_uncounts_whom_its_proxy_has_named(world: World) -> None:
    world.named(1)
    world.named(1)
    assert world.named(2)[0] is Refusal.CONNECTIONS
    giver = world.workers[1].giver
    assert giver is not None
    giver.close()
    assert world.front.gate._connections[CLIENT] == 0
    assert world.named(2, OTHER)[0] is None


def test_connections_whose_clients_nobody_has_named_are_bounded(world: World) -> None:
    """For all workers together; whoever is let in, or named, is none of them."""
    gate = world.front.gate
    gate._connections[f"unnamed {PROXY}"] = MAX_UNNAMED - 1
    refusal, visit = world.come(1)
    assert refusal is None
    assert world.come(2)[0] is Refusal.CONNECTIONS
    world.gates[1].settle(visit)
    refusal, visit = world.come(2)
    assert refusal is None
    assert world.come(1)[0] is Refusal.CONNECTIONS
    assert world.gates[2].rename(visit, CLIENT, time.monotonic()) is None
    assert world.come(1)[0] is None


def test_without_a_reply_it_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_named, "SECONDS", 0.01)
    world.is_deaf = True
    assert world.named(1)[0] is Refusal.NO_WORKER
    assert not world.asked[1]._asking._waiting
    world.asked[1].hear({"connection": 1, "refusal": ""})  # too late


def test_of_a_connection_that_has_ended_nothing_is_counted(world: World) -> None:
    refusal, visit = world.come(1)
    world.leave(1, visit)
    assert refusal is None
    assert world.asked[1].named(visit, CLIENT) is None
    assert not world.front.gate._connections[CLIENT]


def test_a_reload_trusts_other_proxies(world: World) -> None:
    settings = HubSettings("hub", "127.0.0.1", 0, limits=LIMITS)
    world.front.use(settings)
    for _ in range(2):
        assert world.front.gate.enter(Visit(PROXY), time.monotonic()) is None
    assert world.front.gate.enter(Visit(PROXY), time.monotonic()) is Refusal.CONNECTIONS
