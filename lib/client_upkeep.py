"""Upkeep of a client's TUN device: what other programs take away from it is put back.

Knows: when the device is looked at (a notification of the kernel, a reload, once a minute), how long to wait
before something is put back again, what the log says.
Refuses to know: what is missing and in which order it is put back (netlink_plan), netlink itself.

The kernel does not notify of every loss: IPv4 routes vanish without a word when their device goes down. So a
notification only says that it is time to look, and the whole device is compared with its settings.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

import gevent
from gevent.lock import RLock

from lib import netlink, netlink_plan, netlink_watch
from lib.errors import HostError
from lib.log_dedup import OUTAGE
from lib.log_events import Entry
from lib.log_setup import say, settle
from lib.netlink_plan import Operation, Pace, Seen
from lib.netlink_watch import Watch
from lib.settings import DeviceSettings
from lib.stream_netns import inside
from lib.tun import TunDevice

LOOK_SECONDS = 60.0
"""The device is looked at after so many seconds without a notification."""
SETTLE_SECONDS = 0.1
"""Whoever changes one thing changes another: that much is waited for after a notification."""
SHARE = 20
"""A look at a device with very many routes is followed by this many times the time that it took."""


class Around(Protocol):
    """What is used of the host routes around the tunnel (client_around)."""

    @property
    def host_routes(self) -> int:
        """Their protocol; 0 while there are none."""

    def put_back(self) -> list[str]:
        """Set again those that were lost; returns them as text."""


class Upkeep:
    """The watch over one device."""

    def __init__(self, service: str, device: TunDevice, wanted: DeviceSettings, netns: str = "") -> None:
        """`service` is the name of the client's service, for the log, `netns` where the device is.

        Raises HostError without the device.
        """
        self._service, self._device, self.wanted, self._netns = service, device, wanted, netns
        with inside(netns):
            self.index = netlink_watch.index_of(device.name)
        self._lock = RLock()
        """Held while a reload changes the device: what it takes away is not to be put back."""
        self.around: Around | None = None
        """The host routes that are looked after too."""
        self.renamed: Callable[[], None] = lambda: None
        """Called when somebody has renamed the device."""
        self._pace = Pace()
        self._refused: dict[Operation, str] = {}
        self._told: list[str] = []

    def run(self) -> None:
        """Look after the device for ever. Raises OSError and HostError without netlink."""
        with inside(self._netns):
            self._run()

    def _run(self) -> None:
        watch = Watch()
        try:
            while True:
                began = time.monotonic()
                self._look_after(began)
                gevent.sleep((time.monotonic() - began) * SHARE)
                prefixes = netlink_plan.prefixes(self.wanted)
                others = self.around.host_routes if self.around is not None else 0
                concerns = partial(
                    netlink_plan.concerns, index=self.index, prefixes=prefixes, host_routes=others
                )
                watch.wait(concerns, LOOK_SECONDS)
                gevent.sleep(max(SETTLE_SECONDS, self._pace.wait(time.monotonic())))
                watch.drain()
        finally:
            watch.close()

    def differences(self) -> list[str]:
        """Where the device differs from the configuration at this moment, a line each."""
        try:
            with inside(self._netns):
                seen = netlink_watch.look(self.index)
        except HostError as error:
            return [str(error)]
        return netlink_plan.differences(self.wanted, seen, self._refused)

    def apply(self, wanted: DeviceSettings) -> list[str]:
        """Change the device to the settings of a reload; returns a line for each change.

        The kernel decides what is missing, and the device is put up. Raises HostError where the kernel
        refuses a change of the settings.
        """
        with self._lock, inside(self._netns):
            lines = []
            if wanted != self.wanted:
                lines = netlink.reconfigure(self.wanted, wanted, self._device.name)
                self.wanted = wanted
            missing = netlink_plan.plan(wanted, netlink_watch.look(self.index), put_up=True)
            self._put_back(missing)
        for operation in missing:
            reason = self._refused.get(operation)
            lines.append(f"{operation}: {reason}" if reason else f"{operation} put back")
        return lines

    def follow(self, wanted: DeviceSettings) -> list[str]:
        """Change the device to what a hub tells; returns a line for each change. Raises HostError.

        What stays is not touched, and what the kernel refuses keeps nothing else from being set.
        """
        with self._lock, inside(self._netns):
            old, self.wanted = self.wanted, wanted
            seen = netlink_watch.look(self.index)
            bare = Seen(seen.link)
            stays = set(netlink_plan.plan(wanted, bare, put_up=True))
            gone = [one for one in netlink_plan.plan(old, bare, put_up=True) if one not in stays]
            gone = [one for one in gone if one.prefix is not None or one.address is not None]
            missing = netlink_plan.plan(wanted, seen, put_up=False)
            # New addresses come before old ones go: the last one would take every route with it.
            early = [one for one in missing if one.prefix is None]
            refused = netlink.put_back(early, wanted, self.index, self._device.name)
            netlink.remove(gone[::-1], self.index)
            late = netlink_plan.plan(wanted, netlink_watch.look(self.index), put_up=False)
            late = [one for one in late if one not in refused]
            self._put_back(late)
            self._refused |= refused
        lines = [f"{one} removed" for one in gone]
        done = dict.fromkeys((*early, *late))
        return lines + [
            f"{one}: {self._refused[one]}" if one in self._refused else f"{one} set" for one in done
        ]

    def _look_after(self, now: float) -> None:
        with self._lock:
            seen = netlink_watch.look(self.index)
            if seen.link is None and not self._device.exists:
                return  # who reads the device ends it
            if seen.link is not None and seen.link.name != self._device.name:
                self._rename(seen.link.name)
            missing = netlink_plan.plan(self.wanted, seen, put_up=False)
            self._put_back(missing)
        with inside(""):  # they are where tunrouter runs
            host_routes = self.around.put_back() if self.around is not None else []
        if missing or host_routes:
            self._pace.took(now)
            done = [str(operation) for operation in missing if operation not in self._refused]
            self._tell([*done, *(f"route {route}" for route in host_routes)])
            seen = netlink_watch.look(self.index)
        elif self._pace.is_calm(now):
            settle(Entry.PUT_BACK, self._service)
        self._tell_differences(seen)

    def _put_back(self, missing: list[Operation]) -> None:
        device = self._device.name
        self._refused = netlink.put_back(missing, self.wanted, self.index, device) if missing else {}

    def _tell(self, done: list[str]) -> None:
        if not done:
            return
        name, device = self._service, self._device.name
        what = netlink_plan.listed(done)
        text = "service %s: device %s: was missing: %s; put back"
        say(
            Entry.PUT_BACK, text, name, device, what, fold=name, habit=OUTAGE,
            service=name, device=device, what=what,
        )  # fmt: skip

    def _rename(self, name: str) -> None:
        before, self._device.name = self._device.name, name
        self.renamed()
        text = "service %s: device %s is named %s now"
        service = self._service
        say(Entry.DEVICE_RENAMED, text, service, before, name, service=service, device=name, before=before)

    def _tell_differences(self, seen: Seen) -> None:
        name, device = self._service, self._device.name
        lines = netlink_plan.differences(self.wanted, seen, self._refused)
        for line in lines:
            if line not in self._told:
                text = "service %s: device %s differs from the configuration: %s"
                say(
                    Entry.DEVICE_DIFFERS, text, name, device, line, fold=name,
                    service=name, device=device, difference=line,
                )  # fmt: skip
        self._told = lines
