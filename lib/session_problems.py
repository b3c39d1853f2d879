"""Problems of a session, as codes: what is wrong just now with its packets, its queue, its datagrams.

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

    @property
    def queued(self) -> int:
        """Bytes in its queues."""

    def waits(self, now: float) -> float:
        """Seconds that the oldest of them have waited."""


def problems_of(traffic: Traffic, sender: Sender | None, channel: Any, now: float) -> list[str]:
    """The codes; `channel` is its datagram channel or None, `now` is in seconds of the monotonic clock."""
    found = []
    if traffic.last and any(
        now - seen.at < DROP_SECONDS and reason not in INTENDED for reason, seen in traffic.last.items()
    ):
        found.append("dropping")
    if sender is not None and sender.queued and sender.waits(now) >= QUEUE_SECONDS:
        found.append("queue")
    if channel is not None and channel.figures(now).loss > LOSSY:
        found.append("loss")
    return found
