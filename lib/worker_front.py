"""The listening socket of a hub whose sessions are in workers: connections are accepted, counted, given away.

Knows: the limits of connections and handshakes by address, which hold for all workers together; that a
connection that is given away at once costs neither a greenlet nor a socket of gevent's.
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
from lib.hub_accept import Server
from lib.limits import Gate, Visit
from lib.settings import HubSettings
from lib.settings_memory import MAX_CLIENTS
from lib.stream_tcp import format_peer
from lib.worker_crew import Crew
from lib.worker_state import Over


class _Server(Server):
    """Accepts descriptors, of which no sockets are made here."""

    take: Callable[[int, Any], None]

    def accept_one(self) -> tuple[int, Any] | None:
        """The descriptor of the next connection, and its address; None where there is none now."""
        try:
            descriptor, address = self.socket._accept()
        except BlockingIOError:
            return None
        return int(descriptor), address

    def do_handle(self, descriptor: int, address: Any) -> None:
        """Let a connection be given away (called by gevent, so it never waits)."""
        self.take(descriptor, address)


class Front:
    """One hub service of the main process."""

    def __init__(self, settings: HubSettings) -> None:
        """Listen; accepts nothing before start(). Raises HostError."""
        self.settings = settings
        self.gate = Gate(settings.limits)
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
        self.gate.settings = settings.limits
        wanted, had = settings.transport.congestion, old.transport.congestion
        stream_options.use_congestion(self._server.socket, wanted, settings.name, had)

    def refusals(self) -> Iterator[dict[str, object]]:
        """Rows of `drops`: the clients that were turned away here."""
        return ctl_drops.refusals_of(self.settings.name, self, time.monotonic())

    def _take(self, descriptor: int, address: Any) -> None:
        peer = format_peer(address)
        visit = Visit(host_of(peer))
        refusal = self.gate.enter(visit, time.monotonic())
        if refusal is None and self._inside >= MAX_CLIENTS:
            self.gate.leave(visit)
            refusal = Refusal.CONNECTIONS
        if refusal is None and self._crew is not None:
            self._inside += 1

            def over() -> None:
                self._inside -= 1
                self.gate.leave(visit)

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
