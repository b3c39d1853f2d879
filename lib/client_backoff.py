"""Delays between the tries of a client that has no session: how long an outage is prolonged at most.

Knows: delays, by why the last try failed and for how long such failures have gone on.
Refuses to know: clocks, random numbers (they come in) and what is tried.

    the first tries, one for each node    after a quarter of a second at most: some hub may be there
    `retries` after each other one        the same
    then, for a short outage              0.5 to 4 s; of many clients each has its own moment
    then                                  up to a share of the outage so far, with a longest delay

So a hub that was away for a short time has its clients back after 1.3 s (the median), the last one after 4 s.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class Pace(NamedTuple):
    """How patient the tries after one kind of failure are."""

    share: float
    """The longest delay, as a share of the time for which there have been such failures."""
    most: float
    """The longest delay ever, in seconds."""


LOST = Pace(0.1, 15.0)
"""The hub could not be reached, or a session ended."""
TEMPORARY = Pace(0.25, 15.0)
"""The hub has refused us and may soon not: it cannot ask who decides, or a table is not loaded yet."""
LASTING = Pace(0.5, 300.0)
"""The hub has refused us until somebody changes a configuration."""

QUICK = 0.1, 0.25
"""Shortest and longest of the first delays, in seconds."""
SHORT = 4.0
"""The longest delay in a short outage, in seconds."""
SPREAD = 8
"""How many times as long as the shortest delay the longest one is, after the first delays."""


@dataclass(slots=True)
class Backoff:
    """The delays of one client, since its last session that lasted."""

    _tries: int = 0
    _since: dict[Pace, float] = field(default_factory=dict)
    """When the first failure of each kind was."""

    def next(self, pace: Pace, nodes: int, now: float, dice: float, retries: int = 0) -> float:
        """The delay after a failure at `now`, in seconds; dice is a random number in [0, 1).

        The first delays are short: one for each node, or as many as `retries` says where these are more.
        After each long delay so many `retries` follow at once, as in GOST.

        A failure of one kind says nothing about the others: where one node refuses and the other is away,
        each kind has gone on for a time of its own.
        """
        since = self._since.setdefault(pace, now)
        self._tries += 1
        quick = max(nodes, retries)
        if self._tries <= quick or (self._tries - quick - 1) % (retries + 1):
            least, most = QUICK
        else:
            most = min(pace.most, max(SHORT, pace.share * (now - since)))
            least = most / SPREAD
        return least + dice * (most - least)

    def reset(self) -> None:
        """Begin with the first delays again, after a session that lasted."""
        self._tries = 0
        self._since.clear()
