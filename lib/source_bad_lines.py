"""Report of the bad lines of a source: the first ones one by one with their places, then a count.

Knows: how many are told, and in which words.
Refuses to know: what is wrong with a line (route_parse, rule_parse), and who is told.
"""

from __future__ import annotations

from lib.errors import Position, Problem

MAX_TOLD = 10
"""Bad lines that are told one by one."""


class BadLines:
    """Those found in one reading, be it of several texts."""

    def __init__(self) -> None:
        self._told: list[Problem] = []
        self._more = 0
        self._file = ""

    def add(self, name: str, number: int, why: object) -> None:
        """One more, in the line of that number (from 1) of the text of that name."""
        if len(self._told) < MAX_TOLD:
            self._told.append(Problem(Position(name, number, 1), f"{why}; the line is left out"))
        else:
            self._more += 1
            self._file = name

    def problems(self) -> tuple[Problem, ...]:
        """What is to be told: no more than MAX_TOLD lines, and one that counts the others."""
        counted = Problem(Position(self._file), f"{self._more} more bad lines are left out")
        return (*self._told, counted) if self._more else tuple(self._told)
