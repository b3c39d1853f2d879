"""The listening socket of a hub whose sessions are in workers: connections are accepted, counted, given away.

Knows: the limits of connections and handshakes by address, which hold for all workers together.
Refuses to know: which worker gets a connection (worker_crew), what it is (hub).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from gevent.pool import Pool

from lib import ctl_drops, hub_listen, hub_log, stream_options
from lib.addresses import host_of
from lib.forward_drop_reasons import Refusal
from lib.hub_accept import Server
from lib.limits import Gate, Visit
from lib.settings import HubSettings
from lib.settings_memory import MAX_CLIENTS
from lib.stream_tcp import format_peer
from lib.worker_crew import Crew


class Front:
    """One hub service of the main process."""

    def __init__(self, settings: HubSettings) -> None:
        """Listen; accepts nothing before start(). Raises HostError."""
        self.settings = settings
        self.gate = Gate(settings.limits)
        self.refused: Counter[Refusal] = Counter()
        self.turned_away: dict[Refusal, tuple[float, str, str]] = {}
        """As in a hub: the last refused client for each reason."""
        self._accepting = Pool()
        self._crew: Crew | None = None
        self._inside = 0
        self._server: Server = hub_listen.opened(settings, _same, self._serve, self._accepting, lambda: False)

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

    def _serve(self, sock: Any, address: Any) -> None:
        peer = format_peer(address)
        visit = Visit(host_of(peer))
        refusal = self.gate.enter(visit, time.monotonic())
        if refusal is None and self._inside >= MAX_CLIENTS:
            self.gate.leave(visit)
            refusal = Refusal.CONNECTIONS
        if refusal is not None:
            self._refuse(refusal, peer)
        elif self._crew is not None:
            self._inside += 1

            def over() -> None:
                self._inside -= 1
                self.gate.leave(visit)

            if not self._crew.give(self.settings.name, sock.fileno(), address, over):
                over()
                self._refuse(Refusal.NO_WORKER, peer)
        sock.close()

    def _refuse(self, refusal: Refusal, peer: str) -> None:
        self.refused[refusal] += 1
        self.turned_away[refusal] = time.monotonic(), peer, refusal.doc
        hub_log.refused(self.settings.name, peer, refusal, refusal.doc)


def _same(sock: Any, address: Any) -> Any:
    """Whoever has connected is judged in a greenlet of its own: there may be no worker for a while."""
    return address
