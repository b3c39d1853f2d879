"""CoDel: when packets of a flow are dropped; and what it does to senders that behave as TCP does."""

from __future__ import annotations

import pytest

from lib.forward_drop_reasons import Reason
from lib.session_codel import INTERVAL_SECONDS, PACKET, TARGET_SECONDS, USUAL, Codel, Pace, pace
from lib.session_queue import SendQueue
from tests.support.bottleneck import Line, Sender

FAR = 1 << 20


def drops(waits: list[tuple[float, float]], backlog: int = FAR, most: int = 100) -> list[float]:
    """When packets are dropped, of pairs (now, how long the packets that leave now have waited)."""
    codel = Codel()
    return [now for now, waited in waits for _ in range(codel.due(waited, backlog, now, USUAL, most))]


def steady(waited: float, seconds: float, begin: float = 0.0) -> list[tuple[float, float]]:
    return [(begin + n / 1000, waited) for n in range(int(seconds * 1000))]


def test_the_law_of_control() -> None:
    found = drops(steady(0.02, 1.0))
    # RFC 8289, 5.5: after one interval above target, then at intervals that shrink with the root of their number.
    expected, at = [0.1], 0.1
    for count in range(1, 50):
        at += INTERVAL_SECONDS / count**0.5
        expected.append(at)
    assert found == pytest.approx([when for when in expected if when < 1.0], abs=0.0021)


@pytest.mark.parametrize(
    ("waits", "backlog"),
    [
        pytest.param(steady(TARGET_SECONDS * 0.99, 3), FAR, id="below target"),
        pytest.param([(n / 1000, 0.5 if n % 90 else 0.0) for n in range(3000)], FAR, id="empty every 90 ms"),
        pytest.param(steady(0.5, 3), PACKET, id="one packet waits"),
        pytest.param(steady(0.5, 0.099), FAR, id="a burst"),
    ],
)
def test_no_drop(waits: list[tuple[float, float]], backlog: int) -> None:
    assert drops(waits, backlog) == []


def test_who_keeps_a_queue_again_soon_is_met_where_it_ended() -> None:
    again = steady(0.02, 1.0) + steady(0.0, 0.2, 1.0) + steady(0.02, 0.5, 1.2)
    much_later = steady(0.02, 1.0) + steady(0.0, 2.0, 1.0) + steady(0.02, 0.5, 3.0)
    soon, late = (
        len([when for when in drops(waits) if when >= begin])
        for waits, begin in ((again, 1.2), (much_later, 3.0))
    )
    assert soon > 2 * late > 0


def test_after_a_pause_many_are_due_at_once_but_no_more_than_are_asked_for() -> None:
    waits = [*steady(0.02, 0.3), (5.0, 0.02), (5.0, 0.02)]
    assert [drops(waits, most=most).count(5.0) for most in (1, 7)] == [2, 14]
    assert drops(waits, most=10**6).count(5.0) > 500


@pytest.mark.parametrize(
    ("waits", "lost"),
    [
        pytest.param(steady(INTERVAL_SECONDS * 0.99, 3), 0, id="below an interval"),
        pytest.param(steady(0.3, 0.099), 0, id="not for long"),
        pytest.param([(n / 1000, 0.3 if n % 90 else 0.0) for n in range(3000)], 0, id="not all of them"),
        pytest.param([(n / 1000, 0.4 - n / 10_000) for n in range(3000)], 0, id="shorter all the time"),
        pytest.param(steady(0.3, 1.0), 900, id="all of them, and the wait stays"),
        pytest.param([(n / 1000, 0.1 + n / 2000) for n in range(300)], 200, id="longer all the time"),
        pytest.param(steady(0.3, 0.2) + steady(0.09, 0.1, 0.2) + steady(0.3, 0.2, 0.3), 200, id="again"),
    ],
)
def test_of_a_crowd_those_are_dropped_that_have_waited_for_an_interval(
    waits: list[tuple[float, float]], lost: int
) -> None:
    codel = Codel()
    assert sum(codel.is_crowd(waited, now, USUAL) for now, waited in waits) == pytest.approx(lost, abs=2)


@pytest.mark.parametrize(
    ("rate", "target", "interval"),
    [(0.0, 0.005, 0.1), (1e9, 0.005, 0.1), (2.5e6, 0.005, 0.1), (125e3, 0.0192, 0.1142), (8e3, 0.3, 0.6)],
)
def test_the_pace_of_a_rate(rate: float, target: float, interval: float) -> None:
    assert pace(rate) == pytest.approx((target, interval))


@pytest.mark.parametrize(
    ("rate", "patience", "target", "interval"),
    [
        *((25e6, 0.03, 0.03, 0.3), (25e6, 0.0001, 0.005, 0.1), (25e6, 0.015, 0.015, 0.15)),
        *((8e3, 0.03, 0.3, 0.6), (125e3, 0.03, 0.03, 0.3), (0.0, 0.03, 0.005, 0.1)),
    ],
)
def test_packets_may_wait_longer_where_the_way_is_long(
    rate: float, patience: float, target: float, interval: float
) -> None:
    assert pace(rate, patience) == pytest.approx((target, interval))


def test_senders_over_a_long_way_are_told_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue follows what it is told of the way, in both directions."""
    seen: list[tuple[float, Pace]] = []
    due = Codel.due

    def noted(codel: Codel, waited: float, backlog: int, now: float, at: Pace, most: int) -> int:
        seen.append((now, at))
        return due(codel, waited, backlog, now, at, most)

    def step(now: float) -> None:
        line.queue.patience = 0.03 if now < 2.0 else 0.0

    monkeypatch.setattr(Codel, "due", noted)
    line = Line(SendQueue(4 << 20, 1.0), 2.5e6, 0.04, [Sender(1000)], step=step)
    line.queue.rate = 2.5e6
    line.run(4.0)
    assert {at.target for now, at in seen if 0.1 < now < 2.0} == {0.03}
    assert {at.target for now, at in seen if now > 2.1} == {TARGET_SECONDS}


def line_of(mbit: float, senders: list[Sender], seconds: float = 10.0) -> Line:
    """A line of that rate after some seconds of these senders, with a round of 40 ms."""
    queue = SendQueue(4 << 20, 1.0)
    queue.rate = mbit * 125_000
    line = Line(queue, mbit * 125_000, 0.04, senders)
    line.run(seconds)
    return line


@pytest.mark.parametrize(
    ("mbit", "count", "wait"), [(1.0, 1, 0.04), (5.0, 1, 0.008), (5.0, 4, 0.04), (20.0, 2, 0.01)]
)
@pytest.mark.parametrize("ecn", [False, True])
def test_senders_keep_the_line_busy_and_the_queue_short(
    mbit: float, count: int, wait: float, ecn: bool
) -> None:
    line = line_of(
        mbit, [Sender(1000 + number, ecn=ecn) for number in range(count)], 5.0 if mbit > 9 else 10.0
    )
    assert line.carried > 0.84 * line.rate * line.waits[-1][0]
    assert line.median_wait(3.0) < wait
    lost, marks = sum(one.lost for one in line.senders), sum(one.marks for one in line.senders)
    if ecn:
        assert lost == 0
        assert 0 <= line.traffic.marked - marks <= 0.1 * marks + 2, "those on their way at the end"
        assert not line.traffic.drops
        assert marks > 2
    else:
        assert 2 < lost <= line.traffic.drops[Reason.QUEUE_CODEL]
        assert line.traffic.drops.keys() == {Reason.QUEUE_CODEL}
        assert marks == 0


@pytest.mark.parametrize("mbit", [5.0, 20.0, 50.0])
def test_with_patience_one_sender_keeps_a_long_line_busy(mbit: float) -> None:
    """It halves its window when it is told to slow down: what had waited by then is what the line carries meanwhile."""

    def share(patience: float) -> float:
        queue = SendQueue(4 << 20, 1.0)
        queue.rate, queue.patience = mbit * 125_000, patience
        line = Line(queue, queue.rate, 0.04, [Sender(1000)])
        line.run(10.0)
        assert line.median_wait(3.0) < max(patience, 0.005)
        return line.carried / (line.rate * line.waits[-1][0])

    assert share(0.015) > share(0.0) + 0.05
    assert share(0.03) > 0.97


def test_without_it_the_same_senders_fill_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulation itself: what is short above is short because of CoDel."""
    monkeypatch.setattr(Codel, "due", lambda *_: 0)
    assert line_of(5.0, [Sender(1000)]).median_wait(3.0) > 0.3


def test_a_sender_of_superpackets_loses_no_more_packets_than_one_of_single_ones() -> None:
    lost = []
    for segments in (1, 4):
        line = line_of(20.0, [Sender(1000, segments=segments)], 5.0)
        lost.append(line.traffic.drops[Reason.QUEUE_CODEL])
    assert 0 < lost[1] <= 2 * lost[0]
