"""Window of a link: some milliseconds of what is read may wait unread, whatever that is, and whatever the way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.session_window import (
    FIRST,
    LEAST,
    LEAST_SENT,
    MOST,
    MOST_SECONDS,
    PAUSE_SECONDS,
    STALL_SECONDS,
    Allowed,
    Window,
)

KERNELS = 6 << 20
"""Bytes that two kernels take without anybody's say."""
TICK = 0.0005


class Link:
    """A sender that always has more, over a way of so many seconds there and back."""

    def __init__(self, trip: float, wire: float = 1e10, kernels: int = KERNELS, none: int = MOST) -> None:
        self.now, self.received, self.unread = 1.0, 0.0, 0.0
        self._sent, self._spent, self._trip, self._wire = 0.0, 0.0, trip, wire
        self._kernels = kernels
        self.window = Window(none)
        self.allowed = Allowed(lambda: int(self._sent))
        self.allowed.upto = (
            self.window.look(0, self.now, 0.0, False, lambda: 0, lambda: trip) or 0
        )  # once both have said HELLO
        self._there: list[tuple[float, float]] = []
        self._back: list[tuple[float, int]] = []

    def run(self, rate: float, seconds: float) -> None:
        """Read at this rate at most for so long."""
        until = self.now + seconds
        while self.now < until:
            self.now += TICK
            while self._there and self._there[0][0] <= self.now:
                self.unread += self._there.pop(0)[1]
            while self._back and self._back[0][0] <= self.now:
                self.allowed.upto = self._back.pop(0)[1]
            could = rate * TICK
            got = min(self.unread, could)
            self.unread -= got
            self.received += got
            if got:
                self._spent += got / rate
                upto = self.window.look(
                    int(self.received),
                    self.now,
                    self._spent,
                    got >= could,
                    lambda: int(self.unread),
                    lambda: self._trip,
                )
                if upto is not None:
                    self._back.append((self.now + self._trip / 2, upto))
            self._send()

    def _send(self) -> None:
        if self.allowed.is_shut(self.now):
            return
        room = self._kernels - (self._sent - self.received)
        size = min(self._wire * TICK, room, max(self.allowed.slice, 0))
        if size > 0:
            self._sent += size
            self._there.append((self.now + self._trip / 2, size))

    def late(self, rate: float, seconds: float) -> float:
        """Seconds that what comes lies unread, the most of a while."""
        worst = 0.0
        for _ in range(int(seconds / 0.005)):
            self.run(rate, 0.005)
            worst = max(worst, self.unread / rate)
        return worst

    def speed(self, rate: float, seconds: float) -> float:
        """The part of what could be read that is."""
        before = self.received
        self.run(rate, seconds)
        return (self.received - before) / (rate * seconds)


@pytest.mark.parametrize("trip", [0.0, 0.001])
@pytest.mark.parametrize("rate", [1e6, 4e6, 3e7])
def test_what_lies_unread_is_soon_read_from_the_first_byte_on(rate: float, trip: float) -> None:
    link = Link(trip)
    link.run(rate, 4 * FIRST / rate)
    bound = max(2 * MOST_SECONDS, 2 * LEAST / rate)
    assert link.late(rate, 1.0) < bound
    assert link.speed(rate, 1.0) > 0.9, "and it is not the window that limits it"


@pytest.mark.parametrize("trip", [0.02, 0.1])
@pytest.mark.parametrize("rate", [4e6, 3e7])
def test_a_long_way_is_used_all_the_same(rate: float, trip: float) -> None:
    link = Link(trip)
    link.run(rate, 2.0)
    assert link.speed(rate, 4.0) > 0.7
    assert link.late(rate, 2.0) < 3 * trip + 0.03


def test_a_link_that_is_read_fast_has_a_large_window_or_none_until_it_is_read_slowly() -> None:
    link = Link(0.001)
    link.run(1e9, 0.1)
    assert link.speed(1e9, 1.0) > 0.95
    link.run(1e6, KERNELS / 1e6 + 0.5)
    assert 0 < link.window.most < FIRST
    assert link.late(1e6, 0.5) < 0.02
    link.run(1e9, 0.2)
    assert link.speed(1e9, 1.0) > 0.95, "again, once it is read fast again"


def test_where_the_kernel_takes_little_a_link_that_is_read_fast_is_told_nothing() -> None:
    """Between two workers: each word about a window wakes the other one."""
    link = Link(0.0, kernels=2 << 20, none=1 << 20)
    link.run(5e8, 0.1)
    for _ in range(100):
        link.run(5e8, 0.005)
        assert (link.window.most, link.allowed.upto) == (0, 0)
    assert link.late(5e8, 0.5) < 2 * MOST_SECONDS, "the kernel takes no more"
    link.run(2e7, 0.2)
    assert 0 < link.window.most < 1 << 18
    assert link.late(2e7, 0.5) < 2 * MOST_SECONDS


def test_a_link_that_is_read_fast_is_not_looked_at() -> None:
    link = Link(0.0, kernels=1 << 20, none=1 << 19)
    link.run(5e8, 0.1)
    now, received, looks = link.now, int(link.received), list[int]()

    def unread() -> int:
        looks.append(1)
        return 1 << 19

    for _ in range(100):
        now, received = now + 0.001, received + 150_000  # 150 MB/s
        assert link.window.look(received, now, link.now, True, unread, lambda: 0.0) is None
    assert not looks
    for _ in range(100):
        now, received = now + 0.001, received + 100_000
        link.window.look(received, now, link.now, True, unread, lambda: 0.0)
    assert looks
    assert 0 < link.window.most < 1 << 19


def test_a_window_without_a_bound_is_said_once() -> None:
    window, told, received = Window(), list[int](), 0
    for number in range(1, 60):
        received += 1 << 20
        upto = window.look(received, number * 0.001, 0.0, False, lambda: 0, lambda: 0.0)
        told += [] if upto is None else [upto]
    assert told[-1] == 0 == window.most
    assert 0 not in told[:-1]


def test_where_a_wire_is_slow_nothing_lies_unread() -> None:
    link = Link(0.01, wire=1e6)
    assert link.late(1e8, 1.0) < MOST_SECONDS
    assert link.speed(1e6, 2.0) > 0.9


def test_what_little_comes_needs_few_words() -> None:
    window, told = Window(), list[int]()
    for number in range(1, 200):
        upto = window.look(60 * number, float(number), 0.0, False, lambda: 0, lambda: 0.0)
        told += [] if upto is None else [upto]
    assert told[0] == 60 + FIRST
    assert len(told) < 5


def test_the_sender_waits_and_sends_a_packet_now_and_then() -> None:
    sent = 0
    allowed = Allowed(lambda: sent)
    assert (allowed.is_shut(1.0), allowed.slice) == (False, 1 << 30)
    allowed.upto = 1000
    assert (allowed.is_shut(1.0), allowed.slice) == (False, LEAST_SENT)
    sent = 1000
    assert allowed.is_shut(1.0)
    assert allowed.is_shut(1.0 + PAUSE_SECONDS)
    assert not allowed.is_shut(1.0 + STALL_SECONDS), "both ends may wait for what the other one says"
    assert allowed.is_shut(1.0 + 1.5 * STALL_SECONDS)
    allowed.upto = 100_000
    assert (allowed.is_shut(2.0), allowed.slice) == (False, 99_000)
    sent = 100_000
    assert allowed.is_shut(3.0)


@given(
    st.lists(st.tuples(st.floats(0, 0.2), st.integers(0, 1 << 22), st.integers(0, 1 << 23), st.booleans())),
)
def test_whatever_comes_it_is_none_or_one_within_its_bounds(
    moves: list[tuple[float, int, int, bool]],
) -> None:
    window, now, received = Window(), 5.0, 0
    for passed, size, left, is_full in moves:
        now, received, before = now + passed, received + size, window.most
        upto = window.look(received, now, now / 2, is_full, lambda left=left: left, lambda: 0.0)  # type: ignore[misc]
        assert window.most == 0 or LEAST <= window.most < MOST
        if upto:
            assert upto == received + window.most
        if window.most and upto is None:
            assert before == window.most
