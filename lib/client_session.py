"""A client's side of a session with its hub, from the end of the handshake to the end of the session.

Knows: how received frames are handled, control frames, keepalive, and how a session ends.
Refuses to know: which hub is dialled and when again (client), packets (client_downlink), how bytes are sent
(session_sender).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import gevent
from gevent.event import Event

from lib import (
    capture_watch,
    client_advice,
    client_downlink,
    framing,
    ids,
    service_supervisor,
    wire_control,
)
from lib.capture_taps import Taps
from lib.client_around import Around
from lib.client_datagram import ClientDatagrams
from lib.client_downlink import Downlink
from lib.client_handover import Hold
from lib.client_lane import SecondLane
from lib.client_pings import WebSocketPings
from lib.client_push import Push
from lib.client_transit import Transit
from lib.counters import Part, Traffic
from lib.datagram_channel import Channel
from lib.errors import ProtocolError
from lib.forward_drop_reasons import Reason
from lib.framing import ReceiveBuffer
from lib.log_events import Entry
from lib.log_setup import say
from lib.prefixes import Prefix
from lib.push_settings import Pushed
from lib.service_slice import TIME_SLICE
from lib.session_control import SessionControl
from lib.session_lane_sender import LaneSender
from lib.session_sender import SessionSender
from lib.settings import (
    DEFAULT_QUEUE_BYTES,
    DEFAULT_QUEUE_SECONDS,
    ClientSettings,
    DeviceSettings,
    NodeSettings,
)
from lib.stream_layer import AnyStream
from lib.wire_relay import Response
from lib.wire_unreached import Unreached

LINGER, END_LINGER = 1.0, 5.0
"""Seconds for which a session that has been given up is still read, because packets are on the way: one with
a hub that goes on, and one with a hub that ends soon."""


class Owner(Protocol):
    """What a session uses of its client."""

    settings: ClientSettings
    traffic: Traffic
    buffer: ReceiveBuffer
    taps: Taps
    instance: bytes
    around: Around

    @property
    def push(self) -> Push:
        """What is set of what the hub tells."""

    @property
    def device_settings(self) -> DeviceSettings:
        """What is to be on the device now."""

    @property
    def device_name(self) -> str:
        """The device's name in the kernel."""

    @property
    def offloads(self) -> int:
        """The offload bits that the device can do (packet_offload)."""

    @property
    def down(self) -> Downlink:
        """What writes frames from the hub to the device."""

    @property
    def transit(self) -> Transit:
        """What looks for packets that the kernel drops after they were written to the device."""

    def tell_news(self) -> None:
        """Log the reasons for drops that occurred for the first time."""

    def use_offloads(self) -> None:
        """Set the device's offloads to what the hubs take to which packets are sent."""

    def met(self, session: ClientSession) -> None:
        """A session's hub has said HELLO."""

    def tell_gateway(self, session: ClientSession, prefixes: tuple[Prefix, ...] | None) -> None:
        """Warn where this host would not forward what the hub routes to it; None: that is not known yet."""

    def leave(self, session: ClientSession, hold: bool) -> None:
        """Open another session, because this session's hub has asked for that (DRAIN)."""

    def unreached(self, session: ClientSession, addresses: tuple[bytes, ...]) -> None:
        """A session's hub has a way to all addresses now but these (packed)."""


class ClientSession:
    """A session that the hub has admitted."""

    def __init__(
        self,
        client: Owner,
        node: NodeSettings,
        stream: AnyStream,
        response: Response,
        tail: bytes,
        instance: bytes,
    ) -> None:
        """`tail` is the bytes that came after the hub's response, `instance` what HELLO says of us."""
        self._client, self._tail, self.instance = client, tail, instance
        self.is_kin = bool(ids.hub_version(response.tunnel_id))
        """Whether the hub is a tunrouter."""
        self.hub = wire_control.Hello(b"")
        """What the hub has said of itself; an empty instance where it has not."""
        self.received = Part(client.traffic)
        self.watch: Callable[[memoryview, int, int], None] | None = None
        """Is shown whole frames, as they lie in a buffer, before they are delivered; None for nobody."""
        self.node = node
        self.peer = stream.peer
        self.sender = LaneSender(stream, client.traffic, DEFAULT_QUEUE_BYTES, DEFAULT_QUEUE_SECONDS)
        self.sender.tell_losses(self._lost)
        self.since = time.monotonic()
        self.control = SessionControl(
            self.sender, self.received, client.settings.keepalive_timeout, self.since, follows=True
        )
        self.advice = wire_control.Advice()
        """What the hub finds wrong with this client's identity."""
        self._lane = SecondLane(client, self)
        self._datagrams = ClientDatagrams(client, self)
        self._readers = 0
        self._lane_over = Event()
        self._why = ""
        """Why the lane that ended last did."""
        self._pings = WebSocketPings(self.sender, node.transport.keepalive, self.since)
        self.takes = 0, framing.GOST_HUB_MAX
        """The offloads that the hub takes, and the size of contents."""
        self.hold = Hold()
        self._prefixes: tuple[Prefix, ...] = ()
        """Those that the hub routes to this host."""

    @property
    def congestion(self) -> str:
        """The congestion control that the kernel uses for what is sent to the hub."""
        return self.sender.stream.congestion

    @property
    def channel(self) -> Channel | None:
        """Its datagram channel; None where it has none."""
        return self._datagrams.channel

    @property
    def why_no_channel(self) -> str:
        """Why it has none, in a few words; empty where it has one, and beside a GOST hub."""
        return self._datagrams.why_none

    @property
    def paths(self) -> int:
        """How many TCP connections of MPTCP the session has; 0 where it is plain TCP."""
        return self.sender.stream.paths

    def adopt(self, node: NodeSettings) -> None:
        """Take other settings of the same node, which differ in congestion control at most."""
        had, self.node = self.node.transport.congestion, node
        if node.transport.congestion != had:
            for lane in self.sender.lanes:
                lane.stream.use_congestion(node.transport.congestion, self._client.settings.name, had)

    def begin(self) -> None:
        """Send HELLO to a tunrouter hub; until its own HELLO comes it is treated as a GOST hub."""
        client = self._client
        client.use_offloads()
        if self.is_kin:
            self.greet()
        else:
            client.tell_gateway(self, None)

    def greet(self) -> None:
        """Send HELLO; a hub that has one already takes what is new in it."""
        client, feature = self._client, wire_control.Feature
        client.tell_gateway(self, None)  # what the hub says of them is judged anew
        device = client.device_settings
        more = feature.DUMMY_SOURCE if client.transit.takes_dummies(device.addresses) else 0
        more |= feature.LANES if self._lane.wanted else 0
        more |= feature.SETTINGS if client.push.asks(self) else 0
        more |= feature.UNREACHED if client.settings.active > 1 else 0
        cipher = self._datagrams.offer()
        self.control.greet(self.instance, client.offloads, device.mtu, more=more, cipher=cipher)

    def resume(self) -> None:
        """Set the device again to what this hub takes: a session that was to take its place did not begin."""
        self._client.use_offloads()
        self._client.tell_gateway(self, self._prefixes)

    def run(self) -> str:
        """Receive and deliver until the session ends; returns why it did."""
        stream = self.sender.stream
        try:
            self._read(self.sender.lanes[0], self._tail)
            while self._readers:  # the session goes on with the lane that is left
                self._lane_over.wait()
                self._lane_over.clear()
        finally:
            self.hold.end()
            self._lane.stop()
            self._datagrams.stop()
            self.sender.ended()
            stream.close()
        return self.sender.closed_because or self._why

    def read_lane(self, stream: AnyStream, tail: bytes) -> None:
        """Use a second lane until it ends; `tail` is the bytes that came after the hub's response."""
        try:
            if self._readers and not self.sender.closed_because:
                self._read(self.sender.add(stream, time.monotonic()), tail)
        finally:
            stream.close()

    def _read(self, lane: SessionSender, tail: bytes) -> None:
        """Read a lane until it ends. The session goes on with the other one, where there is one."""
        self._readers += 1
        began, why = time.monotonic(), "closed by the hub"
        try:
            self._receive(lane, tail)
        except OSError as error:
            why = error.strerror or str(error)
        except ProtocolError as error:
            why = str(error)
        except Exception as error:  # noqa: BLE001  whatever it is, the client has to dial again
            service_supervisor.note(error)
            why = f"an error of this program: {type(error).__name__}"
        finally:
            self._readers -= 1
            self._why = why
            self._lane_over.set()
            if len(self.sender.lanes) > 1:
                self.sender.remove(lane)
                lane.stream.close()
                self._lane.lost(time.monotonic() - began, time.monotonic())
                if not self.sender.closed_because:
                    self._tell_lost(lane, why)

    def _tell_lost(self, lane: SessionSender, why: str) -> None:
        name, host = self._client.settings.name, self._client.settings.host
        say(
            Entry.LANE_LOST, "service %s: the session with %s goes on without a lane: %s",
            *(name, self.peer, why),
            fold=name, service=name, host=host, peer=self.peer, lane=lane.stream.peer, reason=why,
        )  # fmt: skip

    def close(self) -> None:
        """Close a session that has not begun."""
        self.sender.ended()
        self.sender.stream.close()

    def give_up(self, why: str, ends: bool = False) -> None:
        """Close the session after LINGER seconds, because another one has taken its place.

        Later where the hub `ends`: until then others may send us packets by it.
        """
        self.decline()
        gevent.spawn_later(END_LINGER if ends else LINGER, self.sender.close, why)

    def decline(self) -> None:
        """Tell a hub that has asked us to leave not to wait for us."""
        self.control.drain()

    def beat(self, now: float) -> None:
        """Look whether the hub still lives."""
        self.control.beat(now)
        self._lane.beat(now)
        self._datagrams.beat(now)
        self.sender.end_stuck(now)
        self._pings.beat(now, self.control.liveness.tick)

    def _receive(self, lane: SessionSender, tail: bytes) -> None:
        buffer, stream, size = self._client.buffer, lane.stream, 0
        while True:
            end = framing.HEADROOM + size
            stop = self._deliver(buffer.join(tail), end, lane)
            tail = bytes(buffer.view[stop:end]) if stop < end else b""
            down = self._client.down
            if down.is_crowded:
                self.sender.wait_for_reader()
            size = stream.receive_into(buffer.landing[: down.room])
            if not size:
                return

    def deliver(self, frames: list[bytes]) -> None:
        """Deliver whole frames that have come by datagrams."""
        data, start = self._client.buffer.data, framing.HEADROOM
        end = start
        for run in frames:
            if end + len(run) > start + framing.RECEIVE:
                self._deliver(start, end, self.sender.lanes[0])
                end = start
            data[end : end + len(run)] = run
            end += len(run)
        self._deliver(start, end, self.sender.lanes[0])

    def _deliver(self, start: int, end: int, lane: SessionSender) -> int:
        """Write the packets of whole frames in the receive buffer to the device; returns where it stopped."""
        client = self._client
        buffer, down = client.buffer, client.down
        client.transit.look(buffer.view, start, end)
        if self.watch is not None:
            self.watch(buffer.view, start, end)
        before = client.traffic.received_packets
        if client.taps.on:
            fate = capture_watch.arriving(self.node.namespace, client.settings.host, client.device_name)
            stop = capture_watch.deliver(down, buffer.data, buffer.view, start, end, client.taps, fate)
        else:
            stop = client_downlink.deliver(down, buffer.data, buffer.view, start, end)
        TIME_SLICE.passed(stop - start)
        self.received.received_packets += client.traffic.received_packets - before
        for content in down.take_controls() if down.controls else ():
            self._control(content, lane)
        if client.traffic.news:
            client.tell_news()
        return stop

    def _lost(self, reason: Reason, frames: bytes) -> None:
        """Show the taps frames that were dropped on their way to the hub."""
        client = self._client
        if client.taps.on:
            fate = capture_watch.leaving(self.node.namespace, client.settings.host, self.peer, reason)
            capture_watch.sent(client.taps, fate, frames)

    def _control(self, content: bytes, lane: SessionSender) -> None:
        for message in self.control.receive([content], time.monotonic(), lane.reply):
            if isinstance(message, wire_control.Hello):
                self._meet(message)
            elif isinstance(message, wire_control.Drain):
                self.hold.asked()
                self._client.leave(self, message.hold)
            elif isinstance(message, wire_control.Switch):
                self.hold.switch(self.control)
            elif isinstance(message, wire_control.Lane):
                self._lane.given(message.token)
            elif isinstance(message, Pushed):
                self._client.push.told(self, message)
            elif isinstance(message, wire_control.Datagrams):
                self._datagrams.given(message)
            elif isinstance(message, wire_control.Advice):
                self._heed(message)
            elif isinstance(message, Unreached):
                self._client.unreached(self, message.addresses)

    def _heed(self, advice: wire_control.Advice) -> None:
        """Log what the hub finds wrong with our name or router.id, where it has not said so before."""
        client, before = self._client, self.warnings()
        self.advice = advice
        for line in self.warnings():
            if line not in before:
                name, host = client.settings.name, client.settings.host
                say(
                    Entry.HUB_ADVICE, "service %s: hub %s: %s", name, self.peer, line,
                    fold=name, service=name, host=host, hub=self.peer, advice=line,
                )  # fmt: skip

    def warnings(self) -> list[str]:
        """A line for each thing that the hub finds wrong with our name or router.id now."""
        return client_advice.lines(self.advice, self._client.settings.host)

    def _meet(self, message: wire_control.Hello) -> None:
        """Handle the hub's HELLO: from now on superpackets that it takes are sent to it."""
        client = self._client
        self.hub = message
        self.takes = message.offloads & client.offloads, framing.MAX_CONTENT
        self._prefixes = message.prefixes
        client.met(self)
        client.use_offloads()
        client.tell_gateway(self, self._prefixes)
        self._lane.given(message.lane)
        client.push.met(self, message)
        self._datagrams.meet(message)
        name, software, bits = client.settings.name, message.software, message.offloads
        say(
            Entry.HELLO, "service %s: hub is %s, offloads %#x", name, software, bits, fold=name,
            service=name, host=client.settings.host, peer=self.peer, software=software, offloads=bits,
        )  # fmt: skip
