"""pcapng, taken apart by hand: block by block, option by option."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import capture_pcapng
from tests.support import texts

Block = tuple[int, bytes, dict[int, bytes]]


def block(data: bytes, fixed: int) -> Block:
    """(type, the fixed part of the body, options) of one block."""
    kind, size = struct.unpack_from("<II", data)
    assert size == len(data)
    assert not size % 4
    assert data[-4:] == data[4:8]
    at, options = 8 + fixed, {}
    while at < size - 4:
        code, length = struct.unpack_from("<HH", data, at)
        if not code:
            assert at + 4 == size - 4
            break
        options[code] = data[at + 4 : at + 4 + length]
        assert not any(data[at + 4 + length : at + 4 + length + -length % 4])
        at += 4 + length + -length % 4
    return kind, data[8 : 8 + fixed], options


def test_a_section_and_its_interface() -> None:
    kind, body, options = block(capture_pcapng.section("tunrouter 9"), 16)
    assert (kind, body) == (0x0A0D0D0A, bytes.fromhex("4d3c2b1a01000000ffffffffffffffff"))
    assert options == {4: b"tunrouter 9"}
    kind, body, options = block(capture_pcapng.interface("tun", "tcp", 128), 8)
    assert (kind, struct.unpack("<HHI", body)) == (1, (101, 0, 128))
    assert options == {2: b"tun", 9: b"\x09", 11: b"\0tcp"}


@given(st.integers(0, (1 << 64) - 1), st.binary(max_size=99), st.integers(0, 1 << 17), texts.from_bytes(30))
def test_a_packet(when: int, data: bytes, more: int, comment: str) -> None:
    written = capture_pcapng.packet(when, data, len(data) + more, comment)
    kind, body, options = block(written, 20 + len(data) + -len(data) % 4)
    interface, high, low, captured, original = struct.unpack_from("<IIIII", body)
    assert (kind, interface, high << 32 | low, captured, original) == (
        6,
        0,
        when,
        len(data),
        len(data) + more,
    )
    assert body[20 : 20 + len(data)] == data
    assert options.get(1, b"") == comment.encode("utf-8", "replace")


def test_statistics() -> None:
    kind, body, options = block(capture_pcapng.statistics(1 << 33, 7, 3), 12)
    assert (kind, struct.unpack("<III", body)) == (5, (0, 2, 0))
    assert options == {4: struct.pack("<Q", 7), 5: struct.pack("<Q", 3)}


@pytest.mark.parametrize("size", [0, 70_000])
def test_a_comment_of_any_length(size: int) -> None:
    _, _, options = block(capture_pcapng.packet(0, b"", 0, "x" * size), 20)
    assert len(options.get(1, b"")) == min(size, 65535)
