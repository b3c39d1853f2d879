"""Headers down to the transport header: chains of extension headers, fragments, what an ICMP error quotes."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import packet as ip
from lib import packet_headers
from lib.forward_drop_reasons import Reason
from lib.packet_headers import Headers
from tests.support import packets as p

A, B, A6, B6 = "10.1.0.2", "10.2.0.3", "fd00::a", "fd00::b"
PORTS = struct.pack("!HH", 4000, 5000)
TCP6, UDP6 = p.tcp(A6, B6), p.udp(A6, B6)
HIP, SHIM6 = 139, 140
NO_NEXT, ESP = 59, 50


def read(data: bytes) -> Headers | Reason:
    """Read in the midst of other bytes, as packets lie in a buffer."""
    buf = b"\x45" * 7 + data + b"\x45" * 7
    packet = ip.parse(buf, 7, 7 + len(data))
    assert isinstance(packet, ip.Packet), packet
    return packet_headers.read(buf, 7, packet, 7 + len(data))


def good(data: bytes) -> Headers:
    headers = read(data)
    assert isinstance(headers, Headers), headers
    return headers


# --- extension headers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "chain",
    [
        (),
        ((p.HOP_BY_HOP, 8),),
        ((p.DESTINATION, 2048),),
        ((p.ROUTING, 24),),
        ((p.FRAGMENT, 8),),
        ((p.AUTHENTICATION, 24),),
        ((p.AUTHENTICATION, 12), (p.DESTINATION, 8)),
        ((p.MOBILITY, 16), (HIP, 40), (SHIM6, 8)),
        ((p.FRAGMENT, 8), (p.DESTINATION, 8)),
        ((p.HOP_BY_HOP, 8), (p.DESTINATION, 8), (p.ROUTING, 8), (p.FRAGMENT, 8), (p.DESTINATION, 8)),
        ((p.DESTINATION, 8),) * 8,
        ((p.FRAGMENT, 8),) * 3,
    ],
    ids=str,
)
@pytest.mark.parametrize(("whole", "protocol"), [(TCP6, 6), (UDP6, 17)], ids=["TCP", "UDP"])
def test_ports_are_found_behind_any_chain(
    chain: tuple[tuple[int, int], ...], whole: bytes, protocol: int
) -> None:
    headers = good(p.extended(whole, *chain))
    assert headers.packet.protocol == protocol
    assert headers.packet.flow[-4:] == PORTS
    assert headers.extensions == bytes(number for number, _ in chain)
    assert headers.fragment is None
    assert headers.connection == good(whole).connection


@pytest.mark.parametrize(
    ("protocol", "name"), [(NO_NEXT, "no next header"), (ESP, "ESP"), (47, "GRE"), (200, "unknown")]
)
def test_what_ends_a_chain(protocol: int, name: str) -> None:
    headers = good(p.extended(p.ip(A6, B6, protocol, TCP6[40:]), (p.DESTINATION, 8)))
    assert headers.packet.protocol == protocol
    assert len(headers.packet.flow) == 33


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(p.extended(TCP6, *[(p.DESTINATION, 8)] * 9), id="nine headers"),
        pytest.param(p.extended(TCP6, (p.DESTINATION, 2048), (p.DESTINATION, 8)), id="more than 2,048 bytes"),
        pytest.param(p.ip(A6, B6, p.DESTINATION, b""), id="one that is not there"),
        pytest.param(p.ip(A6, B6, p.DESTINATION, b"\x06\0" + bytes(5)), id="one cut off"),
        pytest.param(p.ip(A6, B6, p.DESTINATION, b"\x06\x04" + bytes(30)), id="one that ends past the packet"),
        pytest.param(p.ip(A6, B6, p.AUTHENTICATION, b"\x06\xff" + bytes(60)), id="AH that does"),
        pytest.param(p.ip(A6, B6, p.FRAGMENT, bytes(7)), id="a fragment header cut off"),
        pytest.param(p.with_payload(TCP6, TCP6[40:59]), id="19 bytes of TCP"),
        pytest.param(p.extended(p.with_payload(TCP6, TCP6[40:59]), (p.FRAGMENT, 8)), id="behind an atomic header"),
        pytest.param(p.with_payload(UDP6, UDP6[40:47]), id="7 bytes of UDP"),
        pytest.param(p.ip(A6, B6, 58, b"\x80" + bytes(6)), id="7 bytes of ICMPv6"),
        pytest.param(p.ip(A6, B6, 6, b""), id="no TCP at all"),
        pytest.param(p.ip(A, B, 6, p.tcp(A, B)[20:39]), id="19 bytes of TCP, IPv4"),
        pytest.param(p.ip(A, B, 17, bytes(7), options=b"\x01" * 40), id="7 bytes of UDP behind options"),
        pytest.param(p.ip(A, B, 1, bytes(7)), id="7 bytes of ICMP"),
        pytest.param(p.ip(A, B, p.AUTHENTICATION, b"\x06\x04" + bytes(30)), id="AH and nothing, IPv4"),
    ],
)  # fmt: skip
def test_what_cannot_be_read(data: bytes) -> None:
    assert read(data) is Reason.UNREADABLE


def test_ipv4_options_and_ah_stand_before_the_ports() -> None:
    tcp = p.tcp(A, B)[20:]
    assert good(p.ip(A, B, 6, tcp, options=b"\x01" * 40)).packet.flow[-4:] == PORTS
    behind = good(p.ip(A, B, p.AUTHENTICATION, b"\x06\x04" + bytes(22) + tcp))
    assert (behind.packet.protocol, behind.packet.flow[-4:], behind.extensions) == (6, PORTS, b"\x33")
    assert behind.connection == good(p.tcp(A, B)).connection


likely = st.binary(max_size=120) | st.builds(
    lambda ends, first, body: p.ip(ends[0], ends[1], first, body),
    st.sampled_from([(A, B), (A6, B6)]),
    st.sampled_from([0, 1, 6, 17, 43, 44, 51, 58, 60, 135, 139]),
    st.lists(st.sampled_from([0, 1, 2, 6, 8, 17, 43, 44, 51, 58, 60, 0x45, 0x60, 255]), max_size=120).map(
        bytes
    ),
)


@given(likely, st.sampled_from([bytes, bytearray, memoryview]))
def test_any_packet_is_read_as_forwarding_does_or_not_at_all(
    data: bytes, kind: Callable[[bytes], bytes]
) -> None:
    """Forwarding remembers flows by what packet.parse finds: where that is ports, they are the same here."""
    packet = ip.parse(kind(data), 0, len(data))
    if isinstance(packet, Reason):
        return
    headers = packet_headers.read(kind(data), 0, packet, len(data))
    has_ports = len(packet.flow) - 2 * len(packet.source) == 4
    if isinstance(headers, Reason):
        assert headers is Reason.UNREADABLE
        assert not has_ports
        return
    if has_ports:
        assert headers.packet == packet
        assert headers.fragment is None
    assert headers.packet.transport <= len(data)
    assert bool(headers.connection or headers.replies_to or headers.fragment) or packet.protocol != 6


# --- fragments ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("whole", [p.udp(A, B, bytes(100)), p.udp(A6, B6, bytes(100))], ids=["IPv4", "IPv6"])
def test_fragments_of_a_datagram(whole: bytes) -> None:
    first, second, last = (good(piece) for piece in p.pieces(whole, 48, 96, identity=0x1234))
    assert first.packet.flow[-4:] == PORTS
    assert first.connection == good(whole).connection
    assert (second.connection, second.replies_to) == (b"", b"")
    found = [headers.fragment for headers in (first, second, last)]
    assert all(fragment is not None for fragment in found)
    assert [fragment[1:] for fragment in found if fragment] == [
        (0, 48, True),
        (48, 96, True),
        (96, 108, False),
    ]
    assert len({fragment.datagram for fragment in found if fragment}) == 1
    other = good(p.piece(whole, 48, 96, 0x1235)).fragment
    assert other is not None
    assert found[1] is not None
    assert other.datagram != found[1].datagram


def test_an_extension_header_in_the_first_fragment_is_read_past() -> None:
    whole = p.extended(UDP6, (p.DESTINATION, 16))
    headers = good(p.piece(whole, 0, 32))
    assert headers.packet.flow[-4:] == PORTS
    assert headers.extensions == bytes([p.FRAGMENT, p.DESTINATION])


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(p.piece(p.tcp(A, B, bytes(64)), 0, 8), id="8 bytes of TCP"),
        pytest.param(p.piece(p.tcp(A, B, bytes(64)), 0, 16), id="16 bytes of TCP"),
        pytest.param(p.piece(p.tcp(A6, B6, bytes(64)), 0, 16), id="16 bytes of TCP, IPv6"),
        pytest.param(
            p.piece(p.extended(UDP6, (p.DESTINATION, 16)), 0, 16), id="a chain that is not all there"
        ),
        pytest.param(p.piece(p.udp(A, B, bytes(64)), 0, 33), id="a length that is no multiple of 8"),
        pytest.param(p.piece(p.udp(A6, B6, bytes(64)), 8, 33), id="a later one's"),
        pytest.param(p.ip(A, B, 17, b"", fragment=0x2001), id="an empty one"),
        pytest.param(p.ip(A, B, 17, bytes(64), fragment=0x1FFF), id="past 65,535 bytes"),
        pytest.param(p.piece(p.piece(p.udp(A6, B6, bytes(80)), 0, 64), 0, 32), id="a fragment of a fragment"),
    ],
)
def test_fragments_that_no_honest_host_makes(data: bytes) -> None:
    assert read(data) is Reason.UNREADABLE


# --- connections --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "reply"),
    [
        (p.tcp(A, B, ports=(1, 2)), p.tcp(B, A, ports=(2, 1))),
        (p.udp(A6, B6, ports=(1, 2)), p.udp(B6, A6, ports=(2, 1))),
        (p.icmp(A, B, 8, identifier=7), p.icmp(B, A, 0, identifier=7)),
        (p.icmp(A6, B6, 128, identifier=7), p.icmp(B6, A6, 129, identifier=7)),
        (p.icmp(A, B, 13), p.icmp(B, A, 14)),
        (p.ip(A, B, 47, b"gre"), p.ip(B, A, 47, b"gre")),
    ],
    ids=["TCP", "UDP", "ping", "ping6", "timestamp", "GRE"],
)
def test_what_replies_to_what(question: bytes, reply: bytes) -> None:
    assert good(reply).replies_to == good(question).connection


@pytest.mark.parametrize(
    ("question", "other"),
    [
        (p.tcp(A, B, ports=(1, 2)), p.udp(B, A, ports=(2, 1))),
        (p.tcp(A, B, ports=(1, 2)), p.tcp(B, A, ports=(1, 2))),
        (p.icmp(A, B, 8, identifier=7), p.icmp(B, A, 0, identifier=8)),
        (p.icmp(A, B, 8), p.icmp(B, A, 8)),
        (p.icmp(A, B, 8), p.icmp(B, A, 13)),
        (p.icmp(A, B, 8), p.icmp(B, A, 14)),
        (p.icmp(A, B, 8), p.icmp(B, A, 5)),
        (p.icmp(A6, B6, 128), p.icmp(B6, A6, 134)),
    ],
)
def test_what_answers_nothing(question: bytes, other: bytes) -> None:
    assert good(other).replies_to != good(question).connection


# --- ICMP errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [3, 4, 5, 11, 12])
def test_icmp_errors(kind: int) -> None:
    about = p.tcp(A, B)
    headers = good(p.icmp(B, A, kind, about[:28]))
    assert headers.is_error
    assert headers.quoted is not None
    assert headers.quoted.connection == good(about).connection
    assert headers.connection == headers.replies_to == b""


@pytest.mark.parametrize("kind", [1, 2, 3, 4, 100, 127])
def test_icmpv6_errors(kind: int) -> None:
    about = p.extended(TCP6, (p.DESTINATION, 8), (p.FRAGMENT, 8))
    headers = good(p.extended(p.icmp(B6, A6, kind, about), (p.HOP_BY_HOP, 8)))
    assert headers.is_error
    assert headers.quoted is not None
    assert headers.quoted.connection == good(TCP6).connection


@pytest.mark.parametrize("data", [p.icmp(A, B, 8), p.icmp(A, B, 0), p.icmp(A, B, 13), p.icmp(A6, B6, 137)])
def test_other_icmp(data: bytes) -> None:
    assert not good(data).is_error


@pytest.mark.parametrize(
    "quoted",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(p.udp(A, B)[:19], id="half a header"),
        pytest.param(p.udp(A, B)[:27], id="half the ports"),
        pytest.param(p.piece(p.udp(A, B, bytes(64)), 8), id="a later fragment"),
        pytest.param(p.icmp(A, B, 3, p.udp(B, A)), id="an error"),
        pytest.param(b"\x55" + p.udp(A, B)[1:], id="no IP"),
        pytest.param(p.udp(A, B) + bytes(600), id="too much of it"),
    ],
)
def test_quotes_that_say_nothing(quoted: bytes) -> None:
    headers = good(p.icmp(B, A, 3, quoted))
    assert headers.is_error
    assert headers.quoted is None


@pytest.mark.parametrize(("ends", "most"), [((B, A), 576), ((B6, A6), 1280)])
def test_the_longest_icmp_error(ends: tuple[str, str], most: int) -> None:
    about = p.udp(*ends[::-1], bytes(1400))
    room = most - (28 if most == 576 else 48)
    kind = 3 if most == 576 else 1
    for size, fits in ((room, True), (room + 1, False)):
        headers = good(p.icmp(*ends, kind, about[:size]))
        assert (headers.quoted is not None) is fits


@given(st.sampled_from([(A, B), (A6, B6)]), st.binary(max_size=150), st.integers(0, 150))
def test_no_quote_is_read_past_its_end(ends: tuple[str, str], data: bytes, size: int) -> None:
    """What lies behind the packet changes nothing."""
    whole = p.icmp(*ends, 3, data[:size])
    packet = ip.parse(whole, 0, len(whole))
    assert isinstance(packet, ip.Packet)
    alone = packet_headers.read(whole, 0, packet, len(whole))
    assert packet_headers.read(whole + data[size:] + b"\x45" * 99, 0, packet, len(whole)) == alone
