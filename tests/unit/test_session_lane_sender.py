"""The sending half of a session with two lanes, over real TCP: who gets what, and what is left with one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import gevent
import pytest

from lib import framing, session_lanes, wire_control
from lib.counters import Traffic
from lib.session_lane_sender import MARK_SECONDS, LaneSender
from lib.session_lanes import BULK, FOLLOWED, SPARSE
from lib.session_pacing import Trip
from lib.session_silence import Flight
from lib.stream_tcp import Stream
from tests.support import packets as p
from tests.support.streams import SECONDS, read_until, stream_pair

pytestmark = pytest.mark.usefixtures("no_codel")
A, B = "10.0.0.1", "10.0.0.2"


class Two:
    """A sender with two lanes, and their far ends."""

    def __init__(self, ends: list[tuple[Any, Any]]) -> None:
        self.far = [far for _, far in ends]
        self.sender = LaneSender(ends[0][0], Traffic(), 1 << 22, float("inf"))
        self.second = self.sender.add(ends[1][0], -100.0)


@pytest.fixture(autouse=True)
def is_far(monkeypatch: pytest.MonkeyPatch) -> None:
    """Far ends are far away, though all of them are on this machine."""
    monkeypatch.setattr(Stream, "is_near", False)


@pytest.fixture
def two() -> Iterator[Two]:
    with ExitStack() as stack:
        made = Two([stack.enter_context(stream_pair()) for _ in range(2)])
        yield made
        made.sender.ended()


def run(number: int, count: int = 30) -> bytes:
    return p.stream(p.tcp(A, B, (number + one).to_bytes(4).ljust(1300, b".")) for one in range(count))


def numbers(data: bytes) -> list[int]:
    return [int.from_bytes(packet[40:44]) for packet in p.contents(data) if packet[0] != wire_control.MARK]


class FarEnd:
    """The far process: reads both lanes, passes on what comes, answers PING."""

    def __init__(self, two: Two, sparse_is_late: float = 0.0) -> None:
        self.passed_on: list[tuple[int, int]] = []
        """(lane, number of the packet), in the order in which they were read."""
        self._two = two
        self._readers = [
            gevent.spawn_later(late, self._read, lane) for lane, late in enumerate((0, sparse_is_late))
        ]

    def _read(self, lane: int) -> None:
        data, done = b"", 0
        while got := self._two.far[lane].recv(1 << 16):
            data += got
            ends = framing.split(data[done:])
            whole = data[done : done + ends[-1]] if ends else b""
            done += len(whole)
            self.passed_on += [(lane, number) for number in numbers(whole)]
            for content in p.contents(whole):
                message = wire_control.decode(content) if content[0] == wire_control.MARK else None
                if isinstance(message, wire_control.Ping):
                    self._two.sender.answered(message.token)

    def order(self) -> list[int]:
        """The numbers of the packets once both lanes have ended."""
        with gevent.Timeout(SECONDS):
            self._two.sender.wait_drained()
        self._two.sender.close("test")
        gevent.joinall(self._readers, timeout=SECONDS, raise_error=True)
        return [number for _, number in self.passed_on]


def test_a_transfer_goes_by_the_first_lane_and_a_ping_by_the_second(two: Two) -> None:
    far = FarEnd(two)
    for number in range(0, 300, 30):
        two.sender.send([run(number)])
        gevent.sleep(2 * MARK_SECONDS)  # as a sender that waits for acknowledgements
    two.sender.send([p.stream([p.icmp(A, B)])])
    assert far.order()[:-1] == list(range(300))
    assert far.passed_on[-1][0] == SPARSE
    assert [lane for lane, _ in far.passed_on[:-1]] == [SPARSE] * 30 + [BULK] * 270


def test_a_flow_is_in_order_though_the_far_end_reads_the_first_lane_first(two: Two) -> None:
    """TCP has acknowledged all of it, and the far process has not read it yet."""
    far = FarEnd(two, sparse_is_late=6 * MARK_SECONDS)
    for number in range(0, 300, 30):
        two.sender.send([run(number)])
        gevent.sleep(2 * MARK_SECONDS)
    assert far.order() == list(range(300))
    assert {lane for lane, _ in far.passed_on} == {BULK, SPARSE}


def test_what_is_held_back_comes_in_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """The far end of the sparse lane reads nothing for a while, so the flow cannot move by itself."""
    monkeypatch.setattr(
        session_lanes, "HOLD_SECONDS", 60.0
    )  # after 300 ms it would go on whatever has arrived
    count = FOLLOWED // 1300 + 100
    with stream_pair() as one, stream_pair(4096) as other:
        two = Two([one, other])
        for number in range(count):
            two.sender.send([run(number, 1)])
        choice = two.sender._choice
        assert choice is not None
        assert choice.holding
        far = FarEnd(two)
        with gevent.Timeout(SECONDS):
            while choice.holding:
                gevent.sleep(0.01)
        assert far.order() == list(range(count))
        assert far.passed_on[-1][0] == BULK
        two.sender.ended()


@pytest.mark.parametrize("number", [0, 1])
def test_one_lane_is_enough(two: Two, number: int) -> None:
    two.sender.remove(two.sender.lanes[number])
    left = two.far[1 - number]
    both = run(0) + p.stream([p.icmp(A, B)])
    two.sender.send([both])
    assert read_until(left, len(both)) == both
    assert two.sender.stream is two.sender.lanes[0].stream


def test_the_second_lane_is_told_what_the_first_knows_of_the_wire(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has had little to send, and its bbr knows next to nothing, when many flows begin together."""
    told: list[Any] = []
    monkeypatch.setattr(Stream, "trip", lambda stream: Trip(0.02, 0.02, 0, 0, 9, 1e5))
    with stream_pair(4096) as one, stream_pair(4096) as other:
        two = Two([one, other])
        monkeypatch.setattr(Stream, "restart_bbr", lambda stream: told.append(stream))
        two.sender.lanes[BULK].pacing.best = 20e6
        two.sender.lanes[SPARSE].send([run(0)])
        assert told == [two.sender.lanes[SPARSE].stream]
        two.sender.remove(two.sender.lanes[BULK])
        assert two.sender.lanes[0].beside is None
        two.sender.ended()


def test_only_the_second_lane_repairs_losses_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    """bbr needs seconds after a timeout that was for nothing, as where a radio pauses: bulk is not for that."""
    told: list[Any] = []
    monkeypatch.setattr(Stream, "resend_soon", lambda stream: told.append(stream))
    with stream_pair(4096) as one, stream_pair(4096) as other:
        two = Two([one, other])
        assert told == [two.sender.lanes[SPARSE].stream]
        two.sender.ended()


@pytest.mark.parametrize("slow", [0, 1])
def test_a_reader_waits_for_no_lane_where_the_wire_is_slow(slow: int) -> None:
    """The rate of the other lane is mostly not known, as too little goes by it."""
    with stream_pair(4096) as one, stream_pair(4096) as other:
        two = Two([one, other])
        filled = two.sender.lanes[1 - slow]
        while not filled.has_queue:
            filled.send([run(0, 1)])
        waiting = gevent.spawn(two.sender.wait_while_fast)
        gevent.sleep(0)
        assert not waiting.ready()
        waiting.kill()
        two.sender.lanes[slow].rate = 1e6
        two.sender.lanes[slow]._adapt()
        with gevent.Timeout(5):
            two.sender.wait_while_fast()
        assert filled.has_queue
        two.sender.ended()


def test_near_and_not_slow_everything_goes_by_the_first_lane(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    far, bulk = FarEnd(two), two.sender.lanes[BULK]
    rest = iter(range(0, 10_000, 30))

    def some(times: int) -> None:
        for _, number in zip(range(times), rest, strict=False):
            two.sender.send([run(number)])
            gevent.sleep(2 * MARK_SECONDS)

    some(3)
    monkeypatch.setattr(Stream, "is_near", True)
    bulk._tell_fast(True)
    some(6)
    with gevent.Timeout(SECONDS):
        while two.sender.send != bulk.send:
            some(1)
    two.sender.send([p.stream([p.icmp(A, B, payload=b"\xff" * 16)])])
    bulk._tell_fast(False)
    some(6)
    two.sender.send([p.stream([p.icmp(A, B, payload=b"\xff" * 16)])])
    passed_on = far.order()
    pings = [number for number in passed_on if number > 10_000]
    assert len(pings) == 2
    assert [lane for lane, number in far.passed_on if number in pings] == [BULK, SPARSE]
    assert [number for number in passed_on if number not in pings] == list(range(next(rest)))


def test_a_second_lane_of_a_near_peer_waits_until_it_is_slow(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Stream, "is_near", True)
    with stream_pair() as one, stream_pair() as other:
        near = Two([one, other])
        ping = p.stream([p.icmp(A, B)])
        near.sender.send([ping])
        near.sender.send([ping])
        assert read_until(near.far[BULK], 2 * len(ping)) == 2 * ping
        near.sender.lanes[BULK]._tell_fast(False)
        near.sender.send([ping])
        assert read_until(near.far[SPARSE], len(ping)) == ping
        near.sender.ended()


def test_whoever_does_not_read_ends_the_whole_session(two: Two) -> None:
    two.second.evict()
    assert "has not read for longest" in two.sender.closed_because
    assert [far.recv(1) for far in two.far] == [b"", b""]


def test_limits_are_those_of_all_lanes(two: Two) -> None:
    meter: Any = object()
    two.sender.meter = meter
    assert [lane.meter for lane in two.sender.lanes] == [meter, meter]
    two.sender.meter = None


def test_losses_are_told_by_whichever_lane(two: Two) -> None:
    told: list[bytes] = []
    two.sender.tell_losses(lambda reason, frames: told.append(frames))
    for lane in two.sender.lanes:
        lane.stream.shutdown()
        lane.send([run(0, 1)])
    assert told == [run(0, 1)] * 2


class Channel:
    """A datagram channel that takes every second buffer."""

    def __init__(self) -> None:
        self.took: list[bytes] = []

    def take(self, buffers: Any) -> Any:
        self.took += [bytes(one) for one in buffers[::2]]
        return buffers[1::2]


def test_a_channel_has_the_first_choice_with_one_lane_and_with_two(two: Two) -> None:
    channel = Channel()
    two.sender.use_channel(channel)
    one, other = p.stream([p.icmp(A, B)]), p.stream([p.udp(A, B, b"x")])
    two.sender.send([one, other])
    assert read_until(two.far[SPARSE], len(other)) == other
    two.sender.send([one])
    two.sender.remove(two.second)
    two.sender.send([one, other])
    assert read_until(two.far[BULK], len(other)) == other
    assert channel.took == [one] * 3


def test_a_channel_keeps_the_first_choice_where_a_near_peer_has_one_lane_and_then_two(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Stream, "is_near", True)
    with stream_pair() as one, stream_pair() as other:
        near, channel = Two([one, other]), Channel()
        near.sender.use_channel(channel)
        ping, udp = p.stream([p.icmp(A, B)]), p.stream([p.udp(A, B, b"x")])
        bulk = near.sender.lanes[BULK]
        bulk._tell_fast(True)
        with gevent.Timeout(SECONDS):
            while near.sender.by_lanes != bulk.send:
                near.sender.send([ping, udp])
                gevent.sleep(MARK_SECONDS)
        took = len(channel.took)
        near.sender.send([ping])
        bulk._tell_fast(False)
        near.sender.send([ping])
        assert len(channel.took) == took + 2
        near.sender.ended()


def test_nobody_waits_for_a_session_that_packets_go_past(two: Two) -> None:
    """Its far end reads nothing, and it is fast as far as is known."""
    sender = two.sender
    sender.remove(two.second)
    while not sender.lanes[0].has_queue:
        sender.send([run(0)])
    reader = gevent.spawn(sender.wait_while_fast)
    gevent.sleep(0)
    assert not reader.dead
    sender.silent(True, 5.0)
    reader.join(SECONDS)
    assert reader.dead
    with gevent.Timeout(SECONDS):
        sender.wait_while_fast()
    sender.silent(True, 6.0)
    assert sender.silent_at == 5.0, "since when it is"
    sender.silent(False, 7.0)
    assert not sender.silent_at
    reader = gevent.spawn(sender.wait_while_fast)
    gevent.sleep(0)
    assert not reader.dead
    reader.kill()


def test_what_two_lanes_have_not_been_acknowledged(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {
        two.sender.lanes[0].stream: Flight(False, 7, 5.0, 0.1, 1),
        two.sender.lanes[1].stream: Flight(True, 3, 0.5, 0.2, 2),
    }
    monkeypatch.setattr(Stream, "flight", lambda stream: found[stream])
    assert two.sender.flight() == Flight(True, 10, 0.5, 0.2, 3)
    two.sender.remove(two.second)
    assert two.sender.flight() == Flight(False, 7, 5.0, 0.1, 1)
