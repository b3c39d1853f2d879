"""Flows of a client with several sessions: each keeps its session, and replies take the one that a flow came by."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import framing, packet_offload
from lib.client_flows import Flows
from lib.wire_unreached import COUNTS_SECONDS
from tests.support import packets as p

BOTH = frozenset({1, 2})


def headed(packet: bytes) -> bytes:
    return framing.encode(packet_offload.NO_OFFLOAD + packet)


def plain(packet: bytes) -> bytes:
    return framing.encode(packet)


def where(flows: Flows, frame: bytes, preferred: int, usable: frozenset[int] = BOTH) -> int:
    (session,) = flows.split(memoryview(frame), preferred, usable)
    return session


KINDS = {
    "udp": lambda a, b, x, y: p.udp(a, b, ports=(x, y)),
    "tcp": lambda a, b, x, y: p.tcp(a, b, ports=(x, y)),
    "udp of ipv6": lambda a, b, x, y: p.udp(_six(a), _six(b), ports=(x, y)),
    "ping": lambda a, b, x, y: p.icmp(a, b),
}


def _six(address: str) -> str:
    return f"fd00::{address.rpartition('.')[2]}"


@pytest.mark.parametrize("frame", [plain, headed], ids=["plain", "headed"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_flow_stays_whatever_is_preferred_later(kind: str, frame: object) -> None:
    flows, made = Flows(), frame(KINDS[kind]("10.0.0.1", "10.0.0.2", 5, 9))  # type: ignore[operator]
    assert where(flows, made, 1) == 1
    assert where(flows, made, 2) == 1
    assert where(flows, made, 2, frozenset({2})) == 2, "its session has gone"
    assert where(flows, made, 1) == 2, "and it does not come back"


@pytest.mark.parametrize("frame", [plain, headed], ids=["plain", "headed"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_reply_goes_by_the_session_that_the_flow_came_by(kind: str, frame: object) -> None:
    flows = Flows()
    came = frame(KINDS[kind]("10.0.0.2", "10.0.0.1", 9, 5))  # type: ignore[operator]
    data = b"xx" + came + b"\0" * framing.SLACK
    flows.came(memoryview(bytearray(data)), 2, 2 + len(came), 2)
    assert where(flows, plain(KINDS[kind]("10.0.0.1", "10.0.0.2", 5, 9)), 1) == 2
    flows.came(memoryview(bytearray(data)), 2, 2 + len(came), 1)
    assert where(flows, plain(KINDS[kind]("10.0.0.1", "10.0.0.2", 5, 9)), 1) == 2, "where it was first"


def test_frames_are_sorted_in_their_order_and_none_is_lost() -> None:
    flows = Flows()
    one, two, three = (plain(p.udp("10.0.0.1", "10.0.0.2", ports=(port, 9))) for port in (1, 2, 3))
    where(flows, one, 1)
    where(flows, two, 2)
    found = flows.split(memoryview(one + two + two + three + one), 2, BOTH)
    assert {number: b"".join(map(bytes, parts)) for number, parts in found.items()} == {
        1: one + one,
        2: two + two + three,
    }


def test_fragments_of_a_datagram_go_together() -> None:
    flows = Flows()
    first, last = (
        bytearray(plain(p.udp("10.0.0.1", "10.0.0.2", ports=ports))) for ports in ((5, 9), (777, 8))
    )
    first[2 + 6] |= 0x20  # more fragments
    last[2 + 7] |= 0x10
    assert where(flows, bytes(first), 1) == 1
    assert where(flows, bytes(last), 2) == 1


def test_it_is_bounded() -> None:
    flows = Flows(4)
    for port in range(1, 50):
        where(flows, plain(p.udp("10.0.0.1", "10.0.0.2", ports=(port, 9))), 1)
    assert len(flows) == 4


@given(st.binary(max_size=200), st.integers(0, 3))
def test_whatever_it_is_nothing_breaks_and_nothing_is_lost(data: bytes, cut: int) -> None:
    flows = Flows()
    parts = flows.split(memoryview(data), 1, BOTH)
    assert b"".join(bytes(part) for some in parts.values() for part in some) == data
    flows.came(memoryview(bytearray(data)), min(cut, len(data)), len(data), 2)


TWO = bytes([10, 0, 0, 2])


@pytest.mark.parametrize("frame", [plain, headed], ids=["plain", "headed"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_hub_has_no_way_to_goes_by_another_one_meanwhile(kind: str, frame: object) -> None:
    flows, made = Flows(), frame(KINDS[kind]("10.0.0.1", "10.0.0.2", 5, 9))  # type: ignore[operator]
    other = frame(KINDS[kind]("10.0.0.1", "10.0.0.3", 5, 9))  # type: ignore[operator]
    address = p.packed("fd00::2" if "ipv6" in kind else "10.0.0.2")
    assert where(flows, made, 1) == where(flows, other, 1) == 1
    assert flows.unreached(1, [address], 0.0) == {address}
    assert flows.unreached(1, [address], 0.0) == set(), "it has said so before"
    assert (where(flows, made, 1), where(flows, other, 1)) == (2, 1), "nothing else moves"
    assert where(flows, made, 1, frozenset({1})) == 1, "there is no other one"
    flows.unreached(1, [], 1.0)
    assert where(flows, made, 2) == 1, "hubs with access lists know it there"


def test_where_no_hub_has_a_way_it_is_as_if_all_had() -> None:
    flows, made = Flows(), plain(p.udp("10.0.0.1", "10.0.0.2", ports=(5, 9)))
    for session in BOTH:
        flows.unreached(session, [TWO], 0.0)
    assert where(flows, made, 1) == 1
    assert where(flows, made, 2) == 1, "it stays"
    flows.unreached(2, [], 0.0)
    assert where(flows, made, 1) == 2
    flows.unreached(1, [], 0.0)
    assert where(flows, made, 2) == 1


def test_a_hub_s_word_counts_for_a_while() -> None:
    flows = Flows()
    flows.unreached(1, [TWO], 100.0)
    flows.tidy(100.0 + COUNTS_SECONDS - 1)
    assert where(flows, plain(p.udp("10.0.0.1", "10.0.0.2", ports=(5, 9))), 1) == 2
    flows.tidy(100.0 + COUNTS_SECONDS)
    assert where(flows, plain(p.udp("10.0.0.1", "10.0.0.2", ports=(6, 9))), 1) == 1
