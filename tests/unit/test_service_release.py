"""What a change has replaced goes row by row, and whoever has it still, has it whole."""

from __future__ import annotations

import weakref
from collections import deque
from dataclasses import dataclass
from typing import Any

import pytest

from lib import service_release
from lib.config_schema import Config, Router
from lib.route_trie import Trie


class Row:
    """A row that can be watched."""


@dataclass(frozen=True)
class Table:
    name: str
    rows: tuple[object, ...]


def going(made: list[Any], rows: list[Any]) -> list[int]:
    """How many of these rows go in each step."""
    gone: list[None] = []
    for row in rows:
        weakref.finalize(row, gone.append, None)
    rows.clear()
    del row
    counts: list[int] = []

    def step() -> None:
        counts.append(len(gone))
        gone.clear()

    service_release.let_go(made, step)
    return [count for count in counts if count]


def settings() -> tuple[list[Any], list[Any]]:
    rows = [Row() for _ in range(50)]
    return [Table("t", tuple(rows)), Table("u", ())], rows


def sections() -> tuple[list[Any], list[Any]]:
    rows = [Router(name=str(number)) for number in range(50)]
    return [Config(routers=list(rows))], list(rows)


def lists() -> tuple[list[Any], list[Any]]:
    """In containers of every kind, one in the other."""
    rows = [Row() for _ in range(100)]
    whole = {
        "a": tuple(rows[:20]),
        "b": [rows[20:40]],
        "c": {"d": frozenset(rows[40:60])},
        "e": deque(rows[60:80]),
    }
    return [whole, (rows[80:90], {rows[90]: rows[91:]})], rows


def shared() -> tuple[list[Any], list[Any]]:
    """A table that a thousand others have."""
    rows = [Row() for _ in range(50)]
    one = Table("t", tuple(rows))
    return [tuple(Table(str(number), (one,)) for number in range(1000)), [one]], rows


def closures() -> tuple[list[Any], list[Any]]:
    """What a function has that nobody will call any more."""
    rows = [Row() for _ in range(50)]
    kept = tuple(rows)
    return [lambda: kept], rows


@pytest.mark.parametrize("make", [settings, sections, lists, shared, closures])
def test_one_row_goes_at_a_time(make: Any) -> None:
    made, rows = make()
    expected = [1] * len(rows)
    assert going(made, rows) == expected


@pytest.mark.parametrize("make", [settings, sections])
def test_whoever_has_it_has_it_whole(make: Any) -> None:
    made, rows = make()
    kept = list(made)
    del rows
    service_release.let_go(made, lambda: None)
    found = kept[0].rows if isinstance(kept[0], Table) else kept[0].routers
    assert len(found) == 50


def test_a_trie_goes_in_its_own_steps() -> None:
    trie: Trie[Row] = Trie(4)
    rows = [Row() for _ in range(3000)]
    for number, row in enumerate(rows):
        trie.insert(number.to_bytes(4, "big"), 32, row)
    used = Trie[Row](4)
    used.insert(bytes(4), 32, rows[0])
    made: list[Any] = [trie, used]
    del trie, row, rows[0]
    counts = going(made, rows)
    assert max(counts) < 400
    assert sum(counts) == 2999
    assert len(used) == 1, "somebody has it still"


def test_what_somebody_uses_is_not_gone_through() -> None:
    """A change of one service does not cost what a router of a million routes has that stays."""
    stays = Table("t", tuple(Row() for _ in range(10_000)))
    made: list[Any] = [Table("u", (stays,))]
    steps: list[None] = []
    service_release.let_go(made, lambda: steps.append(None))
    assert len(steps) < 20
    assert len(stays.rows) == 10_000
