"""Draining of a hub: nobody is told to switch before everybody has moved, and nobody is waited for too long."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from gevent.event import Event

from lib import hub_drain


class Session:
    """A session whose client does what a test says."""

    def __init__(self, hub: Hub, knows_switch: bool = True) -> None:
        self._hub, self._knows_switch = hub, knows_switch
        self.awaited = False
        self.sender: Any = self
        self.told: list[str] = []

    def tell_drain(self, hold: bool = False) -> None:
        self.told.append(f"drain {hold}")
        self.awaited = True

    def tell_switch(self) -> None:
        self.told.append("switch")
        self.awaited = self._knows_switch

    def wait_drained(self) -> None:
        self.told.append("drained")

    def reply(self) -> None:
        self.awaited = False
        self._hub.moved.set()


class Hub:
    """Its sessions."""

    def __init__(self, *knows_switch: bool) -> None:
        self.moved = Event()
        self.known = True
        self.domain: Any = SimpleNamespace(
            registry=SimpleNamespace(are_elsewhere=lambda sessions: self.known)
        )
        self.sessions: Any = {number: Session(self, knows) for number, knows in enumerate(knows_switch)}

    def drain(self, seconds: float = 30.0) -> gevent.Greenlet:
        """Begin to drain; returns once it waits."""
        draining = gevent.spawn(hub_drain.drain, self, seconds)
        gevent.sleep(0)
        return draining


def test_switch_comes_once_all_have_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_drain, "LATE_SECONDS", 0.0)
    hub = Hub(True, True)
    one, two = hub.sessions.values()
    draining = hub.drain()
    assert one.told == two.told == ["drain True"]
    one.reply()
    gevent.sleep(0.01)
    assert one.told == ["drain True"], "the other has not moved yet"
    two.reply()
    gevent.sleep(0.01)
    assert one.told == two.told == ["drain True", "switch"]
    one.reply()
    gevent.sleep(0.01)
    assert not draining.dead
    two.reply()
    draining.get(timeout=5)
    assert one.told == two.told == ["drain True", "switch", "drained"]


class Counting(Session):
    """A session that counts how often it is looked at."""

    looks = 0

    @property
    def awaited(self) -> bool:
        Counting.looks += 1
        return self._awaited

    @awaited.setter
    def awaited(self, value: bool) -> None:
        self._awaited = value


@pytest.mark.parametrize("step", [1, -1], ids=["in order", "the last one first"])
def test_each_client_that_replies_costs_the_same_however_many_there_are(
    step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a look at all of them for each: with 10,000 that took seconds."""
    monkeypatch.setattr(hub_drain, "LATE_SECONDS", 0.0)
    monkeypatch.setattr(Counting, "looks", 0)
    many, hub = 300, Hub()
    hub.sessions = {number: Counting(hub) for number in range(many)}
    sessions = list(hub.sessions.values())
    draining = hub.drain()
    for told in ("drain True", "switch"):
        while not all(told in session.told for session in sessions):
            gevent.sleep(0.001)
        for session in sessions[::step]:
            session.reply()
            gevent.sleep(0)
    draining.get(timeout=5)
    assert Counting.looks < 10 * many


def test_an_older_client_is_not_waited_for_twice() -> None:
    hub = Hub(False)
    (one,) = hub.sessions.values()
    draining = hub.drain()
    one.reply()
    draining.get(timeout=5)
    assert one.told == ["drain True", "switch", "drained"]


def test_one_that_ends_is_not_waited_for() -> None:
    hub = Hub(True, True)
    _, two = hub.sessions.values()
    draining = hub.drain()
    del hub.sessions[0]
    two.reply()
    gevent.sleep(0.01)
    assert two.told == ["drain True", "switch"]
    del hub.sessions[1]
    hub.moved.set()
    draining.get(timeout=5)


def test_clients_that_do_not_move_are_told_to_switch_in_time() -> None:
    hub = Hub(True, True)
    one, _ = hub.sessions.values()
    began = time.monotonic()
    draining = hub.drain(0.2)
    one.reply()
    draining.get(timeout=5)
    assert 0.15 < time.monotonic() - began < 2
    assert "switch" in one.told


def test_a_hub_without_sessions_ends_at_once() -> None:
    hub_drain.drain(Hub(), 30.0)


def test_switch_waits_until_other_hubs_know_where_the_clients_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_drain, "LATE_SECONDS", 0.0)
    hub = Hub(True)
    hub.known = False
    (one,) = hub.sessions.values()
    draining = hub.drain()
    one.reply()
    gevent.sleep(3 * hub_drain.LOOK_SECONDS)
    assert one.told == ["drain True"]
    hub.known = True
    gevent.sleep(3 * hub_drain.LOOK_SECONDS)
    assert one.told == ["drain True", "switch"]
    one.reply()
    draining.get(timeout=5)


def test_other_hubs_that_never_know_are_not_waited_for_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_drain, "KNOWN_SECONDS", 0.02)
    hub = Hub(False)
    hub.known = False
    (one,) = hub.sessions.values()
    draining = hub.drain()
    one.reply()
    draining.get(timeout=5)
    assert one.told == ["drain True", "switch", "drained"]
