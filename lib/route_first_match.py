"""GOST's order: of all routes that hold an address, the first one written.

Knows: how a table in that order is told in one by longest prefix, and where the two orders differ.
Refuses to know: how rows are read (route_loader), how a table is asked (route_table).

Give every prefix the gateways of the first route written among those that cover it, itself included.
The longest prefix holding an address then has the answer: whatever holds the address covers it.
Further routes for a prefix equal to the first one's are its further gateways (GOST never uses them).
"""

from __future__ import annotations

from collections.abc import Generator, Iterable

from lib.prefixes import Prefix, network
from lib.route_table import Tries, no_tries
from lib.route_trie import Trie
from lib.settings import RouteEntry

STEP = 500


def painted(tries: Tries, first: dict[Prefix, int]) -> Generator[None, None, Tries]:
    """Tries in GOST's order, made of those by longest prefix; each yield ends a step.

    `first` says of every prefix which row named it first, counted over all rows.
    """
    result = no_tries()
    winners: dict[Prefix, int] = {}
    for number, prefix in enumerate(sorted(first, key=lambda prefix: prefix[1])):  # covers before the covered
        address, length = prefix
        group = tries.of(address).get(address, length)
        assert group is not None  # `first` and the tries have the same prefixes
        order = first[prefix]
        trie = result.of(address)
        for cover, its_group in trie.matches(address)[:1]:
            its_order = winners[network(address, cover), cover]
            if its_order < order:
                order, group = its_order, its_group
        winners[prefix] = order
        trie.insert(address, length, group)
        if number % STEP == 0:
            yield
    return result


def differences(entries: Iterable[RouteEntry]) -> list[tuple[RouteEntry, RouteEntry]]:
    """The entries that longest prefix obeys and GOST's first match never would, by another gateway.

    Each comes as (the entry GOST takes, the entry it shadows): the first one written that covers it by a
    shorter prefix, and itself. Further gateways of an equal prefix are none: they stand by. One look-up an
    entry, so a million entries are fine.
    """
    tries: dict[int, Trie[_First]] = {4: Trie(4), 16: Trie(16)}
    pairs: dict[tuple[RouteEntry, RouteEntry], None] = {}
    for entry in entries:
        prefix, length, hop = entry
        trie = tries[len(prefix)]
        winner = _first_written(trie, prefix, length)
        if winner is None:
            winner = _First(entry)
        elif winner.entry.length < length and winner.entry.hop.gateway != hop.gateway:
            pairs[winner.entry, entry] = None
        if trie.get(prefix, length) is None:
            trie.insert(prefix, length, winner)
    return list(pairs)


class _First:
    """An entry, as a trie holds it: no tuple."""

    __slots__ = ("entry",)

    def __init__(self, entry: RouteEntry) -> None:
        self.entry = entry


def _first_written(trie: Trie[_First], prefix: bytes, length: int) -> _First | None:
    """The first entry written so far that covers a prefix.

    The trie holds for each prefix its own winner. Whatever covers the longest cover and came before it
    is counted there already, and what came after it is not first: so the longest cover has the answer.
    """
    return next((winner for cover, winner in trie.matches(prefix) if cover <= length), None)


def never_used(entries: Iterable[RouteEntry]) -> list[tuple[RouteEntry, RouteEntry]]:
    """(the entry GOST takes, an entry of the same prefix that it therefore never uses), in order."""
    first: dict[Prefix, RouteEntry] = {}
    pairs = []
    for entry in entries:
        taken = first.setdefault((entry.prefix, entry.length), entry)
        if taken is not entry:
            pairs.append((taken, entry))
    return pairs
