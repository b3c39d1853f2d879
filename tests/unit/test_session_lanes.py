"""Which lane a packet takes, and that no flow is reordered where it changes its lane."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from lib import framing, packet_offload, session_lanes, wire_control
from lib.packet import Buffer
from lib.session_lanes import (
    BULK,
    FOLLOWED,
    HOLD_SECONDS,
    IDLE_SECONDS,
    LEARN_SECONDS,
    SPARSE,
    Lanes,
    Progress,
)
from tests.support import packets as p

A, B = "10.0.0.1", "10.0.0.2"
LATER = LEARN_SECONDS + 1
"""When nobody takes a new flow for an old one any more."""


@dataclass
class Wires:
    """Two lanes whose frames arrive when a test says so."""

    lanes: Lanes = field(init=False)
    waiting: list[list[bytes]] = field(default_factory=lambda: [[], []])
    """Frames of each lane that are on their way."""
    came: list[bytes] = field(default_factory=list)
    by: list[int] = field(default_factory=list)
    written: list[int] = field(default_factory=lambda: [0, 0])
    blocked: set[int] = field(default_factory=set)
    """Lanes that have a queue."""

    def __post_init__(self) -> None:
        self.lanes = Lanes(self.look, 0.0)

    def look(self, lane: int) -> Progress | None:
        on_the_way = sum(map(len, self.waiting[lane]))
        return None if lane in self.blocked else Progress(self.written[lane], self.written[lane] - on_the_way)

    def send(self, *packets: bytes, now: float = LATER) -> None:
        run = memoryview(bytearray(p.stream(packets)))
        self._out(self.lanes.split([run], now, SPARSE in self.blocked))

    def wake(self, now: float) -> None:
        self._out(self.lanes.split([], now, SPARSE in self.blocked))

    def _out(self, lanes: tuple[list[Buffer], list[Buffer]]) -> None:
        for lane, buffers in enumerate(lanes):
            run = b"".join(buffers)
            assert sum(len(frame) + 2 for frame in p.contents(run)) == len(run), "whole frames only"
            for content in p.contents(run):
                self.waiting[lane].append(framing.encode(content))
                self.by.append(lane)
            self.written[lane] += len(run)
        if self.lanes.has_marks:
            self.lanes.sent()

    def arrive(self, lane: int, frames: int = 1 << 30) -> None:
        """So many frames of a lane arrive, and are acknowledged."""
        taken, self.waiting[lane] = self.waiting[lane][:frames], self.waiting[lane][frames:]
        self.came += [frame[2:] for frame in taken]


def tcp(number: int = 0, size: int = 1300, port: int = 5000) -> bytes:
    return p.tcp(A, B, number.to_bytes(4).ljust(size, b"."), ports=(port, 9))


def numbers(frames: list[bytes]) -> list[int]:
    return [int.from_bytes(frame[40:44]) for frame in frames]


@pytest.mark.parametrize(
    "packet",
    [
        p.tcp(A, B, b""),
        p.udp(A, B, bytes(1200)),
        p.icmp(A, B, payload=bytes(60000)),
        wire_control.encode_ping(bytes(8)),
        packet_offload.NO_OFFLOAD + p.udp(A, B, bytes(100)),
    ],
)
def test_what_is_little_takes_the_sparse_lane(packet: bytes) -> None:
    wires = Wires()
    wires.send(packet)
    assert wires.by == [SPARSE]


def test_a_call_stays_sparse_for_ever() -> None:
    """300 packets a second of 200 bytes."""
    wires = Wires()
    for number in range(3000):
        wires.send(p.udp(A, B, bytes(200)), now=LATER + number / 300)
    assert set(wires.by) == {SPARSE}


@pytest.mark.parametrize(("rate", "lane"), [(800, SPARSE), (4000, BULK)])
def test_acknowledgements_of_a_fast_transfer_are_bulk(rate: int, lane: int) -> None:
    """Those of a slow one are not: there they must not wait behind what is sent the same way."""
    wires = Wires()
    for number in range(2000):
        wires.send(p.tcp(A, B, b""), now=LATER + number / rate)
        wires.arrive(SPARSE)
    assert wires.by[-1] == lane


def test_a_transfer_moves_once_when_what_it_sent_has_arrived() -> None:
    wires = Wires()
    wires.send(*map(tcp, range(20)))
    wires.send(tcp(20))
    assert set(wires.by) == {SPARSE}, "all of it is still on the way"
    wires.arrive(SPARSE)
    wires.send(tcp(21))
    wires.send(*map(tcp, range(22, 40)))
    assert wires.by == [SPARSE] * 21 + [BULK] * 19
    wires.arrive(BULK)
    assert numbers(wires.came) == list(range(40))


def test_others_on_the_sparse_lane_keep_no_flow_from_moving() -> None:
    """What counts is how far the flow itself had come."""
    wires = Wires()
    wires.send(*map(tcp, range(20)))
    wires.send(p.udp(A, B, bytes(100)))  # behind it, and not acknowledged
    wires.arrive(SPARSE, 20)
    wires.send(tcp(20))
    assert wires.by[-1] == BULK


def test_one_run_is_cut_where_its_flows_part() -> None:
    wires = Wires()
    wires.send(*map(tcp, range(20)))
    wires.arrive(SPARSE)
    wires.send(tcp(20))
    wires.send(tcp(21), p.udp(A, B, b"x"), tcp(22), tcp(23), tcp(0, 4, port=77))
    assert [len(frames) for frames in wires.waiting] == [4, 2]


def test_a_flow_that_never_pauses_is_held_back_until_it_has_arrived() -> None:
    wires = Wires()
    count = FOLLOWED // 1342 + 40
    for number in range(count):
        wires.send(tcp(number))
    assert wires.lanes.holding == 1
    sent = len(wires.by)
    wires.send(tcp(count))
    assert len(wires.by) == sent
    wires.arrive(SPARSE)
    wires.wake(LATER + 0.01)
    wires.arrive(BULK)
    assert not wires.lanes.holding
    wires.send(tcp(count + 1))
    wires.arrive(BULK)
    assert numbers(wires.came) == list(range(count + 2))
    assert wires.by == sorted(wires.by, reverse=True), "one move"


def test_holding_back_has_an_end() -> None:
    wires = Wires(blocked={SPARSE})
    for number in range(FOLLOWED // 1342 + 60):
        wires.send(tcp(number))
    assert wires.lanes.holding == 1
    wires.wake(LATER + HOLD_SECONDS + 0.01)
    assert not wires.lanes.holding
    assert BULK in wires.by


def test_a_lane_that_ends_gives_back_what_is_held() -> None:
    wires = Wires()
    for number in range(FOLLOWED // 1342 + 40):
        wires.send(tcp(number))
    held = b"".join(wires.lanes.give_up())
    assert numbers([frame[2:] for frame in wires.waiting[SPARSE]] + p.contents(held)) == list(
        range(FOLLOWED // 1342 + 40)
    )


def test_a_silent_flow_begins_anew() -> None:
    wires = Wires()
    wires.send(*map(tcp, range(20)))
    wires.arrive(SPARSE)
    wires.send(tcp(20))
    wires.send(tcp(21), now=LATER + IDLE_SECONDS - 0.1)
    wires.send(tcp(22), now=LATER + 2 * IDLE_SECONDS)
    assert wires.by[-3:] == [BULK, BULK, SPARSE]


def test_flows_older_than_the_lane_move_to_it_when_they_have_arrived() -> None:
    wires = Wires()
    wires.send(tcp(0), now=0.1)  # the lane it was on before is empty
    assert wires.by == [SPARSE]
    wires = Wires(waiting=[[bytes(100)], []], written=[100, 0])
    wires.send(tcp(0), now=0.1)
    wires.send(tcp(1), now=0.2)
    assert wires.by == [BULK, BULK]
    wires.arrive(BULK)
    wires.send(tcp(2), now=0.3)
    assert wires.by[-1] == SPARSE


def test_whatever_comes_no_flow_is_reordered() -> None:
    """Flows of every rate, over lanes that are as slow as they like."""
    dice = random.Random(7)
    for _ in range(8):
        wires, now, sent = Wires(), LATER, [0] * 6
        for _ in range(600):
            now += dice.choice((0.0, 0.0001, 0.002))
            flow = dice.randrange(6)
            burst = dice.choice((1, 1, 2, 30))
            wires.send(
                *(tcp(sent[flow] + one, dice.choice((20, 1300)), 6000 + flow) for one in range(burst)),
                now=now,
            )
            sent[flow] += burst
            for lane in (BULK, SPARSE):
                wires.blocked ^= {lane} if dice.random() < 0.05 else set()
                if dice.random() < 0.5:
                    wires.arrive(lane, dice.randrange(40))
            if dice.random() < 0.02:
                now += 0.02
                wires.arrive(SPARSE)
        wires.blocked.clear()
        wires.arrive(SPARSE)
        wires.arrive(BULK)
        wires.wake(now)
        wires.arrive(BULK)
        assert BULK in wires.by
        for flow in range(6):
            own = [frame for frame in wires.came if int.from_bytes(frame[20:22]) == 6000 + flow]
            assert numbers(own) == list(range(sent[flow]))


def test_known_flows_have_a_bound() -> None:
    wires = Wires()
    wires.send(*(tcp(0, 20, port) for port in range(1024, 6000)))
    assert len(wires.lanes._flows) <= session_lanes.BUCKETS


def test_a_superpacket_of_a_settled_flow_is_known_at_a_glance() -> None:
    wires = Wires()
    payload = bytes(20000)
    big = p.superpacket(p.tcp(A, B, payload, partial=True), 1348)
    run = p.stream([big])
    assert not wires.lanes.is_bulk(run, LATER)
    wires.send(big)
    wires.arrive(SPARSE)
    wires.arrive(BULK)
    wires.send(big)
    assert wires.by[-1] == BULK
    assert wires.lanes.is_bulk(run, LATER + 1)
    other = p.superpacket(p.tcp(A, B, payload, partial=True, ports=(1, 2)), 1348)
    for buffer in (
        p.stream([other]),
        p.stream([big, p.udp(A, B)]),
        p.stream([p.udp(A, B, payload)]),
        p.stream([p.tcp(A, B, payload, fragment=p.MORE_FRAGMENTS)]),
        run[:4000],
    ):
        assert not wires.lanes.is_bulk(buffer, LATER + 1)
    assert not wires.lanes.is_bulk(run, LATER + 1 + IDLE_SECONDS)
