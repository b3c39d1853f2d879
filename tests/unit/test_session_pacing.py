"""How fast the kernel may send on a wire, over a wire and a clock made for that: its queue, its rate, who else fills it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest

from lib.session_pacing import (
    CALM_SECONDS,
    LOSSY_SECONDS,
    LOST_SECONDS,
    MORE_SECONDS,
    NEAR_SECONDS,
    PACKET,
    PACKETS,
    REST_SECONDS,
    RESTART_SECONDS,
    TARGET_SECONDS,
    UNKNOWN_TRIP,
    Pacing,
    Trip,
)

MBIT = 1e6 / 8
STEP = 0.005
TRIP = 0.02


@dataclass
class Wire:
    """A wire with a first-in-first-out queue behind a congestion control that sends `blast` times what it carries."""

    rate: float
    blast: float = 2.9
    longest: float = 0.05
    """Seconds that packets may wait for their turn."""
    foreign: float = 0.0
    """Seconds that they wait because of somebody else."""
    beside: float = 0.0
    """Bytes a second of it that the connection beside ours has."""
    pacing: Pacing = field(default_factory=Pacing)
    now: float = 100.0
    queued: float = 0.0
    delivered: float = 0.0
    came_beside: float = 0.0
    resent: int = 0
    loses: bool = False
    """Whether it loses a packet at each step."""
    waits: list[float] = field(default_factory=list)
    """Seconds that packets wait, at each step."""

    def run(self, seconds: float) -> float:
        """Let so much time pass; returns the part of the wire's rate that was carried."""
        self.waits.clear()
        before, until = self.delivered, self.now + seconds
        while self.now < until:
            self.now += STEP
            offered = min(self.pacing.bound or math.inf, self.blast * self.rate) * STEP
            carried = min(self.queued + offered, (self.rate - self.beside) * STEP)
            self.came_beside += self.beside * STEP
            self.queued = min(self.queued + offered - carried, self.longest * self.rate)
            self.delivered += carried
            self.resent += self.loses
            self.waits.append(self.queued / self.rate + self.foreign)
            self.pacing.sample(self.now, self.trip(), int(self.came_beside))
        return (self.delivered - before) / seconds / self.rate

    def trip(self) -> Trip:
        return Trip(TRIP + self.waits[-1], TRIP, int(self.delivered), self.resent)


def long(rate: float) -> float:
    """Seconds from which on packets wait for too long at a rate."""
    return max(TARGET_SECONDS, PACKETS * PACKET / rate) + MORE_SECONDS


@pytest.mark.parametrize("mbit", [2, 5, 20, 200])
def test_the_queue_on_the_way_is_short_and_the_wire_is_full(mbit: float) -> None:
    wire = Wire(mbit * MBIT)
    wire.run(1.0)
    assert wire.run(10.0) > 0.98
    assert sorted(wire.waits)[len(wire.waits) * 95 // 100] < long(wire.rate) + 0.008
    assert wire.pacing.bound


def test_on_a_wire_that_loses_packets_the_queue_is_shorter() -> None:
    waits = []
    for loses in (False, True):
        wire = Wire(200 * MBIT, loses=loses)
        wire.run(2.0)
        assert wire.run(10.0) > 0.95
        waits.append(sorted(wire.waits)[len(wire.waits) * 3 // 4])
    assert waits[0] - waits[1] > (TARGET_SECONDS - LOSSY_SECONDS) / 2


@pytest.mark.parametrize(("first", "then"), [(100, 5), (5, 100), (20, 10), (3, 300)])
def test_it_follows_a_wire_that_changes(first: float, then: float) -> None:
    wire = Wire(first * MBIT)
    wire.run(3.0)
    wire.queued = min(wire.queued, wire.longest * then * MBIT)
    wire.rate = then * MBIT
    wire.run(2.0)
    assert wire.run(3.0) > 0.95
    assert sorted(wire.waits)[len(wire.waits) * 95 // 100] < long(wire.rate) + 0.008


def test_what_the_other_lane_has_of_the_wire_is_not_lost_for_us() -> None:
    """Ours goes up and down with it, at once, and the queue stays short."""
    wire = Wire(20 * MBIT, beside=14 * MBIT)
    wire.run(2.0)
    assert wire.pacing.both == pytest.approx(20 * MBIT, rel=0.1)
    assert wire.pacing.bound == pytest.approx(6 * MBIT, rel=0.2)
    wire.beside = 8 * MBIT
    wire.run(0.1)
    assert wire.run(2.0) == pytest.approx(0.6, abs=0.05)
    wire.beside = 0.0
    wire.run(0.1)
    assert wire.run(1.0) > 0.9
    wire.beside = 8 * MBIT
    wire.run(0.5)
    assert wire.run(1.0) == pytest.approx(0.6, abs=0.05)
    assert max(wire.waits) < 0.02


@pytest.mark.parametrize("foreign", [0.006, 0.01, 0.03, 0.2])
def test_it_does_not_give_way_for_ever(foreign: float) -> None:
    """Somebody else fills the queue, or the way has become longer."""
    wire = Wire(20 * MBIT, blast=1.0, foreign=foreign)
    assert wire.run(2.0) > 0.7
    assert not wire.pacing.bound
    assert wire.run(REST_SECONDS - 3) > 0.99
    assert not wire.pacing.bound
    carried = wire.run(10 * REST_SECONDS)
    assert carried > 0.95


def test_bursts_are_no_queue() -> None:
    pacing, now, delivered = Pacing(), 0.0, 0
    for number in range(1000):
        now += STEP
        delivered += 100_000
        waits = 0.015 if number % 4 else 0.0
        pacing.sample(now, Trip(TRIP + waits, TRIP, delivered, 0))
        assert not pacing.bound


@pytest.mark.parametrize(
    "trip", [UNKNOWN_TRIP, Trip(0.05, NEAR_SECONDS / 2, 0, 0), Trip(0.0, float("inf"), 0, 0)]
)
def test_there_is_no_bound_without_a_wire(trip: Trip) -> None:
    pacing = Pacing()
    for number in range(1000):
        pacing.sample(number * STEP, trip._replace(delivered=number * 1000))
        assert not pacing.bound


def test_a_look_waits_for_enough_samples() -> None:
    """Of a slow wire they come seldom; between two of them the queue may have been short."""
    pacing, now, delivered = Pacing(), 0.0, 0
    for number in range(100):
        now += 0.03
        delivered += 10_000
        pacing.sample(now, Trip(TRIP + (0.03 if number % 4 else 0.0), TRIP, delivered, 0))
        assert not pacing.bound
    for _ in range(8):
        now += 0.03
        delivered += 10_000
        pacing.sample(now, Trip(TRIP + 0.03, TRIP, delivered, 0))
    assert pacing.bound


def test_a_source_that_sends_little_does_not_lower_the_bound() -> None:
    wire = Wire(20 * MBIT)
    wire.run(2.0)
    bound, wire.blast = wire.pacing.bound, 0.1
    wire.run(5.0)
    assert wire.pacing.bound == pytest.approx(bound, rel=0.1)


def test_after_a_pause_what_came_before_says_nothing() -> None:
    wire = Wire(20 * MBIT)
    wire.run(2.0)
    wire.now += 60
    wire.queued = 0.0
    assert wire.run(1.0) > 0.9


def test_bbr_begins_anew_while_there_is_a_bound() -> None:
    wire = Wire(20 * MBIT)
    assert not wire.pacing.may_restart(wire.now)
    wire.run(2.0)
    assert wire.pacing.may_restart(wire.now)
    assert not wire.pacing.may_restart(wire.now + RESTART_SECONDS / 2)
    wire.run(RESTART_SECONDS)
    assert wire.pacing.may_restart(wire.now)


def test_bbr_goes_on_while_it_repairs_losses() -> None:
    wire = Wire(20 * MBIT)
    wire.run(2.0)
    wire.resent = 1
    wire.run(0.2)
    assert not wire.pacing.may_restart(wire.now)
    wire.run(CALM_SECONDS + 0.1)
    assert wire.pacing.may_restart(wire.now)


@dataclass
class Bbr:
    """What Pacing is told of a connection whose bbr lets `paced` bytes a second go, all of which arrive."""

    pacing: Pacing = field(default_factory=Pacing)
    now: float = 100.0
    delivered: float = 0.0
    restarts: list[float] = field(default_factory=list)

    def run(self, seconds: float, paced: float, carried: float | None = None) -> None:
        """Let so much time pass; `carried` where less arrives than may be sent."""
        until = self.now + seconds
        while self.now < until:
            self.now += STEP
            self.delivered += (paced if carried is None else carried) * STEP
            self.pacing.sample(self.now, Trip(TRIP, TRIP, int(self.delivered), int(self.now * 50), 9, paced))
            if self.pacing.may_restart(self.now):
                self.restarts.append(self.now)


def test_bbr_begins_anew_where_it_has_lost_its_measure() -> None:
    """Once, also where the wire has really become slower; losses are repaired all the time."""
    bbr = Bbr()
    bbr.run(2.0, 23e6)
    assert not bbr.restarts
    began = bbr.now
    bbr.run(5.0, 2e6)
    assert len(bbr.restarts) == 1
    assert LOST_SECONDS <= bbr.restarts[0] - began < LOST_SECONDS + 0.05
    bbr.run(5.0, 23e6)
    bbr.run(1.0, 5e6)
    assert len(bbr.restarts) == 2


@pytest.mark.parametrize(
    "stages",
    [
        pytest.param([(9.0, 60e6, 20e6), (9.0, 60e6, 1e6)], id="there is little to send"),
        pytest.param([(2.0, 23e6, None), *[(0.05, 8e6, None), (0.5, 23e6, None)] * 9], id="it drains"),
        pytest.param([(2.0, 20e6 * 0.8**step, None) for step in range(9)], id="the wire gets slower"),
    ],
)
def test_bbr_has_not_lost_its_measure(stages: list[tuple[float, float, float | None]]) -> None:
    bbr = Bbr()
    for stage in stages:
        bbr.run(*stage)
    assert not bbr.restarts


def test_our_own_bound_is_no_lost_measure() -> None:
    wire = Wire(20 * MBIT)
    wire.run(2.0)
    assert wire.pacing.bound
    assert wire.pacing.may_restart(wire.now), "as each five seconds"
    wire.pacing.best *= 9
    for _ in range(int(CALM_SECONDS / STEP * 2)):
        wire.now += STEP
        wire.pacing.sample(wire.now, wire.trip()._replace(paced=wire.pacing.bound))
        assert not wire.pacing.may_restart(wire.now)


@pytest.mark.parametrize(
    ("own", "beside", "paced", "begins"),
    [
        pytest.param(0.0, 20e6, 1e6, True, id="the other connection knows the wire"),
        pytest.param(20e6, 0.0, 1e6, True, id="it has known the wire itself"),
        pytest.param(1e6, 20e6, 1e6, True, id="the other one has seen more"),
        pytest.param(20e6, 20e6, 11e6, False, id="it is fast enough"),
        pytest.param(0.0, 0.0, 1e6, False, id="nothing is known"),
        pytest.param(20e6, 20e6, math.inf, False, id="the kernel tells nothing"),
    ],
)
def test_bbr_begins_anew_with_a_queue_where_others_know_more(
    own: float, beside: float, paced: float, begins: bool
) -> None:
    """Once in CALM_SECONDS: a wire that has really become slower is not flooded again and again."""
    pacing = Pacing(best=own)
    trip = Trip(TRIP, TRIP, 0, 0, 9, paced)
    assert pacing.begins(100.0, beside, lambda: trip) is begins
    assert not pacing.begins(100.5, beside, lambda: trip)
    assert pacing.begins(100.0 + CALM_SECONDS, beside, lambda: trip) is (begins and beside > 0), (
        "its own is measured anew"
    )


def test_our_own_bound_is_no_lost_measure_as_a_queue_begins() -> None:
    trip = Trip(TRIP, TRIP, 0, 0, 9, 1e6)
    assert not Pacing(bound=1e6, best=20e6).begins(100.0, 20e6, lambda: trip)


def test_the_kernel_is_not_asked_where_nothing_is_known_of_the_wire() -> None:
    asked: list[Trip] = []
    assert not Pacing().begins(100.0, 0.0, lambda: asked.append(UNKNOWN_TRIP) or UNKNOWN_TRIP)  # type: ignore[func-returns-value]
    assert not asked


def test_a_pause_of_bbr_is_not_taken_for_the_wire() -> None:
    """For 0.2 s it sends four packets a round trip, and the smoothed round trip stays as it was."""
    pacing, now, delivered = Pacing(), 0.0, 0.0
    for _ in range(9):
        for seconds, rate, waits in ((2.0, 23e6, 0.001), (0.25, 0.3e6, 0.005), (0.1, 23e6, 0.005)):
            until = now + seconds
            while now < until:
                now += STEP
                delivered += rate * STEP
                pacing.sample(now, Trip(TRIP + waits, TRIP, int(delivered), 0))
                assert not pacing.bound or pacing.bound > 0.45 * 23e6


def test_the_best_rate_is_that_at_which_bytes_arrive_lately() -> None:
    wire = Wire(20 * MBIT)
    wire.run(3.0)
    assert wire.pacing.best == pytest.approx(wire.rate, rel=0.05)
    assert wire.pacing.trip == TRIP
    wire.rate = 5 * MBIT
    wire.run(20.0)
    assert wire.pacing.best == pytest.approx(wire.rate, rel=0.4)
    wire.now += 60
    wire.pacing.sample(wire.now, wire.trip())
    assert wire.pacing.best < 2 * wire.rate, "a pause says nothing"


def test_packets_may_wait_for_a_part_of_the_round_trip_and_for_longer_while_losses_are_repaired() -> None:
    wire = Wire(20 * MBIT)
    wire.run(2.0)
    assert wire.pacing.patience(wire.now) == 0.75 * TRIP
    wire.resent = 1
    wire.run(0.2)
    assert wire.pacing.patience(wire.now) == 1.5 * TRIP
    wire.run(CALM_SECONDS + 0.1)
    assert wire.pacing.patience(wire.now) == 0.75 * TRIP


def test_packets_may_wait_longer_while_more_and_more_comes_across() -> None:
    wire = Wire(20 * MBIT)
    for wire.blast in (0.05, 0.1, 0.2, 0.4, 0.8):
        wire.run(0.08)
        assert wire.pacing.patience(wire.now) == 4 * TRIP
    wire.run(0.3)
    assert wire.pacing.patience(wire.now) == 0.75 * TRIP, "it has come to an end"


def test_nobody_waits_for_a_way_that_is_not_known_and_not_for_ever_for_a_long_one() -> None:
    unknown, long = Pacing(), Pacing()
    unknown.sample(1.0, Trip(TRIP, math.inf, 0, 1))
    long.sample(1.0, Trip(3.0, 3.0, 0, 0))
    assert (unknown.patience(1.0), long.patience(100.0)) == pytest.approx((0, 0.0375))
