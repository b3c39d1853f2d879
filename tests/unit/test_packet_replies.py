"""Echo replies, resets, and ICMP errors of a hub with an address: byte by byte what scapy builds or reads."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import packet as ip
from lib import packet_headers, packet_icmp, packet_replies
from lib.forward_drop_reasons import Reason
from lib.packet import Packet
from lib.packet_headers import Headers
from tests.support.scapy_layers import (
    ICMP,
    IP,
    TCP,
    UDP,
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    Raw,
    fragment,
    fragment6,
)

HOST, HUB, OTHER = "10.20.0.7", "10.20.0.1", "192.0.2.9"
HOST6, HUB6, OTHER6 = "fd20::7", "fd20::1", "2001:db8::9"


def parsed(data: bytes) -> tuple[Packet, Headers]:
    packet = ip.parse(data, 0, len(data))
    assert isinstance(packet, Packet), packet
    headers = packet_headers.read(data, 0, packet, len(data))
    assert isinstance(headers, Headers), headers
    return packet, headers


def echo(data: bytes) -> bytes | None:
    return packet_replies.echo_reply(data, 0, parsed(data)[1], len(data))


def reset(data: bytes) -> bytes | None:
    return packet_replies.reset(data, parsed(data)[0], len(data))


def own(version: int) -> bytes:
    from ipaddress import ip_address

    return ip_address(HUB if version == 4 else HUB6).packed


def error(data: bytes, reason: Reason) -> bytes | None:
    packet, _ = parsed(data)
    return packet_icmp.unreachable(data, 0, packet, len(data), reason, True, own(packet.version))


def checked(data: bytes) -> Any:
    """What scapy reads; built again from its fields, with all checksums computed anew, it is the same."""
    found = IP(data) if data[0] >> 4 == 4 else IPv6(data)
    again = found.copy()
    for layer in (IP, ICMP, TCP, UDP, ICMPv6EchoReply, ICMPv6DestUnreach, ICMPv6TimeExceeded):
        if again.haslayer(layer) and layer is not IP:
            again[layer].delfieldval("cksum" if "ICMPv6" in layer.__name__ else "chksum")
            break
    if isinstance(again, IP):
        del again.chksum
    assert bytes(again) == data
    return found


# --- pings ----------------------------------------------------------------------------------------


@given(st.binary(max_size=60), st.integers(0, 65535), st.integers(0, 65535), st.integers(0, 255))
def test_an_echo_reply_is_the_one_that_scapy_builds(
    data: bytes, identifier: int, sequence: int, tos: int
) -> None:
    ends = {"id": identifier, "seq": sequence}
    request = bytes(IP(src=HOST, dst=HUB, tos=tos, id=9, flags="DF", ttl=3) / ICMP(**ends) / Raw(data))
    reply = bytes(IP(src=HUB, dst=HOST, tos=tos, id=9, flags="DF", ttl=64) / ICMP(type=0, **ends) / Raw(data))
    assert echo(request) == reply
    request = bytes(IPv6(src=HOST6, dst=HUB6, tc=tos, fl=77, hlim=3) / ICMPv6EchoRequest(**ends, data=data))
    reply = bytes(IPv6(src=HUB6, dst=HOST6, tc=tos, fl=77, hlim=64) / ICMPv6EchoReply(**ends, data=data))
    assert echo(request) == reply


def test_a_request_that_was_damaged_has_a_reply_that_is_as_wrong() -> None:
    request = bytearray(bytes(IP(src=HOST, dst=HUB) / ICMP(id=1, seq=1) / Raw(b"ping")))
    request[-1] ^= 0xFF
    reply = echo(bytes(request))
    assert reply is not None
    found = IP(reply)
    had = found[ICMP].chksum
    del found[ICMP].chksum
    assert IP(bytes(found))[ICMP].chksum != had


def test_options_of_a_request_are_left_out() -> None:
    request = bytes(IP(src=HOST, dst=HUB, options=b"\x01\x01\x01\x00") / ICMP(id=1, seq=1) / Raw(b"ping"))
    assert echo(request) == bytes(
        IP(src=HUB, dst=HOST, id=1, ttl=64) / ICMP(type=0, id=1, seq=1) / Raw(b"ping")
    )


@pytest.mark.parametrize("size", [1401, 8000, 60000])
def test_a_request_in_fragments_has_its_reply_in_the_same_fragments(size: int) -> None:
    data = bytes(number % 251 for number in range(size))
    request = IP(src=HOST, dst=HUB, id=4321) / ICMP(id=5, seq=6) / Raw(data)
    whole = bytes(IP(src=HUB, dst=HOST, id=4321, ttl=64) / ICMP(type=0, id=5, seq=6) / Raw(data))
    parts = [echo(bytes(part)) for part in fragment(request, 1000)]
    expected = [bytes(part) for part in fragment(IP(whole), 1000)]
    assert parts == expected


def test_an_ipv6_request_in_fragments_too() -> None:
    data = bytes(number % 251 for number in range(5000))
    request = (
        IPv6(src=HOST6, dst=HUB6) / IPv6ExtHdrFragment(id=99) / ICMPv6EchoRequest(id=5, seq=6, data=data)
    )
    reply = IPv6(src=HUB6, dst=HOST6) / IPv6ExtHdrFragment(id=99) / ICMPv6EchoReply(id=5, seq=6, data=data)
    parts = [echo(bytes(part)) for part in fragment6(request, 1280)]
    assert parts == [bytes(part) for part in fragment6(reply, 1280)]


def test_ipv6_requests_behind_other_headers() -> None:
    options = IPv6ExtHdrDestOpt(options=[])
    request = bytes(IPv6(src=HOST6, dst=HUB6) / options / ICMPv6EchoRequest(id=1, seq=2))
    assert echo(request) == bytes(IPv6(src=HUB6, dst=HOST6) / ICMPv6EchoReply(id=1, seq=2))
    part = IPv6ExtHdrFragment(id=9, m=1, offset=0)
    request = bytes(IPv6(src=HOST6, dst=HUB6) / options / part / ICMPv6EchoRequest(id=1, seq=2))
    assert echo(request) is None


@pytest.mark.parametrize(
    ("data", "asks"),
    [
        (IP(src=HOST, dst=HUB) / ICMP(type=8), True),
        (IP(src=HOST, dst=HUB, flags="MF") / ICMP(type=8), True),
        (IP(src=HOST, dst=HUB, frag=100) / Raw(b"\x08" * 16), False),
        (IP(src=HOST, dst=HUB) / ICMP(type=0), False),
        (IP(src=HOST, dst=HUB) / ICMP(type=13), False),
        (IP(src=HOST, dst=HUB) / UDP(), False),
        (IPv6(src=HOST6, dst=HUB6) / ICMPv6EchoRequest(), True),
        (IPv6(src=HOST6, dst=HUB6) / ICMPv6EchoReply(), False),
    ],
)
def test_what_asks_for_an_echo(data: Any, asks: bool) -> None:
    assert packet_replies.is_echo_request(bytes(data), parsed(bytes(data))[1], len(data)) is asks


# --- resets ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(
    ("asked", "replied"),
    [
        ({"flags": "S", "seq": 1000}, {"flags": "RA", "seq": 0, "ack": 1001}),
        ({"flags": "S", "seq": 0xFFFFFFFF}, {"flags": "RA", "seq": 0, "ack": 0}),
        ({"flags": "A", "seq": 7, "ack": 4711}, {"flags": "R", "seq": 4711, "ack": 0}),
        ({"flags": "SA", "seq": 7, "ack": 9}, {"flags": "R", "seq": 9, "ack": 0}),
        ({"flags": "F", "seq": 7, "load": b"12345"}, {"flags": "RA", "seq": 0, "ack": 13}),
        ({"flags": "S", "seq": 1, "options": [("MSS", 1460)]}, {"flags": "RA", "seq": 0, "ack": 2}),
    ],
)
def test_a_reset_is_the_one_of_rfc_9293(version: int, asked: dict[str, Any], replied: dict[str, Any]) -> None:
    asked = dict(asked)
    load = Raw(asked.pop("load", b""))
    there = IP(src=HOST, dst=HUB) if version == 4 else IPv6(src=HOST6, dst=HUB6)
    back = IP(src=HUB, dst=HOST, id=0, flags="DF") if version == 4 else IPv6(src=HUB6, dst=HOST6)
    reply = reset(bytes(there / TCP(sport=4, dport=80, **asked) / load))
    assert reply == bytes(back / TCP(sport=80, dport=4, window=0, **replied))


@pytest.mark.parametrize(
    "data",
    [
        IP(src=HOST, dst=HUB) / TCP(flags="R"),
        IP(src=HOST, dst=HUB) / TCP(flags="RA"),
        IP(src=HOST, dst=HUB, flags="MF") / TCP(flags="S") / Raw(b"four"),
        IP(src=HOST, dst=HUB) / UDP(),
    ],
    ids=["a reset", "a reset with an acknowledgement", "a fragment", "no TCP"],
)
def test_what_has_no_reset(data: Any) -> None:
    assert reset(bytes(data)) is None


def test_a_header_that_is_cut_off_has_no_reset() -> None:
    data = bytes(IP(src=HOST, dst=HUB, proto=6) / Raw(b"x" * 19))
    packet = ip.parse(data, 0, len(data))
    assert isinstance(packet, Packet)
    assert packet_replies.reset(data, packet, len(data)) is None


# --- ICMP errors of a hub with an address -----------------------------------------------------------


@pytest.mark.parametrize("size", [0, 8, 519, 520, 521, 1400])
@pytest.mark.parametrize(
    ("reason", "kind", "code"),
    [
        (Reason.HOP_LIMIT, 11, 0),
        (Reason.FOR_HUB, 3, 3),
        (Reason.NO_ROUTE, 3, 0),
        (Reason.NO_SESSION, 3, 1),
        (Reason.DENIED, 3, 13),
    ],
)
def test_ipv4_errors(size: int, reason: Reason, kind: int, code: int) -> None:
    data = bytes(IP(src=HOST, dst=OTHER, ttl=1) / UDP(sport=4, dport=5) / Raw(b"x" * size))
    found = error(data, reason)
    assert found is not None
    quoted = IP(src=HUB, dst=HOST, tos=0xC0, id=0, ttl=64) / ICMP(type=kind, code=code) / Raw(data[:548])
    assert found == bytes(quoted)
    assert len(found) <= 576, "RFC 1812 4.3.2.3"
    assert checked(found)[ICMP].type == kind


@pytest.mark.parametrize("size", [0, 1183, 1184, 1185, 1400])
@pytest.mark.parametrize(
    ("reason", "message"),
    [
        (Reason.HOP_LIMIT, ICMPv6TimeExceeded(code=0)),
        (Reason.FOR_HUB, ICMPv6DestUnreach(code=4)),
        (Reason.NO_ROUTE, ICMPv6DestUnreach(code=0)),
        (Reason.NO_SESSION, ICMPv6DestUnreach(code=3)),
        (Reason.DENIED, ICMPv6DestUnreach(code=1)),
    ],
)
def test_ipv6_errors(size: int, reason: Reason, message: Any) -> None:
    data = bytes(IPv6(src=HOST6, dst=OTHER6, hlim=1) / UDP(sport=4, dport=5) / Raw(b"x" * size))
    found = error(data, reason)
    assert found == bytes(IPv6(src=HUB6, dst=HOST6) / message / Raw(data[:1232]))
    assert len(found) <= 1280, "RFC 4443 2.4 (c)"


def test_too_big_comes_from_the_hub() -> None:
    data = bytes(IP(src=HOST, dst=OTHER, flags="DF") / UDP() / Raw(b"x" * 1400))
    packet, _ = parsed(data)
    found = packet_icmp.too_big(data, 0, packet, len(data), 1300, own(4))
    message = ICMP(type=3, code=4, nexthopmtu=1300)
    assert found == bytes(IP(src=HUB, dst=HOST, tos=0xC0, id=0, ttl=64) / message / Raw(data[:548]))
    data = bytes(IPv6(src=HOST6, dst=OTHER6) / UDP() / Raw(b"x" * 1400))
    packet, _ = parsed(data)
    found = packet_icmp.too_big(data, 0, packet, len(data), 1300, own(6))
    assert found == bytes(IPv6(src=HUB6, dst=HOST6) / ICMPv6PacketTooBig(mtu=1300) / Raw(data[:1232]))


def test_protocols_that_the_hub_does_not_speak() -> None:
    data = bytes(IP(src=HOST, dst=HUB, proto=47) / Raw(b"x" * 8))
    found = error(data, Reason.FOR_HUB)
    expected = IP(src=HUB, dst=HOST, tos=0xC0, id=0, ttl=64) / ICMP(type=3, code=2) / Raw(data)
    assert found == bytes(expected)
    data = bytes(IPv6(src=HOST6, dst=HUB6, nh=47) / Raw(b"x" * 8))
    assert error(data, Reason.FOR_HUB) == bytes(
        IPv6(src=HUB6, dst=HOST6) / ICMPv6ParamProblem(code=1, ptr=6) / Raw(data)
    )
    behind = bytes(IPv6(src=HOST6, dst=HUB6) / IPv6ExtHdrDestOpt(nh=47, options=[]) / Raw(b"x" * 8))
    assert error(behind, Reason.FOR_HUB) is None


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(IP(src=HOST, dst=OTHER, ttl=1) / ICMP(type=3) / Raw(b"x" * 28), id="an error"),
        pytest.param(IP(src=HOST, dst=OTHER, ttl=1) / ICMP(type=11) / Raw(b"x" * 28), id="time exceeded"),
        pytest.param(IP(src=HOST, dst=OTHER, ttl=1, frag=1) / Raw(b"x" * 28), id="a later fragment"),
        pytest.param(IP(src=HOST, dst="224.0.0.5", ttl=1) / UDP(), id="multicast"),
        pytest.param(IP(src=HOST, dst="255.255.255.255", ttl=1) / UDP(), id="broadcast"),
        pytest.param(IPv6(src=HOST6, dst=OTHER6, hlim=1) / ICMPv6DestUnreach() / Raw(b"x" * 48), id="IPv6 error"),
        pytest.param(IPv6(src=HOST6, dst=OTHER6, hlim=1) / IPv6ExtHdrFragment(offset=1) / Raw(b"x" * 48), id="IPv6 later"),
        pytest.param(IPv6(src=HOST6, dst="ff02::1", hlim=1) / UDP(), id="IPv6 multicast"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("reason", [Reason.HOP_LIMIT, Reason.FOR_HUB, Reason.NO_ROUTE])
def test_no_error_is_about_these(data: Any, reason: Reason) -> None:
    assert error(bytes(data), reason) is None


def test_an_ipv6_first_fragment_has_an_error() -> None:
    part = IPv6ExtHdrFragment(offset=0, m=1, nh=17)
    data = bytes(IPv6(src=HOST6, dst=OTHER6, hlim=1) / part / UDP() / Raw(b"x" * 48))
    found = error(data, Reason.HOP_LIMIT)
    assert found is not None
    assert struct.unpack_from("!BB", found, 40) == (3, 0)
