"""Deficit-round-robin queue of one session: frames by flow, bounded in bytes and in waiting time.

Knows: which frames may wait, which flow's turn it is, which frames are dropped, what they cost in memory.
Refuses to know: sockets and clocks (session_sender), what is in the frames beyond the flow they belong to.

Tenants are served in turn, the hosts of each, and the flows of each of those (session_turns). A flow that had
nothing waiting goes before those that had (as in fq_codel, RFC 8290), so a ping does not wait behind a
download. Control frames go before everything. Packets that open a connection go behind all new flows, those
of one host as one flow, and where they are more than the peer takes, they do not wait for long: it is for
connections that there are. Frames that were popped are not in the queue any more, so they cannot be dropped:
a part of them may have been sent, and the peer would lose its place in the stream.

    push    a run of frames -> chunks, each of one flow -> the flow's own queue; small ones become one chunk
    pop     flows new to the queue, then the others, QUANTUM bytes a turn; less at a slow rate, where a long
            superpacket is cut as well

When there is no room, the oldest frames of one of the flows with most bytes are dropped, of one of the hosts
with most. Then the sender that fills the queue loses, and learns it early. Frames that have waited too long
are dropped at a push, at a pop, and when the hub looks after the queue. Long before that, a flow that keeps a
queue is told to slow down: by CoDel (session_codel) single packets of it are dropped, or marked where its
sender understands that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from lib import packet_ecn, session_codel
from lib.counters import Traffic
from lib.forward_drop_reasons import Reason
from lib.session_budget import Budget
from lib.session_chunks import (
    CONTROL,
    HOSTS,
    MAX_CHUNK,
    MERGED,
    OPENINGS,
    chunks,
    count_packets,
    first_bytes,
    first_content,
    first_packets,
    head_of,
    merge,
    source_of,
    tenant_of,
)
from lib.session_codel import Codel, Pace
from lib.session_turns import QUANTUM, Flow, Key, Turns

SLICE_SECONDS = 0.003
"""No turn is longer than this at the peer's rate, nor is what is sent as one: all others wait for as long."""
MERGE_SECONDS = 0.01
"""Seconds after its first frame in which others may join a chunk; all count as having come with the first."""
CHUNK_BYTES = 152
FLOW_BYTES = 1440
HOST_BYTES = 1740
"""Memory of a chunk beside its bytes (bytes object, tuple, time, slot of a deque, rounding), of a flow with
any and a CoDel, and of a host or a tenant that has one: CPython 3.11 and glibc, as tests/bench/held.py
measures them."""
MAX_TAKEN = 256
"""Chunks that one call looks at, at most: some tenths of a millisecond."""
MAX_FLOWS, MAX_HOSTS, FEW_FLOWS = 8192, 256, 16
"""Flows of a queue, and hosts of one tenant, beyond which others share; and flows of a host that do not."""
LITTLE = 640
"""Bytes that a flow may have waiting for however long, until they are too old: some pings or questions. Who
waits for others makes no queue, and nothing becomes shorter where one of them is lost."""
MAX_RESTS = 512
"""Flows without chunks that one call looks at, at most."""
LEAST_FRAME = 64
"""Bytes that a packet counts as in a pop, at least."""
MAX_CONTROL = (1 << 16) + 4096
"""Bytes of control frames that may wait: the settings of a host, and a few of each other kind."""
_LOOKS = 16
_NOBODY, _ANYBODY = b"control", b"others"
"""Hosts of control frames, and of sources beyond MAX_HOSTS: no addresses."""
_CONTROL = _NOBODY, CONTROL


@dataclass(slots=True, eq=False)
class SendQueue:
    """The queue. `now` is always in seconds of a steady clock; `traffic` counts what is sent and dropped."""

    max_bytes: int
    max_seconds: float
    budget: Budget = field(default_factory=lambda: Budget(1 << 62))
    size: int = 0
    """Bytes waiting."""
    held: int = 0
    """Bytes of memory that they cost, with CHUNK_BYTES, FLOW_BYTES and HOST_BYTES."""
    rank: int = -1
    high: int = 0
    lost: Callable[[Reason, bytes], None] | None = None
    """Called with the reason and the frames of each dropped chunk; None where nobody wants to know."""
    rate: float = 0.0
    """Bytes a second that the peer takes, as its sender has measured; 0.0 where that is fast or not known."""
    patience: float = 0.0
    """Seconds that packets of a flow may wait because of the way to the peer (session_pacing.patience)."""
    traffic: Traffic = field(default_factory=Traffic)
    """Where drops are counted: the counters of the last push or pop."""
    _turns: Turns = field(default_factory=Turns)
    _looks: list[Flow] = field(default_factory=list)
    """Flows in which expire() has still to look for chunks that have waited too long."""
    _look_at: float = 0.0
    """When a push looks for such chunks the next time."""
    _merge_seconds: float = 0.0
    _for: tuple[float, float] = (0.0, 0.0)
    """The rate and the patience that those below are for, and the length of turns."""
    _pace: Pace = session_codel.USUAL
    _longest: int = 2 * MAX_CHUNK
    """Bytes that are sent as one, at most: a longer chunk is cut, be it one superpacket. None is so long."""
    _gathered: int = MAX_CHUNK
    """Bytes of frames that are kept as one, at most."""

    def __post_init__(self) -> None:
        self._merge_seconds = min(MERGE_SECONDS, self.max_seconds / 8)

    @property
    def control_waits(self) -> bool:
        """Whether a control frame has not gone out yet."""
        flow = self._turns.flows.get(_CONTROL)
        return flow is not None and bool(flow.chunks)

    def push(self, run: bytes, now: float, traffic: Traffic) -> None:
        """Put a run of whole frames into the queue. What there is no room for is dropped and counted."""
        self.traffic = traffic
        if (self.rate, self.patience) != self._for:
            self._adapt()
        late, soon = now - self.max_seconds, now - self._merge_seconds
        flows, added, pieces, bucket = self._turns.flows, 0, 0, 0
        for bucket, chunk, packets in chunks(run, self._gathered):
            source = source_of(chunk) if bucket >= 0 else _NOBODY
            flow = flows.get((source, bucket)) or self._begin(source, bucket, chunk)
            size, waiting = len(chunk), flow.chunks
            # A flow that gets new frames drops two that are too old first. So a flow that is never served, as
            # its peer does not read, stays short without anybody looking at all flows.
            if waiting and waiting[0][0] < late:
                self._expire(flow, late, now, 2, ends=False)
            # Small frames that come close together become one chunk: a chunk costs CHUNK_BYTES of memory,
            # which would be more than the frames themselves.
            if not waiting or size >= MERGED or not merge(waiting, chunk, packets, soon):
                waiting.append((now, chunk, packets))
                pieces += 1
            host = flow.host  # Turns.hold, without the call
            tenant = host.tenant
            flow.held += size
            host.held += size
            tenant.held += size
            if flow.held >= flow.high or host.held >= host.high or tenant.held >= tenant.high:
                self._turns.hold(flow, 0)
            added += size
        self.size += added
        added += pieces * CHUNK_BYTES
        budget = self.budget
        budget.used += added  # Budget.hold, without the call
        self.held += added
        if self.held >= self.high:
            budget.hold(self, 0)
        if bucket == CONTROL and flow.held > MAX_CONTROL:
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
        if (self.rate, self.patience) != self._for:
            self._adapt()
        turns, target, longest = self._turns, self._pace.target, self._longest
        taken: list[bytes] = []
        size = gone = 0
        late, left, rests, room = now - self.max_seconds, MAX_TAKEN, MAX_RESTS, most
        while room > 0 and left and rests and (flow := turns.whose()) is not None:
            waiting = flow.chunks
            if not waiting:
                rests -= 1
                if turns.rest(flow):
                    self._end(flow)
                continue
            if flow.credit <= 0:
                turns.end_turn(flow)
                continue
            left -= 1
            since, chunk, packets = waiting.popleft()
            got = len(chunk)
            flow.held -= got  # Turns.hold, without the call
            host = flow.host
            host.held -= got
            host.tenant.held -= got
            if since < late:
                # Too old to be of use. It costs the flow no credit: credit is for what is sent.
                gone += got
                self._lose(Reason.QUEUE_TIME, chunk, packets, now)
                continue
            waited = now - since
            if waited >= target and flow.key != _CONTROL and (got + flow.held > LITTLE or flow.opens):
                kept, packets = self._slow_down(
                    flow, chunk, packets, waited, self.size - size - gone - got, now
                )
                gone += got - len(kept)
                chunk, got = kept, len(kept)
                if not chunk:
                    continue
            elif flow.codel is not None:
                flow.codel.calm()
            if got > longest:
                chunk, packets = self._shorten(flow, since, chunk, longest)
                got = len(chunk)
            traffic.queued += 1
            traffic.waited += waited
            self.budget.waits.observe(waited)
            if flow.key != _CONTROL:  # control frames are few and small, and must not wait for a turn
                turns.spend(flow, got)
            size += got
            room -= max(got, packets * LEAST_FRAME)
            taken.append(chunk)
        self._release(gone + size, MAX_TAKEN - left)
        return taken[0] if len(taken) == 1 else b"".join(taken)

    def _release(self, size: int, count: int) -> None:
        """Count bytes and chunks that have left the queue."""
        self.size -= size
        self.budget.hold(self, -size - CHUNK_BYTES * count)
        if not self.size and len(self._turns.flows) > MAX_RESTS:  # all of them are empty
            self._turns.clear()
            self.budget.hold(self, -self.held)

    def expire(self, now: float, most: int = MAX_TAKEN) -> bool:
        """Drop chunks that have waited too long; look at `most`. False once all flows were looked at."""
        late = now - self.max_seconds
        if not self._looks:
            self._looks = list(self._turns.flows.values())
        while most > 0 and self._looks:
            flow = self._looks[-1]
            most -= 1 + self._expire(flow, late, now, most)
            if not flow.chunks or flow.chunks[0][0] >= late:
                self._looks.pop()
        return bool(self._looks)

    def drop_one(self, reason: Reason, now: float) -> None:
        """Drop the oldest chunk of one of the flows that hold most, of one of the hosts that do."""
        flow = self._turns.largest()
        if flow is not None:
            self._drop(flow, reason, now)

    def clear(self) -> int:
        """Drop everything, as the session has ended; returns how many packets were lost."""
        lost = 0
        for flow in self._turns.flows.values():
            lost += sum([packets for _, _, packets in flow.chunks])
            if self.lost is not None:
                for _, chunk, _ in flow.chunks:
                    self.lost(Reason.SESSION_GONE, chunk)
        self._turns.clear()
        self._looks = []
        self.size = 0
        self.budget.hold(self, -self.held)
        return lost

    def oldest(self) -> float | None:
        """When the oldest chunk came, in seconds of the steady clock; None where nothing waits."""
        return min((flow.chunks[0][0] for flow in self._turns.flows.values() if flow.chunks), default=None)

    def _adapt(self) -> None:
        """Follow the rate: at a slow one, turns and what is sent as one last SLICE_SECONDS or a packet."""
        rate, self._for = self.rate, (self.rate, self.patience)
        self._pace = session_codel.pace(rate, self.patience)
        fits = int(max(session_codel.PACKET, rate * SLICE_SECONDS)) if rate else 2 * MAX_CHUNK
        self._longest, self._gathered = min(2 * MAX_CHUNK, fits), min(MAX_CHUNK, fits)
        self._turns.quantum = min(QUANTUM, fits)

    # --- flows ---------------------------------------------------------------------------------------

    def _begin(self, source: bytes, bucket: int, chunk: bytes) -> Flow:
        """Make a flow that had nothing waiting; control frames are one that goes before all.

        Openings (session_chunks) are one that goes after all new ones.
        """
        turns, tenant = self._turns, tenant_of(chunk)
        key = source, bucket
        if len(turns.flows) >= MAX_FLOWS and bucket != CONTROL:
            key = self._shared(tenant, source, bucket)
            if (known := turns.flows.get(key)) is not None:
                return known
        before = len(turns.hosts) + len(turns.tenants)
        flow = turns.begin(key, tenant, bucket == CONTROL, bucket >= OPENINGS)
        self.budget.hold(self, FLOW_BYTES + HOST_BYTES * (len(turns.hosts) + len(turns.tenants) - before))
        return flow

    def _shared(self, tenant: bytes, source: bytes, bucket: int) -> Key:
        """What a flow is known by where there are very many already.

        Whose host has many shares some with others of that host. Where a tenant has very many hosts, as where
        somebody makes up sources, more of them are as one host.
        """
        host, whole = self._turns.hosts.get(source), self._turns.tenants.get(tenant)
        if host is None and whole is not None and whole.count >= MAX_HOSTS:
            return tenant + _ANYBODY, bucket
        if host is not None and host.count >= FEW_FLOWS and bucket < OPENINGS:
            return source, OPENINGS + HOSTS + bucket % FEW_FLOWS
        return source, bucket

    def _end(self, flow: Flow) -> None:
        """Forget an empty flow."""
        turns = self._turns
        before = len(turns.hosts) + len(turns.tenants)
        turns.end(flow)
        gone = before - len(turns.hosts) - len(turns.tenants)
        self.budget.hold(self, -FLOW_BYTES - HOST_BYTES * gone)

    def _shorten(self, flow: Flow, since: float, chunk: bytes, longest: int) -> tuple[bytes, int]:
        """Put all but the beginning of a chunk back; returns that, and how many packets it stands for."""
        first, other = first_bytes(chunk, longest)
        if other:
            flow.chunks.appendleft((since, other, count_packets(other)))
            self._turns.hold(flow, len(other))
            # pop() counts one chunk less for the one that it took, and the bytes that it sends.
            self.budget.hold(self, CHUNK_BYTES + len(first) + len(other) - len(chunk))
            self.size += len(first) + len(other) - len(chunk)
        return first, count_packets(first)

    # --- losses --------------------------------------------------------------------------------------

    def _expire(self, flow: Flow, late: float, now: float, most: int, ends: bool = True) -> int:
        """Drop up to `most` chunks of a flow that came before `late`; returns how many."""
        done = 0
        while done < most and flow.chunks and flow.chunks[0][0] < late:
            self._drop(flow, Reason.QUEUE_TIME, now, ends)
            done += 1
        return done

    def _drop(self, flow: Flow, reason: Reason, now: float, ends: bool = True) -> None:
        """Drop the first chunk of a flow. With `ends`, a flow that is empty then is forgotten."""
        _, chunk, packets = flow.chunks.popleft()
        self._turns.hold(flow, -len(chunk))
        self.size -= len(chunk)
        self.budget.hold(self, -len(chunk) - CHUNK_BYTES)
        if ends and not flow.chunks:
            self._end(flow)
        self._lose(reason, chunk, packets, now)

    def _slow_down(
        self, flow: Flow, chunk: bytes, packets: int, waited: float, backlog: int, now: float
    ) -> tuple[bytes, int]:
        """Where it is time to, tell the sender of a chunk to slow down: drop its first packets, or mark one.

        Returns what is left of the chunk, and how many packets that stands for.
        """
        codel = flow.codel = flow.codel or Codel()
        if flow.opens:
            if not codel.is_crowd(waited, now, self._pace):
                return chunk, packets
            self._lose(Reason.QUEUE_OPENING, chunk, packets, now)
            return b"", 0
        count = codel.due(waited, backlog, now, self._pace, packets)
        if not count:
            return chunk, packets
        start = first_content(chunk)
        marked = packet_ecn.mark(chunk, start, start + int.from_bytes(chunk[start - 2 : start], "big"))
        if marked is not None:
            self.traffic.marked += 1
            return marked, packets
        # As few as possible: the first segment of a superpacket tells the sender as much as all of it.
        lost, kept = first_packets(chunk, count)
        self._lose(Reason.QUEUE_CODEL, lost, count_packets(lost), now)
        return kept, count_packets(kept)

    def _lose(self, reason: Reason, chunk: bytes, packets: int, now: float) -> None:
        self.traffic.drop(reason, packets, "", head_of(chunk), now)
        if self.lost is not None:
            self.lost(reason, chunk)
