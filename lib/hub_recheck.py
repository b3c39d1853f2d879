"""Second look at a hub's sessions after its rules have changed: who may be here no more has to go.

Knows: which sessions are judged again, and what the log says of those that end.
Refuses to know: how a session is judged (rule_recheck), when (service_parts, service_reload).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from lib import rule_rates
from lib.enrol_book import Place
from lib.hub_session import HubSession
from lib.hub_tables import Tables
from lib.namespace import Attachment
from lib.rule_recheck import Vouchers
from lib.service_scheduling import Breaths
from lib.service_supervisor import Task
from lib.settings import HubSettings
from lib.stream_layer import AnyStream
from lib.wire_relay import Request, Status


class Owner(Protocol):
    """What is used of a hub."""

    sessions: dict[Attachment, HubSession]
    settings: HubSettings
    tables: Tables

    def admit(
        self, request: Request, stream: AnyStream, vouchers: Vouchers, asked: bool = True
    ) -> tuple[Status, str]:
        """Whether a client may be here, as rule_recheck.judge."""


def recheck(hub: Owner, sessions: Sequence[HubSession], task: Task) -> tuple[list[str], int]:
    """(a line for each session that has to end, how many could not be judged because of an error).

    The errors are noted by `task`.
    """
    lines: list[str] = []
    step = Breaths()
    failed = 0
    for session in sessions:
        step()
        if session.attachment in hub.sessions:  # else it has ended meanwhile
            failed += not task.attempt(_recheck_one, hub, session, lines)
    return lines, failed


def recheck_hosts(hub: Owner, places: Collection[Place]) -> list[str]:
    """Judge the sessions of these hosts at once, however many others there are; returns as recheck() does."""
    lines: list[str] = []
    for session in list(hub.sessions.values()):
        if (session.attachment.namespace.id, session.attachment.host) in places:
            _recheck_one(hub, session, lines)
    return lines


def _recheck_one(hub: Owner, session: HubSession, lines: list[str]) -> None:
    status, why = hub.admit(session.request, session.stream, session.vouchers, asked=False)
    if status == Status.OK:
        lanes = [lane.stream.peer for lane in session.sender.lanes]
        try:  # a second lane may come from another address
            why = hub.tables.refusal(hub.settings, lanes)
        except OSError:
            why = ""
        status = Status.FORBIDDEN if why else status
    if status == Status.OK:
        limiters, name = hub.tables.asked_limits(hub.settings), hub.settings.name
        unknown = rule_rates.renew(limiters, name, session.request, session.stream.peer, session.vouchers)
        status, why = (Status.INTERNAL_ERROR, unknown) if unknown else (status, why)
    # an auther or ingress that cannot be asked at the moment ends no session
    if status not in (Status.OK, Status.SERVICE_UNAVAILABLE):
        session.sender.close(f"no longer let in: {why}")
        attachment = session.attachment
        lines.append(f"host {attachment.host} ({attachment.peer}) is no longer let in: {why}")
