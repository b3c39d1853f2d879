"""Keepalive for the service manager's watchdog while everything runs, and a status line (`systemctl status`).

Knows: what must run in a process that works, how often the watchdog has to be fed.
Refuses to know: how notifications are sent (service_notify).

A greenlet feeds the watchdog, so a process whose event loop hangs does not feed it. The greenlet also stops
when something that must always run has ended. Then the manager restarts the process, which is all that helps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import gevent

from lib import service_supervisor
from lib.hub import Hub
from lib.log_events import Entry
from lib.log_setup import say
from lib.service_notify import Notifier, status_line
from lib.service_supervisor import Task, keep

if TYPE_CHECKING:
    from lib.client import Client

READY_SECONDS = 30.0
"""How long tables may load at the start; after that READY=1 is sent all the same."""
STATUS_SECONDS = 10.0
"""How old the status line may be."""


class Watchdog:
    """Looks after the hubs and clients of one process."""

    def __init__(self, notifier: Notifier, hubs: Mapping[str, Hub], clients: Mapping[str, Client]) -> None:
        self._notifier, self._hubs, self._clients = notifier, hubs, clients
        self._told = ""
        self._watching: Task | None = None

    def start(self, wait_loaded: Callable[[float], object]) -> None:
        """Begin, in a greenlet: send READY=1 once tables are loaded, then look periodically.

        Without a service manager a fault is logged all the same, so that no dead greenlet is silent.
        """
        self._watching = keep("all that runs is watched", self._watch, wait_loaded)

    def stop(self) -> None:
        """Look no more."""
        if self._watching is not None:
            self._watching.kill(block=False)

    def ready(self) -> None:
        """Send READY=1, at the start and again after a reload."""
        self._told = self.status()
        self._notifier.tell("READY=1", f"STATUS={self._told}")

    def fault(self) -> str:
        """What must run and does not, as text; empty if all is well."""
        faults = {name: hub.fault() for name, hub in self._hubs.items()}
        faults |= {name: client.fault() for name, client in self._clients.items()}
        services = [f"service {name}: {fault}" for name, fault in faults.items() if fault]
        return "; ".join(filter(None, (*services, service_supervisor.fault())))

    def status(self) -> str:
        """The service manager's status line (service_notify.status_line)."""
        sessions = [len(hub.sessions) for hub in self._hubs.values()]
        clients = self._clients.values()
        return status_line(
            sessions,
            [(client.settings.host, client.session.peer if client.session else "") for client in clients],
        )

    def _watch(self, wait_loaded: Callable[[float], object]) -> None:
        wait_loaded(READY_SECONDS)
        self.ready()
        due = self._notifier.watchdog / 2 or STATUS_SECONDS
        silent = False
        while True:
            gevent.sleep(min(due, STATUS_SECONDS))
            fault = self.fault()
            if fault and not silent:
                manager = self._notifier.watchdog and bool(self._notifier)
                then = (
                    "the service manager's watchdog is no longer fed" if manager else "restart this process"
                )
                say(Entry.NO_SIGN_OF_LIFE, "%s: %s", fault, then, reason=fault)
            silent = bool(fault)
            status = f"broken: {fault}" if fault else self.status()
            lines = [f"STATUS={status}"] if status != self._told else []
            self._told = status
            if self._notifier.watchdog and not fault:
                lines.append("WATCHDOG=1")
            if lines:
                self._notifier.tell(*lines)
