"""Draining: clients of a hub that ends, or one host alone, move to another hub, and packets go on meanwhile.

Knows: in which order clients are told, and how long each step is waited for.
Refuses to know: listeners and the end of the process (hub, service), how a client moves (client_handover).

    hub that ends   DRAIN (hold)                                    SWITCH
    a client                       has another session: DRAIN                sends by that one: SWITCH

Where a client sent by its new session at once, its packets would be lost for all whose hosts have not moved
yet: with a thousand clients over TLS that is seconds. So all go on sending by the old hub until everybody is
at the new one.

One host that moves alone does the same. Its old session is released then: what is sent to it here goes to the
new one at once, but what other hubs of a cluster have sent before they knew still comes by the old one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
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
HEARD_SECONDS = 0.25
"""How much later than this hub another one may hear what the registry says, or read what came by a link."""
LATE_SECONDS = 0.1
"""How long the hub reads on after the last SWITCH: packets may come after it, by another lane."""
MOVE_SECONDS = 5.0
"""How long one host that is asked to move may take for that."""
RELEASED_SECONDS = 2.0
"""How long a session that its client has left behind is still served. Most clients close it sooner."""


class Session(Protocol):
    """What is used of a session (hub_session.HubSession)."""

    awaited: bool
    attachment: Attachment
    domain: Domain
    sender: LaneSender

    def tell_drain(self) -> None:
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
        session.tell_drain()
    _wait(hub, told, deadline - min(SWITCH_SECONDS, seconds / 2))
    _wait_known(hub, min(deadline, time.monotonic() + KNOWN_SECONDS))
    if hub.domain.registry is not None and hub.sessions:
        gevent.sleep(max(0.0, min(HEARD_SECONDS, (deadline - time.monotonic()) / 2)))
    switching = [(attachment, session) for attachment, session in told if _is_there(hub, attachment, session)]
    for _, session in in_steps(switching):
        session.tell_switch()
    if any(session.awaited for _, session in switching):
        _wait(hub, switching, deadline)
        gevent.sleep(max(0.0, min(LATE_SECONDS, deadline - time.monotonic())))
    _send_out([session for _, session in told], deadline)


def move(session: Session) -> bool:
    """Let the client of one session have another one, here or at another hub, and end this one then.

    Where it gets no other one, this one stays. It is told at once; the rest is not waited for. Returns False
    where it has moved already, and this session is about to end.
    """
    attachment = session.attachment
    if not attachment.is_here or (attachment.is_moving and _has_moved(session.domain, attachment)):
        return False
    if not attachment.is_moving:
        attachment.is_moving = True
        session.tell_drain()
        gevent.spawn(_follow, session)
    return True


def _follow(session: Session) -> None:
    """Look after a client that was told to move, until it has, or has not in time."""
    attachment, domain = session.attachment, session.domain
    try:
        until = time.monotonic() + MOVE_SECONDS
        _wait_for(lambda: not session.awaited or not attachment.is_here, until)
        _wait_for(lambda: _has_moved(domain, attachment), min(until, time.monotonic() + KNOWN_SECONDS))
        gevent.sleep(HEARD_SECONDS)
        session.tell_switch()
        _wait_for(lambda: not session.awaited or not attachment.is_here, until)
        gevent.sleep(HEARD_SECONDS)
    finally:
        attachment.is_moving = False
    if attachment.is_here and _has_moved(domain, attachment):
        let_go(attachment, "its client has moved to another session, as it was asked to")
        if domain.registry is not None:
            domain.registry.withdraw(attachment)


def _has_moved(domain: Domain, attachment: Attachment) -> bool:
    """Whether the client of a session has another one that is known here."""
    if attachment.namespace.rivals(attachment):
        return True
    return domain.registry is not None and domain.registry.has_other_session(attachment)


def end_replaced(attachment: Attachment, why: str) -> None:
    """End a session that a newer one of its host name replaces; one that moves, once it has had time to."""
    if attachment.is_moving:
        gevent.spawn_later(MOVE_SECONDS, attachment.sender.close, why)
    else:
        attachment.sender.close(why)


def let_go(attachment: Attachment, why: str) -> None:
    """End a session whose client has another one, once what was sent to it before others knew has come."""
    attachment.namespace.release(attachment)
    gevent.spawn_later(RELEASED_SECONDS, attachment.sender.close, why)


def _wait_for(is_so: Callable[[], bool], until: float) -> None:
    while not is_so() and time.monotonic() < until:
        gevent.sleep(LOOK_SECONDS)


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
