"""The first rows of thousands, in any order, and what is summed up of all of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import cli_columns, ctl_order
from lib.ctl_order import MAX_MOST, SUMS, Order, Totals

Row = dict[str, Any]


def row(host: str, received: float = 0, *problems: str, **more: Any) -> Row:
    return {
        **dict.fromkeys(SUMS, 0),
        "host": host,
        "received_bytes_per_s": received,
        "problems": [*problems],
        **more,
    }


@given(st.lists(st.integers(0, 9), max_size=200), st.integers(1, 20), st.booleans())
def test_the_first_ones_are_those_of_a_sort_of_all(speeds: list[int], most: int, reverse: bool) -> None:
    rows = [row(str(number), speed) for number, speed in enumerate(speeds)]
    asked: list[Row] = []

    def looked_at(one: Row) -> Row:
        asked.append(one)
        return one

    found = Order(most, "in", reverse).first(iter(rows), looked_at)
    expected = sorted(rows, key=lambda one: one["received_bytes_per_s"], reverse=reverse)[:most]
    assert [one["host"] for one in found] == [one["host"] for one in expected]
    assert asked == rows, "each is looked at once"


def test_the_usual_order_is_problems_first_then_the_busiest() -> None:
    rows = [
        row("idle"),
        row("busy", 50),
        row("wrong", 1, "queue"),
        row("wrong and busy", 9, "name"),
        row("some", 3),
    ]
    rows.append({**row("sends"), "sent_bytes_per_s": 20})
    found = Order(5).first(rows, lambda one: one)
    assert [one["host"] for one in found] == ["wrong and busy", "wrong", "busy", "sends", "some"]


def test_the_longest_step_is_that_of_twice_as_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are: nothing is received while they are sorted."""
    sorted_at_once: list[int] = []
    cut = Order._cut

    def noted(order: Order, kept: list[Any]) -> None:
        sorted_at_once.append(len(kept))
        cut(order, kept)

    monkeypatch.setattr(Order, "_cut", noted)
    found = Order(10, "in", True).first(range(5000), lambda number: row("", number))
    assert found == [*range(4999, 4989, -1)]
    assert max(sorted_at_once) <= 21


@pytest.mark.parametrize("title", [column.title for column in cli_columns.SESSIONS])
def test_every_column_is_an_order(title: str) -> None:
    assert ctl_order.read({"most": 5, "sort": title, "reverse": True}) == Order(5, title, True)


def test_who_wants_all_rows_says_no_order() -> None:
    assert ctl_order.read({}) is None
    assert ctl_order.read({"most": None, "sort": "", "reverse": False}) is None
    assert ctl_order.read({"most": MAX_MOST}) == Order(MAX_MOST)


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        ({"most": 0}, "from 1 to 1000"),
        ({"most": MAX_MOST + 1}, "from 1 to 1000"),
        ({"most": -1}, "from 1 to 1000"),
        ({"most": True}, "from 1 to 1000"),
        ({"most": "5"}, "from 1 to 1000"),
        ({"most": 5.0}, "from 1 to 1000"),
        ({"most": 5, "sort": "hots"}, "no column 'hots'; did you mean 'host'"),
        ({"most": 5, "sort": "x" * 99}, "no column 'x{32}'; there is host, "),
        ({"most": 5, "sort": 7}, "the title of a column"),
        ({"most": 5, "reverse": 1}, "true or false"),
        ({"sort": "in"}, "of no use without most"),
        ({"reverse": True}, "of no use without most"),
    ],
    ids=str,
)
def test_a_wrong_order_is_an_error(request_: Row, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        ctl_order.read(request_)


def test_totals_are_of_all_rows_whoever_counts_them() -> None:
    """The hub, the workers together, or who asks a hub that does not count."""
    sessions = [row("a", 5), row("b", 7, "queue", "name"), row("c", 1, "queue")]
    clients = [row("d", 2, "away", device="tun0")]
    counted = Totals()
    for one in (*sessions, *clients):
        counted.add(one)
    total = counted.row()
    assert (total["sessions"], total["clients"], total["with_problems"]) == (3, 1, 3)
    assert total["problems"] == {"queue": 2, "name": 1, "away": 1}
    assert (total["received_bytes_per_s"], total["sent_bytes_per_s"]) == (15, 0)
    assert ctl_order.totals({"sessions": sessions, "clients": clients}) == total
    assert ctl_order.totals({"sessions": [], "clients": [], "totals": total}) == total
    parts = [ctl_order.totals({"sessions": [one], "clients": []}) for one in sessions]
    parts.append(ctl_order.totals({"sessions": [], "clients": clients}))
    assert ctl_order.summed(parts) == total
