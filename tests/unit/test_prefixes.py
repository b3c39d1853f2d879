"""Prefix arithmetic against the standard library's."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import prefixes


@st.composite
def _addresses(draw: st.DrawFn, size: int | None = None) -> bytes:
    size = size or draw(st.sampled_from((4, 16)))
    start = draw(st.sampled_from((b"", bytes(size - 2), bytes(10) + b"\xff\xff", bytes(12))))[: size - 1]
    return start + draw(st.binary(min_size=size - len(start), max_size=size - len(start)))


@st.composite
def _prefixes(draw: st.DrawFn) -> tuple[bytes, int]:
    address = draw(_addresses())
    return address, draw(st.integers(0, 8 * len(address)))


@given(_prefixes())
def test_bits_beyond_the_length_are_cleared(prefix: tuple[bytes, int]) -> None:
    expected = ip_network((ip_address(prefix[0]).packed, prefix[1]), strict=False)
    cleared = prefixes.network(*prefix)
    assert (cleared, prefix[1]) == prefixes.packed(expected)
    assert prefixes.text(cleared, prefix[1]) == str(expected)


@given(_prefixes(), _addresses(), st.integers(0, 128))
def test_an_address_lies_within_or_not(prefix: tuple[bytes, int], other: bytes, same: int) -> None:
    address, length = prefixes.network(*prefix), prefix[1]
    if len(other) == len(address):  # let many of them share their first bits
        bits = 8 * len(address)
        kept = (1 << bits) - (1 << max(0, bits - same))
        number = int.from_bytes(address, "big") & kept | int.from_bytes(other, "big") & ~kept
        other = number.to_bytes(len(address), "big")
    expected = ip_address(other) in ip_network((address, length))
    assert prefixes.covers(address, length, other) == expected


@pytest.mark.parametrize(
    ("prefix", "length", "address", "within"),
    [
        ("0.0.0.0", 0, "255.1.2.3", True),
        ("10.0.0.0", 8, "10.255.0.1", True),
        ("10.0.0.0", 8, "11.0.0.0", False),
        ("10.0.0.1", 32, "10.0.0.1", True),
        ("10.0.0.1", 32, "10.0.0.0", False),
        ("0.0.0.0", 0, "::", False),
        ("::", 0, "10.0.0.1", False),
        ("::ffff:0:0", 96, "10.0.0.1", False),
        ("fd00::", 8, "fdff::1", True),
    ],
)
def test_within(prefix: str, length: int, address: str, within: bool) -> None:
    assert prefixes.covers(ip_address(prefix).packed, length, ip_address(address).packed) is within


@pytest.mark.parametrize(
    "text", ["10.0.0.0/8", "::/0", "::1:0/112", "::ffff:0:0/96", "fd00:1::/32", "::1/128"]
)
def test_text_is_that_of_ipaddress(text: str) -> None:
    assert prefixes.text(*prefixes.packed(ip_network(text))) == str(ip_network(text))


@given(st.lists(_prefixes(), max_size=9), _addresses())
def test_a_set_holds_what_one_of_its_prefixes_covers(some: list[tuple[bytes, int]], address: bytes) -> None:
    cleared = [(prefixes.network(*one), one[1]) for one in some]
    made = prefixes.PrefixSet(cleared)
    assert made.holds(address) == any(prefixes.covers(*one, address) for one in cleared)
    assert all(made.holds(one) for one, _ in cleared)
    assert list(made.texts()) == [prefixes.text(*one) for one in cleared]
    assert (len(made), bool(made)) == (len(some), bool(some))


def test_sets_are_equal_that_were_filled_alike() -> None:
    one, other = (bytes([10, 0, 0, 0]), 8), (bytes([10, 0, 0, 0]), 9)
    made = prefixes.PrefixSet([one, other])
    assert made == prefixes.PrefixSet([one, other])
    assert hash(made) == hash(prefixes.PrefixSet([one, other]))
    assert made != prefixes.PrefixSet([one])
    assert made != prefixes.PrefixSet([other, one]), "a reload shows that somebody has written another order"
    assert str(made) == "10.0.0.0/8, 10.0.0.0/9"
    assert str(prefixes.PrefixSet()) == "none"
    assert str(prefixes.PrefixSet([one] * 9)) == "9 prefixes"
