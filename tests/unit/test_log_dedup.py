"""Repeats are said a few times, then counted; whoever thinks up new kinds is counted too."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lib.log_dedup import FLOOD, MAX_KINDS, Fold, Habit, Told


def test_a_flood_is_said_a_few_times_then_counted() -> None:
    fold: Fold[str] = Fold()
    said = [number for number in range(100) if fold.count("late", f"peer {number}", number / 100)]
    assert said == list(range(FLOOD.in_full))
    assert fold.sweep(FLOOD.seconds - 1) == []
    assert fold.sweep(FLOOD.seconds + 1) == [Told("peer 99", 100 - FLOOD.in_full, FLOOD.seconds + 1)]
    assert fold.sweep(FLOOD.seconds * 3) == []


def test_what_was_said_in_full_leaves_nothing_to_say() -> None:
    fold: Fold[str] = Fold()
    fold.count("late", "peer", 0.0)
    assert fold.finish(1.0) == []


def test_kinds_are_folded_apart_and_a_new_window_says_again() -> None:
    fold: Fold[str] = Fold()
    for kind in ("a", "b"):
        assert all(fold.count(kind, kind, 0.0) for _ in range(FLOOD.in_full))
        assert not fold.count(kind, kind, 0.0)
    assert len(fold.sweep(FLOOD.seconds)) == 2
    assert fold.count("a", "once more", FLOOD.seconds)


def test_what_is_settled_is_news_again() -> None:
    fold: Fold[str] = Fold()
    once = Habit(1, 300.0)
    assert [fold.count("source", str(n), float(n), once) for n in range(4)] == [True, False, False, False]
    assert fold.settle("source", 5.0) == [Told("3", 3, 5.0)]
    assert fold.settle("source", 5.0) == []
    assert fold.count("source", "again", 6.0, once)


def test_the_end_says_all_that_is_counted() -> None:
    fold: Fold[str] = Fold()
    for _ in range(FLOOD.in_full + 2):
        fold.count("a", "a", 0.0)
        fold.count("b", "b", 0.0)
    assert fold.finish(2.0) == [Told("a", 2, 2.0), Told("b", 2, 2.0)]


@given(st.lists(st.tuples(st.integers(0, 400), st.floats(0, 20)), max_size=600))
def test_few_lines_whatever_comes_and_none_is_lost_count_of(events: list[tuple[int, float]]) -> None:
    fold: Fold[str] = Fold()
    said, more, now = 0, 0, 0.0
    for kind, later in events:
        now += later / 100
        more += sum(told.more for told in fold.sweep(now))
        said += fold.count(str(kind), "x", now)
        assert len(fold._windows) <= MAX_KINDS + 1
    more += sum(told.more for told in fold.finish(now))
    assert said + more == len(events)
