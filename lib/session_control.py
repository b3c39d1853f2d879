"""Control frames and keepalive of a session, the same for a hub and a client.

Knows: what every tunrouter says to a control frame, and when it asks for a sign of life.
Refuses to know: what a HELLO or a DRAIN means to a hub (hub_session) or a client (client_session), the layout
of messages (wire_control), when silence has lasted too long (session_keepalive).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeGuard

from lib import __version__, framing, wire_control
from lib.counters import Traffic
from lib.errors import ProtocolError
from lib.forward_drop_reasons import Reason
from lib.session_keepalive import Health, Liveness
from lib.session_sender import SessionSender
from lib.wire_control import Drain, Feature, Hello, Message, Ping, Pong


class SessionControl:
    """One session's half of the talk. `now` is in seconds of a steady clock everywhere."""

    __slots__ = ("_sender", "_traffic", "features", "liveness", "software")

    def __init__(self, sender: SessionSender, traffic: Traffic, timeout: float, now: float) -> None:
        """traffic counts what the peer sends; timeout is the silence in seconds after which it is dead."""
        self._sender, self._traffic = sender, traffic
        self.liveness = Liveness(timeout, now)
        self.software = ""
        """What the peer says it is; empty for GOST's, and until it has said so."""
        self.features = 0
        """What it understands beside HELLO (bits of Feature); 0 likewise."""

    def receive(self, contents: Iterable[bytes], now: float) -> list[Hello | Drain]:
        """Take the contents of the control frames of one turn; returns the messages for the role to act on.

        Only the last message of each type counts: who asks a thousand times in a turn gets one reply.
        A content that does not parse is counted as a drop, a type that is not known is ignored.
        """
        last: dict[type, Message] = {}
        for content in contents:
            try:
                message = wire_control.decode(content)
            except ProtocolError:
                self._traffic.drop(Reason.BAD_CONTROL)
            else:
                if message is not None:
                    last[type(message)] = message
        return [message for message in last.values() if self._receive(message, now)]

    def _receive(self, message: Message, now: float) -> TypeGuard[Hello | Drain]:
        """Do what both roles do with a message; returns whether the role has to act on it too."""
        if isinstance(message, Ping):
            self._sender.reply(framing.encode(wire_control.encode_pong(message.token)))
        elif isinstance(message, Pong):
            self.liveness.pong(message.token, now)
        elif isinstance(message, Hello):
            self.features, self.software = message.features, message.software
        return isinstance(message, Hello | Drain)

    def can(self, feature: Feature) -> bool:
        """Whether the peer has said that it understands something."""
        return bool(self.features & feature)

    def greet(self, instance: bytes, offloads: int, mtu: int = 0) -> None:
        """Say HELLO: who we are, which superpackets we take, and the MTU of our device (0: there is none)."""
        software = f"tunrouter {__version__}"
        self._send(
            wire_control.encode_hello(Hello(instance, offloads, mtu, software, wire_control.ALL_FEATURES))
        )

    def ask(self, now: float) -> None:
        """Ask for a sign of life."""
        self._send(wire_control.encode_ping(self.liveness.token(now)))

    def drain(self) -> bool:
        """Say that we are about to leave, or need the peer no more; returns whether it understands that."""
        if not self.can(Feature.DRAIN):
            return False
        self._send(wire_control.encode_drain())
        return True

    def beat(self, now: float) -> None:
        """Look whether the peer still lives: ask it where it is time, and end the session where it is dead.

        A GOST peer is not asked; TCP's own keepalive looks after it (stream_tcp).
        """
        if not self.can(Feature.KEEPALIVE):
            return
        health = self.liveness.look(self._traffic.received_packets, now)
        if health is Health.ASK:
            self.ask(now)
        elif health is Health.DEAD:
            self._sender.close(f"nothing heard for {self.liveness.timeout:g} s")

    def _send(self, content: bytes) -> None:
        self._sender.send([framing.encode(content)])
