"""Figures that several workers count: their sums, of which none goes backwards."""

from __future__ import annotations

from lib.metrics_names import MAX_KEYS, OTHER
from lib.observe_stats import Stats
from lib.observe_sums import Sums


def test_the_sum_of_what_each_has_told_last() -> None:
    sums = Sums()
    sums.take(1, {"a": Stats(1, 1, 0, 10, 20)})
    sums.take(2, {"a": Stats(2, 1, 3, 100, 200), "b": Stats(5, 0, 0, 7, 8)})
    sums.take(1, {"a": Stats(2, 0, 0, 11, 21)})
    assert sums.rows() == {"a": Stats(4, 1, 3, 111, 221), "b": Stats(5, 0, 0, 7, 8)}


def test_what_a_worker_has_counted_outlives_it_but_for_connections() -> None:
    sums = Sums()
    sums.take(1, {"a": Stats(3, 2, 1, 10, 20)})
    sums.gone(1)
    sums.gone(1)
    assert sums.rows() == {"a": Stats(3, 0, 1, 10, 20)}
    sums.take("its successor", {"a": Stats(1, 1, 0, 5, 5)})
    assert sums.rows() == {"a": Stats(4, 1, 1, 15, 25)}
    sums.gone("its successor")
    sums.gone("a worker that has told nothing")
    assert sums.rows() == {"a": Stats(4, 0, 1, 15, 25)}


def test_of_very_many_clients_of_workers_that_have_ended_the_rest_are_one() -> None:
    sums = Sums()
    most = MAX_KEYS
    for number in range(most + 3):
        sums.take(number, {f"h{number}": Stats(1, 1, 0, 2, 3)})
        sums.gone(number)
    rows = sums.rows()
    assert len(rows) == most + 1
    assert rows[OTHER] == Stats(3, 0, 0, 6, 9)
