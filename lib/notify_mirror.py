"""Hosts of all workers of a hub, as the main process knows them: who is at any of them, and for how long.

    left at one ----- by then all others have looked ----- it has left, if it came to none of them before
                \\--- it had come to another one before --- it has not been away

Knows: when a host has been away between two workers, and that a worker tells of it a little later.
Refuses to know: how workers tell (worker_notify), what is made of a change (notify_presence).

Times are of the steady clock, which is the same one in all processes of a machine.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

WAIT_SECONDS = 2.0
"""How long is waited for a worker that has not looked since a host has left another one."""

Place = Any
"""What tells namespaces apart."""
Host = tuple[Place, str]


@dataclass(slots=True, eq=False)
class Mark:
    """A host that is here; after it has been away it has another one."""

    peer: str
    at: float
    """When it came."""


@dataclass(slots=True, eq=False)
class _Left:
    """A host that is at no worker: when it left the last one, and when that was heard."""

    at: float
    heard: float


@dataclass(slots=True, eq=False)
class Mirror:
    """The hosts of all workers."""

    places: dict[Place, dict[str, Mark]] = field(default_factory=dict)
    """Those that are here, or may be, by namespace."""
    looked: dict[int, float] = field(default_factory=dict)
    """Number of a worker -> when it has looked last."""
    _at: dict[Host, set[int]] = field(default_factory=dict)
    _left: dict[Host, _Left] = field(default_factory=dict)

    def came(self, worker: int, place: Place, host: str, peer: str, at: float) -> None:
        """A host has had a session at a worker since `at`."""
        workers = self._at.setdefault((place, host), set())
        left = self._left.pop((place, host), None)
        workers.add(worker)
        here = self.places.setdefault(place, {})
        if host not in here or (left is not None and at > left.at):
            here[host] = Mark(peer, at)
        elif left is not None:
            here[host].peer = peer

    def left(self, worker: int, place: Place, host: str, at: float, now: float) -> None:
        """A host has had no session at a worker any more since `at`."""
        workers = self._at.get((place, host), set())
        workers.discard(worker)
        if not workers and self._at.pop((place, host), None) is not None:
            self._left[place, host] = _Left(at, now)

    def gone(self, worker: int, at: float) -> None:
        """A worker has ended, and so have all its sessions."""
        self.looked.pop(worker, None)
        for (place, host), workers in list(self._at.items()):
            if worker in workers:
                self.left(worker, place, host, at, at)

    def settle(self, now: float) -> None:
        """Let those be away that have left, and cannot have come to another worker before they did."""
        looked = min(self.looked.values(), default=now)
        for (place, host), left in list(self._left.items()):
            if looked > left.at or now - left.heard > WAIT_SECONDS:
                del self._left[place, host]
                del self.places[place][host]
                if not self.places[place]:
                    del self.places[place]
