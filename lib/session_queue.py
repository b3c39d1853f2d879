"""Deficit-round-robin queue of one session: frames by flow, bounded in bytes and in waiting time.

Knows: which frames may wait, which flow's turn it is, which frames are dropped, what they cost in memory.
Refuses to know: sockets and clocks (session_sender), what is in the frames beyond the flow they belong to.

Flows are served in turn by deficit round robin (Shreedhar and Varghese 1995). A flow that had nothing waiting
goes before those that had (as in fq_codel, RFC 8290), so a ping does not wait behind a download. Control
frames go before everything. Frames that were popped are not in the queue any more, so they cannot be dropped:
a part of them may have been sent, and the peer would lose its place in the stream.

    push    a run of frames -> chunks, each of one flow -> the flow's own queue; small ones become one chunk
    pop     flows new to the queue, then the others, QUANTUM bytes a turn

When there is no room, the oldest frames of one of the flows with most bytes are dropped. Then the sender that
fills the queue loses, and learns it early. Frames that have waited too long are dropped at a push, at a pop,
and when the hub looks after the queue.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from struct import Struct

from lib import packet_offload, wire_control
from lib.counters import Traffic
from lib.forward_drop_reasons import Reason
from lib.packet_text import head_of_frame
from lib.session_budget import Budget, BySize

QUANTUM = 16 << 10
"""Bytes that a flow may send in a turn. A superpacket of 64 KB takes the bytes of the turns that follow."""
BUCKETS = 512
"""A flow is known by a hash with so many values; two flows with the same hash share their turns."""
MAX_CHUNK = 64 << 10
"""Bytes of frames of one flow that are kept, sent and dropped as one."""
MERGED = 2048
"""Bytes up to which small chunks of one flow become one: each costs CHUNK_BYTES more."""
MERGE_SECONDS = 0.01
"""Seconds after its first frame in which others may join a chunk; all count as having come with the first."""
CHUNK_BYTES = 152
FLOW_BYTES = 1312
"""Memory of a chunk beside its bytes (bytes object, tuple, time, slot of a deque, rounding), and of a flow
with any: CPython 3.11 and glibc, as tests/bench/held.py measures them."""
MAX_TAKEN = 256
"""Chunks that one call looks at, at most: some tenths of a millisecond."""
LEAST_FRAME = 64
"""Bytes that a packet counts as in a pop, at least."""
MAX_CONTROL = 4096
"""Bytes of control frames that may wait: a few of each kind."""
_LOOKS = 16

_CONTROL = -1
_UNUSUAL = 0xFF
_PORTED = (6, 17)
_FLOW_UNIT = 10  # bits: flows that hold less than 1 KB are all alike


@dataclass(slots=True, eq=False)
class _Flow:
    """The chunks of one flow that wait, each as (time it came, frames, packets they stand for)."""

    key: int
    turns: deque[_Flow]
    """The queue in which it waits for its turn."""
    chunks: deque[tuple[float, bytes, int]] = field(default_factory=deque)
    held: int = 0
    """Bytes of its chunks."""
    credit: int = QUANTUM
    rank: int = -1
    high: int = 0


@dataclass(slots=True, eq=False)
class SendQueue:
    """The queue. `now` is always in seconds of a steady clock; `traffic` counts what is sent and dropped."""

    max_bytes: int
    max_seconds: float
    budget: Budget = field(default_factory=lambda: Budget(1 << 62))
    size: int = 0
    """Bytes waiting."""
    held: int = 0
    """Bytes of memory that they cost, with CHUNK_BYTES and FLOW_BYTES."""
    rank: int = -1
    high: int = 0
    lost: Callable[[Reason, bytes], None] | None = None
    """Called with the reason and the frames of each dropped chunk; None where nobody wants to know."""
    traffic: Traffic = field(default_factory=Traffic)
    """Where drops are counted: the counters of the last push or pop."""
    _flows: dict[int, _Flow] = field(default_factory=dict)
    """The flows with chunks that wait, and those that became empty and whose next turn has not come yet."""
    _new: deque[_Flow] = field(default_factory=deque)
    """Flows that had nothing waiting before, in the order of their turns; they are served first."""
    _old: deque[_Flow] = field(default_factory=deque)
    """Flows that have had a turn and still have chunks (or had until now), in the order of their turns."""
    _by_size: BySize[_Flow] = field(default_factory=lambda: BySize(_FLOW_UNIT))
    _looks: list[_Flow] = field(default_factory=list)
    """Flows in which expire() has still to look for chunks that have waited too long."""
    _look_at: float = 0.0
    """When a push looks for such chunks the next time."""
    _merge_seconds: float = 0.0

    def __post_init__(self) -> None:
        self._merge_seconds = min(MERGE_SECONDS, self.max_seconds / 8)

    @property
    def control_waits(self) -> bool:
        """Whether a control frame has not gone out yet."""
        flow = self._flows.get(_CONTROL)
        return flow is not None and bool(flow.chunks)

    def push(self, run: bytes, now: float, traffic: Traffic) -> None:
        """Put a run of whole frames into the queue. What there is no room for is dropped and counted."""
        self.traffic = traffic
        late, soon = now - self.max_seconds, now - self._merge_seconds
        added = pieces = key = 0
        for key, chunk, packets in chunks(run):
            flow = self._flows.get(key) or self._begin(key)
            size, waiting = len(chunk), flow.chunks
            # A flow that gets new frames drops two that are too old first. So a flow that is never served, as
            # its peer does not read, stays short without anybody looking at all flows.
            if waiting and waiting[0][0] < late:
                self._expire(flow, late, now, 2, ends=False)
            # Small frames that come close together become one chunk: a chunk costs CHUNK_BYTES of memory,
            # which would be more than the frames themselves.
            if not waiting or size >= MERGED or not _merge(waiting, chunk, packets, soon):
                waiting.append((now, chunk, packets))
                pieces += 1
            flow.held += size
            added += size
            if flow.held >= flow.high:
                self._by_size.grown(flow)
        self.size += added
        added += pieces * CHUNK_BYTES
        budget = self.budget
        budget.used += added  # Budget.hold, without the call
        self.held += added
        if self.held >= self.high:
            budget.hold(self, 0)
        if key == _CONTROL and flow.held > MAX_CONTROL:
            self._drop(flow, Reason.QUEUE_FULL, now)
        # Flows that get nothing more must not keep old frames either: now and then a few are looked at.
        if now >= self._look_at:
            self._look_at = now + self.max_seconds / 64
            self.expire(now, _LOOKS)
        # The flow with most bytes loses its oldest frames, not the flow that has just come: whoever fills the
        # queue pays, and a sender that notices its loss early slows down early.
        while self.size > self.max_bytes:
            self.drop_one(Reason.QUEUE_FULL, now)
        # This queue has room, but all queues of the hub together have not. Then the largest of them drops.
        if budget.used > budget.limit:
            budget.relieve(now)

    def pop(self, now: float, traffic: Traffic, most: int = 1) -> bytes:
        """The next frames to send: at least `most` bytes, where MAX_TAKEN chunks are as many.

        Tiny packets count as LEAST_FRAME bytes each, as who takes them may have to look at each.
        Frames that have waited longer than max_seconds are dropped and counted. b"" where nothing waits; also
        where all that was looked at had waited too long, and then `size` is not 0.
        """
        self.traffic = traffic
        taken: list[bytes] = []
        size = gone = 0
        late, left, room = now - self.max_seconds, MAX_TAKEN, most
        # New flows come first: a flow with little to send (a ping, a handshake) is empty again before its
        # credit is used up, so it never waits behind the bulk flows in _old.
        while room > 0 and left and (turns := self._new or self._old):
            flow = turns[0]
            waiting = flow.chunks
            if not waiting:
                self._rest(flow)
                continue
            if flow.credit <= 0:
                # Its turn is over. It gets the credit of its next turn now and goes to the end. After a
                # superpacket of 64 KB the credit is still below zero, so the next turns only pay the debt.
                flow.credit += QUANTUM
                self._turn(flow)
                continue
            left -= 1
            since, chunk, packets = waiting.popleft()
            got = len(chunk)
            flow.held -= got
            if since < late:
                # Too old to be of use. It costs the flow no credit: credit is for what is sent.
                gone += got
                self._lose(Reason.QUEUE_TIME, chunk, packets, now)
                continue
            waited = now - since
            traffic.queued += 1
            traffic.waited += waited
            self.budget.waits.observe(waited)
            if flow.key != _CONTROL:  # control frames are few and small, and must not wait for a turn
                flow.credit -= got
            size += got
            room -= max(got, packets * LEAST_FRAME)
            taken.append(chunk)
        gone += size
        self.size -= gone
        self.budget.hold(self, -gone - CHUNK_BYTES * (MAX_TAKEN - left))
        return taken[0] if len(taken) == 1 else b"".join(taken)

    def expire(self, now: float, most: int = MAX_TAKEN) -> bool:
        """Drop chunks that have waited too long; look at `most`. False once all flows were looked at."""
        late = now - self.max_seconds
        if not self._looks:
            self._looks = list(self._flows.values())
        while most > 0 and self._looks:
            flow = self._looks[-1]
            most -= 1 + self._expire(flow, late, now, most)
            if not flow.chunks or flow.chunks[0][0] >= late:
                self._looks.pop()
        return bool(self._looks)

    def drop_one(self, reason: Reason, now: float) -> None:
        """Drop the oldest chunk of one of the flows that hold most."""
        flow = self._by_size.largest()
        if flow is not None:
            self._drop(flow, reason, now)

    def clear(self) -> int:
        """Drop everything, as the session has ended; returns how many packets were lost."""
        lost = 0
        for flow in self._flows.values():
            lost += sum([packets for _, _, packets in flow.chunks])
            if self.lost is not None:
                for _, chunk, _ in flow.chunks:
                    self.lost(Reason.SESSION_GONE, chunk)
        self._flows, self._by_size = {}, BySize(_FLOW_UNIT)
        self._new.clear()
        self._old.clear()
        self._looks = []
        self.size = 0
        self.budget.hold(self, -self.held)
        return lost

    def oldest(self) -> float | None:
        """When the oldest chunk came, in seconds of the steady clock; None where nothing waits."""
        return min((flow.chunks[0][0] for flow in self._flows.values() if flow.chunks), default=None)

    # --- flows ---------------------------------------------------------------------------------------

    def _begin(self, key: int) -> _Flow:
        """Make a flow that had nothing waiting: it goes before the old ones, control frames before all."""
        flow = self._flows[key] = _Flow(key, self._new)
        if key == _CONTROL:
            self._new.appendleft(flow)
        else:
            self._new.append(flow)
        self.budget.hold(self, FLOW_BYTES)
        return flow

    def _rest(self, flow: _Flow) -> None:
        """Take an empty flow out of its turn; it ends, or it waits for one round of the old flows first."""
        # A sender that paces its packets has an empty flow after each of them. If the flow ended at once,
        # each packet would begin a new flow, which goes before all old ones, and those would starve. So an
        # empty new flow first stays for one round of the old flows (RFC 8290, 4.2).
        if flow.turns is self._new and self._old:
            self._turn(flow)
        else:
            self._end(flow)

    def _turn(self, flow: _Flow) -> None:
        """End a flow's turn: it goes to the end of the old flows, whichever kind it was."""
        flow.turns.popleft()
        self._old.append(flow)
        flow.turns = self._old

    def _end(self, flow: _Flow) -> None:
        """Forget an empty flow."""
        # It is mostly the first one, whose turn it is. One that became empty by a drop may be anywhere.
        if flow.turns[0] is flow:
            flow.turns.popleft()
        else:
            flow.turns.remove(flow)
        del self._flows[flow.key]
        self._by_size.remove(flow)
        self.budget.hold(self, -FLOW_BYTES)

    # --- losses --------------------------------------------------------------------------------------

    def _expire(self, flow: _Flow, late: float, now: float, most: int, ends: bool = True) -> int:
        """Drop up to `most` chunks of a flow that came before `late`; returns how many."""
        done = 0
        while done < most and flow.chunks and flow.chunks[0][0] < late:
            self._drop(flow, Reason.QUEUE_TIME, now, ends)
            done += 1
        return done

    def _drop(self, flow: _Flow, reason: Reason, now: float, ends: bool = True) -> None:
        """Drop the first chunk of a flow. With `ends`, a flow that is empty then is forgotten."""
        _, chunk, packets = flow.chunks.popleft()
        flow.held -= len(chunk)
        self.size -= len(chunk)
        self.budget.hold(self, -len(chunk) - CHUNK_BYTES)
        if ends and not flow.chunks:
            self._end(flow)
        self._lose(reason, chunk, packets, now)

    def _lose(self, reason: Reason, chunk: bytes, packets: int, now: float) -> None:
        self.traffic.drop(reason, packets, "", head_of_frame(chunk), now)
        if self.lost is not None:
            self.lost(reason, chunk)


def _merge(waiting: deque[tuple[float, bytes, int]], chunk: bytes, packets: int, soon: float) -> bool:
    """Make a chunk part of the last one; False where that is too old or would be too large."""
    since, before, count = waiting[-1]
    if since < soon or len(before) + len(chunk) > MERGED:
        return False
    waiting[-1] = since, before + chunk, count + packets
    return True


# --- cutting ---------------------------------------------------------------------------------------------

_PLAIN, _PLAIN_SIZE = Struct("!HB8xB2x12s").unpack_from, 26
"""A frame with an IPv4 packet without options: length, first byte, protocol, addresses and ports."""
_IPV4_HEADER, _IPV6_HEADER = 20, 40
_HEADED, _HEADED_SIZE = Struct("<4xHH4xB8xB2x12s").unpack_from, 36
"""The same behind a virtio-net header, whose hdr_len and gso_size come first."""


def chunks(run: bytes) -> list[tuple[int, bytes, int]]:
    """Cut a run into chunks: (bucket of the flow, its frames, how many packets they stand for).

    A chunk is frames of one flow that follow each other, MAX_CHUNK bytes at most. A superpacket stands for as
    many packets as it has segments. A frame that is cut off at the end of the run is left out.
    """
    found: list[tuple[int, bytes, int]] = []
    begin = at = packets = 0
    last, same, protocol_before = _CONTROL - 1, b"", 0
    whole = len(run)
    while at + 2 <= whole:
        if at + _PLAIN_SIZE <= whole:
            size, first, protocol, flow = _PLAIN(run, at)
        else:
            size, first = int.from_bytes(run[at : at + 2], "big"), _UNUSUAL
        after = at + 2 + size
        if after > whole:
            break
        stands_for = 1
        if first <= 2:
            if size >= _HEADED_SIZE:
                headers, gso_size, first, protocol, flow = _HEADED(run, at)
                if gso_size:
                    payload = size - packet_offload.HEADER_SIZE - headers
                    stands_for = -(-payload // gso_size) if payload > 0 else 1
            else:
                first = _UNUSUAL
        if first == 0x45 and protocol in _PORTED and size >= 24:
            if flow != same or protocol != protocol_before:
                key = (hash(flow) + protocol) % BUCKETS
                same, protocol_before = flow, protocol
        else:
            key, same = _bucket(run, at + 2, after), b""
        if key != last or after - begin > MAX_CHUNK:
            if at > begin:
                found.append((last, run[begin:at], packets))
            begin, last, packets = at, key, 0
        packets += stands_for
        at = after
    if at > begin:
        found.append((last, run[begin:at], packets))
    return found


def _bucket(run: bytes, start: int, end: int) -> int:
    """The bucket of the frame whose content is run[start:end]: a hash of addresses, protocol and ports.

    A content that is too short for a packet has a bucket by its bytes.
    """
    first = run[start] if start < end else 0
    if first == wire_control.MARK:
        return _CONTROL
    if first <= 2:
        start += packet_offload.HEADER_SIZE
        first = run[start] if start < end else 0
    if first >> 4 == 4 and end - start >= _IPV4_HEADER:
        ports = first == 0x45 and run[start + 9] in _PORTED
        return (hash(run[start + 12 : min(end, start + (24 if ports else 20))]) + run[start + 9]) % BUCKETS
    if first >> 4 == 6 and end - start >= _IPV6_HEADER:
        ports = run[start + 6] in _PORTED
        return (hash(run[start + 8 : min(end, start + (44 if ports else 40))]) + run[start + 6]) % BUCKETS
    return hash(run[start:end]) % BUCKETS
