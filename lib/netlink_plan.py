"""What is missing on a TUN device: the configuration compared with what the kernel has, and what to do.

Knows: which of the settings other programs can take away (state, MTU, addresses, routes), the order in which
they are put back, and how long to wait where they are taken away again and again.
Refuses to know: how the kernel is asked (netlink_watch) and how it is changed (netlink), clocks.

What is on the device beside the configuration is never touched: somebody else wants it there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Interface, ip_address
from typing import NamedTuple

from lib import netlink_messages
from lib.netlink_messages import Address, Link, Message, Route
from lib.settings import DeviceSettings, Interface, Network

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 60.0
"""Seconds until something may be put back again: after the first time, and at most (doubling)."""
CALM_SECONDS = 150.0
"""After so many seconds in which nothing was missing, the next pause is the first one again."""
MANY = 4
"""Items that are named in one line; the others are counted."""


class Kind(IntEnum):
    """What is put back, in this order.

    An MTU below 1,280 takes IPv6 away; a route needs a device that is up, and its gateway an address there.
    """

    MTU = 1
    ADDRESS = 2
    UP = 3
    ROUTE = 4


class Operation(NamedTuple):
    """One thing to put back: `address` with its `peer`, or the route to `prefix` by way of `gateway`."""

    kind: Kind
    address: Interface | None = None
    peer: str = ""
    prefix: Network | None = None
    gateway: str = ""

    def __str__(self) -> str:
        if self.prefix is not None:
            return f"route {self.prefix}" + (f" via {self.gateway}" if self.gateway else "")
        return f"address {self.address}" if self.address is not None else _WORDS[self.kind]


_LINKS = (netlink_messages.NEWLINK, netlink_messages.DELLINK)
_ADDRESSES = (netlink_messages.NEWADDR, netlink_messages.DELADDR)
_ROUTES = (netlink_messages.NEWROUTE, netlink_messages.DELROUTE)
_WORDS = {Kind.MTU: "the MTU", Kind.UP: "the state up"}


@dataclass(frozen=True, slots=True)
class Seen:
    """What the kernel has of a device; `link` is None where there is no such device (here)."""

    link: Link | None
    addresses: frozenset[Address] = frozenset()
    routes: frozenset[Route] = frozenset()


def plan(wanted: DeviceSettings, seen: Seen, put_up: bool) -> list[Operation]:
    """What is to be put back, in order.

    A device that is down is left alone, for it was somebody's wish; with `put_up` it is ours that it is up.
    """
    link = seen.link
    if link is None or not (link.up or put_up):
        return []
    operations = [] if link.mtu == wanted.mtu else [Operation(Kind.MTU)]
    for address, peer in with_peers(wanted):
        if (
            Address(link.device, address.packed, address.network.prefixlen, _packed(peer))
            not in seen.addresses
        ):
            operations.append(Operation(Kind.ADDRESS, address, peer))
    if not link.up:
        operations.append(Operation(Kind.UP))
    for prefix, gateway in routes(wanted):
        packed = prefix.network_address.packed
        if Route(link.device, packed, prefix.prefixlen, _packed(gateway)) not in seen.routes:
            operations.append(Operation(Kind.ROUTE, prefix=prefix, gateway=gateway))
    return operations


def differences(wanted: DeviceSettings, seen: Seen, refused: Mapping[Operation, str]) -> list[str]:
    """Where the device differs from the configuration, a line each.

    `refused` has the reason why something could not be put back.
    """
    link = seen.link
    if link is None:
        return ["the device is not in this network namespace any more"]
    found = []
    if wanted.name and "%" not in wanted.name and link.name != wanted.name:
        found.append(f"the device is named {link.name} now, not {wanted.name}")
    if not link.up:
        found.append(f"the device was set down: ip link set {link.name} up, or reload")
    for operation in plan(wanted, seen, True) if link.up else ():
        reason = refused.get(operation)
        what = f"the MTU is {link.mtu}, not {wanted.mtu}" if operation.kind is Kind.MTU else f"no {operation}"
        found.append(f"{what}: {reason}" if reason else what)
    return found


def listed(items: Sequence[object]) -> str:
    """Operations, or texts, in one line."""
    named = ", ".join(map(str, items[:MANY]))
    more = len(items) - MANY
    return f"{named} and {more} more" if more > 0 else named


def prefixes(wanted: DeviceSettings) -> frozenset[tuple[bytes, int]]:
    """The prefixes of the wanted routes, as in Route: who changes another route takes nothing away."""
    return frozenset((prefix.network_address.packed, prefix.prefixlen) for prefix, _ in routes(wanted))


def concerns(
    message: Message, index: int, prefixes: frozenset[tuple[bytes, int]], host_routes: int = 0
) -> bool:
    """Whether a notification of the kernel may mean that something is missing on the device `index`.

    A route to one of `prefixes` matters on any device: another program may have replaced ours. All other
    routes do not: a routing daemon may change a million of them. `host_routes` is the protocol of host routes
    that may be missing too, on any device; 0 for none.
    """
    if message.type in _LINKS:
        link = netlink_messages.link(message.body)
        return link is not None and (link.device == index or bool(host_routes))
    if message.type in _ADDRESSES:
        address = netlink_messages.address(message.body)
        return address is not None and address.device == index
    if message.type in _ROUTES:
        goes = message.type == netlink_messages.DELROUTE
        if goes and host_routes and netlink_messages.protocol(message.body) == host_routes:
            return True
        return any((r.prefix, r.length) in prefixes for r in netlink_messages.routes(message.body))
    return False


def routes(wanted: DeviceSettings) -> Sequence[tuple[Network, str]]:
    """(prefix, gateway) of each route as the kernel gets it: of a default route its two halves.

    They are longer than the default route that is there already. So that one stays as it is, whatever its
    metric, and it is in force again as soon as ours are gone. Who changes it meanwhile is not in our way.
    """
    if all(prefix.prefixlen for prefix, _ in wanted.routes):
        return wanted.routes
    written = {prefix for prefix, _ in wanted.routes}
    found: list[tuple[Network, str]] = []
    for prefix, gateway in wanted.routes:
        halves = [] if prefix.prefixlen else [half for half in prefix.subnets() if half not in written]
        found += [(half, gateway) for half in halves] if not prefix.prefixlen else [(prefix, gateway)]
    return found


def with_peers(wanted: DeviceSettings) -> Iterator[tuple[Interface, str]]:
    """(address, point-to-point peer) of each address; `peer` of the settings for the first IPv4, else ""."""
    peer = wanted.peer
    for address in wanted.addresses:
        if peer and isinstance(address, IPv4Interface):
            yield address, peer
            peer = ""
        else:
            yield address, ""


def _packed(address: str) -> bytes:
    return ip_address(address).packed if address else b""


class Pace:
    """When something may be put back again: two programs that want different things must not keep busy."""

    __slots__ = ("_last", "_pause")

    def __init__(self) -> None:
        self._last, self._pause = float("-inf"), 0.0

    def wait(self, now: float) -> float:
        """Seconds from `now` until something may be put back."""
        return max(0.0, self._last + self._pause - now)

    def is_calm(self, now: float) -> bool:
        """Whether nothing has been put back for a long time."""
        return now - self._last > CALM_SECONDS

    def took(self, now: float) -> None:
        """Note that something was put back at `now`."""
        calm = self.is_calm(now)
        self._pause = FIRST_PAUSE if calm else min(2 * self._pause, LONGEST_PAUSE)
        self._last = now
