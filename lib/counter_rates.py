"""Packets and bytes a second of a session, from samples of its counters.

Knows: over how many seconds a rate is taken. Refuses to know: clocks (time comes in), and who asks.

    older        newer      now           a rate is taken from `older` to now, over 1 to 2 seconds: a sample
      |------------|---------|            is always there, so that nobody has to wait for a rate
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from lib.counters import Traffic

SPAN = 1.0
"""Least number of seconds between two samples."""

Counts = tuple[int, int, int, int]
"""The counters of a Traffic in the order of Rate."""


class Rate(NamedTuple):
    """Packets and bytes a second in each direction."""

    received_packets: float
    received_bytes: float
    sent_packets: float
    sent_bytes: float


def _counts(traffic: Traffic) -> Counts:
    return traffic.received_packets, traffic.received_bytes, traffic.sent_packets, traffic.sent_bytes


@dataclass(slots=True)
class Rates:
    """The two samples of one session; both begin as that of its start, when nothing was counted."""

    newer_at: float
    newer: Counts = (0, 0, 0, 0)
    older_at: float = field(default=0.0, init=False)
    older: Counts = field(default=(0, 0, 0, 0), init=False)

    def __post_init__(self) -> None:
        self.older_at, self.older = self.newer_at, self.newer

    def sample(self, traffic: Traffic, now: float) -> None:
        """Take a sample, unless the last one is younger than SPAN."""
        if now - self.newer_at >= SPAN:
            self.older_at, self.older = self.newer_at, self.newer
            self.newer_at, self.newer = now, _counts(traffic)

    def rate(self, traffic: Traffic, now: float) -> Rate:
        """The rates since the older sample."""
        seconds = max(0.05, now - self.older_at)
        return Rate(*((new - old) / seconds for new, old in zip(_counts(traffic), self.older, strict=True)))
