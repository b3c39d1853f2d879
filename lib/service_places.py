"""Connection limit of a small server: when all places are taken, an idle connection makes room for a new one.

Knows: which connection has a place, from which address and since when, and which is being served now.
Refuses to know: what is served (ctl_server, metrics_server).

Without this, a few connections that send nothing, or do not read, would keep out all others until their
timeout.
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
    """The places of a server, at most `most`, each held by a greenlet; the one held longest is first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken: dict[gevent.Greenlet, _Place] = {}

    def __len__(self) -> int:
        return len(self._taken)

    @contextmanager
    def hold(self, address: str = "") -> Iterator[bool]:
        """Hold a place for the current greenlet while the block runs; yields False where none can be had.

        The greenlet that has to make room for it is killed. `address` is the peer's IP address.
        """
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

    def make_room(self) -> bool:
        """End the idle connection that has its place longest, if there is one; whether there was one."""
        idle = next((one for one, place in self._taken.items() if not place.busy), None)
        if idle is None:
            return False
        del self._taken[idle]
        idle.kill(block=False)
        return True

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Mark the current greenlet as working for its peer, not waiting for it, while the block runs."""
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
        """The greenlet that makes room for a connection from `address`; None where nobody has to."""
        # First an idle one of the address with most places, the oldest. If all of them are served, one of
        # these goes only where its address has more places than the new one would have. Else any idle one.
        counts = Counter(place.address for place in self._taken.values())
        most = max(counts.values())
        richest = [one for one, place in self._taken.items() if counts[place.address] == most]
        idle = [one for one, place in self._taken.items() if not place.busy]
        candidates = [one for one in richest if one in idle]
        if not candidates and most > counts[address] + 1:
            candidates = richest
        return next(iter([*candidates, *idle]), None)
