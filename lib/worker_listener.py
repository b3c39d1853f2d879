"""Server of a hub in a worker: its connections are accepted by the main process, and handed over.

Knows: what a hub asks of its server (hub_accept.Server). Refuses to know: who gets which connection
(worker_front), by what they come (worker_channel).
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import gevent.socket
from gevent.pool import Pool

from lib import stream_options, worker_channel
from lib.hub_listen import Greet, Serve


class _Handed:
    """A connection until a stream is made of it, which happens at once: a socket would be a waste."""

    __slots__ = ("_descriptor", "family", "proto")
    type = socket.SOCK_STREAM

    def __init__(self, descriptor: int, family: int, proto: int) -> None:
        self._descriptor, self.family, self.proto = descriptor, family, proto

    def detach(self) -> int:
        """Its descriptor, which is the caller's from now on; below 0 where it is closed."""
        descriptor, self._descriptor = self._descriptor, -1
        return descriptor

    def close(self) -> None:
        """Close it, where nobody has it yet."""
        if (descriptor := self.detach()) >= 0:
            worker_channel.shut(descriptor)


class _Listener(gevent.socket.socket):  # type: ignore[misc]  # gevent has no types
    """A socket that listens nowhere: the main process has the one that does, of this name."""

    name: Any = ("", 0)

    def getsockname(self) -> Any:
        """The address and port that the main process listens on."""
        return self.name


class HandedServer:
    """Takes connections into a pool of greenlets as hub_accept.Server does."""

    def __init__(self, address: Any, mptcp: bool, greet: Greet, serve: Serve, pool: Pool) -> None:
        """`address` is where the main process listens, with `mptcp` by MPTCP where it can."""
        self._family = socket.AF_INET6 if len(address) == 4 else socket.AF_INET
        self._proto = stream_options.IPPROTO_MPTCP if mptcp else socket.IPPROTO_TCP
        self.socket = _Listener(self._family, socket.SOCK_STREAM)
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

    def take(self, descriptor: int, address: Any, over: Callable[[], None], number: int) -> None:
        """Serve a connection in a greenlet of its own. `over` is called at its end.

        `number` is what the main process calls it.
        """
        sock = _Handed(descriptor, self._family, self._proto)
        if not self.started:
            sock.close()
            over()
            return
        guest = self._greet(sock, address)
        if guest is None:  # it is closed
            over()
            return
        guest.is_number(number)
        self._pool.spawn(self._run, sock, guest, over)

    def _run(self, sock: Any, guest: Any, over: Callable[[], None]) -> None:
        try:
            self._serve(sock, guest)
        finally:
            over()
