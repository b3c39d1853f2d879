"""Pauses between receives, and breaths in long work."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from lib import service_scheduling
from lib.service_scheduling import MOST_SECONDS, Breaths, in_turns


def run(ask: str) -> str:
    root = Path(__file__).resolve().parents[2]
    return subprocess.run(
        [sys.executable, "-c", ask], cwd=root, check=True, capture_output=True, text=True
    ).stdout


PAUSING = """
import time
import gevent
from lib import service_scheduling
slept = []
service_scheduling._sleep = slept.append
pauses = service_scheduling.Pauses()
for turn in range(6):
    for size, now in RECEIVES:
        pauses.received(size, turn + now)
    gevent.sleep(0.001)
gevent.sleep(0.002)
gevent.sleep(0.002)
print(len(slept), bool(pauses._watcher and pauses._watcher.active))
"""


@pytest.mark.parametrize(
    ("receives", "pauses"),
    [
        pytest.param([(1400, 0.0), (1400, 0.0005)], 6, id="packets in close succession: once a turn"),
        pytest.param([(1400, 0.0), (1400, 0.0001), (1400, 0.0002), (9000, 0.0003)], 6, id="of however many"),
        pytest.param([(1400, 0.0), (1400, 0.5)], 0, id="far apart"),
        pytest.param([(86, 0.0), (86, 0.0001)], 0, id="lone small packets: somebody waits for an answer"),
        pytest.param([(60000, 0.0), (60000, 0.0001)], 0, id="plenty is there already"),
    ],
)
def test_a_hub_pauses_while_packets_come_one_by_one(receives: list[tuple[int, float]], pauses: int) -> None:
    counted, watching = run(PAUSING.replace("RECEIVES", repr(receives))).split()
    assert int(counted) == pauses
    assert watching == "False", "nothing looks on once it is quiet"


class Clock:
    """A clock that somebody's work and pauses move, and what others do at each turn of theirs."""

    def __init__(self) -> None:
        self.now, self.paused = 100.0, 0.0
        self.longest = 0.0
        self.others = 0.0003
        """Seconds that a pass of the event loop takes."""
        self.passes = 0

    def work(self, seconds: float) -> None:
        self.now += seconds

    def sleep(self, seconds: float) -> None:
        if seconds < 1e-6:  # a breath: one pass
            self.passes += 1
            self.now += self.others
            return
        self.now += seconds
        self.paused += seconds
        self.longest = max(self.longest, seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made, me = Clock(), SimpleNamespace()
    gevent = SimpleNamespace(sleep=made.sleep, getcurrent=lambda: me)
    monkeypatch.setattr(service_scheduling, "time", SimpleNamespace(monotonic=lambda: made.now))
    monkeypatch.setattr(service_scheduling, "gevent", gevent)
    return made


@pytest.mark.parametrize("work", [0.0003, 0.00001])
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_rows_that_are_made_in_steps_and_sent_in_turns_take_half_of_the_time(
    clock: Clock, steps: int, work: float
) -> None:
    """However many there are who let packets pass meanwhile: each once paused for the pauses of the others."""

    def rows() -> Iterator[bytes]:
        breaths = [Breaths() for _ in range(steps)]
        for _ in range(1000):
            for step in breaths:
                step()
            clock.work(work)
            yield b"x" * 1000

    assert len(b"".join(in_turns(rows()))) == 1_000_000
    assert clock.paused == pytest.approx(1000 * work, rel=0.15)
    assert clock.longest < 0.002


def test_whoever_waits_for_a_slow_reader_does_not_wait_as_long_again(clock: Clock) -> None:
    for _ in in_turns(iter([b"x" * 40_000] * 10)):
        clock.work(5.0)
    assert clock.paused < 0.1


def test_a_pause_has_a_bound(clock: Clock) -> None:
    step = Breaths()
    clock.work(5.0)
    step()
    assert clock.paused == MOST_SECONDS


@pytest.mark.parametrize(("others", "paused"), [(0.0, 0.0), (0.00001, 0.0), (0.00005, 0.1), (0.02, 0.1)])
def test_work_pauses_only_while_somebody_has_something_to_do(
    clock: Clock, others: float, paused: float
) -> None:
    """Others get a turn after each millisecond anyway, and who has used it gets as long as was worked."""
    clock.others = others
    step = Breaths()
    for _ in range(1000):
        clock.work(0.0001)
        step()
    assert clock.passes >= 90
    assert clock.paused == pytest.approx(paused, rel=0.1)


BESIDE_OTHERS = """
import time
import gevent
from lib.service_scheduling import Breaths

def others():
    while True:
        end = time.thread_time() + 0.0005
        while time.thread_time() < end:
            pass
        turns.append(1)
        gevent.sleep(1e-9)

turns = []
gevent.spawn(others)
end, step = time.thread_time() + 0.05, Breaths()
while time.thread_time() < end:
    step()
print(len(turns))
"""


def test_whoever_always_has_something_to_do_gets_as_much_time_as_long_work_beside() -> None:
    """With a real event loop: in 50 ms of CPU time half of it is 50 turns; one turn a pause would be 33."""
    assert int(run(BESIDE_OTHERS)) >= 45
