"""Control frames and keepalive of a session, the same for a hub and a client.

Knows: how every tunrouter replies to a control frame, and when it sends PING.
Refuses to know: what all other messages mean to a hub (hub_session) or a client
(client_session), the layout of messages (wire_control), when silence has lasted too long (session_keepalive).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Protocol, TypeGuard

from lib import __version__, framing, session_keepalive, wire_control
from lib.errors import ProtocolError
from lib.forward_drop_reasons import Reason
from lib.prefixes import Prefix
from lib.push_settings import Pushed
from lib.session_keepalive import Health, Liveness
from lib.session_lane_sender import LaneSender
from lib.wire_control import (
    Advice,
    Datagrams,
    Drain,
    Feature,
    Hello,
    Lane,
    Message,
    Ping,
    Pong,
    Switch,
    Window,
)
from lib.wire_unreached import Unreached

SHORT = 32
"""Bytes of a content that is quickly read, as those are of which there may be many: PING, PONG, DRAIN."""
MOST_READ = 16
"""Short ones of a type that are read in a turn: the last. It may bring 6,000, and each takes 1 to 6 µs."""
ForRole = Hello | Drain | Advice | Lane | Datagrams | Pushed | Switch | Window | Unreached
"""The messages that mean something else to a hub than to a client, or to a link."""


def ping(now: float) -> bytes:
    """The frame of a PING that is sent now."""
    return framing.encode(wire_control.encode_ping(session_keepalive.token(now)))


class Counts(Protocol):
    """What is used of the counters of what the peer sends."""

    received_packets: int

    def drop(self, reason: Reason) -> None:
        """Count a drop."""


class SessionControl:
    """Our end of one session's control frames. `now` is in seconds of a steady clock everywhere."""

    __slots__ = ("_sender", "_traffic", "cipher", "features", "liveness", "software")

    def __init__(
        self, sender: LaneSender, traffic: Counts, timeout: float, now: float, follows: bool = False
    ) -> None:
        """`traffic` counts what the peer sends. `timeout`: seconds of silence until the peer is dead.

        `follows`: whether our PING goes along with the PONG for the peer's.
        """
        self._sender, self._traffic = sender, traffic
        self.liveness = Liveness(timeout, now, follows)
        self.software = ""
        """The peer's software, from its HELLO; empty before, and for a GOST peer."""
        self.features = 0
        """What the peer understands beside HELLO (bits of Feature); 0 before HELLO, and for a GOST peer."""
        self.cipher = 0
        """The cipher of the datagrams that the peer would send; 0 where it would send none."""

    def receive(
        self, contents: Iterable[bytes], now: float, reply: Callable[[bytes], None] | None = None
    ) -> list[ForRole]:
        """Take the contents of the control frames of one turn; returns the messages for the role to act on.

        `reply` sends a frame by the lane on which they came.

        Only the last message of each type counts: who asks a thousand times in a turn gets one reply. Of
        short ones few others are read, of long ones none: thousands take no longer than a long one. What is
        read and does not parse is counted as a drop, a type that is not known is ignored.
        """
        last: dict[type, Message] = {}
        for content in _worth_reading(contents):
            try:
                message = wire_control.decode(content)
            except ProtocolError:
                self._traffic.drop(Reason.BAD_CONTROL)
            else:
                if message is not None:
                    last[type(message)] = message
        return [message for message in last.values() if self._receive(message, now, reply)]

    def _receive(
        self, message: Message, now: float, reply: Callable[[bytes], None] | None
    ) -> TypeGuard[ForRole]:
        """Do what both roles do with a message; returns whether the role has to act on it too."""
        if isinstance(message, Ping):
            frames = framing.encode(wire_control.encode_pong(message.token))
            if self.can(Feature.KEEPALIVE) and self.liveness.asked(now):
                frames += ping(now)
            (reply or self._sender.reply)(frames)
        elif isinstance(message, Pong):
            self.liveness.pong(message.token, now)
            self._sender.answered(message.token)
        elif isinstance(message, Hello):
            self.features, self.software = message.features, message.software
            self.cipher = message.cipher if message.features & Feature.DATAGRAMS else 0
        return isinstance(message, ForRole)

    def can(self, feature: Feature) -> bool:
        """Whether the peer has said in its HELLO that it understands a feature."""
        return bool(self.features & feature)

    def greet(
        self,
        instance: bytes,
        offloads: int,
        mtu: int = 0,
        prefixes: tuple[Prefix, ...] = (),
        more: int = 0,
        lane: bytes = b"",
        cipher: int = 0,
        cluster: bytes = b"",
    ) -> None:
        """Send HELLO: who we are, which superpackets we take, our device's MTU in bytes (0: no device).

        `prefixes` are those for which the peer is a gateway; `more` are features beside ALL_FEATURES,
        and `lane` is the token for a second lane. With a `cipher` the session may have a datagram channel.
        `cluster`, 16 bytes, is the same for all hubs of a cluster.
        """
        more |= Feature.DATAGRAMS if cipher else 0
        software = f"tunrouter {__version__}"
        features = wire_control.ALL_FEATURES | more
        hello = Hello(instance, offloads, mtu, software, features, prefixes, lane, cipher, cluster)
        self._send(wire_control.encode_hello(hello))

    def ask(self, now: float) -> None:
        """Send PING, to which a live peer replies with PONG."""
        self._sender.probe(ping(now))

    def ask_lane(self) -> None:
        """Ask the hub for a token for a second lane."""
        self._send(wire_control.encode_lane(Lane()))

    def give_lane(self, token: bytes) -> None:
        """Send a client the token (16 bytes) that it has asked for."""
        self._sender.reply(framing.encode(wire_control.encode_lane(Lane(token))))

    def give_key(self, given: Datagrams) -> None:
        """Send a DATAGRAMS: a key for what is sent to us by the datagram channel, or that there is none."""
        self._send(wire_control.encode_datagrams(given))

    def drain(self, hold: bool = False) -> bool:
        """Send DRAIN: we will leave, or need the peer no more. Returns whether the peer understands it.

        With `hold` a client that can goes on sending by this session until switch().
        """
        if not self.can(Feature.DRAIN):
            return False
        self._send(wire_control.encode_drain(hold and self.can(Feature.SWITCH)))
        return True

    def switch(self) -> bool:
        """Send SWITCH: from now on the other session is sent by. Returns whether the peer understands it."""
        if not self.can(Feature.SWITCH):
            return False
        self._send(wire_control.encode_switch())
        return True

    def allow(self, upto: int) -> None:
        """Send WINDOW to the far hub of a link: how far it may go."""
        if self.can(Feature.WINDOW):
            self._send(wire_control.encode_window(Window(upto)))

    def advise(self, advice: Advice) -> bool:
        """Send ADVICE: what is wrong with the client's identity. Returns whether the peer understands it."""
        if not self.can(Feature.ADVICE):
            return False
        self._send(wire_control.encode_advice(advice))
        return True

    def push(self, fields: bytes) -> bool:
        """Send SETTINGS with these fields (push_settings). Returns whether the peer wants them."""
        if not self.can(Feature.SETTINGS):
            return False
        self._send(wire_control.encode_settings(fields))
        return True

    def beat(self, now: float) -> None:
        """Check that the peer is alive: send PING where it is time, and end the session where it is dead.

        A GOST peer gets no PING; TCP's own keepalive looks after it (stream_options).
        """
        if not self.can(Feature.KEEPALIVE):
            return
        health = self.liveness.look(self._traffic.received_packets, now)
        if health is Health.ASK:
            self.ask(now)
        elif health is Health.DEAD:
            self._sender.give_up(f"nothing heard for {self.liveness.timeout:g} s")

    def _send(self, content: bytes) -> None:
        self._sender.send([framing.encode(content)])


def _worth_reading(contents: Iterable[bytes]) -> list[bytes]:
    """Of each type the last MOST_READ short contents, and the last long one, in their order."""
    read: Counter[tuple[int, bool]] = Counter()
    found = []
    for content in reversed(list(contents)):
        kind = content[1] if len(content) > 1 else -1, len(content) > SHORT
        if read[kind] < (1 if kind[1] else MOST_READ):
            read[kind] += 1
            found.append(content)
    return found[::-1]
