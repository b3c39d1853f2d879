"""Repeated log lines: the first few of a kind are logged in full, the others counted and summed up in one.

What goes on and on is summed up at growing intervals, and once more when it seems to be over.

Knows: how many lines of each kind there were in the kind's time window.
Refuses to know: what a line is, clocks (`now` comes in, in seconds of a steady clock), who writes lines
(log_setup).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

from lib.bounded_dict import BoundedDict

Line = TypeVar("Line")

MAX_KINDS = 128
"""Kinds of one event that are told apart. They are words of ours: services, reasons, tables."""
MAX_ADDRESSES = 64
"""Addresses of one kind that are told apart; the others are counted together."""
SETTLE_SECONDS = 10.0
"""How often the counting of what one address fails at may end because it succeeds."""
MAX_SETTLED = 4096
OTHERS = "others"
"""The kind of all lines for which there is no window of their own."""


class Habit(NamedTuple):
    """How lines of a kind are folded: the first `in_full` within `seconds` are logged, the others counted."""

    in_full: int
    seconds: float
    rest: int
    """The same of all addresses together that are not told apart."""
    longest: float = 0.0
    """A window in which there were lines is followed by one of twice the length, of so many seconds at most.
    0: each window is the first one."""
    once: bool = False
    """A line that says the same as an earlier one is only counted."""


FLOOD = Habit(5, 10.0, 5)
"""For lines about what goes wrong because of peers."""
BUSY = Habit(50, 10.0, 200)
"""For lines that peers cause and that are no fault: they are logged until they come too fast to read."""
OUTAGE = Habit(1, 30.0, 1, 3600.0, once=True)
"""For failures of something that is tried again until it works."""
RETRIED = Habit(5, 10.0, 5, 600.0, once=True)
"""For what a peer fails at, who will try it again: each of its failures once, then a count now and then."""
FLAPPING = Habit(5, 60.0, 5, 3600.0)
"""For what is no failure by itself, and one where it is over soon and comes again and again."""
KNOWN = 16
"""Lines of a window that are remembered as logged."""


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
    longest: float
    last: Line
    count: int = 0
    """Lines in this window, and those of them that were logged."""
    logged: int = 0
    first: float = 0.0
    """When the first line came, also of the windows before this one; and the last one."""
    latest: float = 0.0
    times: int = 0
    """Lines in the windows before this one, and how many of them were left out."""
    left_out: int = 0
    known: dict[int, None] = field(default_factory=dict)

    def add(self, line: Line, now: float, same: int | None) -> bool:
        """Count a line; returns whether to log it."""
        self.count += 1
        self.last, self.latest = line, now
        if self.logged >= self.in_full or same in self.known:
            return False
        self.logged += 1
        if same is not None:
            self.known[same] = None
            if len(self.known) > KNOWN:
                del self.known[next(iter(self.known))]
        return True

    def absorb(self) -> None:
        """Take what was left out until now as said."""
        more = self.count - self.logged
        self.times, self.left_out, self.count = self.times + more, self.left_out + more, self.logged

    def begin_anew(self, now: float) -> None:
        """Begin the window after this one, which is longer."""
        self.absorb()
        self.times, self.count, self.logged = self.times + self.count, 0, 0
        self.began, self.seconds = now, min(2 * self.seconds, self.longest)


class Told(NamedTuple, Generic[Line]):
    """The last line of a kind, how many lines of that kind were not logged, and in how many seconds."""

    line: Line
    more: int
    seconds: float
    times: int = 0
    """Not 0 where it seems to be over: how many lines there were in all, in `seconds`."""
    quiet: float = 0.0
    """For how many seconds there has been none since."""


class Fold(Generic[Line]):
    """Time windows by key; a window begins with the first line of its key.

    Each event has room of its own, and so has each of its kinds: whoever fills one of them fills no other.
    """

    def __init__(self) -> None:
        self._windows: dict[Key, _Window[Line]] = {}
        self._kinds: dict[str, dict[str, int]] = {}
        """event -> kind -> how many addresses have a window"""
        self._settled: BoundedDict[tuple[str, str, str], float] = BoundedDict(MAX_SETTLED)
        """Event, kinds and address -> when they were settled."""
        self._due = float("inf")
        """When the first window has lasted long enough."""

    def count(self, key: Key, line: Line, now: float, habit: Habit = FLOOD, same: int | None = None) -> bool:
        """Count a line; returns whether to log it now. Call sweep() before, which ends windows.

        `same` is the same number for lines that say the same, where the habit has them logged only once.
        """
        key, in_full, longest = self._place(key, habit)
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = _Window(now, in_full, habit.seconds, longest, line, first=now)
            kinds = self._kinds.setdefault(key.event, {})
            kinds[key.kind] = kinds.get(key.kind, 0) + 1
            self._due = min(self._due, now + habit.seconds)
        return window.add(line, now, same)

    def _place(self, key: Key, habit: Habit) -> tuple[Key, int, float]:
        """Where a key is counted: under its own name while there is room."""
        if key in self._windows:
            return key, habit.in_full, habit.longest
        kinds = self._kinds.get(key.event, {})
        if key.kind not in kinds and len(kinds) >= MAX_KINDS:
            return Key(key.event, OTHERS, OTHERS), habit.rest, 0.0
        if kinds.get(key.kind, 0) >= MAX_ADDRESSES:
            return Key(key.event, key.kind, OTHERS), habit.rest, 0.0
        return key, habit.in_full, habit.longest

    def sweep(self, now: float) -> list[Told[Line]]:
        """End the windows whose time is over; returns one sum for each in which lines were left out.

        Where one is followed by another window, and no line came in that, it says so in the end.
        """
        if now < self._due:
            return []
        told: list[Told[Line]] = []
        for key, window in list(self._windows.items()):
            if now - window.began < window.seconds:
                continue
            if not window.longest:
                told += self._end([key], now)
                continue
            if not window.count:
                if window.left_out:
                    seconds = window.latest - window.first
                    told.append(Told(window.last, 0, seconds, window.times, now - window.latest))
                self._forget(key)
                continue
            if more := window.count - window.logged:
                told.append(Told(window.last, more, now - window.began))
            window.begin_anew(now)
        ends = (window.began + window.seconds for window in self._windows.values())
        self._due = min(ends, default=float("inf"))
        return told

    def settle(self, key: Key, now: float) -> list[Told[Line]]:
        """End the window of a key at once, as what it was about works again; returns its sum, if any."""
        return self._end([key] if key in self._windows else [], now)

    def finish(self, now: float) -> list[Told[Line]]:
        """End all windows; returns their sums."""
        return self._end(list(self._windows), now)

    def settle_all(self, event: str, kinds: str, by: str, now: float) -> list[Told[Line]]:
        """As settle(), for every kind of an event whose name begins with `kinds`; once in SETTLE_SECONDS.

        Who fails and succeeds in turn would else have a line for each failure.
        """
        place = event, kinds, by
        if now - self._settled.get(place, -SETTLE_SECONDS) < SETTLE_SECONDS:
            return []
        keys = [Key(event, kind, by) for kind in self._kinds.get(event, ()) if kind.startswith(kinds)]
        found = [key for key in keys if key in self._windows]
        if found:
            self._settled.renew(place, now)
        return self._end(found, now)

    def absorb(self, key: Key) -> None:
        """Leave out of the next sum what was counted until now: another line says it."""
        if key in self._windows:
            self._windows[key].absorb()

    def forget(self, key: Key) -> None:
        """End the window of a key without a sum: another line says what has come of it."""
        if key in self._windows:
            self._forget(key)

    def _end(self, keys: list[Key], now: float) -> list[Told[Line]]:
        windows = [self._forget(key) for key in keys]
        return [
            Told(window.last, window.count - window.logged, now - window.began)
            for window in windows
            if window.count > window.logged
        ]

    def _forget(self, key: Key) -> _Window[Line]:
        kinds = self._kinds[key.event]
        kinds[key.kind] -= 1
        if not kinds[key.kind]:
            del kinds[key.kind]
        return self._windows.pop(key)
