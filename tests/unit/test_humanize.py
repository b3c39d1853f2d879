"""Numbers as a person reads them."""

from __future__ import annotations

import pytest

from lib.humanize import ago, listed, milliseconds, number, packets, rate, scaled, size, span


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 bit/s"), (0.3, "<1 bit/s"), (0.5, "0 bit/s"), (0.51, "1 bit/s"), (7.4, "7 bit/s"),
        (999, "999 bit/s"), (999.4, "999 bit/s"), (999.96, "1.00 kbit/s"), (1000, "1.00 kbit/s"),
        (9990, "9.99 kbit/s"), (9994.9, "9.99 kbit/s"), (9996, "10.0 kbit/s"), (45_600, "45.6 kbit/s"),
        (99_949, "99.9 kbit/s"), (99_960, "100 kbit/s"), (999_499, "999 kbit/s"), (999_960, "1.00 Mbit/s"),
        (1e6, "1.00 Mbit/s"), (7.4e9, "7.40 Gbit/s"), (123e9, "123 Gbit/s"), (1e12, "1.00 Tbit/s"),
        (2.5e15, "2.50 Pbit/s"), (1e21, "1000000 Pbit/s"),
    ],
)  # fmt: skip
def test_scaled(value: float, text: str) -> None:
    assert scaled(value, "bit/s") == text


def test_units() -> None:
    assert rate(925_000_000) == "7.40 Gbit/s"  # of bytes
    assert packets(940) == "940 packets/s"
    assert packets(1_200_000) == "1.20 Mpackets/s"
    assert size(64_000) == "64.0 kB"
    assert number(1_000_000) == "1,000,000"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 s"), (0, "0 s"), (59, "59 s"), (59.4, "59 s"), (59.96, "1 min"), (60, "1 min"), (89, "1 min"),
        (300, "5 min"), (3569, "59 min"), (3599.96, "1 h"), (3600, "1 h"), (40 * 3600, "40 h"),
        (47.6 * 3600, "2 days"), (86400 * 4, "4 days"), (86400 * 1000, "1000 days"),
    ],
)  # fmt: skip
def test_spans(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_ago() -> None:
    assert [ago(value) for value in (0, 0.4, 3, 180)] == ["just now", "just now", "3 s ago", "3 min ago"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "-"), (-1, "-"), (0.000001, "<0.01 ms"), (0.000421, "0.42 ms"), (0.0099996, "10.0 ms"),
        (0.0421, "42.1 ms"), (0.09996, "100 ms"), (1.5, "1500 ms"),
    ],
)  # fmt: skip
def test_round_trips(seconds: float, text: str) -> None:
    assert milliseconds(seconds) == text


@pytest.mark.parametrize(
    ("count", "most", "text"),
    [(0, 2, ""), (1, 2, "n0"), (2, 2, "n0, n1"), (3, 2, "n0, n1 and 1 more"), (2000, 1, "n0 and 1,999 more")],
)
def test_a_list_that_may_be_long(count: int, most: int, text: str) -> None:
    assert listed([f"n{number}" for number in range(count)], most) == text
