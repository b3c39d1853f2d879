"""Host routes around our own tunnels, to hubs and name servers that the routes of a tunnel cover.

Knows: how the kernel is asked for its decision on an address as if our tunnels were not there, which host
routes this process has set, and how those of a process that was killed are found and removed.
Refuses to know: whose addresses these are (client_around), the routes into a tunnel (netlink).

A route such as 128.0.0.0/1 into the tunnel covers the hub itself. A socket that is bound to the right
device (SO_BINDTODEVICE) still gets there. But some look at the routes and not at the socket: the kernel's
check of the reverse path (rp_filter=1) drops the hub's replies, since the way back leads into the tunnel, and
the library that looks up names binds nothing. A host route is right for all of them:

    203.0.113.10 via 10.9.0.1 dev eth0 proto 116 metric 1 onlink

The kernel decides where it leads, with every rule and table that it has. While a tunnel's routes are there,
the kernel is asked once for each other device that is up (RTM_GETROUTE with `oif`): the tunnel's routes do
not count then. Of the replies that one is taken which would win without the tunnel: the table that a rule
asks first, the longest prefix, the lowest metric.

The kernel removes a host route together with its device. One that outlives `kill -9` is removed by the next
process with clients: the metric of a host route is the number of its process (netlink_owners).
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from lib import netlink_owners
from lib.bounded_dict import BoundedDict
from lib.netlink_owners import Tunnel
from lib.netlink_request import family, link_name, opened, reason, refusal

PROTOCOL = 116
"""The origin of our host routes (rtm_protocol), by which they are known: `ip route show proto 116`."""
TURNS = 256
"""Addresses for which it is remembered which next hop was tried last."""

_FIB_MATCH = 0x2000 | 0x1000  # RTM_F_FIB_MATCH: the route itself; RTM_F_LOOKUP_TABLE: and its table
_RTNH_F_DEAD, _RTNH_F_ONLINK, _RTNH_F_LINKDOWN = 1, 4, 16
_RTN_UNICAST = 1
_RT_TABLE_MAIN = 254
_RT_SCOPE_LINK, _RT_SCOPE_NOWHERE = 253, 255  # to remove a route of any scope
_AF_INET, _AF_INET6 = 2, 10
_IFF_UP, _IFF_LOOPBACK = 0x1, 0x8
_FR_ACT_TO_TBL, _FIB_RULE_INVERT = 1, 2
_NOT_SUPPRESSED = 0xFFFFFFFF
_OURS = {"proto": PROTOCOL, "table": _RT_TABLE_MAIN}


class NoWayAround(OSError):
    """The routes of our own tunnel cover an address, and no other device leads there."""


class Way(NamedTuple):
    """How an address is reached around our tunnels."""

    device: str
    """The device that a socket is to be bound to."""
    route: str
    """The host route, as `ip route` writes it."""
    refused: str = ""
    """Why the kernel has not taken the host route; empty where it has."""


@dataclass(slots=True)
class _Held:
    """A host route that somebody wants."""

    way: Way
    fields: dict[str, Any]
    """As pyroute2's arguments."""
    holders: set[str]


class HostRoutes:
    """The host routes of one process: the only list of those that its clients want."""

    def __init__(self) -> None:
        self._held: dict[str, _Held] = {}
        self._tunnels: dict[str, Tunnel] = {}
        """Client -> its tunnel's device."""
        self._turns: BoundedDict[str, int] = BoundedDict(TURNS)
        """Address -> next hops used before, of a route that has several: a try takes the next one."""
        self._served: dict[str, set[str]] = {}
        """Address -> holders that got there the last time that they tried: for them the next hop stays."""
        self._number = 0
        self._name: socket.socket | None = None
        self._others: BoundedDict[str, set[int]] = BoundedDict(TURNS)
        """Address -> numbers of the other processes that had a host route there."""

    @property
    def any(self) -> bool:
        """Whether there are any."""
        return bool(self._held)

    def join(self, client: str, tunnel: str) -> None:
        """Count the device of a client among our tunnels; call it again where the device has another name.

        The first one removes what killed processes have left behind. Raises HostError without netlink.
        """
        if not self._number:
            self._number, self._name = netlink_owners.take_number()
            _sweep(self._number)
        had, index = self._tunnels.get(client), _index(tunnel)
        if had is not None and had.index == index and had.shown is not None:
            had.name = tunnel
            return
        if had is not None:
            had.close()
        self._tunnels[client] = netlink_owners.show_device(self._number, tunnel, index)

    def leave(self, client: str) -> None:
        """Forget a client's tunnel, and remove the host routes that nobody else wants."""
        tunnel = self._tunnels.pop(client, None)
        self.keep(client, ())
        if tunnel is not None:
            tunnel.close()
        if not self._tunnels and self._number:
            _sweep(self._number)
            self._number = 0
            if self._name is not None:
                self._name.close()

    def keep(self, holder: str, addresses: Collection[str]) -> None:
        """Give up the host routes of a holder, except those to `addresses`."""
        unwanted = []
        self.tried(holder, [address for address in self._served if address not in addresses], False)
        for address, held in list(self._held.items()):
            if address not in addresses:
                held.holders.discard(holder)
                if not held.holders:
                    unwanted.append(self._held.pop(address))
        if unwanted:
            with opened() as ip:
                for held in unwanted:
                    _change(ip, "del", held.fields)

    def tried(self, holder: str, addresses: Iterable[str], served: bool) -> None:
        """Note whether a holder has got through to some addresses.

        A host route that has served one holder keeps its next hop, whatever the others' tries come to.
        """
        for address in addresses:
            holders = self._served.setdefault(address, set())
            if served:
                holders.add(holder)
            else:
                holders.discard(holder)
            if not holders:
                del self._served[address]

    def put_back(self) -> list[str]:
        """Set again the host routes that were lost: with their device, or by another program.

        Returns them as text. One that the kernel refuses now is left to the next dialling. Raises HostError
        without netlink.
        """
        lost: list[str] = []
        if not self._held:
            return lost
        with opened() as ip:
            for address, held in list(self._held.items()):
                if held.way.refused or self._held.get(address) is not held:
                    continue
                now = _lookup(ip, address, flags=_FIB_MATCH)
                is_there = now is not None and now["dst_len"] == (32 if family(address) == _AF_INET else 128)
                if not is_there and not _change(ip, "replace", held.fields):
                    lost.append(held.way.route)
        return lost

    def way(
        self, address: str, client: str, covered: bool, holder: str = "", device: str = "", mark: int = 0
    ) -> Way | None:
        """Decide how an IP address is reached around the tunnel of a client, and set the host route.

        `covered` says whether the tunnel's routes cover the address, or soon will. The route stays until its
        `holder` (the client, unless named) gives it up. None where there is no need for one: neither the
        settings nor the kernel's routes lead the address into the tunnel, or it is one of this host. A socket
        that is bound to `device`, or whose packets have a `mark`, has the ways that these leave to it.
        Raises NoWayAround; HostError without netlink.
        """
        with opened() as ip:
            marked = {"mark": mark} if mark else {}
            in_question = covered or address in self._held
            if not in_question and not self._leads_in(_lookup(ip, address, **marked), client):
                return None
            had = self._held.pop(address, None)
            others = had.holders - {holder or client} if had else set()
            numbers = _clear(ip, address)  # it would be the kernel's reply
            self._others.renew(address, self._others.get(address, set()) | numbers - {self._number})
            try:
                fields = self._decide(ip, address, client, covered, device, marked)
            except NoWayAround:
                fields = None
                raise
            finally:
                if had is not None and others and fields is None:
                    self._held[address] = _Held(had.way, had.fields, others)
                    _change(ip, "replace", had.fields)
            if fields is None:
                return None
            refused = _change(ip, "replace", fields)
            device = link_name(ip, fields["oif"])
            via = fields.get("gateway") or (fields["via"]["addr"] if "via" in fields else "")
            text = f"{address} via {via} dev {device}" if via else f"{address} dev {device}"
            held = _Held(Way(device, text, refused), fields, others | {holder or client})
            self._held[address] = held
            return held.way

    def _decide(
        self, ip: Any, address: str, client: str, covered: bool, device: str, marked: dict[str, int]
    ) -> dict[str, Any] | None:
        """The fields of the host route; None where there is no need for one. Raises NoWayAround."""
        now = _lookup(ip, address, **marked)
        if now is None or now["type"] != _RTN_UNICAST:
            return None
        if not covered and not self._leads_in(now, client):
            return None
        tunnel, index = self._tunnels[client], now.get_attr("RTA_OIF")
        own, ours = tunnel.index, {one.index for one in self._tunnels.values()}
        ours |= self._tunnels_of_others(ip, address)
        if device:
            wanted = _index(device)  # 0 where it is not there: the kernel would take any
            is_other = wanted and wanted not in ours
            best = _lookup(ip, address, oif=wanted, flags=_FIB_MATCH, **marked) if is_other else None
        elif index in ours:  # around all of them, so that two tunnels do not lead through each other
            best = _best(ip, address, ours, marked) or _best(ip, address, {own}, marked)
        else:
            best = _lookup(ip, address, oif=index, flags=_FIB_MATCH, **marked) or now
        if best is None:
            why = f"{device} does not lead" if device else "no other device leads"
            raise NoWayAround(
                errno.ENETUNREACH, f"the routes of {tunnel.name} cover {address}, and {why} there"
            )
        return self._host_route(address, best, ours)

    def _tunnels_of_others(self, ip: Any, address: str) -> set[int]:
        """Tunnels of other processes that have a way around them to an address: none of them leads there."""
        numbers = self._others.get(address)
        if not numbers:
            return set()
        devices = [link["index"] for link in ip.get_links()]
        return {one for one in devices if any(netlink_owners.has_device(number, one) for number in numbers)}

    def _leads_in(self, route: Any, client: str) -> bool:
        """Whether a route leads into the client's own tunnel."""
        return route is not None and route.get_attr("RTA_OIF") == self._tunnels[client].index

    def _host_route(self, address: str, best: Any, ours: Collection[int]) -> dict[str, Any]:
        hop, device = best, best.get_attr("RTA_OIF")
        several = best.get_attr("RTA_MULTIPATH") or ()
        hops = [one for one in several if one["oif"] not in ours and not one["flags"] & _RTNH_F_DEAD]
        if hops:
            hops.sort(key=lambda one: one["flags"] & _RTNH_F_LINKDOWN)
            turn = self._turns.get(address, -1)
            if turn < 0 or address not in self._served:
                turn += 1
                self._turns.renew(address, turn)
            hop = hops[turn % len(hops)]
            device = hop["oif"]
        length = 32 if family(address) == _AF_INET else 128
        fields: dict[str, Any] = {
            "dst": f"{address}/{length}",
            "family": family(address),
            "oif": device,
            "priority": self._number,
            **_OURS,
        }
        gateway, via = hop.get_attr("RTA_GATEWAY"), hop.get_attr("RTA_VIA")
        if gateway:
            fields |= {"gateway": gateway, "flags": _RTNH_F_ONLINK}
        elif via:
            fields |= {"via": {"family": via["family"], "addr": via["addr"]}, "flags": _RTNH_F_ONLINK}
        elif length == 32:
            fields["scope"] = _RT_SCOPE_LINK
        if best.get_attr("RTA_PREFSRC") and best.get_attr("RTA_CACHEINFO") is None:  # else it is only a guess
            fields["prefsrc"] = best.get_attr("RTA_PREFSRC")
        metrics = best.get_attr("RTA_METRICS")
        if metrics:  # an MTU, say
            numbers = {name.removeprefix("RTAX_").lower(): value for name, value in metrics["attrs"]}
            fields["metrics"] = {name: value for name, value in numbers.items() if isinstance(value, int)}
        return fields


def _sweep(number: int) -> None:
    """Remove the host routes of processes that have ended, and those of a `number`. Raises HostError."""
    with opened(strict=True) as ip:
        left = []
        for version in (_AF_INET, _AF_INET6):
            try:
                left += list(ip.get_routes(family=version, table=_RT_TABLE_MAIN, proto=PROTOCOL))
            except refusal():  # no IPv6 here
                continue
    ended = [one for one in left if one["proto"] == PROTOCOL and _is_over(one, number)]
    if ended:
        with opened() as ip:
            for one in ended:
                which = {"dst": f"{one.get_attr('RTA_DST')}/{one['dst_len']}", "family": one["family"]}
                _change(ip, "del", {**which, "priority": one.get_attr("RTA_PRIORITY") or 0, **_OURS})


def _index(name: str) -> int:
    """The number of a device, 0 for none: that is no device's number."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0


def _is_over(route: Any, number: int) -> bool:
    whose = route.get_attr("RTA_PRIORITY") or 0
    if whose == number:
        return True
    return netlink_owners.is_free(whose)


def _change(ip: Any, how: str, fields: dict[str, Any]) -> str:
    """Set ("replace") or remove ("del") a host route; returns why the kernel refused, or an empty text."""
    try:
        ip.route(how, **({**fields, "scope": _RT_SCOPE_NOWHERE} if how == "del" else fields))
    except refusal() as refused:
        return reason(refused)
    return ""


def _clear(ip: Any, address: str) -> set[int]:
    """Remove all host routes to an address that are ours or another tunnel's of our kind; returns whose.

    They may be as old as each other: if each process copied the other's, a gateway that is gone would stay.
    """
    length = 32 if family(address) == _AF_INET else 128
    fields = {"dst": f"{address}/{length}", "family": family(address), **_OURS}
    numbers: set[int] = set()
    for _ in range(netlink_owners.NUMBERS + 1):
        found = _lookup(ip, address, flags=_FIB_MATCH)
        if _change(ip, "del", fields):
            break
        if found is not None and found["proto"] == PROTOCOL:
            numbers.add(found.get_attr("RTA_PRIORITY") or 0)
    return numbers


def _best(ip: Any, address: str, without: Collection[int], marked: dict[str, int]) -> Any:
    """The route that the kernel would take if these devices were not there; None for none."""
    found = []
    for link in ip.get_links():
        if link["flags"] & (_IFF_UP | _IFF_LOOPBACK) == _IFF_UP and link["index"] not in without:
            route = _lookup(ip, address, oif=link["index"], flags=_FIB_MATCH, **marked)
            if route is not None and route["type"] == _RTN_UNICAST:
                found.append(route)
    tables = {_table(route) for route in found}
    rules = list(ip.get_rules(family=family(address))) if len(tables) > 1 else []
    mark = marked.get("mark", 0)
    return min(found, key=lambda route: _rank(route, rules, mark), default=None)


def _rank(route: Any, rules: list[Any], mark: int) -> tuple[int, int, int]:
    """A route's place among those that the kernel could take: the lowest wins."""
    length, table = route["dst_len"], _table(route)
    asked = (at for at, rule in enumerate(rules) if _asks(rule, table, length, mark))
    return next(asked, len(rules)), -length, route.get_attr("RTA_PRIORITY") or 0


def _asks(rule: Any, table: int, length: int, mark: int) -> bool:
    """Whether a rule looks into a table for this mark, and takes a prefix of this length from there."""
    suppressed = rule.get_attr("FRA_SUPPRESS_PREFIXLEN")
    if rule["action"] != _FR_ACT_TO_TBL or rule.get_attr("FRA_TABLE") != table:
        return False
    wanted = rule.get_attr("FRA_FWMARK")
    if wanted:
        mask = rule.get_attr("FRA_FWMASK") or 0xFFFFFFFF
        fits = (mark ^ wanted) & mask == 0
        if fits == bool(rule["flags"] & _FIB_RULE_INVERT):
            return False
    return suppressed in (None, _NOT_SUPPRESSED) or length > suppressed


def _table(route: Any) -> int:
    table: int = route.get_attr("RTA_TABLE") or route["table"]
    return table


def _lookup(ip: Any, address: str, **more: Any) -> Any:
    """The kernel's decision on an address; None where it has no route."""
    try:
        return ip.route("get", dst=address, family=family(address), **more)[0]
    except refusal():
        return None
