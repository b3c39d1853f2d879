"""Frames of a link: envelopes, how they wait in a queue, and what does not fit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import cluster_frames, framing, session_chunks
from lib.cluster_envelopes import enclose, fitting
from lib.counters import Traffic
from lib.errors import ProtocolError
from lib.forward_drop_reasons import Reason
from lib.session_queue import SendQueue
from tests.support import packets as p

NAMESPACE, OTHER = b"N" * 16, b"M" * 16
CONTENT = st.binary(min_size=1, max_size=200).filter(lambda content: content[0] != cluster_frames.MARK)
FRAMES = st.lists(CONTENT.map(framing.encode), min_size=1, max_size=8)
"""Frames as an envelope holds them: what comes from clients, and no envelope."""


def opened(content: bytes) -> tuple[bytes, list[bytes]]:
    """(namespace, frames) of an envelope's content."""
    frames = content[cluster_frames.HEADER :]
    return cluster_frames.namespace_of(content, 0, len(content)), [frames[a:b] for a, b in spans(frames)]


@given(FRAMES, st.integers(0, 65535))
def test_an_envelope_comes_out_as_it_was(frames: list[bytes], label: int) -> None:
    data = enclosed(NAMESPACE, label, b"".join(frames))
    assert framing.split(data) == [len(data)]
    assert opened(data[2:]) == (NAMESPACE, frames)
    assert session_chunks.count_packets(data + data) == 2 * session_chunks.count_packets(b"".join(frames))


@given(st.binary(max_size=64))
def test_any_bytes_are_an_envelope_or_refused(data: bytes) -> None:
    for content in (data, bytes([cluster_frames.MARK, 0]) + data):
        try:
            namespace = cluster_frames.namespace_of(content, 0, len(content))
        except ProtocolError:
            continue
        assert namespace == content[4:20]
        assert len(namespace) == 16


@pytest.mark.parametrize(
    "content",
    [
        b"",
        bytes([cluster_frames.MARK]) + bytes(18),
        bytes([0xF0]) + bytes(19),
        bytes([cluster_frames.MARK, 1]) + bytes(18),
    ],
)
def test_what_is_no_envelope_is_refused(content: bytes) -> None:
    with pytest.raises(ProtocolError):
        cluster_frames.namespace_of(content, 0, len(content))


def envelope(namespace: bytes, label: int, number: int) -> bytes:
    return enclosed(namespace, label, framing.encode(b"\x45" + bytes([number]) + bytes(1400)))


def enclosed(namespace: bytes, label: int, frames: bytes) -> bytes:
    return cluster_frames.head(namespace, label, len(frames)) + frames


def test_envelopes_of_a_flow_keep_their_order_and_tenants_take_turns() -> None:
    """A tenant with a thousand envelopes of eight flows, and then another one with a single one."""
    queue, traffic = SendQueue(64 << 20, 10.0), Traffic()
    for number in range(200):
        for label in range(8):
            queue.push(envelope(NAMESPACE, label, number), 0.0, traffic)
    queue.pop(0.0, traffic, 1 << 18)
    queue.push(envelope(OTHER, 0, 7), 0.0, traffic)
    taken = queue.pop(0.0, traffic, 1 << 17)
    found = [opened(taken[begin + 2 : end]) for begin, end in spans(taken)]
    assert OTHER in [namespace for namespace, _ in found]
    order: dict[int, list[int]] = {}
    while taken:
        for begin, end in spans(taken):
            namespace, (frame,) = opened(taken[begin + 2 : end])
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
    assert session_chunks.tenant_of(run) == NAMESPACE


def test_the_source_of_an_envelope_is_that_of_its_packet_in_its_namespace() -> None:
    for content, source in (
        (p.udp("10.0.0.1", "10.0.0.2"), p.packed("10.0.0.1")),
        (p.headed(p.udp("10.0.0.1", "10.0.0.2")), p.packed("10.0.0.1")),
        (p.icmp("fd00::1", "fd00::2"), p.packed("fd00::1")),
        (b"\xee", b""),
    ):
        for namespace in (NAMESPACE, OTHER):
            one = enclosed(namespace, 1, framing.encode(content))
            assert session_chunks.source_of(one) == namespace + source
            assert session_chunks.tenant_of(one) == namespace


def test_tenants_get_as_much_however_many_hosts_they_have() -> None:
    queue, traffic, sent = SendQueue(1 << 30, 9.0), Traffic(), {NAMESPACE: 0, OTHER: 0}

    def of(namespace: bytes, host: int, number: int) -> bytes:
        packet = p.udp(f"10.0.{host}.1", "10.9.0.1", bytes(1000), ports=(1 + number, 9))
        return b"".join(map(bytes, enclose(namespace, [framing.encode(packet)])[0]))

    for number in range(3000):
        queue.push(of(NAMESPACE, number % 50, number), 0.0, traffic)
        queue.push(of(OTHER, 1, number), 0.0, traffic)
        for begin, end in spans(taken := queue.pop(0.0, traffic, 1000)):
            sent[opened(taken[begin + 2 : end])[0]] += end - begin
    assert 0.9 < sent[NAMESPACE] / sent[OTHER] < 1.1


def test_a_run_in_a_receive_buffer_is_enclosed_as_it_lies() -> None:
    """Frames of each kind that has a flow of its own; nothing of them is copied or changed."""
    contents = [
        p.udp("10.0.0.1", "10.0.0.2"),
        p.tcp("10.0.0.1", "10.0.0.2", flags=p.SYN),
        p.icmp("10.0.0.1", "10.0.0.2"),
        p.icmp("fd00::1", "fd00::2"),
        p.udp("fd00::1", "fd00::2"),
        p.headed(p.tcp("10.0.0.1", "10.0.0.2")),
        b"\xf0\x02",
        b"no packet",
    ]
    run = b"".join(map(framing.encode, contents)) + super_of(5)
    buffer = memoryview(bytearray(b"before" + run))[6:]
    out, packets = enclose(NAMESPACE, [buffer, buffer])
    assert packets == 2 * (len(contents) + 5)
    assert all(one.obj is buffer.obj for one in out[1::2] if isinstance(one, memoryview))
    sent = b"".join(map(bytes, out))
    assert b"".join(b"".join(opened(sent[a + 2 : b])[1]) for a, b in spans(sent)) == 2 * run
    plain = session_chunks.chunks(run, cluster_frames.MAX_FRAMES)
    labels = [sent[a + 4 : a + 6] for a, _ in spans(sent)]
    assert labels == 2 * [(key & 0xFFF).to_bytes(2, "big") for key, _, _ in plain]


def super_of(segments: int, tos: int = 0) -> bytes:
    """A frame with a TCP superpacket of so many segments; with `tos` 1 its sender understands congestion marks."""
    packet = p.tcp("10.0.0.1", "10.0.0.2", payload=bytes(segments * 1000), partial=True)
    return framing.encode(p.superpacket(p.with_tos(packet, tos), 1000))


def test_a_superpacket_in_an_envelope_counts_as_its_segments_and_is_cut_like_any_other() -> None:
    frame, other = super_of(5), super_of(3)
    data = enclosed(NAMESPACE, 7, frame + other)
    assert session_chunks.count_packets(data) == 8
    assert [packets for _, _, packets in session_chunks.chunks(data)] == [8]
    for most in range(1, 9):
        first, rest = session_chunks.first_packets(data, most)
        plain = session_chunks.first_packets(frame + other, most)
        for piece, same in zip((first, rest), plain, strict=True):
            assert b"".join(b"".join(opened(piece[a + 2 : b])[1]) for a, b in spans(piece)) == same
        assert session_chunks.count_packets(first) == most
    first, rest = session_chunks.first_bytes(data, 2500)
    assert len(first) <= 2500
    assert session_chunks.count_packets(first) == 2
    assert session_chunks.count_packets(rest) == 6
    assert opened(first[2:])[0] == opened(rest[2:])[0] == NAMESPACE


def test_a_flow_that_keeps_a_queue_loses_a_packet_and_no_whole_envelope() -> None:
    """As in a session's queue: CoDel drops the first segment of a superpacket, or marks it."""
    for tos, lost in ((0, 1), (1, 0)):
        queue, traffic = SendQueue(64 << 20, 10.0), Traffic()
        for _ in range(200):
            queue.push(enclosed(NAMESPACE, 1, super_of(40, tos)), 0.0, traffic)
        now = 0.0
        while not (traffic.dropped or traffic.marked):
            now += 0.05
            assert queue.pop(now, traffic, 1)
            assert now < 5.0
        assert traffic.drops == ({Reason.QUEUE_CODEL: 1} if lost else {})
        assert traffic.marked == (not lost)
        if lost:
            assert traffic.last[Reason.QUEUE_CODEL].head[10] == 0x45, "the packet is shown, not its envelope"


@given(FRAMES, st.integers(0, 0xFFF), st.integers(0, cluster_frames.MAX_HUB))
def test_within_a_hub_an_envelope_has_the_number_of_another_one(
    frames: list[bytes], label: int, hub: int
) -> None:
    run = b"".join(frames)
    content = (cluster_frames.head(NAMESPACE, label, len(run), hub) + run)[2:]
    assert cluster_frames.within_hub(content, 0, len(content)) == (hub, NAMESPACE)
    if hub & 0xFF:
        with pytest.raises(ProtocolError):
            cluster_frames.namespace_of(content, 0, len(content))
    for size in range(cluster_frames.HEADER):
        with pytest.raises(ProtocolError):
            cluster_frames.within_hub(content[:size], 0, size)
