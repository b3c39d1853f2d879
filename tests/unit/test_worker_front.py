"""The main process accepts: all that come, not with the last descriptors, and what has ended counts no more."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent.pool import Pool

from lib import worker_channel, worker_front, worker_handover
from lib.forward_drop_reasons import Refusal
from lib.hub_accept import ALL, MAX_ACCEPT
from lib.settings import HubSettings
from lib.settings_limits import CountLimit, HubLimits
from lib.worker_crew import Crew
from lib.worker_front import ENOUGH, Front
from lib.worker_handover import Taker
from lib.worker_state import Worker
from tests.support.streams import listening

Taken = list[tuple[int, Any]]


@pytest.fixture
def listener() -> Iterator[Any]:
    with listening() as made:
        yield made


@pytest.fixture
def taken() -> Iterator[Taken]:
    """(descriptor, address) of each connection that was taken."""
    made: Taken = []
    yield made
    for descriptor, _ in made:
        worker_channel.shut(descriptor)


@pytest.fixture
def server(listener: Any, taken: Taken) -> Iterator[Any]:
    made = worker_front._Server(listener, lambda *_: None, Pool(), "s", "service s", ALL)
    made.take = lambda *one: taken.append(one)
    yield made
    made.close()


def wait(until: Callable[[], object]) -> None:
    with gevent.Timeout(10):
        while not until():
            gevent.sleep(0.001)


def test_all_are_taken_that_come_at_once(listener: Any, server: Any, taken: Taken) -> None:
    clients = [socket.create_connection(listener.getsockname(), timeout=5) for _ in range(3 * MAX_ACCEPT)]
    server.start()
    wait(lambda: len(taken) == len(clients))
    assert [address for _, address in taken] == [client.getsockname() for client in clients]
    for number, ((descriptor, _), client) in enumerate(zip(taken, clients, strict=True)):
        with socket.socket(fileno=socket.dup(descriptor)) as ours, client:
            ours.sendall(bytes([number]))
            assert client.recv(2) == bytes([number])


def test_without_descriptors_they_wait_and_then_come(
    listener: Any, server: Any, taken: Taken, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[OSError] = []

    def check_left(descriptor: int, leaves: float) -> int:
        if len(told) < 2:
            raise OSError(errno.EMFILE, "Too many open files")
        return 1 << 20

    monkeypatch.setattr(worker_front, "check_left", check_left)
    server.told_full = told.append
    server.start()
    with socket.create_connection(listener.getsockname(), timeout=5):
        wait(lambda: taken)
    assert [error.errno for error in told] == [errno.EMFILE] * 2


@pytest.mark.parametrize(("more", "is_each"), [(ENOUGH + 100, False), (ENOUGH, True)])
def test_it_is_looked_how_many_are_left_where_they_may_be_few(
    listener: Any, server: Any, taken: Taken, monkeypatch: pytest.MonkeyPatch, more: int, is_each: bool
) -> None:
    looked: list[int] = []
    with socket.socket() as lowest:
        kept_from = lowest.fileno() + more

    def check_left(descriptor: int, leaves: float) -> int:
        looked.append(descriptor)
        return kept_from

    monkeypatch.setattr(worker_front, "check_left", check_left)
    server.start()
    for number in range(4):
        with socket.create_connection(listener.getsockname(), timeout=5):
            wait(lambda count=number: len(taken) > count)  # type: ignore[misc]
    assert len(set(looked)) == 1
    assert len(looked) >= 4 if is_each else len(looked) == 1


def test_a_connection_that_has_ended_is_not_counted_for_the_next_one() -> None:
    """The news of its end waits in memory until somebody looks."""
    limits = HubLimits(connections=(CountLimit("$$", 1),))
    front = Front(HubSettings("hub", "127.0.0.1", 0, limits=limits))
    crew = Crew(None, 1, 16, lambda number: ({}, ()))  # type: ignore[arg-type]
    giver, descriptors = worker_handover.made(16)
    channel: Any = None
    crew.workers[1] = Worker(1, channel, 1, -1, 0.0, 0.0, giver, ready=True, knows=True)
    over: list[Callable[[], None]] = []

    def take(descriptor: int, address: Any, service: str, ended: Callable[[], None], number: int) -> None:
        worker_channel.shut(descriptor)
        over.append(ended)

    taker = Taker(*descriptors, take)
    taker.start()
    front.start(crew)
    with socket.create_connection(front.address, timeout=5):
        wait(lambda: over)
    with socket.create_connection(front.address, timeout=5):
        wait(lambda: front.refused)
    assert front.refused == {Refusal.CONNECTIONS: 1}
    over[0]()
    with socket.create_connection(front.address, timeout=5):
        wait(lambda: len(over) == 2)
    assert front.refused == {Refusal.CONNECTIONS: 1}
    front.close()
    taker.close()
    taker._ends.close()
    giver.close()
