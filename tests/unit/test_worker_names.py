"""`onDuplicate: refuse` with workers: of two clients with one host name one is let in, whichever workers they are at."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from types import SimpleNamespace
from typing import Any

import gevent
import pytest

from lib import hub_names, worker_names
from lib.ids import NO_NAMESPACE
from lib.namespace import Attachment
from lib.namespace_domain import Domain
from lib.wire_relay import Status
from lib.worker_crew import Crew
from lib.worker_names import AskedNames, KeptNames
from lib.worker_state import CLUSTER_NUMBER, Worker

NOTED: Any = SimpleNamespace(refused=lambda *_: None)


class Sender:
    """The sender of a session that is alive, or is not."""

    def __init__(self, alive: bool) -> None:
        self.alive, self.closed = alive, ""

    def is_alive(self, seconds: float) -> bool:
        gevent.sleep(0)  # it waits for a sign of life
        return self.alive

    def close(self, why: str) -> None:
        self.closed = why


class World:
    """A main process, three workers and the cluster's process, with what they tell each other."""

    def __init__(self) -> None:
        self.crew = Crew(None, 3, 16, lambda number: ({}, ()))  # type: ignore[arg-type]
        self.crew.tell = self._tell  # type: ignore[assignment,method-assign]
        self.kept = KeptNames(self.crew)
        self.domains: dict[int, Domain] = {}
        self.asked: dict[int, AskedNames] = {}
        self.silent: set[int] = set()
        """Workers that answer nothing."""
        for number in (CLUSTER_NUMBER, 1, 2, 3):
            channel: Any = SimpleNamespace(close=lambda: None)
            self.crew.workers[number] = Worker(number, channel, 1, -1, 0.0, 0.0, None, ready=True, knows=True)
            if number != CLUSTER_NUMBER:
                domain = self.domains[number] = Domain({})
                self.asked[number] = AskedNames(partial(self._said, number))
                domain.claim = self.asked[number].claim

    def _said(self, number: int, message: dict[str, Any]) -> None:
        worker = self.crew.workers.get(number)
        if worker is None:
            return
        if (heard := self.crew.heard.get(message["did"])) is not None:
            heard(worker, message)
        elif (waiting := worker.replies.pop(message["did"], None)) is not None:
            waiting.set(message)

    def _tell(self, worker: Worker, message: dict[str, Any], *_: int) -> bool:
        assert worker.number != CLUSTER_NUMBER
        if message["do"] == "named-so":
            self.asked[worker.number].hear(message)
        elif worker.number not in self.silent:
            gevent.spawn(self.asked[worker.number].look, self.domains[worker.number], message)
        return True

    def take(self, number: int, name: ExitStack, host: str = "a") -> tuple[Status, str]:
        request: Any = SimpleNamespace(namespace=NO_NAMESPACE, host=host)
        return hub_names.take(self.domains[number], NOTED, request, "192.0.2.9:9", name)

    def enter(self, number: int, alive: bool = True) -> Attachment:
        domain = self.domains[number]
        one = Attachment(domain.namespace(NO_NAMESPACE), "a", f"192.0.2.{number}:5")
        one.sender = Sender(alive)  # type: ignore[assignment]
        domain.enter(one, 0.0)
        return one


@pytest.fixture
def world() -> World:
    return World()


def test_who_has_a_live_session_at_another_worker_keeps_the_name(world: World) -> None:
    with ExitStack() as name:
        assert world.take(1, name) == (Status.OK, "")
        session = world.enter(1)
    for number in (1, 2, 3):
        with ExitStack() as name:
            status, why = world.take(number, name)
        assert (status, "of 192.0.2.1:5" in why) == (Status.FORBIDDEN, True)
    world.domains[1].leave(session)
    with ExitStack() as name:
        assert world.take(2, name) == (Status.OK, "")
    assert not world.kept._taken


def test_a_silent_session_at_another_worker_gives_it_up(world: World) -> None:
    session = world.enter(3, alive=False)
    with ExitStack() as name:
        assert world.take(1, name) == (Status.OK, "")
    assert isinstance(session.sender, Sender)
    assert "a new session wants its host name" in session.sender.closed


def test_of_many_that_come_at_once_one_is_let_in(world: World) -> None:
    let_in: list[int] = []

    def come(number: int) -> None:
        with ExitStack() as name:
            status, _ = world.take(number, name)
            gevent.sleep(0)
            if status == Status.OK:
                let_in.append(number)
                world.enter(number)

    for _ in range(20):
        let_in.clear()
        gevent.joinall([gevent.spawn(come, number) for number in (2, 1, 3, 1, 2)], raise_error=True)
        assert len(let_in) == 1
        domain = world.domains[let_in[0]]
        (session,) = domain.namespace(NO_NAMESPACE).sessions_of("a")
        domain.leave(session)
    assert not world.kept._taken


def test_other_names_are_had_meanwhile(world: World) -> None:
    with ExitStack() as name, ExitStack() as other:
        assert world.take(1, name) == (Status.OK, "")
        assert world.take(2, other, "b") == (Status.OK, "")
        with ExitStack() as third:
            status, why = world.take(3, third)
        assert (status, "just being let in" in why) == (Status.FORBIDDEN, True)


def test_who_does_not_answer_may_have_a_session(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_names, "ANSWER_SECONDS", 0.05)
    world.silent.add(2)
    with ExitStack() as name:
        status, why = world.take(1, name)
    assert (status, why) == (
        Status.SERVICE_UNAVAILABLE,
        "worker 2 does not say whether it has this host name",
    )
    assert not world.kept._taken
    assert not world.crew.workers[2].replies


def test_a_worker_that_ends_has_no_session_and_wants_no_name(world: World) -> None:
    world.silent.add(2)
    with ExitStack() as name:
        asking = gevent.spawn(world.take, 1, name)
        gevent.sleep(0.01)
        world.crew._ending = True  # it is not made anew
        world.crew._ended(world.crew.workers[2], "killed")
        assert asking.get(timeout=10) == (Status.OK, "")
        world.crew._ended(world.crew.workers[1], "killed")
        assert not world.kept._taken


def test_without_an_answer_of_the_main_process_nobody_is_let_in(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_names, "SECONDS", 0.01)
    world.crew.heard["name"] = lambda worker, message: None
    with ExitStack() as name:
        assert world.take(1, name) == (Status.SERVICE_UNAVAILABLE, "the main process does not answer")
    assert not world.asked[1]._asking._waiting
