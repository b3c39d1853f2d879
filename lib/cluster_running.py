"""The entrypoints and clusters that run in this process, for whoever shows or counts them.

Knows: that none runs where nobody has loaded its module. So a hub that has neither does not load them: they
are a twentieth of its memory.
Refuses to know: what they do (cluster_entrypoint, cluster_live).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from lib import service_supervisor
from lib.counters import Traffic

if TYPE_CHECKING:
    from lib.cluster_entrypoint_port import EntrypointPort
    from lib.cluster_far_hubs import FarHubs
    from lib.cluster_live import Cluster
    from lib.worker_links import WorkerLinks


class Counted(NamedTuple):
    """What was exchanged with another hub, or came from nobody that is known."""

    service: str
    hub: str
    """Its name or address; "" for datagrams that are nobody's."""
    address: str
    """The hub, or our own address for what is nobody's."""
    traffic: Traffic


by_another: list[str] = []
"""Names of this hub in a cluster where another process of it is the member: in the main one of workers."""


def is_member() -> bool:
    """Whether this process is in a cluster, itself or by another process of the same hub."""
    return bool(by_another or clusters())


def counted() -> Iterator[Counted]:
    """The counters of each other hub."""
    for far in far_hubs():
        yield Counted(far.service, "", far.entry.address, far.traffic)
        for hub in far.all():
            yield Counted(far.service, hub.address, hub.address, hub.traffic)
    for cluster in clusters():
        for name, traffic in list(cluster.hosts.traffic.items()):
            yield Counted(cluster.owner.settings.name, name, name, traffic)
    for links in workers():
        for name, traffic in list(links.hosts.traffic.items()):
            yield Counted(links.owner.settings.name, name, name, traffic)


def entrypoints() -> list[EntrypointPort]:
    """Those that have started and not stopped yet."""
    module = sys.modules.get("lib.cluster_entrypoint_port")
    return service_supervisor.running(module.EntrypointPort) if module is not None else []


def far_hubs() -> list[FarHubs]:
    """The hubs of each entrypoint, also of one that another process of this hub reads from."""
    return [one.hubs for one in entrypoints()] + [
        one.sd.hosts.hubs for one in workers() if one.sd is not None
    ]


def clusters() -> list[Cluster]:
    """The one that this process has joined and not left yet, or none."""
    module = sys.modules.get("lib.cluster_live")
    return service_supervisor.running(module.Cluster) if module is not None else []


def workers() -> list[WorkerLinks]:
    """The links of this process with other workers of the same hubs; none where it is no worker."""
    module = sys.modules.get("lib.worker_links")
    return list(module.running) if module is not None else []


def other_workers() -> set[str]:
    """The names of the other workers of this hub: what they have is here, for whoever asks from outside."""
    return {name for links in workers() for name, hub in links.others.hubs.items() if hub.is_near}
