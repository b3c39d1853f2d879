"""Durations, integers and switches as Go and YAML spell them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.go_values import SECONDS, format_duration, parse_duration, parse_integer, parse_switch
from tests.support import texts

MS = SECONDS // 1000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10s", 10 * SECONDS),
        ("1m30s", 90 * SECONDS),
        ("1.5h", 5400 * SECONDS),
        ("-2ms", -2 * MS),
        ("+1us", 1000),
        ("1µs", 1000),
        (".5s", 500 * MS),
        ("0", 0),
        ("10", 10),
    ],
)
def test_duration(text: str, expected: int) -> None:
    assert parse_duration(text) == expected


def test_bare_integer_counts_in_the_unit_of_its_key() -> None:
    assert parse_duration("3", SECONDS) == 3 * SECONDS


@pytest.mark.parametrize("text", ["", "-", "s", "5x", "1.s.", "5 s", "1e3s", "9999999h", "９s"])
def test_not_a_duration(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0s"),
        (10, "10ns"),
        (1500, "1.5µs"),
        (2 * MS, "2ms"),
        (90 * SECONDS, "1m30s"),
        (3600 * SECONDS, "1h0m0s"),
        (-SECONDS, "-1s"),
        (1_500 * MS, "1.5s"),
    ],
)
def test_format_duration_as_go_does(nanoseconds: int, text: str) -> None:
    assert format_duration(nanoseconds) == text


@given(st.integers(-(2**63) + 1, 2**63 - 1))
def test_durations_survive_writing_and_reading(nanoseconds: int) -> None:
    assert parse_duration(format_duration(nanoseconds)) == nanoseconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [("7", 7), ("-7", -7), ("0123", 83), ("0o17", 15), ("0x10", 16), ("0b11", 3), ("1_000", 1000), ("0", 0)],
)
def test_integer_as_yaml_v3_reads_it(text: str, expected: int) -> None:
    assert parse_integer(text) == expected


@pytest.mark.parametrize("text", ["", "1.5", "0x", "089", "1:30", "٣", "9" * 5000])
def test_not_an_integer(text: str) -> None:
    with pytest.raises(ValueError, match="not a whole number"):
        parse_integer(text)


@pytest.mark.parametrize(
    ("text", "expected"), [("On", True), ("YES", True), ("1", True), ("off", False), ("n", False)]
)
def test_switch(text: str, expected: bool) -> None:
    assert parse_switch(text) is expected


def test_not_a_switch() -> None:
    with pytest.raises(ValueError, match="neither on nor off"):
        parse_switch("maybe")


@given(texts.from_bytes())
def test_any_text_is_read_or_refused(text: str) -> None:
    for parse in (parse_duration, parse_integer, parse_switch):
        try:
            parse(text)
        except ValueError:
            pass
