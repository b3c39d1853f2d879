"""Rules for `nat: true` on an exit: masquerading, and what forwarding shall not open beside the tunnel.

Knows: nft's text of both tables, which settings of the kernel forwarding changes, how these are noted.
Refuses to know: how a table is loaded (netfilter_table), when forwarding is set and set back (client_nat).

    tunrouter_nat_tun0          one for each exit's device: what comes out of it leaves under our own address
    tunrouter_forwarding_host   one for this host, only where forwarding was off before: the settings as they
                                were, each the comment of a rule that no packet meets

The notes are in the kernel, as the settings are: both live and end in the same network namespace, and a
process that is killed takes neither away.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lib.netfilter_names import Table, quoted

FORWARDING = Table("forwarding", "host")
"""The table of the notes."""
NAT = "nat"
"""The purpose of the tables of exits."""
SWITCHES = {4: "ipv4/ip_forward", 6: "ipv6/conf/all/forwarding"}
"""Version of IP -> the setting that makes this host a router, as a path below /proc/sys/net."""
_FAMILY = {4: "ipv4", 6: "ipv6"}
_REDIRECTS = "ipv4/conf/all/accept_redirects"
_ACCEPT_RA, _ALSO_AS_ROUTER = "accept_ra", "2"


@dataclass(frozen=True, slots=True)
class Noted:
    """What is noted about this host before it forwards."""

    settings: dict[str, str] = field(default_factory=dict)
    """Path below /proc/sys/net -> the value before, in the order in which they are set back."""
    closed: dict[int, frozenset[str]] = field(default_factory=dict)
    """Version of IP -> devices between which nothing was forwarded, and is not now either."""

    def with_more(self, more: Noted) -> Noted:
        """These notes and those of another version of IP; what was noted first stays."""
        return Noted({**self.settings, **more.settings, **self.settings}, {**more.closed, **self.closed})


def nat_rules(device: str) -> str:
    """The chain of an exit's table. Raises ValueError for a name that no rule can have."""
    name = quoted(device)
    return (
        "chain postrouting { type nat hook postrouting priority 100; policy accept;\n"
        f"  iifname {name} oifname != {name} masquerade\n}}"
    )


def note(
    version: int, values: Mapping[str, str], devices: Iterable[str], others: Iterable[str] = ()
) -> tuple[Noted, dict[str, str]]:
    """What is to be noted, and then set, so that this host forwards; both empty where it does already.

    `values` are the settings as they are (those of `wanted`), of the `devices` between which nothing shall be
    forwarded, and of `others`: lo and TUN devices. With the one switch Linux sets those of all devices, and
    ICMP redirects (ip-sysctl.rst, ip_forward). In IPv6 a router takes no router advertisements: a default
    route that came by one would go, unless accept_ra is 2.
    """
    switch = SWITCHES[version]
    if values.get(switch, "1") != "0":
        return Noted(), {}
    closed = frozenset(devices)
    names = [*sorted(closed), *others]
    routers = {name for name in names if values.get(_of(version, name, "forwarding")) == "1"}
    before = {switch: "0"}
    if version == 4 and _REDIRECTS in values:
        before[_REDIRECTS] = values[_REDIRECTS]
    before |= {
        path: "1"
        for path in (_of(version, name, "forwarding") for name in (*names, "default"))
        if values.get(path) == "1"
    }
    wanted = {}
    if version == 6:
        listens = [_of(6, name, _ACCEPT_RA) for name in names if name not in routers]
        listens = [path for path in listens if values.get(path) == "1"]
        before |= dict.fromkeys(listens, "1")
        wanted = dict.fromkeys(listens, _ALSO_AS_ROUTER)
    wanted[switch] = "1"
    return Noted(before, {version: closed - routers}), wanted


def wanted(version: int, devices: Iterable[str]) -> Iterator[str]:
    """The settings that note() looks at, as paths below /proc/sys/net."""
    yield SWITCHES[version]
    if version == 4:
        yield _REDIRECTS
    for name in (*devices, "default"):
        yield _of(version, name, "forwarding")
        if version == 6:
            yield _of(version, name, _ACCEPT_RA)


def forwarding_rules(noted: Noted) -> str:
    """The chains of the table with the notes."""
    chains = ["chain before {"]
    chains += [f'  counter comment "{path}={value}"' for path, value in noted.settings.items()]
    chains.append("}")
    rules = []
    for version, names in sorted(noted.closed.items()):
        if names:
            listed = ", ".join(quoted(name) for name in sorted(names))
            chains.append(f"set closed{version} {{ type ifname; elements = {{ {listed} }} }}")
            family = _FAMILY[version]
            rules.append(f"  meta nfproto {family} iifname @closed{version} oifname @closed{version} drop")
    start = "chain forward { type filter hook forward priority 0; policy accept;"
    return "\n".join([*chains, start, *rules, "}"])


def read_noted(rows: Sequence[Mapping[str, Any]]) -> Noted:
    """The notes in a table, as `nft -j list table` has its parts. What is no note of ours is left out."""
    settings: dict[str, str] = {}
    closed: dict[int, frozenset[str]] = {}
    for row in rows:
        path, found, value = str(row.get("rule", {}).get("comment", "")).rpartition("=")
        if found and path.startswith(("ipv4/", "ipv6/")) and ".." not in path.split("/"):
            settings[path] = value
        one = row.get("set", {})
        for version in SWITCHES:
            if one.get("name") == f"closed{version}":
                closed[version] = frozenset(map(str, one.get("elem", ())))
    return Noted(settings, closed)


def is_nameable(device: str) -> bool:
    """Whether a device can be named in these rules and notes."""
    try:
        quoted(device)
    except ValueError:
        return False
    return "*" not in device and device.isascii()


def _of(version: int, device: str, name: str) -> str:
    return f"{_FAMILY[version]}/conf/{device}/{name}"


def shown(path: str) -> str:
    """A setting as sysctl(8) has it; a dot in a device's name is a slash there."""
    return "net." + path.replace(".", "\0").replace("/", ".").replace("\0", "/")
