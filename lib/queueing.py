"""A session's queue: what waits while the peer does not read, bounded in bytes and in time.

Knows: what may wait, for how long, and what is given up.
Refuses to know: sockets and clocks (session), and what the frames hold beyond counting them.

Data comes and goes as runs of whole frames. A run whose head has gone out on the wire is no
longer in here, so it cannot be dropped: the far side would lose its place in the stream.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from lib import offload
from lib.drops import Reason
from lib.stats import Traffic


@dataclass(slots=True, eq=False)
class SendQueue:
    """Runs of frames, first in first out."""

    max_bytes: int
    max_seconds: float
    size: int = 0
    """Bytes waiting."""
    _runs: deque[tuple[float, bytes]] = field(default_factory=deque)

    def push(self, run: bytes, now: float) -> int:
        """Let a run wait; returns how many packets were dropped because there is no room."""
        if self.size + len(run) > self.max_bytes:
            return offload.count_packets(run)
        self._runs.append((now, run))
        self.size += len(run)
        return 0

    def pop(self, now: float, traffic: Traffic) -> bytes | None:
        """The next run to send, None when nothing waits. What waited too long is counted and gone."""
        while self._runs:
            since, run = self._runs.popleft()
            self.size -= len(run)
            if now - since <= self.max_seconds:
                return run
            traffic.drop(Reason.QUEUE_TIME, offload.count_packets(run))
        return None

    def clear(self) -> int:
        """Give everything up; returns the number of packets lost."""
        lost = sum(offload.count_packets(run) for _, run in self._runs)
        self._runs.clear()
        self.size = 0
        return lost
