"""Values of the metrics of a cluster: its hubs as this one knows them, links, the registry.

Knows: which field of the view of a cluster each metric is. Refuses to know: the exposition format (metrics).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from lib import cluster_running, ctl_cluster
from lib.metrics_names import CLUSTER, Family

if TYPE_CHECKING:
    from lib.cluster_live import Cluster
    from lib.datagram_channel import Figures

Named = list[tuple[tuple[str, ...], float]]
"""(values of the labels, value)."""


def rows() -> Iterator[tuple[Family, Named]]:
    """Each metric with its rows; without rows where this process is in no cluster."""
    clusters = cluster_running.clusters()
    hubs = ctl_cluster.view(time.monotonic(), time.time())["hubs"] if clusters else []
    yield CLUSTER["live"], [((hub["name"],), float(hub["live"])) for hub in hubs if not hub["here"]]
    for name in ("hosts", "sessions"):
        yield CLUSTER[name], [((hub["name"],), float(hub[name])) for hub in hubs]
    yield CLUSTER["rtt"], [((hub["name"],), hub["rtt_s"]) for hub in hubs if hub["rtt_s"]]
    yield (
        CLUSTER["datagrams"],
        [((hub["name"],), float(hub["datagrams"] == "good")) for hub in hubs if hub["datagrams"]],
    )
    channels = _channels(clusters)
    yield CLUSTER["datagram_rtt"], [((name,), one.rtt) for name, one in channels if one.rtt]
    yield CLUSTER["datagram_loss"], [((name,), one.loss) for name, one in channels]
    yield CLUSTER["up"], [((one.redis.name,), float(not one.redis.lost)) for one in clusters]
    yield CLUSTER["commands"], [((one.redis.name,), float(one.redis.commands)) for one in clusters]
    yield (
        CLUSTER["messages"],
        [
            ((one.redis.name, outcome.name.lower()), float(count))
            for one in clusters
            for outcome, count in one.registry.outcomes.items()
        ],
    )


def _channels(clusters: list[Cluster]) -> list[tuple[str, Figures]]:
    """(hub, what is known of the datagram channel of the link with it)."""
    links = [
        (hub.name, one.links.link_with(hub.name))
        for one in clusters
        for hub in list(one.registry.hubs.values())
    ]
    now = time.monotonic()
    return [
        (name, link.channel.figures(now))
        for name, link in links
        if link is not None and link.channel is not None
    ]
