"""Server of a hub in a worker: its connections are accepted by the main process, and handed over.

Knows: what a hub asks of its server (hub_accept.Server). Refuses to know: who gets which connection
(worker_front), by what they come (worker_channel).
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import gevent.socket
from gevent import monkey
from gevent.pool import Pool

from lib.hub_listen import Greet, Serve

_OriginalSocket: Any = monkey.get_original("socket", "socket")


class _Listener(gevent.socket.socket):  # type: ignore[misc]  # gevent has no types
    """A socket that listens nowhere: the main process has the one that does, of this name."""

    name: Any = ("", 0)

    def getsockname(self) -> Any:
        """The address and port that the main process listens on."""
        return self.name


class HandedServer:
    """Takes connections into a pool of greenlets as hub_accept.Server does."""

    def __init__(self, address: Any, greet: Greet, serve: Serve, pool: Pool) -> None:
        """`address` is where the main process listens."""
        family = socket.AF_INET6 if len(address) == 4 else socket.AF_INET
        self.socket = _Listener(family, socket.SOCK_STREAM)
        self.socket.name = address
        self.started = self.closed = False
        self.make_room: Callable[[], bool] = lambda: False
        self._greet, self._serve, self._pool = greet, serve, pool

    def start(self) -> None:
        """Take connections from now on."""
        self.started = True

    def spend(self, seconds: float) -> None:
        """Nothing: the main process accepts."""

    def close(self) -> None:
        """Take no more."""
        self.started, self.closed = False, True
        self.socket.close()

    def take(self, descriptor: int, address: Any, over: Callable[[], None]) -> None:
        """Serve a connection in a greenlet of its own. `over` is called at its end."""
        family = socket.AF_INET6 if len(address) == 4 else socket.AF_INET
        sock = _OriginalSocket(family, socket.SOCK_STREAM, -1, descriptor)  # a stream is made of it at once
        if not self.started:
            sock.close()
            over()
            return
        guest = self._greet(sock, address)
        if guest is None:  # it is closed
            over()
            return
        self._pool.spawn(self._run, sock, guest, over)

    def _run(self, sock: Any, guest: Any, over: Callable[[], None]) -> None:
        try:
            self._serve(sock, guest)
        finally:
            over()
