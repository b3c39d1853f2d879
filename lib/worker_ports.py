"""UDP ports of a hub with workers, as the main process has them: a socket for each worker, open to the end.

Knows: which services have a port, what a reload opens and closes, that each worker is handed its own socket.
Refuses to know: what a worker does with it (worker_datagrams), how the kernel chooses one (datagram_group).

While a worker is replaced, what comes for it waits in its socket, which the next one reads. Its keys have
gone with it, so those are datagrams of nobody.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from lib import datagram_group, datagram_port
from lib.addresses import join_host_port
from lib.settings import HubSettings, Settings
from lib.settings_transport import has_datagrams
from lib.worker_crew import Crew
from lib.worker_front import Front
from lib.worker_state import CLUSTER_NUMBER, Worker


class WorkerPorts:
    """The UDP sockets of all services."""

    def __init__(self, crew: Crew, fronts: Mapping[str, Front]) -> None:
        self._crew, self._fronts = crew, fronts
        self._groups: dict[str, list[Any]] = {}
        crew.begun.append(self._greet)

    def open(self) -> None:
        """Open them, beside the listening sockets. A busy port is one warning."""
        for front in self._fronts.values():
            self._open(front.settings)

    def _open(self, hub: HubSettings) -> None:
        """Open the port of a service, if it wants one."""
        datagram_port.found_free(hub.name)
        if not has_datagrams(hub.channel, hub.transport):
            return
        listener = self._fronts[hub.name].listener
        try:
            self._groups[hub.name] = datagram_group.opened(listener, self._crew.count, hub.netns)
        except OSError as error:
            where = join_host_port(hub.host, listener.getsockname()[1])
            datagram_port.tell_busy(hub.name, f"service {hub.name}", "sessions", where, error)

    def give_to(self, user: int) -> None:
        """This process becomes that user, and workers are: sockets of one port have to be of one."""
        for group in self._groups.values():
            for sock in group:
                with suppress(OSError):  # as DatagramSocket.give_to
                    os.fchown(sock.fileno(), user, -1)

    def apply(self, old: Settings, new: Settings) -> None:
        """Open and close what a reload changes, and tell workers; those use its settings after that."""
        had = {hub.name: hub for hub in old.hubs}
        for hub in new.hubs:
            before, group = had[hub.name], self._groups.get(hub.name)
            wanted = has_datagrams(hub.channel, hub.transport)
            was_wanted = has_datagrams(before.channel, before.transport)
            if (wanted, hub.datagram) == (was_wanted, before.datagram) or (wanted and group):
                continue
            self._groups.pop(hub.name, None)
            datagram_group.close(group or [])
            self._open(hub)
            for worker in list(self._crew.workers.values()):
                self._hand(worker, hub.name)

    def _greet(self, worker: Worker) -> None:
        for service in list(self._groups):
            self._hand(worker, service)

    def _hand(self, worker: Worker, service: str) -> None:
        """Give a worker its socket of a service, or tell it that there is none any more."""
        if worker.number != CLUSTER_NUMBER:
            group = self._groups.get(service, [])
            descriptors = [sock.fileno() for sock in group[worker.number - 1 : worker.number]]
            self._crew.tell(worker, {"do": "datagrams", "service": service}, *descriptors)

    def close(self) -> None:
        """Close them."""
        for group in self._groups.values():
            datagram_group.close(group)
        self._groups.clear()
