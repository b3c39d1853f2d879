"""Notifications to a service manager: systemd's protocol, sd_notify(3).

    READY=1\nSTATUS=…          one datagram to the socket that $NOTIFY_SOCKET names

Knows: where the socket is (a path, or abstract with @), whether the manager has a watchdog for us.
Refuses to know: what is sent and when (service_watchdog, service).

The one-file executable is started by systemd as a loader, which runs us as its child. The loader stays the
service's main process, because systemd cannot see the exit status of a process that it has not started. So
MAINPID is never sent, units need NotifyAccess=all, and a watchdog for the loader's pid is one for us.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterable, MutableMapping, Sequence

import gevent.socket as gsocket

from lib.log_events import Entry
from lib.log_setup import say
from lib.stream_deadline import within

SECONDS = 1.0
"""How long a message may wait for a manager that does not read its socket."""


class Notifier:
    """Sends notifications to the service manager; does nothing where there is none."""

    def __init__(self, address: str = "", watchdog: float = 0.0) -> None:
        """`address` as in $NOTIFY_SOCKET, empty for no manager; `watchdog` its seconds, 0 for none."""
        self.watchdog = watchdog
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._failed = False
        if address and address[0] not in "@/":
            self._failed_because(f"{address} is neither a path nor abstract")
            self._address = ""

    def __bool__(self) -> bool:
        return bool(self._address)

    def tell(self, *assignments: str) -> None:
        """Send assignments (`READY=1`) as one message. A failure is logged once and has no other effect."""
        if not self._address:
            return
        data = "\n".join(assignments).encode("utf-8", "surrogateescape")
        try:
            with (
                gsocket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock,
                within(SECONDS, lambda: OSError("no reply")),
            ):
                sock.connect(self._address)
                sock.send(data)
            self._failed = False
        except OSError as error:
            if not self._failed:
                self._failed = True
                self._failed_because(error.strerror or str(error))

    def _failed_because(self, reason: str) -> None:
        say(Entry.MANAGER_FAILED, "NOTIFY_SOCKET: %s: the service manager is not told", reason, reason=reason)

    def reloading(self) -> None:
        """Report that a reload begins; READY=1 ends it. Type=notify-reload compares the time in it."""
        self.tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")


def take(environ: MutableMapping[str, str]) -> Notifier:
    """The notifier for the manager that the environment names.

    Removes its variables from the environment, as they are not meant for programs that we start.
    """
    address = environ.pop("NOTIFY_SOCKET", "")
    usec, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
    ours = not pid or pid in _us()
    watchdog = int(usec) / 1e6 if ours and usec.isascii() and usec.isdecimal() else 0.0
    return Notifier(address, watchdog)


def _us() -> tuple[str, ...]:
    """The pids under which a manager may know us: our own, and the one-file executable's loader's."""
    loader = (os.getppid(),) if hasattr(sys, "_MEIPASS") else ()
    return tuple(map(str, (os.getpid(), *loader)))


def status_line(sessions: Sequence[int], clients: Iterable[tuple[str, str]]) -> str:
    """What `systemctl status` shows: `2 hubs with 31 sessions; host-1 connected to 192.0.2.1:8443`.

    `sessions` is how many each hub has; `clients` are pairs of host name and the hub's address, "" for none.
    """
    parts = []
    if sessions:
        hubs = "hub" if len(sessions) == 1 else f"{len(sessions)} hubs"
        parts.append(f"{hubs} with {sum(sessions)} session{'' if sum(sessions) == 1 else 's'}")
    parts += [f"{host} {f'connected to {hub}' if hub else 'not connected'}" for host, hub in clients]
    return "; ".join(parts)
