"""The share of the loop's time that expensive work has: half at most, in rotation, nobody forgotten."""

from __future__ import annotations

import time
from itertools import pairwise

import gevent
import pytest

from lib import stream_bounded
from lib.service_scheduling import Share

TURNS = 20


def work(share: Share, key: str, log: list[tuple[str, float]]) -> None:
    for _ in range(TURNS):
        share.enter(key)
        began = time.thread_time()  # not what another process had of the core meanwhile
        while time.thread_time() - began < 0.001:
            pass
        seconds = time.thread_time() - began
        log.append((key, seconds))
        share.leave(seconds)


def test_half_of_the_time_at_most_and_turns_in_rotation() -> None:
    share, log = Share(), list[tuple[str, float]]()
    began = time.monotonic()
    workers = [gevent.spawn(work, share, key, log) for key in "aaab"]
    gevent.joinall(workers, timeout=20, raise_error=True)
    passed, worked = time.monotonic() - began, sum(seconds for _, seconds in log)
    assert len(log) == 4 * TURNS
    assert worked <= 0.55 * passed
    order = [key for key, _ in log]
    while_all_wait = order[2 : order.index("b", 2) + 2 * (TURNS - 1)]
    assert all(key != after for key, after in pairwise(while_all_wait)), (
        "keys take turns, whoever waits there"
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
    share.leave(3600)
    with pytest.raises(TimeoutError), gevent.Timeout(0.001, TimeoutError):
        share.enter("late")
    share.leave(0.0)
    with gevent.Timeout(2):
        share.enter("late")


def test_helpers_and_expensive_sessions_have_one_half_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both want all the time there is; all of them together get half, and helpers one turn of each rotation."""
    share, log, helped = Share(), list[tuple[str, float]](), list[float]()
    monkeypatch.setattr(stream_bounded, "SHARE", share)
    turns = stream_bounded._Turns()

    def converse() -> None:
        while True:
            began = time.thread_time()
            while time.thread_time() - began < 0.001:
                pass
            helped.append(time.thread_time() - began)
            turns.pass_on(helped[-1])

    began = time.monotonic()
    conversations = [gevent.spawn(converse) for _ in range(3)]
    gevent.joinall([gevent.spawn(work, share, key, log) for key in "ab"], timeout=20, raise_error=True)
    gevent.killall(conversations)
    passed = time.monotonic() - began
    assert len(log) == 2 * TURNS
    assert sum(helped) + sum(seconds for _, seconds in log) <= 0.55 * passed
    assert TURNS / 2 < len(helped) < 2 * TURNS, "no conversation is forgotten, nor goes before"
