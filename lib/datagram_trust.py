"""Tries of a datagram channel: when one that has failed is tried again, later each time.

Knows: the delays between tries, and when they begin anew.
Refuses to know: what a try is and why it fails (datagram_peer, datagram_quality), clocks (`now` comes in, in
seconds of a steady clock).

A try counts as failed until something has shown that it works. So nothing has to happen for it to fail.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

FIRST_DELAY, LONGEST_DELAY = 5.0, 600.0
"""Seconds between two tries that fail; each is twice the one before."""
JITTER = 0.25
"""The share by which a delay is longer or shorter, so that many clients do not try at once."""
STEADY_SECONDS = 60.0
"""What has worked for so long begins with the first delay again."""


@dataclass(slots=True, eq=False)
class Trust:
    """The tries of one end."""

    random: Callable[[], float]
    """Draws a number from 0 to 1."""
    why: str = ""
    """Why the last one failed, in words; empty while it works, and where it was only not answered."""
    works: bool = False
    """Whether the last one has shown that it works, and it has not failed since."""
    _delay: float = FIRST_DELAY
    _next: float = -math.inf
    _since: float = 0.0
    """When it began to work."""
    _is_tried: bool = False

    def may_try(self, now: float) -> bool:
        """Whether it is time for a try, or the last one works."""
        return self.works or now >= self._next

    def tries(self, now: float) -> None:
        """A try begins. One of what has not failed, only rested, is no reason for a longer delay."""
        self._put_off(now, FIRST_DELAY if self.works else self._delay)
        if not self.works:
            self._delay = min(LONGEST_DELAY, 2 * self._delay)
        self.works, self._is_tried = False, True

    def worked(self, now: float) -> None:
        """It has shown that it works; where nobody has tried, that means nothing."""
        if not self.works and self._is_tried:
            self.works, self.why, self._since = True, "", now
            self._delay = max(FIRST_DELAY, self._delay / 2)  # this try has not failed

    def failed(self, why: str, now: float) -> None:
        """It does not work any more; the next try is after a delay."""
        if not self.works:
            return
        if now - self._since >= STEADY_SECONDS:
            self._delay = FIRST_DELAY
        self._put_off(now, self._delay)
        self._delay = min(LONGEST_DELAY, 2 * self._delay)
        self.works, self._is_tried, self.why = False, False, why

    def again(self) -> None:
        """Something is new (another address, other keys): it may be tried at once."""
        self._next = -math.inf

    def _put_off(self, now: float, delay: float) -> None:
        self._next = now + delay * (1 + JITTER * (2 * self.random() - 1))
