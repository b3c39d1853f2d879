"""A rate limit for lines of text: so many a second, and after each second the number of those left out.

Knows: how many lines may be written. Refuses to know: what they say, clocks (`now` comes in).
"""

from __future__ import annotations

from collections.abc import Callable

from lib.humanize import counted

LINES_PER_SECOND = 20


class Pace:
    """Writes at most `most` lines a second, and after a second in which there were more, their number."""

    __slots__ = ("_began", "_left_out", "_most", "_said", "_say", "_what")

    def __init__(self, say: Callable[[str], None], what: str, most: int = LINES_PER_SECOND) -> None:
        """`say` writes a line. `what` is a line's subject: `… 3,812 more packets fit`."""
        self._say, self._what, self._most = say, what, most
        self._began = float("-inf")
        self._said = self._left_out = 0

    def say(self, line: Callable[[], str], now: float) -> None:
        """Write a line or count it; `line` is only called to write it. `now`: seconds of a steady clock."""
        self.sweep(now)
        if self._said < self._most:
            self._said += 1
            self._say(line())
        else:
            self._left_out += 1

    def sweep(self, now: float) -> None:
        """If this second is over, begin the next one and write how many lines were left out."""
        if now - self._began < 1.0:
            return
        if self._left_out:
            more = counted(self._left_out, f"more {self._what}")
            self._say(f"… {more} {'fits' if self._left_out == 1 else 'fit'}, in the last second")
        self._began, self._said, self._left_out = now, 0, 0
