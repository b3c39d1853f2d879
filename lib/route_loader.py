"""Filling a routing table from its sources, a million rows without a pause, and again by the difference.

Knows: what of a new text is different from the last one, and what that changes in the table.
Refuses to know: where texts come from and when (source_read, hub_tables).

Everything is generators, each step some milliseconds long: whoever runs them lets others run between
two steps. A step works on a copy that nobody routes by yet; one assignment at the end swaps it in, so a
packet sees the table before or after, never between. A generator that is dropped midway has done nothing.

Python's cyclic garbage collector would walk a growing table again and again, for seconds: run a big load
with gc.disable(), and gc.freeze() when it is there.

    new text --- first one, or much has changed: read every row into empty tries
             --- else: which lines are new or gone? read those alone, change a copy
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass

from lib.errors import Problem
from lib.prefixes import Prefix
from lib.route_first_match import painted
from lib.route_parse import BadLine, RouteLines, pieces
from lib.route_table import Group, RouteTable, Row, Tries, no_tries
from lib.settings import Hop, RouteEntry
from lib.source_bad_lines import MAX_TOLD, BadLines
from lib.source_diff import difference

STEP = 400
"""Rows, or prefixes, that a step goes through."""


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What a load changed, in prefixes; total is what the table holds now."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    total: int = 0
    warnings: tuple[Problem, ...] = ()


Steps = Generator[None, None, LoadReport]


class RouteLoader:
    """Fills one table. One load at a time."""

    def __init__(self, table: RouteTable) -> None:
        self._table = table
        self._inline: tuple[RouteEntry, ...] = ()
        self._texts: dict[int, tuple[str, bytes]] = {}
        """rank -> name and last text of a source."""

    def inline(self, entries: Iterable[RouteEntry], first_match: bool = False) -> Steps:
        """Let these be the inline rows; with first_match in GOST's order from now on, sources included."""
        entries = tuple(entries)
        same_order = first_match == self._table.first_match
        if entries == self._inline and same_order:
            return LoadReport(total=len(self._table))
        report = yield from self._afresh(entries, self._texts, first_match)
        self._inline = entries
        return report

    def source(self, rank: int, text: bytes, name: str) -> Steps:
        """Let these be the rows of the source of that rank (1, 2, …); `name` is what warnings call it."""
        last = self._texts.get(rank, ("", b""))[1]
        if text == last:
            self._texts[rank] = name, text
            return LoadReport(total=len(self._table))
        texts = self._texts | {rank: (name, text)}
        report = None
        if last and not self._table.first_match:
            report = yield from self._difference(rank, last, text, name)
        if report is None:
            report = yield from self._afresh(self._inline, texts, self._table.first_match)
        self._texts = texts
        return report

    # --- everything

    def _afresh(
        self, entries: tuple[RouteEntry, ...], texts: dict[int, tuple[str, bytes]], first_match: bool
    ) -> Steps:
        """Fill empty tries with all rows there are."""
        table, tries = self._table, no_tries()
        bad = BadLines()
        first: dict[Prefix, int] = {}
        for number, (rank, entry) in enumerate(_all_rows(entries, texts, bad), 1):
            if entry is not None:
                table.add_row(tries, entry, rank)
                if first_match:
                    first.setdefault((entry.prefix, entry.length), len(first))
            if number % STEP == 0:
                yield
        if first_match:
            tries = yield from painted(tries, first)
        counts = yield from _compared(table.tries, tries)
        table.first_match = first_match
        yield from _freed(table.swap(tries))
        return LoadReport(*counts, len(table), bad.problems())

    # --- the difference

    def _difference(
        self, rank: int, old: bytes, new: bytes, name: str
    ) -> Generator[None, None, LoadReport | None]:
        """Change what other lines of one source change; None where it is simpler to begin afresh."""
        found = yield from difference(old, new, max(len(self._table) // 2, MAX_TOLD))
        if found is None:
            return None
        gone, come = found
        bad = BadLines()
        changes = yield from self._changes(rank, new, gone, come, name, bad)
        tries = yield from _copied(self._table.tries)
        added = changed = removed = 0
        for number, (prefix, hops) in enumerate(changes.items()):
            before, after = self._put(tries, rank, prefix, hops)
            added += before is None and after is not None
            removed += before is not None and after is None
            changed += None not in (before, after) and _differ(before, after)
            if number % STEP == 0:
                yield
        yield from _freed(self._table.swap(tries))
        return LoadReport(added, changed, removed, len(self._table), bad.problems())

    def _changes(
        self, rank: int, new: bytes, gone: list[bytes], come: list[bytes], name: str, bad: BadLines
    ) -> Generator[None, None, dict[Prefix, list[Hop]]]:
        """Every prefix that a line gone or come names, with all hops this source has for it now."""
        lines = RouteLines()
        losses: dict[Prefix, int] = {}
        changes: dict[Prefix, list[Hop]] = {}
        for number, line in enumerate(gone):
            entry = _read(lines, line)
            if isinstance(entry, RouteEntry):
                prefix = entry.prefix, entry.length
                losses[prefix] = losses.get(prefix, 0) + 1
                changes[prefix] = []
            if number % STEP == 0:
                yield
        wrong: dict[bytes, str] = {}
        for number, line in enumerate(come):
            entry = _read(lines, line)
            if isinstance(entry, RouteEntry):
                changes.setdefault((entry.prefix, entry.length), []).append(entry.hop)
            elif entry:
                wrong[line] = entry
            if number % STEP == 0:
                yield
        # of a prefix some of whose rows stay nobody knows yet where among them the new ones stand
        unclear = {prefix for prefix in changes if self._has(rank, prefix) != losses.get(prefix, 0)}
        if unclear or wrong:
            yield from _ordered(lines, new, unclear, changes, wrong, name, bad)
        return changes

    def _has(self, rank: int, prefix: Prefix) -> int:
        """How many rows a source has for a prefix."""
        group = self._table.tries.of(prefix[0]).get(*prefix)
        return sum(row[0] == rank for row in group.rows) if group else 0

    def _put(
        self, tries: Tries, rank: int, prefix: Prefix, hops: list[Hop]
    ) -> tuple[Group | None, Group | None]:
        """Let a source have just these hops for a prefix; returns the groups before and after."""
        trie = tries.of(prefix[0])
        before = trie.get(*prefix)
        others = before.rows if before else ()
        rows: tuple[Row, ...] = (
            *(row for row in others if row[0] < rank),
            *((rank, hop) for hop in hops),
            *(row for row in others if row[0] > rank),
        )
        if not rows:
            if before:
                trie.delete(*prefix)
            return before, None
        after = self._table.group_of(rows)
        trie.insert(*prefix, after)
        return before, after


def _read(lines: RouteLines, line: bytes) -> RouteEntry | str | None:
    """The route in a line, what is wrong with it, or None where there is nothing."""
    try:
        return lines.read(line)
    except BadLine as wrong:
        return str(wrong)


def _all_rows(
    entries: Iterable[RouteEntry], texts: dict[int, tuple[str, bytes]], bad: BadLines
) -> Iterator[tuple[int, RouteEntry | None]]:
    """(rank, row) of everything in the order written; None for a line that holds no route."""
    for entry in entries:
        yield 0, entry
    lines = RouteLines()
    for rank, (name, text) in sorted(texts.items()):
        number = 0
        for piece in pieces(text):
            for line in piece:
                number += 1
                try:
                    yield rank, lines.read(line)
                except BadLine as wrong:
                    bad.add(name, number, wrong)
                    yield rank, None


def _ordered(
    lines: RouteLines,
    text: bytes,
    unclear: set[Prefix],
    changes: dict[Prefix, list[Hop]],
    wrong: dict[bytes, str],
    name: str,
    bad: BadLines,
) -> Generator[None, None, None]:
    """Go through a whole text for the hops of some prefixes in their order, and the places of bad lines."""
    for prefix in unclear:
        changes[prefix] = []
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
    """How many prefixes are added, changed, removed from the one to the other."""
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
