"""Runs settings: every hub and client of one process, until a signal ends it.

Knows: what is shared between services, which signal does what, how the counters are printed.
Refuses to know: arguments and files (app).
"""

from __future__ import annotations

import gc
import logging
import signal
from collections import Counter
from collections.abc import Iterator

import gevent
from gevent.event import Event

from lib import ids
from lib.client import Client
from lib.domain import Domain
from lib.drops import Reason
from lib.errors import HostError
from lib.framing import ReceiveBuffer
from lib.hub import Hub
from lib.logs import log
from lib.routes import RouteTable
from lib.scheduling import Turns
from lib.settings import HubSettings, Settings
from lib.stats import drop_lines, refusal_lines


class Service:
    """The hubs and clients of one process."""

    def __init__(self, settings: Settings) -> None:
        """Open every port and device; raises HostError where one fails, with nothing left open."""
        buffer, turns = ReceiveBuffer(), Turns()
        self.hubs: list[Hub] = []
        self.clients: list[Client] = []
        self.ended = Event()
        self._failure = ""
        tables = {t.namespace: RouteTable(t.routes) for t in settings.tables if t.namespace is not None}
        domains: dict[str, Domain] = {}
        try:
            for hub in settings.hubs:
                domain = domains.get(hub.domain) or _domain(hub, tables)
                if hub.domain:
                    domains[hub.domain] = domain
                self.hubs.append(Hub(hub, domain, buffer, turns))
            for client in settings.clients:
                self.clients.append(Client(client, buffer, self._device_gone))
        except BaseException:
            self.stop()
            raise

    def run(self) -> None:
        """Serve until a signal asks to end. Raises HostError where a device goes away meanwhile."""
        for code in (signal.SIGTERM, signal.SIGINT):
            gevent.signal_handler(code, self.ended.set)
        gevent.signal_handler(signal.SIGUSR1, self.print_drops)
        gevent.signal_handler(signal.SIGHUP, log.warning, "SIGHUP: reload is not supported yet")
        for hub in self.hubs:
            hub.start()
        for client in self.clients:
            client.start()
        gc.freeze()  # what is here now stays: the collector need not look at it again
        self.ended.wait()
        if log.isEnabledFor(logging.DEBUG):
            self.print_drops()
        self.stop()
        if self._failure:
            raise HostError(self._failure)

    def _device_gone(self, name: str) -> None:
        self._failure = f"device {name} has been removed"
        self.ended.set()

    def stop(self) -> None:
        """Close every port and remove every device."""
        for client in self.clients:
            client.stop()
        for hub in self.hubs:
            hub.stop()

    def print_drops(self) -> None:
        """Log what was dropped so far by namespace, session and reason, and who was refused why."""
        refused = refusal_lines((hub.settings.name, hub.refused) for hub in self.hubs)
        for line in drop_lines(self._drops()) + refused:
            log.info("%s", line)

    def _drops(self) -> Iterator[tuple[str, str, Counter[Reason]]]:
        for domain in {id(hub.domain): hub.domain for hub in self.hubs}.values():
            for namespace in domain.namespaces.values():
                name = ids.format_uuid(namespace.id)
                for port in namespace.ports():
                    yield name, f"{port.host}@{port.peer}", port.traffic.drops
                yield name, "(ended)", namespace.gone.drops
            yield "(gone)", "(ended)", domain.gone.drops
        for client in self.clients:
            yield "-", client.settings.host, client.traffic.drops


def _domain(hub: HubSettings, tables: dict[bytes, RouteTable]) -> Domain:
    table = hub.default_table
    default = RouteTable(table.routes if table is not None else ())
    seconds = hub.cache_seconds if table is not None and table.plugin is not None else None
    return Domain(tables, default, seconds, hub.source_check)
