"""The last hour of one host, as curves: a ring of samples of fixed size.

Knows: which figures are kept, and at which steps. One ring takes 10 KB (settings_memory).
Refuses to know: where figures come from (api_hosts), clocks (the number of a step comes in).

    step     number of a moment: seconds of a steady clock / STEP_SECONDS
    place    step % POINTS; what lies between two samples is "not known" (nan)
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence

STEP_SECONDS = 10.0
"""Seconds between two points."""
POINTS = 360
"""Points that are kept: one hour."""
FIELDS = ("in", "out", "rtt", "loss", "queue_s", "drops_s")
"""Bytes a second from and to the host, seconds, a share, seconds, packets a second."""
_NONE = math.nan


class History:
    """The curves of one host."""

    __slots__ = ("_first", "_last", "_series")

    def __init__(self) -> None:
        self._series = tuple(array("f", [_NONE]) * POINTS for _ in FIELDS)
        self._first = self._last = -1

    def put(self, step: int, values: Sequence[float | None]) -> None:
        """Keep the figures of a step, in the order of FIELDS; None for what is not known.

        Steps never go back: a second sample of one step takes the place of the first.
        """
        if self._last < 0:
            self._first = step
        elif step > self._last:
            for skipped in range(max(self._last + 1, step - POINTS + 1), step):
                self._write(skipped, (None,) * len(FIELDS))
        self._last = max(step, self._last)
        self._write(self._last, values)

    def _write(self, step: int, values: Sequence[float | None]) -> None:
        place = step % POINTS
        for series, value in zip(self._series, values, strict=True):
            series[place] = _NONE if value is None else value

    def after(self, step: int) -> tuple[int, dict[str, list[float | None]]]:
        """(the first step, the figures from there on by FIELDS) of what is later than `step`."""
        first = max(step + 1, self._first, self._last - POINTS + 1)
        if self._last < 0 or first > self._last:
            return max(step + 1, 0), {name: [] for name in FIELDS}
        places = [number % POINTS for number in range(first, self._last + 1)]
        return first, {
            name: [_plain(series[place]) for place in places]
            for name, series in zip(FIELDS, self._series, strict=True)
        }


def _plain(value: float) -> float | None:
    """A figure as JSON has it: five digits that count, None for what is not known."""
    return None if value != value else float(f"{value:.5g}")  # nan is not itself
