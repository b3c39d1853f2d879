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
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from lib import (
    __version__,
    cluster_running,
    ctl_cluster,
    ctl_filter,
    ctl_order,
    ctl_policy,
    ctl_session,
    ctl_tables,
    log_setup,
    namespace_titles,
    prefixes,
    service_supervisor,
)
from lib.addresses import join_host_port
from lib.counters import Traffic
from lib.ctl_filter import Filter
from lib.ctl_order import Order
from lib.ctl_routes import PrefixesByHost
from lib.ctl_session import SessionRow
from lib.hub import Hub
from lib.hub_session import HubSession
from lib.hub_tables import Tables
from lib.log_output import Output
from lib.notify_delivery import Receiver
from lib.service_scheduling import in_steps
from lib.service_threads import aside
from lib.session_problems import problems_of, silent_s

if TYPE_CHECKING:
    from lib.client import Client
    from lib.client_tries import Away
    from lib.cluster_far_hubs import FarHubs

MAX_WARNINGS = 100
"""Mistaken identities of a hub's clients that are listed."""

Row = dict[str, object]
_LISTS = ("tables", "tasks", "troubles", "log", "notify", "entrypoints", "clusters")
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
    belongs to no host; with "most" only the first ones in an order (ctl_order), and totals of all. Packets
    are received while those are chosen. Raises ValueError for a wrong "ns", "most" or "sort".
    """
    now, wanted, order = time.monotonic(), ctl_filter.read(request), ctl_order.read(request)
    asked = hubs, clients, wanted, now
    return {
        "software": f"tunrouter {__version__}",
        "pid": os.getpid(),
        "user": _user(),
        "control": control,
        "uptime_s": round(now - started, 1),
        "hubs": _hubs(list(hubs.values()), wanted, now),
        **(_all(*asked) if order is None else _first(order, *asked)),
        "policy": ctl_policy.policy(bool(wanted)),
        **({"only": wanted.words(), "refused": {}, **{key: [] for key in _LISTS}} if wanted else {}),
        **({} if wanted else _of_no_host(hubs, tables, now)),
    }


def _all(hubs: Mapping[str, Hub], clients: Mapping[str, Client], wanted: Filter, now: float) -> Row:
    """All sessions and clients that fit."""
    return {
        "sessions": session_rows(list(hubs.values()), wanted, now),
        "clients": _client_rows(clients, wanted, now),
    }


def _first(
    order: Order, hubs: Mapping[str, Hub], clients: Mapping[str, Client], wanted: Filter, now: float
) -> Row:
    """Those that come first, and what is summed up of all. Of the others only a few fields are looked at."""
    totals, known = ctl_order.Totals(), PrefixesByHost()

    def counted(row: Mapping[str, Any]) -> Mapping[str, Any]:
        totals.add(row)
        return row

    def row_of(session: HubSession) -> Mapping[str, Any]:
        attachment = session.attachment
        if order.sort == "prefixes":
            for _ in in_steps(known.read(attachment.namespace)):
                pass
        return counted(SessionRow(session, now, known.of(attachment) if order.sort == "prefixes" else ()))

    here = (one for one in in_steps(_sessions(list(hubs.values()))) if _fits(one, wanted))
    sessions = order.first(here, row_of)
    rows = (row for row in in_steps(_client_rows(clients, wanted, now)) if row is not None)
    chosen = order.first(rows, counted)
    return {"totals": totals.row(), "sessions": _rows(sessions, wanted, now), "clients": iter(chosen)}


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
        "tasks": tasks(now),
        "troubles": [one.row(now) for one in log_setup.troubles()],
        "log": [_output(output) for output in log_setup.outputs()],
        "clusters": ctl_cluster.rows(now),
        "notify": receivers(),
        "entrypoints": list(_entrypoints()),
    }


def _entrypoints() -> Iterator[Row]:
    """What a hub has to do with other hubs. A worker tells only what it has itself of it."""
    for one in cluster_running.entrypoints():
        yield _entrypoint(one.hubs, len(one.registration), one.registration.known, one.asked_for())
    for links in cluster_running.workers():
        if links.sd is not None:
            yield _entrypoint(links.sd.hosts.hubs, 0, 0, links.sd.hosts.count())


def _entrypoint(far: FarHubs, sessions: int, registered: int, asked_for: int) -> Row:
    return {
        "service": far.service,
        "address": far.entry.address,
        "sd": far.entry.sd.name,
        "allow": list(far.entry.allow.texts()),
        "sessions": sessions,
        "registered": registered,
        "hosts_asked_for": asked_for,
        "hubs": [{"hub": hub.address, **_counts(hub.traffic)} for hub in far.all()],
        **_counts(far.traffic),
    }


def _counts(traffic: Traffic) -> Row:
    return {
        "received_packets": traffic.received_packets,
        "received_bytes": traffic.received_bytes,
        "sent_packets": traffic.sent_packets,
        "sent_bytes": traffic.sent_bytes,
        "drops": {reason.value: count for reason, count in traffic.drops.items() if count},
    }


def receivers() -> list[Row]:
    """The receivers of `notify` in this process."""
    return [_receiver(receiver) for receiver in service_supervisor.running(Receiver)]


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
    return _rows(_sessions(hubs), wanted, now)


def _sessions(hubs: list[Hub]) -> list[HubSession]:
    return [session for hub in hubs for session in hub.sessions.values()]


def _fits(session: HubSession, wanted: Filter) -> bool:
    attachment = session.attachment
    return attachment.is_here and wanted.fits(attachment.host, attachment.namespace.id)


def _rows(sessions: Iterable[HubSession], wanted: Filter, now: float) -> Iterator[Row | None]:
    prefixes = PrefixesByHost()
    for session in sessions:
        if not _fits(session, wanted):
            yield None
            continue
        yield from prefixes.read(session.attachment.namespace)
        if session.attachment.is_here:
            yield ctl_session.session_row(session, prefixes.of(session.attachment), now)


def _client_rows(clients: Mapping[str, Client], wanted: Filter, now: float) -> Iterator[Row | None]:
    for client in list(clients.values()):
        fits = wanted.fits(client.settings.host, client.node.namespace)
        yield _client(client, now) if fits else None


def _client(client: Client, now: float) -> Row:
    session, settings, node = client.session, client.settings, client.node
    return {
        "service": settings.name,
        "host": settings.host,
        **namespace_titles.fields(node.namespace),
        "problems": _problems(client, now),
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
        "lanes": ctl_session.lane_rows(session.sender) if session else [],
        "channel": ctl_session.channel_row(session.channel, now) if session else None,
        "no_channel": session.why_no_channel if session else "",
        "queue_bytes": session.sender.queued if session else 0,
        "queue_s": round(session.sender.waits(now), 4) if session else 0.0,
        **ctl_session.traffic_row(client.traffic, client.rates, now),
    }


def _problems(client: Client, now: float) -> list[str]:
    """What is wrong just now, as codes: with its session, or that it has none or another one is silent."""
    session = client.session
    channel = session.channel if session else None
    found = problems_of(client.traffic, session.sender if session else None, channel, now)
    if any(path.session.sender.silent_at for path in client.paths if path.session is not session):
        found.insert(0, "silent")
    return found if session else ["away", *found]


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
            "silent_s": silent_s(path.session.sender, now),
        }
        for path in client.paths
    ]
    for away in client.aways:
        why = f"no session: {away.reason or 'not tried yet'}"
        found.append({"hub": away.hub, "state": why, "rtt_s": 0.0, "since_s": None, "silent_s": None})
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


def tasks(now: float) -> Iterator[Row]:
    """A row for each task of this process."""
    return (_task(task, now) for task in service_supervisor.tasks())


def _task(task: service_supervisor.Task, now: float) -> Row:
    failing = task.failing_for(now)
    return {
        "task": task.name,
        "failures": task.failures,
        "error": task.error,
        "failing_s": round(failing, 1) if failing is not None else None,
        "ended": task.dead,
    }


def _output(output: Output) -> Row:
    trouble = output.trouble
    return {
        "output": output.name,
        "waiting": output.waiting,
        "lost": output.lost + output.refused,
        "error": (trouble.strerror or str(trouble)) if trouble is not None else "",
    }
