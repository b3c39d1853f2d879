"""The live screen's keys; what it looks like, tests/e2e/test_status.py sees on a real terminal."""

from __future__ import annotations

from typing import Any

import pytest

from lib import cli_columns, cli_top, ctl_order
from lib.ctl_order import Order
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


MANY = 10_000


@pytest.fixture
def crowd() -> cli_top.Screen:
    """The first rows of a hub with 10,000 hosts, as it has chosen them."""
    screen = cli_top.Screen({"sessions": [], "clients": []}, height=30)
    whole = [session(f"host-{number}", number) for number in range(MANY)]
    screen.reply = {
        "software": "tunrouter",
        "pid": 1,
        "uptime_s": 1.0,
        "clients": [],
        "sessions": screen.order.first(whole, lambda row: row),
        "totals": ctl_order.totals({"sessions": whole, "clients": []}),
    }
    return screen


def test_of_many_only_those_are_asked_for_that_are_seen_soon(crowd: cli_top.Screen) -> None:
    assert crowd.order == Order(60, "in", True)
    assert (len(crowd.rows()), crowd.count, hosts(crowd)[0]) == (60, MANY, "host-9999")
    assert cli_top._head(crowd.reply, crowd.count).startswith(
        "tunrouter, pid 1, up 1 s: 10,000 peers (here the first 1,000), 400 Mbit/s, "
    )


def test_others_are_asked_for_at_once_where_they_come_first_or_are_seen(crowd: cli_top.Screen) -> None:
    before = crowd.order
    assert not crowd.lacks_rows(before)
    crowd.press("down")
    assert not crowd.lacks_rows(before), "that row is there already"
    crowd.press("reverse")
    assert crowd.lacks_rows(before)
    crowd.press("reverse")
    crowd.press("page down")
    crowd.press("page down")
    assert crowd.lacks_rows(before)
    assert crowd.order.most == crowd.top + 60


def test_one_can_scroll_as_far_as_can_be_asked_for(crowd: cli_top.Screen) -> None:
    for _ in range(100):
        crowd.press("page down")
    assert crowd.top == ctl_order.MAX_MOST - 1
    assert crowd.order.most == ctl_order.MAX_MOST


def test_a_hub_that_has_sent_all_is_asked_when_it_is_time(screen: cli_top.Screen) -> None:
    before = screen.order
    screen.press("reverse")
    assert not screen.lacks_rows(before)
