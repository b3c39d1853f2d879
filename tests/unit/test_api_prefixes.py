"""Prefixes of hosts as the list shows them: the first few, how many more, and how often tables are read."""

from __future__ import annotations

from typing import Any

import pytest

from lib import api_prefixes
from lib.api_prefixes import PrefixesShown
from lib.route_table import RouteTable
from tests.unit.test_ctl_routes import entry


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("lib.api_prefixes.time.monotonic", lambda: now[0])
    return now


def shown(found: PrefixesShown, *tables: Any, host: str = "a") -> list[str | int]:
    found.read(tables)
    return found.of(tables, host)


def test_a_few_and_how_many_more(clock: list[float]) -> None:
    own = RouteTable([entry("10.9.0.0/16", "a")])
    table = RouteTable([*(entry(f"10.{n}.0.0/16", "a") for n in range(6)), entry("10.7.0.0/16", "b")])
    found = PrefixesShown()
    assert len(shown(found, table)) == 5
    assert shown(found, table)[-1] == 2
    assert shown(found, own, table)[-1] == 3
    assert shown(found, own, table)[0] == "10.9.0.0/16"
    assert shown(found, table, host="b") == ["10.7.0.0/16"]
    assert shown(found, table, host="nobody") == []
    assert shown(found, table) is shown(found, table), "what stands still is the same"
    assert shown(found, object()) == []


def test_a_table_that_changes_is_read_again_but_not_all_the_time(clock: list[float]) -> None:
    table = RouteTable([entry("10.0.0.0/16", "a")])
    found = PrefixesShown()
    assert shown(found, table) == ["10.0.0.0/16"]
    table.changes += 1
    table.tries.four.insert(bytes([10, 1, 0, 0]), 16, next(iter(table.tries.four))[2])
    assert shown(found, table) == ["10.0.0.0/16"]
    clock[0] += 10
    assert shown(found, table) == ["10.0.0.0/16", "10.1.0.0/16"]


def test_a_table_that_is_too_long_is_not_read(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_prefixes, "MOST_ROUTES", 1)
    table = RouteTable([entry("10.0.0.0/16", "a"), entry("10.1.0.0/16", "a")])
    assert shown(PrefixesShown(), table) == []
