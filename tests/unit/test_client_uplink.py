"""Uplink: from what a device gives to frames. A SEQPACKET socket stands in for the TUN device: one read, one
packet, EAGAIN when there is no more."""

from __future__ import annotations

import io
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib import client_uplink, framing, packet_offload
from lib import packet as ip
from lib.counters import Traffic
from lib.forward_drop_reasons import Reason
from tests.support import packets as p

A, B = "10.0.0.1", "10.0.0.2"
A6, B6 = "fd00::1", "fd00::2"


class Device:
    """Packets put in here are read by the uplink, one a read."""

    def __init__(self, offloads: int, has_header: bool = True, limit: int = framing.MAX_CONTENT) -> None:
        self._kernel, self._ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._kernel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)
        self._kernel.setblocking(False)
        os.set_blocking(self._ours.fileno(), False)
        self.answers: list[bytes] = []
        self.traffic = Traffic()
        file = io.FileIO(self._ours.fileno(), "r+b", closefd=False)
        self.up = client_uplink.Uplink(file, has_header, self.traffic, self.answers.append, offloads, limit)
        self._buf = bytearray(client_uplink.BUFFER_SIZE)

    def put(self, reads: list[bytes]) -> None:
        for read in reads:
            self._kernel.send(read)

    def batch(self) -> list[bytes]:
        """The frame contents of one batch."""
        end = client_uplink.read_batch(self.up, self._buf, memoryview(self._buf))
        return p.contents(bytes(self._buf[:end]))

    def all(self) -> list[bytes]:
        """The frame contents of all that is there."""
        found: list[bytes] = []
        while batch := self.batch():
            found += batch
        return found

    def close(self) -> None:
        self._kernel.close()
        self._ours.close()


def device_with(*arguments: Any) -> Any:
    @pytest.fixture
    def made() -> Iterator[Device]:
        device = Device(*arguments)
        yield device
        device.close()

    return made


headed = device_with(packet_offload.ALL)
without_uso = device_with(packet_offload.ALL & ~packet_offload.USO4 & ~packet_offload.USO6)
plain = device_with(0)
headerless = device_with(0, False)
to_gost = device_with(0, True, framing.GOST_HUB_MAX)


def sent(contents: list[bytes]) -> list[bytes]:
    """The complete packets that headed contents stand for; each must be what a hub accepts."""
    found = []
    for content in contents:
        copy = bytearray(content)
        parsed = ip.parse(copy, 10, len(copy))
        assert isinstance(parsed, ip.Packet), parsed
        claim = packet_offload.rebuild(copy, 0, parsed, len(copy))
        assert isinstance(claim, tuple), claim
        assert copy == content, "a hub would have to correct the header"
        found += packet_offload.packets(content)
    return found


def without_id(packet: bytes) -> bytes:
    """A packet without its IPv4 id and header checksum, which a run does not keep."""
    return packet if packet[0] >> 4 == 6 else packet[:4] + packet[6:10] + packet[12:]


def datagrams(count: int, size: int = 64, port: int = 5000, tag: int = 0) -> list[tuple[bytes, bytes]]:
    """(what the device gives, the complete packet it stands for), each with a payload of its own."""
    return [
        datagram((n.to_bytes(2) + bytes([tag])).ljust(size, b"d")[:size], port, 100 + n) for n in range(count)
    ]


def datagram(payload: bytes, port: int = 5000, identity: int = 7, **header: int) -> tuple[bytes, bytes]:
    half, whole = (
        p.udp(A, B, payload, ports=(4000, port), partial=partial, identity=identity, **header)
        for partial in (True, False)
    )
    return p.partial(half), whole


# --- headed: superpackets go through ---------------------------------------------------------------


OPTIONS = b"\x94\x04\x00\x00"  # router alert


@pytest.mark.parametrize(
    "read",
    [
        pytest.param(p.headed(p.udp(A, B)), id="complete UDP"),
        pytest.param(p.headed(p.icmp(A, B)), id="ICMP"),
        pytest.param(p.headed(p.icmp(A6, B6)), id="ICMPv6"),
        pytest.param(p.partial(p.udp(A, B, partial=True)), id="partial UDP"),
        pytest.param(p.partial(p.tcp(A, B, partial=True)), id="partial TCP"),
        pytest.param(p.partial(p.tcp(A6, B6, partial=True)), id="partial TCP over IPv6"),
        pytest.param(p.partial(p.udp(A6, B6, partial=True)), id="partial UDP over IPv6"),
        pytest.param(p.superpacket(p.tcp(A, B, bytes(60000), partial=True), 1380), id="TSO4"),
        pytest.param(p.superpacket(p.tcp(A6, B6, bytes(60000), partial=True), 1360), id="TSO6"),
        pytest.param(p.superpacket(p.udp(A, B, bytes(60000), partial=True), 1300), id="USO4"),
    ],
)
def test_a_frame_is_what_the_device_gave(headed: Device, read: bytes) -> None:
    headed.put([read])
    assert headed.batch() == [read]
    sent([read])


def test_a_header_that_a_network_device_verified_becomes_that_of_a_complete_packet(headed: Device) -> None:
    packet = p.udp(A, B)
    headed.put([p.virtio(2) + packet])
    assert headed.batch() == [p.headed(packet)]


@pytest.mark.parametrize(
    ("half", "start"),
    [
        pytest.param(p.ip(A, B, p.UDP, p.udp(A, B, partial=True)[20:], options=OPTIONS), 24, id="IP options"),
        pytest.param(
            p.ip("192.0.2.1", "192.0.2.2", 4, p.udp(A, B, partial=True)), 40, id="a tunnel in the tunnel"
        ),
    ],
)
def test_a_checksum_in_an_unusual_place_is_completed_here(headed: Device, half: bytes, start: int) -> None:
    headed.put([p.virtio(p.NEEDS_CSUM, 0, 0, 0, start, 6) + half, p.headed(p.icmp(A, B))])
    first, second = headed.batch()
    assert first[:10] == p.NO_OFFLOAD
    assert second == p.headed(p.icmp(A, B))
    inner = first[10:]
    p.assert_right(inner if half[9] == p.UDP else inner[20:])


@pytest.mark.parametrize(
    ("payload", "gso_size", "segments"),
    [
        pytest.param(60000, 1380, 44, id="the last one short"),
        pytest.param(10 * 1380, 1380, 10, id="whole segments"),
    ],
)  # fmt: skip
def test_a_superpacket_counts_as_its_segments(
    headed: Device, payload: int, gso_size: int, segments: int
) -> None:
    headed.put([p.superpacket(p.tcp(A, B, bytes(payload), partial=True), gso_size)])
    (content,) = headed.batch()
    assert headed.traffic.sent_packets == segments == len(packet_offload.packets(content))
    assert headed.traffic.sent_bytes == len(content) + 2


# --- headed: runs of datagrams become superpackets -------------------------------------------------


def check(device: Device, pairs: list[tuple[bytes, bytes]]) -> list[bytes]:
    """Everything put in comes out once, in order and intact; returns the frame contents."""
    device.put([read for read, _ in pairs])
    contents = device.all()
    assert [without_id(x) for x in sent(contents)] == [without_id(whole) for _, whole in pairs]
    assert device.traffic.sent_packets == len(pairs)
    assert not device.traffic.drops
    return contents


@pytest.mark.parametrize("size", [1, 8, 512, 1372, 1392, 8972])
def test_datagrams_of_one_flow_travel_together(headed: Device, size: int) -> None:
    contents = check(headed, datagrams(60, size))
    assert len(contents) <= 1 + 60 * size // 50000


def test_ids_count_up_within_a_run(headed: Device) -> None:
    pairs = datagrams(5)
    headed.put([read for read, _ in pairs])
    assert sent(headed.batch()) == [whole for _, whole in pairs], "ids counted up before, too"


def test_no_run_for_a_hub_that_does_not_take_it(without_uso: Device) -> None:
    assert check(without_uso, datagrams(5)) == [read for read, _ in datagrams(5)]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(datagram(b"o" * 64, port=5001), id="another port"),
        pytest.param(datagram(b"o" * 63), id="a shorter datagram"),
        pytest.param(datagram(b"o" * 65), id="a longer datagram"),
        pytest.param(datagram(b""), id="an empty datagram"),
        pytest.param(datagram(b"o" * 64, ttl=63), id="another TTL"),
        pytest.param(datagram(b"o" * 64, fragment=p.DONT_FRAGMENT), id="another DF"),
        pytest.param((p.headed(p.udp(A, B, b"o" * 64)),) * 2, id="a complete checksum"),
        pytest.param((p.headed(p.icmp(A, B)),) * 2, id="ICMP"),
        pytest.param((p.headed(p.ip(A, B, 99, b"")),) * 2, id="shorter than the head of a run"),
        pytest.param((p.headed(p.tcp(A, B, b"t" * 1300)),) * 2, id="TCP"),
        pytest.param(
            (p.partial(p.udp(A6, B6, b"6" * 64, partial=True)), p.udp(A6, B6, b"6" * 64)), id="IPv6"
        ),
    ],
)
@pytest.mark.parametrize("before", [1, 2, 5])
def test_another_packet_ends_a_run(headed: Device, other: tuple[bytes, bytes], before: int) -> None:
    read, whole = other
    whole = whole.removeprefix(p.NO_OFFLOAD)
    contents = check(headed, [*datagrams(before), (read, whole), *datagrams(before, tag=1)])
    assert contents[1] == read
    assert len(contents) == 3


def test_a_superpacket_of_the_same_flow_ends_a_run(headed: Device) -> None:
    big = p.superpacket(p.udp(A, B, bytes(640), partial=True), 64)
    run = datagrams(3)
    headed.put([*(read for read, _ in run), big, *(read for read, _ in run)])
    contents = headed.batch()
    assert contents[1] == big
    assert len(sent(contents)) == 16


def test_fragments_stay_alone(headed: Device) -> None:
    fragments = [p.headed(p.ip(A, B, p.UDP, bytes(64), fragment=p.MORE_FRAGMENTS)) for _ in range(3)]
    headed.put(fragments)
    assert headed.batch() == fragments


def test_alternating_flows_keep_their_order(headed: Device) -> None:
    ones, twos = datagrams(20), datagrams(20, port=5001)
    contents = check(headed, [pair for both in zip(ones, twos, strict=True) for pair in both])
    assert len(contents) == 40


def test_a_run_is_no_longer_than_the_kernel_takes(headed: Device) -> None:
    contents = check(headed, datagrams(3 * packet_offload.MAX_UDP_SEGMENTS, 16))
    assert len(contents) == 3


def test_the_packet_that_ends_a_run_is_not_lost_when_the_batch_is_full(headed: Device) -> None:
    check(headed, [*datagrams(100), *datagrams(40, port=5001), *datagrams(100, tag=1)])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from((5000, 5001)), st.sampled_from((0, 1, 40, 41, 1300)), st.integers(1, 9)), max_size=12))  # fmt: skip
def test_any_mix_comes_out_as_it_went_in(specs: list[tuple[int, int, int]]) -> None:
    device = Device(packet_offload.ALL)
    try:
        mix = [
            pair for n, (port, size, count) in enumerate(specs) for pair in datagrams(count, size, port, n)
        ]
        check(device, mix[:100])
    finally:
        device.close()


# --- batches ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [40, 1300])
@pytest.mark.parametrize("kind", ["headed", "without_uso", "plain"])
def test_a_batch_ends(kind: str, size: int, request: pytest.FixtureRequest) -> None:
    device: Device = request.getfixturevalue(kind)
    complete = [p.headed(p.tcp(A, B, n.to_bytes(2) + bytes(size))) for n in range(300)]
    device.put(complete)
    batches = []
    while batch := device.batch():
        batches.append(batch)
    assert max(map(len, batches)) == min(
        client_uplink.BATCH_PACKETS, 1 + client_uplink.BATCH_BYTES // len(complete[0])
    )
    whole = [read[10:] if kind == "plain" else read for read in complete]
    assert [content for batch in batches for content in batch] == whole


def test_a_batch_of_superpackets_is_bounded_in_bytes(headed: Device) -> None:
    big = p.superpacket(p.tcp(A, B, bytes(60000), partial=True), 1380)
    headed.put([big] * 10)
    first = headed.batch()
    assert 2 <= len(first) <= 1 + client_uplink.BATCH_BYTES // len(big)
    assert first + headed.all() == [big] * 10


def test_an_empty_device_gives_an_empty_batch(headed: Device, plain: Device) -> None:
    assert headed.batch() == plain.batch() == []


@pytest.mark.parametrize("kind", ["headed", "plain"])
def test_what_is_wrong_with_the_device_is_raised(kind: str, request: pytest.FixtureRequest) -> None:
    device: Device = request.getfixturevalue(kind)
    with open(os.devnull, "wb") as write_only:
        device.up.device = io.FileIO(write_only.fileno(), "w", closefd=False)
        with pytest.raises(OSError, match=r"Bad file descriptor|not open for reading"):
            device.batch()


# --- plain: one packet a frame ---------------------------------------------------------------------


PLAIN = [p.udp(A, B), p.tcp(A6, B6), p.icmp(A, B), p.ip(A, B, p.UDP, bytes(64), fragment=p.MORE_FRAGMENTS)]


def test_plain_frames_are_packets_alone(plain: Device, headerless: Device) -> None:
    plain.put([p.headed(packet) for packet in PLAIN])
    headerless.put(PLAIN)
    assert plain.batch() == headerless.batch() == PLAIN
    assert plain.traffic == headerless.traffic
    assert plain.traffic.sent_packets == len(PLAIN)
    assert plain.traffic.sent_bytes == len(p.stream(PLAIN))


@pytest.mark.parametrize(
    ("left_over", "count"),
    [
        pytest.param(p.superpacket(p.tcp(A, B, bytes(range(250)) * 40, partial=True), 1380), 8, id="TSO4"),
        pytest.param(p.superpacket(p.tcp(A6, B6, bytes(range(250)) * 40, partial=True), 1360), 8, id="TSO6"),
        pytest.param(p.superpacket(p.udp(A, B, bytes(range(250)) * 40, partial=True), 1000), 10, id="USO4"),
        pytest.param(p.partial(p.tcp(A, B, b"one", partial=True)), 1, id="a partial checksum"),
    ],
)
def test_a_superpacket_left_in_the_device_is_cut_up(plain: Device, left_over: bytes, count: int) -> None:
    plain.put([p.headed(PLAIN[0]), left_over, p.headed(PLAIN[1])])
    first, *segments, last = plain.batch()
    assert (first, last) == (PLAIN[0], PLAIN[1])
    assert len(segments) == count
    for segment in segments:
        p.assert_right(segment)
    assert b"".join(map(p.payload_of, segments)) == p.payload_of(left_over[10:])
    assert plain.traffic.sent_packets == count + 2


def test_a_superpacket_that_is_none_is_dropped_and_counted(plain: Device) -> None:
    plain.put([p.virtio(p.NEEDS_CSUM, 77, 40, 100, 20, 16) + p.tcp(A, B, bytes(1000)), p.headed(PLAIN[0])])
    assert plain.batch() == [PLAIN[0]]
    assert plain.traffic.drops == {Reason.BAD_OFFLOAD: 1}


def test_too_big_for_the_hub_is_answered(to_gost: Device) -> None:
    fits = p.udp(A, B, bytes(framing.GOST_HUB_MAX - 28), fragment=p.DONT_FRAGMENT)
    over = p.udp(A, B, bytes(framing.GOST_HUB_MAX - 27), fragment=p.DONT_FRAGMENT)
    to_gost.put(list(map(p.headed, (over, fits))))
    assert to_gost.batch() == [fits]
    assert to_gost.traffic.drops == {Reason.TOO_BIG: 1}
    (answer,) = to_gost.answers
    p.assert_right(answer)
    assert p.ends_of(answer) == (B, A)
    assert answer[20:22] == bytes([3, 4])
    assert int.from_bytes(answer[26:28]) == framing.GOST_HUB_MAX


def test_too_big_without_dont_fragment_goes_in_fragments(to_gost: Device) -> None:
    payload = bytes(range(250)) * 20
    packet = p.udp(A, B, payload)
    fits = p.udp(A, B)
    to_gost.put([p.headed(packet), p.partial(p.udp(A, B, payload, partial=True)), p.headed(fits)])
    sent = to_gost.batch()
    assert max(map(len, sent)) <= framing.GOST_HUB_MAX
    assert [p.joined(sent[:2]), p.joined(sent[2:4]), *sent[4:]] == [packet, packet, fits]
    assert to_gost.traffic.sent_packets == 5
    assert not to_gost.traffic.drops
    assert to_gost.answers == []


def test_a_superpacket_without_dont_fragment_goes_in_fragments_of_its_segments(to_gost: Device) -> None:
    """Jumbo segments of a host that has switched path MTU discovery off."""
    whole = p.tcp(A, B, bytes(20000), partial=True)
    to_gost.put([p.superpacket(whole, 8960)])
    sent = to_gost.batch()
    assert max(map(len, sent)) <= framing.GOST_HUB_MAX
    segments = [p.joined(sent[:3]), p.joined(sent[3:6]), sent[6]]
    assert [len(segment) for segment in segments] == [9000, 9000, 2120]
    for segment in segments:
        p.assert_right(segment)
    assert not to_gost.traffic.drops


@pytest.mark.parametrize(
    "read",
    [
        pytest.param(p.superpacket(p.tcp(A, B, bytes(20000), partial=True), 8960), id="superpacket"),
        pytest.param(p.partial(p.udp(A, B, bytes(8000), partial=True)), id="partial checksum"),
    ],
)
def test_nothing_left_over_goes_out_beyond_the_limit(to_gost: Device, read: bytes) -> None:
    to_gost.put([read])
    assert all(len(content) <= framing.GOST_HUB_MAX for content in to_gost.batch())
