"""When to try again: jittered exponential backoff.

Knows: delays. Refuses to know: clocks, dice (random numbers come in) and what is tried.
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
        """The delay before the next try; dice is a random number in [0, 1)."""
        whole = min(self.most, self.first * 2.0 ** min(self.failures, 30))
        self.failures += 1
        return whole * (0.5 + dice / 2)

    def reset(self) -> None:
        """A try succeeded."""
        self.failures = 0
