"""Quality of a datagram channel: round-trip times, loss, silence, and when the stream is better."""

from __future__ import annotations

import math

import pytest

from lib.datagram_quality import MAX_OUT, SILENT_SECONDS, OfStream, Quality, StreamLoss


def run(
    quality: Quality, rtts: list[float], losses: list[int], each: int = 50, begin: float = 100.0
) -> float:
    """Probe four times a second; `each` datagrams between two probes, so many lost. Returns the time then."""
    now, expected, received = begin, 0, 0
    for number, (rtt, lost) in enumerate(zip(rtts, losses, strict=True)):
        token = number.to_bytes(8, "big")
        quality.probed(token, now)
        expected, received = expected + each, received + each - lost
        quality.answered(token, expected, received, now + rtt)
        now += 0.25
    return now


def test_round_trips_are_smoothed() -> None:
    quality = Quality()
    run(quality, [0.04], [0])
    assert (quality.rtt, quality.jitter) == pytest.approx((0.04, 0.02))
    run(quality, [0.08] * 30, [0] * 30)
    assert quality.rtt == pytest.approx(0.08, abs=1e-3)
    assert quality.jitter < 0.005


@pytest.mark.parametrize(
    ("losses", "stream", "complains"),
    [
        ([0] * 8, OfStream(), False),
        ([1] * 8, OfStream(), False),  # 2 %
        ([4] * 8, OfStream(), False),  # 8 %
        ([8] * 8, OfStream(), True),  # 16 %
        ([8] * 8, OfStream(loss=0.06), False),  # TCP loses much there as well
        ([30] * 8, OfStream(loss=0.06), True),
        ([40, 0, 0, 0, 0, 0], OfStream(), False),  # that is over
        ([0, 0, 0, 0, 0, 0, 40], OfStream(), True),
    ],
)
def test_much_loss_is_worse_than_the_stream(losses: list[int], stream: OfStream, complains: bool) -> None:
    quality = Quality()
    run(quality, [0.04] * len(losses), losses)
    assert bool(quality.complaint(stream)) is complains


def test_few_lost_probes_say_nothing_of_loss() -> None:
    quality = Quality()
    run(quality, [0.04] * 8, [1] * 8, each=1)
    assert quality.complaint(OfStream()) == ""


@pytest.mark.parametrize(
    ("rtt", "stream", "complains"),
    [
        *((0.04, OfStream(), False), (0.9, OfStream(), False), (0.04, OfStream(0.04), False)),
        *((0.17, OfStream(0.04), False), (0.2, OfStream(0.04), True), (0.5, OfStream(0.3), False)),
    ],
)
def test_more_delay_is_worse_than_the_stream(rtt: float, stream: OfStream, complains: bool) -> None:
    quality = Quality()
    run(quality, [rtt] * 10, [0] * 10)
    assert bool(quality.complaint(stream)) is complains


def test_a_round_trip_that_a_busy_host_delays_is_no_reason() -> None:
    quality = Quality()
    run(quality, [0.001, 0.001, 0.001, 2.0, 2.0, 0.001, 2.0, 1.0, 0.05, 1.0], [0] * 10)
    assert quality.rtt > 0.3
    assert quality.complaint(OfStream(0.001)) == ""
    run(quality, [0.2] * 4, [0] * 4)
    assert quality.complaint(OfStream(0.001)) != ""


def test_what_is_shown_of_loss_fades() -> None:
    quality = Quality()
    assert quality.loss == 0.0
    now = run(quality, [0.04] * 20, [5] * 20)
    assert quality.loss == pytest.approx(0.1, abs=0.02)
    token, expected = b"later...", 20 * 50
    quality.probed(token, now + 60)
    quality.answered(token, expected + 1000, expected - 100 + 1000, now + 60.04)
    assert quality.loss < 0.01


def looked(quality: Quality, begin: float, seconds: float, step: float = 0.1) -> float:
    """When silence is noticed, counted from `begin`; infinite where it is not in that time."""
    for number in range(int(seconds / step)):
        if quality.is_silent(begin + number * step):
            return number * step
    return math.inf


@pytest.mark.parametrize("rtt", [0.01, 0.1, 0.3])
def test_silence_is_noticed_within_a_second_or_so(rtt: float) -> None:
    quality = Quality()
    now = run(quality, [rtt] * 8, [0] * 8)
    looked(quality, now - 1, 1.0)
    quality.probed(b"unheard.", now)
    quality.probed(b"unheard2", now + 0.25)
    assert SILENT_SECONDS < looked(quality, now, 5) <= SILENT_SECONDS + 2 * rtt + 0.2


def test_one_lost_probe_is_no_silence() -> None:
    quality = Quality()
    now = run(quality, [0.04] * 8, [0] * 8)
    quality.probed(b"lost....", now)
    quality.probed(b"answered", now + 0.25)
    quality.answered(b"answered", 401, 400, now + 0.29)
    assert looked(quality, now + 0.3, 5) == math.inf


def test_probes_of_long_ago_say_nothing() -> None:
    quality = Quality()
    now = run(quality, [0.04] * 8, [0] * 8)
    quality.probed(b"long ago", now)
    quality.probed(b"long too", now + 0.2)
    quality.probed(b"just now", now + 100)
    assert not quality.is_silent(now + 100)
    assert not quality.is_silent(now + 100.1)
    quality.probed(b"and now.", now + 100.2)
    assert looked(quality, now + 100, 5) > SILENT_SECONDS


def test_a_process_that_stood_still_was_deaf() -> None:
    quality = Quality()
    now = run(quality, [0.04] * 8, [0] * 8)
    assert not quality.is_silent(now)
    quality.probed(b"before..", now)
    quality.probed(b"unheard.", now + 0.2)
    assert not quality.is_silent(now + 5)  # the answer waits in the socket
    quality.answered(b"unheard.", 401, 400, now + 5)
    assert looked(quality, now + 5.1, 5) == math.inf


def test_strange_answers_change_nothing() -> None:
    quality = Quality()
    quality.answered(b"whatever", 5, 5, 1.0)
    assert quality.rtt == 0.0
    now = run(quality, [0.04] * 4, [0] * 4)
    quality.probed(b"counting", now)
    quality.answered(b"counting", 3, 1, now + 0.04)  # the peer counts anew
    quality.probed(b"too much", now)
    quality.answered(b"too much", 10, 9000, now + 0.04)
    assert quality.loss == 0.0
    assert quality.complaint(OfStream()) == ""


def test_what_was_sent_to_find_out_the_mtu_is_no_loss() -> None:
    quality = Quality()
    now = run(quality, [0.04] * 4, [0] * 4)
    quality.probed(b"searches", now)
    quality.answered(b"searches", 300, 200, now + 0.04, counts=False)
    assert (quality.loss, quality.complaint(OfStream())) == (0.0, "")


def test_what_is_waited_for_has_a_bound() -> None:
    quality = Quality()
    for number in range(1000):
        quality.probed(number.to_bytes(8, "big"), float(number))
    assert len(quality._out) == MAX_OUT
    assert looked(quality, 1000.0, 5) < 5
    quality.forget()
    assert looked(quality, 1000.0, 5) == math.inf


def test_the_loss_of_a_stream_is_that_of_the_last_segments() -> None:
    stream = StreamLoss()
    assert stream.is_due(100.0)
    stream.seen(10_000, 5_000, 100.0)  # of long ago
    assert stream.loss == 0.0
    assert not stream.is_due(100.5)
    stream.seen(10_100, 5_010, 101.0)
    assert stream.loss == 0.1
    stream.seen(10_110, 5_010, 102.0)  # too few
    assert stream.loss == 0.1
    stream.seen(10_160, 5_010, 103.0)
    assert stream.loss == 0.0
    stream.seen(10_260, 5_060, 104.0)
    stream.seen(300, 3, 105.0)  # one of two lanes has ended
    assert stream.loss == 0.5
    stream.seen(301, 3, 140.0)  # that was long ago
    assert stream.loss == 0.0
