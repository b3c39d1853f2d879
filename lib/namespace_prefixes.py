"""The prefixes for which each host is a gateway, from the routing tables of its namespace.

Knows: the first few prefixes of every host, for as long as a table does not change.
Refuses to know: who wants to know them (hub_session tells a client), plugins, which name no routes unasked.
"""

from __future__ import annotations

from lib.bounded_dict import BoundedDict
from lib.namespace import Namespace
from lib.prefixes import Prefix
from lib.route_table import RouteTable

FEW = 4096
"""Routes of the biggest table that is read: it takes some ms, and is done once after each change."""
MOST = 8
"""Prefixes of a host that are kept, the widest ones."""
TABLES = 64
"""Tables that are kept."""


class PrefixesOfHosts:
    """The prefixes of all hosts of a hub."""

    def __init__(self) -> None:
        self._known: BoundedDict[int, tuple[RouteTable, int, dict[str, list[Prefix]]]] = BoundedDict(TABLES)

    def of(self, namespace: Namespace, host: str) -> tuple[Prefix, ...]:
        """The widest prefixes that lead to a host; none where tables are long or are asked at a plugin."""
        found: list[Prefix] = []
        for table in namespace.tables:
            if isinstance(table, RouteTable):
                found += self._read(table).get(host, ())
        return tuple(found[:MOST])

    def _read(self, table: RouteTable) -> dict[str, list[Prefix]]:
        known = self._known.get(id(table))
        if known is None or known[0] is not table or known[1] != table.changes:
            known = table, table.changes, _by_host(table)
            self._known.renew(id(table), known)
        return known[2]


def _by_host(table: RouteTable) -> dict[str, list[Prefix]]:
    by_host: dict[str, list[Prefix]] = {}
    if len(table) <= FEW:
        routes = [found for trie in (table.tries.four, table.tries.six) for found in trie.unordered()]
        for prefix, length, group in sorted(routes, key=lambda route: route[1]):
            for name in group.names:
                prefixes = by_host.setdefault(name, [])
                if len(prefixes) < MOST:
                    prefixes.append((prefix, length))
    return by_host
