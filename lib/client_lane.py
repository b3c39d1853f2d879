"""Second lane of a client's session: when it is dialled, and again after it was lost.

Knows: that each try needs a token of the hub's, and the delays between tries; the way that the session took.
Refuses to know: how a node is dialled (client_dial), what goes by which lane (session_lanes).

It has no timer and, while there is a lane, no greenlet: the session's keepalive looks in (`beat`).
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Protocol

import gevent

from lib import client_dial, service_supervisor
from lib.client_around import Around
from lib.errors import ProtocolError
from lib.log_dedup import RETRIED
from lib.log_events import Entry
from lib.log_setup import say
from lib.session_control import SessionControl
from lib.session_lane_sender import MAX_LANES, LaneSender
from lib.session_lane_tokens import TOKEN_SECONDS
from lib.settings import ClientSettings, NodeSettings
from lib.settings_dial import DialSettings
from lib.stream_layer import AnyStream
from lib.wire_control import Feature

FIRST_DELAY, LONGEST_DELAY = 5.0, 600.0
"""Seconds between two tries that fail; each is twice the one before. Behind a load balancer most fail."""
STEADY_SECONDS = 3.0
"""A lane that lived so long was a success: the next try is made at once."""


class Owner(Protocol):
    """What is used of the client."""

    settings: ClientSettings
    around: Around


class Session(Protocol):
    """What is used of the session (client_session.ClientSession)."""

    node: NodeSettings
    sender: LaneSender
    control: SessionControl

    def read_lane(self, stream: AnyStream, tail: bytes) -> None:
        """Use a lane that the hub has let in, until it ends."""


class SecondLane:
    """The second lane of one session."""

    def __init__(self, client: Owner, session: Session) -> None:
        self._client, self._session = client, session
        self._delay, self._next_at = FIRST_DELAY, 0.0
        self._task: gevent.Greenlet | None = None
        """Dials."""

    @property
    def wanted(self) -> bool:
        """Whether the session may have a second lane: what HELLO says."""
        return self._client.settings.lanes == MAX_LANES

    @property
    def _is_missing(self) -> bool:
        sender = self._session.sender
        return self._task is None and len(sender.lanes) == 1 and not sender.closed_because

    def given(self, token: bytes) -> None:
        """The hub has given a token (16 bytes): dial."""
        if token and self.wanted and self._is_missing:
            self._task = gevent.spawn(self._run, token)

    def beat(self, now: float) -> None:
        """Ask for a token where there should be a lane and is none; end one that is not wanted any more."""
        session = self._session
        if not self.wanted and len(session.sender.lanes) > 1:  # a reload
            session.sender.lanes[-1].stream.shutdown()
        if not self.wanted or not self._is_missing or not session.control.can(Feature.LANES):
            return
        if now >= self._next_at:
            self._put_off(now)
            session.control.ask_lane()

    def lost(self, seconds: float, now: float) -> None:
        """One of two lanes has ended, which has lived so long."""
        if seconds >= STEADY_SECONDS:
            self._delay, self._next_at = FIRST_DELAY, now
        elif self._next_at <= now:
            self._put_off(now)

    def stop(self) -> None:
        """The session has ended."""
        if self._task is not None:
            self._task.kill(block=False)

    def _put_off(self, now: float) -> None:
        """Wait twice as long as the last time before the next try."""
        self._next_at = now + self._delay
        self._delay = min(LONGEST_DELAY, 2 * self._delay)

    def _run(self, token: bytes) -> None:
        """Dial, and use the lane until it ends."""
        try:
            try:
                stream, tail = self._dial(token)
            finally:
                self._task = None
            self._session.read_lane(stream, tail)
            return
        except (OSError, ProtocolError) as error:
            why = str(error)
        except Exception as error:  # noqa: BLE001  whatever it is, the session goes on
            service_supervisor.note(error)
            why = f"an error of this program: {type(error).__name__}"
        self.lost(0.0, time.monotonic())
        name, peer = self._client.settings.name, self._session.sender.stream.peer
        say(
            Entry.LANE_LOST, "service %s: the session with %s has one lane: %s", name, peer, why, fold=name,
            habit=RETRIED, service=name, host=self._client.settings.host, peer=peer, lane="", reason=why,
        )  # fmt: skip

    def _dial(self, token: bytes) -> tuple[AnyStream, bytes]:
        """A connection by the way of the session, to the same address. Raises OSError, ProtocolError."""
        node = self._session.node
        node = same_way(node, self._session.sender.stream.far_address, self._client.around.used(node))
        node = replace(node, connect_timeout=min(node.connect_timeout, TOKEN_SECONDS))
        stream, _, tail = client_dial.let_in(self._client.settings, node, self._client.around, token)
        return stream, tail


def same_way(node: NodeSettings, address: str, how: DialSettings) -> NodeSettings:
    """A node whose first hop, the hub or a proxy, is at this IP address and dialled so.

    With "" it is at any address that it may have.
    """
    dial = replace(how, addresses=(address,)) if address else how
    if node.proxies:
        return replace(node, proxies=(replace(node.proxies[0], dial=dial), *node.proxies[1:]))
    return replace(node, dial=dial)
