"""The share of the loop's time that expensive work has: half at most, in rotation, nobody forgotten."""

from __future__ import annotations

import time
from itertools import pairwise

import gevent
import pytest

from lib.service_scheduling import Share

SECONDS = 0.3


def work(share: Share, key: str, log: list[str], until: float, seconds: float = 0.002) -> None:
    while time.monotonic() < until:
        share.enter(key)
        log.append(key)
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            pass
        share.leave(time.monotonic() - began)


def test_half_of_the_time_at_most_and_equal_shares() -> None:
    share, log = Share(), list[str]()
    until = time.monotonic() + SECONDS
    workers = [gevent.spawn(work, share, key, log, until) for key in "aaab"]
    gevent.joinall(workers, timeout=10, raise_error=True)
    assert len(log) * 0.002 <= SECONDS * 0.55 + 0.01
    assert len(log) >= 10
    middle = log[2:-6]  # all four wait here
    assert all(key != after for key, after in pairwise(middle)), (
        "keys take turns, however many wait under one"
    )


def test_a_turn_whose_end_is_never_told_ends_all_the_same() -> None:
    share = Share()
    share.enter("silent")
    with gevent.Timeout(2):
        share.enter("next")


@pytest.mark.parametrize("alone", [True, False])
def test_who_is_killed_while_it_waits_holds_nobody_up(alone: bool) -> None:
    share = Share()
    share.enter("first")
    waiting = [gevent.spawn(share.enter, "killed")]
    if not alone:
        waiting.append(gevent.spawn(share.enter, "killed"))
    gevent.sleep(0)
    waiting[0].kill()
    share.leave(0.001)
    with gevent.Timeout(2):
        share.enter("after")
        gevent.joinall(waiting)


def test_a_wait_can_be_ended_by_a_deadline() -> None:
    share = Share()
    share.enter("first")
    with pytest.raises(TimeoutError), gevent.Timeout(0.001, TimeoutError):
        share.enter("late")
    share.leave(0.0)
    with gevent.Timeout(2):
        share.enter("late")
