"""Order of the rows of `status`, and its first ones, for who wants only some of thousands.

Knows: which orders there are, how the first rows are chosen without a sort of all of them, what is summed up.
Refuses to know: where rows come from (ctl_status, worker_replies), how they are shown (cli_show, cli_top).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from lib import cli_columns
from lib.cli_table import Column
from lib.did_you_mean import did_you_mean

MAX_MOST = 1000
"""Rows that can be asked for in an order: to sort twice as many takes half a millisecond."""
SUMS = ("received_bytes_per_s", "received_packets_per_s", "sent_bytes_per_s", "sent_packets_per_s")
_COLUMNS = {column.title: column for column in cli_columns.SESSIONS}

Row = Mapping[str, Any]
T = TypeVar("T")


def column(title: str) -> Column:
    """The column of sessions that has a title. Raises ValueError, with what was probably meant."""
    if title not in _COLUMNS:
        hint = did_you_mean(title, _COLUMNS) or f"there is {', '.join(_COLUMNS)}"
        raise ValueError(f"no column {title[:32]!r}; {hint}")
    return _COLUMNS[title]


def worst_first(row: Row) -> tuple[bool, float]:
    """The key of the usual order: rows with problems, then those with most traffic."""
    return not row.get("problems"), -row["received_bytes_per_s"] - row["sent_bytes_per_s"]


@dataclass(frozen=True, slots=True)
class Order:
    """How many rows are wanted at most, and which ones."""

    most: int
    sort: str = ""
    """The title of a column of sessions; empty for `worst_first`."""
    reverse: bool = False

    @property
    def key(self) -> Callable[[Row], Any]:
        """The sort key of a row."""
        return column(self.sort).key if self.sort else worst_first

    def first(self, rows: Iterable[T], row_of: Callable[[T], Row]) -> list[T]:
        """The first ones of any number of rows, in the order; equal ones stay as they come.

        `row_of` is called once for each. To sort what was kept so far is the longest step.
        """
        key, kept = self.key, list[tuple[Any, T]]()
        for one in rows:
            kept.append((key(row_of(one)), one))
            if len(kept) > 2 * self.most:
                self._cut(kept)
        self._cut(kept)
        return [one for _, one in kept]

    def _cut(self, kept: list[tuple[Any, T]]) -> None:
        kept.sort(key=lambda pair: pair[0], reverse=self.reverse)
        del kept[self.most :]


def read(request: Mapping[str, Any]) -> Order | None:
    """The order in a request's "most", "sort" and "reverse"; None for all rows. Raises ValueError."""
    most, sort, reverse = request.get("most"), request.get("sort", ""), request.get("reverse", False)
    if most is None:
        if sort or reverse:
            raise ValueError("sort and reverse are of no use without most: all rows come as they are")
        return None
    if type(most) is not int or not 1 <= most <= MAX_MOST:
        raise ValueError(f"most is how many rows are wanted, from 1 to {MAX_MOST}")
    if not isinstance(sort, str) or not isinstance(reverse, bool):
        raise ValueError("sort is the title of a column, reverse is true or false")
    if sort:
        column(sort)
    return Order(most, sort, reverse)


@dataclass(slots=True)
class Totals:
    """What is said of all rows, where only the first ones are listed."""

    sessions: int = 0
    clients: int = 0
    with_problems: int = 0
    problems: dict[str, int] = field(default_factory=dict)
    """Code -> rows that have it."""
    sums: dict[str, float] = field(default_factory=lambda: dict.fromkeys(SUMS, 0.0))

    def add(self, row: Row) -> None:
        """Count a row of a session, or of a client of this process: only the latter has a device."""
        if "device" in row:
            self.clients += 1
        else:
            self.sessions += 1
        for name in SUMS:
            self.sums[name] += row[name]
        if found := row.get("problems"):
            self.with_problems += 1
            for code in found:
                self.problems[code] = self.problems.get(code, 0) + 1

    def row(self) -> dict[str, Any]:
        """As it stands in a reply."""
        counts = {
            "sessions": self.sessions,
            "clients": self.clients,
            "with_problems": self.with_problems,
            "problems": self.problems,
        }
        return {**counts, **{name: round(value, 1) for name, value in self.sums.items()}}


def totals(reply: Row) -> dict[str, Any]:
    """The totals of a `status`: those that it has, or those of its rows, where it has all."""
    if "totals" in reply:
        return dict(reply["totals"])
    found = Totals()
    for row in (*reply["sessions"], *reply["clients"]):
        found.add(row)
    return found.row()


def summed(rows: Iterable[Row]) -> dict[str, Any]:
    """The totals of several replies as those of one."""
    found = Totals()
    for row in rows:
        found.sessions += row["sessions"]
        found.clients += row["clients"]
        found.with_problems += row["with_problems"]
        for code, count in row["problems"].items():
            found.problems[code] = found.problems.get(code, 0) + count
        for name in SUMS:
            found.sums[name] += row[name]
    return found.row()
