"""Hosts of all other hubs of a cluster: at which hubs each is, and of which something has changed.

Knows: how many there may be, that a long list goes at once from sight and is cleared away in little pieces,
and that news about all of its hosts are told in such.
Refuses to know: what is believed, and when a hub is gone (cluster_registry).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import ClassVar

MAX_CLAIMS = 200_000
"""Hosts of all other hubs together, some 100 MB."""
MAX_HUBS_A_HOST = 4
"""So many hubs are looked at for one host name."""
PIECE = 200
"""Hosts that are dealt with at once, a fraction of a millisecond."""

Place = tuple[bytes, str]
"""(namespace, host name)."""


@dataclass(slots=True, eq=False)
class OtherHub:
    """Another hub, as far as we have heard."""

    is_near: ClassVar[bool] = False
    """It is no worker of this hub (cluster_ways)."""
    name: str
    epoch: int = -1
    sequence: int = 0
    beat: int = 0
    clock: int = 0
    """The latest time that its clock has told, in milliseconds since 1970."""
    pace: float = 0.0
    """Our steady clock minus its own, in milliseconds, when their other clocks told the same time last."""
    address: str = ""
    software: str = ""
    """What runs there; empty where it has not said so."""
    sessions: int = 0
    """How many sessions it has, as it has said last."""
    heard_at: float = float("-inf")
    """When it last gave a sign of life, in seconds of a steady clock."""
    live: bool = False
    """Whether its lease has not ended."""
    behind: bool = False
    """Whether its list has to be read anew."""
    is_cut: bool = False
    """Whether some of its hosts had no room here."""
    claims: dict[Place, int] = field(default_factory=dict)
    """Its hosts -> since when, in milliseconds by its clock."""
    instances: dict[Place, bytes] = field(default_factory=dict)
    """The instances of those clients that have said one."""
    arriving: dict[Place, int] = field(default_factory=dict)
    """Hosts in a list that is being read, which do not count yet."""


class Places:
    """The hosts of all other hubs."""

    def __init__(self) -> None:
        self.hubs: dict[str, OtherHub] = {}
        self.size = 0
        """How many hosts are known, each counted once for each hub that has it."""
        self._names: dict[Place, tuple[str, ...]] = {}
        """Place -> the names of hubs that have it, and of some that have it no more. Python's collector
        does not look at tuples of nothing but texts; it would look at each of 200,000 sets."""
        self._changed: dict[Place, None] = {}
        self._noted: dict[str, list[Place]] = {}
        """Hub -> hosts of its list of which something has changed too: many at once."""
        self._gone: deque[tuple[str, dict[Place, int], dict[Place, bytes]]] = deque()
        """(hub, hosts, instances): lists that do not count any more, and are still to be cleared away."""

    def where(self, place: Place) -> list[OtherHub]:
        """The live hubs that have a host: the one whose session is newest first."""
        found = [self.hubs[name] for name in self._names.get(place, ()) if name in self.hubs]
        live = [hub for hub in found if hub.live and place in hub.claims]
        live.sort(key=lambda hub: (-hub.claims[place], hub.name))
        return live[:MAX_HUBS_A_HOST]

    def add(self, hub: OtherHub, place: Place, since: int, instance: bytes) -> bool:
        """A hub has a host; False where there is no room for it."""
        if place not in hub.claims:
            if self.size >= MAX_CLAIMS:
                return False
            self.size += 1
        self._name(hub, place)
        hub.claims[place] = since
        hub.instances.pop(place, None)
        if instance:
            hub.instances[place] = instance
        self._changed[place] = None
        return True

    def remove(self, hub: OtherHub, place: Place) -> None:
        """A hub has a host no more."""
        if hub.claims.pop(place, None) is not None:
            hub.instances.pop(place, None)
            self.size -= 1
            self._clear(hub.name, place)

    def arrive(self, hub: OtherHub, place: Place, since: int) -> bool:
        """A host is in a list that is being read; False where there is no room for it."""
        if self.size - len(hub.claims) + len(hub.arriving) >= MAX_CLAIMS:
            return False
        hub.arriving[place] = since
        self._name(hub, place)
        return True

    def arrived(self, hub: OtherHub, instances: dict[Place, bytes], different: list[Place]) -> None:
        """The list that was read is the hub's; `different` are those in it that are new, or have changed.

        Both belong to this object from now on.
        """
        claims, hub.arriving = hub.arriving, {}
        self.forget(hub)
        hub.claims, hub.instances = claims, instances
        self.size += len(claims)
        if hub.name in self._noted:  # nobody has looked at all of the earlier ones yet
            self.note_all(hub)
        elif different:
            self._noted[hub.name] = different

    def give_up(self, hub: OtherHub, instances: dict[Place, bytes] | None = None) -> None:
        """The list that was read is of no use, nor are the instances in it."""
        if hub.arriving:
            self._gone.append((hub.name, hub.arriving, instances or {}))
            hub.arriving = {}

    def forget(self, hub: OtherHub) -> None:
        """A hub has none of its hosts any more."""
        if hub.claims:
            self._gone.append((hub.name, hub.claims, hub.instances))
            self.size -= len(hub.claims)
            hub.claims, hub.instances = {}, {}
        hub.is_cut = False

    def note_all(self, hub: OtherHub) -> None:
        """Something has changed of all hosts of a hub: whether it lives, or where it is."""
        if hub.claims:
            self._noted[hub.name] = list(hub.claims)  # a list of 200,000 is copied in 1 ms

    @property
    def is_busy(self) -> bool:
        """Whether there are changes to take, or something to tidy."""
        return bool(self._changed or self._noted or self._gone)

    def take_changed(self, most: int = PIECE) -> list[Place]:
        """Places of which something has changed, the latest ones first."""
        found = [self._changed.popitem()[0] for _ in range(min(most, len(self._changed)))]
        while self._noted and len(found) < most:
            name, noted = next(iter(self._noted.items()))
            first = max(0, len(noted) - most + len(found))
            found += noted[first:]
            del noted[first:]
            if not noted:
                del self._noted[name]
        return found

    def tidy(self, most: int = PIECE) -> None:
        """Clear away some of what does not count any more."""
        while self._gone and most > 0:
            name, claims, instances = self._gone[0]
            while claims and most > 0:
                place = claims.popitem()[0]
                instances.pop(place, None)
                self._clear(name, place)
                most -= 1
            if not claims:
                self._gone.popleft()

    def _clear(self, name: str, place: Place) -> None:
        """A hub had a host once: unless it has it again, nothing leads there any more."""
        hub = self.hubs.get(name)
        if hub is not None and (place in hub.claims or place in hub.arriving):
            return
        names = tuple(other for other in self._names.get(place, ()) if other != name)
        if names:
            self._names[place] = names
        else:
            self._names.pop(place, None)
        self._changed[place] = None

    def _name(self, hub: OtherHub, place: Place) -> None:
        names = self._names.get(place, ())
        if hub.name not in names:
            self._names[place] = (*names, hub.name)
