"""When a datagram channel that has failed is tried again."""

from __future__ import annotations

import pytest

from lib.datagram_trust import FIRST_DELAY, JITTER, LONGEST_DELAY, STEADY_SECONDS, Trust


def waits(trust: Trust, now: float) -> float:
    """Seconds until the next try is due."""
    tenths = next(count for count in range(100000) if trust.may_try(now + count / 10))
    return tenths / 10


def test_each_try_that_is_not_answered_is_later_than_the_one_before() -> None:
    trust, now, found = Trust(lambda: 0.5), 100.0, []
    assert trust.may_try(now)
    for _ in range(12):
        trust.tries(now)
        found.append(waits(trust, now))
        now += found[-1]
    expected = [min(LONGEST_DELAY, FIRST_DELAY * 2**number) for number in range(12)]
    assert found == pytest.approx(expected, abs=0.2)


@pytest.mark.parametrize("dice", [0.0, 0.25, 1.0])
def test_delays_of_many_clients_differ(dice: float) -> None:
    trust = Trust(lambda: dice)
    trust.tries(100.0)
    assert waits(trust, 100.0) == pytest.approx(FIRST_DELAY * (1 + JITTER * (2 * dice - 1)), abs=0.2)


def test_what_works_needs_no_try_and_what_fails_has_a_reason() -> None:
    trust = Trust(lambda: 0.5)
    trust.tries(100.0)
    trust.worked(100.1)
    assert (trust.works, trust.why) == (True, "")
    assert trust.may_try(100.1)
    trust.failed("much was lost", 110.0)
    assert (trust.works, trust.why) == (False, "much was lost")
    assert waits(trust, 110.0) == pytest.approx(FIRST_DELAY, abs=0.2)
    trust.failed("again", 111.0)  # it had failed already
    trust.worked(111.0)  # an answer to something of before
    assert (trust.works, trust.why) == (False, "much was lost")
    trust.tries(130.0)
    trust.worked(130.1)
    assert trust.why == ""


def test_what_has_worked_for_long_begins_with_the_first_delay() -> None:
    trust = Trust(lambda: 0.5)
    for now in (100.0, 200.0, 300.0):
        trust.tries(now)
    trust.worked(300.1)
    trust.worked(310.0)  # that is known
    trust.failed("at last", 300.1 + STEADY_SECONDS)
    assert waits(trust, 300.1 + STEADY_SECONDS) == pytest.approx(FIRST_DELAY, abs=0.2)


def test_what_has_only_rested_is_tried_without_a_longer_delay() -> None:
    trust = Trust(lambda: 0.5)
    trust.tries(100.0)
    for now in (100.1, 200.0, 300.0, 400.0):
        trust.worked(now)
        trust.tries(now + 50)
        assert waits(trust, now + 50) == pytest.approx(FIRST_DELAY, abs=0.2)


def test_where_something_is_new_it_may_be_tried_at_once() -> None:
    trust = Trust(lambda: 0.5)
    trust.tries(100.0)
    assert not trust.may_try(100.5)
    trust.again()
    assert trust.may_try(100.5)
