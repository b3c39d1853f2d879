"""Connections handed to a worker: whole, each with its own descriptor, and their ends come back."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

from lib import worker_channel, worker_handover
from lib.worker_handover import Taker

CONNECTIONS = [
    (("192.0.2.1", 52112), "hub"),
    (("2001:db8::1", 1, 0, 0), "a hub, of two words"),
    (("fe80::1%eth0", 65535, 5, 3), "größer"),
    (("::ffff:192.0.2.1", 7, 0, 0), "\udcff"),
]


class World:
    """A giver, and a taker that keeps what it takes."""

    def __init__(self, room: int) -> None:
        self.giver, (sock, file) = worker_handover.made(room)
        self.taken: list[tuple[int, Any, str, Callable[[], None], int]] = []
        self.over: list[str] = []
        self.taker = Taker(sock, file, lambda *one: self.taken.append(one))
        self.taker.start()

    def give(self, address: Any, service: str, descriptor: int) -> None:
        assert self.giver.try_give(service, descriptor, address, lambda: self.over.append(service))

    def wait(self, count: int) -> None:
        with gevent.Timeout(10):
            while len(self.taken) < count:
                gevent.sleep(0.001)

    def close(self) -> None:
        self.taker.close()
        self.taker._ends.close()
        self.giver.close()


@pytest.fixture
def world() -> Iterator[World]:
    made = World(600)
    yield made
    made.close()


def test_each_brings_its_address_its_service_and_its_descriptor(world: World) -> None:
    pipes = [os.pipe() for _ in CONNECTIONS]
    for (address, service), (_, writer) in zip(CONNECTIONS, pipes, strict=True):
        world.give(address, service, writer)
        os.close(writer)
    world.wait(len(CONNECTIONS))
    assert [(address, service) for _, address, service, *_ in world.taken] == CONNECTIONS
    for number, ((descriptor, *_), (reader, _)) in enumerate(zip(world.taken, pipes, strict=True)):
        assert not os.get_inheritable(descriptor)
        os.write(descriptor, bytes([number]))
        assert os.read(reader, 1) == bytes([number])
        worker_channel.shut(descriptor)
        os.close(reader)
    for _, _, _, over, _ in world.taken[1:3]:
        over()
    assert len(world.giver) == len(CONNECTIONS), "nothing before somebody looks"
    assert world.giver.settle()
    assert not world.giver.settle()
    assert (len(world.giver), world.over) == (2, ["a hub, of two words", "größer"])


def test_all_has_ended_with_the_worker(world: World) -> None:
    for address, service in CONNECTIONS:
        world.give(address, service, 0)
    world.wait(len(CONNECTIONS))
    world.taken[0][3]()
    for descriptor, *_ in world.taken:
        worker_channel.shut(descriptor)
    world.giver.close()
    assert world.over == [service for _, service in CONNECTIONS], "each once"
    assert len(world.giver) == 0
    world.taken[1][3]()  # the worker does not know it yet


def test_one_whose_descriptor_was_lost_has_ended(world: World) -> None:
    """The kernel leaves a descriptor out where the worker has no room for it."""

    class Poor:
        def recvmsg_into(self, into: Any, *_: Any) -> Any:
            return len(into[0]), [], 0, None

    taker = world.taker
    data = b"1 5 0 0 192.0.2.1 hub"
    taker._data = bytearray(data)
    real, taker._sock = taker._sock, Poor()
    world.giver._noted("hub", ("192.0.2.1", 5), lambda: world.over.append("hub"))
    taker._read()
    taker._sock = real
    assert world.giver.settle()
    assert (world.over, world.taken) == (["hub"], [])


def test_a_worker_that_has_ended_gets_nothing(world: World) -> None:
    world.taker._sock.close()
    with pytest.raises(BrokenPipeError):
        world.giver.try_give("hub", 0, ("192.0.2.1", 5), lambda: None)
    with pytest.raises(BrokenPipeError):
        world.giver.give("hub", 0, ("192.0.2.1", 5), lambda: None)
    assert len(world.giver) == 0


def test_whoever_waits_for_a_worker_that_ends_may_try_another_one(world: World) -> None:
    """What was given has ended then; what was not, has not: it would be counted down twice."""
    world.taker._readable.stop()
    count = 0
    while world.giver.try_give("hub", 0, ("192.0.2.1", 5), lambda: world.over.append("given")):
        count += 1
    late = [lambda: world.over.append("late")] * 3
    waiting = [gevent.spawn(world.giver.give, "hub", 0, ("192.0.2.1", 5), one) for one in late]
    gevent.sleep(0.01)
    assert len(world.giver) == count + 3
    world.giver.close()
    gevent.joinall(waiting, timeout=10)
    assert all(isinstance(one.exception, OSError) for one in waiting)
    assert world.over == ["given"] * count


def test_a_worker_stops_reading_where_the_main_process_has_ended(world: World) -> None:
    world.giver._sock.close()
    with gevent.Timeout(10):
        while world.taker._readable.active:
            gevent.sleep(0.001)


def test_more_than_there_are_cells_for_have_come_and_gone(world: World) -> None:
    for number in range(2000):
        world.give(("192.0.2.1", number % 65536), "hub", 0)
        world.wait(number + 1)
        descriptor, _, _, over, _ = world.taken[-1]
        worker_channel.shut(descriptor)
        over()
        assert world.giver.settle()
    assert (len(world.giver), len(world.over)) == (0, 2000)


def test_nothing_is_lost_where_the_worker_is_behind() -> None:
    giver, (sock, file) = worker_handover.made(1 << 16)
    count = 0
    while giver.try_give("hub", 0, ("192.0.2.1", count), lambda: None):
        count += 1
    assert len(giver) == count
    waiting = [gevent.spawn(giver.give, "hub", 0, ("192.0.2.2", port), lambda: None) for port in range(9)]
    gevent.sleep(0.01)
    assert not giver.try_give("hub", 0, ("192.0.2.3", 1), lambda: None), "others wait already"
    ports: list[int] = []

    def take(descriptor: int, address: Any, service: str, over: Callable[[], None], number: int) -> None:
        worker_channel.shut(descriptor)
        ports.append(address[1])

    taker = Taker(sock, file, take)
    taker.start()
    with gevent.Timeout(20):
        gevent.joinall(waiting, raise_error=True)
        while len(ports) < count + 9:
            gevent.sleep(0.001)
    assert ports == [*range(count), *range(9)]
    assert len(giver) == count + 9
    taker.close()
    taker._ends.close()
    giver.close()
    with pytest.raises(OSError, match="Bad file"):
        socket.socket(fileno=sock)
