"""The list of hosts as one scope of pages sees it: a whole, then differences, each made once for all pages.

Knows: what differs between two lists, how many differences are kept, what a tenant's list leaves out.
Refuses to know: what a row holds (api_hosts), who reads (api_live), clocks.

    advance()  ->  seq 18: {"rows": [[id, column, value, …], …], "new": [row, …], "gone": [id, …], …}
    whole()    ->  seq 18: {"columns": […], "rows": [row, …], …}
"""

from __future__ import annotations

import heapq
import json
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lib.api_hosts import AWAY, COLUMNS, DROPS_S, ID, IN, MAX_HOSTS, NS, OUT, PROBLEMS, STATE, Row, two

TICK_SECONDS = 2
KEPT = 32
"""Differences that are kept for pages that come back."""
Titles = Callable[[str], str]
"""UUID of a namespace -> its title, or ""."""


def difference(before: Mapping[int, Row], after: Mapping[int, Row]) -> dict[str, list[Any]]:
    """What has to be said to whoever knows `before`: changed cells, rows that are new, ids that are gone."""
    changed: list[list[Any]] = []
    new: list[Row] = []
    for key, row in after.items():
        known = before.get(key)
        if known is None:
            new.append(row)
        elif known != row:
            cells: list[Any] = [key]
            for column, value in enumerate(row):
                if known[column] != value:
                    cells += (column, value)
            changed.append(cells)
    return {"rows": changed, "new": new, "gone": [key for key in before if key not in after]}


def totals(rows: Iterable[Row]) -> dict[str, float]:
    """How many hosts are connected and away, and the sums of their rates."""
    count = away = 0
    received = sent = drops = 0.0
    for row in rows:
        count += 1
        away += row[STATE] == AWAY
        received += row[IN]
        sent += row[OUT]
        drops += row[DROPS_S]
    return {"up": count - away, "away": away, "in": two(received), "out": two(sent), "drops_s": two(drops)}


class Board:
    """The list of hosts of one scope: of all namespaces, or of one."""

    def __init__(self, ns: str, titles: Titles, seq: int = 0) -> None:
        """`ns` is the UUID of its only namespace, or "" for all; its first list has number `seq` + 1."""
        self.seq = self._first = seq
        self.looked_at = float("-inf")
        """The look that the present list is of, by a steady clock; whoever advances it sets it."""
        self.used_at = 0.0
        """When somebody has asked for it last, by a steady clock; whoever asks sets it."""
        self._ns, self._titles = ns, titles
        self._rows: dict[int, Row] = {}
        self._totals: dict[str, float] = {}
        self._namespaces: dict[str, dict[str, Any]] = {}
        self._more = 0
        self._differences: deque[tuple[int, bytes]] = deque(maxlen=KEPT)
        self._whole: bytes | None = None

    def advance(self, rows: Iterable[Row], left_out: int, wall: float) -> bytes:
        """Take the rows of all hosts, in the order of COLUMNS; returns the event with what differs."""
        ns = self._ns
        mine = [row for row in rows if row[NS] == ns] if ns else list(rows)
        namespaces = {
            name: {"title": self._titles(name), "hosts": count}
            for name, count in sorted(Counter(row[NS] for row in mine).items())
        }
        self._more = 0 if ns else left_out
        if len(mine) > MAX_HOSTS:
            self._more += len(mine) - MAX_HOSTS
            mine = heapq.nlargest(MAX_HOSTS, mine, key=_weight)
        after = {row[ID]: row for row in mine}
        said: dict[str, Any] = {"seq": self.seq + 1, "now": round(wall, 1), **difference(self._rows, after)}
        said["totals"] = self._totals = totals(mine)
        if namespaces != self._namespaces:
            said["namespaces"] = namespaces
        self.seq, self._rows, self._namespaces, self._whole = self.seq + 1, after, namespaces, None
        event = b"id: %d\nevent: hosts\ndata: %s\n\n" % (self.seq, _json(said))
        self._differences.append((self.seq, event))
        return event

    def whole(self, wall: float) -> bytes:
        """The list as JSON, the same bytes for all who ask until the next advance()."""
        if self._whole is None:
            self._whole = _json(
                {
                    "seq": self.seq,
                    "now": round(wall, 1),
                    "tick_s": TICK_SECONDS,
                    "columns": COLUMNS,
                    "rows": list(self._rows.values()),
                    "namespaces": self._namespaces,
                    "totals": self._totals,
                    "more": self._more,
                }
            )
        return self._whole

    def since(self, seq: int) -> list[bytes] | None:
        """The events after `seq`; None where that is too long ago, or never was."""
        found = [event for number, event in self._differences if number > seq]
        return found if self._first < seq <= self.seq and len(found) == self.seq - seq else None


def _weight(row: Row) -> tuple[bool, float]:
    return bool(row[PROBLEMS]), row[IN] + row[OUT]


def _json(value: Any) -> bytes:
    """JSON in ASCII, in which no browser finds markup whatever a host is called."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c").encode()
