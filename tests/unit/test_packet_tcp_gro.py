"""TCP segments of one flow as one superpacket: it must stand for just these packets, and only where GRO merges them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lib import packet as ip
from lib import packet_offload, packet_tcp_gro
from lib.packet import Packet
from tests.support import packets as p

A, B, A6, B6 = "10.1.0.2", "10.2.0.3", "fd01::2", "fd02::3"
STAMPS = b"\x01\x01\x08\x0a" + struct.pack("!II", 111, 222)
SIZE = 1000
CWR, ECE, URG, RST, SYN = 0x80, 0x40, 0x20, 0x04, 0x02

Merged = tuple[bytes, int, int] | None
"""The content of the superpacket, how many packets are behind it in the buffer, segments."""


def merged(sent: list[bytes], cut: int = 0) -> Merged:
    """What becomes of the first of these packets; of the last frame `cut` bytes have not come yet."""
    data = p.stream(sent)
    buf, view, start, end = p.received(data[: len(data) - cut])
    before = bytes(buf)
    found = packet_tcp_gro.merge(buf, view, start + 2, len(sent[0]), end)
    if found is None:
        assert bytes(buf) == before
        return None
    into, after, segments = found
    assert bytes(buf[after:]) == before[after:], "frames that were not merged are as they were"
    assert bytes(buf[: start - 8]) == before[: start - 8]
    return bytes(buf[start - 8 : into]), len(p.contents(data)) - segments, segments


def segments(
    count: int,
    ends: tuple[str, str] = (A, B),
    size: int = SIZE,
    last: int = 0,
    last_flags: int = p.ACK,
    **rest: Any,
) -> list[bytes]:
    """A run of segments: ids and sequence numbers count up; the last one may be shorter and have other flags."""
    sequence, identity = rest.pop("sequence", 1000), rest.pop("identity", 7)
    made = []
    for index in range(count):
        is_last = index == count - 1
        more = dict(rest)
        if is_last and last_flags != p.ACK:
            more["flags"] = last_flags
        if ":" not in ends[0]:
            more["identity"] = (identity + index) & 0xFFFF
        payload = bytes([65 + index % 26]) * (last if is_last and last else size)
        made.append(p.tcp(*ends, payload, sequence=(sequence + index * size) & 0xFFFFFFFF, **more))
    return made


@pytest.mark.parametrize("ends", [(A, B), (A6, B6)], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize(
    "rest",
    [
        {},
        {"options": STAMPS},
        {"last": 1},
        {"last": 999, "last_flags": p.ACK | p.PSH},
        {"last_flags": p.ACK | p.FIN | p.PSH},
        {"sequence": 0xFFFFFF00},
        {"flags": p.ACK | ECE},
        {"size": 128},
        {"size": 1001},
    ],
    ids=str,
)
@pytest.mark.parametrize("count", [2, 3, 40])
def test_a_run_stands_for_its_packets(count: int, ends: tuple[str, str], rest: dict[str, Any]) -> None:
    sent = segments(count, ends, **rest)
    found = merged([*sent, p.udp(A, B)])
    assert found is not None
    content, left, number = found
    assert (left, number) == (1, count)
    assert packet_offload.packets(content) == sent
    _assert_true(content, count)


@pytest.mark.parametrize(
    ("identity", "fragment"), [(7, p.DONT_FRAGMENT), (65534, 0), (65534, p.DONT_FRAGMENT)]
)
def test_ids_count_up(identity: int, fragment: int) -> None:
    sent = segments(5, identity=identity, fragment=fragment)
    found = merged(sent)
    assert found is not None
    assert packet_offload.packets(found[0]) == sent


def _assert_true(content: bytes, count: int) -> None:
    """The header is the one that a hub's superpacket would have to have."""
    buf = bytearray(content)
    packet = ip.parse(buf, packet_offload.HEADER_SIZE, len(buf))
    assert isinstance(packet, Packet)
    claim = packet_offload.rebuild(buf, 0, packet, len(buf))
    assert isinstance(claim, tuple)
    assert claim[2] == count
    assert buf == content, "rebuild had something to mend"


@pytest.mark.parametrize("ends", [(A, B), (A6, B6)], ids=["IPv4", "IPv6"])
def test_the_superpacket_is_one_of_the_kernel(ends: tuple[str, str]) -> None:
    found = merged(segments(2, ends))
    assert found is not None
    assert found[0] == p.superpacket(p.tcp(*ends, b"A" * SIZE + b"B" * SIZE, partial=True), SIZE)


def test_no_superpacket_is_too_long() -> None:
    sent = segments(80)
    found = merged(sent)
    assert found is not None
    content, left, number = found
    assert (left, number) == (80 - 65, 65)
    assert len(content) - packet_offload.HEADER_SIZE == 40 + 65 * SIZE <= 65535
    assert packet_offload.packets(content) == sent[:65]


@pytest.mark.parametrize("ends", [(A, B), (A6, B6)], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("flags", [p.ACK | p.PSH, p.ACK | p.FIN])
def test_psh_and_fin_end_a_run(flags: int, ends: tuple[str, str]) -> None:
    sent = segments(3, ends, last_flags=flags)
    number: dict[str, Any] = {} if ends[0] == A6 else {"identity": 10}
    further = p.tcp(*ends, bytes(SIZE), sequence=1000 + 3 * SIZE, **number)
    found = merged([*sent, further])
    assert found is not None
    assert packet_offload.packets(found[0]) == sent


def test_a_shorter_segment_ends_a_run() -> None:
    sent = segments(3, last=500)
    found = merged([*sent, p.tcp(A, B, bytes(500), sequence=1000 + 2 * SIZE + 500, identity=10)])
    assert found is not None
    assert packet_offload.packets(found[0]) == sent


def changed(at: int, value: bytes, right: bool = True) -> Callable[[bytes], bytes]:
    """Another packet with these bytes, its checksums right again unless told."""

    def change(packet: bytes) -> bytes:
        made = packet[:at] + value + packet[at + len(value) :]
        return _summed(made) if right else made

    return change


def _summed(packet: bytes) -> bytes:
    """The packet with right checksums (IPv4 without options, IPv6 without extension headers)."""
    made = bytearray(packet)
    tcp = p.transport_at(packet)
    if tcp == 20:
        made[10:12] = b"\0\0"
        made[10:12] = (0xFFFF - p.ones_sum(bytes(made[:20]))).to_bytes(2)
    made[tcp + 16 : tcp + 18] = b"\0\0"
    ends = bytes(made[12:20]) if tcp == 20 else bytes(made[8:40])
    half = len(ends) // 2
    body = bytes(made[tcp:])
    pseudo = p.pseudo_header(ends[:half], ends[half:], p.TCP, len(body))
    made[tcp + 16 : tcp + 18] = (0xFFFF - p.ones_sum(pseudo + body)).to_bytes(2)
    return bytes(made)


OTHER_V4: dict[str, Callable[[bytes], bytes]] = {
    "TOS": changed(1, b"\x10"),
    "ECN": changed(1, b"\x03"),
    "the same id": changed(4, b"\x00\x07"),
    "an id left out": changed(4, b"\x00\x09"),
    "DF": changed(6, b"\x40\x00"),
    "more fragments": changed(6, b"\x20\x00"),
    "fragment offset": changed(6, b"\x00\x01"),
    "reserved bit": changed(6, b"\x80\x00"),
    "TTL": changed(8, b"\x3f"),
    "UDP": changed(9, b"\x11", right=False),
    "source address": changed(15, b"\x09"),
    "destination address": changed(19, b"\x09"),
    "header checksum": changed(10, b"\x12\x34", right=False),
    "total length short of the frame": lambda packet: changed(2, b"\x03\x00", right=False)(packet),
    "IPv4 options": lambda packet: p.ip(A, B, p.TCP, packet[20:], options=b"\x94\x04\0\0"),
}
OTHER_V6: dict[str, Callable[[bytes], bytes]] = {
    "traffic class": changed(0, b"\x61"),
    "flow label": changed(3, b"\x01"),
    "hop limit": changed(7, b"\x3f"),
    "source address": changed(23, b"\x09"),
    "destination address": changed(39, b"\x09"),
    "payload length short of the frame": changed(4, b"\x03\x00", right=False),
    "extension header": lambda packet: p.extended(packet, (p.DESTINATION, 8)),
}


def _tcp(tcp: int) -> dict[str, Callable[[bytes], bytes]]:
    """Changes to the TCP header that begins at byte `tcp`."""
    return {
        "source port": changed(tcp, b"\x10\x00"),
        "destination port": changed(tcp + 2, b"\x10\x00"),
        "a gap": changed(tcp + 4, struct.pack("!I", 1001 + SIZE)),
        "the same again": changed(tcp + 4, struct.pack("!I", 1000)),
        "acknowledgement": changed(tcp + 8, struct.pack("!I", 2)),
        "reserved bit of TCP": changed(tcp + 12, b"\x51"),
        "longer TCP header": changed(tcp + 12, b"\x60"),
        "SYN": changed(tcp + 13, bytes([p.ACK | SYN])),
        "RST": changed(tcp + 13, bytes([p.ACK | RST])),
        "URG": changed(tcp + 13, bytes([p.ACK | URG])),
        "ECE": changed(tcp + 13, bytes([p.ACK | ECE])),
        "CWR": changed(tcp + 13, bytes([p.ACK | CWR])),
        "no ACK": changed(tcp + 13, b"\x00"),
        "window": changed(tcp + 14, b"\x01\x00"),
        "urgent pointer": changed(tcp + 18, b"\x00\x01"),
        "checksum": changed(tcp + 16, b"\x12\x34", right=False),
        "a damaged byte": changed(tcp + 500, b"!", right=False),
        "no payload": lambda packet: p.with_payload(packet, packet[tcp : tcp + 20]),
        "longer than the first": lambda packet: _summed(p.with_payload(packet, packet[tcp:] + b"!")),
    }


CHANGES = [
    *(pytest.param((A, B), change, id=f"IPv4, {name}") for name, change in {**OTHER_V4, **_tcp(20)}.items()),
    *(
        pytest.param((A6, B6), change, id=f"IPv6, {name}")
        for name, change in {**OTHER_V6, **_tcp(40)}.items()
    ),
]


@pytest.mark.parametrize(("ends", "change"), CHANGES)
def test_what_does_not_follow(ends: tuple[str, str], change: Callable[[bytes], bytes]) -> None:
    """The second segment differs in one thing; alone or behind others it is merged with nothing."""
    first, second, third = segments(3, ends)
    assert merged([first, second, third]) is not None
    assert merged([first, change(second)]) is None
    assert merged([first, change(second), third]) is None


@pytest.mark.parametrize(("ends", "change"), CHANGES)
def test_what_ends_a_run_leaves_it_whole(ends: tuple[str, str], change: Callable[[bytes], bytes]) -> None:
    """The third segment differs: the first two are one superpacket, and the third lies there as it was."""
    before, first, second = segments(3, ends, sequence=1000 - SIZE, identity=6)
    other = change(second)
    found = merged([before, first, other])
    assert found is not None
    content, left, number = found
    assert (left, number) == (1, 2)
    assert packet_offload.packets(content) == [before, first]


LEADS = (
    "SYN",
    "RST",
    "URG",
    "CWR",
    "no ACK",
    "checksum",
    "a damaged byte",
    "header checksum",
    "more fragments",
)


@pytest.mark.parametrize("name", [*LEADS, "fragment offset", "reserved bit", "UDP", "IPv4 options"])
def test_what_nothing_follows(name: str) -> None:
    """Two segments that both have it are not merged either."""
    change = {**OTHER_V4, **_tcp(20)}[name]
    assert merged([change(segment) for segment in segments(3)]) is None


@pytest.mark.parametrize("flags", [p.ACK | p.PSH, p.ACK | p.FIN, p.FIN])
def test_psh_and_fin_lead_nothing(flags: int) -> None:
    assert merged(segments(2, flags=flags)) is None


@pytest.mark.parametrize(("first", "second"), [(STAMPS, b""), (b"", STAMPS), (STAMPS, STAMPS[:-1] + b"!")])
def test_options_must_be_the_same(first: bytes, second: bytes) -> None:
    one = p.tcp(A, B, bytes(SIZE), options=first)
    assert merged([one, p.tcp(A, B, bytes(SIZE), options=second, sequence=1000 + SIZE, identity=8)]) is None


def test_small_segments_and_unfinished_frames_stay_alone() -> None:
    assert merged(segments(2, size=packet_tcp_gro.MIN_PAYLOAD - 1)) is None
    assert merged(segments(2), cut=1) is None
    assert merged(segments(2), cut=SIZE + 41) is None
    found = merged(segments(3), cut=1)
    assert found is not None
    assert found[2] == 2


@pytest.mark.parametrize("offset", [b"\xf0", b"\x40"], ids=["beyond its packet", "shorter than one can be"])
def test_a_tcp_header_that_cannot_be(offset: bytes) -> None:
    change = changed(32, offset)
    assert merged([change(segment) for segment in segments(2, size=packet_tcp_gro.MIN_PAYLOAD)]) is None
    assert merged([change(segment) for segment in segments(2, size=20)]) is None


DIFFERENCE = st.sampled_from(list({**OTHER_V4, **_tcp(20)}.values()))


@given(
    st.lists(
        st.tuples(st.integers(1, 6), st.integers(128, 1400), st.integers(1, 1400)), min_size=1, max_size=4
    ),
    st.lists(st.tuples(st.integers(0, 23), DIFFERENCE), max_size=3),
    st.booleans(),
)
@example([(4, 354, 323)], [], True)  # the checksum of the last one is 0
def test_whatever_comes_the_same_packets_leave(
    runs: list[tuple[int, int, int]], differences: list[tuple[int, Callable[[bytes], bytes]]], stamped: bool
) -> None:
    sent: list[bytes] = []
    for count, size, last in runs:
        rest: dict[str, Any] = {"size": size, "last": min(size, last), "options": STAMPS if stamped else b""}
        sent += segments(count, **rest)
    for at, change in differences:
        if at < len(sent):
            sent[at] = change(sent[at])
    data = p.stream(sent)
    buf, view, at, end = p.received(data)
    left: list[bytes] = []
    while at < end:
        start, size = at + 2, buf[at] << 8 | buf[at + 1]
        if (found := packet_tcp_gro.merge(buf, view, start, size, end)) is None:
            left.append(bytes(buf[start : start + size]))
            at = start + size
        else:
            into, at, count = found
            cut = packet_offload.packets(bytes(buf[start - packet_offload.HEADER_SIZE : into]))
            assert len(cut) == count
            left += cut
    assert left == sent


@given(st.binary(min_size=2, max_size=400))
def test_any_bytes_are_no_trouble(data: bytes) -> None:
    """Behind a segment that could be followed, and in its place."""
    first = segments(1)[0]
    for stream in (p.frame(first) + data, data):
        buf, view, start, end = p.received(stream)
        size = min(buf[start] << 8 | buf[start + 1], end - start - 2)
        if size:
            packet_tcp_gro.merge(buf, view, start + 2, size, end)
