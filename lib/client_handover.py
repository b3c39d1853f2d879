"""Handover of a client from a hub that ends to the next one: it sends by the old session until SWITCH.

Knows: how long SWITCH is waited for, and the reply to it.
Refuses to know: how another session is had (client_reconnect), what the hub waits for (hub_drain).

The next hub cannot reach hosts that have not moved yet, and the old one reaches all of them. So a client that
has moved receives by both sessions, and sends by the old one until its hub says that everybody has moved.

A client that moves by itself from one hub of a cluster to another has nobody to say so. It sends by the old
one until other hubs know where it is, as they take its packets only from a hub where it is.
"""

from __future__ import annotations

from gevent.event import Event

from lib.session_control import SessionControl

HOLD_SECONDS = 10.0
"""How long SWITCH is waited for: twice the drain timeout that a hub has by default."""
KNOWN_SECONDS = 0.25
"""The same where the client moves by itself and its hub is in a cluster: other hubs know then where it is."""


class Hold:
    """Whether a session is still sent by, although another one has taken its place."""

    __slots__ = ("_is_held", "_over")

    def __init__(self) -> None:
        self._is_held = False
        self._over = Event()

    def asked(self) -> None:
        """DRAIN has come: a SWITCH that there was before is of an earlier one, after which we have stayed."""
        if not self._is_held:
            self._over.clear()

    def wait(self, seconds: float = HOLD_SECONDS) -> None:
        """Wait until this session is to be sent by no longer: SWITCH has come, or the session has ended."""
        self._is_held = True
        self._over.wait(seconds)

    def switch(self, control: SessionControl) -> None:
        """SWITCH has come. Where there is no other session, nothing has to be done before the reply."""
        self._over.set()
        if not self._is_held:
            control.switch()

    def end(self) -> None:
        """The session has ended."""
        self._over.set()
