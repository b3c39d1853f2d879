"""Registry of the hosts at the other workers of this machine, and the list of those that are here.

Knows: at which workers a host is, and the newest of these; that a worker which has ended has no hosts.
Refuses to know: how workers tell each other (worker_link), what packets do (cluster_hosts).

It is to the workers of one machine what cluster_registry and cluster_claims are to the hubs of a cluster. The
links are pairs of sockets, on which nothing is lost and nothing overtakes: so there are no numbers, no
signatures and no leases. A claim comes before the first packet of its host, by the same link.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from lib import worker_wire
from lib.worker_wire import Claim

Place = tuple[bytes, str]
"""(namespace, host name)."""
MAX_HOSTS = 200_000
"""Hosts of all other workers together."""


@dataclass(slots=True, eq=False)
class Other:
    """Another worker, with its hosts."""

    name: str
    claims: dict[Place, int] = field(default_factory=dict)
    """Its hosts -> since when, in milliseconds since 1970."""
    instances: dict[Place, bytes] = field(default_factory=dict)
    """The instances of those clients that have said one."""


class Others:
    """The other workers and their hosts."""

    def __init__(self) -> None:
        self.hubs: dict[str, Other] = {}
        """Name of a worker -> the worker."""
        self.full = 0
        """Claims for which there was no room."""
        self._places: dict[Place, set[str]] = {}
        self._changed: set[Place] = set()
        self._size = 0

    def where(self, place: Place) -> list[Other]:
        """The workers that have a host: the one whose session is newest first."""
        found = [self.hubs[name] for name in self._places.get(place, ())]
        return sorted(found, key=lambda other: (-other.claims[place], other.name))

    def instance(self, hub: Other, place: Place) -> bytes:
        """The instance of the client that a worker has as a host, 16 bytes; empty where it is not known."""
        return hub.instances.get(place, b"")

    def take_changed(self) -> set[Place]:
        """The places of which something has changed since this was asked last."""
        changed, self._changed = self._changed, set()
        return changed

    def hear(self, name: str, claim: Claim) -> None:
        """A worker says that a host has come or left."""
        other = self.hubs.setdefault(name, Other(name))
        place = claim.namespace, claim.host
        if claim.kind == worker_wire.LEFT:
            self._remove(other, place)
            return
        if place not in other.claims:
            if self._size >= MAX_HOSTS:
                self.full += 1
                return
            self._size += 1
            self._places.setdefault(place, set()).add(name)
        other.claims[place] = claim.since
        other.instances.pop(place, None)
        if claim.instance:
            other.instances[place] = claim.instance
        self._changed.add(place)

    def gone(self, name: str) -> None:
        """A worker has ended: it has no hosts any more."""
        other = self.hubs.pop(name, None)
        for place in list(other.claims) if other is not None else ():
            self._remove(other, place)

    def _remove(self, other: Other | None, place: Place) -> None:
        if other is None or other.claims.pop(place, None) is None:
            return
        other.instances.pop(place, None)
        self._size -= 1
        names = self._places[place]
        names.discard(other.name)
        if not names:
            del self._places[place]
        self._changed.add(place)


class Own:
    """The list of the hosts that are here, and what of it has not been told yet."""

    def __init__(self) -> None:
        self._here: dict[Place, Claim] = {}
        self._news: dict[Place, Claim] = {}

    def __len__(self) -> int:
        return len(self._here)

    def join(self, place: Place, since: int, instance: bytes) -> None:
        """A host has a session here, or has said its instance."""
        self._here[place] = self._news[place] = Claim(worker_wire.COME, *place, since, instance)

    def leave(self, place: Place) -> None:
        """A host has no session here any more."""
        if self._here.pop(place, None) is not None:
            self._news[place] = Claim(worker_wire.LEFT, *place)

    def take_news(self) -> list[bytes]:
        """What has changed since this was asked last, as contents of frames."""
        news, self._news = self._news, {}
        return [worker_wire.encode(claim) for claim in news.values()]

    def all(self) -> Iterator[bytes]:
        """The whole list, for a worker that has just begun."""
        return map(worker_wire.encode, list(self._here.values()))
