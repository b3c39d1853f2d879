"""What a change has replaced goes row by row, and whoever has it still, has it whole."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import pytest

from lib import service_release
from lib.config_schema import Config, Router


class Row:
    """A row that can be watched."""


@dataclass(frozen=True)
class Table:
    name: str
    rows: tuple[Row, ...]


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


@pytest.mark.parametrize("make", [settings, sections])
def test_one_row_goes_at_a_time(make: Any) -> None:
    made, rows = make()
    assert going(made, rows) == [1] * 50


@pytest.mark.parametrize("make", [settings, sections])
def test_whoever_has_it_has_it_whole(make: Any) -> None:
    made, rows = make()
    kept = list(made)
    del rows
    service_release.let_go(made, lambda: None)
    found = kept[0].rows if isinstance(kept[0], Table) else kept[0].routers
    assert len(found) == 50
