"""Draining of a hub: nobody is told to switch before everybody has moved, and nobody is waited for too long."""

from __future__ import annotations

import time
from collections.abc import Callable
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
        namespace = SimpleNamespace(
            rivals=lambda attachment: hub.rivals, release=lambda attachment: hub.done.append("released")
        )
        self.attachment: Any = SimpleNamespace(
            is_here=True, is_moving=False, sender=self, namespace=namespace
        )
        self.domain = hub.domain

    def tell_drain(self) -> None:
        self.told.append("drain")
        self.awaited = True

    def tell_switch(self) -> None:
        self.told.append("switch")
        self.awaited = self._knows_switch

    def wait_drained(self) -> None:
        self.told.append("drained")

    def close(self, why: str) -> None:
        self.told.append(f"closed: {why}")

    def reply(self) -> None:
        self.awaited = False
        self._hub.moved.set()


class Hub:
    """Its sessions."""

    def __init__(self, *knows_switch: bool) -> None:
        self.moved = Event()
        self.known = True
        self.rivals: list[object] = []
        self.done: list[str] = []
        self.domain: Any = SimpleNamespace(
            registry=SimpleNamespace(
                are_elsewhere=lambda sessions: self.known,
                has_other_session=lambda attachment: self.known,
                withdraw=lambda attachment: self.done.append("withdrawn"),
            ),
        )
        self.sessions: Any = {number: Session(self, knows) for number, knows in enumerate(knows_switch)}

    def drain(self, seconds: float = 30.0) -> gevent.Greenlet:
        """Begin to drain; returns once it waits."""
        draining = gevent.spawn(hub_drain.drain, self, seconds)
        gevent.sleep(0)
        return draining


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HEARD_SECONDS", "LATE_SECONDS", "RELEASED_SECONDS"):
        monkeypatch.setattr(hub_drain, name, 0.0)
    monkeypatch.setattr(hub_drain, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(hub_drain, "KNOWN_SECONDS", 5.0)


def until(is_so: Callable[[], bool]) -> None:
    with gevent.Timeout(5):
        while not is_so():
            gevent.sleep(0.001)


def test_switch_comes_once_all_have_moved() -> None:
    hub = Hub(True, True)
    one, two = hub.sessions.values()
    draining = hub.drain()
    assert one.told == two.told == ["drain"]
    one.reply()
    gevent.sleep(0.01)
    assert one.told == ["drain"], "the other has not moved yet"
    two.reply()
    until(lambda: one.told == two.told == ["drain", "switch"])
    one.reply()
    gevent.sleep(0.01)
    assert not draining.dead
    two.reply()
    draining.get(timeout=5)
    assert one.told == two.told == ["drain", "switch", "drained"]


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
    monkeypatch.setattr(Counting, "looks", 0)
    many, hub = 300, Hub()
    hub.sessions = {number: Counting(hub) for number in range(many)}
    sessions = list(hub.sessions.values())
    draining = hub.drain()
    for told in ("drain", "switch"):
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
    assert one.told == ["drain", "switch", "drained"]


def test_one_that_ends_is_not_waited_for() -> None:
    hub = Hub(True, True)
    _, two = hub.sessions.values()
    draining = hub.drain()
    del hub.sessions[0]
    two.reply()
    until(lambda: two.told == ["drain", "switch"])
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


def test_switch_waits_until_other_hubs_know_where_the_clients_are() -> None:
    hub = Hub(True)
    hub.known = False
    (one,) = hub.sessions.values()
    draining = hub.drain()
    one.reply()
    gevent.sleep(3 * hub_drain.LOOK_SECONDS)
    assert one.told == ["drain"]
    hub.known = True
    until(lambda: one.told == ["drain", "switch"])
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
    assert one.told == ["drain", "switch", "drained"]


# --- one host alone


@pytest.mark.parametrize("where", ["elsewhere", "here"])
def test_one_host_switches_once_its_other_session_is_known(where: str) -> None:
    """Then what is sent to it goes there, others hear that it is not here, and its old session ends."""
    hub = Hub(True)
    hub.known = False
    (one,) = hub.sessions.values()
    hub_drain.move(one)
    gevent.sleep(0.01)
    assert (one.told, one.attachment.is_moving) == (["drain"], True)
    one.reply()
    gevent.sleep(0.01)
    assert one.told == ["drain"], "nobody knows of another session yet"
    if where == "elsewhere":
        hub.known = True
    else:
        hub.rivals.append(object())
    until(lambda: one.told == ["drain", "switch"])
    assert hub.done == []
    one.reply()
    until(lambda: len(one.told) == 3)
    assert hub.done == ["released", "withdrawn"]
    assert one.told[2:] == ["closed: its client has moved to another session, as it was asked to"]


def test_one_host_that_gets_no_other_session_keeps_the_one_that_it_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub_drain, "KNOWN_SECONDS", 0.01)
    hub = Hub(False)
    hub.known = False
    (one,) = hub.sessions.values()
    hub_drain.move(one)
    gevent.sleep(0)
    one.reply()
    until(lambda: not one.attachment.is_moving)
    assert (one.told, hub.done) == (["drain", "switch"], [])


@pytest.mark.parametrize("how", ["it ends", "it never replies"])
def test_one_host_is_not_waited_for_for_ever(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_drain, "KNOWN_SECONDS", 0.01)
    monkeypatch.setattr(hub_drain, "MOVE_SECONDS", 0.05)
    hub = Hub(True)
    hub.known = False
    (one,) = hub.sessions.values()
    hub_drain.move(one)
    gevent.sleep(0)
    one.attachment.is_here = how != "it ends"
    until(lambda: not one.attachment.is_moving)
    assert hub.done == []


def test_who_asks_twice_is_heard_once() -> None:
    hub = Hub(True)
    (one,) = hub.sessions.values()
    hub.known = False
    assert hub_drain.move(one)
    gevent.sleep(0)
    assert hub_drain.move(one), "it has not moved yet"
    assert one.told == ["drain"]
    hub.known = True
    one.reply()
    assert not hub_drain.move(one), "nobody is asked to leave a session that ends anyway"
    until(lambda: one.told == ["drain", "switch"])
    one.reply()
    until(lambda: hub.done == ["released", "withdrawn"])


@pytest.mark.parametrize("moves", [False, True])
def test_one_that_is_replaced_while_it_moves_ends_once_it_has_had_time_to(
    moves: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By another client of its name (onDuplicate: replace); its own next session looks the same at first."""
    monkeypatch.setattr(hub_drain, "MOVE_SECONDS", 0.0)
    (one,) = Hub(True).sessions.values()
    one.attachment.is_moving = moves
    hub_drain.end_replaced(one.attachment, "replaced")
    assert one.told == ([] if moves else ["closed: replaced"])
    until(lambda: one.told == ["closed: replaced"])
