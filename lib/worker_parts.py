"""The parts of a worker: tables and certificates are those of the forking process, and nothing listens.

Knows: that a hub's server takes connections from the main process, which counts them by address, too, and
its UDP socket.
Refuses to know: what parts a process has (service_parts), when they begin and end (worker_process).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lib.capture_taps import Taps
from lib.datagram_part import Part
from lib.forward_drop_reasons import Refusal
from lib.framing import ReceiveBuffer
from lib.hub import Hub
from lib.hub_tables import Tables
from lib.limits import Visit
from lib.namespace_domain import Claims, Domain
from lib.service_parts import Parts
from lib.settings import HubSettings, Settings
from lib.worker_datagrams import HandedDatagrams
from lib.worker_forker import Acceptors
from lib.worker_listener import HandedServer
from lib.worker_notify import Looker


class WorkerParts(Parts):
    """What one worker serves."""

    def __init__(
        self,
        settings: Settings,
        tables: Tables,
        acceptors: Acceptors,
        addresses: dict[str, Any],
        named: Callable[[Visit, str], Refusal | None],
        claim: Claims,
        send: Callable[..., None],
        part: Part,
    ) -> None:
        """`addresses` are where the main process listens, by service; it counts who is `named`.

        `claim` has a host name at all workers. `send` sends the main process a message. `part` is this
        worker's of the labels of datagrams.
        """
        self.new_tables = lambda settings: tables
        self.servers: dict[str, HandedServer] = {}
        self.datagrams: dict[str, HandedDatagrams] = {}
        self._acceptors, self._addresses, self._named = acceptors, addresses, named
        self._claim, self._part = claim, part
        self.new_hub = self._shared_hub
        super().__init__(settings, lambda device: None)
        self.notify = self.looker = Looker(self.domains, send)

    def _shared_hub(
        self, settings: HubSettings, domain: Domain, tables: Tables, buffer: ReceiveBuffer, taps: Taps
    ) -> Hub:
        def listen(settings: Any, greet: Any, serve: Any, pool: Any, make_room: Any) -> HandedServer:
            address, mptcp = tuple(self._addresses[settings.name]), settings.transport.mptcp
            server = HandedServer(address, mptcp, greet, serve, pool)
            self.servers[settings.name] = server
            return server

        domain.claim = self._claim
        acceptor = self._acceptors[settings.name][1]
        datagrams = self.datagrams[settings.name] = HandedDatagrams(self._part)
        hub = Hub(settings, domain, tables, buffer, taps, listen, acceptor, datagrams)
        hub.gate.elsewhere = self._named
        return hub
