"""Preference among the hubs that a client has sessions with: the nearest gets new flows.

Knows: when another hub is so much nearer, for so long, that it is worth a change.
Refuses to know: sessions and clocks (numbers, round-trip times and `now` come in), what a change moves.

Round-trip times vary. So the preferred hub stays until another one has been clearly nearer at every look for
some time; when it is gone, the nearest of the others is preferred at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

RATIO = 0.75
"""Another hub is clearly nearer with less than this part of the round-trip time,"""
LEAST_SECONDS = 0.001
"""and if that is so much less."""
HOLD_SECONDS = 3.0
"""How long it has to be clearly nearer."""


@dataclass(slots=True)
class Preference:
    """Which of several sessions is preferred."""

    preferred: int = -1
    """Its number; -1 for none."""
    _rival: int = -1
    _since: float = 0.0
    """Since when that one has been clearly nearer."""

    def look(self, seconds: Mapping[int, float], now: float) -> int:
        """The preferred one of these sessions: number -> round-trip time, 0 where it is unknown; -1 of none.

        `now` is in seconds of a steady clock.
        """
        if not seconds:
            self.preferred = self._rival = -1
            return -1
        nearest = min(seconds, key=lambda number: _distance(seconds[number]))
        if self.preferred not in seconds:
            self.preferred, self._rival = nearest, -1
        elif not _is_nearer(_distance(seconds[nearest]), _distance(seconds[self.preferred])):
            self._rival = -1
        elif nearest != self._rival:
            self._rival, self._since = nearest, now
        elif now - self._since >= HOLD_SECONDS:
            self.preferred, self._rival = nearest, -1
        return self.preferred


def _distance(seconds: float) -> float:
    return seconds if seconds > 0 else math.inf


def _is_nearer(one: float, other: float) -> bool:
    return one < RATIO * other and other - one >= LEAST_SECONDS
