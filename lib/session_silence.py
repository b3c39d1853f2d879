"""Silence of a connection: what is sent by it is not acknowledged, long before it counts as dead.

Knows: after how long that is so, by the round-trip time, and for how long it is not trusted afterwards.
Refuses to know: sockets and clocks (`now` comes in, in seconds of a steady clock), what becomes of flows
(cluster_silence, client_paths).

The kernel of the far end acknowledges what comes within a round trip or so, whatever its processes do. So a
peer that stands still, a wire that is full and one that loses packets are not silent: acknowledgements come.
A wire may be cut in one direction only. Then either end hears the other one, or does not, but at both nothing
is acknowledged any more: of one the data is lost, and of the other one the acknowledgements.
A connection that was silent is used again once it has not been for a while, and for longer each time: flows
shall not go to and fro.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

QUIET_SECONDS, QUIET_TRIPS = 0.4, 4.0
"""Nothing is acknowledged for so long, and for so many round trips: a segment that is lost is sent again in
less, once with few on the way and twice with many."""
HEARD_TIMES = 1.5
"""So many times as long where segments of the far end still come: one of ours may only be lost twice."""
HOLD_SECONDS, MOST_HOLD_SECONDS = 2.0, 64.0
"""It is used again after so long without silence, twice as long where it is silent soon again; at most."""
SOON_SECONDS = 60.0


class Flight(NamedTuple):
    """What the kernel says of what was sent by a connection and is not acknowledged yet."""

    is_out: bool
    """Whether there is any."""
    acked: int
    """Grows with all that the far kernel acknowledges: bytes, and segments behind one that is missing."""
    quiet: float
    """Seconds since any segment came, which need not acknowledge anything new."""
    rtt: float
    """Smoothed round-trip time, seconds."""
    gaps: int = 0
    """Segments that were sent again, and not for nothing, and those that came before earlier ones."""


NO_FLIGHT = Flight(False, 0, 0.0, 0.0)
"""Where nothing is known, or nothing out."""


@dataclass(slots=True)
class Silence:
    """What is known of one connection."""

    is_silent: bool = False
    """Whether packets should go by another way."""
    since: float = 0.0
    """When a look first found what is out now; 0 while nothing is."""
    _acked: int = -1
    _until: float = float("-inf")
    _hold: float = HOLD_SECONDS

    def look(self, flight: Flight, now: float) -> bool:
        """Look at the connection; returns is_silent."""
        if not flight.is_out:
            self.since = 0.0
        elif not self.since or flight.acked != self._acked:
            self.since = now
        self._acked = flight.acked
        waited = now - self.since if self.since else 0.0
        enough = max(QUIET_SECONDS, QUIET_TRIPS * flight.rtt)
        if waited >= (enough if flight.quiet >= enough else HEARD_TIMES * enough):
            if not self.is_silent:
                is_soon = now - self._until < SOON_SECONDS
                self._hold = min(2 * self._hold, MOST_HOLD_SECONDS) if is_soon else HOLD_SECONDS
                self.is_silent = True
            self._until = now + self._hold
        elif self.is_silent and now >= self._until:
            self.is_silent = False
        return self.is_silent
