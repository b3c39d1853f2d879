"""The cluster that this process is a hub of: its registry, its links and its hosts, put together.

Knows: what depends on what, and in which order things begin and end.
Refuses to know: how each of them works (cluster_redis, cluster_links, cluster_hosts).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, Protocol

import gevent
from gevent.event import Event

from lib import __version__, push_routers
from lib.cluster_claims import Claims
from lib.cluster_hosts import Hosts
from lib.cluster_identity import LinkIdentity
from lib.cluster_link import Receiver
from lib.cluster_links import Links
from lib.cluster_places import Place
from lib.cluster_pulse import LinkPulses
from lib.cluster_redis import RedisRegistry, clocks
from lib.cluster_registry import LEASE_SECONDS, Registry
from lib.cluster_seal import Seal, SharedSeal, key_for
from lib.cluster_ways import Send
from lib.counters import Traffic
from lib.hub import Hub
from lib.log_events import Entry
from lib.log_setup import say
from lib.packet import Buffer
from lib.push_shared_redis import PoolStore
from lib.push_sharing import Sharing
from lib.service_scheduling import breathe, in_steps
from lib.service_supervisor import Task
from lib.settings_registry import ClusterSettings
from lib.wire_control import CLUSTER_SIZE

if TYPE_CHECKING:
    from lib.cluster_trust import Trust

LOOK_SECONDS, KNOWN_STEP = 0.25, 0.005
"""How often it is looked whose lease has ended, and at the start whether all is known."""
FILES_SECONDS = 2.0
"""How often it is looked whether a certificate's file has changed."""
FAREWELL_SECONDS = 0.25
"""How long a hub that ends goes on after it has said so: what was sent to its hosts may be on the way."""


class FarHosts(Protocol):
    """What passes packets between links and hosts here: cluster_hosts, or worker_relay with workers."""

    traffic: dict[str, Traffic]
    """Hub -> the counts of all hosts there."""
    lost: dict[str, None]
    """Hubs that no link reaches now."""
    send: Send
    """Sends a run of whole frames to a hub."""
    by_datagrams: Callable[[str, bytes, Buffer], bool] | None
    """Tells those who look on whether a frame for a hub, of a namespace, goes by datagrams."""
    keeps: bool
    """Whether this hub ends, and its clients move."""

    @property
    def sessions(self) -> int:
        """How many sessions this hub has."""

    def start(self) -> None:
        """Begin: sessions here are told of."""

    def stop(self) -> None:
        """End all that leads to other hubs."""

    def receiver(self, hub: str) -> Receiver:
        """What takes the frames that come by a link with a hub."""

    def counts(self, hub: str) -> Traffic:
        """The counts of all hosts at a hub."""

    def unreachable(self, hub: str, is_it: bool) -> None:
        """A link with a hub has been lost or cannot be had, or is there again."""

    def changed(self, places: Collection[Place]) -> None:
        """The registry says something else about these hosts."""

    def look_at_clock(self, ahead: float) -> None:
        """Look whether our clock was set (Hosts.look_at_clock)."""


Make = Callable[[Registry, Claims, Callable[[], None], Callable[[str, bytes], bool]], FarHosts]
"""Makes these, of the arguments of Hosts: registry, claims, touch, grants."""


class Cluster:
    """The cluster of a process, in which the hub service `owner` and those of its domain are."""

    def __init__(
        self,
        settings: ClusterSettings,
        owner: Hub,
        make: Make | None = None,
        sock: Any = None,
        trust: Trust | None = None,
    ) -> None:
        """Open the port for links, unless `sock` listens there already. Raises HostError.

        `trust` is Trust(settings) where somebody has made it already, who had the right to read its files.
        """
        self.settings, self.domain, self.owner = settings, owner.domain, owner
        self._trust: Trust | None = None
        seal: Seal
        identity: LinkIdentity | Trust
        secret = settings.secret.encode()
        if secret:
            seal = SharedSeal(secret, settings.registry.key)
            identity = LinkIdentity(settings.name, secret)
        else:
            from lib.cluster_trust import Trust  # only hubs without a common secret pay for it

            seal = identity = self._trust = trust or Trust(settings)
        epoch = clocks().wall
        self.registry = Registry(settings.name, epoch, seal)
        self.claims = Claims(settings.name, settings.address, epoch, seal.sign, f"tunrouter {__version__}")
        self.redis = RedisRegistry(
            settings.registry, self.registry, self.claims, seal, self._changed, self._restarted
        )
        cluster = key_for(secret, "name of the cluster")[:CLUSTER_SIZE]
        self.cluster_of = self._trust.cluster_of if self._trust is not None else lambda namespace: cluster
        """16 bytes that all hubs which reach a namespace's hosts have in common."""
        make = make or self._hosts
        self.hosts = make(self.registry, self.claims, self.redis.touch, seal.grants)
        self.links = Links(
            settings.name,
            identity,
            (settings.host, settings.port),
            os.urandom(16),
            self._address_of,
            self.hosts.receiver,
            self.hosts.counts,
            settings.channel,
            settings.datagram,
            sock,
        )
        self.hosts.send, self.hosts.by_datagrams = self.links.send, self.links.would_take
        self.claims.sessions = lambda: self.hosts.sessions
        self.links.unreachable = self.hosts.unreachable
        self.links.alive = lambda name: self.registry.alive(name, time.monotonic())
        witness = lambda: self.registry.echoed_at  # noqa: E731
        self._pulses = LinkPulses(self.links.in_use, witness, self.hosts.unreachable)
        self._asking = Task(f"cluster {settings.name}: links are asked", self._pulses.keep_looking)
        self._pools: Sharing | None = None
        if secret:
            store = PoolStore(settings.registry, secret)
            pools = lambda: push_routers.leases_with_pools(owner.tables.routers())  # noqa: E731
            self._pools = Sharing(store, seal, settings.name, pools, self._present, self.is_whole)
        self._whole_at = time.monotonic() + LEASE_SECONDS
        """When all hubs are known, if none is missed until then."""
        self._looking = Task(f"cluster {settings.name}: leases are looked at", self._look, of=self)
        self._work = Event()
        self._working = Task(f"cluster {settings.name}: long lists are dealt with", self._deal)

    def _hosts(
        self,
        registry: Registry,
        claims: Claims,
        touch: Callable[[], None],
        grants: Callable[[str, bytes], bool],
    ) -> FarHosts:
        return Hosts(registry, claims, self.domain, self.owner, touch, grants, self.cluster_of)

    def marks(self) -> dict[bytes, bytes]:
        """cluster_of() of each namespace for which it may differ, and as b"" of all others."""
        named = self._trust.mentioned if self._trust is not None else ()
        return {namespace: self.cluster_of(namespace) for namespace in (b"", *named)}

    def start(self) -> None:
        """Tell the cluster of our hosts from now on, and know those of others."""
        self.hosts.start()
        self.links.start()
        self.redis.start()
        if self._pools is not None:
            push_routers.share(self._pools)
            self._pools.start()
        self._looking.start()
        self._working.start()
        self._asking.start()
        name, address = self.settings.name, self.links.address
        say(Entry.CLUSTER_JOINED, "cluster: hub %s, links on %s", name, address, hub=name, address=address)

    def wait_known(self) -> None:
        """Wait until the other hubs and their hosts are known, unless the registry does not tell."""
        first, now = self.redis.first_look, time.monotonic()
        began = now
        while first.is_worth(now - began) and (not first.is_over(now) or self.registry.places.is_busy):
            gevent.sleep(KNOWN_STEP)
            now = time.monotonic()

    def drain(self) -> None:
        """The hub ends: its clients move to others, and are reached here until they have."""
        self.hosts.keeps = True

    def leave(self) -> None:
        """Tell others that no host is here any more, and wait until they send nothing here."""
        if any(hub.live for hub in self.registry.hubs.values()):
            self.redis.leave()
            gevent.sleep(FAREWELL_SECONDS)

    def stop(self) -> None:
        """Leave the cluster: others learn it at once."""
        self._looking.kill(block=False)
        self._working.kill(block=False)
        self._asking.kill(block=False)
        if self._pools is not None:
            push_routers.unshare(self._pools)
            self._pools.stop()
        self.hosts.stop()  # before the links end: a packet for a host there would dial its hub anew
        self.redis.stop()
        self.links.stop()

    def is_as(self, settings: ClusterSettings | None, owner: Hub | None) -> bool:
        """Whether it is what these settings want, with this hub as it is now."""
        return settings == self.settings and owner is self.owner and owner.domain is self.domain

    def _present(self) -> Callable[[str], bool]:
        """What says whether a host is connected to any hub, in any namespace."""
        far: set[str] = set()

        def is_here(host: str) -> bool:
            if any(one.sessions_of(host) for one in self.domain.namespaces.values()):
                return True
            if not far:
                far.add("")
                live = (hub for hub in list(self.registry.hubs.values()) if hub.live)
                far.update(name for hub in live for _, name in in_steps(list(hub.claims)))
            return host in far

        return is_here

    def is_whole(self) -> bool:
        """Whether all hubs and their hosts are known: then a host that is nowhere is away."""
        return time.monotonic() >= self._whole_at and not self.registry.wanted()

    def why_unreachable(self, name: str) -> str:
        """Why another hub is reached by no link now, or passed over; empty where it is not."""
        return self.links.failed(name) or self._pulses.why(name)

    def _address_of(self, name: str) -> str:
        hub = self.registry.hubs.get(name)
        return hub.address if hub is not None else ""

    def _restarted(self, epoch: int) -> None:
        """An earlier run of this hub had a later epoch, as a clock has been set back."""
        self.registry.epoch = epoch
        self.claims.restart(epoch)

    def _changed(self) -> None:
        """Deal with what has changed, at once, but for what is too much for one turn."""
        self.hosts.changed(self.registry.places.take_changed())
        if self.registry.places.is_busy:
            self._work.set()

    def _deal(self) -> None:
        places = self.registry.places
        while True:
            self._work.wait()
            self._work.clear()
            while places.is_busy:
                places.tidy()
                self.hosts.changed(places.take_changed())
                breathe()

    def _look(self) -> None:
        looked = 0.0
        while True:
            gevent.sleep(LOOK_SECONDS)
            now = time.monotonic()
            if now - self.registry.echoed_at > LEASE_SECONDS / 2:
                self._whole_at = now + LEASE_SECONDS
            if self._trust is not None and now - looked > FILES_SECONDS:
                looked = now
                if self._trust.refresh():
                    self.redis.touch()
            for name in self.registry.expire(time.monotonic()):
                text = "hub %s says nothing: its hosts are gone"
                say(Entry.HUB_LOST, text, name, hub=name)
            self._changed()
            self.hosts.look_at_clock(time.time() - time.monotonic())
            for name in [*self.hosts.lost]:
                if name in self.registry.hubs and self.registry.hubs[name].live:
                    self.links.probe(name)
                else:
                    self.hosts.unreachable(name, False)
