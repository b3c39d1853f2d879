"""What all clients of a process share: exits, host routes, host names; how they are opened and removed.

Knows: what is looked for and mended before the first one is opened, that devices go together.
Refuses to know: when a client is made (service_parts), what one does (client).

A process without clients does not load this, nor anything of clients, netlink and nftables below it: they
are a tenth of what a hub would load.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import gevent

from lib import client_around, client_names, netfilter_table, netlink_watch
from lib.capture_taps import Taps
from lib.client import Client
from lib.client_exit import Exits
from lib.client_host import HostNames
from lib.client_uplink import Batch
from lib.errors import HostError
from lib.framing import ReceiveBuffer
from lib.log_dedup import OUTAGE
from lib.log_events import Entry
from lib.log_setup import say
from lib.netlink_host_routes import HostRoutes
from lib.netlink_plan import Pace
from lib.service_scheduling import breathe
from lib.settings import ClientSettings

TOGETHER = 128
"""Devices that are removed at once; packets wait for that, some 40 ms."""


class Shared:
    """What the clients of a process share."""

    def __init__(self, buffer: ReceiveBuffer, device_gone: Callable[[str], None], taps: Taps) -> None:
        """`device_gone` is called with the name of a client's device that somebody has removed."""
        self.exits = Exits()
        self._buffer, self._device_gone, self._taps = buffer, device_gone, taps
        self._host_routes, self._names, self._batch = HostRoutes(), HostNames(), Batch()
        self._paces: dict[str, Pace] = {}
        """Client -> how often its device had to be made anew."""
        self._leaving: list[Client] = []
        """Clients that are being stopped, and that nobody else has any more."""

    def begin(self, clients: Sequence[ClientSettings]) -> None:
        """Mend what killed processes have left, before the first clients are opened. Raises HostError."""
        self.admit(clients)
        client_names.mend()
        _sweep()
        self.exits.mend(clients)

    def admit(self, clients: Sequence[ClientSettings]) -> None:
        """Prepare for clients that are about to be opened. Raises HostError."""
        self.exits.admit(clients)
        client_around.look_ahead(clients, self.exits.killswitch)

    def open(self, settings: ClientSettings) -> Client:
        """A client whose device is there, not started yet. Raises HostError."""
        shared = self._host_routes, self._batch, self.exits, self._names
        return Client(settings, self._buffer, self._device_gone, self._taps, *shared)

    def stop_all(self, clients: Sequence[Client]) -> None:
        """Stop these clients, and those whose removal was broken off before."""
        self.stop([*clients, *self._leaving])

    def stop(self, clients: Sequence[Client]) -> None:
        """Stop clients; the devices of many go together, in the time that the kernel needs for one."""
        self._leaving += [client for client in clients if client not in self._leaving]
        for wait in (False, True):  # all at once: those that are still there would dial meanwhile
            for client in clients:
                client.halt(wait)
        indices = [client.removable for client in clients]
        for start in range(0, len(indices), TOGETHER):
            some = list(filter(None, indices[start : start + TOGETHER]))
            if len(some) > 1:
                group = int.from_bytes(os.urandom(4), "big") | 1 << 31
                with suppress(OSError):  # what is refused goes when its descriptor is closed
                    netlink_watch.remove_together(some, group)
                breathe()
        for client in clients:
            client.close()
            if client in self._leaving:
                self._leaving.remove(client)

    def device_gone(self, name: str, device: str) -> None:
        """The device of a client was removed: its next host name counts, and the log has it."""
        self._names.device_gone(name)
        text = "service %s: device %s has been removed; it is made anew"
        say(Entry.DEVICE_REMOVED, text, name, device, fold=name, habit=OUTAGE, service=name, device=device)

    def wait_to_make_anew(self, name: str) -> None:
        """Wait before a client is made anew: longer where its device is removed again and again."""
        pace = self._paces.setdefault(name, Pace())
        gevent.sleep(pace.wait(time.monotonic()))
        pace.took(time.monotonic())


def _sweep() -> None:
    """Delete the tables of nftables that killed processes have left; without the right to, they stay."""
    try:
        left = netfilter_table.sweep()
    except HostError:
        return
    for table in left:
        text = "table %s of nftables deleted, which a killed process has left"
        say(Entry.TABLE_LEFT, text, table.name, table=table.name)
