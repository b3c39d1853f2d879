"""The sending half of a session with two lanes, over real TCP: who gets what, and what is left with one."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import gevent
import pytest

from lib.counters import Traffic
from lib.session_lane_sender import LaneSender
from lib.session_lanes import FOLLOWED
from tests.support import packets as p
from tests.support.streams import read_until, stream_pair

A, B = "10.0.0.1", "10.0.0.2"


class Two:
    """A sender with two lanes, and their far ends."""

    def __init__(self, ends: list[tuple[Any, Any]]) -> None:
        self.far = [far for _, far in ends]
        self.sender = LaneSender(ends[0][0], Traffic(), 1 << 22, float("inf"))
        self.second = self.sender.add(ends[1][0], -100.0)


@pytest.fixture
def two() -> Iterator[Two]:
    with ExitStack() as stack:
        made = Two([stack.enter_context(stream_pair()) for _ in range(2)])
        yield made
        made.sender.ended()


def run(number: int, count: int = 30) -> bytes:
    return p.stream(p.tcp(A, B, (number + one).to_bytes(4).ljust(1300, b".")) for one in range(count))


def numbers(data: bytes) -> list[int]:
    return [int.from_bytes(packet[40:44]) for packet in p.contents(data)]


def test_a_transfer_goes_by_the_first_lane_and_a_ping_by_the_second(two: Two) -> None:
    first, size = run(0), len(run(0))
    two.sender.send([first])
    assert read_until(two.far[1], size) == first
    two.sender.send([run(30)])  # all of it has been acknowledged, so the flow moves
    assert numbers(read_until(two.far[0], size)) == list(range(30, 60))
    ping = p.stream([p.icmp(A, B)])
    two.sender.send([ping])
    assert read_until(two.far[1], len(ping)) == ping


def test_what_is_held_back_comes_in_its_order() -> None:
    """The far end of the sparse lane reads nothing for a while, so the flow cannot move by itself."""
    count = FOLLOWED // 1300 + 100
    with stream_pair() as one, stream_pair(4096) as other:
        two = Two([one, other])
        for number in range(count):
            two.sender.send([run(number, 1)])
        assert two.sender._choice is not None
        assert two.sender._choice.holding
        sparse = gevent.spawn(read_until, two.far[1], 1 << 30)
        bulk = gevent.spawn(read_until, two.far[0], 1 << 30)
        with gevent.Timeout(5):
            while two.sender._choice.holding:
                gevent.sleep(0.01)
            two.sender.wait_drained()
        two.sender.close("test")
        by_both = [numbers(reader.get()) for reader in (sparse, bulk)]
        two.sender.ended()
    assert by_both[1]
    assert functools.reduce(operator.iadd, by_both, []) == list(range(count))


@pytest.mark.parametrize("number", [0, 1])
def test_one_lane_is_enough(two: Two, number: int) -> None:
    two.sender.remove(two.sender.lanes[number])
    left = two.far[1 - number]
    both = run(0) + p.stream([p.icmp(A, B)])
    two.sender.send([both])
    assert read_until(left, len(both)) == both
    assert two.sender.stream is two.sender.lanes[0].stream


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
