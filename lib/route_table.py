"""A routing table: prefixes of both families and the gateways (host names) behind each.

Knows: that the longest prefix wins, that equal prefixes share one route, which of its gateways is preferred.
Refuses to know: which gateways are alive (route_gateways), where rows come from (route_loader), GOST's order
(route_first_match), namespaces and default tables (namespace).

The tries hold Groups, shared by all routes that have the same gateways: a million routes to a hundred
hosts are a hundred groups. A Route is made when asked for; packets need only the Group.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from weakref import WeakValueDictionary

from lib import prefixes
from lib.acl import Acl
from lib.route_trie import Trie
from lib.settings import Hop, RouteEntry

DEFAULT_HOLD_DOWN = 5.0

Row = tuple[int, Hop]
"""A hop and the rank of the source it comes from: 0 for inline rows, then the sources in their order."""


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Group:
    """The gateways of a route, and who of them goes before whom."""

    rows: tuple[Row, ...]
    """As written, sources in their order."""
    tiers: tuple[tuple[str, ...], ...]
    """Gateways by preference; those within one tier share flows."""
    names: frozenset[str]
    fall_through: bool
    """Whether a shorter prefix carries while none of them lives."""


def group(hops: Iterable[Hop], rank: int = 0) -> Group:
    """The group of some hops of one source, in the order written."""
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


@dataclass(frozen=True, slots=True)
class Route:
    """Packets to `prefix`/`length` (packed, 4 or 16 bytes) go to one of a group's gateways."""

    prefix: bytes
    length: int
    group: Group

    def __str__(self) -> str:
        return prefixes.text(self.prefix, self.length)


@dataclass(slots=True)
class Tries:
    """The prefixes of both families; an IPv4-mapped IPv6 address stays IPv6."""

    four: Trie[Group]
    six: Trie[Group]

    def of(self, address: bytes) -> Trie[Group]:
        """The one that an address (4 or 16 bytes) belongs to."""
        return self.four if len(address) == 4 else self.six

    def __len__(self) -> int:
        return len(self.four) + len(self.six)


def no_tries() -> Tries:
    """Two empty ones."""
    return Tries(Trie(4), Trie(16))


class RouteTable:
    """Routes by longest prefix."""

    __slots__ = ("_four", "_groups", "_six", "acl", "changes", "first_match", "has_alternatives", "hold_down")

    def __init__(self, entries: Iterable[RouteEntry] = (), hold_down: float = DEFAULT_HOLD_DOWN) -> None:
        """`entries` in the order written; for hold_down (seconds) see gateways."""
        self.hold_down = hold_down
        self.first_match = False
        """Whether its tries are painted in GOST's order (first_match)."""
        self.acl: Acl | None = None
        """What may be sent along its routes; None for everything."""
        self.changes = 0
        """How often routes have changed since; what was remembered of earlier ones no longer counts."""
        self.has_alternatives = False
        """Whether any route has more than one gateway, or falls through."""
        self._groups: WeakValueDictionary[tuple[Row, ...], Group] = WeakValueDictionary()
        self._four: Trie[Group] = Trie(4)
        self._six: Trie[Group] = Trie(16)
        for entry in entries:
            self.add_row(self.tries, entry, 0)
        self._look_for_alternatives()

    def lookup(self, address: bytes) -> Group | None:
        """The gateways of the longest prefix holding `address` (4 or 16 bytes)."""
        return (self._four if len(address) == 4 else self._six).lookup(address)

    def matches(self, address: bytes) -> list[Route]:
        """Every route holding `address` (4 or 16 bytes), the longest prefix first."""
        found = self.tries.of(address).matches(address)
        return [Route(prefixes.network(address, length), length, group) for length, group in found]

    def __iter__(self) -> Iterator[Route]:
        """Every route by address, IPv4 first."""
        for trie in (self._four, self._six):
            for prefix, length, group in trie:
                yield Route(prefix, length, group)

    def __len__(self) -> int:
        return len(self._four) + len(self._six)

    # --- for those who fill it

    @property
    def tries(self) -> Tries:
        """What it holds now; only to be read."""
        return Tries(self._four, self._six)

    def swap(self, tries: Tries) -> Tries:
        """Route by these from now on; returns those it had. The one moment at which a table changes."""
        old = self.tries
        self._four, self._six = tries.four, tries.six
        self.changes += 1
        self._look_for_alternatives()
        return old

    def _look_for_alternatives(self) -> None:
        self.has_alternatives = any(len(g.names) > 1 or g.fall_through for g in self._groups.values())

    def group_of(self, rows: tuple[Row, ...]) -> Group:
        """The one group with these rows."""
        group = self._groups.get(rows)
        if group is None:
            group = self._groups[rows] = _group(rows)
        return group

    def add_row(self, tries: Tries, entry: RouteEntry, rank: int) -> None:
        """Add a row of a source to tries nobody routes by yet, behind its rows up to that rank."""
        prefix, length, hop = entry
        trie = tries.four if len(prefix) == 4 else tries.six
        before = trie.get(prefix, length)
        rows: tuple[Row, ...] = ((rank, hop),)
        if before is not None:
            index = sum(row[0] <= rank for row in before.rows)
            rows = before.rows[:index] + rows + before.rows[index:]
        trie.insert(prefix, length, self.group_of(rows))
