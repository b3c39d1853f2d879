"""UDP ports of a hub with workers: opened by the main process, one socket for each worker, and by a reload."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, suppress
from types import SimpleNamespace
from typing import Any, cast

import pytest
from gevent import socket

from lib.worker_ports import WorkerPorts
from lib.worker_state import CLUSTER_NUMBER
from tests.unit.test_config_workers import HUB, settings

TEXT = HUB.replace('":8443"', "'127.0.0.1:0'")
STREAM = TEXT.replace("router: r}", "router: r, channel: stream}")
ELSEWHERE = TEXT.replace("router: r}", "router: r, datagram: 'hub.example:8443'}")
Told = dict[int, list[tuple[dict[str, Any], list[int]]]]


class Main:
    """A main process that listens, with two workers and the process of a cluster; it keeps what they are told."""

    def __init__(self, text: str) -> None:
        self.settings = settings(text)
        self.listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.listener.bind(("127.0.0.1", 0))
        self.told: Told = {}
        self.workers = {number: SimpleNamespace(number=number) for number in (CLUSTER_NUMBER, 1, 2)}
        self.crew = SimpleNamespace(count=2, begun=[], workers=self.workers, tell=self._tell)
        front = SimpleNamespace(settings=self.settings.hubs[0], listener=self.listener)
        self.ports = WorkerPorts(cast(Any, self.crew), {"hub": cast(Any, front)})
        self.ports.open()

    def _tell(self, worker: Any, message: dict[str, Any], *descriptors: int) -> bool:
        inodes = [os.fstat(one).st_ino for one in descriptors]
        self.told.setdefault(worker.number, []).append((message, inodes))
        return True

    def greet(self) -> Told:
        """What each process is told at its begin."""
        self.told = {}
        for worker in self.workers.values():
            for greet in self.crew.begun:
                greet(worker)
        return self.told

    def reload(self, text: str) -> Told:
        self.told = {}
        old, self.settings = self.settings, settings(text)
        self.ports.apply(old, self.settings)
        return self.told

    def is_open(self) -> bool:
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as other:
            with suppress(OSError):
                other.bind(self.listener.getsockname())
                return False
        return True

    def close(self) -> None:
        self.ports.close()
        self.listener.close()


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Where a port is said to be busy."""
    found: list[str] = []

    def tell_busy(service: str, who: str, whose: str, where: str, error: OSError) -> None:
        found.append(where)

    monkeypatch.setattr("lib.datagram_port.tell_busy", tell_busy)
    return found


@pytest.fixture
def main(said: list[str]) -> Iterator[Main]:
    with closing(Main(TEXT)) as made:
        yield made


def sockets(told: Told) -> dict[int, int]:
    """The socket that each worker is handed."""
    found: dict[int, int] = {}
    for number, messages in told.items():
        ((message, inodes),) = messages
        assert message == {"do": "datagrams", "service": "hub"}
        (found[number],) = inodes
    return found


def test_each_worker_is_handed_its_own_socket_and_the_next_one_the_same(main: Main) -> None:
    assert main.is_open()
    first = sockets(main.greet())
    assert set(first) == {1, 2}, "the process of the cluster has no sessions"
    assert first[1] != first[2]
    assert sockets(main.greet()) == first


def test_what_a_reload_closes_and_opens(main: Main, said: list[str]) -> None:
    closed = main.reload(STREAM)
    assert closed == {number: [({"do": "datagrams", "service": "hub"}, [])] for number in (1, 2)}
    assert not main.is_open()
    assert not main.greet()
    opened = sockets(main.reload(TEXT))
    assert main.is_open()
    assert sockets(main.greet()) == opened
    assert not said


def test_what_stays_is_not_touched(main: Main) -> None:
    first = sockets(main.greet())
    for text in (TEXT.replace("host-1", "host-2"), ELSEWHERE, TEXT):
        assert not main.reload(text)
    assert sockets(main.greet()) == first


def test_over_a_stream_in_the_clear_there_is_none(said: list[str]) -> None:
    with closing(Main(TEXT.replace("type: tls", "type: tcp"))) as main:
        assert not main.is_open()
        assert not main.greet()
    assert not said


def test_a_busy_port_is_one_warning_and_a_reload_tries_again(main: Main, said: list[str]) -> None:
    main.reload(STREAM)
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as other:
        other.bind(main.listener.getsockname())
        assert main.reload(TEXT) == {
            number: [({"do": "datagrams", "service": "hub"}, [])] for number in (1, 2)
        }
        assert said == [f"127.0.0.1:{main.listener.getsockname()[1]}"]
        main.reload(TEXT.replace("host-1", "host-2"))
        assert len(said) == 1, "nothing of it has changed"
    assert set(sockets(main.reload(ELSEWHERE))) == {1, 2}


def test_they_become_those_of_the_user_of_workers(main: Main, monkeypatch: pytest.MonkeyPatch) -> None:
    changed: list[tuple[int, int, int]] = []

    def fchown(descriptor: int, user: int, group: int) -> None:
        changed.append((os.fstat(descriptor).st_ino, user, group))

    monkeypatch.setattr(os, "fchown", fchown)
    main.ports.give_to(1234)
    assert changed == [(one, 1234, -1) for one in sockets(main.greet()).values()]


def test_a_user_who_may_not_give_them_away_keeps_them(main: Main, monkeypatch: pytest.MonkeyPatch) -> None:
    def fchown(descriptor: int, user: int, group: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "fchown", fchown)
    main.ports.give_to(1234)
    assert set(sockets(main.greet())) == {1, 2}
