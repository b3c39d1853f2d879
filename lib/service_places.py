"""Places for the connections of a small server: when all are taken, somebody makes room for whoever comes.

Knows: who has a place, from which address and since when, and who is being served just now.
Refuses to know: what is served (ctl_server, metrics_server).

Without this, a few connections that say nothing, or do not read, hold up all others until their time is up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import gevent


@dataclass(slots=True, eq=False)
class _Place:
    address: str
    busy: bool = False


class Places:
    """So many of them; one for each greenlet that holds one, the longest there first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken: dict[gevent.Greenlet, _Place] = {}

    def __len__(self) -> int:
        return len(self._taken)

    @contextmanager
    def hold(self, address: str = "") -> Iterator[bool]:
        """A place for the current greenlet; False where there is none. Who has to make room is killed."""
        if len(self._taken) >= self._most:
            other = self._who_goes(address)
            if other is None:
                yield False
                return
            del self._taken[other]
            other.kill(block=False)
        me = gevent.getcurrent()
        self._taken[me] = _Place(address)
        try:
            yield True
        finally:
            self._taken.pop(me, None)

    @contextmanager
    def busy(self) -> Iterator[None]:
        """The current greenlet works for its peer, rather than wait for it to say or read something."""
        place = self._taken.get(gevent.getcurrent())
        if place is None:
            yield
            return
        place.busy = True
        try:
            yield
        finally:
            place.busy = False

    def _who_goes(self, address: str) -> gevent.Greenlet | None:
        """Of the address with most places whoever is idle longest; one that is served only where it has more
        than the newcomer would have; else anybody idle; None where all are served."""
        counts = Counter(place.address for place in self._taken.values())
        most = max(counts.values())
        richest = [one for one, place in self._taken.items() if counts[place.address] == most]
        idle = [one for one, place in self._taken.items() if not place.busy]
        candidates = [one for one in richest if one in idle]
        if not candidates and most > counts[address] + 1:
            candidates = richest
        return next(iter([*candidates, *idle]), None)
