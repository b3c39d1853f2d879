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
"""Kinds of one event that are told apart. They are words of ours: services, reasons, tables."""
MAX_ADDRESSES = 64
"""Addresses of one kind that are told apart; the others are counted together."""
OTHERS = "others"
"""The kind of all lines for which there is no window of their own."""


class Habit(NamedTuple):
    """How lines of a kind are folded: the first `in_full` within `seconds` are logged, the others counted."""

    in_full: int
    seconds: float
    rest: int
    """The same of all addresses together that are not told apart."""


FLOOD = Habit(5, 10.0, 5)
"""For lines about what goes wrong because of peers."""
BUSY = Habit(50, 10.0, 200)
"""For lines that peers cause and that are no fault: they are logged until they come too fast to read."""
OUTAGE = Habit(1, 300.0, 1)
"""For failures of something that is tried again until it works."""


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
    """The last line of a kind, how many lines of that kind were not logged, and in how many seconds."""

    line: Line
    more: int
    seconds: float


class Fold(Generic[Line]):
    """Time windows by key; a window begins with the first line of its key.

    Each event has room of its own, and so has each of its kinds: whoever fills one of them fills no other.
    """

    def __init__(self) -> None:
        self._windows: dict[Key, _Window[Line]] = {}
        self._kinds: dict[str, dict[str, int]] = {}
        """event -> kind -> how many addresses have a window"""
        self._due = float("inf")
        """When the first window has lasted long enough."""

    def count(self, key: Key, line: Line, now: float, habit: Habit = FLOOD) -> bool:
        """Count a line; returns whether to log it now. Call sweep() before, which ends windows."""
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
        """End the windows whose time is over; returns one sum for each in which lines were left out."""
        if now < self._due:
            return []
        due = [key for key, window in self._windows.items() if now - window.began >= window.seconds]
        told = self._end(due, now)
        ends = (window.began + window.seconds for window in self._windows.values())
        self._due = min(ends, default=float("inf"))
        return told

    def settle(self, key: Key, now: float) -> list[Told[Line]]:
        """End the window of a key at once, as what it was about works again; returns its sum, if any."""
        return self._end([key] if key in self._windows else [], now)

    def finish(self, now: float) -> list[Told[Line]]:
        """End all windows; returns their sums."""
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
