"""Frames of a link: envelopes, how they wait in a queue, and what does not fit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import cluster_frames, framing, session_chunks
from lib.cluster_link import fitting
from lib.counters import Traffic
from lib.errors import ProtocolError
from lib.session_queue import SendQueue

NAMESPACE, OTHER = b"N" * 16, b"M" * 16
FRAMES = st.lists(st.binary(min_size=1, max_size=200).map(framing.encode), min_size=1, max_size=8)


@given(FRAMES, st.integers(0, 65535))
def test_an_envelope_comes_out_as_it_was(frames: list[bytes], label: int) -> None:
    data = cluster_frames.encode(NAMESPACE, label, b"".join(frames))
    assert framing.split(data) == [len(data)]
    assert cluster_frames.decode(data[2:]) == (NAMESPACE, frames)


@given(st.binary(max_size=64))
def test_any_bytes_are_an_envelope_or_refused(data: bytes) -> None:
    for content in (data, bytes([cluster_frames.MARK, 0]) + data):
        try:
            namespace, frames = cluster_frames.decode(content)
        except ProtocolError:
            continue
        assert len(namespace) == 16
        assert cluster_frames.HEADER + sum(map(len, frames)) == len(content)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        bytes([cluster_frames.MARK]) + bytes(18),
        bytes([0xF0]) + bytes(19),
        bytes([cluster_frames.MARK, 1]) + bytes(18),
        bytes([cluster_frames.MARK]) + bytes(19) + b"\0",
        bytes([cluster_frames.MARK]) + bytes(19) + b"\0\5abc",
    ],
)
def test_what_is_no_envelope_is_refused(content: bytes) -> None:
    with pytest.raises(ProtocolError):
        cluster_frames.decode(content)


def envelope(namespace: bytes, label: int, number: int) -> bytes:
    return cluster_frames.encode(namespace, label, framing.encode(b"\x45" + bytes([number]) + bytes(1400)))


def test_envelopes_of_a_flow_keep_their_order_and_tenants_take_turns() -> None:
    """A tenant with a thousand envelopes of eight flows, and then another one with a single one."""
    queue, traffic = SendQueue(64 << 20, 10.0), Traffic()
    for number in range(200):
        for label in range(8):
            queue.push(envelope(NAMESPACE, label, number), 0.0, traffic)
    queue.pop(0.0, traffic, 1 << 18)
    queue.push(envelope(OTHER, 0, 7), 0.0, traffic)
    taken = queue.pop(0.0, traffic, 1 << 17)
    found = [cluster_frames.decode(taken[begin + 2 : end]) for begin, end in spans(taken)]
    assert OTHER in [namespace for namespace, _ in found]
    order: dict[int, list[int]] = {}
    while taken:
        for begin, end in spans(taken):
            namespace, (frame,) = cluster_frames.decode(taken[begin + 2 : end])
            if namespace == NAMESPACE:
                label = int.from_bytes(taken[begin + 4 : begin + 6], "big")
                order.setdefault(label, []).append(frame[3])
        taken = queue.pop(0.0, traffic, 1 << 17)
    assert len(order) == 8
    assert all(numbers == sorted(numbers) for numbers in order.values())
    assert not traffic.dropped


def spans(data: bytes) -> list[tuple[int, int]]:
    ends = framing.split(data)
    return list(zip([0, *ends], ends, strict=False))


def test_a_chunk_that_is_longer_than_an_envelope_is_cut_between_frames() -> None:
    frames = [framing.encode(bytes([0x45]) + bytes(size)) for size in (30000, 30000, 30000, 100)]
    pieces = fitting(b"".join(frames))
    assert b"".join(pieces) == b"".join(frames)
    assert all(len(piece) <= cluster_frames.MAX_FRAMES for piece in pieces)
    assert len(pieces) == 2


def test_what_no_device_sends_is_left_out() -> None:
    assert fitting(framing.encode(bytes([0x45]) + bytes(65534))) == []


def test_chunks_of_envelopes_are_by_flow() -> None:
    run = envelope(NAMESPACE, 1, 1) + envelope(NAMESPACE, 1, 2) + envelope(NAMESPACE, 2, 3)
    found = session_chunks.chunks(run)
    assert [len(framing.split(frames)) for _, frames, _ in found] == [2, 1]
    assert session_chunks.source_of(run) == NAMESPACE
