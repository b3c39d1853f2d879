"""A session's queue: flows in turn, new ones first; bounded in bytes and time; what is lost is counted."""

from __future__ import annotations

import itertools
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import cluster_envelopes, framing, packet_offload, session_chunks, session_queue, wire_control
from lib.counters import Traffic
from lib.forward_drop_reasons import Reason
from lib.packet_text import summary
from lib.session_budget import PARKED_BYTES, Budget
from lib.session_chunks import MERGED, chunks, first_packets, source_of
from lib.session_queue import CHUNK_BYTES, FLOW_BYTES, HOST_BYTES, SendQueue
from lib.session_turns import QUANTUM, SPARSE_HOSTS, SPARSE_TURNS
from tests.support import packets as p

MANY = 16
A, B = "10.0.0.1", "10.0.0.2"
ONE = p.frame(p.udp(A, B))
SUPER = p.frame(p.superpacket(p.tcp(A, B, bytes(3000), partial=True), 1000))


def flow(number: int, size: int = 1000, source: str = A) -> bytes:
    """A frame of a flow of its own."""
    return p.frame(p.udp(source, B, bytes(size), ports=(number, 9)))


def drain(queue: SendQueue, now: float, traffic: Traffic | None = None) -> list[bytes]:
    found = []
    while run := queue.pop(now, traffic or Traffic()):
        found.append(run)
    return found


def test_within_a_flow_first_in_first_out() -> None:
    queue, traffic = SendQueue(10**6, 1.0), Traffic()
    frames = [p.frame(p.udp(A, B, bytes([n]) * 100)) for n in range(5)]
    for frame in frames:
        queue.push(frame, 0, traffic)
    assert queue.size == sum(map(len, frames))
    assert b"".join(drain(queue, 0)) == b"".join(frames)
    assert (queue.size, queue.held, queue.budget.used) == (0, 0, 0)
    assert not traffic.drops


def test_a_run_is_cut_up_by_flow() -> None:
    run = flow(1) + flow(1) + flow(2) + flow(1)
    assert [(chunk, packets) for _, chunk, packets in chunks(run)] == [
        (flow(1) * 2, 2),
        (flow(2), 1),
        (flow(1), 1),
    ]
    assert len({bucket for bucket, _, _ in chunks(run)}) == 2


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (p.tcp(A, B), p.headed(p.tcp(A, B)), True),
        (p.udp(A, B), p.udp(A, B, b"something else"), True),
        (p.icmp(A, B, payload=b"1"), p.icmp(A, B, payload=b"2"), True),
        (p.icmp(A, B), p.udp(A, B), False),
        (p.udp(A, B), p.udp(A, B, ports=(1, 2)), False),
        (p.udp("fd00::1", "fd00::2"), p.udp("fd00::1", "fd00::2", b"x"), True),
        (p.udp("fd00::1", "fd00::2"), p.udp("fd00::1", "fd00::2", ports=(1, 2)), False),
        (p.icmp("fd00::1", "fd00::2", payload=b"1"), p.icmp("fd00::1", "fd00::2", payload=b"2"), True),
    ],
)
def test_what_is_a_flow(one: bytes, other: bytes, same: bool) -> None:
    ((first, *_),), ((second, *_),) = chunks(p.frame(one)), chunks(p.frame(other))
    assert (first == second) is same


def test_a_new_flow_goes_before_a_full_one() -> None:
    queue, traffic = SendQueue(10**7, 9.0), Traffic()
    for _ in range(1000):
        queue.push(flow(1, 1400), 0, traffic)
    queue.pop(0, traffic, 50_000)
    queue.push(flow(2), 0, traffic)
    assert queue.pop(0, traffic) == flow(2)


def test_full_flows_share_by_bytes() -> None:
    queue, traffic = SendQueue(10**7, 9.0), Traffic()
    for _ in range(2000):
        queue.push(flow(1, 1400), 0, traffic)
        queue.push(flow(2, 100) * 2, 0, traffic)
    sent, first = {1: 0, 2: 0}, chunks(flow(1))[0][0]
    while queue.size and min(sent.values()) < 200_000:
        for key, chunk, _ in chunks(queue.pop(0, traffic)):
            sent[1 if key == first else 2] += len(chunk)
    assert abs(sent[1] - sent[2]) <= 2 * QUANTUM


def test_control_frames_go_before_everything() -> None:
    queue, traffic = SendQueue(10**7, 9.0), Traffic()
    ping = p.frame(wire_control.encode_ping(bytes(8)))
    for _ in range(100):
        queue.push(flow(1), 0, traffic)
    queue.pop(0, traffic, 20_000)
    queue.push(flow(2), 0, traffic)
    queue.push(ping, 0, traffic)
    assert queue.pop(0, traffic) == ping


def test_the_fattest_flow_pays_when_there_is_no_room() -> None:
    queue, traffic = SendQueue(100_000, 9.0), Traffic()
    for _ in range(200):
        queue.push(flow(1), 0, traffic)
    for _ in range(5):
        queue.push(flow(2), 0, traffic)
    assert queue.size <= 100_000
    out = b"".join(drain(queue, 0))
    assert out.count(flow(2)) == 5
    assert traffic.drops == {Reason.QUEUE_FULL: 205 - len(out) // len(flow(1))}


def test_all_queues_together_are_bounded() -> None:
    budget, traffic = Budget(50_000), Traffic()
    queues = [SendQueue(10**6, 9.0, budget) for _ in range(3)]
    for _ in range(40):
        for queue in queues:
            queue.push(flow(1), 0, traffic)
            assert budget.used == sum(one.held for one in queues) <= 50_000
    assert set(traffic.drops) == {Reason.QUEUE_MEMORY}
    for queue in queues:
        queue.clear()
    assert budget.used == 0


def test_a_superpacket_that_has_no_room_is_counted_as_its_segments() -> None:
    queue, traffic = SendQueue(len(ONE), 1.0), Traffic()
    queue.push(SUPER + ONE, 0, traffic)
    assert traffic.drops == {Reason.QUEUE_FULL: 3}
    assert queue.held == len(ONE) + CHUNK_BYTES + FLOW_BYTES + 2 * HOST_BYTES  # a host, and a tenant
    assert drain(queue, 0) == [ONE]


def test_what_waited_too_long_is_dropped_and_counted() -> None:
    queue, traffic = SendQueue(10**6, 0.5), Traffic()
    queue.push(ONE * 3, 10, traffic)
    queue.push(SUPER, 10.2, traffic)
    queue.push(ONE, 10.6, traffic)
    assert queue.pop(10.8, traffic, 9999) == ONE
    assert traffic.drops == {Reason.QUEUE_TIME: 6}
    assert (queue.size, queue.pop(10.8, traffic)) == (0, b"")


def test_without_a_limit_nothing_is_late() -> None:
    queue = SendQueue(10**6, float("inf"))
    queue.push(ONE, 0, Traffic())
    assert drain(queue, 1e9) == [ONE]


def test_clear_counts_packets() -> None:
    queue = SendQueue(10**6, 1.0)
    queue.push(ONE * 2, 0, Traffic())
    queue.push(SUPER, 0, Traffic())
    assert queue.clear() == 5
    assert (queue.size, queue.clear(), drain(queue, 0)) == (0, 0, [])


def held(queue: SendQueue) -> int:
    """What a queue holds, counted anew."""
    turns = queue._turns
    waiting = [chunk for one in turns.flows.values() for _, chunk, _ in one.chunks]
    assert queue.size == sum(map(len, waiting))
    kept = Counter(one.host.key for one in turns.flows.values())
    assert kept == {key: host.count for key, host in turns.hosts.items()}
    hosts = [host for tenant in turns.old for host in tenant.hosts]
    olds = [one for host in hosts for one in host.flows]
    assert all(host.flows for host in hosts)
    assert all(tenant.hosts for tenant in turns.old)
    tenants = Counter(host.tenant.key for host in turns.hosts.values())
    assert tenants == {key: tenant.count for key, tenant in turns.tenants.items()}
    news = [*turns.new, *turns.openings]
    assert Counter([*news, *olds]) == Counter(turns.flows.values())
    assert [one.is_new for one in [*news, *olds]] == [True] * len(news) + [False] * len(olds)
    assert [one.opens for one in news] == [False] * len(turns.new) + [True] * len(turns.openings)
    return (
        queue.size
        + CHUNK_BYTES * len(waiting)
        + FLOW_BYTES * len(turns.flows)
        + HOST_BYTES * (len(turns.hosts) + len(turns.tenants))
    )


MOVES = st.lists(
    st.one_of(st.tuples(st.integers(1, 9), st.integers(0, 5)), st.integers(1, 5000), st.floats(0, 2)),
    max_size=80,
)


@given(MOVES)
@pytest.mark.parametrize("room", [0, 3000, 10**6])
def test_every_packet_is_sent_or_counted(room: int, moves: list[tuple[int, int] | int | float]) -> None:
    queue, traffic = SendQueue(room, 1.0), Traffic()
    pushed = popped = 0
    now = 0.0
    for move in moves:
        if isinstance(move, tuple):
            count, number = move
            pushed += count
            queue.push(flow(number, 100) * count, now, traffic)
        elif isinstance(move, int):
            popped += len(queue.pop(now, traffic, move)) // len(flow(0, 100))
        else:
            now += move
        assert 0 <= queue.size <= queue.max_bytes
        assert queue.held == queue.budget.used == held(queue)
    lost = sum(traffic.drops.values())
    assert pushed == popped + lost + queue.clear()
    assert len(queue._turns.flows) <= session_chunks.BUCKETS + session_chunks.HOSTS + 1
    assert queue.budget.used == 0


TINY = [p.frame(p.udp(A, B, bytes([n]), ports=(n, 9))) for n in range(1, 65)]


def test_tiny_packets_of_a_flow_become_few_chunks() -> None:
    queue, traffic = SendQueue(1 << 24, 9.0), Traffic()
    for number in range(100):
        queue.push(b"".join(TINY), number * 1e-4, traffic)
    assert queue.size == 100 * sum(map(len, TINY))
    assert queue.held < 1.6 * queue.size, "many chunks cost more than half as much again"
    assert all(len(chunk) <= MERGED for one in queue._turns.flows.values() for _, chunk, _ in one.chunks)
    apart, _ = SendQueue(1 << 24, 9.0), Traffic()
    for number in range(10):
        apart.push(TINY[0], number * 0.02, traffic)
    assert len(drain(apart, 0.2)) == 10, "what came later is not sent as if it had come with the first"
    assert apart.clear() == 0


def test_what_is_merged_is_dropped_and_counted_by_packets() -> None:
    queue, traffic = SendQueue(10 * len(TINY[0]), 9.0), Traffic()
    for _ in range(25):
        queue.push(TINY[0], 0, traffic)
    assert traffic.drops[Reason.QUEUE_FULL] + queue.clear() == 25


def test_stale_chunks_leave_without_being_popped() -> None:
    budget, traffic = Budget(1 << 30), Traffic()
    queue = SendQueue(1 << 24, 0.5, budget)
    for number in range(400):
        queue.push(flow(number), 0.0, traffic)
    for _ in range(8):  # by pushes of other flows, some at a time
        queue.push(flow(1000), 1.0 + _ / 10, traffic)
    some = traffic.drops[Reason.QUEUE_TIME]
    assert 8 <= some < 400
    looks = 0
    while queue.expire(3.0):
        looks += 1
    assert 1 <= looks <= 2, "a bounded number in one go"
    while queue.expire(3.0):
        pass
    assert traffic.drops[Reason.QUEUE_TIME] == 408
    assert (queue.size, queue.held, budget.used) == (0, 0, 0)


def test_a_flow_that_is_pushed_to_gives_up_its_own_stale_chunks() -> None:
    queue, traffic = SendQueue(1 << 30, 0.5), Traffic()
    for number in range(3000):
        queue.push(flow(7), number * 0.002, traffic)
    assert queue.size <= 252 * len(flow(7)), "half a second of them"


def test_pop_ends_after_so_many_chunks() -> None:
    queue, traffic = SendQueue(1 << 24, 1e9), Traffic()
    for number in range(3 * session_queue.MAX_TAKEN):
        queue.push(TINY[0], float(number), traffic)
    assert len(queue.pop(0.0, traffic, 1 << 20)) == session_queue.MAX_TAKEN * len(TINY[0])
    stale = SendQueue(1 << 24, 0.5)
    for number in range(2 * session_queue.MAX_TAKEN):
        stale.push(flow(number), 0.0, traffic)
    assert stale.pop(9.0, traffic, 1 << 20) == b""
    assert stale.size, "the caller sees that it is not over"


def test_few_control_frames_wait() -> None:
    queue, traffic = SendQueue(1 << 20, 9.0), Traffic()
    ping = p.frame(wire_control.encode_ping(bytes(8)))
    for number in range(1000):
        queue.push(ping, float(number), traffic)
    assert queue.control_waits
    assert queue.size <= session_queue.MAX_CONTROL


def test_whether_a_control_frame_waits() -> None:
    queue, traffic, seen = SendQueue(1 << 20, 9.0), Traffic(), []
    for run in (ONE, p.frame(wire_control.encode_ping(bytes(8)))):
        queue.push(run, 0.0, traffic)
        seen.append(queue.control_waits)
    drain(queue, 0.0)
    assert [*seen, queue.control_waits] == [False, True, False]


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(1, 3000)), min_size=1, max_size=60))
def test_an_overflow_takes_from_a_flow_that_has_half_of_the_most_at_least(
    moves: list[tuple[int, int]],
) -> None:
    queue, traffic = SendQueue(1 << 30, 9.0), Traffic()
    for number, size in moves:
        queue.push(flow(number, size), 0, traffic)
    while queue.size:
        before = {key: one.held for key, one in queue._turns.flows.items()}
        most = max(before.values())
        queue.drop_one(Reason.QUEUE_FULL, 0)
        (paid,) = [k for k in before if k not in queue._turns.flows or queue._turns.flows[k].held < before[k]]
        assert before[paid] * 2 > most or most < 1024
    assert (queue.held, queue._turns.flows) == (0, {})


def test_who_fills_the_budget_pays_and_not_who_comes_last() -> None:
    budget = Budget(200_000)
    deaf, polite = SendQueue(10**6, 9.0, budget), SendQueue(10**6, 9.0, budget)
    deafs, polites = Traffic(), Traffic()
    for _ in range(300):
        deaf.push(flow(1), 0, deafs)
    for _ in range(20):
        polite.push(flow(2), 0, polites)
    assert budget.used <= budget.limit
    assert not polites.drops
    assert deafs.drops[Reason.QUEUE_MEMORY] >= 120


class Stuck:
    """A sender that holds what cannot be dropped."""

    def __init__(self, budget: Budget, size: int) -> None:
        self.budget, self.size = budget, size
        budget.used += size
        budget.stuck[self] = None

    def evict(self) -> None:
        self.budget.used -= self.size
        self.size = 0


def test_where_nothing_can_be_dropped_who_has_not_moved_on_for_longest_ends() -> None:
    budget = Budget(1000)
    senders = [Stuck(budget, 300) for _ in range(3)]
    budget.moves_on(senders[0])
    Stuck(budget, 400)
    budget.relieve(0)
    assert [sender.size for sender in senders] == [300, 0, 300]
    assert budget.used == 1000


def test_frames_that_wait_for_a_plugin_have_a_share_of_the_budget() -> None:
    budget, frame = Budget(80_000), bytes(1000)
    taken = 0
    while budget.park(frame):
        taken += 1
    assert taken == 80_000 // 8 // (1000 + PARKED_BYTES)
    for _ in range(taken):
        budget.unpark(frame)
    assert (budget.used, budget.parked) == (0, 0)
    budget.used = 79_000
    assert not budget.park(frame)


def test_waits_are_counted_of_what_is_sent_and_of_nothing_else() -> None:
    budget = Budget(10**6)
    queue, traffic = SendQueue(10**6, 1.0, budget), Traffic()
    queue.push(flow(1), 0.0, traffic)
    queue.push(flow(2), 0.9, traffic)
    queue.push(flow(3), 0.997, traffic)
    drain(queue, 1.5, traffic)  # the first one has waited too long
    assert (traffic.queued, round(traffic.waited, 3)) == (2, 1.103)
    assert budget.waits.sum == traffic.waited
    assert sum(budget.waits.counts) == 2


def test_the_last_packet_lost_is_kept_for_each_reason_and_who_waits_longest_is_known() -> None:
    queue, traffic = SendQueue(2 * len(flow(1)), 1.0), Traffic()
    assert queue.oldest() is None
    for number, now in ((1, 5.0), (1, 5.6), (1, 5.9)):
        queue.push(flow(number), now, traffic)
    assert queue.oldest() == 5.6
    assert traffic.last[Reason.QUEUE_FULL].at == 5.9
    assert summary(traffic.last[Reason.QUEUE_FULL].head) == f"udp {A}:1 > {B}:9"
    assert drain(queue, 6.7, traffic) == [flow(1)]
    queue.push(flow(2), 8.0, traffic)
    assert drain(queue, 20.0, traffic) == []
    assert summary(traffic.last[Reason.QUEUE_TIME].head) == f"udp {A}:2 > {B}:9"
    assert queue.oldest() is None


# --- CoDel -----------------------------------------------------------------------------------------------


def standing(frame: bytes, queue: SendQueue, traffic: Traffic) -> list[bytes]:
    """What leaves in 1 s a queue in which 80 frames wait all the time, with four pushes and four pops in 25 ms."""
    found = []
    for number in range(60):
        now = number * 0.025
        for _ in range(4):
            queue.push(frame, now, traffic)
        if number >= 20:
            found += [queue.pop(now, traffic, len(frame)) for _ in range(4)]
    return found


def test_a_queue_that_stays_loses_single_packets_and_each_is_counted() -> None:
    queue, traffic, seen = SendQueue(10**6, 9.0), Traffic(), []
    queue.lost = lambda reason, frames: seen.append((reason, frames))
    standing(flow(1), queue, traffic)
    assert 15 <= traffic.drops[Reason.QUEUE_CODEL] <= 35
    assert traffic.drops.keys() == {Reason.QUEUE_CODEL}
    assert seen == [(Reason.QUEUE_CODEL, flow(1))] * traffic.drops[Reason.QUEUE_CODEL]
    assert summary(traffic.last[Reason.QUEUE_CODEL].head) == f"udp {A}:1 > {B}:9"
    assert (traffic.marked, queue.held) == (0, held(queue))


def test_of_a_superpacket_only_the_first_segments_are_lost() -> None:
    queue, traffic, seen = SendQueue(10**6, 9.0), Traffic(), []
    queue.lost = lambda reason, frames: seen.append(frames)
    payload = b"".join(bytes([n]) * 1000 for n in range(10))
    whole = p.superpacket(p.tcp(A, B, payload, partial=True), 1000)
    sent = standing(p.frame(whole), queue, traffic)
    assert 15 <= traffic.drops[Reason.QUEUE_CODEL] == sum(map(packet_offload.count_packets, seen)) <= 35
    assert all(p.payload_of(p.contents(one)[0][10:])[:1] == b"\0" for one in seen), "the first segments"
    assert queue.held == queue.budget.used == held(queue)
    packets = sum(map(packet_offload.count_packets, sent))
    assert packets + traffic.drops[Reason.QUEUE_CODEL] + queue.clear() == 240 * 10


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(p.with_tos(p.tcp(A, B, bytes(1000)), 2), id="single"),
        pytest.param(p.headed(p.with_tos(p.tcp(A, B, bytes(1000)), 1)), id="single with header"),
        pytest.param(p.superpacket(p.with_tos(p.tcp(A, B, bytes(9000), partial=True), 2), 1000), id="super"),
        pytest.param(p.with_tos(p.udp("fd00::1", "fd00::2", bytes(1000)), 2), id="IPv6"),
    ],
)
def test_whose_sender_understands_marks_loses_nothing(content: bytes) -> None:
    queue, traffic = SendQueue(10**7, 9.0), Traffic()
    sent = p.contents(b"".join(standing(p.frame(content), queue, traffic)))
    assert not traffic.drops
    marked = [one for one in sent if one != content]
    assert 15 <= len(marked) == traffic.marked <= 35
    offset = 10 if content[0] < 16 else 0
    shift = 4 if content[offset] >> 4 == 6 else 0
    for one in marked:
        assert one[offset + 1] >> shift & 3 == 3
        for packet in packet_offload.packets(one) if offset else [one]:
            p.assert_right(packet)


def test_control_frames_are_neither_dropped_nor_marked_however_long_they_wait() -> None:
    queue, traffic = SendQueue(10**7, 99.0), Traffic()
    ping = p.frame(wire_control.encode_ping(bytes(8)))
    for number in range(400):
        queue.push(flow(1), number * 0.05, traffic)
        queue.push(ping, number * 0.05, traffic)
        assert queue.pop(number * 0.05 + 0.04, traffic) == ping
    assert not traffic.drops


def test_a_flow_that_keeps_no_queue_loses_nothing_beside_one_that_does() -> None:
    queue, traffic, seen = SendQueue(10**6, 9.0), Traffic(), []
    queue.lost = lambda reason, frames: seen.append(frames)
    for number in range(400):
        for one in (flow(1, 1400), flow(1, 1400), flow(2, 100)):
            queue.push(one, number * 0.005, traffic)
        for _ in range(2):
            queue.pop(number * 0.005, traffic)
    assert set(seen) == {flow(1, 1400)}


@given(st.lists(st.integers(1, 9), min_size=1, max_size=9), st.integers(0, 40))
def test_the_first_packets_of_a_chunk(sizes: list[int], most: int) -> None:
    frames = [
        p.frame(p.superpacket(p.tcp(A, B, bytes(1000 * n), partial=True), 1000) if n > 1 else p.udp(A, B))
        for n in sizes
    ]
    chunk = b"".join(frames)
    first, other = first_packets(chunk, most)
    assert packet_offload.count_packets(first) == min(most, sum(sizes))
    assert packet_offload.count_packets(other) == max(0, sum(sizes) - most)


# --- slow links ------------------------------------------------------------------------------------------


def payload(size: int, number: int = 0) -> bytes:
    """A payload in which each 8 bytes are like no others."""
    return b"".join((number << 32 | at).to_bytes(8, "big") for at in range(0, size, 8))[:size]


def segments_of(runs: list[bytes]) -> list[bytes]:
    return [one for run in runs for content in p.contents(run) for one in packet_offload.packets(content)]


@pytest.mark.parametrize("make", [p.tcp, p.udp])
@pytest.mark.parametrize("mbit", [0.1, 1, 5, 20, 100])
def test_at_a_slow_rate_a_superpacket_goes_in_pieces(make: Any, mbit: float) -> None:
    queue, traffic = SendQueue(10**6, 99.0), Traffic()
    queue.rate = mbit * 125_000
    whole = p.superpacket(make(A, B, payload(60_000), partial=True), 1368)
    queue.push(p.frame(whole), 0, traffic)
    found = []
    while run := queue.pop(0, traffic):
        found.append(run)
        assert queue.held == queue.budget.used == held(queue)
    assert max(map(len, found)) <= max(1500, queue.rate * session_queue.SLICE_SECONDS + 100)
    assert segments_of(found) == packet_offload.packets(whole)
    assert not traffic.drops


def test_turns_that_become_shorter_are_so_for_those_who_wait_already() -> None:
    """Until a rate is known turns are long: at a slow one a host would wait for as many of them as there are others."""
    queue, traffic, count = SendQueue(10**7, 99.0), Traffic(), 16
    for number in range(count):
        queue.push(flow(number, 100, f"10.0.1.{number}") * 1000, 0, traffic)
    assert queue.pop(0, traffic)
    queue.rate = 300_000.0
    late = flow(1, 50, "10.0.2.1")
    queue.push(late, 0, traffic)
    before = 0
    while late not in (run := queue.pop(0, traffic)):
        before += len(run)
    assert before < 3 * count * max(1600, queue.rate * session_queue.SLICE_SECONDS)
    assert before < count * QUANTUM / 3


def test_who_waits_for_others_loses_nothing() -> None:
    """Pings of one host, late for seconds, behind others whose packets are dropped for they keep a queue."""
    queue, traffic, ping, got = SendQueue(10**6, 2.0), Traffic(), p.frame(p.icmp(A, B)), 0
    queue.rate = 40_000.0
    for step in range(400):
        now = step * 0.01
        for number in range(40 if step % 20 == 0 else 0):
            queue.push(flow(number, 1000, f"10.0.1.{number}") * 1, now, traffic)
        if step % 20 == 0:
            queue.push(ping, now, traffic)
        got += queue.pop(now, traffic).count(ping)
    while run := queue.pop(now, traffic):
        got += run.count(ping)
    assert got == 20
    assert traffic.drops[Reason.QUEUE_CODEL] > 10


@pytest.mark.parametrize("rate", [0.0, 25e6, 1e9])
def test_at_full_speed_nothing_is_cut(rate: float) -> None:
    queue, traffic = SendQueue(10**6, 99.0), Traffic()
    queue.rate = rate
    whole = p.frame(p.superpacket(p.tcp(A, B, bytes(65_485), partial=True), 1368))
    assert len(whole) == 65_537, "the longest frame there is"
    queue.push(whole, 0, traffic)
    queue.push(flow(1) * 60, 0, traffic)
    assert drain(queue, 0) == [whole, flow(1) * 60]


def test_what_comes_meanwhile_goes_between_the_pieces() -> None:
    queue, traffic = SendQueue(10**6, 99.0), Traffic()
    queue.rate = 625_000
    queue.push(p.frame(p.superpacket(p.tcp(A, B, bytes(60_000), partial=True), 1368)), 0, traffic)
    for number in range(20):
        queue.pop(0, traffic)
        queue.push(flow(1000 + number, 100), 0, traffic)
        assert flow(1000 + number, 100) in (queue.pop(0, traffic), queue.pop(0, traffic))


def test_turns_are_short_on_a_slow_link() -> None:
    queue, traffic = SendQueue(10**7, 99.0), Traffic()
    queue.rate = 625_000
    for number in (1, 2):
        queue.push(flow(number, 1372) * 40, 0, traffic)
    ports = [int.from_bytes(one[20:22], "big") for run in drain(queue, 0) for one in p.contents(run)]
    longest = max(len(list(same)) for _, same in itertools.groupby(ports[:70]))
    assert longest <= 2, "turns of 3 ms, which one packet and a part of the next one take"


@given(
    st.lists(
        st.one_of(
            st.tuples(st.integers(1, 4), st.integers(1, 20_000), st.integers(100, 1400)),
            st.integers(1, 20_000),
            st.sampled_from([0.0, 1e4, 1e6, 1e8]),
        ),
        max_size=40,
    )
)
def test_whatever_the_rate_each_flow_gets_its_bytes_in_order(moves: list[Any]) -> None:
    queue, traffic, pushed, runs = SendQueue(1 << 24, 99.0), Traffic(), dict[int, bytes](), list[bytes]()
    for number, move in enumerate(moves):
        if isinstance(move, tuple):
            port, size, gso = move
            data = payload(size, number)
            pushed[port] = pushed.get(port, b"") + data
            packet = p.tcp(A, B, data, ports=(port, 9), partial=True)
            queue.push(p.frame(p.superpacket(packet, gso) if size > gso else p.partial(packet)), 0, traffic)
        elif isinstance(move, int):
            runs.append(queue.pop(0, traffic, move))
        else:
            queue.rate = move
        assert queue.held == queue.budget.used == held(queue)
    arrived: dict[int, bytes] = {}
    for one in segments_of(runs + drain(queue, 0)):
        p.assert_right(one)
        port = int.from_bytes(one[20:22], "big")
        arrived[port] = arrived.get(port, b"") + p.payload_of(one)
    assert arrived == pushed


# --- hosts -----------------------------------------------------------------------------------------------


def served(queue: SendQueue, size: int, again: Callable[[], None]) -> Counter[str]:
    """Bytes that each source address has sent, of so many; `again` fills the queue up before each pop."""
    found: Counter[str] = Counter()
    while sum(found.values()) < size:
        again()
        for content in p.contents(queue.pop(0, Traffic(), 1000)):
            packet = content[10:] if content[0] < 16 else content
            found[p.ends_of(packet)[0]] += len(content)
        assert queue.held == held(queue)
    return found


@pytest.mark.parametrize("rate", [0.0, 1e6])
@pytest.mark.parametrize("size", [1300, 30_000])
@pytest.mark.parametrize("other", ["10.0.0.3", "10.9.0.1"])
def test_a_host_with_many_flows_gets_as_much_as_one_with_one(rate: float, size: int, other: str) -> None:
    queue, turn = SendQueue(1 << 30, 9.0), itertools.count()
    queue.rate = rate

    def frame(source: str, port: int) -> bytes:
        packet = p.tcp(source, B, bytes(size), ports=(port, 9), partial=True)
        return p.frame(p.superpacket(packet, 1300) if size > 1300 else p.partial(packet))

    one, many = frame(other, 1), [frame(A, 1 + n) for n in range(40)]

    def again() -> None:
        queue.push(one, 0, Traffic())
        queue.push(many[next(turn) % 40], 0, Traffic())

    for _ in range(200):
        again()
    sent = served(queue, 3_000_000 if size > 1300 else 600_000, again)
    assert 0.85 < sent[A] / sent[other] < 1.18


def test_hosts_of_ipv6_share_as_well() -> None:
    queue = SendQueue(1 << 30, 9.0)
    for n in range(2000):
        queue.push(p.frame(p.udp("fd00::1", "fd00::9", bytes(1000), ports=(1 + n % 50, 9))), 0, Traffic())
        queue.push(p.frame(p.headed(p.udp("fd00::2", "fd00::9", bytes(1000)))), 0, Traffic())
    sent = served(queue, 1_000_000, lambda: None)
    assert 0.9 < sent["fd00::1"] / sent["fd00::2"] < 1.1


@pytest.mark.parametrize("namespace", [b"", b"N" * 16])
def test_hosts_with_a_flow_in_every_place_hold_up_no_other_host(namespace: bytes) -> None:
    """Each packet of theirs is of another flow; a ping of another host comes now and then."""
    queue, traffic, now, waits = SendQueue(4 << 20, 1.0), Traffic(), 0.0, list[float]()
    queue.rate = 5e6
    since: dict[bytes, float] = {}

    def wrapped(frame: bytes) -> bytes:
        return enclose(namespace, frame) if namespace else frame

    floods = [
        wrapped(b"".join(flow(1 + n, 10, f"10.1.0.{host}") for n in range(2000))) for host in range(MANY)
    ]
    for number in range(4000):
        if number < 150:
            queue.push(floods[number % MANY], now, traffic)
        if number % 100 == 50 and number < 3000:
            ping = wrapped(p.frame(p.icmp("10.0.0.9", B, payload=bytes([number // 100]))))
            queue.push(ping, now, traffic)
            since[ping] = now
        taken = queue.pop(now, traffic, 300)
        now += len(taken) / queue.rate
        waits += [now - since.pop(ping) for ping in list(since) if ping in taken]
    assert len(waits) == 30, "none lost"
    turn = QUANTUM / queue.rate
    assert max(waits) < (SPARSE_HOSTS * SPARSE_TURNS + MANY + 1) * turn
    assert statistics.median(waits) < MANY * turn


def enclose(namespace: bytes, frame: bytes) -> bytes:
    """The frame in an envelope between two hubs, as one that has no queue yet sends it."""
    return b"".join(map(bytes, cluster_envelopes.enclose(namespace, [frame])[0]))


def test_flows_of_two_hosts_stay_in_their_order_wherever_they_come_together() -> None:
    """In one run, as from a site with several addresses; many of them are in the same bucket."""
    queue, traffic, order = SendQueue(1 << 30, 9.0), Traffic(), defaultdict[str, list[int]](list)
    sources = [f"10.1.{n >> 8}.{n & 255}" for n in range(3000)]
    for number in range(4):
        for one, other in itertools.pairwise(sources):
            queue.push(flow(number + 1, 10, one) + flow(number + 1, 10, other), 0, traffic)
    assert not traffic.drops
    for content in p.contents(b"".join(drain(queue, 0))):
        order[p.ends_of(content)[0]].append(int.from_bytes(content[20:22], "big"))
    assert len(order) == len(sources)


def test_sources_that_are_made_up_are_few_flows() -> None:
    queue, traffic = SendQueue(1 << 30, 9.0), Traffic()
    most = (
        session_queue.MAX_FLOWS + session_queue.MAX_HOSTS * session_queue.FEW_FLOWS + session_chunks.BUCKETS
    )
    for n in range(2 * session_queue.MAX_FLOWS):
        queue.push(flow(1, 1, f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}"), 0, traffic)
    assert len(queue._turns.flows) <= most
    assert queue.held == held(queue)
    ping = p.frame(wire_control.encode_ping(bytes(8)))
    queue.push(ping, 0, traffic)
    assert queue.pop(0, traffic) == ping
    count = 0
    while queue.size:
        count += len(framing.split(queue.pop(0, traffic, 60_000)))
    assert count == 2 * session_queue.MAX_FLOWS
    assert (queue.held, queue._turns.hosts, queue._turns.tenants) == (0, {}, {})


def test_many_short_flows_do_not_get_past_a_host_with_one_long_one() -> None:
    queue, port = SendQueue(1 << 30, 9.0), itertools.count(1)

    def again() -> None:
        """One host has a new flow for each packet, and never waits; the other one has one flow."""
        queue.push(flow(1, 1000, "10.0.0.3"), 0, Traffic())
        queue.push(flow(next(port) % 60_000, 1000), 0, Traffic())

    queue.push(flow(1, 1000, "10.0.0.3") * 60, 0, Traffic())
    sent = served(queue, 3_000_000, again)
    assert 0.8 < sent[A] / sent["10.0.0.3"] < 1.25


def test_a_ping_of_a_host_that_fills_the_queue_goes_first_all_the_same() -> None:
    queue, traffic = SendQueue(1 << 30, 9.0), Traffic()
    whole = p.frame(p.superpacket(p.tcp(A, B, bytes(60_000), partial=True), 1300))
    for n in range(100):
        queue.push(whole, 0, traffic)
        queue.push(flow(1, 1000, f"10.0.1.{n}") * 60, 0, traffic)
    while queue._turns.new:
        queue.pop(0, traffic, 40_000)
    for n in range(100):
        queue.pop(0, traffic, 40_000)
        ping = flow(1000 + n, 60)
        if (p.packed(A), chunks(ping, 1 << 16)[0][0]) in queue._turns.flows:
            continue  # the hash of this process has put it in the same bucket as a transfer
        queue.push(ping, 0, traffic)
        assert queue.pop(0, traffic) == ping


def test_one_call_looks_at_few_flows_that_are_empty() -> None:
    """A stranger may send one packet in each of thousands of flows."""
    queue, traffic = SendQueue(1 << 30, 9.0), Traffic()
    queue.push(flow(1) * 60 * 60, 0, traffic)
    queue.pop(0, traffic, 60_000)  # a bulk flow, behind which empty ones rest
    for n in range(2, 3000):
        queue.push(flow(n, 10), 0, traffic)
    most = len(queue._turns.flows)
    assert most > 1200
    while queue.size > 1_000_000:
        before = len(queue._turns.flows)
        queue.pop(0, traffic, 60_000)
        assert before - len(queue._turns.flows) <= session_queue.MAX_RESTS
    assert len(queue._turns.flows) == 1
    while queue.pop(0, traffic):
        pass
    assert (queue.held, queue._turns.flows, queue._turns.hosts) == (0, {}, {})
    for n in range(2, 3000):
        queue.push(flow(n, 10), 0, traffic)
    while queue.size:
        queue.pop(0, traffic, 1 << 20)
    assert queue.held == 0, "all at once, where there is nothing but empty flows"


def test_a_second_control_frame_goes_before_everything_as_well() -> None:
    queue, traffic = SendQueue(10**7, 9.0), Traffic()
    ping = p.frame(wire_control.encode_ping(bytes(8)))
    for _ in range(30):
        queue.push(flow(1) * 20, 0, traffic)
    for _ in range(3):
        queue.pop(0, traffic, 20_000)
        queue.push(ping, 0, traffic)
        assert queue.pop(0, traffic) == ping


@pytest.mark.parametrize(
    ("content", "source"),
    [
        (p.udp(A, B), p.packed(A)),
        (p.headed(p.udp(A, B)), p.packed(A)),
        (p.icmp("fd00::1", "fd00::2"), p.packed("fd00::1")),
        (p.partial(p.udp("fd00::1", "fd00::2", partial=True)), p.packed("fd00::1")),
        (b"\xf1", b""),
        (b"\0", b""),
        (b"\0" * 30, b""),
        (b"\x45", b""),
    ],
)
def test_the_source_of_a_frame(content: bytes, source: bytes) -> None:
    assert source_of(p.frame(content)) == source
