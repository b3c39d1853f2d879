"""The slice that this process asks for, seen in /proc where the kernel shows it, and when it asks for which."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import gevent
import pytest

from lib import service_slice
from lib.service_slice import LONG_SECONDS, REPLIES, REPLYING_SECONDS, SHORT_SECONDS, TURNS, TimeSlice

SCHED = Path("/proc/self/sched")
ASK = f"from lib import service_slice; print(service_slice.set_slice(0.01)); print(open('{SCHED}').read())"


def run(*before: str, ask: str = ASK) -> str:
    root = Path(__file__).resolve().parents[2]
    return subprocess.run(
        [*before, sys.executable, "-c", ask], cwd=root, check=True, capture_output=True, text=True
    ).stdout


@pytest.mark.skipif(not SCHED.exists(), reason="this kernel does not show slices (CONFIG_SCHED_DEBUG)")
def test_the_slice_is_longer_and_nice_stays() -> None:
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    text = run("nice", "-n", "5")
    assert text.startswith("True")
    assert re.search(rf"prio\s*:\s*{min(120 + nice + 5, 139)}\b", text), "nice 5 is priority 125"
    if tuple(map(int, re.findall(r"\d+", os.uname().release)[:2])) >= (6, 12):
        assert re.search(r"se\.slice\s*:\s*10000000\b", text)


def test_somebody_elses_choice_of_policy_stays() -> None:
    ask = "import os; from lib import service_slice; print(service_slice.set_slice(0.01), os.sched_getscheduler(0))"
    assert run("chrt", "--batch", "0", ask=ask).split() == ["False", str(os.SCHED_BATCH)]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the kernel was asked for."""
    found: list[float] = []
    monkeypatch.setattr(service_slice, "set_slice", found.append)
    return found


def test_it_is_long_while_anybody_holds_it(asked: list[float]) -> None:
    one = TimeSlice()
    for move in (one.hold_long, one.hold_long, one.release):
        move()
        assert asked == [LONG_SECONDS]
    one.release()
    assert asked == [LONG_SECONDS, 0]


def test_a_hub_that_replies_itself_is_prompt_until_it_does_not(
    asked: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_slice, "REPLYING_SECONDS", 0.02)
    one = TimeSlice()
    one.hold_long()
    for _ in range(4):  # a ping now and then
        one.replied(REPLIES // 2 - 1)
        gevent.sleep(0.05)
    assert asked == [LONG_SECONDS]
    one.replied(REPLIES)
    assert asked == [LONG_SECONDS, 0]
    with gevent.Timeout(5):
        while len(asked) < 3:
            gevent.sleep(0.01)
    assert asked == [LONG_SECONDS, 0, LONG_SECONDS]
    assert not one._timer.active, "nothing wakes it once it is quiet"


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    def pass_on(self, one: TimeSlice, bytes_a_second: float, size: int, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            self.now += size / bytes_a_second
            one.passed(size)


def test_a_client_s_is_short_while_little_passes(asked: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    clock, one = Clock(monkeypatch), TimeSlice()
    clock.pass_on(one, 5200 * 200, 200, 0.2)  # questions and answers
    assert asked == [SHORT_SECONDS], "from the first one on"
    clock.pass_on(one, 500 << 20, 64 << 10, 0.05)
    assert asked == [SHORT_SECONDS, 0], "a transfer"
    clock.pass_on(one, 12 << 20, 120, 0.05)
    assert asked == [SHORT_SECONDS, 0], "as many small packets as fit"
    clock.pass_on(one, 100 * 200, 200, TURNS / 100 + 0.1)
    assert asked == [SHORT_SECONDS, 0, SHORT_SECONDS], "pings"


def test_in_a_process_of_both_the_hub_s_counts(asked: list[float]) -> None:
    one = TimeSlice()
    one.passed(100)
    one.hold_long()
    one.replied(REPLIES)
    one.release()
    assert asked == [SHORT_SECONDS, LONG_SECONDS, 0, SHORT_SECONDS]
    assert REPLYING_SECONDS < 1
