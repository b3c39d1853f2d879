"""Accepting when there are no descriptors: a pause, said, and then it goes on; some are kept for looking in."""

from __future__ import annotations

import errno
import os
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import gevent
import pytest
from gevent import socket as gsocket
from gevent.pool import Pool
from gevent.server import StreamServer

from lib import hub_accept
from lib.hub_accept import ALL, HALF, NONE, Server
from lib.service_scheduling import Share
from tests.support.streams import listening


def test_without_descriptors_connections_wait_and_then_come(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[str] = []
    told: list[OSError] = []
    real = StreamServer.do_read

    def do_read(server: Any) -> Any:
        if len(told) < 2:
            raise OSError(errno.EMFILE, "Too many open files")
        return real(server)

    def serve(sock: Any, address: object) -> None:
        served.append("once")
        sock.close()

    monkeypatch.setattr(StreamServer, "do_read", do_read)
    listener = gsocket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    server = Server(listener, serve, Pool(10), "s", "service s", ALL)
    server.told_full = told.append
    server.start()
    with socket.create_connection(listener.getsockname(), timeout=5), gevent.Timeout(5):
        while not served:
            gevent.sleep(0.01)
    server.stop()
    assert [error.errno for error in told] == [errno.EMFILE] * 2
    assert served == ["once"]


@pytest.mark.parametrize(
    ("limit", "leaves", "most"),
    [
        (64, ALL, 47),
        (64, HALF, 55),
        (64, NONE, 63),
        (1024, ALL, 991),
        (1024, HALF, 1007),
        (1 << 20, ALL, (1 << 20) - 33),
    ],
)
def test_some_descriptors_are_kept_for_looking_in(
    monkeypatch: pytest.MonkeyPatch, limit: int, leaves: float, most: int
) -> None:
    """`most` is the highest number of a descriptor with which one more connection is accepted."""
    lowest = most
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limit, limit))
    monkeypatch.setattr(os, "dup", lambda descriptor: lowest)
    monkeypatch.setattr(hub_accept, "_close", lambda descriptor: None)
    hub_accept.check_left(0, leaves)
    lowest += 1
    if leaves == NONE:
        hub_accept.check_left(0, leaves)  # the kernel itself will refuse it
        return
    with pytest.raises(OSError, match=rf"Too many open files: the limit is {limit} \(ulimit -n\)") as caught:
        hub_accept.check_left(0, leaves)
    assert caught.value.errno == errno.EMFILE


# --- what it costs to accept -----------------------------------------------------------------------


@pytest.fixture
def listener() -> Iterator[Any]:
    with listening() as made:
        yield made


def test_who_is_refused_gets_no_greenlet(listener: Any) -> None:
    served: list[object] = []

    def greet(sock: Any, address: tuple[str, int]) -> str | None:
        if len(greeted) % 2:
            sock.close()
        greeted.append(address)
        return "guest" if len(greeted) % 2 else None

    def serve(sock: Any, guest: object) -> None:
        served.append(guest)
        sock.close()

    greeted: list[object] = []
    server = Server(listener, serve, Pool(10), "s", "service s", ALL)
    server.greet = greet
    server.start()
    for _ in range(4):
        with gsocket.create_connection(listener.getsockname(), timeout=5) as sock, gevent.Timeout(5):
            assert sock.recv(1) == b""
    server.stop()
    assert (len(greeted), served) == (4, ["guest", "guest"])


def test_to_accept_and_refuse_takes_a_quarter_of_the_time_at_most(listener: Any) -> None:
    """A second of refusals of 0.5 ms each: as many as a quarter of a second has room for."""
    refused: list[float] = []

    def greet(sock: Any, address: object) -> None:
        until = time.monotonic() + 0.0005
        while time.monotonic() < until:
            pass
        sock.close()
        refused.append(time.monotonic())

    server = Server(listener, lambda sock, guest: None, Pool(10), "s", "service s", ALL)
    server.greet = greet
    server.start()

    def flood() -> None:
        while True:
            with suppress(OSError):
                gsocket.create_connection(listener.getsockname(), timeout=5).close()

    flooding = [gevent.spawn(flood) for _ in range(20)]
    began = time.monotonic()
    with gevent.Timeout(30):
        while (passed := time.monotonic() - began) < 1.0 or len(refused) <= 50:
            gevent.sleep(0.05)
    count = len(refused)
    gevent.killall(flooding)
    server.stop()
    assert count <= 550 * passed


def test_what_is_spent_is_taken_from_the_share_of_expensive_work(
    listener: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    share = Share()
    monkeypatch.setattr(hub_accept, "SHARE", share)
    server = Server(listener, lambda sock, guest: None, Pool(10), "s", "service s", ALL)
    server.start()
    for _ in range(4):
        server.spend(5.0)  # of which most was another process's
    assert not share.try_enter("handshake"), "it waits for as long as connections took"
    began = time.monotonic()
    share.enter("handshake")
    assert 0.01 < time.monotonic() - began < 5
    server.stop()
