"""Receivers of `notify` beside workers: they are told what one process would tell, by one process."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

from lib.ids import NO_NAMESPACE
from lib.namespace import Attachment
from lib.namespace_domain import Domain
from lib.route_table import RouteTable
from lib.settings import HubSettings
from lib.settings_notify import NotifySettings
from lib.worker_notify import MOST, Looker, NotifyWorkers
from tests.unit.test_notify_watch import ROUTES, Receiver, receivers

__all__ = ["receivers"]

ALL = NotifySettings("n", url="http://x/", grace=60.0)


class World:
    """A main process and two workers, which look when the test says so."""

    def __init__(self, *settings: NotifySettings) -> None:
        crew: Any = SimpleNamespace(heard={}, gone=[])
        self.crew = crew
        self.workers: dict[int, Any] = {number: SimpleNamespace(number=number) for number in (1, 2)}
        self.crew.ready = lambda: iter(self.workers.values())
        none: Any = SimpleNamespace(all={})
        self.main = NotifyWorkers(none, self.crew, HubSettings("hub", "127.0.0.1", 0))
        self.domains: dict[int, Domain] = {}
        self.lookers: dict[int, Looker] = {}
        self.messages: list[dict[str, Any]] = []
        for number in (1, 2):
            self.begin(number)
        self.main.apply(settings)
        if settings:  # else nobody looks
            self.look()

    def begin(self, number: int) -> None:
        domain = self.domains[number] = Domain({}, RouteTable(ROUTES, hold_down=5.0))
        domains: Any = SimpleNamespace(all={("service", "hub"): domain})
        self.lookers[number] = Looker(domains, partial(self._send, number))
        self.lookers[number].tells_carriers = number == 1

    def _send(self, number: int, message: dict[str, Any], *files: int) -> None:
        self.messages.append(message)
        self.crew.heard[message["did"]](self.workers[number], message, *map(os.dup, files))

    def enter(self, number: int, host: str) -> Callable[[], None]:
        """A session begins; returns what ends it."""
        domain = self.domains[number]
        one = Attachment(domain.namespace(NO_NAMESPACE), host, f"192.0.2.{number}:5")
        domain.enter(one, time.monotonic())
        return lambda: domain.leave(one)

    def look(self, *numbers: int) -> None:
        """Let workers look, and the main process."""
        for number in numbers or (1, 2):
            self.lookers[number].look(time.monotonic())
        self.main.look(time.monotonic())

    def die(self, number: int) -> None:
        for told in self.crew.gone:
            told(self.workers[number])
        self.begin(number)


def test_joins_and_leaves_at_any_worker(receivers: list[Receiver]) -> None:
    world = World(ALL)
    leave = world.enter(2, "c")
    world.look()
    (message,) = receivers[0].got
    assert (message["event"], message["host"], message["peer"]) == ("join", "c", "192.0.2.2:5")
    assert (message["service"], message["namespace"]) == ("hub", str(message["namespace"]))
    receivers[0].got.clear()
    leave()
    world.look()
    world.look()
    assert [one["event"] for one in receivers[0].got] == ["leave"]


def test_who_moves_between_workers_has_not_left(receivers: list[Receiver]) -> None:
    world = World(ALL)
    leave = world.enter(1, "c")
    world.look()
    receivers[0].told()
    other = world.enter(2, "c")
    leave()
    world.look(1)  # the one that it leaves tells first
    world.look(2)
    world.look()
    assert receivers[0].told() == []
    other()
    world.look()
    world.look()
    assert [one["event"] for one in receivers[0].got] == ["leave"]


def test_who_comes_back_to_another_worker_has_left(receivers: list[Receiver]) -> None:
    """Also between two looks, as in one process."""
    world = World(ALL)
    leave = world.enter(1, "c")
    world.look()
    receivers[0].told()
    leave()
    world.enter(2, "c")
    world.look()
    world.look()
    assert [one["event"] for one in receivers[0].got] == ["leave", "join"]


def test_the_hosts_of_a_worker_that_ends_leave(receivers: list[Receiver]) -> None:
    world = World(ALL)
    world.enter(1, "c")
    world.enter(2, "d")
    world.look()
    receivers[0].told()
    world.die(1)
    world.look()
    assert [(one["event"], one["host"]) for one in receivers[0].got] == [("leave", "c")]


def test_who_was_here_before_anybody_was_told_is_no_news(receivers: list[Receiver]) -> None:
    world = World()
    world.enter(1, "c")
    leave = world.enter(2, "d")
    world.main.apply((ALL,))
    world.main.look(time.monotonic())
    world.enter(1, "e")
    world.look(1)
    assert receivers[0].told() == [], "worker 2 may have others"
    world.look()
    assert [one["host"] for one in receivers[0].got] == ["e"]
    receivers[0].told()
    leave()
    world.look()
    world.look()
    assert [(one["event"], one["host"]) for one in receivers[0].got] == [("leave", "d")]


def test_after_nobody_was_told_for_a_while_workers_tell_all_anew(receivers: list[Receiver]) -> None:
    world = World(ALL)
    leave = world.enter(1, "c")
    world.look()
    world.main.apply(())
    for looker in world.lookers.values():  # as its greenlet does once nobody wants to know
        looker._rest()
    leave()
    assert not world.lookers[1]._left_at, "nothing is kept for nobody"
    world.enter(2, "d")
    world.main.apply((ALL,))
    world.look()
    world.look()
    assert receivers[1].told() == [], "one has left meanwhile and one has come"
    assert [message["anew"] for message in world.messages] == [True, True, False, False, True, True] + 2 * [
        False
    ]


def test_takeovers_are_told_by_one_worker_also_by_its_successor(receivers: list[Receiver]) -> None:
    world = World(NotifySettings("n", url="http://x/", events=frozenset({"takeover"})))
    for host in ("a", "b"):
        world.enter(1, host)
        world.enter(2, host)
    world.look()
    assert receivers[0].told() == []
    world.die(1)
    world.enter(1, "b")
    world.look()
    (message,) = receivers[0].got
    assert (message["before"], message["after"], message["prefixes"]) == (["a"], ["b"], ["192.168.7.0/24"])
    assert receivers[0].told() == ["takeover: b carries 192.168.7.0/24 in place of a"]


def test_many_hosts_go_in_pieces(receivers: list[Receiver]) -> None:
    world = World(ALL)
    before = len(world.messages)
    for number in range(2 * MOST + 1):
        world.enter(1, f"h{number}")
    world.look()
    assert [message["at"] is None for message in world.messages[before:]] == [True, True, False, False]
    assert len(receivers[0].got) == 2 * MOST + 1
