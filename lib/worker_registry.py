"""Registry of the hosts at the other workers of this machine and at other hubs, and the list of those here.

Knows: at which workers and hubs a host is, and the newest of these; that a worker which has ended has no
hosts; that where nobody tells of other hubs for a while, what is known goes on until all was told anew.
Refuses to know: how workers tell each other (worker_link), what packets do (cluster_hosts).

It is to the workers of one machine what cluster_registry and cluster_claims are to the hubs of a cluster. The
links are pairs of sockets, on which nothing is lost and nothing overtakes: so there are no numbers, no
signatures and no leases. A claim comes before the first packet of its host, by the same link.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from lib import worker_wire
from lib.worker_wire import Claim, FarHost

Place = tuple[bytes, str]
"""(namespace, host name)."""
MAX_HOSTS = 200_000
"""Hosts of all other workers together."""


@dataclass(slots=True, eq=False)
class Other:
    """Another worker, or another hub of the cluster, with its hosts."""

    name: str
    is_near: bool = True
    """Whether it is a worker of this hub."""
    claims: dict[Place, int] = field(default_factory=dict)
    """Its hosts -> since when, in milliseconds since 1970."""
    instances: dict[Place, bytes] = field(default_factory=dict)
    """The instances of those clients that have said one."""
    stale: dict[Place, int] = field(default_factory=dict)
    """Hosts of another hub that whoever tells of it now has not told of yet."""
    live: bool = True
    """Whether it has not ended."""


class Others:
    """The other workers and hubs, and their hosts."""

    def __init__(self) -> None:
        self.hubs: dict[str, Other] = {}
        """Name of a worker or hub -> it. No hub has a name like a worker's (config_trust)."""
        self.full = 0
        """Claims for which there was no room."""
        self.spaces: Counter[bytes] = Counter()
        """Namespace -> how many hosts workers have in it; those that have none are left out."""
        self._places: dict[Place, set[str]] = {}
        self._changed: set[Place] = set()
        self._size = 0

    def where(self, place: Place) -> list[Other]:
        """The workers and hubs that have a host: the one whose session is newest first."""
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
            self.spaces[claim.namespace] += 1
        self._put(other, place, claim.since, claim.instance)

    def _put(self, other: Other, place: Place, since: int, instance: bytes) -> None:
        self._places.setdefault(place, set()).add(other.name)
        other.claims[place] = since
        other.instances.pop(place, None)
        if instance:
            other.instances[place] = instance
        self._changed.add(place)

    def hear_hub(self, name: str, is_live: bool) -> None:
        """Another hub lives, or does not."""
        other = self.hubs.setdefault(name, Other(name, is_near=False))
        other.live = is_live
        if not is_live and not other.claims:
            del self.hubs[name]

    def hear_far(self, told: FarHost, names: Mapping[int, str]) -> None:
        """A host is at these hubs, and at no other one. `names` has the name of each hub by its number.

        Their number has a bound where they come from (cluster_places).
        """
        place = told.namespace, told.host
        at = {names[number]: (since, it) for number, since, it in told.at if number in names}
        for name in [*self._places.get(place, ())]:
            if name not in at and not self.hubs[name].is_near:
                self._remove(self.hubs[name], place)
        for name, (since, instance) in at.items():
            other = self.hubs.setdefault(name, Other(name, is_near=False))
            other.stale.pop(place, None)
            if other.claims.get(place) != since or other.instances.get(place, b"") != instance:
                self._put(other, place, since, instance)

    def doubt_far(self) -> None:
        """Whoever told of other hubs has ended: what is known of them goes on until all is told anew."""
        for other in self.hubs.values():
            if not other.is_near:
                other.stale = dict(other.claims)

    def forget_doubted(self) -> Iterator[Place]:
        """All has been told anew: forget what was not, host by host."""
        for other in [one for one in self.hubs.values() if one.stale]:
            stale = other.stale
            while stale and stale is other.stale:  # else whoever told that has ended as well
                place, _ = stale.popitem()
                self._remove(other, place)
                yield place

    def gone(self, name: str) -> list[Place]:
        """A worker has ended: it has no hosts any more. Returns those that it had."""
        other = self.hubs.pop(name, None)
        places = list(other.claims) if other is not None else []
        for place in places:
            self._remove(other, place)
        return places

    def _remove(self, other: Other | None, place: Place) -> None:
        if other is None or other.claims.pop(place, None) is None:
            return
        other.instances.pop(place, None)
        other.stale.pop(place, None)
        if other.is_near:
            self._size -= 1
            self.spaces[place[0]] -= 1
            if not self.spaces[place[0]]:
                del self.spaces[place[0]]
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
