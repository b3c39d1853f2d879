"""The cluster's process of a hub with workers: it is the hub to all other hubs, and has no session.

Knows: what a worker is that serves no connection, when other hubs are told of this one, and that this ends
with it.
Refuses to know: what a hub does in a cluster (cluster_live), what an entrypoint is (worker_entrypoint), how
packets pass (worker_relay).

    linked   all workers that there are now are linked: once they have told of their hosts, it joins; once it
             knows those at other hubs, it tells workers so, which take no connection before

It joins with a whole list: else others would take the hosts of a hub whose process was replaced for gone. Its
listening socket is the main process's, so who dials meanwhile waits for the next one, as do datagrams.
"""

from __future__ import annotations

import time
from typing import Any

import gevent
import gevent.socket

from lib import datagram_open, settings_workers
from lib.cluster_live import Cluster
from lib.hub import Hub
from lib.hub_tables import Tables
from lib.service_parts import Parts
from lib.service_supervisor import Task
from lib.settings import Settings
from lib.settings_registry import ClusterSettings
from lib.worker_channel import Channel
from lib.worker_forker import Acceptors, Trusted
from lib.worker_process import Links, Worker
from lib.worker_relay import Relay
from lib.worker_state import CLUSTER_NUMBER

HEAR_SECONDS, HEAR_STEP = 2.0, 0.005
"""How long workers may take to tell of their hosts before the cluster is joined, and how often is looked."""
LOOK_SECONDS = 0.25
"""How often it is looked what has changed of hubs as a whole."""


class _Outside(Worker):
    """The process that other hubs know, of a hub with workers."""

    def __init__(self, channel: Channel, settings: Settings, tables: Tables, acceptors: Acceptors) -> None:
        super().__init__(CLUSTER_NUMBER, channel, settings, tables, acceptors)
        self._relay: Relay | None = None
        self._looking = Task("workers are told of other hubs", self._look)
        self._in_order["linked"] = self._linked_all

    def _served(self, parts: Parts) -> dict[str, Hub]:
        return {}

    def _serve(self, parts: Parts) -> None:
        """Serve nobody; workers are told of other hubs."""
        self._looking.start()

    def _linked_all(self, message: dict[str, Any]) -> None:
        self._spawned.spawn(self._hear_and_join)

    def _hear_and_join(self) -> None:
        """Join, once what is here is known."""
        relay, until = self._relay, time.monotonic() + HEAR_SECONDS
        assert relay is not None
        while not relay.has_heard_all and time.monotonic() < until:
            gevent.sleep(HEAR_STEP)
        self._join()
        relay.known()

    def _join(self) -> None:
        """Tell other hubs of this one, and know who is there."""
        raise NotImplementedError

    def _look(self) -> None:
        assert self._relay is not None
        while True:
            gevent.sleep(LOOK_SECONDS)
            self._relay.look()

    def _leave(self) -> None:
        """All clients have moved: other hubs send nothing here any more, once this returns."""

    def _drain(self, message: dict[str, Any]) -> None:
        self._leave()
        self._send({"did": "drained"})

    def _end(self) -> None:
        """Tell other hubs that this one is not there any more."""
        raise NotImplementedError

    def _stop(self) -> None:
        self._looking.kill(block=False)
        if self._relay is not None:
            self._end()
        super()._stop()


class ClusterWorker(_Outside):
    """The process that has the registry and the links of a hub with workers."""

    def __init__(
        self, channel: Channel, settings: Settings, tables: Tables, acceptors: Acceptors, trust: Trusted
    ) -> None:
        """`trust` is what proves who other hubs are, made with the rights of the start."""
        super().__init__(channel, settings, tables, acceptors)
        assert settings.cluster is not None
        self._of: ClusterSettings = settings.cluster
        self._trust = trust
        self._cluster: Cluster | None = None

    def _linked(self, parts: Parts, workers: int, *descriptors: int) -> Links:
        owner = parts.hubs[self._of.services[0]]
        relay, sock = Relay(owner), gevent.socket.socket(fileno=descriptors[0])
        self._cluster = cluster = Cluster(self._of, owner, relay.use, sock, self._trust)
        relay.is_whole, relay.marks = cluster.is_whole, cluster.marks
        self._relay = relay
        return relay

    def _join(self) -> None:
        assert self._cluster is not None
        self._cluster.start()
        self._cluster.wait_known()

    def _look_at(self, new: Settings) -> None:
        """See whether another cluster can be joined: the next process of it will. Raises HostError."""
        if new.cluster is not None and new.cluster != self._of and not new.cluster.secret:
            from lib.cluster_trust import Trust

            Trust(new.cluster)

    def _leave(self) -> None:
        if self._cluster is not None:
            self._cluster.leave()

    def _end(self) -> None:
        if self._cluster is not None:
            self._cluster.stop()


class EntrypointWorker(_Outside):
    """The process that has the entrypoint of a hub with workers."""

    def _linked(self, parts: Parts, workers: int, *descriptors: int) -> Links:
        from lib.worker_entrypoint import EntrypointRelay  # only hubs with an entrypoint pay for it

        found = settings_workers.entrypoint(self._written)
        assert found is not None
        name, entry = found
        self._entrypoint = EntrypointRelay(parts.hubs[name], entry, datagram_open.shared(descriptors[0]))
        self._relay = self._entrypoint
        return self._entrypoint

    def _join(self) -> None:
        self._entrypoint.begin()

    def _end(self) -> None:
        self._entrypoint.end()


def cluster_worker(
    channel: Channel, settings: Settings, tables: Tables, acceptors: Acceptors, trust: Trusted
) -> Worker:
    """The cluster's process, or the one that has the entrypoint: a hub has one of them at most."""
    if settings.cluster is not None:
        return ClusterWorker(channel, settings, tables, acceptors, trust)
    return EntrypointWorker(channel, settings, tables, acceptors)
