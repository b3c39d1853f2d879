"""Accepting when there are no descriptors: a pause, said, and then it goes on."""

from __future__ import annotations

import errno
import socket
from typing import Any

import gevent
import pytest
from gevent import socket as gsocket
from gevent.pool import Pool
from gevent.server import StreamServer

from lib.hub_accept import Server


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
    server = Server(listener, serve, Pool(10), told.append)
    server.start()
    with socket.create_connection(listener.getsockname(), timeout=5), gevent.Timeout(5):
        while not served:
            gevent.sleep(0.01)
    server.stop()
    assert [error.errno for error in told] == [errno.EMFILE] * 2
    assert served == ["once"]
