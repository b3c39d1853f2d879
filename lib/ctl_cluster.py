"""Clusters in the control socket's replies to `status` and `drops`: the registry, other hubs, links to them.

Knows: the fields and their units (PROTOCOL.md, the control socket). Refuses to know: how a cluster works
(cluster_live), how rows are shown (cli_show).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib import cluster_running

if TYPE_CHECKING:
    from lib.cluster_link import Link
    from lib.cluster_live import Cluster
    from lib.cluster_registry import OtherHub

Row = dict[str, object]


def rows(now: float) -> list[Row]:
    """A row for each cluster of this process: for the one, or none."""
    return [_cluster(one, now) for one in cluster_running.clusters()]


def _cluster(cluster: Cluster, now: float) -> Row:
    registry, redis = cluster.registry, cluster.redis
    return {
        "name": cluster.settings.name,
        "listen": cluster.links.address,
        "address": cluster.settings.address,
        "registry": redis.name,
        "error": redis.lost,
        "heard_s": _seconds_since(registry.echoed_at, now),
        "commands": redis.commands,
        "messages": {outcome.name.lower(): count for outcome, count in registry.outcomes.items()},
        "own_hosts": len(cluster.claims),
        "hosts": registry.size,
        "hubs": [_hub(cluster, hub, now) for hub in registry.hubs.values()],
    }


def _hub(cluster: Cluster, hub: OtherHub, now: float) -> Row:
    links = cluster.links
    return {
        "name": hub.name,
        "address": hub.address,
        "live": hub.live,
        "behind": hub.behind,
        "hosts": len(hub.claims),
        "heard_s": _seconds_since(hub.heard_at, now),
        "link": _link(links.link_with(hub.name), now),
        "error": links.failed(hub.name),
    }


def _link(link: Link | None, now: float) -> Row | None:
    if link is None:
        return None
    return {
        "peer": link.stream.peer,
        "dialled": link.is_dialled,
        "since_s": round(now - link.since, 1),
        "rtt_s": round(link.control.liveness.rtt, 6),
        "received_bytes": link.traffic.received_bytes,
        "sent_bytes": link.traffic.sent_bytes,
        "received_packets": link.traffic.received_packets,
        "sent_packets": link.traffic.sent_packets,
        "queue_bytes": link.sender.queued,
    }


def _seconds_since(then: float, now: float) -> float | None:
    return round(now - then, 1) if then > float("-inf") else None
