"""How a session's sending half follows the speed of its wire, over a wire and a clock made for that.

The wire stands for the kernel as well: it holds what is unsent, takes more while that is less than the bound
(TCP_NOTSENT_LOWAT), and wakes its writer at half of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from types import SimpleNamespace

import gevent
import pytest
from gevent.event import Event

from lib import session_sender
from lib.counters import Traffic
from lib.limits import Bucket, Meter
from lib.packet import Buffer
from lib.session_pacing import UNKNOWN_TRIP, Trip
from lib.session_sender import FAST, FIRST_BYTES, RUN_BYTES, SessionSender
from lib.stream_options import NOTSENT_LOWAT
from tests.support import packets as p
from tests.support.streams import SECONDS

PACKET = p.stream([p.udp("10.0.0.1", "10.0.0.2", bytes(1392))])
PING = p.stream([p.udp("10.0.0.1", "10.0.0.3", bytes(56))])
STEP = 0.0005
WAKE = 0.00002
"""Seconds until the writer runs after the kernel has woken it."""
SETTLED = 0.4
"""Seconds after which a new rate must be known."""
MBIT = 1e6 / 8


class Wire:
    """A stream over a wire whose speed is given as (seconds, bytes a second) one after the other."""

    def __init__(self, stages: Iterable[tuple[float, float]]) -> None:
        self.now = 1000.0
        self.unsent = 0.0
        self.sent = self.calls = 0
        self.bound = NOTSENT_LOWAT
        self.pending = 0
        self.late = 0.0
        """Seconds that a pass of the event loop takes at least, as on a busy processor."""
        self.told: list[bool] = []
        """What tell_fast has said, each time that it was another thing."""
        self.held: list[tuple[float, float, float]] = []
        """(seconds since the rate has last changed, rate, bytes unsent) after each send."""
        self.feed: Callable[[], None]
        self.become(stages)

    def become(self, stages: Iterable[tuple[float, float]]) -> None:
        """Have other speeds from now on; nothing is fed any more."""
        self._stages, self._began = list(stages), self.now
        self.feed = lambda: None

    @property
    def rate(self) -> float:
        return self._stages[0][1]

    @property
    def over(self) -> bool:
        return not self._stages[1:] and self.now - self._began > self._stages[0][0]

    def monotonic(self) -> float:
        return self.now

    def hold_unsent(self, size: int) -> None:
        self.bound = size

    def trip(self) -> Trip:
        return UNKNOWN_TRIP._replace(unsent=int(self.unsent))

    def tell_fast(self, fast: bool) -> None:
        if self.told[-1:] != [fast]:
            self.told.append(fast)

    def try_send(self, buffers: Sequence[Buffer]) -> int:
        self.calls += 1
        taken, left = 0, sum(map(len, buffers))
        while left and self.unsent < self.bound:  # the kernel looks before each 64 KB
            piece = min(left, 1 << 16)
            self.unsent, taken, left = self.unsent + piece, taken + piece, left - piece
        self.sent += taken
        self.held.append((self.now - self._began, self.rate, self.unsent))
        return taken

    def wait_writable(self) -> None:
        gevent.sleep(0)
        self.feed()
        if self.late:
            self.pass_time(self.late)
        while (more := self.unsent - self.bound / 2) >= 0:
            self.pass_time(min(STEP, more / self.rate + WAKE))

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.unsent = max(0.0, self.unsent - self.rate * seconds)
        if self._stages[1:] and self.now - self._began > self._stages[0][0]:
            del self._stages[0]
            self._began = self.now

    def shutdown(self) -> None:
        self._stages = [(0.0, 1.0)]


def sender_over(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> SessionSender:
    monkeypatch.setattr(session_sender, "time", SimpleNamespace(monotonic=wire.monotonic))
    return SessionSender(wire, Traffic(), 1 << 24, float("inf"))  # type: ignore[arg-type]


def fill(wire: Wire, sender: SessionSender) -> None:
    """Keep a queue until the wire's time is over."""

    def feed() -> None:
        while sender.queued < 100_000 + wire.rate / 100 and not wire.over:
            sender.send([PACKET])

    wire.feed = feed
    while sender.writer is None:
        sender.send([PACKET])
    with gevent.Timeout(4 * SECONDS):  # some seconds of computing
        sender.wait_drained()


@pytest.mark.parametrize(
    "rates",
    [(100, 5, 100), (20,), (5,), (500, 50), (2000, 20, 2000), (3, 300)],
    ids=lambda rates: "-".join(map(str, rates)),
)
def test_the_kernel_holds_what_drains_in_5_ms(
    rates: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = Wire((1.0 if rate * MBIT < FAST else 0.2, rate * MBIT) for rate in rates)
    sender = sender_over(wire, monkeypatch)
    fill(wire, sender)
    seen = set()
    for since, rate, unsent in wire.held:
        if since > SETTLED and rate < FAST:
            seen.add(rate)
            assert unsent <= max(rate * 0.005, session_sender.LEAST_BYTES + len(PACKET)), (since, rate)
    assert seen == {rate * MBIT for rate in rates if rate * MBIT < FAST}


@pytest.mark.parametrize("mbit", [1, 5, 20, 100, 500])
def test_the_first_second_is_no_worse_than_the_start(mbit: float, monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire([(1.0, mbit * MBIT)])
    sender = sender_over(wire, monkeypatch)
    fill(wire, sender)
    assert max(unsent for _, _, unsent in wire.held) <= max(2.2 * FIRST_BYTES, wire.rate * 0.005)


@pytest.mark.parametrize("mbit", [3, 20, 100, 700])
def test_the_queue_is_told_the_rate(mbit: float, monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire([(1.0, mbit * MBIT)])
    sender = sender_over(wire, monkeypatch)
    fill(wire, sender)
    assert sender._queue.rate == pytest.approx(mbit * MBIT, rel=0.15)


@pytest.mark.parametrize("loses", [True, False])
def test_the_queue_is_told_how_long_packets_may_wait_because_of_the_way(
    loses: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = Wire([(1.0, 100 * MBIT)])
    sender = sender_over(wire, monkeypatch)

    def trip() -> Trip:
        return Trip(0.02, 0.02, wire.sent, wire.calls if loses else 0, int(wire.unsent))

    monkeypatch.setattr(wire, "trip", trip)
    monkeypatch.setattr(wire, "pace", lambda rate: None, raising=False)
    monkeypatch.setattr(wire, "restart_bbr", lambda: None, raising=False)
    fill(wire, sender)
    assert sender._queue.patience == pytest.approx(0.03 if loses else 0.015)


def over_a_far_wire(wire: Wire, monkeypatch: pytest.MonkeyPatch, trip_seconds: float = 0.02) -> None:
    """Let the kernel know the wire's round trip."""

    def trip() -> Trip:
        return Trip(trip_seconds, trip_seconds, wire.sent - int(wire.unsent), 0, int(wire.unsent))

    monkeypatch.setattr(wire, "trip", trip)
    monkeypatch.setattr(wire, "pace", lambda rate: None, raising=False)
    monkeypatch.setattr(wire, "restart_bbr", lambda: None, raising=False)


LONG = [PACKET * (60_000 // len(PACKET))]


@pytest.mark.parametrize(("trip", "straight"), [(0.0005, True), (0.02, False), (float("inf"), False)])
def test_long_runs_go_straight_to_a_near_peer_that_takes_all(
    trip: float, straight: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small packets as fast as they come: no queue lasts, so the rate stays unknown."""
    wire = Wire([(9.0, 4 * FAST)])
    sender = sender_over(wire, monkeypatch)
    over_a_far_wire(wire, monkeypatch, trip)
    for _ in range(100):
        sender.send(LONG)
        assert sender.has_queue != straight
        sender.wait_drained()
        wire.pass_time(0.004)  # 15 MB/s
    assert not straight or sender.rate == 0.0


def test_a_near_peer_on_a_slow_wire_is_soon_known_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire([(1.0, 20 * MBIT)])
    sender = sender_over(wire, monkeypatch)
    over_a_far_wire(wire, monkeypatch, 0.0005)
    sender.send(LONG)
    fill(wire, sender)
    assert max(unsent for _, _, unsent in wire.held) <= len(LONG[0])
    assert max(unsent for since, _, unsent in wire.held if since > 0.1) <= wire.rate * 0.005


@pytest.mark.parametrize("far", [True, False])
def test_a_wire_is_known_whose_own_queue_takes_all(far: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel sends faster than the wire, so that no queue here lasts long enough to be measured."""
    wire = Wire([(9.0, 400 * MBIT)])
    sender = sender_over(wire, monkeypatch)
    if far:
        over_a_far_wire(wire, monkeypatch)
    for _ in range(200):
        sender.send([PACKET * 100])
        with gevent.Timeout(SECONDS):
            sender.wait_drained()
        wire.pass_time(0.002)
    assert sender.is_slow is far
    sender.send([PACKET * 400])
    assert sender.has_queue
    if far:
        with gevent.Timeout(SECONDS):
            sender.wait_while_fast()
        assert sender.queued
    sender.ended()


def test_a_fast_peer_has_no_rate_and_large_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire([(0.2, 8e9 / 8)])
    sender = sender_over(wire, monkeypatch)
    fill(wire, sender)
    assert sender._queue.rate == 0.0
    assert wire.bound == NOTSENT_LOWAT
    wire.pass_time(STEP)
    calls, sent = wire.calls, wire.sent
    sender.send([PACKET * 100])
    assert (wire.calls - calls, wire.sent - sent) == (1, len(PACKET) * 100), "straight to the kernel, as one"


def test_the_stream_is_told_what_limits_the_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire([(0.3, 8e9 / 8), (0.5, 20 * MBIT), (0.3, 8e9 / 8)])
    sender = sender_over(wire, monkeypatch)
    fill(wire, sender)
    assert wire.told == [True, False, True]


def test_a_reader_as_fast_as_the_wire_leaves_no_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    """It brings more in each pass of the event loop than the writer takes at a time."""
    wire = Wire([(0.2, 8e9 / 8)])
    sender = sender_over(wire, monkeypatch)
    fill(wire, sender)
    wire.become([(9.0, 40e9 / 8)])
    sender.send([PACKET * 400])
    passes = 0

    def feed() -> None:
        nonlocal passes
        passes += 1
        if sender.queued and passes < 200:
            sender.send([PACKET * 190])  # 256 KB

    wire.feed = feed
    with gevent.Timeout(SECONDS):
        sender.wait_drained()
    assert passes < 20


def test_bursts_with_pauses_show_a_fast_peer_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """No queue lasts long enough to be measured here."""
    wire = Wire([(9.0, 8e9 / 8)])
    sender = sender_over(wire, monkeypatch)
    for _ in range(100):
        sender.send([PACKET * 200])
        with gevent.Timeout(SECONDS):
            sender.wait_drained()
        wire.pass_time(0.001)
    assert wire.bound == NOTSENT_LOWAT


@pytest.mark.parametrize("late", [0.005, 0.03])
@pytest.mark.parametrize("before", [0.0, 2e6], ids=["new", "slow"])
def test_a_late_loop_is_not_taken_for_a_slow_wire(
    before: float, late: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flood of other work makes each pass of the loop last: what is sent in one must not shrink."""
    wire = Wire([(3.0, 1e9)])
    sender = sender_over(wire, monkeypatch)
    if before:
        sender.rate = before
        sender._adapt()
    wire.late = late
    fill(wire, sender)
    assert sender.rate >= FAST
    assert wire.bound == NOTSENT_LOWAT
    assert wire.sent > 0.7 * 3.0 / late * session_sender.RUN_BYTES


@pytest.mark.parametrize("mbit", [5, 100])
def test_a_late_loop_before_a_slow_wire_lets_it_wait_for_little(
    mbit: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel holds what drains in a pass then, and not much more."""
    wire = Wire([(2.0, mbit * MBIT)])
    sender = sender_over(wire, monkeypatch)
    wire.late = 0.01
    fill(wire, sender)
    assert wire.sent > 0.7 * 2.0 * wire.rate
    settled = [unsent for since, _, unsent in wire.held if since > SETTLED]
    assert max(settled) < wire.rate * 0.05


@pytest.mark.parametrize(("taken", "is_fast"), [(9_000, False), (RUN_BYTES, True)])
def test_behind_a_late_loop_only_who_takes_long_runs_is_fast(
    taken: int, is_fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of small packets are few bytes, and a peer whose processor they are too much for is not fast."""
    wire = Wire([(9.0, 1e6)])
    sender = sender_over(wire, monkeypatch)
    sender.rate, sender._most = RUN_BYTES / 0.05, RUN_BYTES
    sender._since, sender._taken = wire.now - 0.03, taken
    sender._measure()
    assert sender.is_slow is not is_fast


def test_a_rate_limit_is_no_late_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a limit lets through is the rate: turns and superpackets are cut to it."""
    wire = Wire([(2.0, 1e9)])
    sender = sender_over(wire, monkeypatch)
    sender.meter = Meter([Bucket(20 * MBIT, 10_000, at=wire.now)], [])
    monkeypatch.setattr(
        session_sender,
        "gevent",
        SimpleNamespace(spawn=gevent.spawn, sleep=lambda seconds: wire.pass_time(seconds)),
    )
    asked = wire.try_send

    def try_send(buffers: Sequence[Buffer]) -> int:
        taken = asked(buffers)
        assert sender.meter is not None
        sender.meter.take_bytes(taken, wire.now)
        return taken

    wire.try_send = try_send  # type: ignore[method-assign]
    fill(wire, sender)
    assert sender._queue.rate == pytest.approx(20 * MBIT, rel=0.3)


def test_few_system_calls_on_a_fast_wire(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire([(1.0, 500 * MBIT)])
    sender = sender_over(wire, monkeypatch)
    fill(wire, sender)
    assert wire.sent / wire.calls > 50_000


def test_a_ping_on_a_slow_wire_waits_for_no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is before it is what the kernel holds, and the run that the writer has in its hands."""
    wire = Wire([(1.0, 20 * MBIT)])
    sender = sender_over(wire, monkeypatch)
    waited: list[float] = []
    asked = wire.try_send

    def try_send(buffers: Sequence[Buffer]) -> int:
        taken = asked(buffers)
        if PING in b"".join(map(bytes, buffers)):
            waited.append(wire.now - pinged[0] + wire.unsent / wire.rate)
            pinged.clear()
        return taken

    pinged: list[float] = []
    wire.try_send = try_send  # type: ignore[method-assign]

    def feed() -> None:
        while sender.queued < 1_000_000 and not wire.over:
            sender.send([PACKET])
        if not pinged and wire.now - wire._began > SETTLED and not wire.over:
            pinged.append(wire.now)
            sender.send([PING])

    wire.feed = feed
    sender.send([PACKET * 20])  # more than goes straight to the kernel
    with gevent.Timeout(SECONDS):
        sender.wait_drained()
    assert len(waited) > 30
    assert max(waited) < 0.010


# --- the reader ------------------------------------------------------------------------------------


def test_a_reader_goes_on_at_once_where_the_wire_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire([(1.0, 20 * MBIT)])
    sender = sender_over(wire, monkeypatch)
    fill(wire, sender)
    sender.send([PACKET * 200])
    assert sender.writer is not None
    with gevent.Timeout(SECONDS):
        sender.wait_while_fast()
    assert sender.queued == len(PACKET) * 200, "nothing has been sent meanwhile"
    sender.ended()


def test_a_reader_waits_for_a_fast_peer_until_nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire([(0.2, 8e9 / 8)])
    sender = sender_over(wire, monkeypatch)
    fill(wire, sender)
    sender.send([PACKET * 400])
    assert sender.writer is not None
    with gevent.Timeout(SECONDS):
        sender.wait_while_fast()
    assert sender.writer is None
    assert sender.queued == 0


def test_a_reader_that_waits_goes_on_once_the_peer_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire([(0.2, 8e9 / 8)])
    sender = sender_over(wire, monkeypatch)
    fill(wire, sender)
    wire.become([(9.0, 5 * MBIT)])
    for _ in range(40):
        sender.send([PACKET * 100])
    with gevent.Timeout(SECONDS):
        sender.wait_while_fast()
    assert sender.queued, "it did not wait for all of them"
    assert 0.0 < wire.now - wire._began < 1.0
    sender.ended()


def test_who_writes_to_the_device_waits_while_its_reader_does(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire([(0.2, 8e9 / 8)])
    sender = sender_over(wire, monkeypatch)
    fill(wire, sender)
    began = time.monotonic()
    sender.wait_for_reader()
    assert time.monotonic() - began < session_sender.READER_SECONDS / 2, "nobody reads"
    sender.send([PACKET * 400])
    order: list[str] = []

    def read() -> None:
        sender.wait_while_fast()
        order.append("reader")

    def write() -> None:
        sender.wait_for_reader()
        order.append("writer")

    reader = gevent.spawn(read)
    gevent.sleep(0)
    writer = gevent.spawn(write)
    gevent.joinall([reader, writer], timeout=SECONDS, raise_error=True)
    assert order == ["reader", "writer"]


def test_who_writes_to_the_device_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub of GOST's reads nothing from us while it waits for us to read."""
    wire = Wire([(9.0, 1e6)])
    sender = sender_over(wire, monkeypatch)
    sender._goes_on = Event()
    with gevent.Timeout(SECONDS):
        sender.wait_for_reader()
