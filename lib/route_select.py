"""Selection of a table's rows that decide about a few addresses: a small table in place of a big one.

Knows: which rows can matter to an address, in whatever order the table routes, and which lead to a host.
Refuses to know: where the texts come from (source_read), what is asked about the addresses (service_policy).

The small table routes these addresses as the whole one would, by longest prefix and by first match: every row
whose prefix holds one of them is in it, in the order of the whole table.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from types import MappingProxyType

from lib.acl import Acl
from lib.prefixes import Prefix, network
from lib.route_first_match import painted
from lib.route_loader import STEP, leased_rows
from lib.route_parse import all_rows
from lib.route_table import RouteTable, hub_addresses, no_tries
from lib.settings import Hop, RouteEntry, TableSettings
from lib.source_bad_lines import BadLines

MAX_PREFIXES = 64
"""Prefixes of a host, of each version of IP, that are found: the first ones."""
MAX_NAMES = 1000
"""Gateways of the table that are noted, for a guess of what was meant by an unknown one."""

Texts = Mapping[int, tuple[str, bytes]]
"""Rank of a source (1, 2, …) -> its name, and its text."""


@dataclass(slots=True)
class Selection:
    """What was found in one table."""

    rows: list[tuple[int, RouteEntry]] = field(default_factory=list)
    """(rank, row) of each row whose prefix holds one of the addresses, in the table's order."""
    prefixes: dict[tuple[str, int], dict[Prefix, None]] = field(default_factory=dict)
    """(host, bytes of an address) -> prefixes that lead to it, in the table's order."""
    names: dict[str, None] = field(default_factory=dict)
    """Gateways of the table, the first ones."""


def select(
    entries: Iterable[RouteEntry],
    texts: Texts,
    addresses: Collection[bytes],
    hosts: Collection[str],
    step: Callable[[], None],
    leases: Mapping[Prefix, Hop] = MappingProxyType({}),
) -> Selection:
    """Look through a table's inline rows, its sources' texts and leases, with a `step` after some rows.

    `addresses` are packed; `hosts` are names whose prefixes are wanted.
    """
    found, holding = Selection(), _Holding(addresses)
    rows = chain(all_rows(entries, dict(texts), BadLines()), leased_rows(leases))
    for number, (rank, entry) in enumerate(rows):
        if entry is not None:
            if holding.is_held(entry.prefix, entry.length):
                found.rows.append((rank, entry))
            name = entry.hop.gateway
            if name in hosts:
                prefixes = found.prefixes.setdefault((name, len(entry.prefix)), {})
                if len(prefixes) < MAX_PREFIXES:
                    prefixes[entry.prefix, entry.length] = None
            if len(found.names) < MAX_NAMES:
                found.names[name] = None
        if number % STEP == 0:
            step()
    return found


def small_table(settings: TableSettings, selection: Selection) -> RouteTable:
    """A table of the selected rows, with all that the whole one has beside its rows."""
    table, tries = RouteTable(hold_down=settings.hold_down), no_tries()
    first: dict[Prefix, int] = {}
    for rank, entry in selection.rows:
        if table.add_row(tries, entry, rank):
            first.setdefault((entry.prefix, entry.length), len(first))
    if settings.first_match:
        painting = painted(tries, first)
        while True:
            try:
                next(painting)
            except StopIteration as end:
                tries = end.value
                break
    table.first_match = settings.first_match
    table.swap(tries)
    table.acl = Acl(settings.acl) if settings.acl is not None else None
    table.own = hub_addresses(settings.own, settings.names)
    return table


class _Holding:
    """Addresses, of which it is asked whether a prefix holds any: in a time that does not grow with them."""

    def __init__(self, addresses: Collection[bytes]) -> None:
        self._networks: dict[tuple[int, int], set[bytes]] = {}
        for one in addresses:
            for length in range(8 * len(one) + 1):
                self._networks.setdefault((len(one), length), set()).add(network(one, length))

    def is_held(self, prefix: bytes, length: int) -> bool:
        return prefix in self._networks.get((len(prefix), length), ())
