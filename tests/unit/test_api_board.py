"""Differences between two lists of hosts: applied to the old one they give the new one, whatever changes."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lib.api_board import KEPT, Board, difference
from lib.api_hosts import COLUMNS, ID, MAX_HOSTS, NS, Row

A, B = "a" * 32, "b" * 32


def row(key: int, ns: str = A, **cells: Any) -> Row:
    made: Row = [0] * len(COLUMNS)
    made[COLUMNS.index("problems")], made[COLUMNS.index("state")] = [], "up"
    made[ID], made[NS] = key, ns
    for name, value in cells.items():
        made[COLUMNS.index(name.rstrip("_"))] = value
    return made


def data(event: bytes) -> dict[str, Any]:
    lines = event.decode().splitlines()
    assert lines[1] == "event: hosts"
    found: dict[str, Any] = json.loads(lines[2].removeprefix("data: "))
    assert lines[0] == f"id: {found['seq']}"
    return found


def apply(rows: dict[int, Row], said: dict[str, Any]) -> dict[int, Row]:
    """What the page does."""
    after = {key: list(value) for key, value in rows.items()}
    for key in said["gone"]:
        del after[key]
    for key, *cells in said["rows"]:
        for column, value in zip(cells[::2], cells[1::2], strict=True):
            after[key][column] = value
    return after | {new[ID]: new for new in said["new"]}


@given(
    st.lists(st.dictionaries(st.integers(1, 6), st.tuples(st.integers(0, 2), st.integers(0, 2))), max_size=6)
)
def test_differences_lead_from_each_list_to_the_next(lists: list[dict[int, tuple[int, int]]]) -> None:
    known: dict[int, Row] = {}
    for cells in lists:
        rows = {key: row(key, in_=one, out=other) for key, (one, other) in cells.items()}
        said = difference(known, rows)
        assert apply(known, json.loads(json.dumps(said))) == rows
        if known == rows:
            assert said == {"rows": [], "new": [], "gone": []}
        known = rows


def test_a_whole_list_and_what_follows_it() -> None:
    board = Board("", lambda ns: "ACME" if ns == A else "", 100)
    board.advance([row(1, in_=10), row(2, B, out=5, state="away")], 0, 1.0)
    whole = json.loads(board.whole(1.0))
    assert (whole["seq"], whole["tick_s"], len(whole["columns"])) == (101, 2, len(whole["rows"][0]))
    assert whole["namespaces"] == {A: {"title": "ACME", "hosts": 1}, B: {"title": "", "hosts": 1}}
    assert whole["totals"] == {"up": 1, "away": 1, "in": 10, "out": 5, "drops_s": 0}
    said = data(board.advance([row(1, in_=20), row(2, B, out=5, state="away")], 0, 2.0))
    assert said["rows"] == [[1, COLUMNS.index("in"), 20]]
    assert "namespaces" not in said
    assert data(board.advance([row(1, in_=20)], 0, 3.0))["namespaces"].keys() == {A}
    assert [data(event)["seq"] for event in board.since(101) or ()] == [102, 103]
    assert board.since(103) == []


def test_a_page_that_knows_nothing_here_starts_anew() -> None:
    """Of a run before this one, of the future, too old, or never."""
    board = Board("", lambda ns: "", 100)
    assert board.since(100) is None
    for _ in range(KEPT + 5):
        board.advance([row(1)], 0, 1.0)
    assert [board.since(seq) for seq in (0, 17, 100, 103, board.seq + 1)] == [None] * 5
    assert len(board.since(board.seq - KEPT) or ()) == KEPT


def test_a_tenant_sees_its_namespace_only() -> None:
    board = Board(A, lambda ns: "")
    said = data(board.advance([row(1, in_=10), row(2, B, in_=7)], 3, 1.0))
    assert ([new[ID] for new in said["new"]], said["totals"]["in"], list(said["namespaces"])) == (
        [1],
        10,
        [A],
    )
    assert json.loads(board.whole(1.0))["more"] == 0
    assert data(board.advance([row(2, B)], 0, 2.0))["gone"] == [1]
    assert B not in board.whole(2.0).decode()


def test_of_too_many_hosts_those_with_problems_and_the_busiest_stay() -> None:
    rows = [row(key, in_=key) for key in range(MAX_HOSTS + 2)]
    rows[0][COLUMNS.index("problems")] = ["away"]
    board = Board("", lambda ns: "")
    board.advance(rows, 5, 1.0)
    whole = json.loads(board.whole(1.0))
    kept = {one[ID] for one in whole["rows"]}
    assert (len(kept), 0 in kept, {1, 2} & kept, whole["more"]) == (MAX_HOSTS, True, set(), 7)


def test_no_name_becomes_markup() -> None:
    board = Board("", lambda ns: "")
    event = board.advance([row(1, host="<img src=x onerror=alert(1)>\u2028")], 0, 1.0)
    assert b"<" not in event + board.whole(1.0)
    assert data(event)["new"][0][COLUMNS.index("host")] == "<img src=x onerror=alert(1)>\u2028"


def test_the_same_bytes_are_given_to_all() -> None:
    board = Board("", lambda ns: "")
    event = board.advance([row(1)], 0, 1.0)
    assert board.whole(1.0) is board.whole(9.0)
    assert board.since(1) == []
    assert event.endswith(b"\n\n")
