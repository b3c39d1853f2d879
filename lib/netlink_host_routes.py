"""Host routes around our own tunnels, to hubs and name servers that the routes of a tunnel cover.

Knows: which host routes this process has set, who wants them, and where they have to lead.
Refuses to know: whose addresses these are (client_around), the routes into a tunnel (netlink), how the kernel
is asked and told (netlink_lookup, netlink_own_routes).

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
from lib.netlink_lookup import FIB_MATCH, RTN_UNICAST, best, look_up
from lib.netlink_own_routes import OURS, change, clear, sweep
from lib.netlink_owners import Tunnel
from lib.netlink_request import family, link_name, opened, reason, refusal

TURNS = 256
"""Addresses for which it is remembered which next hop was tried last."""

_RTNH_F_DEAD, _RTNH_F_ONLINK, _RTNH_F_LINKDOWN = 1, 4, 16
_RT_SCOPE_LINK = 253
_AF_INET = 2


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


class Holder(NamedTuple):
    """Who wants a host route."""

    client: str
    purpose: str
    """What else than a hub it is for; empty for a hub."""


@dataclass(frozen=True, slots=True)
class _Held:
    """A host route that is set."""

    way: Way
    fields: dict[str, Any]
    """As pyroute2's arguments."""


@dataclass(frozen=True, slots=True)
class _Query:
    """What HostRoutes.way() is asked."""

    address: str
    tunnel: Tunnel
    number: int
    """The number of this process."""
    covered: bool
    device: str
    marked: dict[str, int]
    """The mark as pyroute2's argument."""

    def is_led_in(self, route: Any) -> bool:
        """Whether a route leads into the client's own tunnel."""
        return route is not None and route.get_attr("RTA_OIF") == self.tunnel.index


class HostRoutes:
    """The host routes of one process: the only list of those that its clients want."""

    def __init__(self) -> None:
        self._held: dict[str, _Held] = {}
        """Address -> the host route that is set; changed together with the kernel's, under its lock."""
        self._wanted: dict[Holder, set[str]] = {}
        """Who wants host routes -> to which addresses; changed at once."""
        self._tunnels: dict[str, Tunnel] = {}
        """Client -> its tunnel's device."""
        self._turns: BoundedDict[str, int] = BoundedDict(TURNS)
        """Address -> next hops used before, of a route that has several: a try takes the next one."""
        self._served: dict[str, set[str]] = {}
        """Address -> clients that got there the last time that they tried: for them the next hop stays."""
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
        is_first = not self._number
        if is_first:
            self._number, self._name = netlink_owners.take_number()
        had, index = self._tunnels.get(client), _index(tunnel)
        if had is not None and had.index == index and had.shown is not None:
            had.name = tunnel
            return
        if had is not None:
            had.close()
        self._tunnels[client] = netlink_owners.show_device(self._number, tunnel, index)
        if is_first:
            sweep(self._number)

    def leave(self, client: str) -> None:
        """Forget a client's tunnel, and remove the host routes that nobody else wants. Raises HostError.

        A way() of this client that is under way sets no host route any more, or removes it.
        """
        tunnel = self._tunnels.pop(client, None)
        self._wanted = {one: addresses for one, addresses in self._wanted.items() if one.client != client}
        self.tried(client, list(self._served), False)
        if tunnel is not None:
            tunnel.close()
        number, name = (0, None) if self._tunnels else (self._number, self._name)
        if number:
            self._number, self._name = 0, None  # who joins meanwhile takes another number
        try:
            self._give_up()
            if number:
                sweep(number)
        finally:
            if name is not None:
                name.close()

    def keep(self, client: str, addresses: Collection[str], purpose: str = "") -> None:
        """Give up the host routes that a client wants for a purpose, except those to `addresses`.

        Raises HostError without netlink; the next call of whatever kind removes them then.
        """
        if not purpose:
            self.tried(client, [address for address in self._served if address not in addresses], False)
        for address in self._wanted.get(Holder(client, purpose), set()).difference(addresses):
            self._forget(Holder(client, purpose), address)
        self._give_up()

    def tried(self, client: str, addresses: Iterable[str], served: bool) -> None:
        """Note whether a client has got through to some addresses.

        A host route that has served one client keeps its next hop, whatever the others' tries come to.
        """
        for address in addresses:
            clients = self._served.setdefault(address, set())
            if served:
                clients.add(client)
            else:
                clients.discard(client)
            if not clients:
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
                if held.way.refused or not self._is_wanted(address):
                    continue
                now = look_up(ip, address, flags=FIB_MATCH)
                is_there = now is not None and now["dst_len"] == (32 if family(address) == _AF_INET else 128)
                if not is_there and not change(ip, "replace", held.fields):
                    lost.append(held.way.route)
            self._remove_unwanted(ip)
        return lost

    def way(
        self, address: str, client: str, covered: bool, purpose: str = "", device: str = "", mark: int = 0
    ) -> Way | None:
        """Decide how an IP address is reached around the tunnel of a client, and set the host route.

        `covered` says whether the tunnel's routes cover the address, or soon will. The route stays until the
        client gives it up, with the same `purpose` (keep). None where there is no need for one: neither the
        settings nor the kernel's routes lead the address into the tunnel, or it is one of this host. A socket
        that is bound to `device`, or whose packets have a `mark`, has the ways that these leave to it.
        Raises NoWayAround, also where the client leaves meanwhile; HostError without netlink.

        While this waits for the kernel, the client may leave, and others may want or give up the same route.
        So what is wanted is noted at once, and what the kernel has is made to fit at the end.
        """
        holder = Holder(client, purpose)
        was_wanted = address in self._wanted.get(holder, ())
        self._wanted.setdefault(holder, set()).add(address)
        way = None
        try:
            with opened() as ip:
                if client not in self._tunnels or address not in self._wanted.get(holder, ()):
                    raise NoWayAround(errno.ECANCELED, f"nobody wants to reach {address} any more")
                marked = {"mark": mark} if mark else {}
                query = _Query(address, self._tunnels[client], self._number, covered, device, marked)
                if covered or address in self._held or query.is_led_in(look_up(ip, address, **marked)):
                    way = self._set(ip, query, holder)
        finally:
            if way is None and not was_wanted:
                self._forget(holder, address)
        return way

    def _set(self, ip: Any, query: _Query, holder: Holder) -> Way | None:
        """Set a host route in place of the one that there is; None where there is no need for one."""
        address, had, made = query.address, self._held.get(query.address), None
        try:
            numbers = clear(ip, address)  # it would be the kernel's reply
            self._others.renew(address, self._others.get(address, set()) | numbers - {query.number})
            fields = self._decide(ip, query)
            if fields is not None:
                device = _device_name(ip, address, fields["oif"])
                via = fields.get("gateway") or (fields["via"]["addr"] if "via" in fields else "")
                text = f"{address} via {via} dev {device}" if via else f"{address} dev {device}"
                made = _Held(Way(device, text, change(ip, "replace", fields)), fields)
                if not made.way.refused or had is None or not self._is_wanted(address, holder):
                    self._held[address] = made
        finally:
            if made is None:
                self._forget(holder, address)
            if had is not None and self._held[address] is had and self._is_wanted(address):
                change(ip, "replace", had.fields)  # what others have stays, or is put back later
            self._remove_unwanted(ip)
        return made.way if made is not None else None

    def _is_wanted(self, address: str, but: Holder | None = None) -> bool:
        """Whether anybody wants a host route, `but` left out."""
        return any(address in addresses for holder, addresses in self._wanted.items() if holder != but)

    def _forget(self, holder: Holder, address: str) -> None:
        """Note that a holder does not want a host route any more."""
        addresses = self._wanted.get(holder, set())
        addresses.discard(address)
        if not addresses:
            self._wanted.pop(holder, None)

    def _give_up(self) -> None:
        """Remove the host routes that nobody wants any more, if there are any. Raises HostError."""
        if self._unwanted():
            with opened() as ip:
                self._remove_unwanted(ip)

    def _unwanted(self) -> set[str]:
        return self._held.keys() - set().union(*self._wanted.values())

    def _remove_unwanted(self, ip: Any) -> None:
        for address in self._unwanted():
            if not self._is_wanted(address):
                change(ip, "del", self._held[address].fields)
                del self._held[address]

    def _decide(self, ip: Any, query: _Query) -> dict[str, Any] | None:
        """The fields of the host route; None where there is no need for one. Raises NoWayAround."""
        address, device, marked, tunnel = query.address, query.device, query.marked, query.tunnel
        now = look_up(ip, address, **marked)
        if now is None or now["type"] != RTN_UNICAST:
            return None
        if not query.covered and not query.is_led_in(now):
            return None
        index, own = now.get_attr("RTA_OIF"), tunnel.index
        ours = {own} | {one.index for one in self._tunnels.values()}
        ours |= self._tunnels_of_others(ip, address)
        if device:
            wanted = _index(device)  # 0 where it is not there: the kernel would take any
            is_other = wanted and wanted not in ours
            way = look_up(ip, address, oif=wanted, flags=FIB_MATCH, **marked) if is_other else None
        elif index in ours:  # around all of them, so that two tunnels do not lead through each other
            way = best(ip, address, ours, marked) or best(ip, address, {own}, marked)
        else:
            way = look_up(ip, address, oif=index, flags=FIB_MATCH, **marked) or now
        if way is None:
            why = f"{device} does not lead" if device else "no other device leads"
            raise NoWayAround(
                errno.ENETUNREACH, f"the routes of {tunnel.name} cover {address}, and {why} there"
            )
        return self._host_route(query, way, ours)

    def _tunnels_of_others(self, ip: Any, address: str) -> set[int]:
        """Tunnels of other processes that have a way around them to an address: none of them leads there."""
        numbers = self._others.get(address)
        if not numbers:
            return set()
        devices = [link["index"] for link in ip.get_links()]
        return {one for one in devices if any(netlink_owners.has_device(number, one) for number in numbers)}

    def _host_route(self, query: _Query, way: Any, ours: Collection[int]) -> dict[str, Any]:
        address = query.address
        hop, device = way, way.get_attr("RTA_OIF")
        several = way.get_attr("RTA_MULTIPATH") or ()
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
            "priority": query.number,
            **OURS,
        }
        gateway, via = hop.get_attr("RTA_GATEWAY"), hop.get_attr("RTA_VIA")
        if gateway:
            fields |= {"gateway": gateway, "flags": _RTNH_F_ONLINK}
        elif via:
            fields |= {"via": {"family": via["family"], "addr": via["addr"]}, "flags": _RTNH_F_ONLINK}
        elif length == 32:
            fields["scope"] = _RT_SCOPE_LINK
        if way.get_attr("RTA_PREFSRC") and way.get_attr("RTA_CACHEINFO") is None:  # else it is only a guess
            fields["prefsrc"] = way.get_attr("RTA_PREFSRC")
        metrics = way.get_attr("RTA_METRICS")
        if metrics:  # an MTU, say
            numbers = {name.removeprefix("RTAX_").lower(): value for name, value in metrics["attrs"]}
            fields["metrics"] = {name: value for name, value in numbers.items() if isinstance(value, int)}
        return fields


def _index(name: str) -> int:
    """The number of a device, 0 for none: that is no device's number."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0


def _device_name(ip: Any, address: str, index: int) -> str:
    """The name of the device that leads to an address. Raises NoWayAround where it has gone this moment."""
    try:
        return link_name(ip, index)
    except refusal() as refused:
        raise NoWayAround(errno.ENODEV, f"the device that led to {address}: {reason(refused)}") from None
