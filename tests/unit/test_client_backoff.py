"""How soon clients are back after an outage, and how their tries are spread: by simulation."""

from __future__ import annotations

import random
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.client_backoff import LASTING, LOST, QUICK, SHORT, TEMPORARY, Backoff, Pace

CLIENTS = 1000


def waits_after(outage: float, pace: Pace, number: int = CLIENTS, dial: float = 0.0) -> list[float]:
    """How long after the end of an outage each of many clients tries; a failed try takes `dial` seconds."""
    dice, found = random.Random(outage), []
    for _ in range(number):
        backoff, now = Backoff(), 0.0
        while True:
            now += backoff.next(pace, 1, now, dice.random())
            if now >= outage:
                break
            now += dial
        found.append(now - outage)
    return found


@pytest.mark.parametrize("outage", [0.5, 2, 5, 10, 30])
def test_after_a_short_outage_half_are_back_within_2_seconds_and_all_within_5(outage: float) -> None:
    waits = waits_after(outage, LOST)
    assert median(waits) < 2
    assert max(waits) < 5


@pytest.mark.parametrize("outage", [2, 10, 30, 300, 3600])
def test_a_thousand_clients_come_back_spread_over_seconds(outage: float) -> None:
    """Not in the moment in which the hub is there again: no second has half of them, no tenth a tenth."""
    waits = waits_after(outage, LOST)
    assert max(waits) > 3
    assert most_within(1.0, waits) < 0.5 * CLIENTS
    assert most_within(0.1, waits) < 0.1 * CLIENTS


def most_within(seconds: float, moments: list[float]) -> int:
    return max(sum(begin <= moment < begin + seconds for moment in moments) for begin in moments)


@pytest.mark.parametrize(("outage", "longest"), [(60, 6.6), (100, 11), (3600, 15), (86400, 15)])
def test_a_long_outage_is_prolonged_by_a_tenth_and_by_15_seconds_at_most(
    outage: float, longest: float
) -> None:
    assert max(waits_after(outage, LOST, 50)) <= longest


@pytest.mark.parametrize("outage", [1, 10, 60, 600, 3600])
def test_a_temporary_refusal_is_tried_again_within_15_seconds(outage: float) -> None:
    assert max(waits_after(outage, TEMPORARY, 50)) <= 15


def test_a_lasting_refusal_is_tried_again_ever_more_slowly() -> None:
    """An hour of it costs the hub some twenty handshakes; a correction is noticed within 5 minutes."""
    backoff, now, tries = Backoff(), 0.0, []
    while now < 3600:
        now += backoff.next(LASTING, 1, now, 0.5)
        tries.append(now)
    assert len(tries) < 60
    assert max(waits_after(3600, LASTING, 50)) <= 300
    assert tries[-1] - tries[-2] > 100


def test_each_node_is_tried_soon_before_any_is_waited_for() -> None:
    backoff = Backoff()
    delays = [backoff.next(LOST, 3, 0.0, 1.0) for _ in range(5)]
    assert delays == [QUICK[1], QUICK[1], QUICK[1], SHORT, SHORT]


def test_a_success_starts_over() -> None:
    backoff = Backoff()
    for now in range(0, 1000, 10):
        backoff.next(LOST, 1, float(now), 0.5)
    backoff.reset()
    assert backoff.next(LOST, 1, 1000.0, 0.0) == QUICK[0]
    assert backoff.next(LOST, 1, 1000.0, 1.0) == SHORT


def test_kinds_of_failures_have_times_of_their_own() -> None:
    """A hub that has refused for an hour is away for a moment: that is a short outage."""
    backoff = Backoff()
    for now in range(0, 3600, 60):
        backoff.next(LASTING, 1, float(now), 0.5)
    assert backoff.next(LOST, 1, 3600.0, 1.0) == SHORT
    assert backoff.next(LASTING, 1, 3600.0, 1.0) == 300.0


@given(st.floats(0, 1e6), st.floats(0, 1, exclude_max=True), st.integers(1, 50))
def test_delays_are_bounded(away: float, dice: float, tries: int) -> None:
    for pace in (LOST, TEMPORARY, LASTING):
        backoff = Backoff()
        for _ in range(tries):
            backoff.next(pace, 2, 0.0, dice)
        assert QUICK[0] <= backoff.next(pace, 2, away, dice) <= pace.most
