"""One view of a cluster, made of what one hub knows of each: a row for each hub, and their sums.

Knows: which hubs count, what is wrong with one, how figures of several are added up.
Refuses to know: where figures come from (ctl_cluster), how they are shown (cli_columns, metrics, the page).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

Row = dict[str, Any]

GOOD, GONE, BEHIND, UNREACHABLE, ALONE = "good", "gone", "behind", "unreachable", "no registry"
STATES = {
    GOOD: "",
    GONE: "its lease has ended: its hosts are gone",
    BEHIND: "its list is read again",
    UNREACHABLE: "no link with it can be made",
    ALONE: "the registry is away: what is known goes on",
}
"""The states of a hub, and what each means."""
SUMMED = ("hosts", "sessions")
"""The figures of a row that are added up."""


def state(live: bool, behind: bool, error: str, here: bool = False) -> str:
    """The state of a hub: `error` is why it, or from this hub (`here`) the registry, cannot be reached."""
    if here:
        return ALONE if error else GOOD
    if not live:
        return GONE
    if error:
        return UNREACHABLE
    return BEHIND if behind else GOOD


def summed(rows: Iterable[Mapping[str, Any]], names: Iterable[str]) -> dict[str, int]:
    """The sums of these figures of all rows; what a row does not have counts as 0."""
    total = dict.fromkeys(names, 0)
    for row in rows:
        for name in total:
            total[name] += row.get(name) or 0
    return total


def counted(rows: Iterable[Mapping[str, Any]], name: str) -> dict[str, int]:
    """How many rows have each value of a field, the most frequent first; none for those that are empty."""
    found = Counter(str(row[name]) for row in rows if row.get(name))
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def view(here: Row, others: Iterable[Row]) -> Row:
    """All hubs of a cluster, this one first and then by name, and their totals.

    A hub that is gone counts as one, and its hosts do not. A host with sessions at two hubs counts at each.
    """
    rows = [here, *sorted(others, key=lambda row: str(row["name"]))]
    live = [row for row in rows if row["live"]]
    total: Row = {
        "hubs": len(rows),
        "live": len(live),
        "problems": sum(row["state"] != GOOD for row in rows),
        **summed(live, SUMMED),
        "software": counted(live, "software"),
    }
    return {"hubs": rows, "total": total}
