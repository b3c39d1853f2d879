"""A session's queue: bounded in bytes and in time, what is lost is counted in packets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.drops import Reason
from lib.queueing import SendQueue
from lib.stats import Traffic
from tests.support import packets as p

ONE = p.frame(p.udp("10.0.0.1", "10.0.0.2"))
SUPER = p.frame(p.superpacket(p.tcp("10.0.0.1", "10.0.0.2", bytes(3000), partial=True), 1000))


def drain(queue: SendQueue, now: float, traffic: Traffic | None = None) -> list[bytes]:
    found = []
    while (run := queue.pop(now, traffic or Traffic())) is not None:
        found.append(run)
    return found


def test_first_in_first_out() -> None:
    queue = SendQueue(1000, 1.0)
    runs = [p.frame(bytes([n])) for n in range(5)]
    assert [queue.push(run, 0) for run in runs] == [0] * 5
    assert queue.size == sum(map(len, runs))
    assert drain(queue, 0) == runs
    assert queue.size == 0


def test_what_has_no_room_is_dropped_whole_and_counted() -> None:
    queue = SendQueue(len(ONE) * 2, 1.0)
    assert queue.push(ONE * 2, 0) == 0
    assert queue.push(ONE, 0) == 1
    assert queue.push(SUPER + ONE, 0) == 4
    assert drain(queue, 0) == [ONE * 2]
    assert queue.push(ONE, 0) == 0


def test_what_waited_too_long_is_dropped_and_counted() -> None:
    queue, traffic = SendQueue(10**6, 0.5), Traffic()
    queue.push(ONE * 3, 10)
    queue.push(SUPER, 10.2)
    queue.push(ONE, 10.6)
    assert queue.pop(10.8, traffic) == ONE
    assert traffic.drops == {Reason.QUEUE_TIME: 6}
    assert (queue.size, queue.pop(10.8, traffic)) == (0, None)


def test_in_time_is_in_time() -> None:
    queue, traffic = SendQueue(10**6, 0.5), Traffic()
    queue.push(ONE, 10)
    assert queue.pop(10.5, traffic) == ONE
    assert not traffic.drops


def test_without_a_limit_nothing_is_late() -> None:
    queue = SendQueue(10**6, float("inf"))
    queue.push(ONE, 0)
    assert drain(queue, 1e9) == [ONE]


def test_clear_counts_packets() -> None:
    queue = SendQueue(10**6, 1.0)
    queue.push(ONE * 2, 0)
    queue.push(SUPER, 0)
    assert queue.clear() == 5
    assert (queue.size, queue.clear(), drain(queue, 0)) == (0, 0, [])


@given(st.lists(st.one_of(st.integers(1, 9), st.none(), st.floats(0, 2)), max_size=60))
@pytest.mark.parametrize("room", [0, 3, 1000])
def test_every_packet_is_sent_or_counted(room: int, moves: list[int | float | None]) -> None:
    queue, traffic = SendQueue(room * len(ONE), 1.0), Traffic()
    pushed = popped = refused = 0
    now = 0.0
    for move in moves:
        if isinstance(move, int):
            pushed += move
            refused += queue.push(ONE * move, now)
        elif move is None:
            popped += len(queue.pop(now, traffic) or b"") // len(ONE)
        else:
            now += move
        assert 0 <= queue.size <= queue.max_bytes
    assert pushed == popped + refused + traffic.drops[Reason.QUEUE_TIME] + queue.clear()
