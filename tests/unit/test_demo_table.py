"""The demo's table: a host's line by its client's status."""

from __future__ import annotations

import time
from typing import Any

import pytest

from lib.demo_net import HOSTS
from lib.demo_table import Table

NOW = 1_800_000_000.0


def client(hub: str | None = "10.77.1.1:8443", since_s: float | None = 5.0, sent: int = 0) -> dict[str, Any]:
    """As `tunrouter status --json` has it, as far as the table reads it."""
    return {
        "hub": hub,
        "since_s": since_s,
        "sent_bytes": sent * 1000,
        "sent_packets": sent,
        "received_bytes": 0,
        "received_packets": 0,
    }


def clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))


def shown(table: Table, row: dict[str, Any], now: float) -> list[str]:
    """Hub and time of day."""
    return table.row(HOSTS[0], row, row, 1.0, now).split()[2:4]


def test_a_session_with_its_beginning() -> None:
    assert shown(Table(False), client(), NOW) == ["10.77.1.1:8443", clock(NOW - 5)]


def test_no_session() -> None:
    assert shown(Table(False), client(None, None), NOW) == ["away", "-"]


def test_the_beginning_stays_though_a_status_rounds_ages() -> None:
    table = Table(False)
    first = shown(table, client(since_s=5.0), NOW + 0.05)
    assert [shown(table, client(since_s=5.0 + n), NOW + n - 0.05) for n in (1, 2, 3)] == [first] * 3


def test_another_session_has_another_beginning() -> None:
    table = Table(False)
    shown(table, client(since_s=5.0), NOW)
    shown(table, client(None, None), NOW + 1)
    assert shown(table, client(since_s=0.5), NOW + 3) == ["10.77.1.1:8443", clock(NOW + 2.5)]


@pytest.mark.parametrize("seconds", [0.5, 2.0])
def test_rates_are_what_counters_moved_a_second(seconds: float) -> None:
    line = Table(False).row(HOSTS[0], client(sent=1_000_000), client(sent=3_000_000), seconds, NOW)
    gigabits, packets = 2_000_000 * 1000 * 8 / seconds / 1e9, 2_000_000 / seconds
    assert line.split()[4:] == [f"{gigabits:.3f}", f"{packets:,.0f}", "0.000", "0"]
