"""Pulse of several peers that packets go by, hubs or links: which one is silent while another one answers.

Knows: when a PING is due, and after how long without an answer a peer is passed over.
Refuses to know: sessions and clocks (`now` comes in), what becomes of flows (client_paths, cluster_hosts).

A session's keepalive waits for many seconds before it ends a session, since there is nothing better. Beside
another session there is: while packets go by a peer it is asked four times a second, and one that does not
answer for half a second, though another one does, is passed over until it is heard again. Where nobody
answers, it is the way to all of them that is bad, and nothing is passed over.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

TICK = 0.1
"""Seconds between two looks while packets go."""
PAUSE = 0.25
"""Least seconds between two PINGs."""
SILENT_SECONDS = 0.5
"""So long after a PING without anything heard a peer is silent, where nobody says otherwise."""

K = TypeVar("K", bound=Hashable)


@dataclass(slots=True)
class Pulse:
    """What is known of one peer."""

    count: int = 0
    """Packets that had been received at the last look."""
    heard_at: float = float("-inf")
    """When a look last found that some more had been."""
    asked_at: float = 0.0
    """When the first PING since then was sent; 0 where none was."""
    patience: float = SILENT_SECONDS
    """How long it may say nothing."""
    _next_at: float = float("-inf")

    def look(self, count: int, is_used: bool, now: float) -> bool:
        """Look at a peer: `count` packets have been received so far. Returns whether to send PING.

        `is_used`: packets have gone by it since the last look, or another one has to be compared with it.
        """
        if count != self.count:
            self.count, self.heard_at, self.asked_at = count, now, 0.0
        if now < self._next_at or not (is_used or self.asked_at):
            return False
        self._next_at = now + PAUSE
        self.asked_at = self.asked_at or now
        return True


def silent(pulses: Mapping[K, Pulse], now: float, witness: float = float("-inf")) -> set[K]:
    """Those that are silent while another one has been heard after they were asked.

    `witness` is when somebody beside them all was heard last.
    """
    first = max(pulses, key=lambda key: pulses[key].heard_at, default=None)
    others = (one.heard_at for key, one in pulses.items() if key != first)
    second = max(others, default=float("-inf"))
    return {
        key
        for key, one in pulses.items()
        if one.asked_at
        and now - one.asked_at >= one.patience
        and max(witness, second if first is None or key == first else pulses[first].heard_at) > one.asked_at
    }
