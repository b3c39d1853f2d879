"""Repeats are said a few times, then counted; one event, one kind and one address starve no other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.log_dedup import BUSY, FLOOD, MAX_ADDRESSES, MAX_KINDS, OTHERS, Fold, Habit, Key, Told

LATE = Key("refused", "service-0 late", "192.0.2.1")


def test_a_flood_is_said_a_few_times_then_counted() -> None:
    fold: Fold[str] = Fold()
    said = [number for number in range(100) if fold.count(LATE, f"peer {number}", number / 100)]
    assert said == list(range(FLOOD.in_full))
    assert fold.sweep(FLOOD.seconds - 1) == []
    assert fold.sweep(FLOOD.seconds + 1) == [Told("peer 99", 100 - FLOOD.in_full, FLOOD.seconds + 1)]
    assert fold.sweep(FLOOD.seconds * 3) == []


def test_what_was_said_in_full_leaves_nothing_to_say() -> None:
    fold: Fold[str] = Fold()
    fold.count(LATE, "peer", 0.0)
    assert fold.finish(1.0) == []


@pytest.mark.parametrize(
    "other",
    [
        LATE._replace(event="session-opened"),
        LATE._replace(kind="service-0 name"),
        LATE._replace(by="192.0.2.2"),
    ],
)
def test_what_differs_is_folded_apart_and_a_new_window_says_again(other: Key) -> None:
    fold: Fold[str] = Fold()
    for key in (LATE, other):
        assert all(fold.count(key, "x", 0.0) for _ in range(FLOOD.in_full))
        assert not fold.count(key, "x", 0.0)
    assert len(fold.sweep(FLOOD.seconds)) == 2
    assert fold.count(LATE, "once more", FLOOD.seconds)


def test_what_is_settled_is_news_again() -> None:
    fold: Fold[str] = Fold()
    once, source = Habit(1, 300.0, 1), Key("source-failed", "router r")
    assert [fold.count(source, str(n), float(n), once) for n in range(4)] == [True, False, False, False]
    assert fold.settle(source, 5.0) == [Told("3", 3, 5.0)]
    assert fold.settle(source, 5.0) == []
    assert fold.count(source, "again", 6.0, once)


def test_the_end_says_all_that_is_counted() -> None:
    fold: Fold[str] = Fold()
    for _ in range(FLOOD.in_full + 2):
        fold.count(Key("a"), "a", 0.0)
        fold.count(Key("b"), "b", 0.0)
    assert fold.finish(2.0) == [Told("a", 2, 2.0), Told("b", 2, 2.0)]


@pytest.mark.parametrize(
    ("flood", "then"),
    [
        pytest.param(
            [Key("refused", "s name", f"192.0.2.{n}") for n in range(999)],
            Key("refused", "s late", "198.51.100.1"),
            id="an event's many addresses, and another reason",
        ),
        pytest.param(
            [Key("refused", f"reason {n}", "192.0.2.1") for n in range(999)],
            Key("connection-lost", "s", "192.0.2.1"),
            id="an event's many kinds, and another event",
        ),
        pytest.param(
            [Key(f"event {n % 50}", f"{n}", f"192.0.2.{n}") for n in range(9999)],
            Key("refused", "s late", "192.0.2.1"),
            id="everything, and an event of which nothing was said",
        ),
    ],
)
def test_whoever_fills_a_fold_fills_no_other(flood: list[Key], then: Key) -> None:
    fold: Fold[str] = Fold()
    for key in flood:
        for _ in range(20):
            fold.count(key, "flood", 0.0)
    assert fold.count(then, "news", 1.0)


def test_addresses_that_are_not_told_apart_are_counted_together() -> None:
    fold: Fold[int] = Fold()
    said = sum(fold.count(Key("opened", "s", str(n)), n, 0.0, BUSY) for n in range(1000))
    assert said == MAX_ADDRESSES + BUSY.rest
    assert fold.finish(1.0) == [Told(999, 1000 - said, 1.0)]


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 200), st.integers(0, 200), st.floats(0, 20)), max_size=600
    )
)
def test_few_lines_whatever_comes_and_none_is_lost_count_of(
    events: list[tuple[int, int, int, float]],
) -> None:
    fold: Fold[str] = Fold()
    said, more, now = 0, 0, 0.0
    for event, kind, by, later in events:
        now += later / 100
        more += sum(told.more for told in fold.sweep(now))
        said += fold.count(Key(str(event), str(kind), str(by)), "x", now)
    for kinds in fold._kinds.values():
        assert len(kinds) <= MAX_KINDS + 1
        assert all(0 < count <= MAX_ADDRESSES + 1 for count in kinds.values())
        assert len(kinds) <= MAX_KINDS or OTHERS in kinds
    assert sum(sum(kinds.values()) for kinds in fold._kinds.values()) == len(fold._windows)
    more += sum(told.more for told in fold.finish(now))
    assert said + more == len(events)
    assert not any(fold._kinds.values())
