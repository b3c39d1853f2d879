"""Datagrams for the hub itself, and their replies, as scapy and the sums see them."""

from __future__ import annotations

import pytest

from lib import packet_datagram
from lib.forward_drop_reasons import Reason
from lib.packet import UDP, Packet, checksum, parse, pseudo_sum

V4 = ("10.20.0.2", "10.20.0.1")
V6 = ("2001:db8::2", "2001:db8::1")


def made(
    version: int, data: bytes, length: int | None = None, protocol: int = UDP, fragment: int = 0
) -> bytes:
    from ipaddress import ip_address

    source, destination = (ip_address(text).packed for text in (V4 if version == 4 else V6))
    size = 8 + len(data) if length is None else length
    datagram = (40000).to_bytes(2, "big") + (53).to_bytes(2, "big") + size.to_bytes(2, "big") + b"\0\0" + data
    if version == 6:
        return (
            b"\x60\0\0\0"
            + len(datagram).to_bytes(2, "big")
            + bytes([protocol, 64])
            + source
            + destination
            + datagram
        )
    total = (20 + len(datagram)).to_bytes(2, "big")
    return (
        b"\x45\0"
        + total
        + b"\0\0"
        + fragment.to_bytes(2, "big")
        + bytes([64, protocol, 0, 0])
        + source
        + destination
        + datagram
    )


def parsed(data: bytes) -> Packet:
    found = parse(data, 0, len(data))
    assert not isinstance(found, Reason)
    return found


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("data", [b"question", b"", b"odd"])
def test_a_reply_goes_back_with_right_sums(version: int, data: bytes) -> None:
    question = made(version, data)
    packet = parsed(question)
    assert packet_datagram.port(question, packet, len(question)) == 53
    assert packet_datagram.content(question, packet, len(question)) == data
    reply = packet_datagram.reply(question, packet, b"the answer!")
    back = parsed(reply)
    assert (back.source, back.destination) == (packet.destination, packet.source)
    assert packet_datagram.port(reply, back, len(reply)) == 40000
    assert packet_datagram.content(reply, back, len(reply)) == b"the answer!"
    datagram = reply[back.transport :]
    assert checksum(datagram, pseudo_sum(back.source, back.destination, UDP, len(datagram))) == 0
    if version == 4:
        assert checksum(reply[:20]) == 0


@pytest.mark.parametrize(
    "question",
    [
        made(4, b"x", protocol=6),
        made(4, b"x", fragment=0x2000),
        made(4, b"x", fragment=5),
        made(6, b"x", protocol=58),
    ],
    ids=["TCP", "a first fragment", "a later one", "ICMPv6"],
)
def test_what_is_no_datagram_has_no_port(question: bytes) -> None:
    packet = parsed(question)
    assert packet_datagram.port(question, packet, len(question)) == 0


@pytest.mark.parametrize("length", [0, 7, 10, 60000])
def test_a_length_that_cannot_be_is_nothing(length: int) -> None:
    question = made(4, b"x", length)
    assert packet_datagram.content(question, parsed(question), len(question)) == b""
