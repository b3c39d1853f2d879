"""Keepalive of a session between tunrouters: when to send PING, when the peer is dead, the round-trip time.

Knows: when a PING is due, when silence has lasted too long, the smoothed round-trip time.
Refuses to know: clocks (`now` comes in, in seconds of a steady clock), how a PING is sent (wire_control,
session_sender).

A client sends its PING along with its PONG, when the hub has sent PING, so that a hub with many idle
sessions is woken once for both, and soon after its own tick. It has PINGs of its own where none came.

Whatever is received shows that the peer lives. The number of received packets, which is counted anyway, tells
whether anything was; so the packet path does nothing for keepalive. PING is sent on a busy session too, since
each PONG measures the round-trip time.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum, auto

ASKS_WITHIN = 3
"""PINGs within the time of silence that ends a session."""
SMOOTHING = 8
"""A new round-trip time counts for one part in so many (RFC 6298)."""

_TOKEN = struct.Struct("!Q")


def token(now: float, number: int = 0) -> bytes:
    """The token for a PING, 8 bytes: the time it is sent; with `number` another one at the same time."""
    return _TOKEN.pack(int(now * 1e9) + number)


class Health(Enum):
    """What a look at a session found."""

    QUIET = auto()
    """Nothing to do."""
    ASK = auto()
    """A PING is due now."""
    DEAD = auto()
    """The peer has been silent for too long although it was sent PINGs."""


@dataclass(slots=True)
class Liveness:
    """The state of keepalive for the peer of one session."""

    timeout: float
    """Seconds of silence after which the peer is dead."""
    heard_at: float
    """When a look last found that something had been received."""
    follows: bool = False
    """Whether PING is sent when the peer has sent one, as far as that is often enough: of a client."""
    rtt: float = 0.0
    """Smoothed, seconds; 0 while nothing has been measured."""
    _count: int = -1
    _asked_at: float = float("-inf")
    _unanswered: float = 0.0
    """When the first PING since `heard_at` was sent; 0 where none was."""
    _followed_at: float = float("-inf")
    """When the peer last sent PING, where that is followed."""

    @property
    def tick(self) -> float:
        """Seconds between two looks."""
        return min(1.0, self.timeout / 15)

    def look(self, count: int, now: float) -> Health:
        """Look at the session; `count` is the number of packets received from the peer so far."""
        if count != self._count:
            self._count, self.heard_at, self._unanswered = count, now, 0.0
        # If this process itself stood still for a while, the peer was not silent: it only counts as dead if
        # a PING was unanswered for most of the timeout.
        asked_long = self._unanswered and now - self._unanswered >= self.timeout * 0.6 - self.tick
        if asked_long and now - self.heard_at >= self.timeout - self.tick:
            return Health.DEAD
        pause = self.timeout / ASKS_WITHIN
        if now - self._followed_at <= pause + self.tick:  # the next one of the peer is due first
            pause += self.tick
        if now - self._asked_at >= pause:
            self._ask(now)
            return Health.ASK
        return Health.QUIET

    def asked(self, now: float) -> bool:
        """The peer has sent PING; returns whether one of ours goes along with the PONG."""
        if not self.follows:
            return False
        self._followed_at = now
        if now - self._asked_at < self.timeout / ASKS_WITHIN / 2:
            return False
        self._ask(now)
        return True

    def _ask(self, now: float) -> None:
        self._asked_at = now
        self._unanswered = self._unanswered or now

    def pong(self, token: bytes, now: float) -> None:
        """Measure the round-trip time by a PONG's token. One that is not a recent PING's is ignored."""
        took = now - _TOKEN.unpack(token)[0] / 1e9
        if 0 <= took <= 2 * self.timeout:
            self.rtt += (took - self.rtt) / (SMOOTHING if self.rtt else 1)
