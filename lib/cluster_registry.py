"""Registry of the other hubs of a cluster: who is where, as their signed messages say.

Knows: which messages are believed, when a gap means to read a hub's list anew, leases, bounds.
Refuses to know: how messages come (cluster_redis), what this hub says of itself (cluster_claims), packets.

Each hub numbers its changes (JOIN, LEAVE), so whoever has all of them up to a number has the hub's list.
Whoever has missed one is behind: what is known goes on until the whole list was read, and the list's sum,
which is signed, tells whether anybody has added, removed or changed an entry on the way.

    HUB    every second: the hub lives, and its lease begins anew. It alone begins a new epoch (a restart).
    JOIN, LEAVE    the next number -> known; an old one -> nothing; a later one -> behind
    BYE    all hosts of the hub are gone at once

A hub that has not been heard of for its lease is gone with all its hosts. Where we hear nobody at all (Redis
is away), the leases stand still: what is known goes on.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum

from lib import cluster_wire
from lib.cluster_wire import Kind, Message
from lib.errors import ProtocolError

LEASE_SECONDS = 5.0
"""Seconds after the last sign of life of a hub until its hosts are gone."""
KEEP_SECONDS = 60.0
"""Seconds after that for which its list is kept, in case that it comes back."""
MAX_SKEW_MS = 300_000
"""How far the clock of a hub may be from ours: a message that was kept back for longer is not believed."""
MAX_HUBS = 1024
MAX_CLAIMS = 200_000
"""Hosts of all other hubs together, some 100 MB."""
MAX_HUBS_A_HOST = 4
"""So many hubs are looked at for one host name."""

Place = tuple[bytes, str]
"""(namespace, host name)."""


class Outcome(Enum):
    """What became of a message."""

    TAKEN = "taken"
    OWN = "our own, which came back"
    OLD = "old, or sent twice"
    GAP = "one before it is missing"
    TWIN = "another process has this hub's name"
    SKEW = "its hub's clock is more than five minutes from ours"
    FULL = "more hubs or hosts than there is room for"
    FOREIGN = "no message, or not signed with this cluster's secret"


@dataclass(slots=True, eq=False)
class OtherHub:
    """Another hub, as far as we have heard."""

    name: str
    epoch: int = -1
    sequence: int = 0
    beat: int = 0
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
    claims: dict[Place, int] = field(default_factory=dict)
    """Its hosts -> since when, in milliseconds by its clock."""
    instances: dict[Place, bytes] = field(default_factory=dict)
    """The instances of those clients that have said one."""


class Snapshot:
    """A hub's whole list, as it is read from where all lists are kept."""

    def __init__(self, header: Message, key: bytes) -> None:
        self.header = header
        self.claims: dict[Place, int] = {}
        self.instances: dict[Place, bytes] = {}
        self._sum = bytes(cluster_wire.SIGNATURE)
        self._key = key

    def add(self, data: bytes) -> None:
        """Add one entry: a JOIN. Raises ProtocolError for what is none of this hub's."""
        message = cluster_wire.decode(data, self._key)
        if (message.kind, message.name, message.epoch) != (Kind.JOIN, self.header.name, self.header.epoch):
            raise ProtocolError("an entry of another hub, or of an earlier run of it")
        if message.place in self.claims or len(self.claims) > MAX_CLAIMS:
            raise ProtocolError("an entry twice, or too many")
        self.claims[message.place] = message.since
        if message.instance:
            self.instances[message.place] = message.instance
        self._sum = cluster_wire.added(self._sum, data)

    @property
    def is_whole(self) -> bool:
        """Whether it is exactly the list that its hub has signed."""
        return len(self.claims) == self.header.count and self._sum == self.header.sum


class Registry:
    """All other hubs and their hosts. `now` is in seconds of a steady clock everywhere."""

    def __init__(self, name: str, epoch: int, key: bytes) -> None:
        """`name` and `epoch` are our own, `key` is the one that messages are signed with."""
        self.name, self.epoch = name, epoch
        self.hubs: dict[str, OtherHub] = {}
        self.outcomes: Counter[Outcome] = Counter()
        self.echoed_at = float("-inf")
        """When we last heard our own HUB: then we would have heard all others too."""
        self._key = key
        self._places: dict[Place, set[str]] = {}
        self._size = 0
        self._changed: set[Place] = set()

    # --- questions

    def where(self, place: Place) -> list[OtherHub]:
        """The live hubs that have a host: the one whose session is newest first."""
        found = [self.hubs[name] for name in self._places.get(place, ())]
        live = [hub for hub in found if hub.live]
        live.sort(key=lambda hub: (-hub.claims[place], hub.name))
        return live[:MAX_HUBS_A_HOST]

    def instance(self, hub: OtherHub, place: Place) -> bytes:
        """The instance of the client that a hub has as a host, 16 bytes; empty where it is not known."""
        return hub.instances.get(place, b"")

    def wanted(self) -> list[str]:
        """The names of live hubs whose list has to be read anew."""
        return [hub.name for hub in self.hubs.values() if hub.behind and hub.live]

    def take_changed(self) -> set[Place]:
        """The places of which something has changed since this was asked last."""
        changed, self._changed = self._changed, set()
        return changed

    @property
    def size(self) -> int:
        """How many hosts are known, each counted once for each hub that has it."""
        return self._size

    # --- news

    def hear(self, data: bytes, now: float, clock: int) -> Outcome:
        """Take a message as it came. `clock`: our milliseconds since 1970."""
        try:
            outcome = self._hear(cluster_wire.decode(data, self._key), now, clock)
        except ProtocolError:
            outcome = Outcome.FOREIGN
        self.outcomes[outcome] += 1
        return outcome

    def _hear(self, message: Message, now: float, clock: int) -> Outcome:
        if message.name == self.name:
            return self._hear_self(message, now)
        if message.kind is Kind.HUB:
            return self._hear_hub(message, now, clock)
        hub = self.hubs.get(message.name)
        if hub is None or message.epoch != hub.epoch or message.sequence < hub.sequence:
            return Outcome.OLD  # the next HUB says what there is to know
        if message.kind is Kind.BYE:
            self._forget(hub)
            hub.beat, hub.live, hub.behind = cluster_wire.MOST, False, False
            return Outcome.TAKEN
        if message.sequence == hub.sequence:
            return Outcome.OLD
        if hub.behind or message.sequence > hub.sequence + 1:
            hub.behind = True
            return Outcome.GAP
        hub.sequence = message.sequence
        if message.kind is Kind.LEAVE:
            self._remove(hub, message.place)
            return Outcome.TAKEN
        if message.place not in hub.claims and self._size >= MAX_CLAIMS:
            return Outcome.FULL
        self._add(hub, message.place, message.since, message.instance)
        return Outcome.TAKEN

    def _hear_self(self, message: Message, now: float) -> Outcome:
        if message.epoch != self.epoch:
            return Outcome.TWIN if message.epoch > self.epoch else Outcome.OLD
        if message.kind is Kind.HUB:
            if now - self.echoed_at > LEASE_SECONDS / 2:  # we were deaf: nobody's lease has run meanwhile
                for hub in self.hubs.values():
                    hub.heard_at = max(hub.heard_at, now) if hub.live else hub.heard_at
            self.echoed_at = now
        return Outcome.OWN

    def _hear_hub(self, message: Message, now: float, clock: int) -> Outcome:
        if abs(message.clock - clock) > MAX_SKEW_MS:
            return Outcome.SKEW
        hub = self.hubs.get(message.name)
        if hub is None:
            if len(self.hubs) >= MAX_HUBS and not self._make_room():
                return Outcome.FULL
            hub = self.hubs[message.name] = OtherHub(message.name)
        if (message.epoch, message.beat) <= (hub.epoch, hub.beat):
            return Outcome.OLD
        if message.epoch > hub.epoch:
            self._forget(hub)
            hub.epoch, hub.sequence, hub.behind = message.epoch, 0, False
        hub.beat, hub.software, hub.sessions = message.beat, message.software, message.sessions
        if hub.address != message.address or not hub.live:
            hub.address, hub.live = message.address, True
            self._changed.update(hub.claims)
        hub.heard_at = now
        if message.sequence != hub.sequence:
            hub.behind = True
            return Outcome.GAP
        return Outcome.TAKEN

    def begin(self, name: str, header: bytes) -> Snapshot | None:
        """Begin to read a hub's list, from its header: its HUB. None where that is too old to be of use.

        Raises ProtocolError for what is no HUB of that hub.
        """
        message = cluster_wire.decode(header, self._key)
        if message.kind is not Kind.HUB or message.name != name:
            raise ProtocolError("not the header of this hub's list")
        hub = self.hubs.get(name)
        if hub is None or (message.epoch, message.sequence) < (hub.epoch, hub.sequence):
            return None
        return Snapshot(message, self._key)

    def use(self, snapshot: Snapshot) -> bool:
        """Use a list that was read; False where it is not the one that its hub has signed, or is outdated.

        It is no sign of life: it may have lain there for long.
        """
        header = snapshot.header
        hub = self.hubs.get(header.name)
        if hub is None or not snapshot.is_whole:
            return False
        if (header.epoch, header.sequence) < (hub.epoch, hub.sequence):
            return False
        if header.epoch > hub.epoch:
            hub.epoch, hub.beat, hub.live = header.epoch, 0, False
        for place in [place for place in hub.claims if place not in snapshot.claims]:
            self._remove(hub, place)
        for place, since in snapshot.claims.items():
            instance = snapshot.instances.get(place, b"")
            if (hub.claims.get(place), hub.instances.get(place, b"")) == (since, instance):
                continue
            if place in hub.claims or self._size < MAX_CLAIMS:
                self._add(hub, place, since, instance)
        hub.sequence, hub.behind = header.sequence, False
        return True

    def alive(self, name: str, now: float) -> None:
        """A hub has given a sign of life by a link: its lease begins anew, where it has not ended."""
        hub = self.hubs.get(name)
        if hub is not None and hub.live:
            hub.heard_at = max(hub.heard_at, now)

    def expire(self, now: float) -> list[str]:
        """End the leases that are over, unless we hear nobody; returns whose."""
        if now - self.echoed_at > LEASE_SECONDS / 2:
            return []
        ended = []
        for hub in list(self.hubs.values()):
            silent = now - hub.heard_at
            if hub.live and silent > LEASE_SECONDS:
                hub.live = False
                self._changed.update(hub.claims)
                ended.append(hub.name)
            elif not hub.live and hub.claims and silent > LEASE_SECONDS + KEEP_SECONDS:
                self._forget(hub)
                hub.sequence = 0  # if it comes back, its list is read
        return ended

    # --- the lists

    def _add(self, hub: OtherHub, place: Place, since: int, instance: bytes) -> None:
        if place not in hub.claims:
            self._size += 1
            self._places.setdefault(place, set()).add(hub.name)
        hub.claims[place] = since
        hub.instances.pop(place, None)
        if instance:
            hub.instances[place] = instance
        self._changed.add(place)

    def _remove(self, hub: OtherHub, place: Place) -> None:
        if hub.claims.pop(place, None) is None:
            return
        hub.instances.pop(place, None)
        self._size -= 1
        names = self._places[place]
        names.discard(hub.name)
        if not names:
            del self._places[place]
        self._changed.add(place)

    def _forget(self, hub: OtherHub) -> None:
        for place in list(hub.claims):
            self._remove(hub, place)

    def _make_room(self) -> bool:
        """Forget the hub that has been gone for longest; False where all live."""
        gone = [hub for hub in self.hubs.values() if not hub.live]
        if not gone:
            return False
        oldest = min(gone, key=lambda hub: hub.heard_at)
        self._forget(oldest)
        del self.hubs[oldest.name]
        return True
