"""Repeated log lines: the first few of a kind are logged in full, the others counted and summed up in one.

Knows: how many lines of each kind there were in the kind's time window.
Refuses to know: what a line is, clocks (`now` comes in, in seconds of a steady clock), who writes lines
(log_setup).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

Line = TypeVar("Line")

MAX_KINDS = 128
"""Kinds that have a window of their own. A peer could make up new kinds without end, so the rest is one."""
OTHERS = "others"
"""The kind of all lines for which there is no window of their own."""


class Habit(NamedTuple):
    """How lines of a kind are folded: the first `in_full` within `seconds` are logged, the others counted."""

    in_full: int
    seconds: float


FLOOD = Habit(5, 10.0)
"""For lines that a peer can cause as often as it likes."""
OUTAGE = Habit(1, 300.0)
"""For failures of something that is tried again until it works."""


@dataclass(slots=True)
class _Window(Generic[Line]):
    began: float
    habit: Habit
    last: Line
    count: int = 0


class Told(NamedTuple, Generic[Line]):
    """The last line of a kind, how many lines of that kind were not logged, and in how many seconds."""

    line: Line
    more: int
    seconds: float


class Fold(Generic[Line]):
    """Time windows by kind of line; a window begins with the first line of its kind."""

    def __init__(self) -> None:
        self._windows: dict[str, _Window[Line]] = {}

    def count(self, kind: str, line: Line, now: float, habit: Habit = FLOOD) -> bool:
        """Count a line; returns whether to log it now. Call sweep() before, which ends windows."""
        if kind not in self._windows and len(self._windows) >= MAX_KINDS:
            kind, habit = OTHERS, FLOOD
        window = self._windows.get(kind)
        if window is None:
            window = self._windows[kind] = _Window(now, habit, line)
        window.count += 1
        window.last = line
        return window.count <= window.habit.in_full

    def sweep(self, now: float) -> list[Told[Line]]:
        """End the windows whose time is over; returns one sum for each in which lines were left out."""
        due = [kind for kind, window in self._windows.items() if now - window.began >= window.habit.seconds]
        return self._end(due, now)

    def settle(self, kind: str, now: float) -> list[Told[Line]]:
        """End the window of a kind at once, as what it was about works again; returns its sum, if any."""
        return self._end([kind] if kind in self._windows else [], now)

    def finish(self, now: float) -> list[Told[Line]]:
        """End all windows; returns their sums."""
        return self._end(list(self._windows), now)

    def _end(self, kinds: list[str], now: float) -> list[Told[Line]]:
        windows = [self._windows.pop(kind) for kind in kinds]
        return [
            Told(window.last, window.count - window.habit.in_full, now - window.began)
            for window in windows
            if window.count > window.habit.in_full
        ]
