"""The ring of one hour: points by their step, gaps, and what a page that has some of them is sent."""

from __future__ import annotations

import random
import sys

from lib.api_history import FIELDS, POINTS, History


def put(history: History, *steps: int) -> None:
    for step in steps:
        history.put(step, (float(step), 0.0, None, 0.5, 0.25, 0.0))


def test_a_new_one_is_empty() -> None:
    first, series = History().after(-1)
    assert (first, set(series), any(series.values())) == (0, set(FIELDS), False)


def test_points_gaps_and_what_is_not_known() -> None:
    history = History()
    put(history, 7, 8, 11)
    assert history.after(-1)[0] == 7
    series = history.after(-1)[1]
    assert series["in"] == [7, 8, None, None, 11]
    assert series["rtt"] == [None] * 5
    assert series["loss"] == [0.5, 0.5, None, None, 0.5]


def test_a_page_gets_only_what_it_has_not() -> None:
    history = History()
    put(history, 7, 8, 9)
    assert history.after(7) == (8, {**{name: [] for name in FIELDS}, **history.after(7)[1]})
    assert history.after(7)[1]["in"] == [8, 9]
    assert history.after(9) == (10, {name: [] for name in FIELDS})
    assert history.after(500)[1]["in"] == [], "a page whose clock is ahead"


def test_an_hour_is_kept_and_no_more() -> None:
    """Compared with a dictionary, over gaps of every length."""
    draw = random.Random(1)
    history, kept, step = History(), {}, 3
    for _ in range(3000):
        step += draw.choice((0, 1, 1, 1, 2, 5, POINTS - 1, POINTS, 3 * POINTS))
        put(history, step)
        kept[step] = float(f"{step:.5g}")
        first, series = history.after(-1)
        assert first == max(min(kept), step - POINTS + 1)
        assert series["in"] == [kept.get(number) for number in range(first, step + 1)]


def size() -> int:
    """Bytes of memory of one ring."""
    return sum(sys.getsizeof(series) for series in History()._series) + 400


def test_a_ring_takes_ten_kilobytes() -> None:
    assert 5_000 < size() < 10_000
