"""The deficit-round-robin queue of one session: frames by flow, bounded in bytes and in waiting time.

Knows: which frames may wait, which flow's turn it is, which frames are dropped.
Refuses to know: sockets and clocks (session_sender), what is in the frames beyond the flow they belong to.

Flows are served in turn by deficit round robin (Shreedhar and Varghese 1995). A flow that had nothing waiting
goes before those that had (as in fq_codel, RFC 8290), so a ping does not wait behind a download. Control
frames go before everything. Frames that were popped are not in the queue any more, so they cannot be dropped:
a part of them may have been sent, and the peer would lose its place in the stream.

    push    a run of frames -> chunks, each of one flow -> the flow's own queue
    pop     flows new to the queue, then the others, QUANTUM bytes a turn

When the queue is full, the oldest frames of the flow with most bytes are dropped. Then the sender that fills
the queue loses, and learns it early.
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
"""Bytes that a flow may send in a turn. A superpacket of 64 KB takes the bytes of the turns that follow."""
BUCKETS = 512
"""Flows are told apart by a hash of so many values; two flows in one bucket share its turns."""
MAX_CHUNK = 64 << 10
"""Bytes of frames of one flow that are kept, sent and dropped as one."""
WAITS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Bounds of the histogram of waiting times, in seconds."""

_CONTROL = -1
_PORTED = (6, 17)


@dataclass(slots=True, eq=False)
class Budget:
    """The memory that all queues of one hub may use together: bytes in use, and their limit."""

    limit: int
    used: int = 0
    waits: Histogram = field(default_factory=lambda: Histogram(WAITS))
    """How long the chunks that were sent had waited, in seconds."""


@dataclass(slots=True, eq=False)
class _Flow:
    """The chunks of one flow that wait, each as (time it came, frames), and the bytes left of its turn."""

    chunks: deque[tuple[float, bytes]] = field(default_factory=deque)
    size: int = 0
    credit: int = QUANTUM


@dataclass(slots=True, eq=False)
class SendQueue:
    """The queue. `now` is always in seconds of a steady clock; `traffic` counts what is sent and dropped."""

    max_bytes: int
    max_seconds: float
    budget: Budget = field(default_factory=lambda: Budget(1 << 62))
    size: int = 0
    """Bytes that wait."""
    lost: Callable[[Reason, bytes], None] | None = None
    """Called with the reason and the frames of every chunk that is dropped."""
    _flows: dict[int, _Flow] = field(default_factory=dict)
    """Bucket -> flow: those with chunks, and those without whose next turn has not come yet."""
    _new: deque[int] = field(default_factory=deque)
    _old: deque[int] = field(default_factory=deque)

    def push(self, run: bytes, now: float, traffic: Traffic) -> None:
        """Append a run of whole frames; drops and counts what there is no room for."""
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
        """Remove everything, as the session has ended; returns how many packets are lost."""
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
        """When the oldest chunk came; None where nothing waits."""
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
    """Cut a run of frames into chunks of one flow each; returns (bucket of the flow, frames) of each."""
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
    """The bucket of the frame whose content begins at `start`: a hash of addresses, protocol and ports."""
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
