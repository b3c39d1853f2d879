"""What a running process says of itself: every session with its counters (PROTOCOL.md, the control socket).

Knows: the fields and their units. Refuses to know: how they travel (control_socket) and are shown (showing).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from typing import Any

from lib import __version__, ids
from lib.client import Client
from lib.drops import Reason
from lib.hub import Hub
from lib.hub_session import HubSession
from lib.namespace import Lost
from lib.packet import format_address
from lib.stats import Traffic

MAX_LOST = 20
"""Destinations of a namespace whose last drops are told."""


def status(hubs: Mapping[str, Hub], clients: Mapping[str, Client], started: float) -> dict[str, object]:
    """Everything at once; started is when the process began, on the steady clock."""
    now = time.monotonic()
    return {
        "software": f"tunrouter {__version__}",
        "pid": os.getpid(),
        "uptime_s": round(now - started, 1),
        "sessions": [
            _session(session, now) for hub in hubs.values() for session in list(hub.sessions.values())
        ],
        "clients": [_client(client, now) for client in clients.values()],
        "refused": {
            name: {why.value: count for why, count in hub.refused.items()} for name, hub in hubs.items()
        },
    }


def _session(session: HubSession, now: float) -> dict[str, object]:
    port = session.port
    return {
        "service": session.hub.settings.name,
        "host": port.host,
        "namespace": ids.format_uuid(port.namespace.id),
        "peer": port.peer,
        "transport": session.hub.settings.transport.kind,
        "software": session.software,
        "since_s": round(now - port.since, 1),
        "rtt_s": session.liveness.rtt,
        "queue_bytes": session.link.queued,
        "superpackets": bool(port.offloads),
        **_traffic(port.traffic),
    }


def _client(client: Client, now: float) -> dict[str, object]:
    session = client.session
    return {
        "service": client.settings.name,
        "host": client.settings.host,
        "device": client.device_name,
        "hub": session.peer if session else None,
        "since_s": round(now - session.since, 1) if session else None,
        "rtt_s": session.liveness.rtt if session else 0.0,
        **_traffic(client.traffic),
    }


def _traffic(traffic: Traffic) -> dict[str, object]:
    return {
        "received_packets": traffic.received_packets,
        "received_bytes": traffic.received_bytes,
        "sent_packets": traffic.sent_packets,
        "sent_bytes": traffic.sent_bytes,
        "drops": {reason.value: count for reason, count in traffic.drops.items() if count},
    }


def drops(hubs: Mapping[str, Hub], clients: Mapping[str, Client]) -> dict[str, object]:
    """What was dropped: by namespace, session and reason, and of late by where it was to go."""
    now = time.monotonic()
    rows: list[dict[str, object]] = []
    late: list[dict[str, object]] = []
    seen: set[int] = set()
    for hub in hubs.values():
        if id(hub.domain) in seen:
            continue
        seen.add(id(hub.domain))
        for namespace in list(hub.domain.namespaces.values()):
            name = ids.format_uuid(namespace.id)
            for port in namespace.ports():
                rows += _rows(name, port.host, port.traffic.drops)
            rows += _rows(name, "(ended)", namespace.gone.drops)
            late += [
                _late(name, where, lost, now) for where, lost in list(namespace.lost.items())[-MAX_LOST:]
            ]
    for client in clients.values():
        rows += _rows("-", client.settings.host, client.traffic.drops)
    return {"drops": rows, "destinations": late}


def _rows(namespace: str, host: str, counts: Mapping[Reason, int]) -> Iterable[dict[str, object]]:
    return [
        {"namespace": namespace, "host": host, "reason": reason.value, "count": count, "about": reason.doc}
        for reason, count in counts.items()
        if count
    ]


def _late(namespace: str, destination: bytes, lost: Lost, now: float) -> dict[str, object]:
    return {
        "namespace": namespace,
        "destination": format_address(destination),
        "reasons": {reason.value: count for reason, count in lost.reasons.items()},
        "last_s": round(now - lost.last, 1),
    }


def sessions_of(hubs: Mapping[str, Hub], request: Mapping[str, Any]) -> list[HubSession]:
    """The sessions of the host that a request names. Raises ValueError where there is none."""
    host, namespace = str(request["host"]), str(request.get("ns") or "")
    wanted = ids.parse_uuid(namespace) if namespace else None
    found = [
        session
        for hub in hubs.values()
        for session in hub.sessions.values()
        if session.port.host == host and wanted in (None, session.port.namespace.id)
    ]
    if not found:
        raise ValueError(f"no live session of host {host[:64]!r}")
    return found
