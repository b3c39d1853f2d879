"""Counters: what passed and what was dropped, by session and namespace.

Knows: how to count and add up.
Refuses to know: why anything was dropped (forward_drop_reasons) and who asks (cli_main).

Packets are counted as the wire counts them: a superpacket counts as its segments.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from lib.forward_drop_reasons import Reason


class Seen(NamedTuple):
    """A packet that was dropped: when, and its first bytes (glimpse puts them in words when asked)."""

    at: float
    head: bytes


@dataclass(slots=True)
class Traffic:
    """What one session, namespace or device sent and received, and what was lost there."""

    received_packets: int = 0
    received_bytes: int = 0
    sent_packets: int = 0
    sent_bytes: int = 0
    drops: Counter[Reason] = field(default_factory=Counter)
    dropped: int = 0
    """All of them together."""
    news: list[tuple[Reason, str]] = field(default_factory=list)
    """Reasons that occurred for the first time, with a detail, until somebody has told them."""
    queued: int = 0
    """Runs of frames that left a queue to be sent."""
    waited: float = 0.0
    """Seconds they had waited there, summed."""

    last: dict[Reason, Seen] = field(default_factory=dict)
    """The last packet of each reason, as far as whoever dropped it had one at hand."""

    def drop(
        self, reason: Reason, count: int = 1, detail: str = "", head: bytes = b"", now: float = 0.0
    ) -> None:
        """Count lost packets; head is the beginning of the last one, dropped now (of a steady clock)."""
        if reason not in self.drops:
            self.news.append((reason, detail))
        self.drops[reason] += count
        self.dropped += count
        if head:
            self.last[reason] = Seen(now, head)

    def take_news(self) -> list[tuple[Reason, str]]:
        """What occurred for the first time since the last call."""
        news, self.news = self.news, []
        return news

    def add(self, other: Traffic) -> None:
        """Add another's counts to these (a session that ends leaves them to its namespace)."""
        self.received_packets += other.received_packets
        self.received_bytes += other.received_bytes
        self.sent_packets += other.sent_packets
        self.sent_bytes += other.sent_bytes
        self.drops.update(other.drops)
        self.dropped += other.dropped
        self.queued += other.queued
        self.waited += other.waited
        for reason, seen in other.last.items():
            if reason not in self.last or self.last[reason].at <= seen.at:
                self.last[reason] = seen
