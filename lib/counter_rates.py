"""How fast counters move: two samples of them, taken at somebody's beat.

Knows: which span a rate is taken over. Refuses to know: clocks, and who asks.

    older        newer      now           a rate is taken from `older` to now: over 1 to 2 seconds, so that
      |------------|---------|            whoever asks gets an answer at once
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from lib.counters import Traffic

SPAN = 1.0
"""Seconds between samples, at least."""

Counts = tuple[int, int, int, int]


class Rate(NamedTuple):
    """Per second."""

    received_packets: float
    received_bytes: float
    sent_packets: float
    sent_bytes: float


def _counts(traffic: Traffic) -> Counts:
    return traffic.received_packets, traffic.received_bytes, traffic.sent_packets, traffic.sent_bytes


@dataclass(slots=True)
class Rates:
    """The samples of one session, the first of them when it began, with nothing counted."""

    newer_at: float
    newer: Counts = (0, 0, 0, 0)
    older_at: float = field(default=0.0, init=False)
    older: Counts = field(default=(0, 0, 0, 0), init=False)

    def __post_init__(self) -> None:
        self.older_at, self.older = self.newer_at, self.newer

    def sample(self, traffic: Traffic, now: float) -> None:
        """Take a sample, unless the last one is young."""
        if now - self.newer_at >= SPAN:
            self.older_at, self.older = self.newer_at, self.newer
            self.newer_at, self.newer = now, _counts(traffic)

    def rate(self, traffic: Traffic, now: float) -> Rate:
        """How fast it goes now."""
        seconds = max(0.05, now - self.older_at)
        return Rate(*((new - old) / seconds for new, old in zip(_counts(traffic), self.older, strict=True)))
