"""A client's session with a hub, from its admission to its end.

Knows: what becomes of what the hub sends, control frames, and how a session ends.
Refuses to know: which hub, and what comes after (client), packets (client_downlink), how bytes get out
(session_sender).
"""

from __future__ import annotations

import time
from typing import Protocol

import gevent

from lib import capture_watch, client_downlink, framing, ids, wire_control
from lib.capture_taps import Taps
from lib.client_downlink import Downlink
from lib.counters import Traffic
from lib.errors import ProtocolError
from lib.forward_drop_reasons import Reason
from lib.framing import ReceiveBuffer
from lib.log_events import Entry
from lib.log_setup import say
from lib.session_control import SessionControl
from lib.session_sender import SessionSender
from lib.settings import ClientSettings, NodeSettings
from lib.stream_layer import AnyStream
from lib.wire_relay import Response

QUEUE_BYTES = 1 << 20
LINGER = 1.0
"""Seconds for which a session that has been given up is still read: some of it is on the way."""


class Owner(Protocol):
    """What a session uses of its client."""

    settings: ClientSettings
    traffic: Traffic
    buffer: ReceiveBuffer
    down: Downlink
    taps: Taps
    instance: bytes
    offloads: int
    """What the device takes."""

    @property
    def device_name(self) -> str:
        """As the kernel has it."""

    def tell_news(self) -> None:
        """Log drops that are new."""

    def use_offloads(self, session: ClientSession, bits: int, limit: int) -> None:
        """Let the kernel hand over what this session's hub takes."""

    def leave(self, session: ClientSession) -> None:
        """The hub is about to end."""


class ClientSession:
    """An admitted session."""

    def __init__(
        self, client: Owner, node: NodeSettings, stream: AnyStream, response: Response, tail: bytes
    ) -> None:
        """tail is what came with the hub's response."""
        self._client, self._stream, self._tail = client, stream, tail
        self._kin = bool(ids.hub_version(response.tunnel_id))
        self.node = node
        self.peer = stream.peer
        self.sender = SessionSender(stream, client.traffic, QUEUE_BYTES, float("inf"))
        self.sender.tell_losses(self._lost)
        self.since = time.monotonic()
        self.control = SessionControl(
            self.sender, client.traffic, client.settings.keepalive_timeout, self.since
        )
        self._pings = node.transport.keepalive
        self._pinged_at = self._ponged_at = time.monotonic()
        self._pongs = 0

    def begin(self) -> None:
        """Show ourselves to a hub of our own kind; until it has answered it is treated as GOST's."""
        client = self._client
        client.use_offloads(self, 0, framing.GOST_HUB_MAX)
        if self._kin:
            self.control.greet(client.instance, client.offloads, client.settings.device.mtu)

    def run(self) -> str:
        """Read the hub until the session ends; returns why it did."""
        why = "closed by the hub"
        try:
            self._receive()
        except OSError as error:
            why = error.strerror or str(error)
        except ProtocolError as error:
            why = str(error)
        finally:
            self.sender.ended()
            self._stream.close()
        return self.sender.closed_because or why

    def close(self) -> None:
        """Give up a session that has not begun."""
        self.sender.ended()
        self._stream.close()

    def give_up(self, why: str) -> None:
        """Another session has taken its place: what is on the way is still read, then it ends."""
        self.decline()
        gevent.spawn_later(LINGER, self.sender.close, why)

    def decline(self) -> None:
        """Tell a hub that is about to end not to wait for us."""
        self.control.drain()

    def beat(self, now: float) -> None:
        """Look whether the hub still lives."""
        self.control.beat(now)
        if self._pings and now - self._pinged_at >= self._pings:
            self._ping(now)

    def _ping(self, now: float) -> None:
        """WebSocket's own pings, as GOST does them: without a pong within twice their interval it is over."""
        if self._stream.pongs != self._pongs:
            self._pongs, self._ponged_at = self._stream.pongs, now
        if now - self._ponged_at > 2 * self._pings + self.control.liveness.tick:
            self.sender.close(f"no pong within {2 * self._pings:g} s")
            return
        self._pinged_at = now
        self._stream.ping()

    def _receive(self) -> None:
        client, tail = self._client, self._tail
        buffer, down = client.buffer, client.down
        size = 0
        while True:
            end = framing.HEADROOM + size
            start = buffer.join(tail)
            if client.taps.on:
                fate = capture_watch.arriving(self.node.namespace, client.settings.host, client.device_name)
                stop = capture_watch.deliver(down, buffer.data, buffer.view, start, end, client.taps, fate)
            else:
                stop = client_downlink.deliver(down, buffer.data, buffer.view, start, end)
            tail = bytes(buffer.view[stop:end])
            for content in down.take_controls():
                self._control(content)
            if client.traffic.news:
                client.tell_news()
            size = self._stream.receive_into(buffer.landing)
            if not size:
                return

    def _lost(self, reason: Reason, frames: bytes) -> None:
        """What was on its way to the hub will not get there."""
        client = self._client
        if client.taps.on:
            fate = capture_watch.leaving(self.node.namespace, client.settings.host, self.peer, reason)
            capture_watch.sent(client.taps, fate, frames)

    def _control(self, content: bytes) -> None:
        client = self._client
        message = self.control.receive(content, time.monotonic())
        if isinstance(message, wire_control.Hello):
            client.use_offloads(self, message.offloads & client.offloads, framing.MAX_CONTENT)
            say(
                Entry.HELLO,
                "service %s: hub is %s, offloads %#x",
                *(client.settings.name, message.software, message.offloads),
                service=client.settings.name,
                host=client.settings.host,
                peer=self.peer,
                software=message.software,
                offloads=message.offloads,
            )
        elif isinstance(message, wire_control.Drain):
            client.leave(self)
