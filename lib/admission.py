"""Who is let in: the hub's answer to a handshake.

Knows: the order of the checks and the status each failure gets (WIRE.md).
Refuses to know: sockets, and what an admitted client may send (decide).
"""

from __future__ import annotations

from lib import ids, relay
from lib.drops import Refusal
from lib.ingress import Ingress
from lib.relay import Request, Status

REFUSALS = {Status.BAD_REQUEST: Refusal.BAD_REQUEST, Status.HOST_UNREACHABLE: Refusal.INGRESS}
"""What each status but OK is counted as."""


def admit(request: Request, ingress: Ingress | None) -> tuple[Status, str]:
    """The status for a request, and for people why it is not OK."""
    if request.command != relay.ASSOCIATE:
        return Status.BAD_REQUEST, f"unknown command {request.command}"
    if not ids.is_host_name(request.host):
        return Status.BAD_REQUEST, "control characters in the host name"
    if ingress is not None and not ingress.admits(request.host, request.namespace):
        namespace = ids.format_uuid(request.namespace)
        return Status.HOST_UNREACHABLE, f"the ingress does not let it into namespace {namespace}"
    return Status.OK, ""
