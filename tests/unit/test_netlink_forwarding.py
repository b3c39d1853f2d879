"""The switch for forwarding in the kernel's reply, which may be of any shape."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.netlink_forwarding import read


def reply(*values: tuple[int, int]) -> bytes:
    """A reply's body: the family, then attributes of (kind, value)."""
    return b"\2\0\0\0" + b"".join(struct.pack("=HHi", 8, kind, value) for kind, value in values)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (reply((1, -1), (2, 1), (3, 0)), True),
        (reply((1, -1), (2, 0), (3, 1)), False),
        (reply((1, -1), (3, 1)), None),
        (b"", None),
        (reply((2, 1))[:-1], None),
    ],
)
def test_the_switch_is_found(body: bytes, expected: bool | None) -> None:
    assert read(body) is expected


@given(st.binary(max_size=64))
def test_no_bytes_raise_or_last(body: bytes) -> None:
    assert read(body) in (True, False, None)
