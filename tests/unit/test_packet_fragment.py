"""Fragmentation: whatever packet, MTU and options, a receiver gets the same datagram, and nothing grows without bound."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib import packet_offload
from lib.packet_fragment import MAX_FRAGMENTS, fitting, fragments
from tests.support import packets as p

A, B = "10.0.0.1", "10.0.0.2"
RECORD_ROUTE, TIMESTAMP, SECURITY, LOOSE_ROUTE = 7, 68, 130, 131
"""Types of options: the last two have the bit that says "in every fragment"."""


def option(kind: int, size: int) -> bytes:
    """An option of so many bytes."""
    return bytes((kind, size)) + bytes(range(size - 2))


options = (
    st.lists(
        st.sampled_from([b"\1", b"\1"])
        | st.builds(
            option, st.sampled_from([RECORD_ROUTE, TIMESTAMP, SECURITY, LOOSE_ROUTE]), st.integers(2, 12)
        ),
        max_size=4,
    )
    .map(lambda several: b"".join(several))
    .filter(lambda found: len(found) <= 40)
    .map(lambda found: found + bytes(-len(found) % 4))
)


@st.composite
def datagrams(draw: st.DrawFn) -> bytes:
    payload = draw(st.binary(min_size=1, max_size=64)) * draw(st.integers(1, 100))
    ttl, identity = draw(st.integers(0, 255)), draw(st.integers(0, 0xFFFF))
    return p.ip(A, B, 17, payload, ttl=ttl, identity=identity, options=draw(options))


def is_right(packet: bytes) -> bool:
    """Whether the length and the checksum of an IPv4 header are right."""
    (total,) = struct.unpack_from("!H", packet, 2)
    return bool(total == len(packet) and p.ones_sum(packet[: (packet[0] & 15) * 4]) == 0xFFFF)


@settings(max_examples=300, deadline=None)
@given(datagrams(), st.integers(68, 1500))
def test_a_receiver_gets_the_same_datagram(packet: bytes, mtu: int) -> None:
    parts = fragments(packet, mtu)
    assert p.joined(parts) == packet
    assert all(len(part) <= mtu and is_right(part) for part in parts)
    assert {(part[1], part[4:6], part[8:10], part[12:20]) for part in parts} == {
        (packet[1], packet[4:6], packet[8:10], packet[12:20])
    }
    if len(packet) <= mtu:
        assert parts == [packet]
    for part in parts[:-1]:
        assert not (len(part) - (part[0] & 15) * 4) % 8
        assert len(part) > mtu - 8, "no more fragments than needed"


@settings(max_examples=200, deadline=None)
@given(datagrams(), st.lists(st.integers(68, 1500), min_size=2, max_size=4))
def test_fragments_are_fragmented_again(packet: bytes, mtus: list[int]) -> None:
    """As on a path of several routers, each with another MTU."""
    parts = [packet]
    for mtu in mtus:
        parts = [smaller for part in parts for smaller in fragments(part, mtu)]
    assert p.joined(parts) == packet
    assert all(is_right(part) and len(part) <= min(mtus) for part in parts)


@settings(max_examples=200, deadline=None)
@given(options)
def test_only_options_with_the_copied_bit_are_in_every_fragment(chosen: bytes) -> None:
    packet = p.ip(A, B, 17, bytes(600), options=chosen)
    first, *others = fragments(packet, 200)
    assert first[20 : (first[0] & 15) * 4] == chosen
    for other in others:
        assert _kinds(other) == [kind for kind in _kinds(packet) if kind & 0x80]


def _kinds(packet: bytes) -> list[int]:
    """The types of a packet's options, padding left out."""
    found, at, end = [], 20, (packet[0] & 15) * 4
    while at < end and packet[at]:
        if packet[at] == 1:
            at += 1
            continue
        found.append(packet[at])
        at += packet[at + 1]
    return found


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(bytes((SECURITY, 1, 0, 0)), id="shorter than itself"),
        pytest.param(bytes((SECURITY, 0, 0, 0)), id="without a length"),
        pytest.param(bytes((SECURITY, 9, 0, 0)), id="past the header"),
        pytest.param(bytes((1, 1, 1, SECURITY)), id="cut off"),
    ],
)
def test_a_packet_with_options_that_do_not_parse_is_not_cut(bad: bytes) -> None:
    assert fragments(p.ip(A, B, 17, bytes(600), options=bad), 200) == []


@pytest.mark.parametrize(
    ("packet", "mtu"),
    [
        pytest.param(p.udp(A, B, bytes(2000), fragment=p.DONT_FRAGMENT), 1400, id="don't fragment"),
        pytest.param(p.udp("fd00::1", "fd00::2", bytes(2000)), 1400, id="IPv6"),
        pytest.param(p.udp(A, B, bytes(2000)), 67, id="an MTU that no IPv4 path has"),
        pytest.param(p.udp(A, B, bytes(2000)), 1, id="an MTU of 1"),
        pytest.param(p.udp(A, B, bytes(65507)), 200, id="more fragments than a turn has time for"),
        pytest.param(p.udp(A, B, bytes(2000), fragment=0x1FF0), 1400, id="past the end of any datagram"),
    ],
)
def test_what_must_not_be_cut_is_not(packet: bytes, mtu: int) -> None:
    assert fitting(memoryview(packet), False, len(packet), 1, mtu) == []
    assert fitting(memoryview(p.headed(packet)), True, len(packet), 1, mtu) == []


@pytest.mark.parametrize("gso_size", [128, 550, 1000, 1361, 8960])
def test_a_superpacket_becomes_few_fragments_or_is_not_cut_at_all(gso_size: int) -> None:
    content = bytearray(p.superpacket(p.tcp(A, B, bytes(65000), partial=True), gso_size))
    segments = packet_offload.packets(content)
    for mtu in (68, 100, 576, 1400):
        if len(segments[0]) <= mtu:
            continue
        found = fitting(memoryview(content), True, len(segments[0]), len(segments), mtu)
        assert len(found) <= MAX_FRAGMENTS
        assert sum(len(part) - 20 for part in found) in (0, sum(len(part) - 20 for part in segments))
        assert found or mtu < 576


@pytest.mark.parametrize("mtu", [68, 576, 1280, 1400, 9000, 16384])
@pytest.mark.parametrize("size", [0, 1, 40, 1000, 9000, 65507])
def test_fragments_are_few_and_hardly_longer_than_their_packet(size: int, mtu: int) -> None:
    packet = p.udp(A, B, bytes(size))
    found = fitting(memoryview(packet), False, len(packet), 1, mtu)
    assert len(found) <= MAX_FRAGMENTS
    assert sum(map(len, found)) <= 1.5 * len(packet)
    if mtu >= 576:
        assert p.joined(found) == packet


@pytest.mark.parametrize("mtu", [68, 76, 100, 200])
def test_a_packet_of_long_headers_does_not_become_many_times_as_much(mtu: int) -> None:
    """As of superpackets: at most four times its size, and 8 KB."""
    many = bytes((SECURITY, 40)) + bytes(38)
    cut = 0
    for size in range(1000, 9000, 100):
        packet = p.ip(A, B, 17, bytes(size), options=many)
        found = fitting(memoryview(packet), False, len(packet), 1, mtu)
        assert sum(2 + len(part) for part in found) <= 4 * len(packet) + 8192
        cut += bool(found)
    assert cut


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_superpacket_becomes_fragments_of_its_segments(protocol: str) -> None:
    make = p.tcp if protocol == "tcp" else p.udp
    content = bytearray(p.superpacket(make(A, B, bytes(range(250)) * 40, partial=True), 2000))
    segments = packet_offload.packets(content)
    parts = fitting(memoryview(content), True, len(segments[0]), len(segments), 1400)
    assert (len(segments), len(parts)) == (5, 10)
    assert [p.joined(parts[n : n + 2]) for n in range(0, 10, 2)] == segments
    for segment in segments:
        p.assert_right(segment)


def test_a_partial_checksum_is_complete_before_the_packet_is_cut() -> None:
    payload = bytes(range(250)) * 12
    content, whole = bytearray(p.partial(p.udp(A, B, payload, partial=True))), p.udp(A, B, payload)
    assert p.joined(fitting(memoryview(content), True, len(whole), 1, 1400)) == whole


@settings(max_examples=300, deadline=None)
@given(st.binary(min_size=20, max_size=300), st.integers(0, 400))
def test_no_bytes_make_it_fail(data: bytes, mtu: int) -> None:
    header = bytes((0x40 | 5 + data[0] % min(11, len(data) // 4 - 4), data[1])) + struct.pack("!H", len(data))
    packet = header + data[4:]
    found = fitting(memoryview(packet), False, len(packet), 1, mtu)
    assert all(len(part) <= max(mtu, 0) for part in found if len(packet) > mtu)
    assert len(found) <= MAX_FRAGMENTS
