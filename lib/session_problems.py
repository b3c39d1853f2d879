"""Problems of a session, as codes: what is wrong just now with its way, packets, queue and datagrams.

Knows: from when on a queue, a loss and a drop are a problem.
Refuses to know: who shows it (ctl_session, api_hosts).
"""

from __future__ import annotations

from typing import Any, Protocol

from lib.counters import Traffic
from lib.forward_drop_reasons import Reason

DROP_SECONDS = 30.0
"""How long after the last drop a host is "dropping"."""
QUEUE_SECONDS = 0.2
"""What has waited for so long in a queue stands there."""
LOSSY = 0.02
"""Share of datagrams that are lost."""
INTENDED = frozenset({Reason.DENIED, Reason.MULTICAST, Reason.LINK_LOCAL})
"""Drops that somebody wanted, or that hosts cause by themselves: they are no problem."""


class Sender(Protocol):
    """What is used of a session's sender."""

    silent_at: float
    """Since when nothing reaches the far end, in seconds of the monotonic clock; 0: it does."""

    @property
    def queued(self) -> int:
        """Bytes in its queues."""

    def waits(self, now: float) -> float:
        """Seconds that the oldest of them have waited."""


def silent_s(sender: Sender, now: float) -> float | None:
    """For how many seconds it has been silent, so that packets go by another session; None: it is not."""
    return round(now - sender.silent_at, 1) if sender.silent_at else None


def problems_of(traffic: Traffic, sender: Sender | None, channel: Any, now: float) -> list[str]:
    """The codes; `channel` is its datagram channel or None, `now` is in seconds of the monotonic clock."""
    found = ["silent"] if sender is not None and sender.silent_at else []
    if traffic.last and any(
        now - seen.at < DROP_SECONDS and reason not in INTENDED for reason, seen in traffic.last.items()
    ):
        found.append("dropping")
    if sender is not None and sender.queued and sender.waits(now) >= QUEUE_SECONDS:
        found.append("queue")
    if channel is not None and channel.figures(now).loss > LOSSY:
        found.append("loss")
    return found
