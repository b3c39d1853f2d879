"""`address`, `pool`, `hosts` and `mtu` of a router, checked: the hub's own addresses, those of the hosts.

Knows: which addresses a machine can have, that no two machines get the same one.
Refuses to know: who gets which address of a pool (push_pool), other keys of a router (config_tables).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address

from lib.addresses import address, interface, packed_prefix
from lib.config_findings import Findings
from lib.config_schema import Router
from lib.config_yaml import Scalar, Sequence, Tree
from lib.ids import is_host_name
from lib.prefixes import Prefix, PrefixSet
from lib.settings import Hop, Interface, Network, RouteEntry

MIN_SPARE = 2
"""Bits that a prefix of a pool must leave: fewer hold no address beside the first and the last one."""
MTU_RANGE = range(576, 65522)
"""Bytes that a device's largest packet may have."""
MAX_PREFIXES = 16
"""Prefixes of a pool: a new host may have to look through all of them."""

Fixed = tuple[tuple[str, tuple[bytes, ...]], ...]
"""(host name, its packed addresses)."""


def pool_settings(router: Router, found: Findings) -> tuple[tuple[Interface, ...], tuple[Prefix, ...], Fixed]:
    """(own addresses, pool, fixed addresses of hosts) of a router; each wrong value is a problem."""
    own = _own(router, found)
    pool = _pool(router, found)
    fixed = _fixed(router, {one.ip.packed: "the hub" for one in own}, found)
    if router.plugin is not None and (pool or fixed):
        found.error(
            router.where("pool" if pool else "hosts"),
            f"router {router.name}: its routes are asked of a plugin, so it can hand out no addresses",
            "write pool and hosts in a router with routes of its own",
        )
    if pool and router.compat:
        message = (
            f"router {router.name}: a pool wants the longest prefix to win, and 'compat' has GOST's order"
        )
        found.error(router.where("pool"), message, "leave compat out")
    return own, pool, fixed


def router_mtu(router: Router, found: Findings) -> int:
    """The MTU that a router's hosts are to have, in bytes; 0 where it says nothing of it."""
    if router.mtu is not None and router.mtu not in MTU_RANGE:
        limits = f"{MTU_RANGE.start} to {MTU_RANGE.stop - 1}"
        found.error(router.where("mtu"), f"'mtu': {router.mtu} is not within {limits}")
    return router.mtu or 0


def fixed_routes(fixed: Fixed, entries: Iterable[RouteEntry]) -> list[RouteEntry]:
    """A route to each fixed address, where the router has none to it."""
    there = {(entry.prefix, entry.length) for entry in entries} if fixed else set()
    wanted = (
        RouteEntry(address, 8 * len(address), Hop(host)) for host, addresses in fixed for address in addresses
    )
    return [entry for entry in wanted if (entry.prefix, entry.length) not in there]


def _own(router: Router, found: Findings) -> tuple[Interface, ...]:
    own: dict[int, Interface] = {}
    for text in router.address:
        try:
            parsed = interface(text)
        except ValueError as wrong:
            found.error(router.where("address"), f"'address': {wrong}")
            continue
        why = _unusable(parsed.ip, parsed.network)
        if why:
            found.error(router.where("address"), f"'address': no hub can have {text[:64]}: {why}")
        elif own.setdefault(parsed.version, parsed) != parsed:
            message = (
                f"'address': a router has one of IPv{parsed.version}, not {own[parsed.version]} and {text}"
            )
            found.error(router.where("address"), message)
    return tuple(own.values())


def _unusable(ip: IPv4Address | IPv6Address, network: Network | None = None) -> str:
    """Why no machine can have an address; empty if one can."""
    kinds = ("multicast", "unspecified", "loopback", "link_local")
    kind = next((kind for kind in kinds if getattr(ip, f"is_{kind}")), "")
    if kind:
        return f"it is {kind.replace('_', '-')}"
    if network is None or network.version == 6 or network.prefixlen > 30:
        return ""
    if ip == network.network_address:
        return "it is the network itself"
    return "it is the broadcast address" if ip == network.broadcast_address else ""


def _pool(router: Router, found: Findings) -> tuple[Prefix, ...]:
    pool = []
    for text in router.pool:
        try:
            prefix, length = packed_prefix(text)
        except ValueError as wrong:
            found.error(router.where("pool"), f"'pool': {wrong}")
            continue
        if 8 * len(prefix) - length < MIN_SPARE:
            most = f"/{8 * len(prefix) - MIN_SPARE}"
            found.error(router.where("pool"), f"'pool': {text[:64]} is too small", f"{most} is the smallest")
        elif not length:
            found.error(router.where("pool"), f"'pool': {text[:64]} is every address that there is")
        else:
            found.warn_widened(router.where("pool"), f"router {router.name}: 'pool'", text)
            pool.append((prefix, length))
    if len(pool) > MAX_PREFIXES:
        found.error(router.where("pool"), f"'pool': more than {MAX_PREFIXES} prefixes")
    held = PrefixSet(pool)
    if pool and router.address and not any(map(held.holds, _packed(router.address))):
        found.notice(router.where("pool"), f"router {router.name}: its pool does not hold its own address")
    return tuple(dict.fromkeys(pool))


def _packed(texts: list[str]) -> Iterator[bytes]:
    for text in texts:
        try:
            yield interface(text).ip.packed
        except ValueError:  # that has been said
            continue


def _fixed(router: Router, taken: dict[bytes, str], found: Findings) -> Fixed:
    """The fixed addresses; `taken` are those that others have already, and whose they are."""
    fixed: list[tuple[str, tuple[bytes, ...]]] = []
    for host, tree in found.each(router.hosts.items()):
        if not host.strip() or not is_host_name(host):
            found.error(tree.where, f"no host can go by this name: {host[:64]!r}")
        own = []
        for item in _scalars(tree, found):
            try:
                ip = address(item.text)
            except ValueError as wrong:
                found.error(item.where, f"'hosts': {wrong}")
                continue
            why = _unusable(ip)
            if why:
                found.error(item.where, f"'hosts': no host can have {ip}: {why}")
            elif taken.setdefault(ip.packed, f"host {host}") != f"host {host}":
                found.error(item.where, f"'hosts': {ip} is the address of {taken[ip.packed]}")
            own.append(ip.packed)
        fixed.append((host, tuple(dict.fromkeys(own))))
    return tuple(fixed)


def _scalars(tree: Tree, found: Findings) -> Iterator[Scalar]:
    for item in tree.items if isinstance(tree, Sequence) else [tree]:
        if not isinstance(item, Scalar):
            found.error(item.where, "'hosts' wants an address, or a list of them, for each host name")
            continue
        words = (word.strip() for word in item.text.split(","))
        yield from (Scalar(word, item.where) for word in words if word)
