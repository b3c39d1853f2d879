"""Registry of the other hubs of a cluster: who is where, as their signed messages say.

Knows: which messages are believed, when a gap means to read a hub's list anew, leases, bounds.
Refuses to know: how messages come (cluster_redis), what this hub says of itself (cluster_claims), packets.

Each hub numbers its changes (JOIN, LEAVE), so whoever has all of them up to a number has the hub's list.
Whoever has missed one is behind: what is known goes on until the whole list was read, and the list's sum,
which is signed, tells whether anybody has added, removed or changed an entry on the way.

    HUB    every second: the hub lives, and its lease begins anew. It alone begins a new epoch (a restart),
           and its signature vouches for the changes before it in the same news.
    JOIN, LEAVE    the next number -> known; an old one -> nothing; a later one -> behind
    BYE    all hosts of the hub are gone at once

A hub that has not been heard of for its lease is gone with all its hosts. Where we hear nobody at all (Redis
is away), the leases stand still: what is known goes on.

News that were kept back for long are not believed. A hub whose epoch is known is measured by two steady
clocks, its own and ours, so that whoever sets a clock while the hubs run ends nothing. Only at first, and
for a new epoch, both clocks have to tell the same time.
"""

from __future__ import annotations

import math
from collections import Counter
from enum import Enum

from lib import cluster_places, cluster_wire
from lib.cluster_places import OtherHub, Place, Places
from lib.cluster_seal import Proof, Seal
from lib.cluster_wire import Kind, Message
from lib.errors import ProtocolError

LEASE_SECONDS = 5.0
"""Seconds after the last sign of life of a hub until its hosts are gone."""
KEEP_SECONDS = 60.0
"""Seconds after that for which its list is kept, in case that it comes back."""
MAX_SKEW_MS = 300_000
"""How far the clock of a hub may be from ours, and how long news may have been kept back."""
MAX_HUBS = 1024
MAX_UNREAD = 2 * cluster_wire.MAX_MESSAGE
"""Bytes of news that are kept until the certificate was read by which they are proven: a HUB alone is."""
ROOM = 0.95
"""A list of which a part had no room is read again once so much of the room at most is taken."""


class Outcome(Enum):
    """What became of a message."""

    TAKEN = "taken"
    OWN = "our own, which came back"
    OLD = "old, or sent twice"
    GAP = "one before it is missing"
    TWIN = "another process has this hub's name"
    SKEW = "its hub's clock is more than five minutes from ours"
    FULL = "more hubs or hosts than there is room for"
    FOREIGN = "no message, or not signed by a hub of this cluster"
    UNREAD = "its hub's certificate has not been read yet"
    STRANGER = "trust does not name its hub"
    UNTRUSTED = "its hub claims a host of a namespace that trust does not grant to it"


class Snapshot:
    """A hub's whole list, as it is read from where all lists are kept."""

    def __init__(self, registry: Registry, hub: OtherHub, header: Message) -> None:
        self.hub, self.header = hub, header
        self.instances: dict[Place, bytes] = {}
        self.different: list[Place] = []
        """What is new, or was otherwise."""
        self.is_cut = False
        self.is_untrusted = False
        """Whether it claims what `trust` does not grant."""
        self._registry = registry
        self._seen: set[Place] = set()
        self._sum = 0

    def add(self, data: bytes) -> None:
        """Add one entry: a JOIN. Raises ProtocolError for what is none of this hub's."""
        message, _ = cluster_wire.decode(data)
        if (message.kind, message.name, message.epoch) != (Kind.JOIN, self.header.name, self.header.epoch):
            raise ProtocolError("an entry of another hub, or of an earlier run of it")
        place = message.place
        if place in self._seen or len(self._seen) >= self.header.count:
            raise ProtocolError("an entry twice, or too many")
        self._seen.add(place)
        self._sum = cluster_wire.added(self._sum, data)
        if self._registry.arrive(self, place, message.since):
            if message.instance:
                self.instances[place] = message.instance
            known = self.hub.claims.get(place), self.hub.instances.get(place, b"")
            if known != (message.since, message.instance):
                self.different.append(place)

    @property
    def is_whole(self) -> bool:
        """Whether it is exactly the list that its hub has signed."""
        return len(self._seen) == self.header.count and cluster_wire.summed(self._sum) == self.header.sum


class Registry:
    """All other hubs and their hosts. `now` is in seconds of a steady clock everywhere."""

    def __init__(self, name: str, epoch: int, seal: Seal) -> None:
        """`name` and `epoch` are our own."""
        self.name, self.epoch = name, epoch
        self.places = Places()
        self.hubs = self.places.hubs
        self.outcomes: Counter[Outcome] = Counter()
        self.echoed_at = float("-inf")
        """When we last heard our own HUB: then we would have heard all others too."""
        self.speaker = ""
        """In whose name the last message was that was proven, or that nobody could prove yet."""
        self.runs = 0
        """How often a hub has begun, or was heard of for the first time."""
        self.unread: dict[str, bytes] = {}
        """Hubs whose certificate has to be read before they are believed -> what they said, if short."""
        self._seal = seal

    # --- questions

    def where(self, place: Place) -> list[OtherHub]:
        """The live hubs that have a host: the one whose session is newest first."""
        return self.places.where(place)

    def instance(self, hub: OtherHub, place: Place) -> bytes:
        """The instance of the client that a hub has as a host, 16 bytes; empty where it is not known."""
        return hub.instances.get(place, b"")

    def wanted(self) -> list[str]:
        """The names of live hubs whose list has to be read anew."""
        has_room = self.size < ROOM * cluster_places.MAX_CLAIMS
        return [
            hub.name for hub in self.hubs.values() if hub.live and (hub.behind or (hub.is_cut and has_room))
        ]

    @property
    def size(self) -> int:
        """How many hosts are known, each counted once for each hub that has it."""
        return self.places.size

    # --- news

    def hear(self, data: bytes, now: float, clock: int) -> list[Outcome]:
        """Take news as they came; returns what became of each message. `clock`: our time in ms since 1970."""
        try:
            outcomes = self._hear(data, now, clock)
        except ProtocolError:
            outcomes, self.speaker = [Outcome.FOREIGN], ""
        self.outcomes.update(outcomes)
        return outcomes

    def _hear(self, data: bytes, now: float, clock: int) -> list[Outcome]:
        changes, last, digest = cluster_wire.opened(data)
        head, signature = cluster_wire.decode(last)
        if head.kind not in cluster_wire.SIGNED or head.digest != digest:
            raise ProtocolError("nothing vouches for it")
        hub = self.hubs.get(head.name)
        is_own = head.name == self.name
        if not is_own and hub is not None and not self._is_newer(hub, head):
            return [Outcome.OLD]
        proof = self._seal.check(head.name, last[: len(last) - len(signature)], signature)
        self.speaker = head.name if proof is not Proof.BAD else ""
        if proof is not Proof.GOOD:
            if proof is Proof.UNREAD and len(self.unread) < MAX_HUBS:
                self.unread[head.name] = data if len(data) <= MAX_UNREAD else b""
            return [_NOT_PROVEN[proof]]
        if is_own:
            return [self._hear_self(head, now)]
        if not self._is_fresh(hub, head, now, clock):
            return [Outcome.SKEW]
        if hub is None:
            if len(self.hubs) >= MAX_HUBS and not self._make_room():
                return [Outcome.FULL]
            hub = self.hubs[head.name] = OtherHub(head.name)
        if head.epoch != hub.epoch:
            self.places.forget(hub)
            hub.epoch, hub.sequence, hub.behind = head.epoch, 0, False
            self.runs += head.kind is Kind.HUB
        if abs(head.clock - clock) <= MAX_SKEW_MS:
            hub.pace = now * 1000 - head.steady
        hub.beat, hub.clock = head.beat, max(hub.clock, head.clock)
        outcomes = [self._hear_change(hub, change) for change in changes]
        return [*outcomes, self._hear_head(hub, head, now)]

    def _is_newer(self, hub: OtherHub, head: Message) -> bool:
        """Whether a HUB or BYE is later than the last one of its hub.

        A smaller epoch may be so, where the hub's clock was wrong when it had a larger one, which is over.
        """
        if head.epoch < hub.epoch:
            return not hub.live and head.clock > hub.clock
        return (head.epoch, head.beat) > (hub.epoch, hub.beat)

    def _is_fresh(self, hub: OtherHub | None, head: Message, now: float, clock: int) -> bool:
        """Whether it was not kept back for long."""
        if abs(head.clock - clock) <= MAX_SKEW_MS:
            return True
        return (
            hub is not None and hub.epoch == head.epoch and now * 1000 - head.steady - hub.pace <= MAX_SKEW_MS
        )

    def _hear_change(self, hub: OtherHub, data: bytes) -> Outcome:
        message, _ = cluster_wire.decode(data)
        if message.kind in cluster_wire.SIGNED or (message.name, message.epoch) != (hub.name, hub.epoch):
            raise ProtocolError("a change of another hub")
        if message.sequence <= hub.sequence:
            return Outcome.OLD
        if hub.behind or message.sequence > hub.sequence + 1:
            hub.behind = True
            return Outcome.GAP
        hub.sequence = message.sequence
        if message.kind is Kind.LEAVE:
            self.places.remove(hub, message.place)
            return Outcome.TAKEN
        if not self._seal.grants(hub.name, message.namespace):
            return Outcome.UNTRUSTED
        if not self.places.add(hub, message.place, message.since, message.instance):
            hub.is_cut = True
            return Outcome.FULL
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

    def _hear_head(self, hub: OtherHub, message: Message, now: float) -> Outcome:
        if message.kind is Kind.BYE:
            self.places.forget(hub)
            hub.beat, hub.live, hub.behind = cluster_wire.MOST, False, False
            return Outcome.TAKEN
        if hub.address != message.address or not hub.live:
            hub.address, hub.live = message.address, True
            self.places.note_all(hub)
        hub.heard_at, hub.software, hub.sessions = now, message.software, message.sessions
        if message.sequence != hub.sequence:
            hub.behind = True
            return Outcome.GAP
        return Outcome.TAKEN

    # --- lists that are read again

    def begin(self, name: str, header: bytes) -> Snapshot | None:
        """Begin to read a hub's list, from its header: its HUB. None where that is too old to be of use.

        Raises ProtocolError for what is no HUB of that hub.
        """
        message, signature = cluster_wire.decode(header)
        if message.kind is not Kind.HUB or message.name != name:
            raise ProtocolError("not the header of this hub's list")
        if self._seal.check(name, header[: len(header) - len(signature)], signature) is not Proof.GOOD:
            raise ProtocolError("not signed by this hub")
        hub = self.hubs.get(name)
        if hub is None or (message.epoch, message.sequence) < (hub.epoch, hub.sequence):
            return None
        self.places.give_up(hub)
        return Snapshot(self, hub, message)

    def arrive(self, snapshot: Snapshot, place: Place, since: int) -> bool:
        """Whether a host in a list that is being read will be known; it is not before the list is used."""
        if not self._seal.grants(snapshot.hub.name, place[0]):
            snapshot.is_untrusted = True
            return False
        has_room = self.places.arrive(snapshot.hub, place, since)
        snapshot.is_cut = snapshot.is_cut or not has_room
        return has_room

    def use(self, snapshot: Snapshot) -> bool:
        """Use a list that was read; False where it is not the one that its hub has signed, or is outdated.

        It is no sign of life: it may have lain there for long. However long the list is, this takes no time.
        """
        header, hub = snapshot.header, snapshot.hub
        is_late = (header.epoch, header.sequence) < (hub.epoch, hub.sequence)
        if self.hubs.get(header.name) is not hub or not snapshot.is_whole or is_late:
            self.drop(snapshot)
            return False
        if header.epoch > hub.epoch:  # how old it is nobody knows: its next HUB has to tell the right time
            hub.epoch, hub.beat, hub.live, hub.pace = header.epoch, 0, False, -math.inf
        self.outcomes[Outcome.UNTRUSTED] += snapshot.is_untrusted
        self.places.arrived(hub, snapshot.instances, snapshot.different)
        hub.sequence, hub.behind, hub.is_cut = header.sequence, False, snapshot.is_cut
        return True

    def drop(self, snapshot: Snapshot) -> None:
        """Give up a list that was begun."""
        self.places.give_up(snapshot.hub, snapshot.instances)

    # --- leases

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
                self.places.note_all(hub)
                ended.append(hub.name)
            elif not hub.live and hub.claims and silent > LEASE_SECONDS + KEEP_SECONDS:
                self.places.forget(hub)
                hub.sequence = 0  # if it comes back, its list is read
        return ended

    def _make_room(self) -> bool:
        """Forget the hub that has been gone for longest; False where all live."""
        gone = [hub for hub in self.hubs.values() if not hub.live]
        if not gone:
            return False
        oldest = min(gone, key=lambda hub: hub.heard_at)
        self.places.forget(oldest)
        del self.hubs[oldest.name]
        return True


_NOT_PROVEN = {
    Proof.BAD: Outcome.FOREIGN,
    Proof.UNREAD: Outcome.UNREAD,
    Proof.STRANGER: Outcome.STRANGER,
}
