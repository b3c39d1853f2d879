"""What clients set in nftables beside their devices: `nat` and `killswitch`, from the start to the end.

Knows: when each is set, follows a change, and goes. Refuses to know: how (client_nat, client_killswitch).

    admit    before a name is looked up or a device made: the killswitch
    mend     before a device is made: forwarding that a killed run has left
    opened   a client's device is there: its name is let out, and masqueraded
    settle   all services run, after a start or a reload: what no client wants any more goes
    close    the end, clean or not
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress

import gevent

from lib import client_killswitch, client_nat, netfilter_table
from lib.client_killswitch import Killswitch, described
from lib.client_nat import Nat
from lib.errors import HostError
from lib.log_dedup import OUTAGE
from lib.log_events import Entry
from lib.log_setup import over, say
from lib.netfilter_keep import tell_put_back
from lib.netfilter_killswitch import TABLE
from lib.netfilter_watch import Watch
from lib.service_supervisor import Task
from lib.settings import ClientSettings, DeviceSettings

SETTLE_SECONDS = 0.1
"""Whoever removes our tables again and again is followed at this pace."""


class Exits:
    """What the clients of one process set in nftables."""

    def __init__(self) -> None:
        """Nothing is set yet."""
        self.killswitch, self.nat = Killswitch(), Nat()
        self._watching: Task | None = None

    def admit(self, clients: Iterable[ClientSettings]) -> None:
        """These clients are about to be made, or to get other settings. Raises HostError."""
        self.killswitch.admit(clients)

    def mend(self, clients: Iterable[ClientSettings]) -> None:
        """Set back what killed runs have left, once their tables of devices are gone.

        Without the right to, nothing is done: that is for who has it.
        """
        with suppress(HostError):
            tables = netfilter_table.tables()
            client_nat.set_back(tables)
            if TABLE in tables and not any(client.killswitch for client in clients):
                _warn_of_left()

    def opened(self, settings: ClientSettings, device: str, wanted: DeviceSettings) -> None:
        """A client's device is there, with these settings of it. Raises HostError."""
        self.killswitch.set_device(settings.name, device)
        if settings.nat:
            self.nat.set(settings.name, device, wanted)
        over(Entry.NAT_FAILED, settings.name)

    def follow(self, settings: ClientSettings, device: str, wanted: DeviceSettings) -> None:
        """A client's device has another name now, or other addresses; what fails is logged."""
        try:
            self.opened(settings, device, wanted)
        except HostError as error:
            _tell(settings.name, device, error)

    def tables_of(self, service: str) -> dict[str, str]:
        """The tables that are set for a client, by purpose: `nat` and `killswitch`; "" for none."""
        return {"nat": self.nat.table_of(service), "killswitch": self.killswitch.table_of(service)}

    def settle(self, clients: Collection[ClientSettings]) -> None:
        """These clients run, or are to run. Raises HostError."""
        exits = {client.name for client in clients if client.nat}
        self.nat.drop([name for name in self.nat.services if name not in exits])
        for client in clients:
            if not client.nat:
                over(Entry.NAT_FAILED, client.name)
        over(Entry.KILLSWITCH_FAILED)
        self.killswitch.settle(clients)
        if self._watching is None and (exits or self.killswitch.any):
            name = "tables of nftables are put back"
            self._watching = Task(name, self._keep_there, vital=False).start()

    def _keep_there(self) -> None:
        """Load again, for ever, what somebody removes. Raises OSError where the kernel does not say so."""
        watch = Watch()
        try:
            while True:
                watch.wait()
                self._put_back()
                gevent.sleep(SETTLE_SECONDS)
        finally:
            watch.close()

    def _put_back(self) -> None:
        try:
            lost = [*self.killswitch.put_back(), *self.nat.put_back()]
        except HostError as error:
            say(Entry.KILLSWITCH_FAILED, "nftables: %s", error, reason=error)
            return
        over(Entry.KILLSWITCH_FAILED)
        for table in lost:
            tell_put_back(table)

    def close(self, clean: bool) -> None:
        """The process ends. The killswitch goes with a clean end only; what fails is logged."""
        if self._watching is not None:
            self._watching.kill()
        try:
            self.nat.drop(self.nat.services)
        except HostError as error:
            _tell("", "", error)
        try:
            self.killswitch.close(clean)
        except HostError as error:
            say(Entry.KILLSWITCH_FAILED, "killswitch: it stays: %s", error, reason=error)


def _tell(name: str, device: str, error: HostError) -> None:
    say(
        Entry.NAT_FAILED, "service %s: %s", name, error, fold=name, habit=OUTAGE,
        service=name, device=device, reason=error,
    )  # fmt: skip


def _warn_of_left() -> None:
    if client_killswitch.is_held():
        return  # another process here has it
    kept = client_killswitch.look()
    if kept is not None:
        text = "an ended run has left a killswitch, and no client wants one: %s; tunrouter unlock removes it"
        say(Entry.KILLSWITCH_LEFT, text, described(kept), what=described(kept))
