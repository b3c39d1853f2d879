"""Which frames go by datagrams, and that no flow is overtaken by itself when it moves to them."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from lib import packet_offload
from lib.datagram_choice import (
    BUCKETS,
    FOLLOW_SECONDS,
    HOLD_BYTES,
    HOLD_SECONDS,
    IDLE_SECONDS,
    PAUSE_SECONDS,
    Choice,
    cut,
)
from lib.packet import Buffer
from tests.support import packets as p

V4, V6 = ("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")
ROOM = 1448
OLD = 1000.0
"""When no flow can be one of before any more."""
LAG = 0.03


def udp(size: int = 100, ends: tuple[str, str] = V4, port: int = 5000) -> bytes:
    return p.udp(*ends, bytes(size), ports=(port, 53))


def tcp(size: int = 100, ends: tuple[str, str] = V4, port: int = 5000) -> bytes:
    return p.tcp(*ends, bytes(size), ports=(port, 22))


def ping(ends: tuple[str, str] = V4) -> bytes:
    return p.icmp(*ends)


def sort(
    choice: Choice, *contents: bytes, now: float = OLD, room: int = ROOM, lag: float = LAG
) -> tuple[list[bytes], list[bytes]]:
    """The contents of the frames for datagrams, and of those for the stream."""
    run = memoryview(bytearray(p.stream(contents)))
    by_datagram, by_stream = choice.apart([run], now, room, lag)
    whole = b"".join(by_datagram), b"".join(by_stream)
    assert sum(map(len, whole)) == len(run)
    return p.contents(whole[0]), p.contents(whole[1])


@pytest.mark.parametrize("ends", [V4, V6])
@pytest.mark.parametrize("wrap", [bytes, p.headed], ids=["plain", "headed"])
def test_udp_and_icmp_go_by_datagrams_and_the_rest_by_the_stream(
    ends: tuple[str, str], wrap: Callable[[bytes], bytes]
) -> None:
    goes = [wrap(udp(ends=ends)), wrap(ping(ends)), wrap(udp(0, ends=ends))]
    stays = [
        wrap(tcp(ends=ends)),
        wrap(p.ip(*ends, 47, bytes(60))),
        b"\xf0\x02control.....",
        b"",
        b"\x45short",
    ]
    for seed in range(20):
        contents = [*goes, *stays] * 2
        random.Random(seed).shuffle(contents)
        by_datagram, by_stream = sort(Choice(), *contents)
        assert by_datagram == [one for one in contents if one in goes]
        assert by_stream == [one for one in contents if one not in goes]


def test_a_run_of_one_kind_stays_one_piece() -> None:
    choice, run = Choice(), p.stream([udp()] * 50)
    by_datagram, by_stream = choice.apart([run], OLD, ROOM, 0.0)
    assert ([len(one) for one in by_datagram], by_stream) == ([len(run)], [])
    assert by_datagram[0] is run
    run = p.stream([tcp()] * 50)
    by_datagram, by_stream = choice.apart([run], OLD, ROOM, 0.0)
    assert by_datagram == []
    assert by_stream[0] is run


@pytest.mark.parametrize("cut_at", range(1, 60, 7))
def test_what_is_cut_off_at_the_end_is_not_lost(cut_at: int) -> None:
    run = p.stream([udp(), tcp(), udp()])[:-cut_at]
    by_datagram, by_stream = Choice().apart([run], OLD, ROOM, 0.0)
    assert sum(map(len, (*by_datagram, *by_stream))) == len(run)


@pytest.mark.parametrize(
    ("tos", "goes"), [(0, False), (39 << 2, False), (40 << 2, True), (46 << 2 | 1, True)]
)
@pytest.mark.parametrize("ends", [V4, V6])
@pytest.mark.parametrize("wrap", [bytes, p.headed], ids=["plain", "headed"])
def test_what_is_urgent_goes_by_datagrams_if_that_is_asked_for(
    tos: int, goes: bool, ends: tuple[str, str], wrap: Callable[[bytes], bytes]
) -> None:
    packet = wrap(p.with_tos(tcp(ends=ends), tos))
    assert sort(Choice(dscp=True), packet)[0] == ([packet] if goes else [])
    assert sort(Choice(), packet)[0] == []
    assert Choice(dscp=True).is_for([p.stream([tcp(), packet])]) is goes


def test_a_channel_that_would_have_work_is_known() -> None:
    choice = Choice()
    assert choice.is_for([p.stream([tcp(), tcp()]), p.stream([tcp(), udp()])])
    assert choice.is_for([p.stream([ping(V6)])])
    assert not choice.is_for([p.stream([tcp(), b"\xf0\x02......................."])])
    assert not choice.is_for([])


# --- flows -------------------------------------------------------------------------------------------


class Calls:
    """Flows of UDP packets with their numbers; what goes by the stream arrives LAG later."""

    def __init__(self, flows: int = 1) -> None:
        self.choice, self.now = Choice(), 50.0
        self.choice.begin(self.now)
        self.arrived: list[list[tuple[float, int]]] = [[] for _ in range(flows)]
        """(when, number) of the packets of each flow, in the order in which they were sent."""
        self.ways: list[list[bool]] = [[] for _ in range(flows)]
        """Whether they went by datagrams."""
        self.sent = [0] * flows

    def call(self, *flows: int) -> None:
        """A packet of each of these flows."""
        packets = []
        for flow in flows:
            packets.append(p.udp(*V4, self.sent[flow].to_bytes(100, "big"), ports=(5000 + flow, 53)))
            self.sent[flow] += 1
        by_datagram, by_stream = self.choice.apart([p.stream(packets)], self.now, ROOM, LAG)
        for frames, lag in ((by_datagram, 0.0), (by_stream, LAG)):
            for packet in p.contents(b"".join(frames)):
                flow = int.from_bytes(packet[20:22], "big") - 5000
                self.arrived[flow].append((self.now + lag, int.from_bytes(p.payload_of(packet), "big")))
                self.ways[flow].append(not lag)

    def pass_time(self, seconds: float) -> None:
        """Let time pass; what is held back is sent at its time."""
        end = self.now + seconds
        while (until := self.choice.holds_until) and until <= end:
            self.now = max(self.now, until)
            self.call()
        self.now = end

    def check(self, flow: int) -> int:
        """Nothing is lost, doubled or reordered; returns how many packets went by the stream, which come first."""
        assert sorted(self.arrived[flow]) == self.arrived[flow]
        assert [number for _, number in self.arrived[flow]] == list(range(self.sent[flow]))
        by_stream = self.ways[flow].count(False)
        assert self.ways[flow] == [False] * by_stream + [True] * (self.sent[flow] - by_stream)
        return by_stream


@pytest.mark.parametrize("pause", [0.0001, 0.004, LAG * 0.9])
def test_a_call_that_never_pauses_is_held_back_once_and_then_goes_by_datagrams(pause: float) -> None:
    calls = Calls()
    for _ in range(int(3 / pause)):
        calls.pass_time(pause)
        calls.call(0)
    calls.pass_time(HOLD_SECONDS)
    by_stream = calls.check(0)
    assert FOLLOW_SECONDS <= by_stream * pause < FOLLOW_SECONDS + 2 * pause + 0.001


def test_what_is_held_back_is_no_later_than_it_would_be_by_the_stream() -> None:
    calls = Calls()
    sent = []
    for _ in range(300):
        calls.pass_time(0.01)
        sent.append(calls.now)
        calls.call(0)
    calls.pass_time(HOLD_SECONDS)
    assert calls.check(0)
    assert all(at <= began + LAG + 1e-6 for (at, _), began in zip(calls.arrived[0], sent, strict=True))


def test_a_flow_that_pauses_moves_then_and_nothing_is_held_back() -> None:
    calls = Calls()
    for _ in range(200):  # every 4 ms
        calls.pass_time(0.004)
        calls.call(0)
    assert calls.ways[0] == [False] * 200
    calls.pass_time(LAG + 0.001)
    for _ in range(3000):
        calls.call(0)
        assert not calls.choice.holds_until
        calls.pass_time(0.004)
    assert calls.check(0) == 200


def test_a_flow_moves_only_when_the_stream_has_delivered_what_it_sent_before() -> None:
    """Frames arrive LAG later by the stream than by datagrams: none overtakes another one of its flow."""
    for seed in range(30):
        dice = random.Random(seed)
        calls = Calls(8)
        for _ in range(2000):
            calls.pass_time(dice.expovariate(200))
            calls.call(*dice.sample(range(8), dice.randint(1, 3)))
        calls.pass_time(HOLD_SECONDS)
        assert all(calls.check(flow) < calls.sent[flow] for flow in range(8))


def test_what_is_held_back_has_a_bound() -> None:
    choice, long, now = Choice(), udp(1000), 50.0
    choice.begin(now)
    sort(choice, long, now=now, lag=1000.0)
    now += FOLLOW_SECONDS
    for _ in range(HOLD_BYTES // len(p.frame(long))):
        assert choice.apart([p.frame(long)], now, ROOM, 1000.0) == ([], [])
    by_datagram, by_stream = choice.apart([p.frame(long)], now, ROOM, 1000.0)
    assert HOLD_BYTES < sum(map(len, by_datagram)) <= HOLD_BYTES + len(p.frame(long))
    assert (by_stream, choice.holds_until) == ([], 0.0)
    choice.begin(now)
    sort(choice, long, now=now, lag=1000.0)
    now += FOLLOW_SECONDS
    assert choice.apart([p.frame(long)], now, ROOM, 1000.0) == ([], [])
    assert choice.holds_until == now + HOLD_SECONDS


def test_where_the_channel_fails_what_is_held_back_goes_by_the_stream() -> None:
    choice = Choice()
    choice.begin(50.0)
    sort(choice, udp(port=1), now=50.0, lag=2 * FOLLOW_SECONDS)
    run = p.stream([tcp(), udp(port=1), udp(port=1), ping()])
    by_datagram, by_stream = choice.apart([run], 50.0 + FOLLOW_SECONDS, ROOM, 2 * FOLLOW_SECONDS)
    assert (p.contents(b"".join(by_datagram)), p.contents(b"".join(by_stream))) == ([ping()], [tcp()])
    assert p.contents(b"".join(choice.give_up())) == [udp(port=1), udp(port=1)]
    assert choice.holds_until == 0.0
    assert choice.give_up() == []


def test_no_stream_of_tcp_is_held_back() -> None:
    choice, now = Choice(dscp=True), 50.0
    choice.begin(now)
    packet = p.with_tos(tcp(), 184)
    for _ in range(1000):
        now += 0.004
        assert sort(choice, packet, now=now) == ([], [packet])


def test_a_new_flow_goes_by_datagrams_at_once_when_there_can_be_none_of_before() -> None:
    choice = Choice()
    choice.begin(50.0)
    assert sort(choice, udp(port=1), now=50.0 + IDLE_SECONDS - 0.1) == ([], [udp(port=1)])
    assert sort(choice, udp(port=2), now=50.0 + IDLE_SECONDS + 0.1) == ([udp(port=2)], [])
    assert sort(choice, ping(), now=50.1) == ([ping()], [])  # a ping waits for nothing


def test_it_is_foretold_what_a_frame_will_do_and_nothing_is_remembered_of_that() -> None:
    dice, choice, now = random.Random(3), Choice(), 50.0
    choice.begin(now)
    packets = [udp(port=1), udp(port=2), udp(1450, port=3), udp(port=3), tcp(), ping(), b"\xf0\x02", b""]
    for _ in range(3000):
        now += dice.expovariate(100)
        packet = dice.choice(packets)
        told = {choice.foretell(p.frame(packet), now, ROOM, LAG) for _ in range(3)}
        by_stream = choice.apart([p.frame(packet)], now, ROOM, LAG)[1]
        assert told == {not by_stream}, "what is held back goes by datagrams later"


def test_without_lag_a_call_moves_at_its_next_packet() -> None:
    choice = Choice()
    choice.begin(50.0)
    assert sort(choice, udp(), now=50.001, lag=0.0) == ([], [udp()])
    assert sort(choice, udp(), now=50.002, lag=0.0) == ([], [udp()])
    assert sort(choice, udp(), now=50.002 + PAUSE_SECONDS, lag=0.0) == ([udp()], [])


def test_a_channel_that_is_good_again_begins_anew() -> None:
    choice = Choice()
    choice.begin(50.0)
    sort(choice, udp(), now=50.1)
    assert sort(choice, udp(), now=51.0)[0]
    choice.begin(60.0)
    assert sort(choice, udp(), now=60.1) == ([], [udp()])


@pytest.mark.parametrize("ends", [V4, V6])
def test_the_flow_of_a_packet_that_is_too_long_goes_by_the_stream_until_it_is_silent(
    ends: tuple[str, str],
) -> None:
    choice, long, short = Choice(), udp(1450, ends), udp(100, ends)
    assert sort(choice, short, long, short, udp(port=9), now=OLD) == ([short, udp(port=9)], [long, short])
    for number in range(20):
        assert sort(choice, short, now=OLD + number) == ([], [short])
    assert sort(choice, short, now=OLD + 19 + IDLE_SECONDS) == ([short], [])
    assert sort(choice, ping(), now=OLD, room=20) == ([], [ping()])


def test_what_is_remembered_has_a_bound_and_is_forgotten() -> None:
    choice = Choice()
    for port in range(3 * BUCKETS):
        sort(choice, udp(1450, port=port), now=OLD)
    assert len(choice._by_stream) <= BUCKETS
    sort(choice, udp(), now=OLD + 2 * IDLE_SECONDS)
    assert choice._by_stream == {}


# --- superpackets ------------------------------------------------------------------------------------


@pytest.mark.parametrize("ends", [V4, V6])
@pytest.mark.parametrize(("payload", "gso_size"), [(20000, 1000), (1001, 1000), (5000, 64), (9000, 1200)])
def test_a_superpacket_of_udp_is_cut_into_parts_that_fit(
    ends: tuple[str, str], payload: int, gso_size: int
) -> None:
    whole = p.superpacket(p.udp(*ends, (bytes(range(250)) * 100)[:payload], partial=True), gso_size)
    frame = p.frame(whole)
    assert sort(Choice(), whole) == ([whole], [])
    parts = list(cut(frame, ROOM))
    assert all(len(part) <= ROOM for part in parts)
    expected = [bytes(one) for one in packet_offload.packets(memoryview(whole))]
    got = [bytes(one) for part in parts for one in packet_offload.packets(memoryview(part)[2:])]
    assert [p.payload_of(one) for one in got] == [p.payload_of(one) for one in expected]


def test_what_cannot_be_cut_goes_by_the_stream() -> None:
    large = p.superpacket(p.udp(*V4, bytes(9000), partial=True), 1450)
    stream = p.superpacket(p.tcp(*V4, bytes(9000), partial=True), 1000)
    assert sort(Choice(), large) == ([], [large])
    assert sort(Choice(dscp=True), p.headed(p.with_tos(tcp(5000), 184)))[0] == []
    frames: list[Buffer] = [p.frame(large), p.frame(stream), p.frame(udp()), p.frame(udp(5000))]
    assert [list(cut(frame, ROOM)) for frame in frames] == [[], [], [], []]
