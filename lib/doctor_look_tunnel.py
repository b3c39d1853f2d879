"""Looks of `tunrouter doctor` into tunnels: sessions, machines behind this host, far addresses, path MTU.

Knows: which machines behind this host can be asked (the kernel's neighbours), and from which address.
Refuses to know: what is wrong with the answers (doctor_tunnel).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_interface
from typing import Any

from lib import doctor_ping, prefixes
from lib.addresses import packed_prefix
from lib.doctor_facts import Datagrams, Far, Neighbour, PathMtu, Session, Unknown
from lib.doctor_look_host import Row
from lib.doctor_look_way import device_to, path_to
from lib.netlink_request import opened

MAX_NEIGHBOURS = 8
"""Machines behind this host that are asked."""
_KNOWN = 0x02 | 0x04 | 0x08 | 0x10 | 0x80
"""States of a neighbour whose link address is known (linux/neighbour.h): reachable, stale and the like."""
NO_PING = Unknown("this user may not send pings: run it as root, or widen net.ipv4.ping_group_range")


def sessions(rows: Sequence[Row]) -> tuple[Session, ...]:
    """What the running process says of its clients."""
    return tuple(
        Session(
            row["service"],
            row["host"],
            row["hub"] or "",
            f"{row['away']['hub']}: {row['away']['reason']}" if row["away"] and row["away"]["reason"] else "",
            (*row["warnings"], *row["advice"], *row["differences"]),
            tuple(row["from_hub"]["refused"]),
        )
        for row in rows
    )


def datagrams(rows: Sequence[Row]) -> tuple[Datagrams, ...]:
    """What the running process says of the datagram channels of its clients."""
    found = [(row["service"], row["channel"]) for row in rows if row["channel"]]
    return tuple(Datagrams(service, one["peer"], one["state"], one["reason"]) for service, one in found)


def neighbours(rows: Sequence[Row]) -> tuple[Neighbour, ...] | Unknown:
    """Machines in the networks that hubs route to this host, each asked from two of its addresses.

    Not those behind an exit (`nat`): they see an address of this host, and need no way back to others.
    """
    wanted = []
    for row in rows:
        tunnel = next((text for text in row["addresses"] if ":" not in text), "")
        behind = [packed_prefix(text) for text in row.get("prefixes", ())]
        is_exit = bool(row.get("nat", {}).get("table"))
        if tunnel and behind and not is_exit:
            wanted += [(*found, tunnel) for found in _machines(behind, row["device"])]
    if wanted and not doctor_ping.is_allowed():
        return NO_PING
    wanted = wanted[:MAX_NEIGHBOURS]
    pairs = {(address, _plain(source)) for address, _, own, tunnel in wanted for source in (own, tunnel)}
    answers = doctor_ping.all_answers(sorted(pairs))
    return tuple(
        Neighbour(address, device, own, tunnel, answers[address, own], answers[address, _plain(tunnel)])
        for address, device, own, tunnel in wanted
    )


def _plain(interface: str) -> str:
    return str(ip_interface(interface).ip)


def _machines(behind: Sequence[prefixes.Prefix], tunnel: str) -> list[tuple[str, str, str]]:
    """(address, device, our address there) of each neighbour within these prefixes."""
    with opened() as ip:
        names = {link["index"]: link.get_attr("IFLA_IFNAME") for link in ip.get_links()}
        own = [
            (row["index"], ip_interface(f"{address}/{row['prefixlen']}"))
            for row in ip.get_addr(family=2)
            if (address := row.get_attr("IFA_LOCAL"))
        ]
        found = []
        for row in ip.get_neighbours(family=2):
            address, index = row.get_attr("NDA_DST"), row["ifindex"]
            if not address or not row["state"] & _KNOWN or names.get(index) == tunnel:
                continue
            there = ip_address(address)
            ours = next((one.ip for at, one in own if at == index and there in one.network), None)
            if ours is not None and _is_within(there.packed, behind):
                found.append((address, names[index], str(ours)))
        return found


def _is_within(address: bytes, behind: Sequence[prefixes.Prefix]) -> bool:
    return any(len(one[0]) == len(address) and prefixes.covers(*one, address) for one in behind)


def far(addresses: Sequence[str], rows: Sequence[Row], tunnels: frozenset[str]) -> tuple[Far, ...] | Unknown:
    """Each address (--to), asked from the tunnel's address and from those in networks behind this host."""
    if addresses and not doctor_ping.is_allowed():
        return NO_PING
    found = []
    for address in addresses:
        device = device_to(address)
        sources = _sources(address, device, rows)
        answers = doctor_ping.all_answers([(address, source) for source in sources])
        said = tuple((source, answers[address, source]) for source in sources)
        found.append(Far(address, device, device in tunnels, said if device in tunnels else ()))
    return tuple(found)


def _sources(address: str, device: str, rows: Sequence[Row]) -> list[str]:
    """The addresses of this host that ask: the tunnel's own, and one in each network routed here."""
    version = ip_address(address).version
    row: Mapping[str, Any] = next((row for row in rows if row["device"] == device), {})
    own = [_plain(text) for text in row.get("addresses", ()) if ip_interface(text).version == version][:1]
    behind = [packed_prefix(text) for text in row.get("prefixes", ())]
    for name, interface in _interfaces():
        # No host elsewhere could answer to these, though behind an exit lies everything.
        is_own = interface.ip.is_loopback or interface.ip.is_link_local
        is_behind = not is_own and _is_within(interface.packed, behind)
        if name != device and interface.version == version and is_behind:
            own.append(str(interface.ip))
    return list(dict.fromkeys(own))


def _interfaces() -> list[tuple[str, Any]]:
    with opened() as ip:
        names = {link["index"]: link.get_attr("IFLA_IFNAME") for link in ip.get_links()}
        return [
            (names.get(row["index"], ""), ip_interface(f"{address}/{row['prefixlen']}"))
            for row in ip.get_addr()
            if (address := row.get_attr("IFA_LOCAL") or row.get_attr("IFA_ADDRESS"))
        ]


def paths(found: Sequence[Far]) -> tuple[PathMtu, ...]:
    """The path through the tunnel to each far address that answers, measured."""
    made = [
        path_to("through the tunnel to", one.address, source)
        for one in found
        for source, answers in one.answers[:1]
        if answers
    ]
    return tuple(one for one in made if one is not None)
