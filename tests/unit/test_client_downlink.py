"""Downlink: from a hub's frames to writes on the device; a hub is trusted no more than any peer."""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib import client_downlink, framing, packet_offload, wire_control
from lib import packet as ip
from lib.client_session import ClientSession
from lib.counters import Traffic
from lib.forward_drop_reasons import Reason
from tests.support import packets as p

A, B = "10.0.0.1", "10.0.0.2"
A6, B6 = "fd00::1", "fd00::2"
MTU = 1420
HELLO = wire_control.encode_hello(wire_control.Hello(bytes(range(16)), packet_offload.ALL, MTU, "test"))
KEEPALIVE = b"GOST" + bytes(16)


@dataclass
class Device:
    """What a device was given, each write as it was at the time."""

    headed: bool
    writes: list[bytes] = field(default_factory=list)
    errors: list[OSError] = field(default_factory=list)
    fails_at: set[int] = field(default_factory=set)
    down: client_downlink.Downlink = field(init=False)
    tail: bytes = b""

    def __post_init__(self) -> None:
        self.down = client_downlink.Downlink(
            self._write, lambda error, _: self.errors.append(error), Traffic(), self.headed, MTU
        )

    def _write(self, view: memoryview) -> None:
        self.writes.append(bytes(view))
        if len(self.writes) - 1 in self.fails_at:
            raise OSError(errno.ENOBUFS, "full")

    def feed(self, data: bytes) -> None:
        """Deliver what was received, as a client does: the unfinished tail before it."""
        buffer, view, start, end = p.received(self.tail + data)
        stop = client_downlink.deliver(self.down, buffer, view, start, end)
        assert start <= stop <= end
        self.tail = bytes(view[stop:end])

    @property
    def drops(self) -> dict[Reason, int]:
        return dict(self.down.traffic.drops)


@pytest.fixture(params=[False, True], ids=["plain device", "headed device"])
def either(request: pytest.FixtureRequest) -> Device:
    return Device(request.param)


@pytest.fixture
def plain() -> Device:
    return Device(False)


@pytest.fixture
def headed() -> Device:
    return Device(True)


COMPLETE = {
    "UDP": p.udp(A, B),
    "TCP": p.tcp(A, B),
    "ICMP": p.icmp(A, B),
    "a bare header": p.ip(A, B, 99, b""),
    "IP options": p.ip(A, B, p.UDP, bytes(8), options=b"\x94\x04\0\0"),
    "fragment": p.ip(A, B, p.UDP, bytes(64), fragment=p.MORE_FRAGMENTS),
    "IPv6": p.udp(A6, B6),
    "bare IPv6": p.ip(A6, B6, 59, b""),
}
each_complete = pytest.mark.parametrize("packet", COMPLETE.values(), ids=COMPLETE)


# --- what is delivered -----------------------------------------------------------------------------


@each_complete
def test_a_packet_is_one_write(either: Device, packet: bytes) -> None:
    either.feed(p.frame(packet))
    assert either.writes == [p.headed(packet) if either.headed else packet]
    assert (either.down.traffic.received_packets, either.down.traffic.received_bytes) == (1, len(packet) + 2)
    assert not either.drops


SUPER = {
    "complete UDP": p.headed(p.udp(A, B)),
    "complete IPv6": p.headed(p.icmp(A6, B6)),
    "partial UDP": p.partial(p.udp(A, B, partial=True)),
    "partial TCP": p.partial(p.tcp(A, B, partial=True)),
    "partial TCP over IPv6": p.partial(p.tcp(A6, B6, partial=True)),
    "TSO4": p.superpacket(p.tcp(A, B, bytes(60000), partial=True), 1380),
    "TSO6": p.superpacket(p.tcp(A6, B6, bytes(60000), partial=True), 1360),
    "USO4": p.superpacket(p.udp(A, B, bytes(60000), partial=True), 1300),
    "USO6": p.superpacket(p.udp(A6, B6, bytes(60000), partial=True), 1300),
}
each_super = pytest.mark.parametrize("content", SUPER.values(), ids=SUPER)


@each_super
def test_what_carries_a_true_header_goes_as_it_is(headed: Device, content: bytes) -> None:
    headed.feed(p.frame(content))
    assert headed.writes == [content]
    assert headed.down.traffic.received_packets == len(packet_offload.packets(content))


@each_super
def test_a_device_without_headers_never_sees_one(plain: Device, content: bytes) -> None:
    plain.feed(p.frame(content))
    assert plain.writes == []
    assert plain.drops == {Reason.NOT_IP: 1}


def test_a_header_is_laid_over_the_frame_before_and_nothing_else(headed: Device) -> None:
    mixed = [
        *COMPLETE.values(),
        SUPER["TSO4"],
        *COMPLETE.values(),
        HELLO,
        COMPLETE["TCP"],
        SUPER["partial UDP"],
    ]
    headed.feed(p.stream(mixed) + p.frame(COMPLETE["UDP"])[:-1])
    wanted = [x if x[0] >> 4 == 0 else p.headed(x) for x in mixed if x is not HELLO]
    assert headed.writes == wanted
    assert headed.down.take_controls() == [HELLO]
    headed.feed(p.frame(COMPLETE["UDP"])[-1:])
    assert headed.writes[-1] == p.headed(COMPLETE["UDP"])


@pytest.mark.parametrize("ends", [(A, B), (A6, B6)], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("merges", [False, True])
def test_segments_of_a_flow_are_one_write_where_they_may_be_merged(
    headed: Device, ends: tuple[str, str], merges: bool
) -> None:
    """Between other frames, of which none is touched; each segment counts."""
    headed.down.merges = merges
    numbers: list[dict[str, Any]] = [{} if ends == (A6, B6) else {"identity": 7 + n} for n in range(3)]
    run = [p.tcp(*ends, bytes([n]) * 1000, sequence=1000 + n * 1000, **numbers[n]) for n in range(3)]
    around = [p.udp(*ends), p.tcp(*ends)]
    stream = p.stream([*around, *run, HELLO, *around])
    headed.feed(stream + p.frame(run[0])[:-1])
    whole = p.tcp(*ends, b"".join(bytes([n]) * 1000 for n in range(3)), partial=True)
    between = [p.superpacket(whole, 1000)] if merges else list(map(p.headed, run))
    assert headed.writes == [*map(p.headed, around), *between, *map(p.headed, around)]
    assert headed.down.take_controls() == [HELLO]
    traffic = headed.down.traffic
    assert (traffic.received_packets, traffic.received_bytes) == (3 + 4 + 1, len(stream))
    headed.feed(p.frame(run[0])[-1:])
    assert headed.writes[-1] == p.headed(run[0])


# --- what is not -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"", Reason.EMPTY_FRAME, id="empty frame"),
        pytest.param(b"\x50" * 30, Reason.NOT_IP, id="nibble 5"),
        pytest.param(b"\x45" + bytes(18), Reason.TRUNCATED, id="shorter than a header"),
        pytest.param(p.udp(A, B)[:-1], Reason.TRUNCATED, id="total length beyond the frame"),
        pytest.param(p.udp(A, B) + b"!", Reason.LENGTH_LIES, id="total length short of the frame"),
        pytest.param(p.udp(A6, B6)[:-1], Reason.TRUNCATED, id="IPv6 beyond the frame"),
        pytest.param(p.udp(A6, B6) + b"!", Reason.LENGTH_LIES, id="IPv6 short of the frame"),
    ],
)
def test_bad_packets_are_dropped_and_counted(either: Device, content: bytes, reason: Reason) -> None:
    either.feed(p.stream([content, p.udp(A, B)]))
    assert len(either.writes) == 1, "the frame behind is delivered"
    assert either.drops == {reason: 1}


TCP_SUPER = p.tcp(A, B, bytes(6000), partial=True)
UDP_SUPER = p.udp(A, B, bytes(6000), partial=True)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(bytes(10), Reason.NOT_IP, id="a header and no packet"),
        pytest.param(p.virtio(1, 1, 40, 1, 20, 16) + TCP_SUPER, Reason.BAD_OFFLOAD, id="TCP segments of 1"),
        pytest.param(p.virtio(1, 1, 40, 0, 20, 16) + TCP_SUPER, Reason.BAD_OFFLOAD, id="segments of 0"),
        pytest.param(p.virtio(1, 5, 28, 10, 20, 6) + UDP_SUPER, Reason.BAD_OFFLOAD, id="over 128 datagrams"),
        pytest.param(p.virtio(1, 4, 40, 1000, 20, 16) + TCP_SUPER, Reason.BAD_OFFLOAD, id="TSO6 of IPv4"),
        pytest.param(p.virtio(1, 5, 28, 1000, 20, 6) + TCP_SUPER, Reason.BAD_OFFLOAD, id="USO of TCP"),
        pytest.param(p.virtio(1, 3, 28, 1000, 20, 6) + UDP_SUPER, Reason.BAD_OFFLOAD, id="UFO"),
        pytest.param(p.virtio(0, 1, 40, 1000, 20, 16) + TCP_SUPER, Reason.BAD_OFFLOAD, id="without NEEDS_CSUM"),
        pytest.param(p.superpacket(TCP_SUPER, MTU), Reason.TOO_BIG, id="segments over the MTU"),
        pytest.param(p.virtio(1, 0, 0, 0, 20, 2) + p.icmp(A, B), Reason.BAD_OFFLOAD, id="partial ICMP"),
        pytest.param(
            p.virtio(1, 0, 0, 0, 20, 6) + p.ip(A, B, p.UDP, bytes(64), fragment=0x2000),
            Reason.BAD_OFFLOAD, id="partial fragment",
        ),
    ],
)  # fmt: skip
def test_forged_headers_are_dropped_and_counted(headed: Device, content: bytes, reason: Reason) -> None:
    headed.feed(p.stream([content, p.udp(A, B)]))
    assert headed.writes == [p.headed(p.udp(A, B))]
    assert headed.drops == {reason: 1}


@pytest.mark.parametrize(
    ("forged", "true"),
    [
        pytest.param(
            p.virtio(1, 1, 40, 1000, 20, 2), p.virtio(1, 1, 40, 1000, 20, 16), id="csum_offset: the port"
        ),
        pytest.param(
            p.virtio(1, 1, 40, 1000, 0, 12), p.virtio(1, 1, 40, 1000, 20, 16), id="csum_start: the source"
        ),
        pytest.param(p.virtio(1, 1, 65535, 1000, 20, 16), p.virtio(1, 1, 40, 1000, 20, 16), id="hdr_len"),
        pytest.param(
            p.virtio(1, 1, 40, 9000, 20, 16), p.virtio(1, 0, 0, 0, 20, 16), id="gso_size beyond the payload"
        ),
        pytest.param(p.virtio(0, 0, 99, 99, 99, 99), p.NO_OFFLOAD, id="junk that means nothing"),
        pytest.param(p.virtio(3, 1, 40, 1000, 20, 16), p.virtio(1, 1, 40, 1000, 20, 16), id="flags"),
    ],
)
def test_headers_are_written_anew(headed: Device, forged: bytes, true: bytes) -> None:
    headed.feed(p.frame(forged + TCP_SUPER))
    assert headed.writes == [true + TCP_SUPER]


def test_gosts_keepalive_is_passed_over(either: Device) -> None:
    either.feed(p.stream([KEEPALIVE, p.udp(A, B)]))
    assert len(either.writes) == 1
    assert not either.drops


def test_control_frames_are_collected_once(either: Device) -> None:
    either.feed(p.stream([HELLO, p.udp(A, B), b"\xf0"]))
    assert either.down.take_controls() == [HELLO, b"\xf0"]
    assert either.down.take_controls() == []
    assert len(either.writes) == 1


def test_a_refused_write_is_told_and_the_rest_goes_on(either: Device) -> None:
    either.fails_at = {1}
    either.feed(p.stream([p.udp(A, B)] * 3))
    assert len(either.writes) == 3
    assert [error.errno for error in either.errors] == [errno.ENOBUFS]


def test_what_refused_raises_comes_out(either: Device) -> None:
    def gone(error: OSError, packet: bytes) -> None:
        raise error

    either.fails_at, either.down.refused = {0}, gone
    with pytest.raises(OSError, match="full"):
        either.feed(p.frame(p.udp(A, B)))


# --- any bytes, any splits -------------------------------------------------------------------------

some_frames = st.lists(
    st.one_of(
        st.sampled_from([*COMPLETE.values(), *SUPER.values(), HELLO, KEEPALIVE, b""]),
        st.binary(max_size=80),
        st.builds(lambda head, tail: head + tail, st.sampled_from([b"\x45", b"\x60", bytes(10) + b"\x45"]), st.binary(max_size=80)),
        st.builds(
            lambda header, packet: struct.pack("<BBHHHH", *header) + packet,
            st.tuples(st.integers(0, 2), st.sampled_from((0, 1, 4, 5, 0x81)), *[st.integers(0, 65535)] * 4),
            st.sampled_from([TCP_SUPER, UDP_SUPER, *COMPLETE.values()]),
        ),
    ),
    max_size=8,
).map(p.stream)  # fmt: skip


def assert_writable(write: bytes, is_headed: bool) -> None:
    """A write is a header that is right, and a packet that is what it says."""
    copy = bytearray(write)
    parsed = ip.parse(copy, 10 if is_headed else 0, len(copy))
    assert isinstance(parsed, ip.Packet)
    if is_headed:
        claim = packet_offload.rebuild(copy, 0, parsed, len(copy))
        assert isinstance(claim, tuple)
        assert copy == write, "rebuilding a right header changes nothing"


@settings(max_examples=300, deadline=None)
@given(st.one_of(some_frames, st.binary(max_size=400)), st.booleans())
def test_any_bytes_give_only_good_writes(data: bytes, is_headed: bool) -> None:
    device = Device(is_headed)
    device.feed(data)
    assert len(device.tail) < 2 or len(device.tail) < 2 + int.from_bytes(device.tail[:2])
    for write in device.writes:
        assert_writable(write, is_headed)


@settings(max_examples=100, deadline=None)
@given(some_frames, st.booleans(), st.lists(st.integers(1, 3000), max_size=20))
def test_splits_do_not_matter(data: bytes, is_headed: bool, sizes: list[int]) -> None:
    whole, pieces = Device(is_headed), Device(is_headed)
    whole.feed(data)
    at = 0
    for size in [*sizes, len(data)]:
        pieces.feed(data[at : at + size])
        at += size
    assert (pieces.writes, pieces.tail) == (whole.writes, whole.tail)
    assert pieces.down.traffic == whole.down.traffic
    assert pieces.down.controls == whole.down.controls


def test_byte_by_byte(either: Device) -> None:
    data = p.stream([*COMPLETE.values(), HELLO, b"", *(SUPER.values() if either.headed else ()), KEEPALIVE])
    whole = Device(either.headed)
    whole.feed(data[:-1])
    step = 97 if either.headed else 1  # superpackets are long
    for at in range(0, len(data) - 1, step):
        either.feed(data[:-1][at : at + step])
    assert either.writes == whole.writes
    assert either.down.traffic == whole.down.traffic
    assert either.tail == whole.tail == data[-(2 + len(KEEPALIVE)) : -1]


def test_the_largest_frame_passes(headed: Device) -> None:
    packet = p.udp(A, B, bytes(framing.MAX_CONTENT - 10 - 28), partial=True)
    content = p.superpacket(packet, 1300)
    assert len(content) == framing.MAX_CONTENT
    headed.feed(p.frame(content))
    assert headed.writes == [content]


def test_the_last_packet_dropped_is_kept(either: Device) -> None:
    either.down.clock = lambda: 7.0
    packet = bytearray(p.udp(A, B, b"x" * 200))
    packet[2:4] = b"\0\x40"  # a length that lies
    either.feed(p.frame(bytes(packet)) + p.frame(p.udp(A6, B6)))
    at, kept = either.down.traffic.last[Reason.LENGTH_LIES]
    assert at == 7.0
    assert kept == packet[: len(kept)]
    assert len(kept) < 100


def test_a_receive_is_as_short_as_a_turn_of_small_packets(headed: Device) -> None:
    """What the kernel replies while packets are written waits in the device, which has no room for thousands."""
    down, count = headed.down, client_downlink.AT_ONCE
    small = p.frame(p.udp(A, B, bytes(40)))
    large = p.frame(p.superpacket(p.tcp(A, B, bytes(60_000), partial=True), 1000))
    headed.feed(small * count)
    assert down.room == framing.RECEIVE, "no more than there should be"
    headed.feed(small * 1000)
    assert down.room == count * len(small)
    headed.feed(small * count)
    headed.feed(small)
    assert down.room == count * len(small), "few came because there were few"
    headed.feed(p.frame(p.udp(A, B, b"")) * 3000)
    assert down.room == client_downlink.LEAST
    for _ in range(8):
        headed.feed(large * 2)
    assert down.room == framing.RECEIVE


def test_many_small_packets_are_a_crowd_and_large_ones_are_none(headed: Device) -> None:
    small = p.frame(p.udp(A, B, bytes(40)))
    large = p.frame(p.superpacket(p.tcp(A, B, bytes(60_000), partial=True), 1000))
    seen = [headed.down.is_crowded]
    for run in (small * 1000, *[large * 2] * 8):
        headed.feed(run)
        seen.append(headed.down.is_crowded)
    assert (seen[0], seen[1], seen[-1]) == (False, True, False)


@pytest.mark.parametrize("crowded", [True, False])
def test_a_crowd_is_received_only_while_the_device_is_read(
    crowded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session waits with the reader of the device before each receive of many small packets."""
    calls: list[str] = []

    def receive(view: memoryview) -> int:
        calls.append("receive")
        return 60 if len(calls) < 4 else 0

    session: Any = ClientSession.__new__(ClientSession)
    session._client = SimpleNamespace(
        buffer=framing.ReceiveBuffer(), down=SimpleNamespace(is_crowded=crowded, room=9000)
    )
    session.sender = SimpleNamespace(wait_for_reader=lambda: calls.append("wait"))
    monkeypatch.setattr(ClientSession, "_deliver", lambda session, start, end, lane: end)
    session._receive(SimpleNamespace(stream=SimpleNamespace(receive_into=receive)), b"")
    assert calls[:4] == (["wait", "receive"] * 2 if crowded else ["receive"] * 4)
