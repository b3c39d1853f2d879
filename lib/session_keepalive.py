"""Whether the far end still lives, and how far away it is: keepalive between tunrouters.

Knows: when to ask for a sign of life, when silence has lasted too long, the smoothed round-trip time.
Refuses to know: clocks (now comes in, seconds of a steady one), how a question travels (wire_control,
session_sender).

Anything that is received is a sign of life, counted by whoever counts packets anyway; so the packet path
does nothing for this. Questions go out all the same, for each reply measures the path.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum, auto

ASKS_WITHIN = 3
"""Questions within the time of silence that ends a session."""
SMOOTHING = 8
"""A new round-trip time counts for one part in so many (RFC 6298)."""

_TOKEN = struct.Struct("!Q")


class Health(Enum):
    """What a look at a session says."""

    QUIET = auto()
    """Nothing to do."""
    ASK = auto()
    """Ask for a sign of life now."""
    DEAD = auto()
    """It has been silent for too long, asked and all."""


@dataclass(slots=True)
class Liveness:
    """One session's far end."""

    timeout: float
    """Seconds of silence after which it is dead."""
    heard_at: float
    rtt: float = 0.0
    """Smoothed, seconds; 0 while nothing has been measured."""
    _count: int = -1
    _asked_at: float = float("-inf")
    _unanswered: float = 0.0
    """When it was asked first since it was last heard; 0 where it was not."""

    @property
    def tick(self) -> float:
        """Seconds between looks."""
        return min(1.0, self.timeout / 15)

    def look(self, count: int, now: float) -> Health:
        """Look at a session that has received so many packets by now."""
        if count != self._count:
            self._count, self.heard_at, self._unanswered = count, now, 0.0
        # a pause of our own is no silence of theirs: it must have been asked for most of the time
        asked_long = self._unanswered and now - self._unanswered >= self.timeout * 0.6 - self.tick
        if asked_long and now - self.heard_at >= self.timeout - self.tick:
            return Health.DEAD
        if now - self._asked_at >= self.timeout / ASKS_WITHIN:
            self._asked_at = now
            self._unanswered = self._unanswered or now
            return Health.ASK
        return Health.QUIET

    def token(self, now: float) -> bytes:
        """What to send with a question."""
        return _TOKEN.pack(int(now * 1e9))

    def pong(self, token: bytes, now: float) -> None:
        """A reply has come; one to no question of the last while is not believed."""
        took = now - _TOKEN.unpack(token)[0] / 1e9
        if 0 <= took <= 2 * self.timeout:
            self.rtt += (took - self.rtt) / (SMOOTHING if self.rtt else 1)
