"""Marks of congestion in IP headers: only where the sender understands them, and every checksum stays right."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import packet_ecn, packet_offload
from tests.support import packets as p

A, B = "10.0.0.1", "10.0.0.2"
A6, B6 = "fd00::1", "fd00::2"


def bits(packet: bytes) -> int:
    return packet[1] & 3 if packet[0] >> 4 == 4 else packet[1] >> 4 & 3


@given(st.sampled_from([(A, B), (A6, B6)]), st.integers(0, 255), st.booleans(), st.integers(0, 65535))
def test_only_who_understands_marks_is_marked(
    ends: tuple[str, str], tos: int, headed: bool, identity: int
) -> None:
    packet = p.with_tos(p.udp(*ends, identity=identity), tos)
    content = p.headed(packet) if headed else packet
    around = b"\xa5" * 7
    data = around + content + around
    marked = packet_ecn.mark(data, 7, 7 + len(content))
    assert (marked is None) == (tos & 3 == 0)
    if marked is not None:
        assert marked[:7] == marked[7 + len(content) :] == around
        result = marked[7 : 7 + len(content)][10 if headed else 0 :]
        p.assert_right(result)
        assert result == p.with_tos(packet, tos | 3)


@pytest.mark.parametrize("check", [0x0000, 0x0001, 0xFFFE, 0xFFFF])
def test_a_checksum_changes_by_what_the_mark_adds(check: int) -> None:
    """Also a wrong one stays as wrong as it was: whoever receives the packet shall notice."""
    packet = bytearray(p.with_tos(p.udp(A, B), 1))
    packet[10:12] = check.to_bytes(2, "big")
    marked = packet_ecn.mark(bytes(packet), 0, len(packet))
    assert marked is not None
    assert p.ones_sum(marked[:20]) % 0xFFFF == p.ones_sum(bytes(packet[:20])) % 0xFFFF


@pytest.mark.parametrize("ends", [(A, B), (A6, B6)])
def test_one_mark_marks_all_segments_of_a_superpacket(ends: tuple[str, str]) -> None:
    packet = p.with_tos(p.tcp(*ends, bytes(5000), flags=p.ACK | 0x80, partial=True), 2)
    content = p.superpacket(packet, 1000)
    content = content[:1] + bytes((content[1] | packet_offload.GSO_ECN,)) + content[2:]
    marked = packet_ecn.mark(content, 0, len(content))
    assert marked is not None
    assert marked[:10] == content[:10]
    segments = packet_offload.packets(marked)
    assert [bits(one) for one in segments] == [3] * 5
    for one in segments:
        p.assert_right(one)
    if ":" not in ends[0]:
        assert packet_offload.quick_check(marked, 0, len(marked)), "the packet path takes it as it is"


@given(st.binary(max_size=80))
def test_any_bytes(data: bytes) -> None:
    marked = packet_ecn.mark(data, 0, len(data))
    assert marked is None or len(marked) == len(data)
