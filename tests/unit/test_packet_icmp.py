"""ICMP errors: which one a dropped packet gets, what they quote, and what gets none."""

from __future__ import annotations

import struct

import pytest

from lib import packet as ip
from lib import packet_icmp
from lib.forward_drop_reasons import Reason
from lib.packet import Packet
from tests.support import packets as p
from tests.unit.test_packet import A6, B6, DESTINATION, NO_NEXT, A, B, extension, ipv6


def unreachable(data: bytes, reason: Reason = Reason.NO_ROUTE, dummy: bool = False) -> bytes | None:
    buf = b"\x45" * 7 + data + b"\x45" * 7
    packet = ip.parse(buf, 7, 7 + len(data))
    assert isinstance(packet, Packet), packet
    return packet_icmp.unreachable(buf, 7, packet, 7 + len(data), reason, dummy)


def too_big(data: bytes, mtu: int = 1300) -> bytes | None:
    buf = b"\x45" * 7 + data + b"\x45" * 7
    packet = ip.parse(buf, 7, 7 + len(data))
    assert isinstance(packet, Packet), packet
    return packet_icmp.too_big(buf, 7, packet, 7 + len(data), mtu)


def assert_answer(answer: bytes | None, data: bytes, kind: int, code: int, word: int, most: int) -> None:
    """A right ICMP error from the address not reached to the sender, quoting as much as fits."""
    assert answer is not None
    p.assert_right(answer)
    assert p.ends_of(answer) == p.ends_of(data)[::-1]
    at = p.transport_at(answer)
    assert struct.unpack_from("!BBxxI", answer, at) == (kind, code, word)
    assert answer[at + 8 :] == data[: most - at - 8]
    assert len(answer) <= most


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(p.udp(A, B), id="UDP"),
        pytest.param(p.udp(A, B, b"x" * 1400), id="long"),
        pytest.param(p.udp(A, B, b"x" * 520), id="just all of it"),
        pytest.param(p.udp(A, B, b"x" * 7), id="odd"),
        pytest.param(p.tcp(A, B), id="TCP"),
        pytest.param(p.icmp(A, B, 8), id="echo"),
        pytest.param(p.icmp(A, B, 0), id="echo reply"),
        pytest.param(p.ip(A, B, 47, b"x"), id="GRE"),
        pytest.param(p.ip(A, B, 6, b""), id="nothing behind the header"),
        pytest.param(p.udp(A, B, fragment=0x2000), id="first fragment"),
        pytest.param(p.ip(A, B, 17, bytes(8), options=b"\x01" * 8), id="options"),
    ],
)
@pytest.mark.parametrize(
    ("reason", "code"), [(Reason.NO_ROUTE, 0), (Reason.NO_SESSION, 1)], ids=lambda v: str(v)
)
def test_ipv4_unreachable(data: bytes, reason: Reason, code: int) -> None:
    assert_answer(unreachable(data, reason), data, 3, code, 0, 576)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(p.udp(A6, B6), id="UDP"),
        pytest.param(p.tcp(A6, B6, b"x" * 1400), id="long"),
        pytest.param(p.icmp(A6, B6, 128), id="echo"),
        pytest.param(p.icmp(A6, B6, 129), id="echo reply"),
        pytest.param(ipv6(NO_NEXT), id="nothing"),
        pytest.param(ipv6(DESTINATION, extension(58), b"\x80" + bytes(7)), id="echo behind options"),
    ],
)
@pytest.mark.parametrize(
    ("reason", "code"), [(Reason.NO_ROUTE, 0), (Reason.NO_SESSION, 3)], ids=lambda v: str(v)
)
def test_ipv6_unreachable(data: bytes, reason: Reason, code: int) -> None:
    assert_answer(unreachable(data, reason), data, 1, code, 0, 1280)


@pytest.mark.parametrize(
    ("data", "dummy"), [(p.udp(A, B, b"x"), "192.0.0.8"), (p.udp(A6, B6, b"x"), "100:0:0:1::8")]
)
def test_a_dummy_address_speaks_for_a_hub_that_has_none(data: bytes, dummy: str) -> None:
    answer = unreachable(data, dummy=True)
    assert answer is not None
    p.assert_right(answer)
    assert p.ends_of(answer) == (dummy, p.ends_of(data)[0])
    plain = unreachable(data)
    assert plain is not None
    assert answer[p.transport_at(answer) + 4 :] == plain[p.transport_at(plain) + 4 :]
    packet = ip.parse(answer, 0, len(answer))
    assert isinstance(packet, Packet)
    assert unreachable(answer, dummy=True) is None, "no error about an error"


@pytest.mark.parametrize("mtu", [68, 1300, 65535, 70000])
def test_fragmentation_needed_names_the_mtu(mtu: int) -> None:
    data = p.udp(A, B, b"x" * 1400, fragment=p.DONT_FRAGMENT)
    assert_answer(too_big(data, mtu), data, 3, 4, min(mtu, 65535), 576)


@pytest.mark.parametrize("mtu", [1280, 1300, 70000])
def test_packet_too_big_names_the_mtu(mtu: int) -> None:
    data = p.udp(A6, B6, b"x" * 1400)
    assert_answer(too_big(data, mtu), data, 2, 0, mtu, 1280)


def test_no_fragmentation_needed_where_fragments_are_allowed() -> None:
    assert too_big(p.udp(A, B, b"x" * 1400)) is None


ICMP_ERRORS = [
    *(pytest.param(p.icmp(A, B, kind), id=f"ICMP type {kind}") for kind in (3, 4, 5, 11, 12)),
    *(pytest.param(p.icmp(A6, B6, kind), id=f"ICMPv6 type {kind}") for kind in (1, 2, 3, 4, 100, 127)),
    pytest.param(p.icmp(A6, B6, 137), id="ICMPv6 redirect"),
    pytest.param(ipv6(DESTINATION, extension(58), b"\x01" + bytes(7)), id="an ICMPv6 error behind options"),
    pytest.param(p.ip(A, B, 1, b""), id="ICMP without a type"),
    pytest.param(p.ip(A6, B6, 58, b""), id="ICMPv6 without a type"),
]
NOT_FIRST = [
    pytest.param(p.udp(A, B, fragment=0x2001), id="a fragment between"),
    pytest.param(p.udp(A, B, fragment=0x0100), id="last fragment, offset in the high byte"),
    pytest.param(p.udp(A, B, fragment=0x0001), id="last fragment, offset in the low byte"),
]
NOT_ONE_HOST = [
    *(
        pytest.param(p.udp(source, B), id=f"from {source}")
        for source in (
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "224.0.0.1",
            "239.1.2.3",
            "240.0.0.1",
            "255.255.255.255",
        )
    ),
    *(pytest.param(p.udp(A, to), id=f"to {to}") for to in ("224.0.0.251", "255.255.255.255")),
    *(pytest.param(p.udp(source, B6), id=f"from {source}") for source in ("::", "::1", "ff02::1")),
    *(pytest.param(p.udp(A6, to), id=f"to {to}") for to in ("ff02::fb", "ff0e::1")),
]


@pytest.mark.parametrize("data", [*ICMP_ERRORS, *NOT_FIRST, *NOT_ONE_HOST])
def test_never_answered(data: bytes) -> None:
    """RFC 1122 3.2.2, RFC 4443 2.4 (e)."""
    assert unreachable(data) is None
    frozen = bytearray(data)
    if data[0] >> 4 == 4:
        frozen[6] |= 0x40
    assert too_big(bytes(frozen)) is None


ANSWERED = (Reason.NO_ROUTE, Reason.NO_SESSION, Reason.DENIED, Reason.HOP_LIMIT, Reason.FOR_HUB)


@pytest.mark.parametrize("reason", [r for r in Reason if r not in ANSWERED])
@pytest.mark.parametrize("data", [p.udp(A, B), p.udp(A6, B6)], ids=["IPv4", "IPv6"])
def test_other_reasons_have_no_answer(data: bytes, reason: Reason) -> None:
    assert unreachable(data, reason) is None
