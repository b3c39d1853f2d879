"""Socket with a deadline and a byte limit, for replies of plugins, sources and proxies that may misbehave.

Knows: gevent's recv does not let other greenlets run while there is data, so a reply without end would stop
the process; how long the work on a piece of a reply took. HTTP and gRPC plugins, HTTP and Redis sources,
proxies, and TLS over any of them are read through it; they are called helpers here.
Refuses to know: what is said (plugin_http, plugin_grpc, source_read, stream_open), and sessions, whose
streams are made for speed (stream_tcp).

    library (urllib3, redis, h2, python-socks)
        | recv, recv_into, sendall
    TlsTransport, where there is TLS: OpenSSL over memory, so that it cannot read on by itself
        | recv, sendall
    BoundedSocket: has the deadline passed? are there too many bytes? is it the event loop's turn?

The time that a library takes for a piece is measured from one receive to the next. When all conversations
together have worked for a millisecond, they wait for their next turn in the share that handshakes and
expensive sessions have as well (service_scheduling.SHARE): all of these together take half of the time at
most. A piece that took longer makes the next one smaller.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from gevent import socket as gsocket
from gevent import ssl
from gevent.lock import BoundedSemaphore

from lib.service_scheduling import SHARE
from lib.session_cost import TURN_SECONDS

Pieces = tuple[int, int, int]
"""Bytes of one receive: at least, at first, at most."""
PIECES: Pieces = 128, 2048, 16384
INTERFACE_SECONDS = 3.0
SEND_SECONDS = 10.0
"""Seconds for which a helper may leave our bytes unread, unless the caller sets `send_seconds`."""


class TooMuch(OSError):
    """A helper sent more bytes than its conversation may have (Bounds)."""


class Bounds:
    """The limits of a conversation: seconds, and bytes received. renew() begins the next conversation."""

    __slots__ = ("_limit", "_seconds", "hop", "left", "turn", "until", "waits_for")

    def __init__(self, seconds: float, size: int) -> None:
        self.waits_for = ""
        """What has not come yet, in words, for the message at the deadline; empty where nobody says so."""
        self.turn = INTERFACE_SECONDS
        """Seconds until another one of several interfaces is tried (stream_dial)."""
        self.hop = 0
        """The number of the hop, of a chain of proxies, that is not reached yet."""
        self.renew(seconds, size)

    def renew(self, seconds: float, size: int) -> None:
        """Begin a conversation of at most `seconds` and `size` bytes."""
        self._seconds, self._limit = seconds, size
        self.until, self.left = time.monotonic() + seconds, size

    def grant(self, size: int) -> None:
        """Allow `size` bytes from now on, whatever was received before; the deadline stays."""
        self._limit = self.left = size

    def overdue(self) -> TimeoutError:
        """The error of a conversation that is not over at its deadline."""
        what = f": {self.waits_for}" if self.waits_for else ""
        return TimeoutError(errno.ETIMEDOUT, f"not over within {self._seconds:g} s{what}")

    @property
    def late(self) -> bool:
        """Whether the deadline has passed."""
        return time.monotonic() >= self.until

    def remaining(self) -> float:
        """Seconds until the deadline. Raises TimeoutError where it has passed."""
        seconds = self.until - time.monotonic()
        if seconds <= 0:
            raise self.overdue()
        return seconds

    def take(self, size: int) -> None:
        """Count received bytes. Raises TooMuch where they are more than the conversation may have."""
        self.left -= size
        if self.left < 0:
            raise TooMuch(errno.EMSGSIZE, f"more than {self._limit} bytes")


class _Turns:
    """The time that all conversations together have worked since packets were last forwarded, in seconds."""

    def __init__(self) -> None:
        self._worked = 0.0

    def pass_on(self, worked: float) -> None:
        """Count seconds of work. Once a turn's time is used up, wait for the next turn in the share."""
        self._worked += worked
        if self._worked >= TURN_SECONDS:
            worked, self._worked = self._worked, 0.0
            SHARE.charge("helpers", worked)


_turns = _Turns()


class BoundedSocket(gsocket.socket):  # type: ignore[misc]  # gevent has no types
    """A TCP socket with Bounds. It receives in pieces, and lets other greenlets run between them."""

    def __init__(self, family: int, kind: int, proto: int, bounds: Bounds, pieces: Pieces = PIECES) -> None:
        super().__init__(family, kind, proto)
        self.bounds = bounds
        self.send_seconds = SEND_SECONDS
        self._patience: float | None = None
        self._least, self._piece, self._most = pieces
        self._sending = BoundedSemaphore(1)
        self._since, self._iteration, self._worked = 0.0, -1, 0.0

    def settimeout(self, howlong: float | None) -> None:
        """Set the timeout of each receive in seconds (None: only the deadline counts). Libraries call it."""
        self._patience = howlong

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Receive at most `size` bytes. Raises OSError, of which TooMuch and TimeoutError are kinds."""
        most = self._begin(size)
        data: bytes = super().recv(most, flags)
        self._end(len(data))
        return data

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """Receive into a buffer; returns how many bytes. Raises as recv does."""
        view = memoryview(buffer).cast("B")
        most = self._begin(nbytes or len(view))
        size: int = super().recv_into(view[:most], most, flags)
        self._end(size)
        return size

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send everything; a second caller waits until the first one is done. Raises OSError."""
        self._account()
        with self._sending:
            super().settimeout(min(self.send_seconds, self.bounds.remaining()))
            super().sendall(data, flags)
        self._since, self._iteration = time.monotonic(), self.hub.loop.iteration

    def _account(self) -> None:
        """Count the work on the last piece, and let other greenlets run where it is time."""
        loop = self.hub.loop
        # If the event loop has run since the last piece, other greenlets have worked in the time in between.
        # So it does not count.
        worked = time.monotonic() - self._since if loop.iteration == self._iteration else 0.0
        self._worked += worked
        _turns.pass_on(worked)

    def _begin(self, size: int) -> int:
        """Account for the last piece; returns how many bytes to receive at most."""
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


class TlsContext(ssl.SSLContext):  # type: ignore[misc]
    """The TLS context of a client whose OpenSSL works on memory, so that a BoundedSocket reads for it."""

    def wrap_socket(self, sock: Any, *_: Any, server_hostname: str | None = None, **more: Any) -> Any:
        """Do the handshake. Raises OSError, ssl.SSLError among them."""
        from urllib3.util.ssltransport import SSLTransport

        return SSLTransport(sock, self, server_hostname)


def tls_context(verify: bool) -> TlsContext:
    """The TLS context of a client. It trusts the system's authorities, or with verify=False everybody."""
    made = TlsContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = verify
    made.verify_mode = ssl.CERT_REQUIRED if verify else ssl.CERT_NONE
    if verify:
        made.load_default_certs()
    return made


@contextmanager
def failing_as(made: Callable[[str], Exception], *known: type[Exception]) -> Iterator[None]:
    """Turn unexpected errors into made(text of the error); the `known` ones stay as they are.

    The libraries that read replies were written for honest helpers: a reply may make them raise anything.
    gevent.Timeout and GreenletExit are no Exception and pass too.
    """
    try:
        yield
    except known:
        raise
    except Exception as error:
        raise made(f"{type(error).__name__}: {str(error)[:200]}") from error
