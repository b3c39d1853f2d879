"""Connections given to workers: to the one that has fewest, at once where that can be, and not to one that has died."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import gevent
import gevent.socket
import pytest
from gevent.event import Event

from lib import service_supervisor, worker_channel, worker_crew, worker_handover
from lib.worker_channel import Channel
from lib.worker_crew import Crew
from lib.worker_handover import Taker
from lib.worker_state import CLUSTER_NUMBER, Worker

ROOM = 16384
"""Connections that a worker may have here."""


class Failing:
    """A socket that cannot send, as the kernel says, so many times."""

    def __init__(self, sock: Any, number: int, times: int = 1000) -> None:
        self.sock, self.number, self.times = sock, number, times

    def sendmsg(self, *arguments: Any) -> Any:
        if self.times:
            self.times -= 1
            raise OSError(self.number, os.strerror(self.number))
        return self.sock.sendmsg(*arguments)

    def close(self) -> None:
        self.sock.close()


def fail(crew: Crew, number: int, error: int, times: int = 1000) -> None:
    """Let this worker get no connection, so many times."""
    giver = crew.workers[number].giver
    assert giver is not None
    giver._sock = Failing(giver._sock, error, times)


class Taken:
    """What a worker has been given."""

    def __init__(self, descriptors: tuple[int, int]) -> None:
        self.found: list[tuple[Any, str, Callable[[], None]]] = []
        self._came = Event()
        self.taker = Taker(*descriptors, self._take)

    def _take(
        self, descriptor: int, address: Any, service: str, over: Callable[[], None], number: int
    ) -> None:
        worker_channel.shut(descriptor)
        self.found.append((address, service, over))
        self._came.set()

    def wait(self, count: int) -> None:
        """Take connections until there are so many."""
        self.taker.start()
        with gevent.Timeout(20):
            while len(self.found) < count:
                self._came.clear()
                self._came.wait()


@pytest.fixture
def taken() -> dict[int, Taken]:
    """What each worker takes; nothing before wait()."""
    return {}


@pytest.fixture
def crew(taken: dict[int, Taken]) -> Iterator[tuple[Crew, dict[int, Channel]]]:
    """A crew of two workers, and the workers' ends of their channels."""
    made = Crew(None, 2, ROOM, lambda number: ({}, ()))  # type: ignore[arg-type]
    ends: dict[int, Channel] = {}
    for number in (1, 2):
        ours, theirs = worker_channel.pair(gevent.socket.socket)
        giver, descriptors = worker_handover.made(ROOM)
        taken[number] = Taken(descriptors)
        made.workers[number] = Worker(number, Channel(ours), 1, -1, 0.0, 0.0, giver, ready=True, knows=True)
        ends[number] = Channel(theirs)
    workers = list(made.workers.values())
    yield made, ends
    for worker in workers:
        worker.channel.close()
        if worker.giver is not None:
            worker.giver.close()
    for one in taken.values():
        one.taker.close()
        one.taker._ends.close()
    for channel in ends.values():
        channel.close()


def given(crew: Crew) -> list[int]:
    return [worker.connections() for worker in crew.workers.values()]


def nothing() -> None:
    pass


def test_the_one_that_has_fewest_gets_it(
    crew: tuple[Crew, dict[int, Channel]], taken: dict[int, Taken]
) -> None:
    made, _ = crew
    for port in range(3):
        assert made.give_at_once("hub", 0, ("192.0.2.1", port), nothing)
    assert made.give("hub", 0, ("192.0.2.1", 3), nothing)
    assert given(made) == [2, 2]
    for number, ports in ((1, [0, 2]), (2, [1, 3])):
        taken[number].wait(2)
        assert [address[1] for address, _, _ in taken[number].found] == ports


def test_one_whose_connection_has_ended_has_fewest(
    crew: tuple[Crew, dict[int, Channel]], taken: dict[int, Taken]
) -> None:
    made, _ = crew
    over: list[int] = []
    for number in range(4):
        assert made.give_at_once("hub", 0, ("192.0.2.1", number), partial(over.append, number))
    taken[2].wait(2)
    for _, _, end in taken[2].found:
        end()
    assert over == [], "nobody is woken by that"
    made.settle()
    assert (over, given(made)) == ([1, 3], [2, 0])
    assert made.give_at_once("hub", 0, ("192.0.2.1", 5), nothing)
    assert given(made) == [2, 1]


def test_one_that_takes_nothing_now_is_not_waited_for_in_the_event_loop(
    crew: tuple[Crew, dict[int, Channel]], taken: dict[int, Taken]
) -> None:
    made, _ = crew
    del made.workers[2]
    count = 0
    while made.give_at_once("hub", 0, ("192.0.2.1", 5), nothing):
        count += 1
        assert count < ROOM / 3
    assert given(made) == [count], "the last one is not noted"
    assert made.workers[1].ready
    waiting = [gevent.spawn(made.give, "hub", 0, ("192.0.2.9", port), nothing) for port in range(count + 5)]
    gevent.sleep(0.01)
    assert not any(one.dead for one in waiting), "and nobody else's waiting is in the way"
    taken[1].wait(2 * count + 5)  # more wait than there is room for at once: none is lost
    assert sorted(port for (_, port), _, _ in taken[1].found[count:]) == list(range(count + 5))
    assert all(one.get(timeout=5) for one in waiting)


@pytest.mark.parametrize("at_once", [True, False])
def test_one_that_has_died_gets_no_more(crew: tuple[Crew, dict[int, Channel]], at_once: bool) -> None:
    made, _ = crew
    fail(made, 1, errno.EPIPE)
    if at_once:
        assert not made.give_at_once("hub", 0, ("192.0.2.1", 5), nothing)
    assert made.give("hub", 0, ("192.0.2.1", 5), nothing)
    assert [worker.number for worker in made.ready()] == [2]
    assert given(made) == [0, 1]


def test_too_many_descriptors_on_their_way_are_no_death(crew: tuple[Crew, dict[int, Channel]]) -> None:
    """A worker that is behind would get nothing for ever, as nobody would call it ready again."""
    made, _ = crew
    del made.workers[2]
    fail(made, 1, errno.ETOOMANYREFS, times=2)
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


def test_one_that_tells_of_ends_for_ever_holds_nobody_up(
    crew: tuple[Crew, dict[int, Channel]], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, ends = crew
    monkeypatch.setattr(worker_crew, "PING_SECONDS", 0.01)
    monkeypatch.setattr(made.workers[1].giver, "settle", lambda: True)
    for worker in made.workers.values():
        worker.heard_at = time.monotonic()
    watching = gevent.spawn(made._watch)
    try:
        with gevent.Timeout(10):
            assert [ends[number].receive() for number in (1, 2)] == [({"do": "ping"}, [])] * 2
    finally:
        watching.kill()


def test_without_end_it_is_not_tried(
    crew: tuple[Crew, dict[int, Channel]], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, _ = crew
    monkeypatch.setattr(worker_crew, "GIVE_SECONDS", 0.05)
    for number in made.workers:
        fail(made, number, errno.ENOBUFS)
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


def test_a_worker_gets_connections_once_it_knows_the_hosts_of_all_others(
    crew: tuple[Crew, dict[int, Channel]], member: Channel
) -> None:
    made, ends = crew
    new = made.workers[1]
    new.ready = new.knows = False
    reading = gevent.spawn(made._read, new)
    try:
        ends[1].send({"did": "ready"})
        told: list[dict[str, Any]] = []
        while not told or told[-1]["do"] != "linked":
            found = ends[1].receive()
            assert found is not None
            told.append(found[0])
            for descriptor in found[1]:
                worker_channel.shut(descriptor)
        assert [one.get("name") for one in told[:-1]] == ["worker 2", "cluster process"]
        assert told[-1]["names"] == ["worker 2"], (
            "the cluster's process is waited for also where it is not there"
        )
        assert made.give_at_once("hub", 0, ("192.0.2.1", 5), nothing)
        assert made.give_at_once("hub", 0, ("192.0.2.1", 5), nothing)
        assert (new.ready, given(made)) == (True, [0, 2, 0])
        waiting = gevent.spawn(made.wait_knowing, 60.0)
        gevent.sleep(0.01)
        assert not waiting.ready()
        ends[1].send({"did": "knows"})
        waiting.get(timeout=5)
        assert made.give_at_once("hub", 0, ("192.0.2.1", 5), nothing)
        assert given(made) == [1, 2, 0]
    finally:
        reading.kill()
