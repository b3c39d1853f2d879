"""Report of the bad lines of a source: the first ones one by one with their places, then a count.

Knows: how many lines are reported, and in which words.
Refuses to know: what is wrong with a line (route_parse, rule_parse), and where the report goes.
"""

from __future__ import annotations

from lib.addresses import widened
from lib.errors import Position, Problem
from lib.humanize import counted

MAX_REPORTED = 10
"""Bad lines that are reported one by one."""


class BadLines:
    """The bad lines of one reading of a source, which may have several texts."""

    def __init__(self) -> None:
        self._reported: list[Problem] = []
        self._notes: list[Problem] = []
        self._more = 0
        self._file = ""
        self.count = 0
        """Bad lines so far, reported or not."""

    def add(self, name: str, number: int, why: object, then: str = "; the line is left out") -> None:
        """Add a bad line: the name of its text, its number (from 1), what is wrong, what follows."""
        self.count += 1
        if len(self._reported) < MAX_REPORTED:
            self._reported.append(Problem(Position(name, number, 1), f"{why}{then}"))
        else:
            self._more += 1
            self._file = name

    def note(self, name: str, why: str) -> None:
        """Add what is wrong with a text as a whole."""
        self._notes.append(Problem(Position(name), why))

    def note_widened(self, name: str, count: int, first: str) -> None:
        """Add that `count` destinations of a text have host bits; `first` is the first of them."""
        if count:
            what = f"{first} stands for the whole network {widened(first)}"
            self.note(
                name, f"{what}, and {counted(count - 1, 'more line')} of this kind" if count > 1 else what
            )

    def problems(self) -> tuple[Problem, ...]:
        """The report: at most MAX_REPORTED lines, and one problem that counts the others."""
        text = f"{counted(self._more, 'more bad line')} {'is' if self._more == 1 else 'are'} left out"
        more = [Problem(Position(self._file), text)] if self._more else []
        return (*self._reported, *more, *self._notes)
