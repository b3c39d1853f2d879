"""Packet, byte and drop counters of a session, a namespace or a device.

Knows: how to count and add up.
Refuses to know: the reasons for drops (forward_drop_reasons), who reads the counters (ctl_status, metrics).

A superpacket counts as the packets (segments) it stands for.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from lib.forward_drop_reasons import Reason


class Seen(NamedTuple):
    """A dropped packet: when (monotonic clock, s), and its first bytes, which packet_text describes."""

    at: float
    head: bytes


@dataclass(slots=True)
class Traffic:
    """The counters of one session, namespace or device: received, sent, dropped."""

    received_packets: int = 0
    received_bytes: int = 0
    sent_packets: int = 0
    sent_bytes: int = 0
    drops: Counter[Reason] = field(default_factory=Counter)
    dropped: int = 0
    """All of them together."""
    news: list[tuple[Reason, str]] = field(default_factory=list)
    """(reason, detail) of drops that occurred for the first time and are not logged yet."""
    queued: int = 0
    """Runs of frames that left a send queue to be sent."""
    waited: float = 0.0
    """Sum of the seconds that these had waited."""
    marked: int = 0
    """Packets marked CE in a send queue, where others are dropped (Reason.QUEUE_CODEL)."""

    last: dict[Reason, Seen] = field(default_factory=dict)
    """The last dropped packet for each reason, where its bytes were at hand."""

    def drop(
        self, reason: Reason, count: int = 1, detail: str = "", head: bytes = b"", now: float = 0.0
    ) -> None:
        """Count dropped packets; head is the beginning of the last one, now is of a monotonic clock."""
        if reason not in self.drops:
            self.news.append((reason, detail))
        self.drops[reason] += count
        self.dropped += count
        if head:
            self.last[reason] = Seen(now, head)

    def take_news(self) -> list[tuple[Reason, str]]:
        """The (reason, detail) of drops that occurred for the first time since the last call."""
        news, self.news = self.news, []
        return news

    def add(self, other: Traffic) -> None:
        """Add another's counters to these, as a namespace does with those of a session that has ended."""
        self.received_packets += other.received_packets
        self.received_bytes += other.received_bytes
        self.sent_packets += other.sent_packets
        self.sent_bytes += other.sent_bytes
        self.drops.update(other.drops)
        self.dropped += other.dropped
        self.queued += other.queued
        self.waited += other.waited
        self.marked += other.marked
        for reason, seen in other.last.items():
            if reason not in self.last or self.last[reason].at <= seen.at:
                self.last[reason] = seen


class Part:
    """The packets that one of several sessions has received, of all that `traffic` counts."""

    __slots__ = ("_traffic", "received_packets")

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self.received_packets = 0

    def drop(self, reason: Reason) -> None:
        """Count a drop: of all together."""
        self._traffic.drop(reason)
