"""Repeats: the same kind of thing is said a few times, then counted, and its number said.

Knows: how often of what in which window. Refuses to know: what a line is, clocks (now comes in, seconds of a
steady one), and who writes (log_setup).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

Line = TypeVar("Line")

MAX_KINDS = 128
"""Told apart; whoever thinks up new ones is a flood too."""
OTHERS = "others"


class Habit(NamedTuple):
    """How a kind of thing is folded: said in full so often within so many seconds."""

    in_full: int
    seconds: float


FLOOD = Habit(5, 10.0)
"""What peers can cause."""
OUTAGE = Habit(1, 300.0)
"""What is tried again and again until it works."""


@dataclass(slots=True)
class _Window(Generic[Line]):
    began: float
    habit: Habit
    last: Line
    count: int = 0


class Told(NamedTuple, Generic[Line]):
    """The last of its kind, and how many more of them there were in how many seconds."""

    line: Line
    more: int
    seconds: float


class Fold(Generic[Line]):
    """Windows by kind."""

    def __init__(self) -> None:
        self._windows: dict[str, _Window[Line]] = {}

    def count(self, kind: str, line: Line, now: float, habit: Habit = FLOOD) -> bool:
        """Whether to say it now; if not it is counted for later. Call sweep() before."""
        if kind not in self._windows and len(self._windows) >= MAX_KINDS:
            kind, habit = OTHERS, FLOOD
        window = self._windows.get(kind)
        if window is None:
            window = self._windows[kind] = _Window(now, habit, line)
        window.count += 1
        window.last = line
        return window.count <= window.habit.in_full

    def sweep(self, now: float) -> list[Told[Line]]:
        """What has been counted for long enough."""
        due = [kind for kind, window in self._windows.items() if now - window.began >= window.habit.seconds]
        return self._end(due, now)

    def settle(self, kind: str, now: float) -> list[Told[Line]]:
        """It is over: what was counted, and the next time is a first one."""
        return self._end([kind] if kind in self._windows else [], now)

    def finish(self, now: float) -> list[Told[Line]]:
        """Everything that has been counted."""
        return self._end(list(self._windows), now)

    def _end(self, kinds: list[str], now: float) -> list[Told[Line]]:
        windows = [self._windows.pop(kind) for kind in kinds]
        return [
            Told(window.last, window.count - window.habit.in_full, now - window.began)
            for window in windows
            if window.count > window.habit.in_full
        ]
