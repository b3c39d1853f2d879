"""CoDel of one flow of a queue: when its packets are dropped or marked, so that it keeps no queue (RFC 8289).

Knows: how long packets may wait at a rate, how long they have, and when the next one is to be dropped.
Refuses to know: the packets, and whether one is dropped or marked CE (session_queue, packet_ecn).

A queue that is there for a moment (a burst) does no harm. One that stays does: it makes everything late and
carries nothing more. CoDel looks at how long packets have waited when they leave. Once they have waited for
`target` or longer during a whole `interval`, it drops one, and then further ones: interval / sqrt(drops) lies
between two of them, so the rate of drops grows until the sender has slowed down enough.

    below --- a packet has waited for target ---> above --- for a whole interval ---> dropping
      ^                                             |                                    |
      +--------------- a packet has waited for less, or next to nothing waits -----------+
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

TARGET_SECONDS = 0.005
INTERVAL_SECONDS = 0.1
"""RFC 8289, 4.2 and 4.3: good for paths of 10 to 300 ms."""
PACKET = 1600
"""Bytes of a large packet on the wire, roughly: with our headers, and those of TLS and TCP."""
INTERVALS = 10.0
"""How many times a longer target is the interval (RFC 8289, 4.3: the target is a tenth of it or less)."""
_AGAIN = 16
"""Intervals within which a flow that keeps a queue anew goes on where its drops have ended."""


class Pace(NamedTuple):
    """What CoDel measures by at one rate, in seconds."""

    target: float
    """How long packets may wait."""
    interval: float
    """How long they may wait for longer before one is dropped: the time in which a sender can react."""


USUAL = Pace(TARGET_SECONDS, INTERVAL_SECONDS)


def pace(rate: float, patience: float = 0.0) -> Pace:
    """The pace at a rate in bytes/s; 0 for one that is fast or not known.

    `patience` is how many seconds packets may wait because of the way (session_pacing); 0 where it is short.

    On a slow link a packet waits while the one before it is sent, and that is no queue. So the target is at
    least the time of one and a half large packets (RFC 8289, 4.4; RFC 8290, 5.2.1), and the interval grows as
    the target does, as in Linux (sch_cake.c, cake_set_rate).
    """
    if not rate:
        return USUAL
    target = max(TARGET_SECONDS, 1.5 * PACKET / rate)
    interval = max(INTERVAL_SECONDS + target - TARGET_SECONDS, 2 * target)
    return Pace(max(target, patience), max(interval, INTERVALS * patience))


@dataclass(slots=True, eq=False)
class Codel:
    """The state of one flow. The names of RFC 8289 are in brackets."""

    above: float = 0.0
    """When packets will have waited too long for a whole interval (first_above_time); 0 while they do not."""
    dropping: bool = False
    following: float = 0.0
    """When the next packet is to be dropped (drop_next)."""
    count: int = 0
    """Drops since the flow came into this state, or was in it shortly before (count)."""
    before: int = 0
    """`count` when it came into this state the last time (lastcount)."""
    had_waited: float = 0.0
    """How long the packet had waited with which the present interval of is_crowd() began."""

    def calm(self) -> None:
        """Note that a packet leaves that has not waited too long."""
        self.above, self.dropping = 0.0, False

    def is_crowd(self, waited: float, now: float, at: Pace) -> bool:
        """Whether packets that have waited so long are dropped where each is of another connection.

        Nobody slows down because one of them is lost, so due(), which drops more and more, would never be
        done with them. They may wait for an interval. Once all that have left for an interval had waited for
        longer, those that have are dropped; but not where the wait becomes shorter, as after a pause.
        """
        if waited < at.interval:
            self.calm()
        elif not self.above or (now >= self.above and not self.dropping and waited < self.had_waited):
            self.above, self.had_waited = now + at.interval, waited
        elif now >= self.above:
            self.dropping = True
        return self.dropping

    def due(self, waited: float, backlog: int, now: float, at: Pace, most: int) -> int:
        """How many of the next `most` packets of the flow, which all have waited so long, are to be dropped.

        `backlog` is how many bytes wait behind them in the whole queue; `now` is in seconds (steady clock).
        """
        if waited < at.target or backlog <= PACKET:
            self.calm()
            return 0
        if not self.above:
            self.above = now + at.interval
            return 0
        if now < self.above:
            return 0
        if not self.dropping:
            self.dropping = True
            # A flow that was dropping a short time ago goes on about as fast: its sender is known to need it.
            more = self.count - self.before
            self.count = more if more > 1 and now - self.following < _AGAIN * at.interval else 1
            self.before = self.count
            self.following = now + at.interval / sqrt(self.count)
            return 1
        drops = 0
        while drops < most and now >= self.following:
            drops += 1
            self.count += 1
            self.following += at.interval / sqrt(self.count)
        return drops
