"""The membership of a process in a cluster: none or one, and what a reload makes of it.

Knows: which hub service has it, and when it is made anew.
Refuses to know: what a hub does in a cluster (cluster_live).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lib.errors import HostError
from lib.hub import Hub
from lib.log_events import Entry
from lib.log_setup import say
from lib.settings_registry import ClusterSettings

if TYPE_CHECKING:
    from lib.cluster_live import Cluster


class ClusterMember:
    """The cluster that a process is a hub of, where it is in one."""

    def __init__(self) -> None:
        self._cluster: Cluster | None = None

    def open(self, settings: ClusterSettings | None, hubs: Mapping[str, Hub]) -> None:
        """Open the port for links; nothing is told before start(). Raises HostError."""
        if settings is not None:
            from lib.cluster_live import Cluster  # a megabyte that only hubs of clusters pay for

            name = settings.services[0]
            if name not in hubs:  # a reload in which it could not be opened
                raise HostError(f"service {name} does not run")
            self._cluster = Cluster(settings, hubs[name])

    def start(self) -> None:
        """Join."""
        if self._cluster is not None:
            self._cluster.start()

    def wait_known(self) -> None:
        """Wait, for a bounded time, until it is known who is at other hubs: then hosts may come here."""
        if self._cluster is not None:
            self._cluster.wait_known()

    def give_to(self, user: int) -> None:
        """This process becomes that user (datagram_port)."""
        if self._cluster is not None:
            self._cluster.links.datagrams.give_to(user)

    def drain(self) -> None:
        """The hub ends: its clients move."""
        if self._cluster is not None:
            self._cluster.drain()

    def leave(self) -> None:
        """They have moved: tell other hubs so, and serve what they have sent before they knew."""
        if self._cluster is not None:
            self._cluster.leave()

    def stop(self) -> None:
        """Leave."""
        cluster, self._cluster = self._cluster, None
        if cluster is not None:
            cluster.stop()

    def apply(self, settings: ClusterSettings | None, hubs: Mapping[str, Hub]) -> list[str]:
        """Leave the cluster, join one, or join anew where settings, hub or namespaces are others.

        Returns a line for each change.
        """
        had = self._cluster
        if had is None and settings is None:
            return []
        owner = hubs.get(settings.services[0]) if settings is not None else None
        if had is not None and had.is_as(settings, owner):
            return []
        self.stop()  # its port may be the new one's
        try:
            self.open(settings, hubs)
        except HostError as error:
            say(Entry.RELOAD_FAILED, "reload: cluster: %s", error, service="", reason=error)
            return ["cluster: left; the next reload tries again"]
        self.start()
        return [f"cluster: joined as {settings.name}" if settings is not None else "cluster: left"]
