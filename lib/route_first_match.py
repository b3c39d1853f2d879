"""First-match routing, as GOST has it: of all routes that hold an address, the first one written is taken.

Knows: how a longest-prefix table is made that routes in this order, and where the two orders differ.
Refuses to know: how rows are read (route_loader), how a table is looked up (route_table).

Give every prefix the gateways of the first route written among those that cover it, itself included. Whatever
route holds an address also covers the longest prefix that holds it. So a look-up of the longest prefix finds
the first route written. Further routes for the same prefix are its further gateways (GOST never uses them).
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from itertools import chain

from lib.prefixes import Prefix, network
from lib.route_table import Tries, emptied, no_tries
from lib.route_trie import Trie
from lib.settings import RouteEntry

STEP = 500
"""Prefixes that a step goes through."""


def painted(tries: Tries, first: dict[Prefix, int]) -> Generator[None, None, Tries]:
    """Tries that route by first match, made of longest-prefix ones; each yield ends a step.

    `first` says for every prefix the number of the row that named it first, counted over all rows.
    """
    result = no_tries()
    winners: dict[Prefix, int] = {}
    by_length: list[list[Prefix]] = [[] for _ in range(129)]
    for number, prefix in enumerate(first):
        by_length[prefix[1]].append(prefix)
        if number % STEP == 0:
            yield
    # The shorter prefixes come first: so what covers a prefix already has its winner when its turn comes.
    for number, prefix in enumerate(chain.from_iterable(by_length)):
        address, length = prefix
        group = tries.of(address).get(address, length)
        assert group is not None  # `first` and the tries have the same prefixes
        order = first[prefix]
        trie = result.of(address)
        # Of the prefixes that cover this one, only the longest is looked at: its winner is already the first
        # row of all that cover it.
        for cover, its_group in trie.matches(address)[:1]:
            its_order = winners[network(address, cover), cover]
            if its_order < order:
                order, group = its_order, its_group
        winners[prefix] = order
        trie.insert(address, length, group)
        if number % STEP == 0:
            yield
    yield from emptied(winners)
    return result


def differences(entries: Iterable[RouteEntry]) -> list[tuple[RouteEntry, RouteEntry]]:
    """The entries that first match never uses but longest prefix does, with another gateway than GOST's.

    Each comes as a pair (the entry that GOST takes, the entry that is never used): the first has a shorter
    prefix that covers the second's, and is written before it. Entries of equal prefix are not among them, as
    they are further gateways of one route. One look-up an entry, so a million entries take some seconds.
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
    """An entry in an object, since a trie holds no tuples (and an entry is one)."""

    __slots__ = ("entry",)

    def __init__(self, entry: RouteEntry) -> None:
        self.entry = entry


def _first_written(trie: Trie[_First], prefix: bytes, length: int) -> _First | None:
    """The first entry written so far that covers a prefix.

    The trie holds the winner of each prefix. The longest prefix that covers this one has the right winner:
    other covers that came before it have already been considered for it, and those that came after it are
    not first.
    """
    return next((winner for cover, winner in trie.matches(prefix) if cover <= length), None)


def never_used(entries: Iterable[RouteEntry]) -> list[tuple[RouteEntry, RouteEntry]]:
    """Pairs (the entry that GOST takes, a later one of the same prefix, which GOST never uses), in order."""
    first: dict[Prefix, RouteEntry] = {}
    pairs = []
    for entry in entries:
        taken = first.setdefault((entry.prefix, entry.length), entry)
        if taken is not entry:
            pairs.append((taken, entry))
    return pairs
