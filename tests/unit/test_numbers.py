"""Numbers as a person reads them."""

from __future__ import annotations

import pytest

from lib.numbers import ago, milliseconds, scaled


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 bit/s"), (7.4, "7 bit/s"), (999, "999 bit/s"), (1000, "1.00 kbit/s"), (9990, "9.99 kbit/s"),
        (45_600, "45.6 kbit/s"), (999_499, "999 kbit/s"), (1e6, "1.00 Mbit/s"), (7.4e9, "7.40 Gbit/s"),
        (123e9, "123 Gbit/s"),
    ],
)  # fmt: skip
def test_rates(value: float, text: str) -> None:
    assert scaled(value, "bit/s") == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (300, "5 min"),
        (3600, "1 h"),
        (40 * 3600, "40 h"),
        (86400 * 4, "4 days"),
    ],
)
def test_times(seconds: float, text: str) -> None:
    assert ago(seconds) == text


def test_round_trips() -> None:
    assert [milliseconds(value) for value in (0, 0.000421, 0.0421)] == ["-", "0.42 ms", "42 ms"]
