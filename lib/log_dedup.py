"""Repeats: the same kind of thing is said a few times, then counted, and its number said.

Knows: how often of what in which window. Refuses to know: what a line is, clocks (now comes in, seconds of a
steady one), and who writes (log_setup).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

Line = TypeVar("Line")

MAX_KINDS = 128
"""Kinds of one event that are told apart. They are words of ours: services, reasons, tables."""
MAX_ADDRESSES = 64
"""Addresses of one kind that are told apart; the others are counted together."""
OTHERS = "others"


class Habit(NamedTuple):
    """How a kind of thing is folded: said in full so often within so many seconds, of each address."""

    in_full: int
    seconds: float
    rest: int
    """The same of all addresses together that are not told apart."""


FLOOD = Habit(5, 10.0, 5)
"""What goes wrong because of peers."""
BUSY = Habit(50, 10.0, 200)
"""What peers cause and is no fault: it is said until it comes faster than people read."""
OUTAGE = Habit(1, 300.0, 1)
"""What is tried again and again until it works."""


class Key(NamedTuple):
    """What is folded together. Nothing in it may be of a stranger's choice but an address."""

    event: str
    kind: str = ""
    """Which of ours: a service, a reason, a table."""
    by: str = ""
    """From where, as limits.stranger has it; empty where nobody outside causes it."""


@dataclass(slots=True)
class _Window(Generic[Line]):
    began: float
    in_full: int
    seconds: float
    last: Line
    count: int = 0


class Told(NamedTuple, Generic[Line]):
    """The last of its kind, and how many more of them there were in how many seconds."""

    line: Line
    more: int
    seconds: float


class Fold(Generic[Line]):
    """Windows by key.

    Each event has room of its own, and each of its kinds: whoever fills one of them fills no other.
    """

    def __init__(self) -> None:
        self._windows: dict[Key, _Window[Line]] = {}
        self._kinds: dict[str, dict[str, int]] = {}
        """event -> kind -> how many addresses have a window"""
        self._due = float("inf")
        """When the first window has lasted long enough."""

    def count(self, key: Key, line: Line, now: float, habit: Habit = FLOOD) -> bool:
        """Whether to say it now; if not it is counted for later. Call sweep() before."""
        key, in_full = self._place(key, habit)
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = _Window(now, in_full, habit.seconds, line)
            kinds = self._kinds.setdefault(key.event, {})
            kinds[key.kind] = kinds.get(key.kind, 0) + 1
            self._due = min(self._due, now + habit.seconds)
        window.count += 1
        window.last = line
        return window.count <= window.in_full

    def _place(self, key: Key, habit: Habit) -> tuple[Key, int]:
        """Where a key is counted: under its own name while there is room."""
        if key in self._windows:
            return key, habit.in_full
        kinds = self._kinds.get(key.event, {})
        if key.kind not in kinds and len(kinds) >= MAX_KINDS:
            return Key(key.event, OTHERS, OTHERS), habit.rest
        if kinds.get(key.kind, 0) >= MAX_ADDRESSES:
            return Key(key.event, key.kind, OTHERS), habit.rest
        return key, habit.in_full

    def sweep(self, now: float) -> list[Told[Line]]:
        """What has been counted for long enough."""
        if now < self._due:
            return []
        due = [key for key, window in self._windows.items() if now - window.began >= window.seconds]
        told = self._end(due, now)
        ends = (window.began + window.seconds for window in self._windows.values())
        self._due = min(ends, default=float("inf"))
        return told

    def settle(self, key: Key, now: float) -> list[Told[Line]]:
        """It is over: what was counted, and the next time is a first one."""
        return self._end([key] if key in self._windows else [], now)

    def finish(self, now: float) -> list[Told[Line]]:
        """Everything that has been counted."""
        return self._end(list(self._windows), now)

    def _end(self, keys: list[Key], now: float) -> list[Told[Line]]:
        windows = [self._windows.pop(key) for key in keys]
        for key in keys:
            kinds = self._kinds[key.event]
            kinds[key.kind] -= 1
            if not kinds[key.kind]:
                del kinds[key.kind]
        return [
            Told(window.last, window.count - window.in_full, now - window.began)
            for window in windows
            if window.count > window.in_full
        ]
