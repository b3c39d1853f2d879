"""A table with fair shares: who loses an entry when it is full."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lib.acl_shares import ShareTable


def held_by(table: ShareTable[Any, Any], owner: str) -> int:
    """How many entries an owner has."""
    return len(table._held.get(owner, ()))


def filled(limit: int, **counts: int) -> ShareTable[str, int]:
    table: ShareTable[str, int] = ShareTable(limit)
    for owner, count in counts.items():
        for n in range(count):
            table.put(f"{owner}{n}", n, owner)
    return table


def test_who_has_most_loses_his_own_oldest() -> None:
    table = filled(6, a=4, b=2)
    table.put("b2", 2, "b")
    assert table.get("a0") is None
    assert [table.get(f"a{n}") for n in range(1, 4)] == [1, 2, 3]
    assert [table.get(f"b{n}") for n in range(3)] == [0, 1, 2]


def test_who_floods_pushes_nobody_out() -> None:
    table = filled(100, small=10, flood=100_000)
    assert held_by(table, "small") == 10
    assert held_by(table, "flood") == 90
    assert table.get("flood99999") == 99_999


def test_an_entry_that_is_renewed_is_the_newest() -> None:
    table = filled(3, a=3)
    table.renew("a0", 7)
    table.put("a3", 3, "a")
    assert [table.get(f"a{n}") for n in range(4)] == [7, None, 2, 3]


def test_a_key_changes_its_owner() -> None:
    table = filled(9, a=3)
    table.put("a1", 8, "b")
    assert (table.get("a1"), held_by(table, "a"), held_by(table, "b"), len(table)) == (8, 2, 1, 3)


OWNERS = "abcd"
MOVES = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "put", "pop", "renew"]), st.sampled_from(OWNERS), st.integers(0, 12)
    ),
    max_size=200,
)


@given(MOVES, st.integers(1, 12))
def test_nobody_is_pushed_below_an_equal_share(moves: list[tuple[str, str, int]], limit: int) -> None:
    """Whatever happens: the bound holds, the counts are right, and another loses only what exceeds its share."""
    table: ShareTable[tuple[str, int], str] = ShareTable(limit)
    for what, owner, number in moves:
        key = owner, number
        before = {name: held_by(table, name) for name in OWNERS}
        if what == "put":
            table.put(key, "new", owner)
        elif what == "pop":
            table.pop(key)
        elif table.get(key) is not None:
            table.renew(key, "renewed")
        held = {name: held_by(table, name) for name in OWNERS}
        present = sum(count > 0 for count in held.values())
        assert sum(held.values()) == len(table) <= limit
        for name in OWNERS:
            assert held[name] == sum(table.get((name, n)) is not None for n in range(13))
            if name != owner and held[name] < before[name]:
                assert what == "put"
                assert held[name] >= limit // present
                assert before[name] == max(before.values())
