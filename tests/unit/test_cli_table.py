"""Tables for people: everything to a pipe, what fits on a terminal."""

from __future__ import annotations

from typing import Any

import pytest

from lib import cli_columns
from lib.cli_table import RED, Column, fitting, lines

COLUMNS = (
    Column("name", lambda row: row["name"]),
    Column("size", lambda row: str(row["size"]), 1, lambda row: row["size"], right=True),
    Column("what", lambda row: row["what"], 2, short=lambda row: row["what"][:3]),
)
ROWS = [{"name": "a", "size": 9, "what": "apples"}, {"name": "bbbb", "size": 10, "what": "bananas"}]


def test_a_pipe_gets_everything() -> None:
    assert lines(COLUMNS, ROWS, None, False) == [
        "name  size  what",
        "a        9  apples",
        "bbbb    10  bananas",
    ]


@pytest.mark.parametrize(
    ("width", "titles", "cells"),
    [
        (19, ["name", "size", "what"], ("a", "9", "apples")),
        (16, ["name", "size", "what"], ("a", "9", "app")),
        (15, ["name", "size"], ("a", "9")),
        (9, ["name"], ("a",)),
        (1, ["name"], ("a",)),
    ],
)
def test_what_fits(width: int, titles: list[str], cells: tuple[str, ...]) -> None:
    table = fitting(COLUMNS, ROWS, width)
    assert [column.title for column in table.columns] == titles
    assert table.cells[0] == cells


@pytest.mark.parametrize("width", range(1, 30))
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    assert all(len(line) <= width for line in lines(COLUMNS, ROWS, width, False))


def test_what_is_cut_says_so() -> None:
    assert lines(COLUMNS, ROWS, 3, False) == ["na…", "a", "bb…"]


def test_colour_is_around_cells_and_takes_no_room() -> None:
    columns = (Column("name", lambda row: row["name"], style=lambda row: RED), COLUMNS[1])
    assert lines(columns, ROWS[:1], 80, True)[1] == "\x1b[31ma   \x1b[0m     9"


NAMESPACES = ["e87f56dd-fd57-4921-9ab8-a0847662daae", "ef502590-c5f4-437e-a81f-fe4083505075"]


def session(host: str, namespace: str) -> dict[str, Any]:
    return {
        "host": host, "namespace": namespace, "peer": "192.0.2.1:40000", "address": "10.0.0.1",
        "transport": "tcp", "software": "tunrouter 0.1.0", "prefixes": [], "since_s": 100, "rtt_s": 0.01,
        "received_bytes_per_s": 1e9, "sent_bytes_per_s": 1e9, "received_packets_per_s": 1e6,
        "sent_packets_per_s": 1e6, "queue_bytes": 1 << 20, "queue_s": 0.1, "drops": {"no-route": 10**6},
    }  # fmt: skip


def shown(rows: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """(titles, namespaces) of a table of sessions in 60 characters."""
    table = fitting(cli_columns.SESSIONS, rows, 60)
    titles = [column.title for column in table.columns]
    return titles, [cells[titles.index("namespace")] for cells in table.cells if "namespace" in titles]


def test_a_namespace_stays_where_two_rows_would_look_alike_without_it() -> None:
    first, second = NAMESPACES
    assert shown([session("a", first), session("b", second)])[1] == []
    titles, namespaces = shown([session("a", first), session("b", first), session("a", second)])
    assert namespaces == [first[:8], first[:8], second[:8]]
    assert "peer" not in titles, "something else goes"
    twins = [first, f"{first[:-1]}f"]
    assert shown([session("a", twin) for twin in twins])[1] == twins, "too alike to be cut"
    assert shown([session("a", first), session("a", first)])[1] == [], "it tells nothing"


def test_no_rows() -> None:
    assert fitting(COLUMNS, [], None).cells == ()
    assert lines(COLUMNS, [], 80, False) == ["name  size  what"]


SESSION: dict[str, Any] = {
    "service": "service-0", "host": "host-1", "namespace": cli_columns.NOBODY, "peer": "10.77.1.2:50000",
    "address": "192.168.123.1", "prefixes": ["192.168.100.0/24"], "transport": "tcp",
    "software": "tunrouter 0.1.0", "since_s": 183.0, "rtt_s": 0.00042, "queue_bytes": 64000,
    "queue_s": 0.012, "superpackets": True, "received_packets": 1, "received_bytes": 1, "sent_packets": 1,
    "sent_bytes": 1, "received_packets_per_s": 90000.0, "received_bytes_per_s": 925000000,
    "sent_packets_per_s": 10.0, "sent_bytes_per_s": 1000, "drops": {"no-route": 3, "wrong-source": 1000},
}  # fmt: skip


def test_a_session_at_80_columns_and_wide() -> None:
    title, line = lines(cli_columns.SESSIONS, [SESSION], 80, False)
    assert title.split() == ["host", "peer", "for", "rtt", "in", "out", "dropped"]
    assert line.split("  ")[0] == "host-1"
    assert all(text in line for text in ("3 min", "0.42 ms", "7.40 Gbit/s", "8.00 kbit/s", "1,003"))
    (wide,) = lines(cli_columns.SESSIONS, [SESSION], None, False)[1:]
    for text in (
        "90.0 kpackets/s",
        "64.0 kB",
        "12.0 ms",
        "1,000 wrong-source, 3 no-route",
        "0.1.0",
        "192.168.100",
    ):
        assert text in wide


def test_a_namespace_is_short_where_there_is_little_room() -> None:
    row = SESSION | {"namespace": "e87f56dd-fd57-4921-9ab8-a0847662daae"}
    assert " e87f56dd-fd57-4921-9ab8-a0847662daae " in lines(cli_columns.SESSIONS, [row], None, False)[1]
    assert " e87f56dd  " in lines(cli_columns.SESSIONS, [row], 110, False)[1]
