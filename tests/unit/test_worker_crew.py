"""Connections given to workers: to the one that has fewest, at once where that can be, and not to one that has died."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import Any

import gevent
import gevent.socket
import pytest

from lib import service_supervisor, worker_channel, worker_crew
from lib.worker_channel import Channel
from lib.worker_crew import Crew
from lib.worker_state import CLUSTER_NUMBER, Worker


class Told(Channel):
    """A channel that cannot take a message, as the kernel says, so many times."""

    def __init__(self, sock: Any, number: int, times: int = 1000) -> None:
        super().__init__(sock)
        self.number, self.times = number, times

    def _fails(self) -> None:
        if self.times:
            self.times -= 1
            raise OSError(self.number, os.strerror(self.number))

    def send(self, message: Any, *descriptors: int) -> None:
        self._fails()
        super().send(message, *descriptors)

    def try_send(self, message: Any, descriptor: int) -> bool:
        self._fails()
        return super().try_send(message, descriptor)


@pytest.fixture
def crew() -> Iterator[tuple[Crew, dict[int, Channel]]]:
    """A crew of two workers, and the workers' ends of their channels."""
    made = Crew(None, 2, lambda number: ({}, ()))  # type: ignore[arg-type]
    ends: dict[int, Channel] = {}
    for number in (1, 2):
        ours, theirs = worker_channel.pair(gevent.socket.socket)
        made.workers[number] = Worker(number, Channel(ours), 1, -1, 0.0, 0.0, ready=True)
        ends[number] = Channel(theirs)
    channels = [*ends.values(), *(worker.channel for worker in made.workers.values())]
    yield made, ends
    for channel in channels:
        channel.close()


def received(end: Channel) -> dict[str, Any]:
    found = end.receive()
    assert found is not None
    message, (descriptor,) = found
    worker_channel.shut(descriptor)
    return message


def given(crew: Crew) -> list[int]:
    return [len(worker.given) for worker in crew.workers.values()]


def nothing() -> None:
    pass


def test_the_one_that_has_fewest_gets_it(crew: tuple[Crew, dict[int, Channel]]) -> None:
    made, ends = crew
    for _ in range(3):
        assert made.give_at_once("hub", 0, ("192.0.2.1", 5), nothing)
    assert made.give("hub", 0, ("192.0.2.1", 5), nothing)
    assert given(made) == [2, 2]
    numbers = [received(ends[number])["number"] for number in (1, 2, 1, 2)]
    assert sorted(numbers) == [1, 2, 3, 4]


def test_one_that_takes_nothing_now_is_not_waited_for_in_the_event_loop(
    crew: tuple[Crew, dict[int, Channel]],
) -> None:
    made, ends = crew
    del made.workers[2]
    taken = 0
    while made.give_at_once("hub", 0, ("192.0.2.1", 5), nothing):
        taken += 1
        assert taken < 100_000
    assert len(made.workers[1].given) == taken, "the last one is not noted"
    assert made.workers[1].ready
    waiting = [gevent.spawn(made.give, "hub", 0, ("192.0.2.9", port), nothing) for port in range(taken + 5)]
    gevent.sleep(0.01)
    assert not any(one.dead for one in waiting), "and nobody else's waiting is in the way"
    for _ in range(taken):
        received(ends[1])
    with gevent.Timeout(20):  # more wait than there is room for at once: none is lost
        found = [received(ends[1])["address"][1] for _ in waiting]
    assert sorted(found) == list(range(taken + 5))
    assert all(one.get(timeout=5) for one in waiting)


@pytest.mark.parametrize("at_once", [True, False])
def test_one_that_has_died_gets_no_more(crew: tuple[Crew, dict[int, Channel]], at_once: bool) -> None:
    made, _ = crew
    made.workers[1].channel = Told(made.workers[1].channel._sock, errno.EPIPE)
    if at_once:
        assert not made.give_at_once("hub", 0, ("192.0.2.1", 5), nothing)
    assert made.give("hub", 0, ("192.0.2.1", 5), nothing)
    assert [worker.number for worker in made.ready()] == [2]
    assert given(made) == [0, 1]


def test_too_many_descriptors_on_their_way_are_no_death(crew: tuple[Crew, dict[int, Channel]]) -> None:
    """A worker that is behind would get nothing for ever, as nobody would call it ready again."""
    made, _ = crew
    del made.workers[2]
    made.workers[1].channel = Told(made.workers[1].channel._sock, errno.ETOOMANYREFS, times=2)
    assert not made.give_at_once("hub", 0, ("192.0.2.1", 5), nothing)
    assert made.give("hub", 0, ("192.0.2.1", 5), nothing), "it is tried again"
    assert (made.workers[1].ready, given(made)) == (True, [1])


@pytest.fixture
def member(crew: tuple[Crew, dict[int, Channel]]) -> Iterator[Channel]:
    """The cluster's process beside the two workers: its end of its channel."""
    made, ends = crew
    ours, theirs = worker_channel.pair(gevent.socket.socket)
    made.workers[CLUSTER_NUMBER] = Worker(CLUSTER_NUMBER, Channel(ours), 1, -1, 0.0, 0.0, ready=True)
    ends[CLUSTER_NUMBER] = end = Channel(theirs)
    made._first = CLUSTER_NUMBER
    yield end
    end.close()


def test_the_cluster_s_process_is_asked_and_gets_no_connection(
    crew: tuple[Crew, dict[int, Channel]], member: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, _ = crew
    for _ in range(4):
        assert made.give_at_once("hub", 0, ("192.0.2.1", 5), nothing)
    assert given(made) == [2, 2, 0]
    assert [one.name for one in made.ready()] == ["worker 1", "worker 2"]
    asked = gevent.spawn(made.ask_all, {"do": "use"}, "used", seconds=0.05)
    assert member.receive() == ({"do": "use"}, [])
    assert set(asked.get()) == {0, 1, 2}
    found = made.of_cluster()
    assert found is not None
    assert found.name == "cluster process"
    assert made.fault() == ""
    found.ready = False
    assert made.of_cluster() is None
    assert made.fault() == "cluster process is not there"
    monkeypatch.setattr(service_supervisor, "fault", lambda: "router r: its sources are read: has ended")
    assert made.fault() == "cluster process is not there; router r: its sources are read: has ended"


def test_the_hub_says_goodbye_once_its_clients_have_moved(
    crew: tuple[Crew, dict[int, Channel]], member: Channel
) -> None:
    made, ends = crew
    draining = gevent.spawn(made.drain, 5.0)
    assert [ends[number].receive() for number in (1, 2)] == [({"do": "drain"}, [])] * 2
    told = gevent.spawn(member.receive)
    gevent.sleep(0.01)
    assert not told.ready(), "clients of workers are still on their way"
    for number in (1, 2):
        made.workers[number].replies.pop("drained").set({})
    assert told.get(timeout=5) == ({"do": "drain"}, [])
    made.workers[CLUSTER_NUMBER].replies.pop("drained").set({})
    draining.get(timeout=5)


def test_without_end_it_is_not_tried(
    crew: tuple[Crew, dict[int, Channel]], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, _ = crew
    monkeypatch.setattr(worker_crew, "GIVE_SECONDS", 0.05)
    for worker in made.workers.values():
        worker.channel = Told(worker.channel._sock, errno.ENOBUFS)
    assert not made.give("hub", 0, ("192.0.2.1", 5), nothing)
    assert given(made) == [0, 0]
    made.workers.clear()
    assert not made.give("hub", 0, ("192.0.2.1", 5), nothing)


def test_one_that_was_made_with_other_settings_is_made_anew_and_is_no_death(
    crew: tuple[Crew, dict[int, Channel]], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, ends = crew
    again: list[int] = []
    greeted: list[Worker] = []
    monkeypatch.setattr(made, "_greet", greeted.append)
    monkeypatch.setattr(made, "_make", again.append)
    made.renew([made.workers[1]])
    assert [worker.number for worker in made.ready()] == [1]
    found = ends[2].receive()
    assert found is not None
    assert found[0] == {"do": "end"}
    late, kept = made.workers[2], made.workers[1]
    ends[2].send({"did": "ready"})  # it had begun before it was told
    ends[2].close()
    made._read(late)
    assert (again, greeted, made.deaths, list(made.ready())) == ([2], [], 0, [kept])
