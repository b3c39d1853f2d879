"""Loads a routing table from the texts of its sources: a million rows in short steps, later only changes.

Knows: which lines of a new text differ from the last one, and what that changes in the table.
Refuses to know: where texts come from and when (source_read, hub_tables).

Loads are generators. Each step takes some milliseconds, and the caller lets other greenlets run between two
steps. A load fills tries that no packet is routed by yet, and one assignment at the end swaps them in. So a
packet is routed by the old table or the new one, never by something in between, and a generator that is
dropped midway has changed nothing.

Python's cyclic garbage collector would walk a growing table again and again, for seconds: call gc.disable()
before a big load, and gc.freeze() after it.

    new text --- the first one, or much has changed: read every row into empty tries
             --- else: find the lines that came or went, read only those, change a copy of the tries
    leases   --- rows without a text, of hosts that have an address from a pool: change a copy of the tries
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

from lib import source_text
from lib.errors import Problem
from lib.humanize import counted
from lib.prefixes import Prefix
from lib.route_first_match import painted
from lib.route_parse import BadLine, RouteLines, all_rows, pieces
from lib.route_table import LEASED, MAX_ROWS, Group, RouteTable, Row, Tries, emptied, no_tries
from lib.settings import Hop, RouteEntry
from lib.source_bad_lines import MAX_REPORTED, BadLines
from lib.source_diff import difference
from lib.source_text import NoTable

STEP, AT_ONCE = 400, 10_000
"""Rows, or prefixes, that a step goes through, and routes that it compares with others."""
ROWS_OF_GROUP = 2
"""Rows of a prefix that cost as much as a row more: all of them are put in order again with each one."""


@dataclass(frozen=True, slots=True)
class LoadReport:
    """How many prefixes a load added, changed and removed; `total` is how many the table holds now."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    total: int = 0
    warnings: tuple[Problem, ...] = ()


Steps = Generator[None, None, LoadReport]


class RouteLoader:
    """Loads the rows of one table: inline ones and those of its sources. Only one load may run at a time."""

    def __init__(self, table: RouteTable) -> None:
        self._table = table
        self._inline: tuple[RouteEntry, ...] = ()
        self._texts: dict[int, tuple[str, bytes]] = {}
        """Rank of a source -> (its name, its last text)."""
        self._filled: set[int] = set()
        """Ranks of sources whose last text had a row."""
        self._leases: dict[Prefix, Hop] = {}

    def inline(self, entries: Iterable[RouteEntry], first_match: bool = False) -> Steps:
        """Load these as the inline rows. `first_match`: GOST's order from now on, for sources too."""
        entries = tuple(entries)
        same_order = first_match == self._table.first_match
        if same_order:
            are_equal = yield from _equal(entries, self._inline)
            if are_equal:
                self._inline = entries
                return LoadReport(total=len(self._table))
        report = yield from self._afresh(entries, self._texts, first_match)
        self._inline = entries
        return report

    def source(self, rank: int, text: bytes, name: str) -> Steps:
        """Load this text as the rows of the source of that rank (1, 2, …); `name` is its name in warnings.

        Raises NoTable, and changes nothing, for a text that cannot be read, and for one without a row where
        the last one had some, unless it says that this is meant.
        """
        last = self._texts.get(rank, ("", b""))[1]
        if text == last:
            self._texts[rank] = name, text
            return LoadReport(total=len(self._table))
        filled = yield from self._has_rows(rank, text)
        texts = self._texts | {rank: (name, text)}
        report = None
        if last and not self._table.first_match:
            report = yield from self._difference(rank, last, text, name)
        if report is None:
            report = yield from self._afresh(self._inline, texts, self._table.first_match)
        self._texts = texts
        self._filled = self._filled | {rank} if filled else self._filled - {rank}
        return report

    @property
    def texts(self) -> dict[int, tuple[str, bytes]]:
        """Rank of a source (1, 2, …) -> its name and its last good text; only of those that have one."""
        return dict(self._texts)

    @property
    def leased(self) -> dict[Prefix, Hop]:
        """The leases of the pool that are routed, by their address as a prefix."""
        return {} if self._table.first_match else dict(self._leases)

    def leases(self, leases: dict[Prefix, Hop]) -> Steps:
        """Load these as the leases of a pool, in place of those before; a table in GOST's order has none."""
        before, self._leases = self._leases, dict(leases)
        changes: dict[Prefix, list[Hop]] = {prefix: [] for prefix in before.keys() - leases.keys()}
        for number, (prefix, hop) in enumerate(self._leases.items()):
            if before.get(prefix) != hop:
                changes[prefix] = [hop]
            if not number % AT_ONCE:
                yield
        if not changes or self._table.first_match:
            return LoadReport(total=len(self._table))
        counts = yield from self._put_all(LEASED, changes)
        return LoadReport(*counts, len(self._table))

    def forget(self, rank: int) -> Steps:
        """Remove the rows of the source of that rank, which is there no more."""
        texts = {other: text for other, text in self._texts.items() if other != rank}
        report = yield from self._afresh(self._inline, texts, self._table.first_match)
        self._texts = texts
        self._filled = self._filled - {rank}
        return report

    def _has_rows(self, rank: int, text: bytes) -> Generator[None, None, bool]:
        """Whether a new text of a source has a row. Raises NoTable as source() does."""
        lines = RouteLines()
        number, bad_line = 0, ""
        for piece in pieces(text):
            for line in piece:
                number += 1
                entry = _read(lines, line)
                if isinstance(entry, RouteEntry):
                    return True  # nearly always the first line
                bad_line = bad_line or (f"line {number}: {entry}" if entry else "")
            yield
        wrong = source_text.without_rows(text, bad_line)
        if not wrong and rank in self._filled and not source_text.is_marked_empty(text):
            wrong = (
                f"it has no rows any more (one that is meant to be empty has the line {source_text.EMPTY!r})"
            )
        if wrong:
            raise NoTable(wrong)
        return False

    # --- everything

    def _afresh(
        self, entries: tuple[RouteEntry, ...], texts: dict[int, tuple[str, bytes]], first_match: bool
    ) -> Steps:
        """Read all rows, inline and of all sources, into empty tries, and swap them in."""
        table, tries = self._table, no_tries()
        bad = BadLines()
        first: dict[Prefix, int] = {}
        left_out: dict[int, int] = {}
        work = 0
        leases = {} if first_match else self._leases
        for rank, entry in chain(all_rows(entries, texts, bad), leased_rows(leases)):
            work += 1
            if entry is not None:
                count = table.add_row(tries, entry, rank)
                work += count // ROWS_OF_GROUP
                if not count and rank in texts:
                    left_out[rank] = left_out.get(rank, 0) + 1
                if first_match:
                    first.setdefault((entry.prefix, entry.length), len(first))
            if work >= STEP:
                work = 0
                yield
        for rank, count in left_out.items():
            bad.note(texts[rank][0], f"{counted(count, 'row')} left out: a prefix may have {MAX_ROWS}")
        if first_match:
            tries = yield from painted(tries, first)
        counts = yield from _compared(table.tries, tries)
        table.first_match = first_match
        yield from _freed(table.swap(tries))
        yield from emptied(first)
        return LoadReport(*counts, len(table), bad.problems())

    # --- the difference

    def _difference(
        self, rank: int, old: bytes, new: bytes, name: str
    ) -> Generator[None, None, LoadReport | None]:
        """Load only the lines of one source that changed; None where it is quicker to load everything."""
        # With changes to more than half of the routes, a load of everything is as quick, and simpler.
        found = yield from difference(old, new, max(len(self._table) // 2, MAX_REPORTED))
        if found is None:
            return None
        gone, come = found
        bad = BadLines()
        changes = yield from self._changes(rank, new, gone, come, name, bad)
        full = yield from _chosen(changes, self._is_full)
        counts = None
        if not full:  # else rows that were left out may count now
            counts = yield from self._put_all(rank, changes)
        yield from emptied(gone, come, changes)
        return LoadReport(*counts, len(self._table), bad.problems()) if counts is not None else None

    def _put_all(
        self, rank: int, changes: dict[Prefix, list[Hop]]
    ) -> Generator[None, None, tuple[int, int, int]]:
        """Put changes into a copy of the tries, and swap it in; returns (added, changed, removed)."""
        tries = yield from _copied(self._table.tries)
        added = changed = removed = work = 0
        for prefix, hops in changes.items():
            before, after = self._put(tries, rank, prefix, hops)
            work += 1 + (len(after.rows) // ROWS_OF_GROUP if after else 0)
            added += before is None and after is not None
            removed += before is not None and after is None
            changed += None not in (before, after) and _differ(before, after)
            if work >= STEP:
                work = 0
                yield
        yield from _freed(self._table.swap(tries))
        return added, changed, removed

    def _changes(
        self, rank: int, new: bytes, gone: list[bytes], come: list[bytes], name: str, bad: BadLines
    ) -> Generator[None, None, dict[Prefix, list[Hop]]]:
        """Every prefix named by a line that went or came -> all hops that this source has for it now.

        An empty list means that the source has no row for the prefix any more.
        """
        lines = RouteLines()
        losses: dict[Prefix, int] = {}
        changes: dict[Prefix, list[Hop]] = {}
        # Lines that went: count how many rows each prefix loses, so that we can tell whether any stay.
        for number, line in enumerate(gone):
            entry = _read(lines, line)
            if isinstance(entry, RouteEntry):
                prefix = entry.prefix, entry.length
                losses[prefix] = losses.get(prefix, 0) + 1
                changes[prefix] = []
            if number % STEP == 0:
                yield
        wrong: dict[bytes, str] = {}
        lines.widened, lines.first_widened = 0, ""  # those of lines that went
        for number, line in enumerate(come):
            entry = _read(lines, line)
            if isinstance(entry, RouteEntry):
                changes.setdefault((entry.prefix, entry.length), []).append(entry.hop)
            elif entry:
                wrong[line] = entry
            if number % STEP == 0:
                yield
        # A prefix with rows that stay is unclear: a row that came may stand before or after those, and the
        # order decides which gateway is preferred. For these, and for the line numbers of bad lines, the
        # whole text has to be read after all. Usually there are none: most prefixes have one row.
        is_unclear = lambda prefix: self._has(rank, prefix) != losses.get(prefix, 0)  # noqa: E731
        unclear = yield from _chosen(changes, is_unclear)
        yield from emptied(losses)
        bad.note_widened(name, lines.widened, lines.first_widened)
        if unclear or wrong:
            yield from _ordered(lines, new, unclear, changes, wrong, name, bad)
        yield from emptied(unclear, wrong)
        return changes

    def _has(self, rank: int, prefix: Prefix) -> int:
        """How many rows a source has for a prefix in the table in use."""
        group = self._table.tries.of(prefix[0]).get(*prefix)
        return sum(row[0] == rank for row in group.rows) if group else 0

    def _is_full(self, prefix: Prefix) -> bool:
        group = self._table.tries.of(prefix[0]).get(*prefix)
        return group is not None and len(group.rows) >= MAX_ROWS

    def _put(
        self, tries: Tries, rank: int, prefix: Prefix, hops: list[Hop]
    ) -> tuple[Group | None, Group | None]:
        """Replace a source's hops for a prefix by these; returns the prefix's groups (before, after)."""
        trie = tries.of(prefix[0])
        before = trie.get(*prefix)
        others = before.rows if before else ()
        # Rows are in the order of their sources, so this one's go between those of lower and higher ranks.
        rows: tuple[Row, ...] = (
            *(row for row in others if row[0] < rank),
            *((rank, hop) for hop in hops),
            *(row for row in others if row[0] > rank),
        )
        if not rows:
            if before:
                trie.delete(*prefix)
            return before, None
        after = self._table.group_of(rows[:MAX_ROWS])
        trie.insert(*prefix, after)
        return before, after


def _chosen(
    prefixes: Iterable[Prefix], is_one: Callable[[Prefix], bool]
) -> Generator[None, None, set[Prefix]]:
    """Those prefixes of which something is true."""
    found: set[Prefix] = set()
    for number, prefix in enumerate(prefixes):
        if is_one(prefix):
            found.add(prefix)
        if number % STEP == 0:
            yield
    return found


def _equal(some: tuple[RouteEntry, ...], others: tuple[RouteEntry, ...]) -> Generator[None, None, bool]:
    """Whether the same routes are in both, in the same order."""
    if some is others or len(some) != len(others):
        return some is others
    for start in range(0, len(some), AT_ONCE):
        if some[start : start + AT_ONCE] != others[start : start + AT_ONCE]:
            return False
        yield
    return True


def _read(lines: RouteLines, line: bytes) -> RouteEntry | str | None:
    """The route in a line, what is wrong with it, or None where there is nothing."""
    try:
        return lines.read(line)
    except BadLine as wrong:
        return str(wrong)


def leased_rows(leases: Mapping[Prefix, Hop]) -> Iterator[tuple[int, RouteEntry | None]]:
    """(rank, row) of the leases of a pool, which come after all other rows."""
    for prefix, hop in leases.items():
        yield LEASED, RouteEntry(*prefix, hop)


def _ordered(
    lines: RouteLines,
    text: bytes,
    unclear: set[Prefix],
    changes: dict[Prefix, list[Hop]],
    wrong: dict[bytes, str],
    name: str,
    bad: BadLines,
) -> Generator[None, None, None]:
    """Read a whole text: put the hops of unclear prefixes into `changes` in their order, warn of bad lines.

    `bad` says why a line, as text, is bad.
    """
    for prefix in unclear:
        changes[prefix] = []  # all of the prefix's rows are met again below, also those that came
    number = 0
    for piece in pieces(text):
        for line in piece:
            number += 1
            if line in wrong:
                bad.add(name, number, wrong[line])
            elif unclear:
                entry = _read(lines, line)
                if isinstance(entry, RouteEntry) and (entry.prefix, entry.length) in unclear:
                    changes[entry.prefix, entry.length].append(entry.hop)
        yield


def _copied(tries: Tries) -> Generator[None, None, Tries]:
    four = yield from tries.four.copying()
    six = yield from tries.six.copying()
    return Tries(four, six)


def _freed(tries: Tries) -> Generator[None, None, None]:
    yield from tries.four.freeing()
    yield from tries.six.freeing()


def _compared(old: Tries, new: Tries) -> Generator[None, None, tuple[int, int, int]]:
    """How many prefixes were (added, changed, removed) from the old tries to the new ones."""
    if not len(old):
        return len(new), 0, 0
    added = changed = number = 0
    for before, after in ((old.four, new.four), (old.six, new.six)):
        for prefix, length, group in after.unordered():
            known = before.get(prefix, length)
            added += known is None
            changed += known is not None and _differ(known, group)
            number += 1
            if number % STEP == 0:
                yield
    return added, changed, len(old) - (len(new) - added)


def _differ(one: Group | None, other: Group | None) -> bool:
    assert one is not None
    assert other is not None
    return one is not other and (one.tiers, one.fall_through) != (other.tiers, other.fall_through)
