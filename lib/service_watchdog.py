"""A sign of life for the service manager, as long as everything runs; and in one line, how it stands.

Knows: what must run in a process that works, how often a sign is due.
Refuses to know: how it is sent (service_notify).

The sign comes from a greenlet, so a process whose event loop stands still gives none. Neither does one in
which something that must always run has ended: the manager then starts it anew, which is all that helps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import gevent

from lib import service_supervisor
from lib.client import Client
from lib.hub import Hub
from lib.log_events import Entry
from lib.log_setup import say
from lib.service_notify import Notifier
from lib.service_supervisor import Task, keep

READY_SECONDS = 30.0
"""How long tables may load before we call ourselves ready all the same."""
STATUS_SECONDS = 10.0
"""How old the line may be."""


class Watchdog:
    """Looks at the services of one process."""

    def __init__(self, notifier: Notifier, hubs: Mapping[str, Hub], clients: Mapping[str, Client]) -> None:
        self._notifier, self._hubs, self._clients = notifier, hubs, clients
        self._told = ""
        self._watching: Task | None = None

    def start(self, wait_loaded: Callable[[float], object]) -> None:
        """Tell that all is ready once tables are loaded, and look from then on."""
        if self._notifier:
            self._watching = keep("the service manager is told", self._watch, wait_loaded)

    def stop(self) -> None:
        """Look no more."""
        if self._watching is not None:
            self._watching.kill(block=False)

    def ready(self) -> None:
        """Tell that all is ready, at the start or again after a reload."""
        self._told = self.status()
        self._notifier.tell("READY=1", f"STATUS={self._told}")

    def fault(self) -> str:
        """What must run and does not, empty if all is well."""
        faults = {name: hub.fault() for name, hub in self._hubs.items()}
        faults |= {name: client.fault() for name, client in self._clients.items()}
        services = [f"service {name}: {fault}" for name, fault in faults.items() if fault]
        return "; ".join(filter(None, (*services, service_supervisor.fault())))

    def status(self) -> str:
        """How it stands: `2 hubs with 31 sessions; host-1 connected to 192.0.2.1:8443`."""
        parts = []
        if self._hubs:
            sessions = sum(len(hub.sessions) for hub in self._hubs.values())
            hubs = "hub" if len(self._hubs) == 1 else f"{len(self._hubs)} hubs"
            parts.append(f"{hubs} with {sessions} session{'' if sessions == 1 else 's'}")
        for client in self._clients.values():
            session = client.session
            where = f"connected to {session.peer}" if session else "not connected"
            parts.append(f"{client.settings.host} {where}")
        return "; ".join(parts)

    def _watch(self, wait_loaded: Callable[[float], object]) -> None:
        wait_loaded(READY_SECONDS)
        self.ready()
        due = self._notifier.watchdog / 2 or STATUS_SECONDS
        silent = False
        while True:
            gevent.sleep(min(due, STATUS_SECONDS))
            fault = self.fault()
            if fault and not silent:
                text = "%s: the service manager gets no sign of life from here on"
                say(Entry.NO_SIGN_OF_LIFE, text, fault, reason=fault)
            silent = bool(fault)
            status = f"broken: {fault}" if fault else self.status()
            lines = [f"STATUS={status}"] if status != self._told else []
            self._told = status
            if self._notifier.watchdog and not fault:
                lines.append("WATCHDOG=1")
            if lines:
                self._notifier.tell(*lines)
