"""One live session for a host name (`onDuplicate: refuse`): who has a name, and who may take it.

Knows: that a silent session gives its name up, and that one newcomer at a time is let in by a name.
Refuses to know: who is let in otherwise (auth_admission, hub), what a name is good for (namespace).
"""

from __future__ import annotations

import time
from contextlib import ExitStack

from lib.hub_identity import Identities
from lib.namespace_domain import Domain
from lib.wire_relay import Request, Status

PROBE_SECONDS = 1.0
"""Seconds that a session has to give a sign of life before a new session may take its host name."""


def take(
    domain: Domain, identities: Identities, request: Request, peer: str, name: ExitStack
) -> tuple[Status, str]:
    """Have a host name that no live session has, nor anybody else who is just being let in.

    Returns (status, why). The name is the client's alone until `name` is left.
    """
    if not name.enter_context(domain.reserve(request.namespace, request.host)):
        return (
            Status.FORBIDDEN,
            "another one is just being let in by this host name (onDuplicate: refuse)",
        )
    owner = live_owner(domain, request.namespace, request.host)
    if not owner:
        status, owner = name.enter_context(domain.claim(request.namespace, request.host))
        if status != Status.OK:
            return status, owner
    if owner:
        identities.refused(request.namespace, request.host, peer, owner, time.monotonic())
        return (
            Status.FORBIDDEN,
            f"another live session has this host name, of {owner} (onDuplicate: refuse)",
        )
    return Status.OK, ""


def live_owner(domain: Domain, namespace: bytes, host: str) -> str:
    """The peer whose live session has the host name already; empty for none.

    Sessions of that name are asked for a sign of life, and ended without one within PROBE_SECONDS.
    """
    for attachment in domain.namespace(namespace).sessions_of(host):
        if attachment.sender.is_alive(PROBE_SECONDS):
            return attachment.peer
        attachment.sender.close("silent, and a new session wants its host name")
    return ""
