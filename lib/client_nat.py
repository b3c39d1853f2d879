"""Exits of this host (`nat: true`): their tables of masquerading, and forwarding while there is one.

Knows: the settings below /proc/sys/net; that the last exit of all processes here sets them back, and that a
start does it after a run that was killed.
Refuses to know: which settings there are, the rules (netfilter_nat), how they are loaded (netfilter_table).
"""

from __future__ import annotations

import errno
from collections.abc import Collection
from pathlib import Path
from typing import Any

from gevent.lock import RLock

from lib import netfilter_nat, netfilter_table, netlink_forwarding
from lib.errors import HostError
from lib.log_events import Entry
from lib.log_setup import say
from lib.netfilter_names import Table
from lib.netfilter_nat import FORWARDING, NAT, Noted
from lib.netlink_request import opened
from lib.settings import DeviceSettings

_SETTINGS = Path("/proc/sys/net")
_IFF_LOOPBACK = 0x8


class Nat:
    """The exits of one process."""

    def __init__(self) -> None:
        """Nothing is set before the first exit."""
        self._exits: dict[str, str] = {}
        """Service -> the name of its device."""
        self._noted = Noted()
        """What this process has noted about forwarding, should somebody remove the table."""
        self._lock = RLock()

    def set(self, service: str, device: str, wanted: DeviceSettings) -> None:
        """Masquerade what comes out of a device, and forward. May be called again. Raises HostError."""
        with self._lock:
            had = self._exits.get(service)
            if had != device:
                _load(device)
                self._exits[service] = device
                text = "service %s: nat: what comes out of %s leaves under an address of this host"
                say(Entry.NAT_SET, text, service, device, service=service, device=device)
            if had not in (None, device):
                netfilter_table.delete(Table(NAT, str(had)))
            versions = {address.version for address in wanted.addresses}
            versions |= {prefix.version for prefix, _ in wanted.routes}
            self._noted = forward(sorted(versions), self._noted)

    def drop(self, services: Collection[str]) -> None:
        """These are exits no longer; after the last one, forwarding is as it was. Raises HostError."""
        with self._lock:
            devices = [self._exits.pop(name) for name in services if name in self._exits]
            for device in devices:
                netfilter_table.delete(Table(NAT, device))
            if devices:
                set_back(netfilter_table.tables(), self._noted)
                self._noted = Noted()

    def put_back(self) -> list[str]:
        """Load again what somebody has removed; returns the tables. Raises HostError."""
        with self._lock:
            if not self._exits:
                return []
            there = netfilter_table.tables()
            lost = [Table(NAT, device) for device in self._exits.values() if Table(NAT, device) not in there]
            for table in lost:
                _load(table.device)
            if self._noted.settings and FORWARDING not in there:
                netfilter_table.load(FORWARDING, netfilter_nat.forwarding_rules(self._noted))
                lost.append(FORWARDING)
            return [table.name for table in lost]

    def table_of(self, service: str) -> str:
        """The name of a service's table; empty where it is no exit."""
        device = self._exits.get(service)
        return Table(NAT, device).name if device is not None else ""

    @property
    def services(self) -> list[str]:
        """The services that are exits."""
        return list(self._exits)


def _load(device: str) -> None:
    try:
        rules = netfilter_nat.nat_rules(device)
    except ValueError as wrong:
        raise HostError(f"nat: {wrong}") from None
    netfilter_table.load(Table(NAT, device), rules)


def forward(versions: Collection[int], known: Noted) -> Noted:
    """Have the kernel forward these versions of IP; returns how it was before. Raises HostError.

    That is noted in the kernel before anything is changed, beside what is `known` or noted there already.
    """
    if not versions:
        return known
    devices, others = _devices()
    more, values = Noted(), dict[str, str]()
    for version in versions:
        if _is_hidden(version):
            continue
        now = {
            path: text for path in netfilter_nat.wanted(version, [*devices, *others]) if (text := _read(path))
        }
        noted, wanted = netfilter_nat.note(version, now, devices, others)
        more = more.with_more(noted)
        values |= wanted
    if not values:
        return known
    noted = known.with_more(_noted(netfilter_table.tables())).with_more(more)
    netfilter_table.load(FORWARDING, netfilter_nat.forwarding_rules(noted))
    for path, value in values.items():
        _write(path, value)
    return noted


def _is_hidden(version: int) -> bool:
    """Whether the settings are not shown to us. Raises HostError where one would have to be set."""
    if _read(netfilter_nat.SWITCHES[version]):
        return False
    try:
        is_on = netlink_forwarding.is_on(version)
    except OSError as error:
        raise HostError(f"nat: whether this host forwards: {error.strerror or error}") from None
    if is_on is False:
        name = netfilter_nat.shown(netfilter_nat.SWITCHES[version])
        raise HostError(
            f"nat: {name} is 0, and cannot be set from here: set it to 1 in /etc/sysctl.d, or, under "
            "systemd, ProcSubset=all and ReadWritePaths=/proc/sys/net"
        )
    return True


def _noted(tables: Collection[Table]) -> Noted:
    """What is noted about forwarding in this network namespace. Raises HostError."""
    if FORWARDING not in tables:
        return Noted()
    return netfilter_nat.read_noted(netfilter_table.listed(FORWARDING))


def set_back(tables: Collection[Table], known: Noted | None = None) -> None:
    """Set forwarding back to what is noted, or else `known`, if no exit is left. Raises HostError.

    `tables` are those of ours that there are.
    """
    if any(table.purpose == NAT for table in tables):
        return
    before = _noted(tables).with_more(known or Noted())
    for path, value in before.settings.items():
        if _read(path) not in ("", value):  # "": the device has gone
            _write(path, value)
    if FORWARDING in tables:
        netfilter_table.delete(FORWARDING)


def _devices() -> tuple[list[str], list[str]]:
    """The network devices, and beside them lo and TUN devices; none whose name no rule can have."""
    with opened() as ip:
        links = [(link.get_attr("IFLA_IFNAME"), _is_beside(link)) for link in ip.get_links()]
    names = [(name, beside) for name, beside in links if netfilter_nat.is_nameable(name)]
    return [name for name, beside in names if not beside], [name for name, beside in names if beside]


def _is_beside(link: Any) -> bool:
    return bool(link["flags"] & _IFF_LOOPBACK) or _kind(link) == "tun"


def _kind(link: Any) -> str:
    """The kind of a virtual device, such as tun; empty for others."""
    return str(link.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND") or "")


def _read(path: str) -> str:
    """A setting; empty where there is none."""
    try:
        return (_SETTINGS / path).read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _write(path: str, value: str) -> None:
    name = netfilter_nat.shown(path)
    try:
        (_SETTINGS / path).write_text(value, encoding="ascii")
    except OSError as error:
        hint = ""
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            hint = f": sysctl -w {name}={value}, or, under systemd, ReadWritePaths=/proc/sys/net"
        raise HostError(f"{name} cannot be set ({error.strerror}){hint}") from None
