"""Repeats are said a few times, then counted; one event, one kind and one address starve no other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.log_dedup import (
    BUSY,
    FLAPPING,
    FLOOD,
    KNOWN,
    MAX_ADDRESSES,
    MAX_KINDS,
    OTHERS,
    OUTAGE,
    RETRIED,
    Fold,
    Habit,
    Key,
    Told,
)

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


# --- what goes on and on

REFUSAL = Key("refused", "service-0 login", "192.0.2.1")


def log(until: float, every: float, habit: Habit, fold: Fold[str] | None = None) -> list[tuple[float, str]]:
    """What is logged, with its time, of something that fails in the same way every so many seconds."""
    fold, found, now, due = fold or Fold(), [], 0.0, 0.0
    while now <= until + 4 * habit.longest:
        sums = [f"{told.times} times" if told.times else f"{told.more} more" for told in fold.sweep(now)]
        found += [(now, text) for text in sums]
        if due <= now <= until:
            due = now + every
            if fold.count(REFUSAL, "no login", now, habit, same=7):
                found.append((now, "no login"))
        now += 1.0
    return found


def test_a_client_that_is_refused_again_and_again_is_one_line_and_counts_at_growing_intervals() -> None:
    """A client of ours tries every 4 s at first: it was ten lines in 25 s, and two in 10 s for ever."""
    said = log(160.0, 4.0, RETRIED)
    assert said[:5] == [
        (0.0, "no login"), (10.0, "2 more"), (30.0, "5 more"), (70.0, "10 more"), (150.0, "20 more"),
    ]  # fmt: skip
    assert said[5:] == [(310.0, "3 more"), (630.0, "41 times")], "and one when it is over"


def test_an_hour_of_refusals_is_a_dozen_lines_and_a_day_of_outage_three_dozen() -> None:
    assert len(log(3600.0, 15.0, RETRIED)) < 15
    assert len(log(86400.0, 15.0, OUTAGE)) < 36


def test_two_refusals_and_silence_leave_nothing_to_say_of_those_that_were_logged() -> None:
    assert log(0.0, 4.0, RETRIED) == [(0.0, "no login")]
    assert log(4.0, 4.0, RETRIED) == [(0.0, "no login"), (10.0, "1 more"), (30.0, "2 times")]


def test_another_host_behind_the_same_address_is_logged_while_the_first_is_counted() -> None:
    fold: Fold[str] = Fold()
    log_now = [fold.count(REFUSAL, "x", float(n), RETRIED, same=1 + (n > 6)) for n in range(9)]
    assert log_now == [True, *[False] * 6, True, False]
    fold.sweep(10.0)
    assert [fold.count(REFUSAL, "x", 11.0, RETRIED, same=n) for n in (1, 2, 3)] == [False, False, True]


def test_who_varies_the_text_gets_few_lines_of_a_growing_time() -> None:
    fold: Fold[str] = Fold()
    said = 0
    for second in range(3600):
        fold.sweep(float(second))
        said += sum(
            fold.count(REFUSAL, "x", float(second), RETRIED, same=100 * second + n) for n in range(100)
        )
    assert said < 60
    assert len(fold._windows[REFUSAL].known) == KNOWN


def test_a_client_that_is_let_in_ends_the_counting_of_its_refusals() -> None:
    fold: Fold[str] = Fold()
    others = REFUSAL._replace(by="192.0.2.2"), REFUSAL._replace(kind="service-1 login")
    for key in (REFUSAL, REFUSAL._replace(kind="service-0 late"), *others):
        assert [fold.count(key, key.kind, 0.0, RETRIED, same=1) for _ in range(3)] == [True, False, False]
    told = fold.settle_all("refused", "service-0 ", "192.0.2.1", 1.0)
    assert told == [Told("service-0 login", 2, 1.0), Told("service-0 late", 2, 1.0)]
    assert fold.count(REFUSAL, "again", 2.0, RETRIED, same=1)
    assert not any(fold.count(key, "x", 2.0, RETRIED, same=1) for key in others)
    fold.forget(REFUSAL)
    assert fold.count(REFUSAL, "again", 3.0, RETRIED, same=1)


def test_who_fails_and_is_let_in_in_turn_gets_no_line_for_each_failure() -> None:
    fold: Fold[str] = Fold()
    said = 0
    for number in range(1000):
        now = number / 100
        said += len(fold.sweep(now)) + fold.count(REFUSAL, "x", now, RETRIED, same=number)
        said += len(fold.settle_all("refused", "service-0 ", "192.0.2.1", now))
    assert said <= 10
    assert fold.settle_all("refused", "service-0 ", "192.0.2.1", 20.0)


def test_what_another_line_has_counted_is_in_no_sum_and_stays_known() -> None:
    fold: Fold[str] = Fold()
    assert [fold.count(REFUSAL, "x", float(n), RETRIED, same=1) for n in range(4)] == [True, *[False] * 3]
    fold.absorb(REFUSAL)
    assert fold.sweep(10.0) == []
    assert not fold.count(REFUSAL, "x", 11.0, RETRIED, same=1)
    assert fold.sweep(30.0) == [Told("x", 1, 20.0)]
    assert fold.sweep(70.0) == [Told("x", 0, 11.0, times=5, quiet=59.0)]


def test_what_is_no_failure_by_itself_is_logged_again_though_it_says_the_same() -> None:
    fold: Fold[str] = Fold()
    said = [fold.count(REFUSAL, "connected", float(n), FLAPPING, same=None) for n in range(7)]
    assert said == [True] * FLAPPING.in_full + [False] * 2
