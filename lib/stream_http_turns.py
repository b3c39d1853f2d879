"""Connection of an HTTP server of ours, read in turns: who asks or sends very much holds up no packet.

Knows: gevent's recv lets nobody else run while there is data, so requests without end, or a chunked body
without end, would stop the process; handshakes of TLS are work for strangers.
Refuses to know: what is asked (api_server, metrics_server).

    bytes are received -> a turn of the share begins -> requests are read and answered -> more is received

A turn is of the share that handshakes and expensive sessions of a hub have as well
(service_scheduling.SHARE), and goes by the peer's address. One that waits for something else in between (a
plugin, a peer that does not read, a long answer that is made in steps) lets others go on.
"""

from __future__ import annotations

import io
import time
from typing import Any

import gevent
from gevent import ssl
from gevent.socket import wait_read, wait_write

from lib.service_scheduling import SHARE

PIECE = 4096
"""Bytes that are received at once: a chunked body is read byte by byte, 1 ms for so many."""


class Requests(io.RawIOBase):
    """What one connection sends, as a file; what is done between two receives is one turn."""

    def __init__(self, sock: Any, origin: str) -> None:
        """`sock` is connected; `origin` is the peer's address, by which those that wait take turns."""
        super().__init__()
        self._sock, self._origin = sock, origin
        self._loop = gevent.get_hub().loop
        self._began, self._iteration = -1.0, 0

    def buffered(self) -> io.BufferedReader:
        """The file that a server reads requests from."""
        return io.BufferedReader(self, PIECE)

    def readable(self) -> bool:
        """Whether it can be read: always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Wait for bytes; returns how many, 0 at the end. Then a turn begins. Raises OSError."""
        self.end_turn()
        size: int = self._sock.recv_into(buffer)
        self._begin_turn()
        return size

    def next_request(self) -> None:
        """The turn of one request is over; the next one may be here already."""
        if self._began >= 0:
            self.end_turn()
            self._begin_turn()

    def _begin_turn(self) -> None:
        SHARE.enter(self._origin)
        self._began, self._iteration = time.monotonic(), self._loop.iteration

    def end_turn(self) -> None:
        """End the turn, if one has begun."""
        began, self._began = self._began, -1.0
        # Where others have run since, the turn has long been somebody else's.
        if began >= 0 and self._loop.iteration == self._iteration:
            SHARE.leave(time.monotonic() - began)


def shake_hands(sock: Any, origin: str) -> None:
    """Do the handshake of an accepted TLS socket, each step in a turn; the deadline is the caller's.

    `origin` as above. Raises OSError.
    """
    sock.settimeout(0.0)
    wait = wait_read
    while True:
        wait(sock.fileno())
        SHARE.enter(origin)
        began = time.monotonic()
        try:
            sock.do_handshake()
            return
        except ssl.SSLWantReadError:
            wait = wait_read
        except ssl.SSLWantWriteError:
            wait = wait_write
        finally:
            SHARE.leave(time.monotonic() - began)
