"""Rates from samples that a beat takes."""

from __future__ import annotations

from lib.counter_rates import Rate, Rates
from lib.counters import Traffic


def test_over_the_last_one_to_two_seconds() -> None:
    traffic, rates = Traffic(), Rates(100.0)
    for second in range(1, 11):
        traffic.received_packets += 10
        traffic.received_bytes += 1000
        traffic.sent_packets += 1
        traffic.sent_bytes += 50
        rates.sample(traffic, 100.0 + second)
    assert rates.rate(traffic, 110.0) == Rate(10, 1000, 1, 50)
    assert rates.rate(traffic, 111.0).received_bytes == 500  # nothing came for a second
    rates.sample(traffic, 111.0)
    rates.sample(traffic, 112.0)
    assert rates.rate(traffic, 112.0) == Rate(0, 0, 0, 0)


def test_beats_in_close_succession_count_as_one() -> None:
    traffic, rates = Traffic(), Rates(0.0)
    for tenth in range(1, 31):
        traffic.sent_bytes += 100
        rates.sample(traffic, tenth / 10)
    assert 900 <= rates.rate(traffic, 3.0).sent_bytes <= 1100


def test_a_session_that_has_just_begun() -> None:
    assert Rates(5.0).rate(Traffic(), 5.0) == Rate(0, 0, 0, 0)
    traffic = Traffic(received_bytes=100)
    assert Rates(5.0).rate(traffic, 5.5).received_bytes == 200
