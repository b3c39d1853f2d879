"""Reply to the control socket's `status`: hubs, sessions, clients, tables and their sources, with counters.

Knows: the fields and their units (PROTOCOL.md, the control socket). Refuses to know: how they are sent
(ctl_server) and shown (cli_show).

Long lists are generators of rows; they yield None where they have worked for a while without a row, so that
packets get their turn.
"""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from lib import (
    __version__,
    cluster_running,
    ctl_cluster,
    ctl_filter,
    ctl_policy,
    ctl_tables,
    log_setup,
    namespace_titles,
    prefixes,
    service_supervisor,
)
from lib.addresses import join_host_port
from lib.counter_rates import Rates
from lib.counters import Traffic
from lib.ctl_filter import Filter
from lib.ctl_routes import PrefixesByHost
from lib.datagram_channel import Channel
from lib.hub import Hub
from lib.hub_session import HubSession
from lib.hub_tables import Tables
from lib.log_output import Output
from lib.notify_delivery import Receiver
from lib.service_threads import aside
from lib.session_lane_sender import LaneSender
from lib.stream_layer import AnyStream

if TYPE_CHECKING:
    from lib.client import Client
    from lib.client_reconnect import Away
    from lib.cluster_entrypoint import Entrypoint

MAX_WARNINGS = 100
"""Mistaken identities of a hub's clients that are listed."""

Row = dict[str, object]
_LISTS = ("tables", "tasks", "log", "notify", "entrypoints", "clusters")
"""Fields of what belongs to no host."""
NAME_SECONDS = 1.0
"""How long the name of our own user may take (LDAP and the like)."""


def status(
    hubs: Mapping[str, Hub],
    clients: Mapping[str, Client],
    tables: Tables,
    started: float,
    control: str,
    request: Mapping[str, Any],
) -> dict[str, object]:
    """The reply; `started` is when the process began, in seconds of the monotonic clock.

    `control` is the path of its control socket.
    With "host" or "ns" in the request only the sessions and clients that fit are listed, and nothing that
    belongs to no host. Raises ValueError for a wrong "ns".
    """
    now, wanted = time.monotonic(), ctl_filter.read(request)
    return {
        "software": f"tunrouter {__version__}",
        "pid": os.getpid(),
        "user": _user(),
        "control": control,
        "uptime_s": round(now - started, 1),
        "hubs": _hubs(list(hubs.values()), wanted, now),
        "sessions": session_rows(list(hubs.values()), wanted, now),
        "clients": (
            _client(client, now) if wanted.fits(client.settings.host, client.node.namespace) else None
            for client in list(clients.values())
        ),
        "policy": ctl_policy.policy(bool(wanted)),
        **({"only": wanted.words(), "refused": {}, **{key: [] for key in _LISTS}} if wanted else {}),
        **({} if wanted else _of_no_host(hubs, tables, now)),
    }


def _user() -> str:
    user = os.geteuid()
    try:
        return aside("user names", pwd.getpwuid, user, seconds=NAME_SECONDS).pw_name
    except (KeyError, TimeoutError):  # no such account, as in a container, or a directory service that hangs
        return str(user)


def _of_no_host(hubs: Mapping[str, Hub], tables: Tables, now: float) -> Row:
    return {
        "refused": {
            name: {why.value: count for why, count in hub.refused.items()} for name, hub in hubs.items()
        },
        "tables": ctl_tables.rows(tables, now),
        "tasks": (_task(task, now) for task in service_supervisor.tasks()),
        "log": [_output(output) for output in log_setup.outputs()],
        "clusters": ctl_cluster.rows(now),
        "notify": [_receiver(receiver) for receiver in service_supervisor.running(Receiver)],
        "entrypoints": [_entrypoint(one) for one in cluster_running.entrypoints()],
    }


def _entrypoint(one: Entrypoint) -> Row:
    """What a hub has to do with other hubs."""
    return {
        "service": one.settings.name,
        "address": one.entry.address,
        "sd": one.entry.sd.name,
        "allow": list(one.entry.allow.texts()),
        "sessions": len(one.registration),
        "registered": one.registration.known,
        "hosts_asked_for": sum(map(len, one.directories())),
        "hubs": [{"hub": hub.address, **_counts(hub.traffic)} for hub in one.hubs.values()],
        **_counts(one.traffic),
    }


def _counts(traffic: Traffic) -> Row:
    return {
        "received_packets": traffic.received_packets,
        "received_bytes": traffic.received_bytes,
        "sent_packets": traffic.sent_packets,
        "sent_bytes": traffic.sent_bytes,
        "drops": {reason.value: count for reason, count in traffic.drops.items() if count},
    }


def _receiver(receiver: Receiver) -> Row:
    return {
        "name": receiver.settings.name,
        "kind": "command" if receiver.settings.command else "url",
        "delivered": receiver.counts.delivered,
        "failed": receiver.counts.failed,
        "dropped": receiver.counts.dropped,
        "waiting": receiver.waiting,
        "error": receiver.error,
    }


def _hubs(hubs: list[Hub], wanted: Filter, now: float) -> Iterator[Row | None]:
    """The rows of hubs; None between them, where packets may have their turn."""
    for hub in hubs:
        settings, warnings, more = hub.settings, list[str](), 0
        for found in hub.identities.warnings(list(hub.sessions.values()), now):
            if found is None:
                yield None
            elif wanted.fits(found[1], found[0]) and len(warnings) < MAX_WARNINGS:
                warnings.append(found[2])
            else:
                more += wanted.fits(found[1], found[0])
        yield {
            "service": settings.name,
            "listen": join_host_port(settings.host, settings.port),
            "transport": settings.transport.kind,
            "sessions": len(hub.sessions),
            "unnamed_clients": hub.unnamed,
            "warnings": [*warnings, *([f"and {more} more like these"] if more else [])],
        }
        if hub.sessions:
            yield None


def session_rows(hubs: list[Hub], wanted: Filter, now: float) -> Iterator[Row | None]:
    """The rows of all sessions that fit; None between them, where packets may have their turn."""
    prefixes = PrefixesByHost()
    for session in [session for hub in hubs for session in hub.sessions.values()]:
        attachment = session.attachment
        if not wanted.fits(attachment.host, attachment.namespace.id):
            yield None
            continue
        yield from prefixes.read(attachment.namespace)
        if attachment.live:
            yield session_row(session, prefixes.of(attachment), now)


def session_row(session: HubSession, prefixes: list[str], now: float) -> Row:
    """The row of a session, with the prefixes of its host."""
    attachment = session.attachment
    return {
        "service": session.hub.settings.name,
        "host": attachment.host,
        **namespace_titles.fields(attachment.namespace.id),
        "peer": attachment.peer,
        "via": session.stream.via,
        "address": session.request.source,
        "prefixes": prefixes,
        "transport": session.hub.settings.transport.kind,
        "congestion": session.sender.stream.congestion,
        "mptcp_paths": session.sender.stream.paths,
        "software": session.control.software,
        "since_s": round(now - attachment.since, 1),
        "rtt_s": round(session.control.liveness.rtt, 6),
        "lanes": _lanes(session.sender),
        "channel": _channel(session.channel, now),
        "no_channel": session.hub.datagrams.why_none(session),
        "queue_bytes": session.sender.queued,
        "queue_s": round(session.sender.waits(now), 4),
        "superpackets": bool(attachment.offloads),
        **_traffic(attachment.traffic, session.rates, now),
    }


def _lanes(sender: LaneSender) -> list[Row]:
    """A row for each connection of a session; the first carries what is bulk, where there are two."""
    carries = ("bulk", "sparse") if len(sender.lanes) > 1 else ("all",)
    found = [(what, lane.stream) for what, lane in zip(carries, sender.lanes, strict=False)]
    return [{"peer": stream.peer, "carries": what, **_figures(stream)} for what, stream in found]


def _channel(channel: Channel | None, now: float) -> Row | None:
    """A session's datagram channel, where it has one."""
    if channel is None:
        return None
    figures = channel.figures(now)
    return {
        "state": figures.state,
        "reason": figures.why,
        "peer": figures.far,
        "rtt_s": round(figures.rtt, 6),
        "jitter_s": round(figures.jitter, 6),
        "loss": round(figures.loss, 5),
        "path_mtu": figures.mtu,
        "sent_datagrams": figures.sent,
        "received_datagrams": figures.received,
    }


def _figures(stream: AnyStream) -> Row:
    figures = stream.figures()
    return {
        "rtt_s": round(figures.rtt, 6),
        "sent_bytes": figures.sent,
        "received_bytes": figures.received,
        "delivered_bytes_per_s": figures.rate,
    }


def _client(client: Client, now: float) -> Row:
    session, settings, node = client.session, client.settings, client.node
    return {
        "service": settings.name,
        "host": settings.host,
        **namespace_titles.fields(node.namespace),
        "device": client.device_name,
        "netns": settings.device.netns,
        "addresses": [str(address) for address in client.device_settings.addresses],
        "from_hub": _from_hub(client),
        "prefixes": [prefixes.text(*prefix) for prefix in client.transit.gateways],
        "differences": client.differences(),
        "warnings": client.transit.warnings(now),
        "advice": [*session.warnings(), *client.map_advice()] if session else [],
        "map": client.shown_as,
        **_exit(client),
        "hub": session.peer if session else None,
        "away": None if session else _away(client.away, now),
        "paths": _paths(client, now),
        "transport": node.transport.kind,
        "congestion": session.congestion if session else "",
        "mptcp_paths": session.paths if session else 0,
        "software": session.control.software if session else "",
        "since_s": round(now - session.since, 1) if session else None,
        "rtt_s": round(session.control.liveness.rtt, 6) if session else 0.0,
        "lanes": _lanes(session.sender) if session else [],
        "channel": _channel(session.channel, now) if session else None,
        "no_channel": session.why_no_channel if session else "",
        "queue_bytes": session.sender.queued if session else 0,
        "queue_s": round(session.sender.waits(now), 4) if session else 0.0,
        **_traffic(client.traffic, client.rates, now),
    }


def _paths(client: Client, now: float) -> list[Row]:
    """A row for each of several sessions, and for each that is missing; none where there is to be one."""
    if client.settings.active < 2:
        return []
    found: list[Row] = [
        {
            "hub": path.session.peer,
            "state": path.state,
            "rtt_s": round(path.session.control.liveness.rtt, 6),
            "since_s": round(now - path.session.since, 1),
        }
        for path in client.paths
    ]
    for away in client.aways:
        why = f"no session: {away.reason or 'not tried yet'}"
        found.append({"hub": away.hub, "state": why, "rtt_s": 0.0, "since_s": None})
    return found


def _exit(client: Client) -> Row:
    """Whether it is an exit and has a killswitch, each with its table of nftables while that is set."""
    wanted = {"nat": client.settings.nat, "killswitch": client.settings.killswitch}
    return {name: {"on": wanted[name], "table": table or None} for name, table in client.exit_tables.items()}


def _from_hub(client: Client) -> Row:
    """What is set of what the hub tells, and why the rest is not."""
    taken = client.push.taken
    return {
        "addresses": [str(ip_address(address)) for address in taken.addresses],
        "routes": len(taken.routes),
        "mtu": taken.mtu,
        "dns": [str(ip_address(address)) for address in taken.dns],
        "domain": taken.domain,
        "names_by": client.push.names.by,
        "refused": client.push.lines,
    }


def _away(away: Away, now: float) -> Row:
    next_try = round(max(0.0, away.next_at - now), 1)
    return {"hub": away.hub, "reason": away.reason, "next_try_s": next_try}


def _traffic(traffic: Traffic, rates: Rates, now: float) -> Row:
    rate = rates.rate(traffic, now)
    return {
        "received_packets": traffic.received_packets,
        "received_bytes": traffic.received_bytes,
        "sent_packets": traffic.sent_packets,
        "sent_bytes": traffic.sent_bytes,
        "received_packets_per_s": round(rate.received_packets, 1),
        "received_bytes_per_s": round(rate.received_bytes),
        "sent_packets_per_s": round(rate.sent_packets, 1),
        "sent_bytes_per_s": round(rate.sent_bytes),
        "marked": traffic.marked,
        "drops": {reason.value: count for reason, count in traffic.drops.items() if count},
    }


def _task(task: service_supervisor.Task, now: float) -> Row:
    failing = task.failing_for(now)
    return {
        "task": task.name,
        "failures": task.failures,
        "error": task.error,
        "failing_s": round(failing, 1) if failing is not None else None,
    }


def _output(output: Output) -> Row:
    trouble = output.trouble
    return {
        "output": output.name,
        "waiting": output.waiting,
        "lost": output.lost + output.refused,
        "error": (trouble.strerror or str(trouble)) if trouble is not None else "",
    }
