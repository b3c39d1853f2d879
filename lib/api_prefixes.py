"""The prefixes of every host for the list of hosts, read from the routing tables once after each change.

Knows: how many prefixes of a host are shown, how long tables are read while packets go on.
Refuses to know: who shows them (api_live), plugins, which name no routes unasked.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from lib import prefixes, service_release
from lib.bounded_dict import BoundedDict
from lib.route_table import RouteTable
from lib.service_scheduling import Breaths

SHOWN = 4
"""Prefixes of a host that are named; of the others the number is told."""
MOST_ROUTES = 200_000
"""Routes of the biggest table that is read: 0.2 s, in steps."""
TABLES = 8192
AGAIN_SECONDS = 10.0
"""How old what is shown may be, for a table that changes all the time."""
_STEP = 64

Texts = dict[str, list[str | int]]
"""Host -> at most SHOWN prefixes, then how many more there are."""


class PrefixesShown:
    """The prefixes of the hosts of every table that somebody has asked for."""

    def __init__(self) -> None:
        self._known: BoundedDict[int, tuple[RouteTable, int, Texts, float]] = BoundedDict(TABLES)

    def read(self, tables: Iterable[object]) -> None:
        """Read these tables where they have changed. Lets packets be received meanwhile."""
        now = time.monotonic()
        for table in tables:
            if isinstance(table, RouteTable) and self._is_due(table, now):
                changes, before = table.changes, self._known.get(id(table))
                self._known.renew(id(table), (table, changes, _read(table), now))
                service_release.later([before])

    def _is_due(self, table: RouteTable, now: float) -> bool:
        known = self._known.get(id(table))
        if known is None or known[0] is not table:
            return True
        return known[1] != table.changes and now - known[3] >= AGAIN_SECONDS

    def of(self, tables: Iterable[object], host: str) -> list[str | int]:
        """What is shown for a host; always the same list object while the tables do not change."""
        found = [
            known[2][host] for table in tables if (known := self._known.get(id(table))) and host in known[2]
        ]
        if len(found) <= 1:
            return found[0] if found else []
        texts = [text for texts in found for text in texts if isinstance(text, str)]
        more = sum(number for texts in found for number in texts if isinstance(number, int))
        more += max(0, len(texts) - SHOWN)
        return [*texts[:SHOWN], *([more] if more else [])]


def _read(table: RouteTable) -> Texts:
    if len(table) > MOST_ROUTES:
        return {}
    found: Texts = {}
    counts: dict[str, int] = {}
    step = Breaths()
    try:
        for trie in (table.tries.four, table.tries.six):
            for number, (prefix, length, group) in enumerate(trie.unordered()):
                for name in group.names:
                    count = counts[name] = counts.get(name, 0) + 1
                    if count <= SHOWN:
                        found.setdefault(name, []).append(prefixes.text(prefix, length))
                if not number % _STEP:
                    step()
    except RuntimeError:  # it has changed meanwhile: its next look reads it again
        pass
    for name, count in counts.items():
        found[name].sort(key=str)
        if count > SHOWN:
            found[name].append(count - SHOWN)
    return found
