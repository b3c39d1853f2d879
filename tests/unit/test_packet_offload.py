"""Superpackets: forged headers, and what a superpacket stands for, checked without the program's own code."""

from __future__ import annotations

import struct
from ipaddress import ip_address
from typing import Any, NamedTuple

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from lib import packet as ip
from lib import packet_offload
from lib.forward_drop_reasons import Reason
from lib.packet import Packet
from lib.packet_offload import CSUM, TSO4, TSO6, TSO_ECN, USO4, USO6
from tests.support import packets as p

A, B = "10.1.0.2", "10.2.0.3"
A6, B6 = "fd00::a", "fd00::b"
ECN = 0x80
CWR, ECE, URG, ACK, PSH, SYN, FIN = 0x80, 0x40, 0x20, 0x10, 0x08, 0x02, 0x01
TIMESTAMPS = bytes.fromhex("0101080a 00000001 00000002")
BEFORE = 5
"""Where a content starts in the buffer of `rebuilt`."""


def pattern(size: int) -> bytes:
    """A payload in which no two places look alike."""
    return b"".join(struct.pack("!H", n) for n in range((size + 1) // 2))[:size]


class Claim(NamedTuple):
    """What rebuild made of a content."""

    bits: int
    gso_size: int
    segments: int
    content: bytes


def rebuilt(content: bytes) -> Claim | Reason:
    """Parse and rebuild in the midst of other bytes, which must stay as they are."""
    around = b"\xa5" * BEFORE
    buf = bytearray(around + content + around)
    end = BEFORE + len(content)
    packet = ip.parse(buf, BEFORE + packet_offload.HEADER_SIZE, end)
    if isinstance(packet, Reason):
        return packet
    claim = packet_offload.rebuild(buf, BEFORE, packet, end)
    assert buf[BEFORE + packet_offload.HEADER_SIZE : end] == content[packet_offload.HEADER_SIZE :], (
        "the packet was written to"
    )
    assert buf[:BEFORE] == buf[end:] == around
    return claim if isinstance(claim, Reason) else Claim(*claim, bytes(buf[BEFORE:end]))


def accepted(content: bytes) -> Claim:
    claim = rebuilt(content)
    assert isinstance(claim, Claim), claim
    return claim


def fields(content: bytes) -> dict[str, int]:
    names = ("flags", "kind", "hdr_len", "gso_size", "start", "offset")
    return dict(zip(names, struct.unpack_from("<BBHHHH", content), strict=True))


def forged(content: bytes, **changes: int) -> bytes:
    """The content with fields of its header replaced."""
    return p.virtio(**(fields(content) | changes)) + content[packet_offload.HEADER_SIZE :]


def with_options6(packet: bytes, *sizes: int) -> bytes:
    """An IPv6 packet with destination options of these sizes before its transport header."""
    following, extensions = packet[6], b""
    for size in reversed(sizes):
        extensions = bytes([following, size // 8 - 1]) + bytes(size - 2) + extensions
        following = 60
    length = len(packet) - 40 + len(extensions)
    return packet[:4] + struct.pack("!HB", length, following) + packet[7:40] + extensions + packet[40:]


def moved(content: bytes, by: int) -> bytes:
    """A header for a packet whose transport header lies `by` bytes further."""
    old = fields(content)
    return forged(content, start=old["start"] + by, hdr_len=old["hdr_len"] and old["hdr_len"] + by)


def tcp4(size: int = 3000, gso: int = 1000, **rest: Any) -> bytes:
    return p.superpacket(p.tcp(A, B, pattern(size), partial=True, **rest), gso)


def tcp6(size: int = 3000, gso: int = 1000, **rest: Any) -> bytes:
    return p.superpacket(p.tcp(A6, B6, pattern(size), partial=True, **rest), gso)


def udp4(size: int = 3000, gso: int = 1000, **rest: Any) -> bytes:
    return p.superpacket(p.udp(A, B, pattern(size), partial=True, **rest), gso)


def udp6(size: int = 3000, gso: int = 1000, **rest: Any) -> bytes:
    return p.superpacket(p.udp(A6, B6, pattern(size), partial=True, **rest), gso)


def tcp6_behind_options(size: int = 3000, gso: int = 1000) -> bytes:
    content = tcp6(size, gso)
    return moved(content[:10] + with_options6(content[10:], 8, 24), 32)


SUPERPACKETS = [
    pytest.param(tcp4(), CSUM | TSO4, 3, id="TCP over IPv4"),
    pytest.param(tcp6(), CSUM | TSO6, 3, id="TCP over IPv6"),
    pytest.param(udp4(), CSUM | USO4, 3, id="UDP over IPv4"),
    pytest.param(udp6(), CSUM | USO6, 3, id="UDP over IPv6"),
    pytest.param(tcp4(options=TIMESTAMPS), CSUM | TSO4, 3, id="TCP options"),
    pytest.param(tcp4(options=b"\x01" * 40), CSUM | TSO4, 3, id="all TCP options"),
    pytest.param(tcp6_behind_options(), CSUM | TSO6, 3, id="IPv6 options"),
    pytest.param(tcp4(3001), CSUM | TSO4, 4, id="one byte more"),
    pytest.param(tcp4(1001), CSUM | TSO4, 2, id="two segments"),
    pytest.param(tcp4(2999), CSUM | TSO4, 3, id="one byte less"),
    pytest.param(tcp4(65485, 1368), CSUM | TSO4, 48, id="the largest"),
    pytest.param(tcp4(2800, 28), CSUM | TSO4, 100, id="the smallest TCP segments"),
    pytest.param(udp4(128, 1), CSUM | USO4, 128, id="the smallest UDP segments"),
    pytest.param(udp4(128 * 500, 500), CSUM | USO4, 128, id="128 UDP segments"),
    pytest.param(forged(tcp4(), kind=1 | ECN), CSUM | TSO4 | TSO_ECN, 3, id="TCP with ECN"),
    pytest.param(forged(tcp6(), kind=4 | ECN), CSUM | TSO6 | TSO_ECN, 3, id="TCP over IPv6 with ECN"),
]

# --- what a frame may become ---


def growth(content: bytes) -> tuple[int, int] | Reason:
    """(bytes in, bytes out for a peer that takes no superpackets)."""
    claim = rebuilt(content)
    if isinstance(claim, Reason):
        return claim
    return len(content), sum(map(len, packet_offload.packets(claim.content)))


def options6(content: bytes, size: int) -> bytes:
    """The superpacket with `size` bytes of IPv6 options."""
    sizes = [2048] * (size // 2048) + ([size % 2048] if size % 2048 else [])
    return moved(content[:10] + with_options6(content[10:], *sizes), size)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(tcp4(65400, 1380), id="mtu 1420"),
        pytest.param(tcp4(65400, 536, options=TIMESTAMPS), id="mtu 576"),
        pytest.param(tcp6(65400, 1220, options=TIMESTAMPS), id="IPv6's least mtu"),
        pytest.param(options6(tcp6(65000, 1096), 64), id="segment routing, mtu 1280"),
        pytest.param(options6(tcp6(64000, 964), 256), id="long options, mtu 1280"),
        pytest.param(
            tcp4(512 * 28, 28, options=b"\x01" * 40), id="the smallest segments, as many as a device makes"
        ),
        pytest.param(tcp6(512 * 88, 88, options=TIMESTAMPS), id="mss 88, as many as a device makes"),
        pytest.param(udp4(128 * 500, 500), id="QUIC"),
        pytest.param(udp4(128, 1), id="128 UDP segments of a byte"),
    ],
)
def test_superpackets_that_somebody_has_a_use_for(content: bytes) -> None:
    grown = growth(content)
    assert not isinstance(grown, Reason), grown


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(options6(tcp6(62000, 28), 2048), id="2 KB of options before segments of 28 bytes"),
        pytest.param(options6(tcp6(48000, 28), 16288), id="28 MB"),
        pytest.param(options6(tcp6(48000, 128), 16288), id="as long, with larger segments"),
        pytest.param(options6(udp6(128, 1), 2048), id="2 KB of options before segments of a byte"),
        pytest.param(tcp4(65400, 28), id="more segments than a device makes"),
        pytest.param(tcp4(28 * 513, 28), id="one segment more than a device makes"),
    ],
)
def test_superpackets_that_would_become_too_much_are_dropped(content: bytes) -> None:
    assert rebuilt(content) is Reason.BAD_OFFLOAD


@given(
    st.sampled_from([tcp4, tcp6, udp4, udp6]),
    st.integers(1, 60000),
    st.integers(1, 2000),
    st.integers(0, 900),
)
def test_no_frame_becomes_more_than_four_times_its_size_and_some_kilobytes(
    make: Any, size: int, gso: int, options: int
) -> None:
    content = make(size, gso)
    if make in (tcp6, udp6):
        content = options6(content, 8 * options if options != 1 else 16) if options else content
    if len(content) > 65535:
        return
    grown = growth(content)
    if not isinstance(grown, Reason):
        before, after = grown
        bound = (1 + packet_offload.MAX_GROWTH) * before + packet_offload.MAX_HEADERS
        assert after <= bound


def test_the_quick_look_leaves_small_segments_to_rebuild() -> None:
    """It does not count segments, so it must not accept what may have too many."""
    content = tcp4(65400, 28)
    assert packet_offload.tcp_super(content[:10]) is None
    assert packet_offload.tcp_super(forged(content, gso_size=128)[:10]) is not None


# --- rebuild -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("content", "bits", "segments"), SUPERPACKETS)
def test_a_true_header_stays_as_it_is(content: bytes, bits: int, segments: int) -> None:
    assert accepted(content) == (bits, fields(content)["gso_size"], segments, content)


@pytest.mark.parametrize("content", [tcp4(), tcp6(), udp4(), udp6(), tcp6_behind_options()])
@pytest.mark.parametrize(
    "lies",
    [
        pytest.param({"offset": 0}, id="checksum in the source port"),
        pytest.param({"offset": 2}, id="checksum in the destination port"),
        pytest.param({"offset": 0xFFFF}, id="checksum past the end"),
        pytest.param({"start": 0}, id="checksum from the IP header on"),
        pytest.param({"start": 0xFFFF}, id="checksum from past the end on"),
        pytest.param({"hdr_len": 0}, id="no header"),
        pytest.param({"hdr_len": 33}, id="part of the header"),
        pytest.param({"hdr_len": 0xFFFF}, id="header past the end"),
        pytest.param({"flags": 0x03}, id="checksum partial and verified"),
        pytest.param({"flags": 0xFF}, id="every flag"),
    ],
)
def test_what_follows_from_the_packet_is_written_anew(content: bytes, lies: dict[str, int]) -> None:
    assert accepted(forged(content, **lies)) == accepted(content)
    assert accepted(forged(content, **lies)).content == content


def single(packet: bytes) -> bytes:
    return p.partial(packet)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(single(p.tcp(A, B, partial=True)), id="TCP"),
        pytest.param(single(p.udp(A, B, partial=True)), id="UDP"),
        pytest.param(single(p.udp(A, B, b"", partial=True)), id="UDP without payload"),
        pytest.param(single(p.tcp(A6, B6, b"", flags=SYN, partial=True)), id="SYN over IPv6"),
        pytest.param(single(p.udp(A6, B6, partial=True)), id="UDP over IPv6"),
    ],
)
@pytest.mark.parametrize(
    "lies",
    [
        pytest.param({}, id="true"),
        pytest.param({"offset": 2}, id="offset"),
        pytest.param({"start": 1}, id="start"),
        pytest.param({"hdr_len": 7, "gso_size": 9}, id="leftovers of a superpacket"),
        pytest.param({"kind": ECN}, id="ECN alone"),
        pytest.param({"kind": 1, "gso_size": 1000}, id="a superpacket of one segment"),
        pytest.param({"kind": 5, "gso_size": 8}, id="exactly one segment"),
        pytest.param({"kind": 3, "gso_size": 65535}, id="a type that does not matter"),
    ],
)
def test_one_packet_with_its_checksum_to_do(content: bytes, lies: dict[str, int]) -> None:
    assert accepted(forged(content, **lies)) == (CSUM, 0, 1, content)


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(p.tcp(A, B), id="TCP"),
        pytest.param(p.icmp(A, B), id="ICMP"),
        pytest.param(p.ip(A, B, 47, b"x"), id="GRE"),
        pytest.param(p.ip(A, B, 6, b""), id="no transport header"),
        pytest.param(p.udp(A, B, fragment=p.MORE_FRAGMENTS), id="a fragment"),
        pytest.param(p.udp(A6, B6), id="IPv6"),
    ],
)
@pytest.mark.parametrize(
    "header",
    [
        p.virtio(),
        p.virtio(2),
        p.virtio(0, 0, 9, 9, 9, 9),
        p.virtio(0xFE, ECN, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF),
    ],
    ids=bytes.hex,
)
def test_a_complete_packet_gets_an_empty_header(packet: bytes, header: bytes) -> None:
    assert accepted(header + packet) == (0, 0, 1, p.NO_OFFLOAD + packet)


def tcp_offset(content: bytes, words: int) -> bytes:
    """A TCP header that says it is `words` long."""
    at = packet_offload.HEADER_SIZE + fields(content)["start"] + 12
    return content[:at] + bytes([words << 4]) + content[at + 1 :]


CLAIM = p.virtio(1, 0, 0, 0, 20, 16)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(forged(tcp4(), gso_size=0), id="TCP segments of 0"),
        pytest.param(forged(tcp4(), gso_size=1), id="TCP segments of 1"),
        pytest.param(forged(tcp4(), gso_size=27), id="TCP segments of 27"),
        pytest.param(forged(udp4(), gso_size=0), id="UDP segments of 0"),
        pytest.param(udp4(129, 1), id="129 UDP segments"),
        pytest.param(udp6(128 * 100 + 1, 100), id="128 UDP segments and a byte"),
        pytest.param(forged(tcp4(), flags=0), id="a superpacket without NEEDS_CSUM"),
        pytest.param(forged(tcp4(), flags=2), id="a superpacket that was verified"),
        pytest.param(forged(tcp4(), kind=4), id="IPv4 as TCPV6"),
        pytest.param(forged(tcp6(), kind=1), id="IPv6 as TCPV4"),
        pytest.param(forged(tcp4(), kind=5), id="TCP as UDP"),
        pytest.param(forged(udp4(), kind=1), id="UDP as TCPV4"),
        pytest.param(forged(udp6(), kind=4), id="UDP as TCPV6"),
        pytest.param(forged(udp4(), kind=3), id="UFO"),
        pytest.param(forged(tcp4(), kind=2), id="type 2"),
        pytest.param(forged(tcp4(), kind=0x7F), id="type 127"),
        pytest.param(tcp4(fragment=p.MORE_FRAGMENTS), id="first fragment as a superpacket"),
        pytest.param(tcp4(fragment=1), id="later fragment as a superpacket"),
        pytest.param(CLAIM + p.tcp(A, B, fragment=p.MORE_FRAGMENTS), id="a fragment's checksum to do"),
        pytest.param(CLAIM + p.icmp(A, B), id="ICMP"),
        pytest.param(CLAIM + p.ip(A, B, 47, bytes(40)), id="GRE"),
        pytest.param(CLAIM + p.ip(A, B, 6, b""), id="no TCP header"),
        pytest.param(CLAIM + p.ip(A, B, 6, bytes(12) + b"\x50" + bytes(6)), id="19 bytes of TCP"),
        pytest.param(CLAIM + p.ip(A, B, 17, bytes(7)), id="7 bytes of UDP"),
        pytest.param(tcp_offset(tcp4(), 4), id="TCP header of 16 bytes"),
        pytest.param(tcp_offset(tcp4(), 0), id="TCP header of 0 bytes"),
        pytest.param(tcp_offset(tcp4(39, 28), 15), id="TCP header past the end"),
        pytest.param(
            p.virtio(1, 4, 60, 500, 48, 16)
            + p.ip(A6, B6, 44, struct.pack("!BBHI", 6, 0, 1, 9) + tcp6()[50:]),
            id="an IPv6 fragment",
        ),
        pytest.param(p.virtio(1, 4, 60, 500, 40, 16) + p.ip(A6, B6, 60, bytes(2000)), id="IPv6 options only"),
    ],
)
def test_a_header_that_does_not_fit_its_packet(content: bytes) -> None:
    assert rebuilt(content) is Reason.BAD_OFFLOAD


def test_the_largest_gso_size_is_a_single_packet() -> None:
    assert accepted(forged(tcp4(), gso_size=65535))[:3] == (CSUM, 0, 1)


def test_a_longer_tcp_header_than_the_sender_meant_only_cuts_elsewhere() -> None:
    claim = accepted(tcp_offset(tcp4(), 15))
    assert (claim.segments, fields(claim.content)["hdr_len"]) == (3, 80)
    for packet in packet_offload.packets(claim.content):
        p.assert_right(packet)


@pytest.mark.parametrize("kind", [5, 5 | ECN])
def test_ecn_means_nothing_to_udp(kind: int) -> None:
    assert accepted(forged(udp4(), kind=kind)) == (CSUM | USO4, 1000, 3, udp4())


# --- headers that are looked up, not parsed ----------------------------------------------------------

PLAIN = {
    "tcp": p.tcp(A, B, partial=True),
    "udp": p.udp(A, B, partial=True),
    "icmp": p.icmp(A, B),
    "sctp": p.ip(A, B, 132, bytes(40)),
}


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("header", packet_offload.SINGLE, ids=bytes.hex)
def test_a_looked_up_header_is_right_where_rebuild_leaves_it_alone(header: bytes, name: str) -> None:
    packet = PLAIN[name]
    right = packet_offload.SINGLE[header]
    claim = rebuilt(header + packet)
    assert (right in (0, packet[9])) == (isinstance(claim, Claim) and claim.content == header + packet)


@given(st.binary(min_size=10, max_size=10), st.sampled_from(sorted(PLAIN)))
def test_no_other_header_is_looked_up(header: bytes, name: str) -> None:
    claim = rebuilt(header + PLAIN[name])
    if isinstance(claim, Claim) and claim.content[:10] == header:
        assert packet_offload.SINGLE[header] in (0, PLAIN[name][9])


# --- the quick check -------------------------------------------------------------------------------------


def quick(content: bytes) -> packet_offload.Plain | None:
    return packet_offload.quick_check(content + bytes(64), 0, len(content))


TCP_FLOW = ip_address(A).packed + ip_address(B).packed + p.tcp(A, B)[20:24]
LONG = p.superpacket(p.tcp(A, B, bytes(3000), partial=True), 1000)


def test_the_quick_check_tells_whose_flow_and_what_is_asked_of_a_receiver() -> None:
    assert quick(p.headed(p.tcp(A, B))) == (6, TCP_FLOW, None)
    assert quick(p.partial(p.tcp(A, B, partial=True))) == (6, TCP_FLOW, None)
    assert quick(p.headed(p.icmp(A, B))) == (1, TCP_FLOW[:8] + b"\x01", None)
    plain = quick(LONG)
    assert plain is not None
    protocol, flow, like = plain
    assert (protocol, flow) == (6, TCP_FLOW)
    assert like is not None
    assert (like.segment, like.more(len(LONG))) == (1040, 2)
    assert like.offloads == packet_offload.CSUM | packet_offload.TSO4


@pytest.mark.parametrize(
    "packet",
    [
        p.ip(A, B, 1, bytes(7)),
        p.ip(A, B, 132, bytes(40)),
        p.ip(A, B, 17, bytes(40), fragment=0x2000),
        p.ip(A, B, 6, b""),
    ],
    ids=["no whole ping", "sctp", "fragment", "no ports"],
)
def test_what_has_no_ports_passes_without_a_flow_and_only_complete(packet: bytes) -> None:
    assert quick(p.headed(packet)) == (0, b"", None)
    assert len(p.headed(packet)) >= 30
    for header in packet_offload.SINGLE.keys() - {packet_offload.NO_OFFLOAD}:
        assert quick(header + packet) is None


@pytest.mark.parametrize(
    "content",
    {
        "nothing": b"",
        "a header alone": packet_offload.NO_OFFLOAD,
        "half an IP header": packet_offload.NO_OFFLOAD + p.tcp(A, B)[:15],
        "a length that lies": p.headed(p.tcp(A, B)) + b"more",
        "IPv6": p.headed(p.tcp("fd00::1", "fd00::2")),
        "another protocol's header": p.partial(p.udp(A, B, partial=True))[:10] + p.tcp(A, B, bytes(20)),
        "half a TCP header": p.partial(p.tcp(A, B, partial=True))[:10] + p.ip(A, B, 6, bytes(12)),
        "a data offset that lies": LONG[:42] + b"\xf0" + LONG[43:],
        "no more payload than a segment": p.superpacket(p.tcp(A, B, bytes(900), partial=True), 1000),
        "segments too small": p.superpacket(p.tcp(A, B, bytes(900), partial=True), 1),
        "a superpacket of UDP": p.superpacket(p.udp(A, B, bytes(3000), partial=True), 1000),
    }.items(),
    ids=lambda item: item[0],
)
def test_what_the_quick_check_leaves_to_rebuild(content: tuple[str, bytes]) -> None:
    assert quick(content[1]) is None


# --- what a superpacket stands for -------------------------------------------------------------------


def checked(packet: bytes) -> bytes:
    """An IPv6 packet without its destination options, so that p can take it apart; others as they are."""
    while packet[0] >> 4 == 6 and packet[6] == 60:
        size = 8 + packet[41] * 8
        (length,) = struct.unpack_from("!H", packet, 4)
        packet = (
            packet[:4] + struct.pack("!HB", length - size, packet[40]) + packet[7:40] + packet[40 + size :]
        )
    return packet


def sequence_of(packet: bytes) -> int:
    return int(struct.unpack_from("!I", packet, p.transport_at(packet) + 4)[0])


def flags_of(packet: bytes) -> int:
    return packet[p.transport_at(packet) + 13]


def id_of(packet: bytes) -> int:
    return int(struct.unpack_from("!H", packet, 4)[0])


@pytest.mark.parametrize(("content", "bits", "segments"), SUPERPACKETS)
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_segments_are_complete_and_hold_the_payload(
    content: bytes, bits: int, segments: int, kind: type
) -> None:
    packets = packet_offload.packets(kind(content))
    assert len(packets) == segments
    for packet in packets:
        p.assert_right(checked(packet))
    payloads = [p.payload_of(checked(packet)) for packet in packets]
    assert {len(payload) for payload in payloads[:-1]} == {fields(content)["gso_size"]}
    assert b"".join(payloads) == p.payload_of(checked(content[10:]))


@pytest.mark.parametrize("content", [tcp4(options=TIMESTAMPS), tcp6_behind_options(), udp4(), udp6()])
def test_segments_repeat_the_headers(content: bytes) -> None:
    headers = fields(content)["hdr_len"]
    start, v4 = fields(content)["start"], content[10] >> 4 == 4
    # what may differ: lengths, IPv4 id and checksum, TCP sequence and flags, UDP length, checksums
    free = {2, 3, 4, 5, 10, 11} if v4 else {4, 5}
    free |= {start + n for n in ((4, 5, 6, 7, 13, 16, 17) if headers - start >= 20 else (4, 5, 6, 7))}
    for packet in packet_offload.packets(content):
        assert [n for n in range(headers) if packet[n] != content[10 + n] and n not in free] == []


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        pytest.param(ACK, [ACK, ACK, ACK], id="ACK"),
        pytest.param(ACK | PSH, [ACK, ACK, ACK | PSH], id="PSH on the last"),
        pytest.param(ACK | FIN, [ACK, ACK, ACK | FIN], id="FIN on the last"),
        pytest.param(ACK | FIN | PSH, [ACK, ACK, ACK | FIN | PSH], id="both on the last"),
        pytest.param(ACK | CWR, [ACK | CWR, ACK, ACK], id="CWR on the first"),
        pytest.param(ACK | ECE, [ACK | ECE] * 3, id="ECE on all"),
        pytest.param(ACK | URG, [ACK | URG] * 3, id="URG on all"),
        pytest.param(0xFF, [0xF6, 0x76, 0x7F], id="everything"),
    ],
)
def test_tcp_flags(flags: int, expected: list[int]) -> None:
    assert [flags_of(packet) for packet in packet_offload.packets(tcp4(flags=flags))] == expected
    assert [flags_of(packet) for packet in packet_offload.packets(tcp6(flags=flags))] == expected


def test_tcp_sequence_numbers_move_on_and_wrap() -> None:
    packets = packet_offload.packets(tcp4(sequence=0xFFFFFFFF - 1500))
    assert [sequence_of(packet) for packet in packets] == [0xFFFFFFFF - 1500, 0xFFFFFFFF - 500, 499]
    for packet in packets:
        p.assert_right(packet)


@pytest.mark.parametrize("content", [tcp4(identity=65534), udp4(identity=65534)], ids=["TCP", "UDP"])
def test_ipv4_ids_count_up_and_wrap(content: bytes) -> None:
    assert [id_of(packet) for packet in packet_offload.packets(content)] == [65534, 65535, 0]


@pytest.mark.parametrize("options", [b"\x01" * 4, b"\x01" * 40])
def test_ipv4_options_are_in_every_segment(options: bytes) -> None:
    whole = p.tcp(A, B, pattern(3000), partial=True)
    content = p.superpacket(p.ip(A, B, 6, whole[20:], options=options), 1000)
    packets = packet_offload.packets(accepted(content).content)
    assert [packet[20 : 20 + len(options)] for packet in packets] == [options] * 3
    for packet in packets:
        p.assert_right(packet)


@pytest.mark.parametrize(
    ("build", "at", "checksum"),
    [
        pytest.param(p.tcp, 36, 0, id="TCP: a value like any other"),
        pytest.param(p.udp, 26, 0xFFFF, id="UDP: 0 would mean none"),
    ],
)
def test_a_checksum_of_zero(build: Any, at: int, checksum: int) -> None:
    what_is_missing = build(A, B, bytes(1000))[at : at + 2]  # put into the payload, it makes the sum 0xffff
    payload = what_is_missing + bytes(998)
    first, _ = packet_offload.packets(p.superpacket(build(A, B, payload + b"more", partial=True), 1000))
    assert p.payload_of(first) == payload
    assert struct.unpack_from("!H", first, at)[0] == checksum
    p.assert_right(first)


# --- a checksum left partial -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("size", [0, 1, 8, 1391, 1392])
@pytest.mark.parametrize("ends", [(A, B), (A6, B6)], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("build", [p.tcp, p.udp], ids=["TCP", "UDP"])
def test_a_partial_checksum_is_completed(build: Any, ends: tuple[str, str], size: int, kind: type) -> None:
    content = kind(p.partial(build(*ends, pattern(size), partial=True)))
    assert packet_offload.complete(content) == build(*ends, pattern(size))
    assert packet_offload.packets(content) == [build(*ends, pattern(size))]


def test_a_complete_packet_is_left_alone() -> None:
    odd = p.udp(A, B)[:-8] + b"changed!"  # even with a wrong checksum: it is the sender's
    assert packet_offload.packets(p.headed(odd)) == [odd]


def test_a_partial_checksum_that_lies_makes_the_packet_wrong_and_no_other() -> None:
    right = p.partial(p.udp(A, B, partial=True))
    wrong = right[:36] + b"\x12\x34" + right[38:]
    assert accepted(wrong).content == wrong
    (packet,) = packet_offload.packets(wrong)
    assert packet[:26] + packet[28:] == right[10:36] + right[38:]
    with pytest.raises(AssertionError, match="checksum of protocol 17"):
        p.assert_right(packet)


# --- counting ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("contents", "count"),
    [
        pytest.param([], 0, id="nothing"),
        pytest.param([p.udp(A, B)], 1, id="a packet"),
        pytest.param([p.udp(A, B), p.tcp(A6, B6)], 2, id="two packets"),
        pytest.param([p.headed(p.udp(A, B))], 1, id="with a header"),
        pytest.param([single(p.udp(A, B, partial=True))], 1, id="a checksum to do"),
        pytest.param([tcp4()], 3, id="a superpacket"),
        pytest.param([tcp4(3001)], 4, id="a byte more"),
        pytest.param([tcp6_behind_options(2000)], 2, id="long headers"),
        pytest.param([tcp4(), p.udp(A, B), udp6(128, 1), p.headed(p.icmp(A, B))], 133, id="all of it"),
        pytest.param([b"\xf0\x01" + bytes(30)], 1, id="a control frame"),
        pytest.param([p.tcp(A, B, b"x")[:41]], 1, id="a short packet"),
        pytest.param([b"", tcp4(), b"", bytes(9), b""], 7, id="frames that are too short for a header"),
    ],
)
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_packets_in_a_run(contents: list[bytes], count: int, kind: type) -> None:
    assert packet_offload.count_packets(kind(p.stream(contents))) == count


def test_a_truncated_frame_is_not_counted() -> None:
    assert packet_offload.count_packets(p.stream([p.udp(A, B), tcp4()])[:-1]) == 1


@pytest.mark.parametrize(("content", "bits", "segments"), SUPERPACKETS)
def test_the_count_is_what_comes_out(content: bytes, bits: int, segments: int) -> None:
    assert packet_offload.count_packets(p.frame(content)) == len(packet_offload.packets(content)) == segments


# --- anything ----------------------------------------------------------------------------------------

likely_numbers = st.sampled_from([0, 1, 2, 6, 16, 20, 27, 28, 40, 100, 1000, 0xFFFF]) | st.integers(0, 0xFFFF)
headers = st.builds(
    p.virtio,
    st.sampled_from([0, 1, 1, 1, 2, 3, 255]),
    st.sampled_from([0, 1, 4, 5, ECN, 1 | ECN, 3, 77]),
    *[likely_numbers] * 4,
)
patches = st.lists(st.tuples(st.integers(0, 70), st.integers(0, 255)), max_size=3)


@st.composite
def contents(draw: st.DrawFn) -> bytes:
    """A header that claims anything before a packet that is nearly right, lengths true."""
    make = draw(st.sampled_from([tcp4, tcp6, udp4, udp6]))
    packet = bytearray(make(draw(st.integers(0, 400)), 100)[10:])
    for at, value in draw(patches):
        if 4 <= at < len(packet):
            packet[at] = value
    length = (2, len(packet)) if packet[0] >> 4 == 4 else (4, len(packet) - 40)
    struct.pack_into("!H", packet, *length)
    return draw(headers) + bytes(packet)


def is_right(packet: bytes) -> bool:
    """Whether the checksums of a parsed TCP or UDP packet hold, wherever its transport header lies."""
    view = ip.parse(packet, 0, len(packet))
    assert isinstance(view, Packet)
    body = packet[view.transport :]
    pseudo = p.pseudo_header(view.source, view.destination, view.protocol, len(body))
    return p.ones_sum(pseudo + body) == 0xFFFF and (
        view.version == 6 or p.ones_sum(packet[: view.transport]) == 0xFFFF
    )


def with_true_sums(content: bytes) -> bytes:
    """The content with the sums a true sender leaves: of the IPv4 header, and of the pseudo-header."""
    buf = bytearray(content)
    packet = ip.parse(buf, 10, len(buf))
    assert isinstance(packet, Packet)
    pseudo = p.pseudo_header(packet.source, packet.destination, packet.protocol, len(buf) - packet.transport)
    at = packet.transport + fields(content)["offset"]
    struct.pack_into("!H", buf, at, p.ones_sum(pseudo))
    if packet.version == 4:
        struct.pack_into("!H", buf, 20, 0)
        struct.pack_into("!H", buf, 20, 0xFFFF - p.ones_sum(bytes(buf[10 : packet.transport])))
    return bytes(buf)


@given(contents())
def test_any_superpacket_is_refused_or_becomes_right_packets(content: bytes) -> None:
    claim = rebuilt(content)
    if isinstance(claim, Reason):
        return
    if not claim.bits:
        assert packet_offload.packets(claim.content) == [content[10:]]
        return
    packets = packet_offload.packets(with_true_sums(claim.content))
    assert len(packets) == claim.segments == packet_offload.count_packets(p.frame(claim.content))
    for packet in packets:
        assert is_right(packet)
        assert not claim.gso_size or len(packet) <= fields(claim.content)["hdr_len"] + claim.gso_size


@given(
    st.binary(min_size=10, max_size=10) | st.sampled_from(sorted(packet_offload.SINGLE)),
    st.binary(max_size=80)
    | st.builds(bytes.__add__, st.sampled_from(sorted(PLAIN.values())), st.binary(max_size=9)),
)
@example(bytes(10), PLAIN["udp"])
def test_any_bytes_are_refused_or_cut_up(header: bytes, rest: bytes) -> None:
    claim = rebuilt(header + rest)
    if isinstance(claim, Claim):
        assert len(packet_offload.packets(claim.content)) == claim.segments


# --- superpackets cut in two -----------------------------------------------------------------------------


def same(one: list[bytes], other: list[bytes]) -> None:
    assert [packet.hex() for packet in one] == [packet.hex() for packet in other]


@given(
    st.sampled_from([tcp4, tcp6, udp4, udp6]),
    st.integers(2, 20_000),
    st.integers(28, 3000),
    st.integers(1, 130),
    st.integers(0, 255),
)
def test_the_parts_of_a_superpacket_stand_for_the_same_packets(
    make: Any, size: int, gso: int, segments: int, flags: int
) -> None:
    assume(gso < size <= 120 * gso)
    whole = make(size, gso, **({"flags": flags} if make in (tcp4, tcp6) else {}), identity=65530)
    if make in (tcp4, tcp6) and flags & 0x80:
        whole = forged(whole, kind=fields(whole)["kind"] | ECN)
    parts = packet_offload.cut(whole, segments)
    assert (parts is None) == (segments * gso >= size)
    if parts is None:
        return
    first, other = parts
    count = len(packet_offload.packets(first))
    assert count == segments
    same(packet_offload.packets(first) + packet_offload.packets(other), packet_offload.packets(whole))
    for part in parts:
        assert accepted(part).content == part, "the header is the right one"
        assert fields(part)["gso_size"] in (0, gso)
        if make in (tcp4, udp4):
            usual = make is tcp4 and gso >= packet_offload.FEW_SEGMENTS
            assert (packet_offload.quick_check(part, 0, len(part)) is not None) >= (
                usual or not fields(part)["gso_size"]
            )
    assert not fields(other)["kind"] & ECN, "only the first segment has CWR"


@pytest.mark.parametrize(("content", "_offloads", "count"), SUPERPACKETS)
def test_a_superpacket_is_cut_behind_each_segment(content: bytes, _offloads: int, count: int) -> None:
    whole = accepted(content).content
    for segments in {1, 2, count // 2, count - 1} - {0, count}:
        parts = packet_offload.cut(whole, segments)
        assert parts is not None
        same([one for part in parts for one in packet_offload.packets(part)], packet_offload.packets(whole))
    for segments in (0, count, count + 1):
        assert packet_offload.cut(whole, segments) is None
    for segments in {1, 2, count // 2, count - 1, count, count + 1} - {0}:
        some = list(packet_offload.parts(whole, segments))
        assert len(some) == -(-count // segments)
        same([one for part in some for one in packet_offload.packets(part)], packet_offload.packets(whole))
        assert all(accepted(part).content == part for part in some), "the header is the right one"


def test_a_header_length_that_counts_payload_too_is_not_believed() -> None:
    """As in what the kernel reads out to a TUN device: there it is the length of what lies in one piece."""
    assert packet_offload.cut(forged(tcp4(), hdr_len=900), 1) == packet_offload.cut(tcp4(), 1)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        bytes(10),
        p.headed(p.tcp(A, B)),
        p.partial(p.tcp(A, B, partial=True)),
        forged(tcp4(), flags=0),
        forged(tcp4(), kind=3),
        forged(tcp4(), gso_size=0),
        forged(tcp4(), start=0),
        forged(tcp4(), start=3020),
        forged(tcp4(), start=65535),
        forged(udp4(), start=3030),
        tcp4()[:42] + b"\x40" + tcp4()[43:],
    ],
)
def test_what_is_no_superpacket_is_not_cut(content: bytes) -> None:
    assert packet_offload.cut(content, 1) is None
    assert list(packet_offload.parts(content, 1)) == []


@given(st.binary(max_size=120), st.integers(1, 9))
def test_cutting_any_bytes(data: bytes, segments: int) -> None:
    parts = packet_offload.cut(b"\x01\x01" + data, segments)
    assert parts is None or sum(map(len, parts)) > len(data)
