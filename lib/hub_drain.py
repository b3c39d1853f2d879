"""Draining of a hub that ends: its clients move to another one, and packets between them go on meanwhile.

Knows: in which order clients are told, and how long each step is waited for.
Refuses to know: listeners and the end of the process (hub, service), how a client moves (client_handover).

    hub that ends   DRAIN (hold)                                    SWITCH
    a client                       has another session: DRAIN                sends by that one: SWITCH

Where a client sent by its new session at once, its packets would be lost for all whose hosts have not moved
yet: with a thousand clients over TLS that is seconds. So all go on sending by the old hub until everybody is
at the new one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Protocol

import gevent
from gevent.event import Event

from lib.namespace import Attachment
from lib.namespace_domain import Domain
from lib.service_scheduling import Breaths, in_steps
from lib.session_lane_sender import LaneSender

SWITCH_SECONDS = 1.0
"""How much of the drain timeout is left for SWITCH where not all clients move in time; half of it at most."""
KNOWN_SECONDS, LOOK_SECONDS = 0.5, 0.01
"""How long it may take until other hubs know of sessions that have moved, and how often is looked."""
LATE_SECONDS = 0.1
"""How long the hub reads on after the last SWITCH: packets may come after it, by another lane."""


class Session(Protocol):
    """What is used of a session (hub_session.HubSession)."""

    awaited: bool
    sender: LaneSender

    def tell_drain(self, hold: bool = False) -> None:
        """Send DRAIN."""

    def tell_switch(self) -> None:
        """Send SWITCH."""


class Owner(Protocol):
    """What is used of the hub."""

    @property
    def sessions(self) -> Mapping[Attachment, Session]:
        """Those that there are."""

    moved: Event
    """Set whenever a session ends, or its client has replied."""
    domain: Domain


def drain(hub: Owner, seconds: float) -> None:
    """Let all clients move. Returns once they have, and what waited for them is sent, or after `seconds`."""
    deadline = time.monotonic() + seconds
    told = list(hub.sessions.items())
    for _, session in in_steps(told):
        session.tell_drain(hold=True)
    _wait(hub, told, deadline - min(SWITCH_SECONDS, seconds / 2))
    _wait_known(hub, min(deadline, time.monotonic() + KNOWN_SECONDS))
    switching = [(attachment, session) for attachment, session in told if _is_there(hub, attachment, session)]
    for _, session in in_steps(switching):
        session.tell_switch()
    if any(session.awaited for _, session in switching):
        _wait(hub, switching, deadline)
        gevent.sleep(max(0.0, min(LATE_SECONDS, deadline - time.monotonic())))
    _send_out([session for _, session in told], deadline)


def _is_there(hub: Owner, attachment: Attachment, session: Session) -> bool:
    """Whether a session has not ended."""
    return hub.sessions.get(attachment) is session


def _wait(hub: Owner, told: Sequence[tuple[Attachment, Session]], until: float) -> None:
    """Wait until none of these clients is awaited any more, or for so long.

    One after the other: to look at all of them whenever one replies took seconds with thousands of clients.
    """
    for attachment, session in told:
        while session.awaited and _is_there(hub, attachment, session):
            if not hub.moved.wait(max(0.0, until - time.monotonic())):
                return
            hub.moved.clear()


def _wait_known(hub: Owner, until: float) -> None:
    """Wait until other hubs know where the clients are now: else they would take nothing from them there."""
    registry, step = hub.domain.registry, Breaths()
    if registry is None:
        return
    for attachment in list(hub.sessions):
        while attachment in hub.sessions and not registry.are_elsewhere((attachment,)):
            waits_since = time.monotonic()
            if waits_since >= until:
                return
            gevent.sleep(LOOK_SECONDS)
            step.leave_out(time.monotonic() - waits_since)
        step()


def _send_out(sessions: Sequence[Session], until: float) -> None:
    """Send what waits in the queues."""
    with gevent.Timeout(max(0.0, until - time.monotonic()), False):
        for session in sessions:
            session.sender.wait_drained()
