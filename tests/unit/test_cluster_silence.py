"""Sessions of clients with several: which are looked at, and of which silence others are told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lib import cluster_silence
from lib.cluster_silence import ASK_SECONDS, MOST_TOLD, Silences
from lib.namespace import Attachment, Namespace
from lib.route_table import RouteTable
from lib.service_supervisor import Task
from lib.session_silence import HOLD_SECONDS, QUIET_SECONDS, Flight

STEP = 0.05


class World:
    """A hub with sessions that the kernel says something of."""

    def __init__(self) -> None:
        self.namespace = Namespace(bytes(16), RouteTable(()), RouteTable(()))
        self.flights: dict[str, Flight] = {}
        self.asked: list[str] = []
        self.told: list[tuple[str, bool]] = []
        self.silences = Silences(self._tell, self._flight)
        self.now = 100.0

    def _tell(self, attachment: Attachment) -> None:
        self.told.append((attachment.host, self.silences.is_silent(attachment)))

    def _flight(self, attachment: Attachment) -> Flight:
        self.asked.append(attachment.host)
        return self.flights.get(attachment.host, Flight(False, 0, 0.0, 0.001))

    def session(self, host: str, number: int = 1) -> Attachment:
        made = Attachment(self.namespace, host, "192.0.2.1:5", instance=bytes(15) + bytes([number]))
        self.silences.watch(made)
        return made

    def looks(self, seconds: float) -> bool:
        again = False
        for _ in range(round(seconds / STEP)):
            self.now += STEP
            again = self.silences.look(self.now)
        return again


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(cluster_silence, "say", lambda *words, **fields: None)
    monkeypatch.setattr(Task, "_keep_running", lambda task: None)
    made = World()
    yield made
    made.silences.stop()


def test_only_sessions_that_packets_go_by_are_looked_at(world: World) -> None:
    one = world.session("host-1")
    world.session("alone", number=0)
    assert not world.looks(1.0)
    assert world.asked == []
    one.traffic.sent_packets += 1
    assert world.looks(STEP)
    assert world.asked == ["host-1"]
    assert not world.looks(1.0), "all of it was acknowledged"


def test_others_are_told_of_a_session_that_is_silent_and_once_it_is_not(world: World) -> None:
    one = world.session("host-1")
    one.traffic.sent_packets += 1
    world.flights["host-1"] = Flight(True, 7, 9.0, 0.001)
    world.looks(QUIET_SECONDS - STEP)
    assert world.told == []
    world.looks(3 * STEP)
    assert world.told == [("host-1", True)]
    world.flights["host-1"] = Flight(False, 8, 0.0, 0.001)
    assert world.looks(HOLD_SECONDS - STEP)
    assert world.told == [("host-1", True)]
    world.looks(3 * STEP)
    assert world.told == [("host-1", True), ("host-1", False)]


def test_one_that_sends_and_acknowledges_nothing_is_silent(world: World) -> None:
    """The way to it is cut, the way from it is not."""
    one = world.session("host-1")
    world.flights["host-1"] = Flight(True, 7, 0.0, 0.001)
    for _ in range(round(2 * QUIET_SECONDS / STEP)):
        one.traffic.sent_packets += 1
        one.traffic.received_packets += 1
        world.looks(STEP)
    assert world.told == [("host-1", True)]


def test_of_thousands_that_are_silent_at_once_others_are_told_in_parts(world: World) -> None:
    for number in range(2 * MOST_TOLD + 1):
        one = world.session(f"host-{number}")
        one.traffic.sent_packets += 1
        world.flights[one.host] = Flight(True, 7, 9.0, 0.001)
    counts = []
    for _ in range(14):
        world.looks(STEP)
        counts.append(len(world.told))
    assert max(after - before for before, after in zip([0, *counts], counts, strict=False)) == MOST_TOLD
    assert counts[-1] == 2 * MOST_TOLD + 1


def test_a_session_that_has_ended_is_told_of_no_more(world: World) -> None:
    one = world.session("host-1")
    one.traffic.sent_packets += 1
    world.flights["host-1"] = Flight(True, 7, 9.0, 0.001)
    world.silences.forget(one)
    assert not world.looks(2.0)
    assert world.told == []


def test_one_whose_packets_go_by_datagrams_is_asked(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """No kernel acknowledges those; a PING by the stream is acknowledged."""
    asked: list[float] = []
    monkeypatch.setattr(cluster_silence, "_ask", lambda attachment, now: asked.append(now))
    one = world.session("host-1")
    for _ in range(40):
        one.traffic.sent_packets += 1
        world.looks(STEP)
    assert len(asked) == pytest.approx(2.0 / ASK_SECONDS, abs=2)
    asked.clear()
    for _ in range(40):
        one.traffic.sent_packets += 1
        one.traffic.received_packets += 1
        world.looks(STEP)
    assert asked == [], "one that sends asks by itself, and our reply is acknowledged"
