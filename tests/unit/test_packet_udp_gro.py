"""UDP packets of one flow as one superpacket: it must stand for just these packets."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import packet as ip
from lib import packet_offload, packet_udp_gro
from lib.packet import Packet
from tests.support import packets as p

A, B = "10.1.0.2", "10.2.0.3"


def read_one(payload: bytes = b"payload.", **rest: Any) -> bytearray:
    """A packet as the kernel hands it over: header, packet, checksum left partial."""
    return bytearray(p.partial(p.udp(A, B, payload, partial=True, **rest)))


def joined(contents: list[bytearray]) -> bytearray:
    """A run as the uplink lays it out: one head, all payloads, then closed."""
    buf = bytearray(b"before") + contents[0] + b"".join(c[packet_udp_gro.HEAD :] for c in contents[1:])
    end = len(buf)
    packet_udp_gro.close_run(buf, 6, end, len(contents[0]) - packet_udp_gro.HEAD)
    assert buf[:6] == b"before"
    return buf[6:]


@pytest.mark.parametrize("identity", [7, 65534])
@pytest.mark.parametrize("fragment", [0, p.DONT_FRAGMENT], ids=["", "DF"])
@pytest.mark.parametrize(("count", "size"), [(2, 1), (3, 8), (128, 64), (46, 1392), (2, 32000)])
def test_a_run_stands_for_its_packets(count: int, size: int, fragment: int, identity: int) -> None:
    ids = [(identity + n) & 0xFFFF for n in range(count)]
    payloads = [bytes([n]) * size for n in range(count)]
    sent = [read_one(b, identity=i, fragment=fragment) for b, i in zip(payloads, ids, strict=True)]
    run = joined(sent)
    packet = ip.parse(run, packet_offload.HEADER_SIZE, len(run))
    assert isinstance(packet, Packet)
    as_closed = bytes(run)
    claim = packet_offload.rebuild(run, 0, packet, len(run))
    assert claim == (packet_offload.CSUM | packet_offload.USO4, size, count)
    assert run == as_closed, "rebuild had something to mend"
    expected = [p.udp(A, B, b, identity=i, fragment=fragment) for b, i in zip(payloads, ids, strict=True)]
    assert packet_offload.packets(run) == expected
    assert packet_offload.count_packets(p.frame(bytes(run))) == count


@pytest.mark.parametrize("to", [pytest.param(B, id=""), pytest.param("10.2.235.209", id="sum of 0xffff")])
def test_the_head_is_that_of_a_superpacket_of_the_kernel(to: str) -> None:
    first, second = (bytearray(p.partial(p.udp(A, to, b, partial=True))) for b in (b"first...", b"second.."))
    assert joined([first, second]) == p.superpacket(p.udp(A, to, b"first...second..", partial=True), 8)


@given(st.integers(0, 0xFFFFFFFF), st.integers(0, 0xFFFFFFFF), st.integers(1, 50), st.integers(2, 20))
def test_any_addresses_give_right_sums(source: int, destination: int, size: int, count: int) -> None:
    from_, to = (".".join(map(str, struct.pack("!I", n))) for n in (source, destination))
    one = bytearray(p.partial(p.udp(from_, to, b"x" * size, partial=True)))
    for packet in packet_offload.packets(joined([one] * count)):
        p.assert_right(packet)


@pytest.mark.parametrize(
    ("other", "alike"),
    [
        pytest.param(read_one(b"another.", identity=9), True, id="id and payload"),
        pytest.param(read_one(b"longer than it"), False, id="size"),
        pytest.param(read_one(ports=(4001, 5000)), False, id="source port"),
        pytest.param(read_one(ports=(4000, 5001)), False, id="destination port"),
        pytest.param(read_one(ttl=63), False, id="TTL"),
        pytest.param(read_one(fragment=p.DONT_FRAGMENT), False, id="DF"),
        pytest.param(bytearray(p.partial(p.udp(B, A, b"payload.", partial=True))), False, id="the way back"),
        pytest.param(bytearray(p.partial(p.tcp(A, B, partial=True))), False, id="TCP"),
        pytest.param(bytearray(p.headed(p.udp(A, B, b"payload."))), False, id="checksum done"),
    ],
)
def test_who_may_travel_together(other: bytearray, alike: bool) -> None:
    first = packet_udp_gro.likeness(read_one(), 0)
    assert (packet_udp_gro.likeness(other + bytes(20), 0) == first) is alike


@pytest.mark.parametrize("place", range(38))
def test_every_byte_of_a_head_counts_but_id_and_header_checksum(place: int) -> None:
    one = read_one()
    other = bytearray(one)
    other[place] ^= 1
    assert (packet_udp_gro.likeness(other, 0) == packet_udp_gro.likeness(one, 0)) is (
        place in (14, 15, 20, 21)
    )


def leads(content: bytearray) -> bool:
    return packet_udp_gro.may_lead(packet_udp_gro.likeness(content + bytes(38), 0), len(content))


@pytest.mark.parametrize(
    ("content", "may"),
    [
        pytest.param(read_one(), True, id="UDP"),
        pytest.param(read_one(b"x"), True, id="one byte"),
        pytest.param(read_one(fragment=p.DONT_FRAGMENT), True, id="DF"),
        pytest.param(read_one(b""), False, id="no payload"),
        pytest.param(read_one(fragment=p.MORE_FRAGMENTS), False, id="first fragment"),
        pytest.param(read_one(fragment=1), False, id="later fragment"),
        pytest.param(read_one(fragment=0x100), False, id="later fragment, offset in the high byte"),
        pytest.param(bytearray(p.partial(p.tcp(A, B, partial=True))), False, id="TCP"),
        pytest.param(bytearray(p.headed(p.udp(A, B))), False, id="checksum done"),
        pytest.param(bytearray(p.partial(p.udp("fd00::a", "fd00::b", partial=True))), False, id="IPv6"),
        pytest.param(
            bytearray(p.virtio(1, 0, 0, 0, 24, 6) + p.ip(A, B, 17, bytes(12), options=b"\1" * 4)),
            False,
            id="options",
        ),
        pytest.param(
            bytearray(p.superpacket(p.udp(A, B, bytes(99), partial=True), 9)), False, id="a superpacket"
        ),
        pytest.param(read_one() + b"\0", False, id="shorter than what was read"),
        pytest.param(read_one()[:-1], False, id="longer than what was read"),
    ],
)
def test_who_may_lead_a_run(content: bytearray, may: bool) -> None:
    assert leads(content) is may


def test_a_full_run_fits_a_frame() -> None:
    assert packet_udp_gro.MAX_SIZE <= 65535
    assert packet_udp_gro.MAX_SEGMENTS <= packet_offload.MAX_UDP_SEGMENTS
