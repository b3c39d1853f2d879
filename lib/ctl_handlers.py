"""Handlers of the control socket's requests: hello, explain, status, drops, routes, kick, drain.

Knows: which requests there are, and which part of the process has the reply to each.
Refuses to know: how a request is transported (ctl_server), how a decision is explained (forward_explain).
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
"""Most plugin requests for one explanation: for source and destination, in two tables."""


def handlers(
    hubs: Mapping[str, Hub],
    clients: Mapping[str, Client],
    tables: Tables,
    files: Callable[[], tuple[str, ...]],
) -> Handlers:
    """The handlers of a process with these services, by the name of the request; `files` are its -C files."""
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
    """End the sessions of a host: {"host": name}, optional "ns": UUID. Its client may connect again."""
    sessions = ctl_status.sessions_of(hubs, request)
    for session in sessions:
        session.sender.close("kicked by the operator")
    return {"sessions": len(sessions)}


def _drain(hubs: Mapping[str, Hub], request: Mapping[str, Any]) -> dict[str, object]:
    """Ask a host to get another session before it gives up this one: {"host": name}, optional "ns": UUID."""
    sessions = ctl_status.sessions_of(hubs, request)
    for session in sessions:
        session.tell_drain()
    return {"sessions": len(sessions)}


def _explain(hubs: Mapping[str, Hub], request: Mapping[str, Any]) -> dict[str, object]:
    """Explain a packet: {"from": host, "to": address}, optional "ns", "service", "source", "port"."""
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
    """(attachment of the sending host, source address or None, destination) of `explain`; addresses packed.

    Without "source" in the request, one that the host may send from. Raises ValueError.
    """
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
    """(protocol, port) of "port" in a request, such as `tcp/22`; None without it. Raises ValueError."""
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
    """Explain a packet, and ask the plugins that have to be asked for it."""
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
