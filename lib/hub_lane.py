"""Second lanes of a hub's sessions: who may join one, and by which token.

Knows: what a lane must have in common with its session.
Refuses to know: how it was let in otherwise (hub: the same checks as for any client), what it carries
(hub_session).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import replace

from lib import hub_session, wire_control
from lib.hub_caller import Caller
from lib.hub_session import HubSession
from lib.humanize import counted
from lib.service_scheduling import Breaths
from lib.session_lane_sender import MAX_LANES
from lib.settings import HubSettings
from lib.stream_layer import AnyStream
from lib.wire_relay import JOIN, Request


def session_of(hub: hub_session.Owner, caller: Caller, request: Request) -> HubSession | None:
    """The session that a connection asks to join, by its token; None where there is none.

    Raises ProtocolError where there is no room for a connection that joins none.
    """
    session = hub.tokens.take(request.token, time.monotonic()) if request.command == JOIN else None
    if session is not None:
        caller.joined(session.address)
    else:
        caller.check_owes()
    return session


def may_join(session: HubSession, request: Request, stream: AnyStream) -> bool:
    """Whether a lane has the login, names and certificate of the session, and there is room for it."""
    own = replace(request, command=session.request.command, token=session.request.token)
    return has_room(session) and own == session.request and stream.certificate == session.certificate


def use_congestion(sessions: Iterable[HubSession], settings: HubSettings, old: HubSettings) -> list[str]:
    """Let every session use the congestion control of these settings; a line where another was wanted.

    AUTO is tried again where nothing has changed: meanwhile root may have loaded bbr.
    """
    step, wanted, had = Breaths(), settings.transport.congestion, old.transport.congestion
    sessions = list(sessions)
    for session in sessions:
        for lane in session.sender.lanes:
            lane.stream.use_congestion(wanted, settings.name, had)
        step()
    return (
        [f"congestion control of {counted(len(sessions), 'session')}: {had} -> {wanted}"]
        if wanted != had
        else []
    )


def end_one(sessions: Iterable[HubSession]) -> bool:
    """End a second lane, so that there is a descriptor for a new connection; False where there is none."""
    for session in sessions:
        if len(session.sender.lanes) > 1:
            session.sender.lanes[-1].stream.shutdown()
            return True
    return False


def has_room(session: HubSession) -> bool:
    """Whether a session that goes on has one lane."""
    return session.attachment.is_here and not session.sender.closed_because and len(session.sender.lanes) == 1


def new_token(session: HubSession) -> bytes:
    """A token for a second lane, 16 bytes; empty where none may join now."""
    hub = session.hub
    if not session.control.can(wire_control.Feature.LANES) or hub.settings.lanes < MAX_LANES:
        return b""
    if not has_room(session) or not hub.has_room:
        return b""
    token = os.urandom(wire_control.LANE_TOKEN_SIZE)
    hub.tokens.give(session, session.address, token, time.monotonic())
    return token
