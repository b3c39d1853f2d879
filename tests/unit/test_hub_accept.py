"""Accepting when there are no descriptors: a pause, said, and then it goes on; some are kept for looking in."""

from __future__ import annotations

import errno
import os
import resource
import socket
from typing import Any

import gevent
import pytest
from gevent import socket as gsocket
from gevent.pool import Pool
from gevent.server import StreamServer

from lib import hub_accept
from lib.hub_accept import ALL, HALF, NONE, Server


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
