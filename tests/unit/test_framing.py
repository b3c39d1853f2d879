"""Frames on a stream: lengths, splitting at any place, and the shared receive buffer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import framing
from lib.framing import HEADROOM, MAX_CONTENT, RECEIVE, SLACK, ReceiveBuffer, encode, split

contents = st.lists(st.binary(min_size=1, max_size=40), max_size=12)


@pytest.mark.parametrize("size", [1, 255, 256, 4096, 65535])
def test_a_frame_is_its_length_and_its_content(size: int) -> None:
    assert encode(b"E" * size) == size.to_bytes(2, "big") + b"E" * size


@pytest.mark.parametrize("size", [0, 65536])
def test_what_the_wire_cannot_carry_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"1 to 65535 bytes, not {size}"):
        encode(bytes(size))


@pytest.mark.parametrize(
    ("data", "ends"),
    [
        (b"", []),
        (b"\0", []),
        (b"\0\1", []),
        (b"\0\1E", [3]),
        (b"\0\1E\0", [3]),
        (b"\0\1E\0\2E", [3]),
        (b"\0\1E\0\2EE", [3, 7]),
        (b"\0\0\0\1E", [2, 5]),
        (b"\xff\xff" + bytes(65534), []),
        (b"\xff\xff" + bytes(65535), [65537]),
    ],
    ids=lambda value: value[:8].hex() if isinstance(value, bytes) else str(value),
)
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_split(data: bytes, ends: list[int], kind: type) -> None:
    assert split(kind(data)) == ends


@given(contents)
def test_split_finds_the_frames_at_every_cut(parts: list[bytes]) -> None:
    data, ends = b"", []
    for part in parts:
        data += encode(part)
        ends.append(len(data))
    for cut in range(len(data) + 1):
        assert split(data[:cut]) == [end for end in ends if end <= cut]


@given(st.binary())
def test_split_of_anything_is_bounded_and_leaves_less_than_a_frame(data: bytes) -> None:
    ends = split(data)
    assert ends == sorted(set(ends))
    rest = data[ends[-1] if ends else 0 :]
    assert len(rest) < 2 or len(rest) < 2 + int.from_bytes(rest[:2], "big")
    assert not ends or ends[-1] <= len(data)


@given(contents, st.data())
def test_a_stream_cut_anywhere_is_the_same_frames(parts: list[bytes], draw: st.DataObject) -> None:
    stream = b"".join(map(encode, parts))
    buffer, tail, seen = ReceiveBuffer(), b"", []
    while stream:
        size = draw.draw(st.integers(1, len(stream)))
        buffer.landing[:size], stream = stream[:size], stream[size:]
        start, end = buffer.join(tail), HEADROOM + size
        data = bytes(buffer.view[start:end])
        at = 0
        for stop in split(data):
            seen.append(data[at + 2 : stop])
            at = stop
        tail = data[at:]
    assert (seen, tail) == (parts, b"")


def test_the_longest_tail_fits_with_room_for_a_virtio_header_before_its_packet() -> None:
    buffer = ReceiveBuffer()
    tail = encode(b"E" * MAX_CONTENT)[:-1]
    start = buffer.join(tail)
    assert bytes(buffer.view[start:HEADROOM]) == tail
    assert start + 2 >= 10


def test_the_buffer_has_its_parts_where_they_are_said_to_be() -> None:
    buffer = ReceiveBuffer()
    buffer.landing[0], buffer.landing[-1] = 1, 2
    assert len(buffer.landing) == RECEIVE
    assert buffer.data[HEADROOM] == 1
    assert buffer.data[HEADROOM + RECEIVE - 1] == 2
    assert len(buffer.data) == len(buffer.view) == HEADROOM + RECEIVE + SLACK
    assert buffer.join(b"") == HEADROOM


@pytest.mark.parametrize(
    ("content", "is_keepalive"),
    [
        (b"GOST" + bytes(16), True),
        (b"GOST" + b"\xff" * 16, True),
        (b"GOST" + bytes(15), False),
        (b"GOST" + bytes(17), False),
        (b"gost" + bytes(16), False),
        (b"GOST", False),
        (b"", False),
    ],
)
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_gost_keepalive(content: bytes, is_keepalive: bool, kind: type) -> None:
    data = kind(b"..." + content + b"...")
    assert framing.is_gost_keepalive(data, 3, 3 + len(content)) is is_keepalive


@pytest.mark.parametrize(
    ("data", "whole"),
    [(b"", False), (b"\0", False), (b"\0\0", True), (b"\0\1", False), (b"\0\1x", True), (b"\0\1xy", True)],
)
def test_whether_data_begins_with_a_whole_frame(data: bytes, whole: bool) -> None:
    assert framing.is_whole(data) is whole
    assert framing.is_whole(memoryview(data)) is whole
