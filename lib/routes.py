"""A routing table: prefixes of both families and the gateways (host names) behind each.

Knows: that the longest prefix wins, that equal prefixes share one route with the gateways in the order
written, and where GOST, which takes the first match in file order, would decide otherwise.
Refuses to know: which gateways are alive (forward), namespaces and default tables (namespace).

The tries hold bare tuples of gateways, shared by all routes that have the same ones: a million routes to
a hundred hosts are a hundred tuples. A Route is made when asked for; packets need only `gateways`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lib.settings import RouteEntry
from lib.trie import Trie


@dataclass(frozen=True, slots=True)
class Route:
    """Packets to `prefix`/`length` (packed, 4 or 16 bytes) go to one of `gateways`, in the order written."""

    prefix: bytes
    length: int
    gateways: tuple[str, ...]


class RouteTable:
    """Routes by longest prefix; an IPv4-mapped IPv6 address stays IPv6."""

    __slots__ = ("_four", "_six", "changes", "has_alternatives")

    def __init__(self, entries: Iterable[RouteEntry] = ()) -> None:
        self._four: Trie[tuple[str, ...]] = Trie(4)
        self._six: Trie[tuple[str, ...]] = Trie(16)
        self.changes = 0
        """How often routes have changed since; what was remembered of earlier ones no longer counts."""
        self.has_alternatives = False
        """Whether any route has more than one gateway."""
        shared: dict[tuple[str, ...], tuple[str, ...]] = {}
        for entry in entries:
            self._add(entry, shared)

    def gateways(self, address: bytes) -> tuple[str, ...] | None:
        """The gateways of the longest prefix holding `address` (4 or 16 bytes): `lookup` without a Route."""
        return self._trie(address).lookup(address)

    def lookup(self, address: bytes) -> Route | None:
        """The route of the longest prefix holding `address` (4 or 16 bytes)."""
        routes = self.matches(address)
        return routes[0] if routes else None

    def matches(self, address: bytes) -> list[Route]:
        """Every route holding `address` (4 or 16 bytes), the longest prefix first."""
        found = self._trie(address).matches(address)
        return [Route(_network(address, length), length, gateways) for length, gateways in found]

    def __iter__(self) -> Iterator[Route]:
        """Every route by address, IPv4 first."""
        for trie in (self._four, self._six):
            for prefix, length, gateways in trie:
                yield Route(prefix, length, gateways)

    def __len__(self) -> int:
        return len(self._four) + len(self._six)

    def _trie(self, address: bytes) -> Trie[tuple[str, ...]]:
        return self._four if len(address) == 4 else self._six

    def _add(self, entry: RouteEntry, shared: dict[tuple[str, ...], tuple[str, ...]]) -> None:
        prefix, length = entry.prefix.network_address.packed, entry.prefix.prefixlen
        trie = self._trie(prefix)
        before = trie.get(prefix, length) or ()
        if entry.gateway not in before:
            gateways = (*before, entry.gateway)
            self.has_alternatives = self.has_alternatives or bool(before)
            trie.insert(prefix, length, shared.setdefault(gateways, gateways))


def first_match_differences(entries: Iterable[RouteEntry]) -> list[tuple[RouteEntry, RouteEntry]]:
    """The entries that longest prefix obeys and GOST's first match never would, by another gateway.

    Each comes as (the entry GOST takes, the entry it shadows): the first one written that covers it, and
    itself. The two prefixes may be equal: GOST never uses the second, here it is a further gateway.
    One look-up an entry, so a million entries are fine.
    """
    tries: dict[int, Trie[RouteEntry]] = {4: Trie(4), 16: Trie(16)}
    pairs: dict[tuple[RouteEntry, RouteEntry], None] = {}
    for entry in entries:
        prefix, length = entry.prefix.network_address.packed, entry.prefix.prefixlen
        trie = tries[len(prefix)]
        winner = _first_written(trie, prefix, length)
        if winner is None:
            winner = entry
        elif winner.gateway != entry.gateway:
            pairs[winner, entry] = None
        if trie.get(prefix, length) is None:
            trie.insert(prefix, length, winner)
    return list(pairs)


def _first_written(trie: Trie[RouteEntry], prefix: bytes, length: int) -> RouteEntry | None:
    """The first entry written so far that covers a prefix.

    The trie holds for each prefix its own winner. Whatever covers the longest cover and came before it
    is counted there already, and what came after it is not first: so the longest cover has the answer.
    """
    return next((winner for cover, winner in trie.matches(prefix) if cover <= length), None)


def _network(address: bytes, length: int) -> bytes:
    """The address with everything beyond `length` bits cleared."""
    host_bits = 8 * len(address) - length
    return (int.from_bytes(address, "big") >> host_bits << host_bits).to_bytes(len(address), "big")
