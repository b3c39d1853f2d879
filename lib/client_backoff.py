"""Jittered exponential backoff: how long to wait before the next try.

Knows: delays. Refuses to know: clocks, random numbers (they come in) and what is tried.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Backoff:
    """Delays that double from `first` to `most` seconds, each drawn from the upper half."""

    first: float
    most: float
    failures: int = 0

    def next(self, dice: float) -> float:
        """The delay before the next try, in seconds; dice is a random number in [0, 1)."""
        whole = min(self.most, self.first * 2.0 ** min(self.failures, 30))
        self.failures += 1
        return whole * (0.5 + dice / 2)

    def reset(self) -> None:
        """Begin with the first delay again, after a try that succeeded."""
        self.failures = 0
