"""Packets in a few words, from their first bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import packet_offload
from lib.packet_text import HEAD, head, head_of_frame, summary
from tests.support import packets as p

A, B, A6, B6 = "192.168.1.5", "10.0.0.9", "fd00::1", "fd00::2"


@pytest.mark.parametrize(
    ("packet", "text"),
    [
        (p.udp(A, B, b"x" * 900, ports=(1234, 53)), "udp 192.168.1.5:1234 > 10.0.0.9:53"),
        (p.udp(A6, B6, b"x", ports=(1234, 53)), "udp [fd00::1]:1234 > [fd00::2]:53"),
        (packet_offload.NO_OFFLOAD + p.udp(A, B, b"x", ports=(7, 8)), "udp 192.168.1.5:7 > 10.0.0.9:8"),
        (b"\xff" * 100, "no packet: ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff"),
        (b"\x45\x00", "no packet: 45 00"),
        (b"", "nothing"),
    ],
)
def test_summary(packet: bytes, text: str) -> None:
    assert summary(head(packet, 0, len(packet))) == text


def test_fragments_and_other_protocols() -> None:
    packet = bytearray(p.udp(A, B, b"x" * 32, ports=(1234, 53)))
    packet[6:8] = b"\x20\x10"
    assert summary(bytes(packet)) == "udp fragment 192.168.1.5 > 10.0.0.9"
    packet[6:8], packet[9], packet[20] = b"\0\0", 1, 8
    assert summary(bytes(packet)) == "icmp echo 192.168.1.5 > 10.0.0.9"
    packet[9] = 253
    assert summary(bytes(packet)) == "protocol 253 192.168.1.5 > 10.0.0.9"


def test_only_the_packet_and_only_its_beginning_is_kept() -> None:
    packet = p.udp(A, B, b"x" * 900)
    assert head(b"...." + packet + b"next", 4, 4 + len(packet)) == packet[:HEAD]
    assert head(b"ab" + b"next", 0, 2) == b"ab"
    assert head_of_frame(p.frame(packet[:40]) + p.frame(b"other")) == packet[:40]


@given(st.binary(max_size=HEAD))
def test_any_bytes(data: bytes) -> None:
    assert summary(data)
