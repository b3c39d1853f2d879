"""A routing table by longest prefix, for IPv4 and IPv6, with the gateways (host names) of each route.

Knows: that rows of one prefix are one route with several gateways, in which order those are preferred.
Refuses to know: which gateways are alive (route_gateways), where rows come from (route_loader), GOST's order
(route_first_match), namespaces and default tables (namespace).

The tries hold Groups, each shared by all routes that have the same gateways: a million routes to a hundred
hosts need a hundred groups. A Route object is only made for people; packets need no more than the Group.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from lib import prefixes
from lib.acl import Acl
from lib.route_trie import Trie
from lib.settings import Hop, Interface, RouteEntry
from lib.settings_names import NamesSettings

DEFAULT_HOLD_DOWN = 5.0
"""Seconds."""

MAX_ROWS = 256
"""Rows of one prefix that count, the first ones: each one more takes time for all those before."""

_POINT_TO_POINT = 31
"""From this length on an IPv4 prefix has no broadcast address (RFC 3021)."""
EMPTIED = 400
"""Entries that are freed in one step."""
MAX_GROUPS = 10_000
"""Groups whose names are looked through at once, which takes a few milliseconds."""

Row = tuple[int, Hop]
"""(rank, hop): the rank is 0 for inline rows, and 1, 2, … for rows of the sources in their order."""
ENROLLED, LEASED = (1 << 16) - 1, 1 << 16
"""The ranks of routes to enrolled hosts, after those of all sources, and of leases of a pool, the last."""


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Group:
    """The gateways of a route in their order of preference."""

    rows: tuple[Row, ...]
    """The rows it is made of: inline rows first, then those of the sources in their order."""
    tiers: tuple[tuple[str, ...], ...]
    """Gateways by preference, the best tier first; gateways within one tier share flows."""
    names: frozenset[str]
    """All gateways."""
    fall_through: bool
    """Whether a route of a shorter prefix carries packets while none of the gateways is connected."""


def group(hops: Iterable[Hop], rank: int = 0) -> Group:
    """The group of these hops, in the order written, of the source of that rank."""
    return _group(tuple((rank, hop) for hop in hops))


def _group(rows: tuple[Row, ...]) -> Group:
    tiers: dict[object, tuple[str, ...]] = {}
    seen: set[str] = set()
    for _, hop in sorted(rows, key=lambda row: row[1].metric or 0):
        if hop.gateway not in seen:
            seen.add(hop.gateway)
            tier = hop.gateway if hop.metric is None else hop.metric  # without a metric one of its own
            tiers[tier] = (*tiers.get(tier, ()), hop.gateway)
    return Group(rows, tuple(tiers.values()), frozenset(seen), any(hop.fall_through for _, hop in rows))


class HubAddress(NamedTuple):
    """An address of the hub itself in the namespaces that a table is for."""

    address: bytes
    """Packed: 4 or 16 bytes."""
    broadcast: bytes = b""
    """The broadcast address of its network; empty where there is none."""
    names: NamesSettings | None = None
    """The names that it answers DNS questions about; None for none."""


def hub_addresses(
    interfaces: Iterable[Interface], names: NamesSettings | None = None
) -> tuple[HubAddress, ...]:
    """The hub's addresses of a router's `address`, and the names that it is asked for there."""
    return tuple(
        HubAddress(
            one.ip.packed,
            one.network.broadcast_address.packed
            if one.version == 4 and one.network.prefixlen < _POINT_TO_POINT
            else b"",
            names,
        )
        for one in interfaces
    )


@dataclass(frozen=True, slots=True)
class Route:
    """A route: packets to `prefix`/`length` (packed, 4 or 16 bytes) go to a gateway of `group`."""

    prefix: bytes
    length: int
    group: Group

    def __str__(self) -> str:
        return prefixes.text(self.prefix, self.length)


@dataclass(slots=True)
class Tries:
    """The tries of both families. An IPv4-mapped IPv6 address belongs to IPv6."""

    four: Trie[Group]
    six: Trie[Group]

    def of(self, address: bytes) -> Trie[Group]:
        """The trie of the family that an address (packed, 4 or 16 bytes) belongs to."""
        return self.four if len(address) == 4 else self.six

    def __len__(self) -> int:
        return len(self.four) + len(self.six)


def no_tries() -> Tries:
    """Two empty tries."""
    return Tries(Trie(4), Trie(16))


def emptied(*used: dict[Any, Any] | list[Any] | set[Any]) -> Generator[None, None, None]:
    """Empty what has filled tries and is of no more use, in steps: to free all of it at once takes long."""
    for one in used:
        while one:
            for _ in range(min(EMPTIED, len(one))):
                one.popitem() if isinstance(one, dict) else one.pop()
            yield


class RouteTable:
    """Routes by longest prefix."""

    __slots__ = (
        *("_four", "_groups", "_six", "acl", "changes", "first_match", "has_alternatives", "hold_down"),
        "own",
    )

    def __init__(self, entries: Iterable[RouteEntry] = (), hold_down: float = DEFAULT_HOLD_DOWN) -> None:
        """`entries` in the order written; `hold_down` in seconds (route_gateways)."""
        self.hold_down = hold_down
        self.first_match = False
        """Whether its tries route in GOST's order (route_first_match)."""
        self.acl: Acl | None = None
        """The access list for packets on its routes; None for everything."""
        self.own: tuple[HubAddress, ...] = ()
        """The hub's own addresses, one of each version at most; without any the hub is no hop."""
        self.changes = 0
        """How often its routes have changed: whatever was remembered at a lower number is outdated."""
        self.has_alternatives = False
        """Whether any route has more than one gateway, or falls through."""
        self._groups: WeakValueDictionary[tuple[Row, ...], Group] = WeakValueDictionary()
        self._four: Trie[Group] = Trie(4)
        self._six: Trie[Group] = Trie(16)
        for entry in entries:
            self.add_row(self.tries, entry, 0)
        self._look_for_alternatives()

    def lookup(self, address: bytes) -> Group | None:
        """The gateways of the longest prefix that holds `address` (4 or 16 bytes); None where none does."""
        return (self._four if len(address) == 4 else self._six).lookup(address)

    def matches(self, address: bytes) -> list[Route]:
        """Every route that holds `address` (4 or 16 bytes), the longest prefix first."""
        found = self.tries.of(address).matches(address)
        return [Route(prefixes.network(address, length), length, group) for length, group in found]

    def __iter__(self) -> Iterator[Route]:
        """Every route in the order of addresses, IPv4 first."""
        for trie in (self._four, self._six):
            for prefix, length, group in trie:
                yield Route(prefix, length, group)

    def __len__(self) -> int:
        return len(self._four) + len(self._six)

    def names(self) -> frozenset[str] | None:
        """Every gateway of its routes; None where there are too many to look through at once.

        For some milliseconds after a change those of the routes before it may still be among them.
        """
        groups = list(self._groups.values())
        if len(groups) > MAX_GROUPS:
            return None
        return frozenset().union(*(group.names for group in groups))

    def alternatives(self) -> list[Group]:
        """The groups of its routes that have several gateways; none where there are too many to look at."""
        groups = list(self._groups.values())
        return [group for group in groups if len(group.names) > 1] if len(groups) <= MAX_GROUPS else []

    # --- for those who fill it

    @property
    def tries(self) -> Tries:
        """The tries that it routes by now; only to be read."""
        return Tries(self._four, self._six)

    def swap(self, tries: Tries) -> Tries:
        """Route by these tries from now on; returns the old ones. Only here does a table in use change."""
        old = self.tries
        self._four, self._six = tries.four, tries.six
        self.changes += 1
        self._look_for_alternatives()
        return old

    def _look_for_alternatives(self) -> None:
        self.has_alternatives = any(len(g.names) > 1 or g.fall_through for g in self._groups.values())

    def group_of(self, rows: tuple[Row, ...]) -> Group:
        """The group with these rows, the same object for the same rows."""
        group = self._groups.get(rows)
        if group is None:
            group = self._groups[rows] = _group(rows)
        return group

    def add_row(self, tries: Tries, entry: RouteEntry, rank: int) -> int:
        """Add a row to tries that are not in use yet, after all rows of its prefix up to that rank.

        Returns how many rows the prefix has then; 0, and nothing is added, where it has MAX_ROWS already.
        """
        prefix, length, hop = entry
        trie = tries.four if len(prefix) == 4 else tries.six
        before = trie.get(prefix, length)
        rows: tuple[Row, ...] = ((rank, hop),)
        if before is not None:
            if len(before.rows) >= MAX_ROWS:
                return 0
            index = sum(row[0] <= rank for row in before.rows)
            rows = before.rows[:index] + rows + before.rows[index:]
        trie.insert(prefix, length, self.group_of(rows))
        return len(rows)


def all_names(group: Group, table: object, address: bytes) -> list[str]:
    """The gateways of a route to an address and of those that it falls through to, in order, each once."""
    groups = (group, *falls_to(table, address)) if group.fall_through else (group,)
    return list(dict.fromkeys(name for one in groups for name in one.names))


def falls_to(table: object, address: bytes) -> Iterator[Group]:
    """The gateways of ever shorter prefixes for an address, as long as each route falls through to the next.

    The longest prefix itself is not among them.
    """
    if isinstance(table, RouteTable):
        routes = table.matches(address)
        for longer, shorter in pairwise(routes):
            if not longer.group.fall_through:
                return
            yield shorter.group
