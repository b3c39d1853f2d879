"""Handlers of the control socket's requests: hello, explain, status, cluster, health, drops, routes, kick, ….

Knows: which requests there are, and which part of the process has the reply to each.
Refuses to know: how a request is transported (ctl_server), what the longer replies contain (ctl_status,
ctl_health, ctl_drops, ctl_routes, ctl_explain, ctl_enrol).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from lib import (
    __version__,
    ctl_cluster,
    ctl_drops,
    ctl_enrol,
    ctl_explain,
    ctl_filter,
    ctl_health,
    ctl_routes,
    ctl_sessions,
    ctl_status,
    hub_drain,
)
from lib.ctl_server import Handlers
from lib.errors import HostError
from lib.hub import Hub
from lib.hub_tables import Tables

if TYPE_CHECKING:
    from lib.client import Client


def handlers(
    hubs: Mapping[str, Hub],
    clients: Mapping[str, Client],
    tables: Tables,
    files: Callable[[], tuple[str, ...]],
    control: str,
) -> Handlers:
    """The handlers of a process with these services, by the name of the request.

    `files` are its -C files, `control` is the path of its control socket.
    """
    started = time.monotonic()
    return {
        "hello": lambda request: {
            "software": f"tunrouter {__version__}",
            "pid": os.getpid(),
            "hubs": list(hubs),
            "clients": list(clients),
            "files": list(files()),
        },
        "explain": lambda request: _explain(hubs, request),
        "status": lambda request: ctl_status.status(hubs, clients, tables, started, control, request),
        "cluster": lambda request: ctl_cluster.view(time.monotonic(), time.time()),
        "health": lambda request: ctl_health.health(hubs, clients, request),
        "drops": lambda request: ctl_drops.drops(hubs, clients, request),
        "routes": lambda request: ctl_routes.routes(hubs, tables, request),
        "kick": lambda request: _kick(hubs, request),
        "drain": lambda request: _drain(hubs, request),
        "invite": lambda request: _written(ctl_enrol.invite, hubs, tables, request),
        "hosts": lambda request: ctl_enrol.hosts(hubs, tables, request),
        "revoke": lambda request: _written(ctl_enrol.revoke, hubs, tables, request),
    }


def _kick(hubs: Mapping[str, Hub], request: Mapping[str, Any]) -> dict[str, object]:
    """End the sessions of a host: {"host": name}, optional "ns": UUID. Its client may connect again."""
    sessions = ctl_sessions.sessions_of(hubs, request)
    for session in sessions:
        session.sender.close("kicked by the operator")
    return {"sessions": len(sessions)}


def _drain(hubs: Mapping[str, Hub], request: Mapping[str, Any]) -> dict[str, object]:
    """Ask a host to get another session before it gives up this one: {"host": name}, optional "ns": UUID."""
    sessions = ctl_sessions.sessions_of(hubs, request)
    return {"sessions": sum([hub_drain.move(session) for session in sessions])}


def _written(
    act: Callable[..., dict[str, object]],
    hubs: Mapping[str, Hub],
    tables: Tables,
    request: Mapping[str, Any],
) -> dict[str, object]:
    """Do something that writes to a list of hosts; what the disk or Redis refuses becomes a ValueError."""
    try:
        return act(hubs, tables, request)
    except (OSError, HostError) as error:
        raise ValueError(str(error)) from None


def _explain(hubs: Mapping[str, Hub], request: Mapping[str, Any]) -> dict[str, object]:
    """Explain a packet: {"from": host, "to": address}, optional "ns", "service", "source", "port"."""
    hub = _hub(hubs, str(request.get("service") or ""))
    question = ctl_explain.read_question(hub.domain, request)
    return ctl_explain.reply(hub.settings.name, question, sessions=True)


def _hub(hubs: Mapping[str, Hub], name: str) -> Hub:
    chosen = [hub for hub in hubs.values() if name in ("", hub.settings.name)]
    if len(chosen) != 1:
        raise ValueError(ctl_filter.which_hub(name, hubs))
    return chosen[0]
