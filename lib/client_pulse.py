"""Pulse of each hub that a client has sessions with: which one is silent while another one answers.

Knows: when a PING is due, and after how long without an answer a hub is passed over.
Refuses to know: sessions and clocks (`now` comes in), what becomes of flows (client_paths).

A session's keepalive waits for many seconds before it ends a session, since there is nothing better. Beside
another session there is: while packets go by a hub it is asked four times a second, and one that does not
answer for half a second, though another one does, is passed over until it is heard again. Where nobody
answers, it is the way to all of them that is bad, and nothing is passed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

TICK = 0.1
"""Seconds between two looks while packets go."""
PAUSE = 0.25
"""Least seconds between two PINGs."""
SILENT_SECONDS = 0.5
"""So long after a PING without anything heard a hub is silent."""


@dataclass(slots=True)
class Pulse:
    """What is known of one session's hub."""

    count: int = 0
    """Packets that had been received at the last look."""
    heard_at: float = float("-inf")
    """When a look last found that some more had been."""
    asked_at: float = 0.0
    """When the first PING since then was sent; 0 where none was."""
    _next_at: float = float("-inf")

    def look(self, count: int, is_used: bool, now: float) -> bool:
        """Look at a session: `count` packets have been received so far. Returns whether to send PING.

        `is_used`: packets have gone by it since the last look, or another one has to be compared with it.
        """
        if count != self.count:
            self.count, self.heard_at, self.asked_at = count, now, 0.0
        if now < self._next_at or not (is_used or self.asked_at):
            return False
        self._next_at = now + PAUSE
        self.asked_at = self.asked_at or now
        return True


def silent(pulses: Mapping[int, Pulse], now: float) -> set[int]:
    """The numbers of those that are silent while another one has been heard after they were asked."""
    return {
        number
        for number, one in pulses.items()
        if one.asked_at
        and now - one.asked_at >= SILENT_SECONDS
        and any(other.heard_at > one.asked_at for key, other in pulses.items() if key != number)
    }
