"""Some lines a second, and a count of those that were left out: what keeps a flood from drowning its reader.

Knows: how many may be said. Refuses to know: what is said, clocks (the time comes in).
"""

from __future__ import annotations

from collections.abc import Callable

LINES_PER_SECOND = 20


class Pace:
    """Lets through so many a second, and says after each second how many it has not."""

    __slots__ = ("_began", "_left_out", "_most", "_said", "_say", "_what")

    def __init__(self, say: Callable[[str], None], what: str, most: int = LINES_PER_SECOND) -> None:
        """what names those that are counted: `3,812 more {what} in the last second`."""
        self._say, self._what, self._most = say, what, most
        self._began = float("-inf")
        self._said = self._left_out = 0

    def say(self, line: Callable[[], str], now: float) -> None:
        """Say a line, which is only put together if it is said; now in seconds of a steady clock."""
        self.sweep(now)
        if self._said < self._most:
            self._said += 1
            self._say(line())
        else:
            self._left_out += 1

    def sweep(self, now: float) -> None:
        """Begin another second, if this one is over."""
        if now - self._began < 1.0:
            return
        if self._left_out:
            self._say(f"… {self._left_out:,} more {self._what} in the last second")
        self._began, self._said, self._left_out = now, 0, 0
