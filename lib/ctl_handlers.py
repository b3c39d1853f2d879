"""Replies of a running process to what its control socket is asked.

Knows: which questions there are, and which parts of the process know the replies.
Refuses to know: how a question travels (ctl_server), how a decision is put in words (forward_explain).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Any

from lib import __version__, ctl_drops, ctl_routes, ctl_status, ids
from lib.client import Client
from lib.ctl_server import Handlers
from lib.forward_explain import Explanation, explain, source_for
from lib.hub import Hub
from lib.hub_tables import Tables
from lib.namespace import Attachment
from lib.namespace_domain import Domain
from lib.packet import TCP, UDP
from lib.route_plugin_cache import PluginCache

MAX_ASKED = 4
"""Plugin requests for one explanation: source and destination, in two tables."""


def handlers(
    hubs: Mapping[str, Hub],
    clients: Mapping[str, Client],
    tables: Tables,
    files: Callable[[], tuple[str, ...]],
) -> Handlers:
    """The questions a process with these services answers."""
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
        "status": lambda request: ctl_status.status(hubs, clients, tables, started),
        "drops": lambda request: ctl_drops.drops(hubs, clients),
        "routes": lambda request: ctl_routes.routes(hubs, tables, request),
        "kick": lambda request: _kick(hubs, request),
        "drain": lambda request: _drain(hubs, request),
    }


def _kick(hubs: Mapping[str, Hub], request: Mapping[str, Any]) -> dict[str, object]:
    """{"host": name, and perhaps "ns": UUID}: end its sessions; it may come back."""
    sessions = ctl_status.sessions_of(hubs, request)
    for session in sessions:
        session.sender.close("kicked by the operator")
    return {"sessions": len(sessions)}


def _drain(hubs: Mapping[str, Hub], request: Mapping[str, Any]) -> dict[str, object]:
    """The same, but gently: ask it to have another session before it gives up this one."""
    sessions = ctl_status.sessions_of(hubs, request)
    for session in sessions:
        session.tell_drain()
    return {"sessions": len(sessions)}


def _explain(hubs: Mapping[str, Hub], request: Mapping[str, Any]) -> dict[str, object]:
    """{"from": host, "to": address, and perhaps "ns": UUID, "service": name, "source": address,
    "port": "tcp/22"}"""
    hub = _hub(hubs, str(request.get("service") or ""))
    attachment, source, destination = question(hub.domain, request)
    explanation = decided(attachment, source, destination, protocol_and_port=protocol_and_port_of(request))
    return {"service": hub.settings.name, "delivered": explanation.delivered, "lines": explanation.lines}


def _hub(hubs: Mapping[str, Hub], name: str) -> Hub:
    chosen = [hub for hub in hubs.values() if name in ("", hub.settings.name)]
    if not chosen:
        raise ValueError(f"there is no hub {name!r}" if name else "there is no hub here, only clients")
    if len(chosen) > 1:
        raise ValueError(f"which service? there are {', '.join(hubs)}")
    return chosen[0]


def question(domain: Domain, request: Mapping[str, Any]) -> tuple[Attachment, bytes | None, bytes]:
    """The host that asks, an address it sends from, and where to. Raises ValueError."""
    destination = ip_address(str(request["to"])).packed
    namespace = domain.namespace(ids.parse_uuid(str(request.get("ns") or ids.format_uuid(ids.NO_NAMESPACE))))
    host = str(request["from"])
    gateway = namespace.gateways.get(host)
    attachment = (
        gateway.attachments[0] if gateway is not None else Attachment(namespace, host, "(not connected)")
    )
    given = str(request.get("source") or "")
    if given:
        source: bytes | None = ip_address(given).packed
        if source is not None and len(source) != len(destination):
            raise ValueError(f"{given} and {request['to']}: two versions of IP")
    else:
        source = source_for(namespace, host, len(destination))
    return attachment, source, destination


def protocol_and_port_of(request: Mapping[str, Any]) -> tuple[int, int] | None:
    """Protocol and port of a question as `tcp/22`; None where it names none. Raises ValueError."""
    text = str(request.get("port") or "")
    if not text:
        return None
    name, _, number = text.lower().partition("/")
    protocols = {"tcp": TCP, "udp": UDP}
    if name not in protocols or not number.isdecimal() or int(number) > 65535:
        raise ValueError(f"{text[:32]!r} is no protocol and port: write tcp/22")
    return protocols[name], int(number)


def decided(
    attachment: Attachment,
    source: bytes | None,
    destination: bytes,
    sessions: bool = True,
    protocol_and_port: tuple[int, int] | None = None,
) -> Explanation:
    """Explain; plugins that have to be asked for it are."""
    for _ in range(MAX_ASKED):
        explanation = explain(attachment, source, destination, time.monotonic(), sessions, protocol_and_port)
        if not isinstance(explanation.verdict, bytes):
            break
        _ask_plugins(attachment, explanation.verdict)
    return explanation


def _ask_plugins(attachment: Attachment, address: bytes) -> None:
    for table in attachment.namespace.tables:
        if isinstance(table, PluginCache) and table.asker is not None:
            list(table.take_wanted())
            try:
                table.store(address, table.asker.route(address, attachment.namespace.id), time.monotonic())
            except OSError:
                table.fail(address, time.monotonic())
