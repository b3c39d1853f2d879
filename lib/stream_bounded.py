"""Sockets with a deadline and a byte bound, for conversations with helpers that may lie.

Knows: that gevent's recv does not give way while there is data, so that an answer without end would stop
the process; how long the work on a piece of it took. Who talks so: HTTP and gRPC plugins, HTTP and Redis
sources, proxies, and TLS over any of them. It stands in no group: plugin_, source_ and client_ all use it.
Refuses to know: what is said (plugin_http, plugin_grpc, source_read, stream_open), and sessions, whose
streams are made for speed (stream_tcp).

    library (urllib3, redis, h2, python-socks)
        | recv, recv_into, sendall
    TlsTransport, where there is TLS: OpenSSL over memory, so that it cannot read on by itself
        | recv, sendall
    BoundedSocket: is it too late? too much? has the loop had its turn?

What a library does with a piece is measured from one receive to the next. All conversations together work
for a millisecond, then for as long they rest; a piece that took longer makes the next one smaller.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent
from gevent import socket as gsocket
from gevent import ssl
from gevent.lock import BoundedSemaphore

from lib import stream_resolve
from lib.session_cost import TURN_SECONDS

Pieces = tuple[int, int, int]
"""Bytes of one receive: at least, at first, at most."""
PIECES: Pieces = 128, 2048, 16384
SEND_SECONDS = 10.0
"""How long a helper may leave unread what we say, unless told otherwise."""


class TooMuch(OSError):
    """A helper said more than its conversation has room for."""


class Bounds:
    """What a conversation may cost: seconds, and bytes received. renew() begins the next one."""

    __slots__ = ("_limit", "_seconds", "left", "until")

    def __init__(self, seconds: float, size: int) -> None:
        self.renew(seconds, size)

    def renew(self, seconds: float, size: int) -> None:
        """So much from now on."""
        self._seconds, self._limit = seconds, size
        self.until, self.left = time.monotonic() + seconds, size

    def grant(self, size: int) -> None:
        """So many bytes from now on, by the same deadline."""
        self._limit = self.left = size

    @property
    def late(self) -> bool:
        """Whether the deadline has passed."""
        return time.monotonic() >= self.until

    def remaining(self) -> float:
        """Seconds until the deadline. Raises TimeoutError where it has passed."""
        seconds = self.until - time.monotonic()
        if seconds <= 0:
            raise TimeoutError(errno.ETIMEDOUT, f"not over within {self._seconds:g} s")
        return seconds

    def take(self, size: int) -> None:
        """Count bytes. Raises TooMuch."""
        self.left -= size
        if self.left < 0:
            raise TooMuch(errno.EMSGSIZE, f"more than {self._limit} bytes")


class _Turns:
    """How long has been worked since packets had their turn, in all conversations."""

    def __init__(self) -> None:
        self._worked = self._free_at = 0.0

    def pass_on(self, worked: float) -> None:
        """Count work; where it was enough, and while others rest, rest."""
        self._worked += worked
        if self._worked >= TURN_SECONDS:
            self._free_at = time.monotonic() + self._worked
            self._worked = 0.0
        while (early := self._free_at - time.monotonic()) > 0:
            gevent.sleep(early)


_turns = _Turns()


class BoundedSocket(gsocket.socket):  # type: ignore[misc]  # gevent has no types
    """A TCP socket within bounds. What it receives comes in pieces, between which others run."""

    def __init__(self, family: int, kind: int, proto: int, bounds: Bounds, pieces: Pieces = PIECES) -> None:
        super().__init__(family, kind, proto)
        self.bounds = bounds
        self.send_seconds = SEND_SECONDS
        self._patience: float | None = None
        self._least, self._piece, self._most = pieces
        self._sending = BoundedSemaphore(1)
        self._since, self._iteration, self._worked = 0.0, -1, 0.0

    def settimeout(self, howlong: float | None) -> None:
        """For a single receive, within the deadline; libraries set it."""
        self._patience = howlong

    def recv(self, size: int, flags: int = 0) -> bytes:
        """A piece of at most so many bytes. Raises OSError, TooMuch and TimeoutError among them."""
        most = self._begin(size)
        data: bytes = super().recv(most, flags)
        self._end(len(data))
        return data

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """As recv."""
        view = memoryview(buffer).cast("B")
        most = self._begin(nbytes or len(view))
        size: int = super().recv_into(view[:most], most, flags)
        self._end(size)
        return size

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send everything, one caller after the other."""
        self._account()
        with self._sending:
            super().settimeout(min(self.send_seconds, self.bounds.remaining()))
            super().sendall(data, flags)
        self._since, self._iteration = time.monotonic(), self.hub.loop.iteration

    def _account(self) -> None:
        """Count what was done with the last piece, and let others run where it is time."""
        loop = self.hub.loop
        # whoever has given way since the last piece need not again, and the time of others is not its work
        worked = time.monotonic() - self._since if loop.iteration == self._iteration else 0.0
        self._worked += worked
        _turns.pass_on(worked)

    def _begin(self, size: int) -> int:
        """How many bytes to take at most: by how long the last piece took."""
        self._account()
        worked, self._worked = self._worked, 0.0
        if worked > TURN_SECONDS:
            self._piece = max(self._least, int(self._piece * TURN_SECONDS / worked))
        elif worked < TURN_SECONDS / 4:
            self._piece = min(self._most, 2 * self._piece)
        seconds = self.bounds.remaining()
        super().settimeout(None if seconds == float("inf") else seconds)
        if self._patience is not None:
            super().settimeout(min(seconds, self._patience))
        return max(1, min(size, self._piece, self.bounds.left + 1))

    def _end(self, size: int) -> None:
        self.bounds.take(size)
        self._since, self._iteration = time.monotonic(), self.hub.loop.iteration


def dial(
    host: str,
    port: int,
    bounds: Bounds,
    device_for: Callable[[str], str | None] = lambda address: None,
    pieces: Pieces = PIECES,
) -> BoundedSocket:
    """A connection within bounds; the name is looked up anew. Raises OSError.

    device_for says for an IP address which network device to send out of whatever the routes say (None: as
    they say). The socket is bound to it: nothing to clean up, however we end.
    """
    error: OSError = OSError(errno.EHOSTUNREACH, f"{host} has no address")
    for family, kind, proto, _, address in stream_resolve.look_up(host, port, bounds.remaining()):
        sock = BoundedSocket(family, kind, proto, bounds, pieces)
        try:
            device = device_for(address[0])
            if device:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode() + b"\0")
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            gsocket.socket.settimeout(sock, bounds.remaining())
            sock.connect(address)
            return sock
        except OSError as refused:
            sock.close()
            error = refused
        except BaseException:
            sock.close()
            raise
    raise error


class TlsContext(ssl.SSLContext):  # type: ignore[misc]
    """A client's TLS over memory: what OpenSSL reads has come through a BoundedSocket."""

    def wrap_socket(self, sock: Any, *_: Any, server_hostname: str | None = None, **more: Any) -> Any:
        """Do the handshake. Raises OSError, ssl.SSLError among them."""
        from urllib3.util.ssltransport import SSLTransport

        return SSLTransport(sock, self, server_hostname)


def tls_context(verify: bool) -> TlsContext:
    """Trusts whom the system trusts, or with verify=False anybody."""
    made = TlsContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = verify
    made.verify_mode = ssl.CERT_REQUIRED if verify else ssl.CERT_NONE
    if verify:
        made.load_default_certs()
    return made


@contextmanager
def failing_as(made: Callable[[str], Exception], *known: type[Exception]) -> Iterator[None]:
    """Make whatever goes wrong within a failed answer: known errors pass, others become made(what it was).

    The libraries that read what helpers say were written for honest ones. Deadlines of others
    (gevent.Timeout) and the end of a greenlet are no such errors and pass as well.
    """
    try:
        yield
    except known:
        raise
    except Exception as error:
        raise made(f"{type(error).__name__}: {str(error)[:200]}") from error
