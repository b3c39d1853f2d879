"""A hop less and an MSS that fits: every changed packet is the one that scapy would build."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import framing, packet_hop, packet_offload
from lib import packet as ip
from lib.packet import Packet
from tests.support import packets as p
from tests.support.scapy_layers import IP, TCP, UDP, IPv6, Raw

A, B = "10.0.0.1", "10.0.0.2"
A6, B6 = "fd00::1", "fd00::2"
SYN, ACK = 0x02, 0x10
PARTIAL_TCP = struct.pack("<BBHHHH", 1, 0, 0, 0, 20, 16)


def built(packet: Any) -> bytes:
    return bytes(packet)


def rebuilt(data: bytes, ttl: int) -> bytes:
    """The packet with that TTL, its header checksum computed anew by scapy."""
    parsed = IP(data)
    parsed.ttl = ttl
    del parsed.chksum
    return bytes(parsed)


def frames(*contents: bytes) -> bytearray:
    return bytearray(b"".join(map(framing.encode, contents)) + bytes(framing.SLACK))


def passed(*contents: bytes, most: int = packet_hop.NO_MSS) -> list[bytes]:
    """What becomes of the contents of frames; those from the first one that may not go on are left out."""
    buf = frames(*contents)
    end = len(buf) - framing.SLACK
    stop = packet_hop.pass_on(buf, 0, end, most)
    ends = framing.split(buf[:stop])
    found = [bytes(buf[at + 2 : after]) for at, after in zip([0, *ends][:-1], ends, strict=True)]
    assert bytes(buf[stop:end]) == b"".join(map(framing.encode, contents[len(found) :])), "untouched"
    assert not any(buf[end:])
    return found


@given(st.integers(2, 255), st.integers(0, 65535), st.integers(0, 255), st.binary(min_size=8, max_size=40))
def test_one_packet_has_a_hop_less_and_the_right_checksum(
    ttl: int, identity: int, tos: int, data: bytes
) -> None:
    packet = built(IP(src=A, dst=B, ttl=ttl, id=identity, tos=tos) / UDP() / Raw(data))
    (after,) = passed(packet)
    assert after == rebuilt(packet, ttl - 1)
    buf = bytearray(packet)
    packet_hop.take_hop(buf, 0)
    assert bytes(buf) == after
    packet_hop.take_hop(buf, 0, -1)
    assert bytes(buf) == packet, "given back"


def test_every_checksum() -> None:
    """65,536 identifications have every checksum, those where a carry goes round among them."""
    contents = [built(IP(src=A, dst=B, ttl=64, id=0) / UDP() / Raw(b"x" * 8))] * 65536
    made = []
    for identity, content in enumerate(contents):
        buf = bytearray(content)
        struct.pack_into("!H", buf, 4, identity)
        struct.pack_into("!H", buf, 10, 0)
        struct.pack_into("!H", buf, 10, 0xFFFF - p.ones_sum(bytes(buf[:20])))
        made.append(bytes(buf))
    checks = set()
    for index, packet in enumerate(passed(*made)):
        assert packet[8] == 63
        (value,) = struct.unpack_from("!H", packet, 10)
        assert p.ones_sum(packet[:20]) == 0xFFFF, made[index].hex()
        assert value != 0xFFFF, "which is 0, and is written so"
        checks.add(value)
    assert len(checks) > 60000


@given(
    st.lists(
        st.tuples(st.sampled_from((8, 8, 8, 40, 41)), st.sampled_from((2, 64, 64, 64, 255)), st.booleans()),
        max_size=80,
    )
)
def test_runs_of_any_lengths_change_as_single_packets_do(shapes: list[tuple[int, int, bool]]) -> None:
    contents = []
    for number, (size, ttl, headed) in enumerate(shapes):
        packet = built(IP(src=A, dst=B, ttl=ttl, id=number) / UDP() / Raw(bytes([number % 251]) * size))
        contents.append((packet_offload.NO_OFFLOAD if headed else b"") + packet)
    alone = [one for content in contents for one in passed(content)]
    assert passed(*contents) == alone
    for before, after in zip(contents, alone, strict=True):
        at = packet_offload.HEADER_SIZE if before[0] < 0x10 else 0
        assert after[at:] == rebuilt(before[at:], before[at + 8] - 1)
        assert after[:at] == before[:at]


@pytest.mark.parametrize("place", [0, 1, 7, 8, 30, 99])
@pytest.mark.parametrize("ttl", [0, 1])
def test_a_run_stops_before_the_packet_that_has_no_hop_left(place: int, ttl: int) -> None:
    def packet(number: int) -> bytes:
        return built(IP(src=A, dst=B, ttl=ttl if number == place else 64, id=number) / UDP() / Raw(b"x" * 30))

    assert len(passed(*map(packet, range(100)))) == place


def test_a_long_run_is_changed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not one by one: that would cost a third of the forwarding of small packets."""
    monkeypatch.setattr(packet_hop, "_WRITE", None)
    packets = [
        built(IP(src=A, dst=B, ttl=64, id=number) / TCP(flags="A") / Raw(b"x" * 64)) for number in range(64)
    ]
    assert [packet[8] for packet in passed(*packets)] == [63] * 64


@pytest.mark.parametrize(
    "options",
    [
        [("MSS", 1460)],
        [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (7, 0)), ("NOP", None), ("WScale", 7)],
        [("NOP", None), ("MSS", 1460), ("NOP", None)],
        [("NOP", None), ("NOP", None), ("MSS", 9000)],
        [("WScale", 7), ("MSS", 65535)],
    ],
    ids=["alone", "as Linux writes it", "at an odd place", "behind NOPs", "behind another one"],
)
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("flags", ["S", "SA", "SEC"])
def test_the_mss_of_a_syn_is_bounded(options: list[tuple[str, Any]], version: int, flags: str) -> None:
    ends = IP(src=A, dst=B, ttl=9) if version == 4 else IPv6(src=A6, dst=B6, hlim=9)
    data = built(ends / TCP(sport=4, dport=5, flags=flags, options=options))
    lower = [(name, 1360 if name == "MSS" else value) for name, value in options]
    expected = built(ends / TCP(sport=4, dport=5, flags=flags, options=lower))
    buf = bytearray(b"?" * 3 + data)
    packet = ip.parse(buf, 3, len(buf))
    assert isinstance(packet, Packet)
    packet_hop.bound_mss(buf, packet, len(buf), 1360, partial=False)
    assert bytes(buf[3:]) == expected
    packet_hop.bound_mss(buf, packet, len(buf), 1400, partial=False)
    assert bytes(buf[3:]) == expected, "never made larger"
    if version == 4:
        (after,) = passed(data, most=1360)
        assert after == rebuilt(expected, 8)


def test_a_partial_checksum_stays_for_it_is_about_addresses_alone() -> None:
    data = p.tcp(A, B, b"", flags=SYN, options=bytes((2, 4, 5, 180)), partial=True)
    (after,) = passed(PARTIAL_TCP + data, most=1360)
    assert struct.unpack_from("!H", after, 10 + 42) == (1360,)
    assert after[10 + 36 : 10 + 38] == data[36:38]
    whole = packet_offload.complete(after)
    assert whole == rebuilt(bytes(IP(whole)), 63)
    del (again := IP(whole))[TCP].chksum
    assert bytes(again) == whole


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(built(IP(src=A, dst=B) / TCP(flags="A", options=[("MSS", 1460)])), id="no SYN"),
        pytest.param(built(IP(src=A, dst=B) / TCP(flags="S")), id="no option"),
        pytest.param(built(IP(src=A, dst=B) / TCP(flags="S", options=[("MSS", 1200)])), id="small enough"),
        pytest.param(p.tcp(A, B, flags=SYN, options=bytes((0, 2, 4, 255))), id="behind the end"),
        pytest.param(p.tcp(A, B, flags=SYN, options=bytes((8, 0, 2, 4))), id="an option of length 0"),
        pytest.param(p.tcp(A, B, b"", flags=SYN, options=bytes((1, 1, 2, 4))), id="cut off"),
        pytest.param(p.tcp(A, B, flags=SYN, options=bytes((2, 3, 255, 0))), id="of another length"),
    ],
)
def test_other_segments_keep_what_they_say(data: bytes) -> None:
    (after,) = passed(data, most=1360)
    assert after == rebuilt(data, data[8] - 1)


def test_a_syn_in_a_long_run_is_found() -> None:
    """A client that connects again and again from one port: the hub knows the flow already."""
    acks = [built(IP(src=A, dst=B, id=n) / TCP(flags="A", options=[("MSS", 1460)])) for n in range(40)]
    syns = [built(IP(src=A, dst=B, id=n) / TCP(flags="S", options=[("MSS", 1460)])) for n in range(2)]
    found = [IP(one)[TCP].options[0][1] for one in passed(*acks, *syns, *acks, most=1360)]
    assert found == [1460] * 40 + [1360] * 2 + [1460] * 40


def test_ipv6_has_no_checksum_to_follow() -> None:
    buf = bytearray(built(IPv6(src=A6, dst=B6, hlim=5) / UDP() / Raw(b"x")))
    expected = built(IPv6(src=A6, dst=B6, hlim=4) / UDP() / Raw(b"x"))
    assert packet_hop.hops_left(buf, 0) == 5
    packet_hop.take_hop(buf, 0)
    assert bytes(buf) == expected


@given(st.binary(max_size=80), st.integers(0, 4))
def test_options_of_any_bytes_end(options: bytes, more: int) -> None:
    options = options[:40]
    options += bytes(-len(options) % 4)
    data = p.tcp(A, B, b"y" * more, flags=SYN, options=options)
    (after,) = passed(data, most=1)
    assert len(after) == len(data)
    assert after[: 20 + 20] == rebuilt(data, 63)[:20] + after[20:40]
