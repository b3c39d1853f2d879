"""A session's queue: what waits while the peer does not read, served flow by flow, bounded in bytes and time.

Knows: what may wait, whose turn it is, what is given up.
Refuses to know: sockets and clocks (session_sender), and what the frames hold beyond whose flow they are.

Flows are served in turn by deficit round robin (Shreedhar and Varghese 1995), and a flow that was not
waiting goes before those that are (as fq_codel has it, RFC 8290): a ping does not wait behind a download.
Control frames go before everything. What has been popped is no longer in here, so it cannot be dropped: the
far side would lose its place in the stream.

    push    a run of frames -> chunks, each of one flow -> the flow's own queue
    pop     flows new to the queue, then the others, QUANTUM bytes a turn

Where there is no room, what has waited longest in the fattest flow goes: early, and from who fills the queue.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from lib import packet_offload, wire_control
from lib.counters import Traffic
from lib.forward_drop_reasons import Reason
from lib.framing import split
from lib.metrics_ledger import Histogram
from lib.packet_text import head_of_frame

QUANTUM = 16 << 10
"""Bytes of a turn; a superpacket of 64 KB is paid for with the turns that follow."""
BUCKETS = 512
"""Flows told apart; two that share a bucket share its turn."""
MAX_CHUNK = 64 << 10
WAITS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Seconds: bounds of the histogram of waits."""

_CONTROL = -1
_PORTED = (6, 17)


@dataclass(slots=True, eq=False)
class Budget:
    """What all queues of a process may hold together, bytes."""

    limit: int
    used: int = 0
    waits: Histogram = field(default_factory=lambda: Histogram(WAITS))
    """Seconds for which what has been sent had waited."""


@dataclass(slots=True, eq=False)
class _Flow:
    """Chunks of one flow, each with the time it came."""

    chunks: deque[tuple[float, bytes]] = field(default_factory=deque)
    size: int = 0
    credit: int = QUANTUM


@dataclass(slots=True, eq=False)
class SendQueue:
    """Frames by flow."""

    max_bytes: int
    max_seconds: float
    budget: Budget = field(default_factory=lambda: Budget(1 << 62))
    size: int = 0
    """Bytes waiting."""
    lost: Callable[[Reason, bytes], None] | None = None
    """Told what is given up, where somebody wants to know."""
    _flows: dict[int, _Flow] = field(default_factory=dict)
    """Those with anything waiting, and those whose turn has not come round since."""
    _new: deque[int] = field(default_factory=deque)
    _old: deque[int] = field(default_factory=deque)

    def push(self, run: bytes, now: float, traffic: Traffic) -> None:
        """Let a run of whole frames wait; what there is no room for is counted and gone."""
        for key, chunk in chunks(run):
            flow = self._flows.get(key)
            if flow is None:
                flow = self._flows[key] = _Flow()
                if key == _CONTROL:
                    self._new.appendleft(key)
                else:
                    self._new.append(key)
            flow.chunks.append((now, chunk))
            flow.size += len(chunk)
            self._add(len(chunk))
        while self.size > self.max_bytes:
            self._drop_one(Reason.QUEUE_FULL, now, traffic)
        while self.budget.used > self.budget.limit and self.size:
            self._drop_one(Reason.QUEUE_MEMORY, now, traffic)

    def pop(self, now: float, traffic: Traffic, most: int = 1) -> bytes:
        """The next frames to send: at least `most` bytes where so many wait, b"" when nothing waits.

        Frames that have waited longer than max_seconds are dropped and counted.
        """
        taken: list[bytes] = []
        size = 0
        while size < most and (self._new or self._old):
            # New flows come first: a flow with little to send (a ping, a handshake) is empty again before
            # its credit is used up, so it never waits behind the bulk flows in _old.
            turns = self._new or self._old
            key = turns[0]
            flow = self._flows[key]
            if not flow.chunks:
                # The flow is empty and leaves. A new flow first stays for one round of _old: a sender that
                # paces its packets could otherwise be a new flow for each of them, and starve the old flows.
                turns.popleft()
                if turns is self._new and self._old:
                    self._old.append(key)
                else:
                    del self._flows[key]
                continue
            if flow.credit <= 0:
                # Its turn is over. It gets the credit of its next turn now and goes to the end. After a
                # superpacket of 64 KB the credit is still below zero, so the next turns only pay the debt.
                flow.credit += QUANTUM
                turns.popleft()
                self._old.append(key)
                continue
            since, chunk = flow.chunks.popleft()
            flow.size -= len(chunk)
            self._add(-len(chunk))
            waited = now - since
            if waited > self.max_seconds:
                # Too old to be of use. It costs the flow no credit: the credit is for what is sent.
                self._lose(Reason.QUEUE_TIME, chunk, now, traffic)
                continue
            traffic.queued += 1
            traffic.waited += waited
            self.budget.waits.observe(waited)
            if key != _CONTROL:  # control frames are few and small, and must not wait for a turn
                flow.credit -= len(chunk)
            size += len(chunk)
            taken.append(chunk)
        return taken[0] if len(taken) == 1 else b"".join(taken)

    def clear(self) -> int:
        """Give everything up; returns the number of packets lost."""
        chunks = [chunk for flow in self._flows.values() for _, chunk in flow.chunks]
        lost = sum(map(packet_offload.count_packets, chunks))
        if self.lost is not None:
            for chunk in chunks:
                self.lost(Reason.SESSION_GONE, chunk)
        self._flows.clear()
        self._new.clear()
        self._old.clear()
        self._add(-self.size)
        return lost

    def oldest(self) -> float | None:
        """When what has waited longest came; None where nothing waits."""
        return min((flow.chunks[0][0] for flow in self._flows.values() if flow.chunks), default=None)

    def _add(self, size: int) -> None:
        self.size += size
        self.budget.used += size

    def _drop_one(self, reason: Reason, now: float, traffic: Traffic) -> None:
        flow = max(self._flows.values(), key=_fatness)
        _, chunk = flow.chunks.popleft()
        flow.size -= len(chunk)
        self._add(-len(chunk))
        self._lose(reason, chunk, now, traffic)

    def _lose(self, reason: Reason, chunk: bytes, now: float, traffic: Traffic) -> None:
        traffic.drop(reason, packet_offload.count_packets(chunk), "", head_of_frame(chunk), now)
        if self.lost is not None:
            self.lost(reason, chunk)


def _fatness(flow: _Flow) -> int:
    return flow.size


def chunks(run: bytes) -> list[tuple[int, bytes]]:
    """A run as (flow's bucket, frames that follow each other in it)."""
    found: list[tuple[int, bytes]] = []
    begin = at = 0
    last: int | None = None
    for end in split(run):
        key = _bucket(run, at + 2)
        if key != last or end - begin > MAX_CHUNK:
            if at > begin and last is not None:
                found.append((last, run[begin:at]))
            begin, last = at, key
        at = end
    if at > begin and last is not None:
        found.append((last, run[begin:at]))
    return found


def _bucket(run: bytes, start: int) -> int:
    """The bucket of a frame content: by addresses, protocol and ports, where it has any."""
    first = run[start]
    if first == wire_control.MARK:
        return _CONTROL
    if first <= 2:
        start += packet_offload.HEADER_SIZE
        first = run[start]
    if first >> 4 == 4:
        ports = first == 0x45 and run[start + 9] in _PORTED
        return (hash(run[start + 12 : start + (24 if ports else 20)]) + run[start + 9]) % BUCKETS
    ports = run[start + 6] in _PORTED
    return (hash(run[start + 8 : start + (44 if ports else 40)]) + run[start + 6]) % BUCKETS
