"""Backoff: delays double, are jittered, bounded, and start over after a success."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.client_backoff import Backoff


@pytest.mark.parametrize(
    ("dice", "delays"),
    [
        pytest.param(0.0, [0.5, 1, 2, 4, 5, 5], id="the shortest"),
        pytest.param(0.5, [0.75, 1.5, 3, 6, 7.5, 7.5], id="the middle"),
    ],
)
def test_delays_double_up_to_the_most(dice: float, delays: list[float]) -> None:
    backoff = Backoff(1.0, 10.0)
    assert [backoff.next(dice) for _ in delays] == delays


def test_a_success_starts_over() -> None:
    backoff = Backoff(1.0, 10.0)
    for _ in range(5):
        backoff.next(0)
    backoff.reset()
    assert backoff.next(0) == 0.5


@given(st.integers(0, 100_000), st.floats(0, 1, exclude_max=True))
def test_delays_are_bounded_after_any_number_of_failures(failures: int, dice: float) -> None:
    assert 0.5 <= Backoff(1.0, 60.0, failures).next(dice) <= 60.0
