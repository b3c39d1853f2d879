"""The cluster's process of a hub with workers: it is the hub to all other hubs, and has no session.

Knows: what a worker is that serves no connection, when the cluster is joined, and that this ends with it.
Refuses to know: what a hub does in a cluster (cluster_live), how packets pass (worker_relay).

    linked   all workers that there are now are linked: once they have told of their hosts, it joins; once it
             knows those at other hubs, it tells workers so, which take no connection before

It joins with a whole list: else others would take the hosts of a hub whose process was replaced for gone. Its
listening socket is the main process's, so who dials meanwhile waits for the next one.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import gevent
import gevent.socket

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

if TYPE_CHECKING:
    pass

HEAR_SECONDS, HEAR_STEP = 2.0, 0.005
"""How long workers may take to tell of their hosts before the cluster is joined, and how often is looked."""
LOOK_SECONDS = 0.25
"""How often it is looked what has changed of hubs as a whole."""


class ClusterWorker(Worker):
    """The process that has the registry and the links of a hub with workers."""

    def __init__(
        self, channel: Channel, settings: Settings, tables: Tables, acceptors: Acceptors, trust: Trusted
    ) -> None:
        """`trust` is what proves who other hubs are, made with the rights of the start."""
        super().__init__(CLUSTER_NUMBER, channel, settings, tables, acceptors)
        assert settings.cluster is not None
        self._of: ClusterSettings = settings.cluster
        self._trust = trust
        self._relay: Relay | None = None
        self._cluster: Cluster | None = None
        self._looking = Task("workers are told of other hubs", self._look)
        self._in_order["linked"] = self._linked_all

    def _linked(self, parts: Parts, workers: int, *descriptors: int) -> Links:
        owner = parts.hubs[self._of.services[0]]
        relay, sock = Relay(owner), gevent.socket.socket(fileno=descriptors[0])
        self._cluster = cluster = Cluster(self._of, owner, relay.use, sock, self._trust)
        relay.is_whole, relay.marks = cluster.is_whole, cluster.marks
        self._relay = relay
        return relay

    def _served(self, parts: Parts) -> dict[str, Hub]:
        return {}

    def _serve(self, parts: Parts) -> None:
        """Serve nobody; workers are told of other hubs."""
        self._looking.start()

    def _linked_all(self, message: dict[str, Any]) -> None:
        self._spawned.spawn(self._join)

    def _join(self) -> None:
        """Join, once what is here is known."""
        relay, until = self._relay, time.monotonic() + HEAR_SECONDS
        assert relay is not None
        assert self._cluster is not None
        while not relay.has_heard_all and time.monotonic() < until:
            gevent.sleep(HEAR_STEP)
        self._cluster.start()
        self._cluster.wait_known()
        relay.known()

    def _look(self) -> None:
        assert self._relay is not None
        while True:
            gevent.sleep(LOOK_SECONDS)
            self._relay.look()

    def _look_at(self, new: Settings) -> None:
        """See whether another cluster can be joined: the next process of it will. Raises HostError."""
        if new.cluster is not None and new.cluster != self._of and not new.cluster.secret:
            from lib.cluster_trust import Trust

            Trust(new.cluster)

    def _drain(self, message: dict[str, Any]) -> None:
        """All clients have moved: other hubs send nothing here any more, once this returns."""
        if self._cluster is not None:
            self._cluster.leave()
        self._send({"did": "drained"})

    def _stop(self) -> None:
        self._looking.kill(block=False)
        if self._cluster is not None:
            self._cluster.stop()
        super()._stop()
