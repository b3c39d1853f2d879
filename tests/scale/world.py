"""Many simulated hubs of one cluster: the real registry, claims, namespaces and forwarding of each, one clock for all.

Knows: what a hub is made of, where hosts are and move to, what every hub should know.
Refuses to know: what is broken when (scenarios), how it is shown (run).

What is real: lib.cluster_redis with its connections, batches, jitter and lists that are read again (on tests.scale.server,
by tests.scale.clock), cluster_registry, cluster_claims, cluster_hosts, namespace and its tables, forward, forward_enter,
cluster_envelopes and cluster_receive. What is not: sockets, TLS, Redis itself, and the time that anything takes.

One hub, hub-0, has every namespace, and so every route and every host. The others have the namespaces of their own
hosts. In lib a hub keeps the hosts of all namespaces today; `Partial` leaves out the others, as 1,000 whole
registries of a million hosts do not fit into one machine. A message is verified once for all hubs, not once for each.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache, partial
from types import SimpleNamespace
from typing import Any

from lib import (
    cluster_envelopes,
    cluster_frames,
    cluster_hosts,
    cluster_places,
    cluster_receive,
    cluster_redis,
    cluster_redis_lists,
    cluster_redis_talk,
    cluster_registry,
    cluster_wire,
    framing,
    hub_far_host,
    hub_log,
    hub_turn,
)
from lib.capture_taps import Taps
from lib.cluster_claims import Claims, Clocks
from lib.cluster_hosts import Hosts
from lib.cluster_links import IDLE_SECONDS
from lib.cluster_live import LOOK_SECONDS
from lib.cluster_places import OtherHub, Place, Places
from lib.cluster_receive import Receiver
from lib.cluster_redis import RedisRegistry
from lib.cluster_registry import Registry
from lib.cluster_seal import SharedSeal
from lib.forward_frame import Output
from lib.hub_far_host import FarHost
from lib.namespace import Attachment
from lib.namespace_domain import Domain
from lib.packet import Buffer
from lib.route_table import RouteTable
from lib.service_scheduling import Pauses
from lib.settings import Hop, RouteEntry
from lib.settings_sources import RedisSource
from tests.scale.clock import Clock, Event, Greenlet
from tests.scale.server import Connection, Server
from tests.support import packets

SEAL = SharedSeal(b"k" * 32, "gost")
EPOCH = 1_800_000_000.0
"""What the clocks of hubs say at the beginning, seconds since 1970."""
HOMES = 3
"""Hubs that the hosts of one namespace are at."""
LINK_SECONDS = 0.002
"""One way between two hubs."""


@dataclass(frozen=True)
class Size:
    """How large a cluster is."""

    hubs: int
    namespaces: int
    hosts: int
    """Of each namespace."""
    routes: int
    """Of each host."""
    sampled: int
    """Namespaces whose hosts have sessions, so that packets can be sent between them."""


class Partial(Places):
    """The hosts of some namespaces; all others are left out."""

    def __init__(self, mine: frozenset[bytes]) -> None:
        super().__init__()
        self._mine = mine

    def add(self, hub: OtherHub, place: Place, since: int, instance: bytes) -> bool:
        return place[0] not in self._mine or super().add(hub, place, since, instance)

    def arrive(self, hub: OtherHub, place: Place, since: int) -> bool:
        return place[0] in self._mine and super().arrive(hub, place, since)


class Session:
    """The sender of a host here: what it was given."""

    queued = 0

    def __init__(self, world: World, place: Place) -> None:
        self._world, self._place = world, place

    def send(self, buffers: Sequence[Buffer], /) -> None:
        """Take packets: each says whom it is for."""
        for content in packets.contents(b"".join(map(bytes, buffers))):
            self._world.came(self._place, content)

    def close(self, because: str, /) -> None: ...

    def is_alive(self, seconds: float, /) -> bool:
        return True


class Hub:
    """One hub."""

    def __init__(self, world: World, number: int, mine: frozenset[bytes]) -> None:
        self.world, self.name, self.mine = world, f"hub-{number}", mine
        epoch = int(EPOCH * 1000) - 1000 * number
        self.registry = Registry(self.name, epoch, SEAL)
        if number:
            self.registry.places = Partial(mine)
            self.registry.hubs = self.registry.places.hubs
        self.claims = Claims(self.name, f"{self.name}:8444", epoch, SEAL.sign)
        self.redis = RedisRegistry(
            RedisSource(f"{self.name}:6379"), self.registry, self.claims, SEAL, self.changed, self._restarted
        )
        self.domain = Domain({key: world.tables[key] for key in mine})
        self.owner: Any = SimpleNamespace(
            settings=SimpleNamespace(name=self.name),
            failed_plugins=set(),
            taps=Taps(),
            output=Output(),
            pauses=Pauses(),
        )
        self.hosts = Hosts(self.registry, self.claims, self.domain, self.owner, self.redis.touch, SEAL.grants)
        self.hosts.send = self._send
        self.domain.use_registry(self.hosts)
        self.is_alive = True
        self.linked: dict[str, float] = {}
        """Hubs that there is a link with, and when it was used last."""
        self._receivers: dict[str, Receiver] = {}
        self._looking: Greenlet | None = None

    def start(self) -> None:
        """Tell the cluster of it, and hear of others."""
        self.redis.start()
        self._looking = self.world.clock.spawn(self._look)

    def kill(self) -> None:
        """It dies, and says nothing."""
        self.is_alive = False
        for task in self.redis._tasks:
            task.kill()
        if self._looking is not None:
            self._looking.kill()

    def changed(self) -> None:
        """The registry may have changed."""
        while self.registry.places.is_busy:  # in lib in pieces, with pauses
            places = self.registry.places.take_changed(1 << 30)
            self.registry.places.tidy(1 << 30)
            self.hosts.changed(places)
            self.world.learned(self, set(places))

    def _restarted(self, epoch: int) -> None:
        self.registry.epoch = epoch
        self.claims.restart(epoch)

    def _look(self) -> None:
        clock = self.world.clock
        clock.sleep(self.world.random.uniform(0.0, LOOK_SECONDS))
        while True:
            for name, used in list(self.linked.items()):
                if clock.now - used > IDLE_SECONDS:
                    del self.linked[name]
                elif self.world.by_name[name].is_alive:  # PING and PONG
                    self.registry.alive(name, clock.now)
            self.registry.expire(clock.now)
            self.changed()
            clock.sleep(LOOK_SECONDS)

    def _send(self, hub: str, attachment: Attachment, buffers: Sequence[Buffer]) -> None:
        """A run of frames goes by the link with another hub."""
        out, _ = cluster_envelopes.enclose(attachment.namespace.id, buffers)
        data, world = b"".join(map(bytes, out)), self.world
        far = world.by_name[hub]
        self.linked[hub] = far.linked[self.name] = world.clock.now
        world.links += 1
        world.clock.at(world.clock.now + LINK_SECONDS, partial(far.receive, self.name, data))

    def receive(self, hub: str, data: bytes) -> None:
        """Envelopes have come by the link with a hub."""
        if not self.is_alive:
            self.world.outcomes["the hub is dead"] += 1
            return
        receiver = self._receivers.get(hub)
        if receiver is None:
            receiver = self._receivers[hub] = self.hosts.receiver(hub)
        buffer = bytearray(data + bytes(framing.SLACK))
        at = 0
        for end in framing.split(data):
            namespace = cluster_frames.namespace_of(buffer, at + 2, end)
            receiver.take(namespace, buffer, memoryview(buffer), at + cluster_frames.BEGIN, end)
            at = end
        receiver.send()
        while receiver.has_rest:
            receiver.go_on()


class World:
    """The cluster."""

    def __init__(self, size: Size, seed: int) -> None:
        self.size, self.random, self.clock = size, random.Random(seed), Clock()
        self.server = Server(self.clock)
        self.outcomes: Counter[str] = Counter()
        """What became of packets."""
        self.links = 0
        """Runs that went by a link."""
        self.wrong: list[str] = []
        """What must never be."""
        self.logged: Counter[str] = Counter()
        self.keys = [number.to_bytes(16, "big") for number in range(1, size.namespaces + 1)]
        self.sampled = self.keys[: size.sampled]
        self.tables = {key: self._table() for key in self.keys}
        self.homes: dict[bytes, list[int]] = {
            key: self.random.sample(range(1, size.hubs), min(HOMES, size.hubs - 1)) for key in self.keys
        }
        mine: dict[int, set[bytes]] = {number: set() for number in range(size.hubs)}
        for key, homes in self.homes.items():
            for number in homes:
                mine[number].add(key)
        self.hubs = [
            Hub(self, number, frozenset(self.keys if number == 0 else mine[number]))
            for number in range(size.hubs)
        ]
        self.by_name = {hub.name: hub for hub in self.hubs}
        self.at: dict[Place, int] = {}
        """Where each host is: the number of its hub."""
        self.sessions: dict[Place, Attachment] = {}
        self.waiting: dict[Place, float] = {}
        """Hosts that have moved -> when; not yet known everywhere."""
        self._unknown: dict[Place, set[str]] = {}
        self.took: list[float] = []
        """Seconds until every hub that has the namespace knew where a host is."""
        self._probes: dict[int, tuple[Place, float]] = {}
        self._probe = 0

    def _table(self) -> RouteTable:
        return RouteTable(
            RouteEntry(bytes((10, route, number >> 8, number & 255)), 32, Hop(f"host-{number}"))
            for number in range(self.size.hosts)
            for route in range(self.size.routes)
        )

    # --- the beginning

    def populate(self) -> None:
        """Put every host at one of its hubs, and let every hub know of all: as after hours without a fault."""
        for key in self.keys:
            for number in range(self.size.hosts):
                self._enter((key, f"host-{number}"), self.random.choice(self.homes[key]))
        for hub in self.hubs:
            fields = self.server.hashes.setdefault(f"gost:hub:{hub.name}", {})
            while hub.claims.is_pending:
                batch = hub.claims.next_batch(Clocks(int(EPOCH * 1000), 0))
                fields.update(batch.sets)
        by_hub: dict[str, dict[bytes, dict[Place, int]]] = {hub.name: {} for hub in self.hubs}
        for place, number in self.at.items():
            by_hub[f"hub-{number}"].setdefault(place[0], {})[place] = 1
        for hub in self.hubs:
            for other in self.hubs:
                if other is not hub:
                    self._introduce(hub, other, by_hub[other.name])
            hub.changed()

    def _introduce(self, hub: Hub, other: Hub, lists: dict[bytes, dict[Place, int]]) -> None:
        """Let a hub know another one and its hosts, as if it had read that one's list."""
        registry, claims = hub.registry, other.claims
        known = registry.hubs[other.name] = OtherHub(other.name, claims.epoch, claims.sequence, claims.beat)
        known.address, known.heard_at, known.live = claims.address, 0.0, True
        shared = lists.keys() if hub is self.hubs[0] else lists.keys() & hub.mine
        for key in shared:
            for place, since in lists[key].items():
                registry.places.add(known, place, since, b"")

    def _enter(self, place: Place, number: int) -> None:
        """A host has a session at a hub from now on."""
        hub = self.hubs[number]
        self.at[place] = number
        if place[0] in self.sampled:
            made = Attachment(hub.domain.namespace(place[0]), place[1], f"client of {hub.name}", mtu=1500)
            made.sender = Session(self, place)
            made.again = FarHost(hub.owner, made).forward
            self.sessions[place] = made
            hub.domain.enter(made, self.clock.now)
        else:
            hub.claims.join(place, int((EPOCH + self.clock.now) * 1000), b"")
            hub.redis.touch()

    def _leave(self, place: Place) -> None:
        hub = self.hubs[self.at.pop(place)]
        session = self.sessions.pop(place, None)
        if not hub.is_alive:
            return
        if session is not None:
            hub.domain.leave(session)
        else:
            hub.claims.leave(place)
            hub.redis.touch()

    # --- hosts that move

    def move(self, place: Place, number: int | None = None) -> None:
        """Let a host leave its hub and join another one of its namespace's, at once."""
        homes = [one for one in self.homes[place[0]] if self.hubs[one].is_alive and one != self.at[place]]
        if not homes:
            return
        self._leave(place)
        self._enter(place, self.random.choice(homes))
        self.expect(place)

    def expect(self, place: Place) -> None:
        """Note when every hub that has the namespace knows where a host is."""
        here = self.at[place]
        told = {self.hubs[number].name for number in (0, *self.homes[place[0]]) if number != here}
        self.waiting[place] = self.clock.now
        self._unknown[place] = {name for name in told if self.by_name[name].is_alive}

    def learned(self, hub: Hub, places: set[Place]) -> None:
        """A hub has learned something about hosts."""
        for place in places & self.waiting.keys():
            unknown = self._unknown[place]
            if hub.name in unknown and self.knows(hub, place):
                unknown.discard(hub.name)
                if not unknown:
                    self.took.append(self.clock.now - self.waiting.pop(place))
                    del self._unknown[place]

    def knows(self, hub: Hub, place: Place) -> bool:
        """Whether a hub sends packets for a host where it is."""
        found = hub.registry.where(place)
        number = self.at[place]
        if hub is self.hubs[number]:
            return True
        return bool(found) and found[0].name == f"hub-{number}"

    def unknown(self) -> int:
        """How many (hub, host) are not as they are: of hubs that live, and hosts of their namespaces."""
        wrong = 0
        for place, number in self.at.items():
            for other in (0, *self.homes[place[0]]):
                hub = self.hubs[other]
                if other != number and hub.is_alive and not self.knows(hub, place):
                    wrong += 1
        return wrong

    # --- packets

    def probe(self) -> None:
        """Send a packet from a random host to another one of its namespace."""
        key = self.random.choice(self.sampled)
        one, two = self.random.sample(range(self.size.hosts), 2)
        place, target = (key, f"host-{one}"), (key, f"host-{two}")
        sender = self.sessions.get(place)
        if sender is None or not self.hubs[self.at[place]].is_alive:
            return
        self._probe += 1
        self._probes[self._probe] = target, self.clock.now
        source, destination = (f"10.0.{number >> 8}.{number & 255}" for number in (one, two))
        packet = packets.udp(
            source, destination, self._probe.to_bytes(4, "big"), ports=(1 + self._probe % 60000, 9)
        )
        hub = self.hubs[self.at[place]]
        data = bytearray(framing.encode(packet) + bytes(framing.SLACK))
        hub_turn.scan(
            hub.owner, FarHost(hub.owner, sender), None, data, memoryview(data), 0, len(data) - framing.SLACK
        )

    def came(self, place: Place, content: bytes) -> None:
        """A packet has come to a host: the one that it is for, or an error to its sender."""
        if content[9] != 17:
            return  # an ICMP error
        number = int.from_bytes(content[28:32], "big")
        target, _ = self._probes.pop(number, (place, 0.0))
        if target != place:
            self.wrong.append(f"a packet for {target} came to {place}")
        self.outcomes["delivered"] += 1

    def settle(self) -> int:
        """How many packets of the last probes have come nowhere; they are forgotten."""
        lost = len(self._probes)
        self._probes.clear()
        return lost

    # --- time

    def run(self, seconds: float, moves: float = 0.0, probes: float = 0.0) -> None:
        """Let time pass, with so many hosts that move and packets that are sent in a second."""
        until = self.clock.now + seconds
        due = [(rate, act) for rate, act in ((moves, self._move_one), (probes, self.probe)) if rate]
        for rate, act in due:
            at = self.clock.now
            while (at := at + self.random.expovariate(rate)) < until:
                self.clock.at(at, act)
        self.clock.run(until)

    def _move_one(self) -> None:
        key = self.random.choice(self.keys)
        place = key, f"host-{self.random.randrange(self.size.hosts)}"
        if self.hubs[self.at[place]].is_alive:
            self.move(place)


class _Task:
    """service_supervisor.Task, on the clock of the simulation."""

    def __init__(self, clock: Clock, run: Callable[[], object]) -> None:
        self._clock, self._run = clock, run
        self._green: Greenlet | None = None

    def start(self) -> None:
        self._green = self._clock.spawn(self._run)

    def kill(self, block: bool = True) -> None:
        if self._green is not None:
            self._clock.at(self._clock.now, self._green.kill)


@contextmanager
def simulated(size: Size, seed: int) -> Iterator[World]:
    """A world, and lib on its clock for as long as this holds."""
    world = World.__new__(World)

    def now() -> float:
        return world.clock.now

    def nothing(*given: object, **more: object) -> nullcontext[None]:
        return nullcontext()

    time = SimpleNamespace(monotonic=now, time=lambda: EPOCH + now())
    redis = {
        "time": time,
        "random": random.Random(seed + 1),
        "gevent": SimpleNamespace(
            sleep=lambda seconds: world.clock.sleep(seconds),
            spawn_later=lambda seconds, call: world.clock.at(now() + seconds, call),
        ),
        "Task": lambda *given, **more: _Task(world.clock, given[1]),
        "Event": lambda: Event(world.clock),
        "redis_connection": lambda source, bounds: Connection(world.server, source),
        "say": lambda entry, *more, **fields: world.logged.update([entry.value]),
        **dict.fromkeys(("breathe", "within", "redis_failing", "redis_in_use", "settle"), nothing),
    }
    replaced = {**redis, "in_steps": iter}
    modules = (
        *(cluster_redis, cluster_redis_lists, cluster_redis_talk, cluster_hosts, cluster_receive),
        *(hub_far_host, hub_log, hub_turn),
    )
    places: list[tuple[Any, str, Any]] = [
        (module, name, value)
        for module in modules
        for name, value in replaced.items()
        if hasattr(module, name)
    ]
    check = SharedSeal.check
    places += [
        (cluster_wire, "decode", lru_cache(maxsize=1 << 16)(cluster_wire.decode)),
        (cluster_wire, "opened", lru_cache(maxsize=1 << 12)(cluster_wire.opened)),
        (SharedSeal, "check", lru_cache(maxsize=1 << 16)(check)),
        (cluster_places, "MAX_CLAIMS", 1 << 30),
        (cluster_registry, "MAX_HUBS", size.hubs + 1),
    ]
    kept = [(module, name, getattr(module, name)) for module, name, _ in places]
    try:
        for module, name, value in places:
            setattr(module, name, value)
        World.__init__(world, size, seed)
        yield world
    finally:
        for module, name, value in kept:
            setattr(module, name, value)
