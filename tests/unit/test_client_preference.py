"""The nearest hub is preferred, with hysteresis: a table of round-trip times under a played clock."""

from __future__ import annotations

import math

import pytest

from lib.client_preference import HOLD_SECONDS, Preference


def play(looks: list[dict[int, float]], every: float = 0.1) -> list[int]:
    preference = Preference()
    return [preference.look(one, number * every) for number, one in enumerate(looks)]


HOLD = math.ceil(HOLD_SECONDS / 0.1)


def test_the_first_one_is_kept_until_another_has_been_nearer_for_some_time() -> None:
    seen = play([{1: 0.02}] + [{1: 0.02, 2: 0.002}] * (HOLD + 3))
    assert seen[: HOLD + 1] == [1] * (HOLD + 1)
    assert seen[-1] == 2


def test_one_that_is_nearer_now_and_then_is_not_preferred() -> None:
    near, far = {1: 0.02, 2: 0.002}, {1: 0.02, 2: 0.03}
    assert set(play(([far] + [near] * (HOLD - 1)) * 4)) == {1}


@pytest.mark.parametrize(
    ("own", "other"), [(0.02, 0.016), (0.0010, 0.0002), (0.02, 0.0), (0.0, 0.0)], ids=str
)
def test_a_small_difference_moves_nothing(own: float, other: float) -> None:
    """Less than a quarter, less than a millisecond, or not known yet."""
    assert set(play([{1: own}] + [{1: own, 2: other}] * (3 * HOLD))) == {1}


def test_two_that_are_alike_do_not_alternate() -> None:
    looks = [{1: 0.02 + 0.001 * (n % 7), 2: 0.02 + 0.001 * (n % 5)} for n in range(10 * HOLD)]
    assert len(set(play(looks))) == 1


def test_when_it_is_gone_the_nearest_is_preferred_at_once_and_stays() -> None:
    assert play([{1: 0.01, 2: 0.03, 3: 0.02}, {2: 0.03, 3: 0.02}, {1: 0.01, 2: 0.03, 3: 0.02}]) == [1, 3, 3]


def test_the_nearest_that_is_known_comes_first_and_of_none_there_is_none() -> None:
    assert play([{4: 0.0, 5: 0.03}, {}, {7: 0.0}]) == [5, -1, 7]


def test_a_new_rival_begins_its_time_anew() -> None:
    looks = [{1: 0.1}] + [{1: 0.1, 2: 0.01, 3: 0.2}] * (HOLD - 1) + [{1: 0.1, 2: 0.01, 3: 0.001}] * (HOLD - 1)
    assert set(play(looks)) == {1}
