"""What a client takes of the settings that its hub tells it, and why it refuses the rest.

Knows: which routes a client can take without harm: no default route, nothing over the hub, a name server or a
network that the client is connected to.
Refuses to know: where settings come from (push_settings), how they are set (client_push), which networks
there are (netlink_networks).

A hub that the client trusts may still be wrong, or be taken over. `auto` takes what a hub of other people's
networks could say and what does no harm to the client's own; `force`, or a list, is the user's own decision.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from lib import prefixes
from lib.addresses import packed_prefix
from lib.humanize import counted
from lib.prefixes import Prefix
from lib.push_settings import Pushed
from lib.settings_push import AUTO, FORCE, LISTED, OFF, AcceptSettings

LEAST_MTU, LEAST_MTU_IPV6, MOST_MTU = 576, 1280, 65521
HALF = 1
"""Bits of half a default route."""
QUARTER = {4: 1 << 30, 16: 1 << 123}
"""Addresses in a quarter of IPv4, and of the part of IPv6 that is in use (2000::/3). Routes that hold as many
together are a default route in pieces."""

_NEVER = tuple(
    map(
        packed_prefix,
        (
            "0.0.0.0/8",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "224.0.0.0/3",
            "::/96",
            "::ffff:0:0/96",
            "fe80::/10",
            "ff00::/8",
        ),
    )
)
"""Addresses that no route of ours can lead to: this host, one link only, multicast, nobody."""
_PRIVATE = tuple(
    map(
        packed_prefix,
        ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "198.18.0.0/15", "fc00::/7"),
    )
)
"""Addresses of private networks: no piece of a default route."""


class LocalNetwork(NamedTuple):
    """A network that the client is connected to."""

    device: str
    prefix: Prefix

    def __str__(self) -> str:
        return f"{prefixes.text(*self.prefix)}, a network of {self.device}"


@dataclass(frozen=True, slots=True)
class Local:
    """What there is around a client beside its tunnel. All addresses are packed."""

    hubs: tuple[bytes, ...] = ()
    """Addresses of hubs, or of proxies before them."""
    resolvers: tuple[bytes, ...] = ()
    """Name servers."""
    networks: tuple[LocalNetwork, ...] = ()


class Refusal(NamedTuple):
    """Something that is not set, and why."""

    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """What is to be set of what a hub has said."""

    addresses: tuple[bytes, ...] = ()
    routes: tuple[Prefix, ...] = ()
    mtu: int = 0
    """0 where the MTU stays as it is."""
    dns: tuple[bytes, ...] = ()
    domain: str = ""
    refused: tuple[Refusal, ...] = ()


def accept(pushed: Pushed, how: AcceptSettings, local: Local) -> Accepted:
    """What a client with these settings takes of what its hub has said."""
    refused: list[Refusal] = []
    addresses = list(_addresses(pushed, how, local, refused)) if how.addresses else []
    routes = _routes(pushed, how, local, refused)
    has_ipv6 = any(len(one) == 16 for one in addresses) or any(len(one) == 16 for one, _ in routes)
    mtu = pushed.mtu if how.mtu else 0
    least = LEAST_MTU_IPV6 if has_ipv6 else LEAST_MTU
    if mtu and not least <= mtu <= MOST_MTU:
        refused.append(Refusal(f"MTU {mtu}", f"it is not within {least} to {MOST_MTU}"))
        mtu = 0
    if pushed.left_out and how.routes != OFF:
        refused.append(Refusal(counted(pushed.left_out, "route"), "the hub cannot tell its hosts so many"))
    return Accepted(tuple(addresses), tuple(routes), mtu, pushed.dns, pushed.domain, tuple(refused))


def summed_up(refused: Iterable[Refusal], most: int = 4) -> list[str]:
    """A line for each reason, with the first few things that it concerns."""
    by_reason: dict[str, list[str]] = {}
    for one in refused:
        by_reason.setdefault(one.why, []).append(one.what)
    lines = []
    for why, every in by_reason.items():
        more = f" and {len(every) - most} more" if len(every) > most else ""
        lines.append(f"{', '.join(every[:most])}{more}: {why}")
    return lines


def _addresses(pushed: Pushed, how: AcceptSettings, local: Local, refused: list[Refusal]) -> Iterator[bytes]:
    for address in dict.fromkeys(pushed.addresses):
        whole = address, 8 * len(address)
        why = "no host can have it" if _is_never(whole) else ""
        if not why and how.routes != FORCE:
            over = next((one for one in local.networks if _overlap(whole, one.prefix)), None)
            why = f"it is in {over}" if over is not None else ""
        if why:
            refused.append(Refusal(f"address {prefixes.text(*whole)}", why))
        else:
            yield address


def _routes(pushed: Pushed, how: AcceptSettings, local: Local, refused: list[Refusal]) -> list[Prefix]:
    if how.routes == OFF:
        return []
    taken = []
    for route in dict.fromkeys(pushed.others):
        if how.routes == LISTED and not any(_holds(one, route) for one in how.only):
            continue  # not asked for
        why = _why_not(route, how, local)
        if why:
            refused.append(Refusal(prefixes.text(*route), why))
        else:
            taken.append(route)
    return _without_pieces(taken, refused) if how.routes == AUTO else taken


def _why_not(route: Prefix, how: AcceptSettings, local: Local) -> str:
    """Why a route is not taken; empty where it is. What `auto` refuses, a list may name."""
    if _is_never(route):
        return "no route leads there"
    if how.routes == FORCE or route in how.only:
        return ""
    if how.routes == AUTO and route[1] <= HALF:
        return "a default route, or half of one (acceptRoutes: force takes it)"
    for one in local.networks:
        if _holds(one.prefix, route) or (how.routes == AUTO and _holds(route, one.prefix)):
            return f"it lies over {one}, which this host is connected to (acceptRoutes: force takes it)"
    if how.routes == LISTED:
        return ""
    for what, addresses in (("the hub", local.hubs), ("a name server", local.resolvers)):
        for address in addresses:
            if prefixes.covers(*route, address):
                shown = prefixes.text(address, 8 * len(address)).partition("/")[0]
                return f"it holds {shown}, {what} (acceptRoutes: force takes it)"
    return ""


def _without_pieces(taken: list[Prefix], refused: list[Refusal]) -> list[Prefix]:
    """The routes, without public ones where these are nearly a default route together."""
    for size, quarter in QUARTER.items():
        public = [
            one for one in taken if len(one[0]) == size and not any(_holds(own, one) for own in _PRIVATE)
        ]
        if _addresses_in(public) >= quarter:
            why = "together they are nearly a default route (acceptRoutes: force takes them)"
            refused += [Refusal(prefixes.text(*one), why) for one in public]
            gone = set(public)
            taken = [one for one in taken if one not in gone]
    return taken


def _addresses_in(routes: Iterable[Prefix]) -> int:
    """How many addresses lie in routes of one version of IP, each counted once."""
    total, until = 0, -1
    for prefix, length in sorted(routes):
        first = int.from_bytes(prefix, "big")
        last = first + (1 << (8 * len(prefix) - length)) - 1
        if last > until:
            total += last - max(first - 1, until)
            until = last
    return total


def _holds(wide: Prefix, narrow: Prefix) -> bool:
    return wide[1] <= narrow[1] and prefixes.covers(*wide, narrow[0])


def _overlap(one: Prefix, other: Prefix) -> bool:
    return _holds(one, other) or _holds(other, one)


def _is_never(route: Prefix) -> bool:
    return any(_holds(one, route) for one in _NEVER)
