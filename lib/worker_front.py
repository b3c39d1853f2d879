"""The listening socket of a hub whose sessions are in workers: connections are accepted, counted, given away.

Knows: the limits of connections and handshakes by address, which hold for all workers together; that a
connection that is given away at once costs neither a greenlet nor a socket of gevent's; that a connection of
a trusted proxy is its client's, once a worker knows whose (worker_named).
Refuses to know: which worker gets a connection (worker_crew), what it is (hub).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from gevent.pool import Pool

from lib import ctl_drops, hub_listen, hub_log, stream_options, worker_channel
from lib.addresses import host_of
from lib.forward_drop_reasons import Refusal
from lib.hub_accept import MAX_ACCEPT, Server, check_left
from lib.limits import Gate, Visit
from lib.settings import HubSettings
from lib.settings_memory import MAX_CLIENTS
from lib.stream_tcp import format_peer
from lib.worker_crew import Crew
from lib.worker_handover import Over

ENOUGH = 4 * MAX_ACCEPT
"""Descriptors that are enough for all connections in a row, and for others meanwhile: where more are left,
nobody looks how many there are, for each has the lowest free number and so tells it."""
AT_ONCE = 0.0005
"""Seconds between two connections that come without a pause."""


class _Server(Server):
    """Accepts descriptors, of which no sockets are made here.

    Where connections come one by one, each wakes a process whose code and data are presumably in no cache of
    the processor any more. So this is one short way, in place of the many small steps of gevent's server.
    """

    take: Callable[[int, Any], None]
    """Called with each descriptor and its address; never waits."""
    _lowest = _kept_from = 0
    """The number of the last descriptor, and from which number on they are kept (hub_accept.check_left)."""
    _ended = 0.0
    """When it last accepted some."""

    def _do_read(self) -> None:
        """Accept a connection (called by gevent), or several where they come without a pause."""
        began, accept = time.monotonic(), self.socket._accept
        try:
            for _ in range(MAX_ACCEPT if began - self._ended < AT_ONCE else 1):
                if self._lowest + ENOUGH >= self._kept_from:
                    self._kept_from = check_left(self.socket.fileno(), self.leaves)
                self._lowest, address = accept()
                self.take(self._lowest, address)
        except BlockingIOError:
            pass  # there is none now
        except OSError as error:
            self.rest(error)
        self._ended = now = time.monotonic()
        self.spend(now - began)


class Guest:
    """One connection that was given away, as it is counted here; called at its end."""

    __slots__ = ("_front", "_visit")

    def __init__(self, front: Front, visit: Visit) -> None:
        self._front, self._visit = front, visit

    def __call__(self) -> None:
        """It has ended."""
        self._front._inside -= 1
        self._front.gate.leave(self._visit)

    def named(self, address: str) -> Refusal | None:
        """Its trusted proxy has named its client: None, or why it is refused; "": nobody waits for that."""
        if address:
            return self._front.gate.rename(self._visit, address, time.monotonic())
        self._front.gate.settle(self._visit)
        return None


class Front:
    """One hub service of the main process."""

    def __init__(self, settings: HubSettings) -> None:
        """Listen; accepts nothing before start(). Raises HostError."""
        self.settings = settings
        self.gate = Gate(settings.limits, settings.trusted_proxies)
        self.refused: Counter[Refusal] = Counter()
        self.turned_away: dict[Refusal, tuple[float, str, str]] = {}
        """As in a hub: the last refused client for each reason."""
        self.since = 0.0
        """When it began to accept, seconds since 1970; 0 before."""
        self._accepting = Pool()
        self._crew: Crew | None = None
        self._inside = 0
        nobody = lambda *_: None  # noqa: E731  no socket is made of what is accepted, so none is served
        self._server: Any = hub_listen.opened(
            *(settings, nobody, nobody, self._accepting, lambda: False), kind=_Server
        )
        self._server.take = self._take

    @property
    def address(self) -> Any:
        """The address and port that it listens on, as the socket says."""
        return self._server.socket.getsockname()

    @property
    def listener(self) -> Any:
        """Its listening socket."""
        return self._server.socket

    @property
    def listens(self) -> bool:
        """Whether connections are accepted."""
        return bool(self._server.started)

    def start(self, crew: Crew) -> None:
        """Accept connections, and give them to these workers."""
        self._crew = crew
        self._server.start()
        self.since = time.time()
        hub_log.listening(self.settings.name, format_peer(self.address))

    def close(self) -> None:
        """Accept no more."""
        self._server.close()

    def use(self, settings: HubSettings) -> None:
        """Take the settings of a reload, which listen at the same address."""
        old, self.settings = self.settings, settings
        self.gate.settings, self.gate.trusted = settings.limits, settings.trusted_proxies
        wanted, had = settings.transport.congestion, old.transport.congestion
        stream_options.use_congestion(self._server.socket, wanted, settings.name, had)

    def refusals(self) -> Iterator[dict[str, object]]:
        """Rows of `drops`: the clients that were turned away here."""
        return ctl_drops.refusals_of(self.settings.name, self, time.monotonic())

    def _take(self, descriptor: int, address: Any) -> None:
        if self._crew is not None:
            self._crew.settle()  # what has ended counts no more
        peer = format_peer(address)
        visit = Visit(host_of(peer))
        refusal = self.gate.enter(visit, time.monotonic())
        if refusal is None and self._inside >= MAX_CLIENTS:
            self.gate.leave(visit)
            refusal = Refusal.CONNECTIONS
        if refusal is None and self._crew is not None:
            self._inside += 1
            over = Guest(self, visit)
            if not self._crew.give_at_once(self.settings.name, descriptor, address, over):
                self._accepting.spawn(self._wait, self._crew, descriptor, address, over, peer)
                return
        worker_channel.shut(descriptor)
        if refusal is not None:
            self._refuse(refusal, peer)

    def _wait(self, crew: Crew, descriptor: int, address: Any, over: Over, peer: str) -> None:
        """Wait until a worker takes a connection: there may be none for a while."""
        try:
            if not crew.give(self.settings.name, descriptor, address, over):
                over()
                self._refuse(Refusal.NO_WORKER, peer)
        finally:
            worker_channel.shut(descriptor)

    def _refuse(self, refusal: Refusal, peer: str) -> None:
        self.refused[refusal] += 1
        self.turned_away[refusal] = time.monotonic(), peer, refusal.doc
        hub_log.refused(self.settings.name, peer, refusal, refusal.doc)
