"""IP packets: what a header says and whether it lies, and checksums."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import packet as ip
from lib import packet_icmp
from lib.forward_drop_reasons import Reason
from lib.packet import Packet
from tests.support import packets as p

A, B = "10.1.0.2", "10.2.0.3"
A6, B6 = "fd00::a", "fd00::b"
ENDS, ENDS6 = p.packed(A) + p.packed(B), p.packed(A6) + p.packed(B6)
PORTS = struct.pack("!HH", 4000, 5000)
NO_NEXT, HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION = 59, 0, 43, 44, 60


def parse(data: bytes) -> Packet | Reason:
    """Parse in the midst of other bytes, as packets lie in a buffer; positions come back from 0."""
    buf = b"\x45" * 7 + data + b"\x45" * 7
    found = ip.parse(buf, 7, 7 + len(data))
    return found if isinstance(found, Reason) else found._replace(transport=found.transport - 7)


def good(data: bytes) -> Packet:
    packet = parse(data)
    assert isinstance(packet, Packet), packet
    return packet


def patched(data: bytes, **at: int) -> bytes:
    """data with single bytes replaced: patched(data, b3=20)."""
    out = bytearray(data)
    for place, value in at.items():
        out[int(place[1:])] = value
    return bytes(out)


def extension(following: int, size: int = 8) -> bytes:
    """An IPv6 extension header of `size` bytes."""
    return bytes([following, size // 8 - 1]) + bytes(size - 2)


def fragment_header(following: int, offset: int = 0, more: bool = True) -> bytes:
    return struct.pack("!BBHI", following, 0, offset << 3 | more, 99)


def ipv6(first: int, *parts: bytes) -> bytes:
    return p.ip(A6, B6, first, b"".join(parts))


UDP6 = p.udp(A6, B6)[40:]
TCP6 = p.tcp(A6, B6)[40:]


# --- reading -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "protocol", "transport", "fragment", "tail"),
    [
        pytest.param(p.tcp(A, B), 6, 20, False, PORTS, id="TCP"),
        pytest.param(p.udp(A, B), 17, 20, False, PORTS, id="UDP"),
        pytest.param(p.udp(A, B, b""), 17, 20, False, PORTS, id="UDP without payload"),
        pytest.param(p.icmp(A, B), 1, 20, False, b"\x01", id="ICMP"),
        pytest.param(p.ip(A, B, 47, b"gre"), 47, 20, False, b"\x2f", id="GRE"),
        pytest.param(p.ip(A, B, 17, b""), 17, 20, False, b"\x11", id="nothing behind the header"),
        pytest.param(p.ip(A, B, 6, PORTS), 6, 20, False, b"\x06", id="half a transport header"),
        pytest.param(p.ip(A, B, 6, PORTS + bytes(15)), 6, 20, False, b"\x06", id="a TCP header a byte short"),
        pytest.param(
            p.ip(A, B, 17, PORTS + bytes(3)), 17, 20, False, b"\x11", id="a UDP header a byte short"
        ),
        pytest.param(
            p.ip(A, B, 17, PORTS + bytes(4), options=b"\x01" * 4), 17, 24, False, PORTS, id="an option"
        ),
        pytest.param(
            p.ip(A, B, 17, PORTS + bytes(4), options=b"\x01" * 40), 17, 60, False, PORTS, id="all options"
        ),
        pytest.param(p.udp(A, B, fragment=0x4000), 17, 20, False, PORTS, id="don't fragment"),
        pytest.param(p.udp(A, B, fragment=0x8000), 17, 20, False, PORTS, id="the reserved bit"),
        pytest.param(p.udp(A, B, fragment=0x2000), 17, 20, True, b"\x11", id="first fragment"),
        pytest.param(p.udp(A, B, fragment=0x2001), 17, 20, True, b"\x11", id="a fragment between"),
        pytest.param(p.udp(A, B, fragment=0x1FFF), 17, 20, True, b"\x11", id="last fragment"),
    ],
)
def test_ipv4(data: bytes, protocol: int, transport: int, fragment: bool, tail: bytes) -> None:
    assert parse(data) == Packet(4, ENDS[:4], ENDS[4:], protocol, transport, fragment, ENDS + tail)


@pytest.mark.parametrize(
    ("data", "protocol", "transport", "fragment", "tail"),
    [
        pytest.param(p.tcp(A6, B6), 6, 40, False, PORTS, id="TCP"),
        pytest.param(p.udp(A6, B6), 17, 40, False, PORTS, id="UDP"),
        pytest.param(p.icmp(A6, B6), 58, 40, False, b"\x3a", id="ICMPv6"),
        pytest.param(ipv6(NO_NEXT), 59, 40, False, b"\x3b", id="nothing"),
        pytest.param(ipv6(DESTINATION, extension(17), UDP6), 17, 48, False, PORTS, id="options"),
        pytest.param(
            ipv6(HOP_BY_HOP, extension(ROUTING), extension(DESTINATION, 24), extension(6, 16), TCP6),
            *(6, 88, False, PORTS),
            id="three headers",
        ),
        pytest.param(ipv6(FRAGMENT, fragment_header(17), UDP6), 17, 48, True, b"\x11", id="first fragment"),
        pytest.param(
            ipv6(FRAGMENT, fragment_header(17, 185, False), b"data"), 17, 48, True, b"\x11", id="last"
        ),
        pytest.param(
            ipv6(HOP_BY_HOP, extension(FRAGMENT), fragment_header(6), TCP6),
            *(6, 56, True, b"\x06"),
            id="fragment after options",
        ),
        pytest.param(ipv6(51, bytes(12), UDP6), 51, 40, False, b"\x33", id="AH is a protocol of its own"),
        pytest.param(ipv6(DESTINATION), 60, 40, False, b"\x3c", id="options that are not there"),
        pytest.param(ipv6(DESTINATION, b"\x11\0" + bytes(5)), 60, 40, False, b"\x3c", id="a byte short"),
        pytest.param(
            ipv6(DESTINATION, b"\x11\xff" + bytes(6)), 60, 40, False, b"\x3c", id="options past the end"
        ),
        pytest.param(ipv6(FRAGMENT, bytes(7)), 44, 40, False, b"\x2c", id="a fragment header cut off"),
    ],
)
def test_ipv6(data: bytes, protocol: int, transport: int, fragment: bool, tail: bytes) -> None:
    assert parse(data) == Packet(6, ENDS6[:16], ENDS6[16:], protocol, transport, fragment, ENDS6 + tail)


def test_the_walk_over_extension_headers_is_bounded() -> None:
    packet = good(ipv6(DESTINATION, *[extension(DESTINATION)] * 2000))
    assert (packet.protocol, packet.transport) == (DESTINATION, 40 + 8 * 8)


def test_the_bytes_of_extension_headers_are_bounded() -> None:
    long = extension(6, 1024)
    most = good(ipv6(DESTINATION, extension(DESTINATION, 1024), long, TCP6))
    more = good(ipv6(DESTINATION, extension(DESTINATION, 1032), long, TCP6))
    assert (most.protocol, most.transport, most.flow[-4:]) == (6, 40 + 2048, PORTS)
    assert (more.protocol, more.transport, more.flow[-1:]) == (DESTINATION, 40 + 1032, bytes([DESTINATION]))


def test_all_fragments_of_an_ipv6_packet_are_one_flow() -> None:
    """Also where what the fragment header announces is an extension header, which only the first holds."""
    first = good(ipv6(FRAGMENT, fragment_header(DESTINATION), extension(6), TCP6))
    later = good(ipv6(FRAGMENT, fragment_header(DESTINATION, 4), extension(17), UDP6))
    assert first.flow == later.flow == ENDS6 + bytes([DESTINATION])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"", Reason.NOT_IP, id="nothing"),
        pytest.param(b"\x00" * 40, Reason.NOT_IP, id="version 0"),
        pytest.param(b"\x55" * 40, Reason.NOT_IP, id="version 5"),
        pytest.param(b"\xf0" * 40, Reason.NOT_IP, id="version 15"),
        pytest.param(b"\x45", Reason.TRUNCATED, id="one byte of IPv4"),
        pytest.param(p.udp(A, B)[:19], Reason.TRUNCATED, id="19 bytes of IPv4"),
        pytest.param(p.udp(A, B)[:-1], Reason.TRUNCATED, id="IPv4 a byte short"),
        pytest.param(p.udp(A, B) + b"\0", Reason.LENGTH_LIES, id="IPv4 a byte long"),
        pytest.param(patched(p.udp(A, B), b3=19), Reason.LENGTH_LIES, id="IPv4 of 19 bytes"),
        pytest.param(patched(p.udp(A, B), b2=0, b3=0), Reason.LENGTH_LIES, id="IPv4 of 0 bytes"),
        pytest.param(patched(p.udp(A, B), b2=0xFF), Reason.TRUNCATED, id="IPv4 of 65,316 bytes"),
        pytest.param(patched(p.udp(A, B), b0=0x44), Reason.TRUNCATED, id="header of 16 bytes"),
        pytest.param(patched(p.udp(A, B), b0=0x40), Reason.TRUNCATED, id="header of 0 bytes"),
        pytest.param(patched(p.udp(A, B), b0=0x4F), Reason.TRUNCATED, id="header past the end"),
        pytest.param(b"\x60", Reason.TRUNCATED, id="one byte of IPv6"),
        pytest.param(p.udp(A6, B6)[:39], Reason.TRUNCATED, id="39 bytes of IPv6"),
        pytest.param(p.udp(A6, B6)[:-1], Reason.TRUNCATED, id="IPv6 a byte short"),
        pytest.param(p.udp(A6, B6) + b"\0", Reason.LENGTH_LIES, id="IPv6 a byte long"),
        pytest.param(patched(p.udp(A6, B6), b4=0, b5=0), Reason.LENGTH_LIES, id="a jumbogram"),
    ],
)
def test_no_packet(data: bytes, reason: Reason) -> None:
    assert parse(data) is reason


likely_packets = st.binary(max_size=120) | st.builds(
    lambda first, body: p.ip(A6, B6, first, body),
    st.sampled_from([HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION, 6, 17, 58, 135]),
    st.lists(st.sampled_from([0, 1, 2, 6, 17, 43, 44, 58, 60, 255]), max_size=90).map(bytes),
)


@given(likely_packets, st.sampled_from([bytes, bytearray, memoryview]))
def test_any_bytes_are_a_packet_or_a_reason(data: bytes, kind: Callable[[bytes], bytes]) -> None:
    packet = ip.parse(kind(data), 0, len(data))
    if isinstance(packet, Reason):
        assert packet in (Reason.NOT_IP, Reason.TRUNCATED, Reason.LENGTH_LIES)
        return
    header, width = (20, 4) if packet.version == 4 else (40, 16)
    assert header <= packet.transport <= len(data)
    assert len(packet.source) == len(packet.destination) == width
    assert packet.flow.startswith(packet.source + packet.destination)
    assert len(packet.flow) - 2 * width in (1, 4)
    assert hash(packet.flow) == hash(bytes(packet.flow))
    for answer in (
        packet_icmp.unreachable(data, 0, packet, len(data), Reason.NO_ROUTE),
        packet_icmp.too_big(data, 0, packet, len(data), 1400),
    ):
        assert (
            answer is None
            or packet_icmp.unreachable(answer, 0, good(answer), len(answer), Reason.NO_ROUTE) is None
        )


@pytest.mark.parametrize(("address", "text"), [(p.packed(A), A), (p.packed(A6), A6)])
def test_addresses_as_people_write_them(address: bytes, text: str) -> None:
    assert ip.format_address(address) == text


# --- checksums ---------------------------------------------------------------------------------------


@given(st.binary(min_size=1, max_size=200), st.integers(0, 0x3FFFF))
def test_the_sum_is_that_of_the_words(data: bytes, initial: int) -> None:
    expected = p.ones_sum(data + bytes(len(data) & 1) + struct.pack("!I", initial))
    assert ip.sum16(data, initial) % 65535 == expected % 65535


@given(st.binary(min_size=1, max_size=200).filter(any))
def test_the_checksum_is_the_words_inverted(data: bytes) -> None:
    assert ip.checksum(data) == 0xFFFF - p.ones_sum(data)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        pytest.param("0001 f203 f4f5 f6f7", 0x220D, id="RFC 1071"),
        pytest.param("4500 0073 0000 4000 4011 0000 c0a8 0001 c0a8 00c7", 0xB861, id="an IPv4 header"),
        pytest.param("ffff", 0x0000, id="all ones"),
        pytest.param("8000 7fff", 0x0000, id="a sum of all ones is 0 (RFC 1624: never 0xffff)"),
        pytest.param("01", 0xFEFF, id="an odd byte is the high one"),
    ],
)
def test_known_checksums(data: str, value: int) -> None:
    assert ip.checksum(bytes.fromhex(data)) == value


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("size", [1, 2, 512, 513, 514, 515, 516, 1368, 65535])
def test_checksums_over_any_buffer(kind: Callable[[bytes], bytes], size: int) -> None:
    data = (bytes(range(1, 256)) * 258)[:size]
    assert ip.checksum(kind(data)) == 0xFFFF - p.ones_sum(data)


@pytest.mark.parametrize("length", [8, 1400, 65535, 65536, 200_000])
@pytest.mark.parametrize("ends", [ENDS, ENDS6], ids=["IPv4", "IPv6"])
def test_the_pseudo_header(ends: bytes, length: int) -> None:
    half = len(ends) // 2
    ours = ip.pseudo_sum(ends[:half], ends[half:], 17, length)
    header = ends + struct.pack("!II", 17, length)
    assert ours % 65535 == p.ones_sum(header) % 65535
