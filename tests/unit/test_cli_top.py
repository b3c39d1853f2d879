"""The live screen's keys; what it looks like, tests/e2e/test_status.py sees on a real terminal."""

from __future__ import annotations

from typing import Any

import pytest

from lib import cli_columns, cli_top
from lib.errors import ConfigError


def session(host: str, received: int) -> dict[str, Any]:
    return {
        "service": "s", "host": host, "namespace": cli_columns.NOBODY, "peer": "10.0.0.1:1", "address": "",
        "prefixes": [], "transport": "tcp", "software": "", "since_s": 1.0, "rtt_s": 0.0, "queue_bytes": 0,
        "queue_s": 0.0, "received_packets_per_s": 0, "received_bytes_per_s": received,
        "sent_packets_per_s": 0, "sent_bytes_per_s": 0, "drops": {},
    }  # fmt: skip


@pytest.fixture
def screen() -> cli_top.Screen:
    sessions = [session("a", 5), session("b", 50), session("c", 20)]
    return cli_top.Screen({"sessions": sessions, "clients": []})


def hosts(screen: cli_top.Screen) -> list[str]:
    return [row["host"] for row in screen.rows()]


def test_the_busiest_first(screen: cli_top.Screen) -> None:
    assert hosts(screen) == ["b", "c", "a"]
    screen.press("reverse")
    assert hosts(screen) == ["a", "c", "b"]


def test_the_next_column_and_the_one_before(screen: cli_top.Screen) -> None:
    screen.shown = ["host", "in", "out"]
    screen.press("right")
    assert screen.sort == "out"
    screen.press("right")
    assert screen.sort == "host"
    assert hosts(screen) == ["c", "b", "a"]
    screen.press("left")
    assert screen.sort == "out"


def test_scrolling_ends_at_either_end(screen: cli_top.Screen) -> None:
    for key, first in (("up", 0), ("down", 1), ("page down", 2), ("down", 2), ("page up", 0)):
        screen.press(key)
        assert screen.top == first


@pytest.mark.parametrize("column", [column.title for column in cli_columns.SESSIONS])
def test_every_column_sorts(screen: cli_top.Screen, column: str) -> None:
    screen.sort = column
    assert sorted(hosts(screen)) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"q", ["end"]),
        (b"\x1b", ["end"]),
        (b"\x1b[C\x1b[Drr", ["right", "left", "reverse", "reverse"]),
        (b"\x1bOC>", ["right", "right"]),
        (b"\x1b[6~j", ["page down", "down"]),
        (b"x?r", ["reverse"]),
        (b"\x1b[15~", []),
        (b"", []),
    ],
)
def test_keys(data: bytes, keys: list[str]) -> None:
    assert list(cli_top.keys_of(data)) == keys


def test_no_such_column() -> None:
    with pytest.raises(ConfigError, match="no column 'speed'"):
        cli_top.run({"--sort": "speed", "--control": None})
