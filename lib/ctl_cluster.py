"""Clusters in the control socket's replies to `status` and `cluster`: registry, other hubs, links to them.

Knows: the fields and their units (PROTOCOL.md, the control socket). Refuses to know: how a cluster works
(cluster_live), how hubs are added up (cluster_view), how rows are shown (cli_show).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lib import cluster_running, cluster_view
from lib.ctl_session import channel_row
from lib.service_scheduling import in_steps

if TYPE_CHECKING:
    from lib.cluster_link import Link
    from lib.cluster_live import Cluster
    from lib.cluster_places import OtherHub

Row = dict[str, object]


def rows(now: float) -> list[Row]:
    """A row for each cluster of this process: for the one, or none."""
    return [_cluster(one, now) for one in cluster_running.clusters()]


def view(now: float, clock: float) -> dict[str, Any]:
    """All hubs of the cluster that this process is in, and their totals. `clock`: seconds since 1970.

    Raises ValueError where it is in none.
    """
    for cluster in cluster_running.clusters():
        registry = cluster.redis
        head = {"cluster": cluster.settings.name, "registry": registry.name, "error": registry.lost}
        others = [_other(cluster, hub, now, clock) for hub in cluster.registry.hubs.values()]
        return head | cluster_view.view(_here(cluster, clock), others)
    raise ValueError("this process is in no cluster: its configuration has no section `cluster`")


def hubs_with(host: str, namespace: bytes | None) -> list[str]:
    """The names of other hubs that have a session of a host, in one namespace or (None) in any.

    Empty where this process is in no cluster.
    """
    hubs: list[Any] = []
    for cluster in cluster_running.clusters():
        hubs += cluster.registry.hubs.values()
    for links in cluster_running.workers():
        hubs += [one for one in links.others.hubs.values() if not one.is_near]
    found = set()
    for hub in hubs:
        places = list(hub.claims) if hub.live else []
        if any(name == host and namespace in (None, there) for there, name in in_steps(places)):
            found.add(hub.name)
    return sorted(found)


def _here(cluster: Cluster, clock: float) -> Row:
    claims, error = cluster.claims, cluster.redis.lost
    return {
        "name": cluster.settings.name,
        "here": True,
        "live": True,
        "state": cluster_view.state(True, False, error, here=True),
        "error": error,
        "hosts": len(claims),
        "sessions": claims.sessions(),
        "rtt_s": None,
        "datagrams": None,
        "software": claims.software,
        "up_s": _up(claims.epoch, clock),
        "heard_s": None,
        "address": cluster.settings.address,
    }


def _other(cluster: Cluster, hub: OtherHub, now: float, clock: float) -> Row:
    link, error = cluster.links.link_with(hub.name), cluster.why_unreachable(hub.name)
    return {
        "name": hub.name,
        "here": False,
        "live": hub.live,
        "state": cluster_view.state(hub.live, hub.behind, error),
        "error": error,
        "hosts": len(hub.claims),
        "sessions": hub.sessions,
        "rtt_s": round(link.control.liveness.rtt, 6) if link is not None else None,
        "datagrams": _datagrams(link, now),
        "software": hub.software or (link.control.software if link is not None else ""),
        "up_s": _up(hub.epoch, clock),
        "heard_s": _seconds_since(hub.heard_at, now),
        "address": hub.address,
    }


def _datagrams(link: Link | None, now: float) -> str | None:
    if link is None:
        return None
    return link.channel.figures(now).state if link.channel is not None else "none"


def _up(epoch: int, clock: float) -> float:
    """Seconds since a hub's start: it begins an epoch by its clock (cluster_registry)."""
    return round(max(0.0, clock - epoch / 1000), 1)


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
        "error": cluster.why_unreachable(hub.name),
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
        "channel": channel_row(link.channel, now),
        "no_channel": link.why_no_channel,
    }


def _seconds_since(then: float, now: float) -> float | None:
    return round(now - then, 1) if then > float("-inf") else None
