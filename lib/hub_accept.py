"""Listening sockets: connections accepted into greenlets, with pauses where descriptors or time run out.

Knows: gevent's servers, the limit of open files, how many descriptors are kept for those who look in; that to
accept and to refuse takes a quarter of the time at most, out of the half that all expensive work has.
Refuses to know: what a connection is for (hub, ctl_server, metrics_server).

    0 ........ limit - kept ........ limit - kept/2 ........ limit
    a hub's connections  |  scrapes of metrics     |  the control socket, files, look-ups

A new descriptor has the lowest free number, so that number says how many are left.
"""

from __future__ import annotations

import errno
import os
import resource
import time
from collections.abc import Callable
from typing import Any

from gevent import monkey
from gevent.pool import Pool
from gevent.server import StreamServer

from lib.log_dedup import RETRIED
from lib.log_events import Entry
from lib.log_setup import say
from lib.service_scheduling import SHARE

MAX_ACCEPT = 8
"""Connections accepted in a row before packets get their turn."""
PAUSE_SECONDS = 0.2
"""Seconds without an accept after descriptors or memory have run out."""
ROOM_SECONDS = 0.01
"""The same where a connection that did nothing makes room."""
KEPT = 32
"""Descriptors that a hub leaves to those who look in; a quarter of the limit where that is less."""
ACCEPT_SECONDS, REST = 0.001, 3.0
"""After so much time for connections nothing is accepted for three times as long: the kernel keeps the next
ones. Handshakes get what is left of the half that expensive work has (service_scheduling.SHARE)."""
LONGEST_SECONDS = 0.005
"""What took longer at once did so because another process had the processor."""
ALL, HALF, NONE = 1.0, 0.5, 0.0
"""How much of that a server leaves."""
_close = monkey.get_original("os", "close")
"""The system's: gevent's closes a moment later, in case that somebody waits for the descriptor."""
_FULL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Sparing:
    """What a gevent server does with connections for which there is no descriptor: it lets them wait.

    To be put before the server's class.
    """

    leaves = ALL
    """How much is left of the descriptors that are kept."""
    told_full: Callable[[OSError], None]
    """Called when a connection cannot be accepted; it stays in the kernel's queue meanwhile."""
    make_room: Callable[[], bool] = staticmethod(lambda: False)
    """Called then: it ends a connection that does nothing, if there is one; returns whether there was one."""
    spent = 0.0
    """Seconds of work on connections since the last pause."""

    def _do_read(self: Any) -> None:
        """Accept some connections (called by gevent)."""
        began = time.monotonic()
        super()._do_read()  # type: ignore[misc]  # the server's
        self.spend(time.monotonic() - began)

    def spend(self: Any, seconds: float) -> None:
        """Account for work on connections that nobody else has a turn for; then others may have theirs."""
        seconds = min(seconds, LONGEST_SECONDS)
        SHARE.owe(seconds)
        self.spent += seconds
        if self.spent > ACCEPT_SECONDS and self._watcher is not None:
            self.stop_accepting()
            self._timer = self.loop.timer(REST * self.spent)
            self._timer.start(self._start_accepting_if_started)
            self.spent = 0.0

    def do_read(self: Any) -> Any:
        """Accept the next connection (called by gevent); None where there is none now."""
        try:
            check_left(self.socket.fileno(), self.leaves)
            return super().do_read()  # type: ignore[misc]  # the server's
        except OSError as error:
            if error.errno not in _FULL:
                raise
            self.rest(error)
            return None

    def rest(self: Any, error: OSError) -> None:
        """Accept nothing for a while, as a connection could not be accepted."""
        self.told_full(error)
        self.stop_accepting()
        self._timer = self.loop.timer(ROOM_SECONDS if self.make_room() else PAUSE_SECONDS)
        self._timer.start(self._start_accepting_if_started)


class Server(Sparing, StreamServer):  # type: ignore[misc]  # gevent has no types
    """Accepts connections into a pool of greenlets."""

    max_accept = MAX_ACCEPT
    greet: Callable[[Any, Any], Any] = staticmethod(lambda sock, address: address)
    """Called with each connection and its address before it has a greenlet; never waits. Returns what is
    served in place of the address, or None where the connection was refused and closed."""

    def do_handle(self, sock: Any, address: Any) -> None:
        """Let a connection be served, unless it is refused (called by gevent)."""
        guest = self.greet(sock, address)
        if guest is not None:
            super().do_handle(sock, guest)

    def __init__(
        self, sock: Any, serve: Callable[[Any, Any], None], pool: Pool, name: str, label: str, leaves: float
    ) -> None:
        """`name` and `label` are those of `not_accepting`; `leaves` is ALL, HALF or NONE."""
        self.leaves = leaves
        self.told_full = lambda error: not_accepting(name, label, error)
        super().__init__(sock, serve, spawn=pool)


def not_accepting(name: str, label: str, error: OSError) -> None:
    """Log that connections wait: to what (`name`; `label` is its name in a sentence), and why."""
    reason = error.strerror or str(error)
    text = "%s: no connection is accepted: %s"
    say(Entry.NOT_ACCEPTING, text, label, reason, fold=name, habit=RETRIED, service=name, reason=reason)


def check_left(descriptor: int, leaves: float) -> int:
    """The number from which on descriptors are kept for others; `descriptor` is any that is open.

    Raises OSError where too few are left for one more connection.
    """
    if not leaves:
        return 0
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    kept = min(KEPT, limit // 4)
    kept_from = limit - int(kept * leaves)
    lowest = os.dup(descriptor)
    _close(lowest)
    if lowest >= kept_from:
        why = f"{os.strerror(errno.EMFILE)}: the limit is {limit} (ulimit -n), {kept} are kept for looking in"
        raise OSError(errno.EMFILE, why)
    return kept_from


def raise_descriptor_limit() -> None:
    """Raise the limit of open descriptors to the hard limit: the usual 1,024 are enough for 1,000 clients."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Quiet:
    """pywsgi's error log, thrown away: anybody can cause its lines by sending nonsense."""

    def write(self, text: str) -> None:
        """Forget it."""

    def flush(self) -> None:
        """Nothing waits."""
