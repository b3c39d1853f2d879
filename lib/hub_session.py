"""A hub's side of a session with a client, from its admission to the end of the session.

Knows: how received frames are handled, control frames, keepalive, limits, and how a session ends.
Refuses to know: who is admitted (hub), how packets go on (forward), how bytes are sent (session_sender).
"""

from __future__ import annotations

import time
from typing import Protocol

import gevent
from gevent.event import Event

from lib import capture_watch, framing, hub_log, hub_receive, hub_turn, packet_offload, wire_control
from lib.addresses import host_of
from lib.capture_taps import Taps
from lib.counter_rates import Rates
from lib.forward_drop_reasons import Reason
from lib.forward_frame import Output
from lib.framing import ReceiveBuffer
from lib.hub_datagram import HubChannel, HubDatagrams
from lib.hub_drain import end_replaced
from lib.hub_identity import Identities, Verdict
from lib.hub_push import Push
from lib.limits import Gate, Meter
from lib.metrics_ledger import Book, Ledger
from lib.namespace import Attachment
from lib.namespace_domain import Domain
from lib.namespace_prefixes import PrefixesOfHosts
from lib.push_settings import Pushed
from lib.route_plugin_cache import Asker
from lib.rule_recheck import Vouchers
from lib.service_scheduling import Pauses
from lib.service_slice import TIME_SLICE
from lib.session_budget import Budget
from lib.session_control import SessionControl
from lib.session_cost import Cost
from lib.session_lane_sender import MAX_LANES, LaneSender
from lib.session_lane_tokens import LaneTokens
from lib.session_lanes import BUCKETS
from lib.session_sender import SessionSender
from lib.settings import HubSettings
from lib.stream_layer import AnyStream
from lib.wire_relay import Request

SLOW = 1 << 18
"""Bytes in 0.25 s. A client that may send less gets a receive buffer for one second (Stream.hold_unread).
With a bigger buffer its TCP window would stay shut for too long after it has once been full.
"""


class Owner(Protocol):
    """What a session uses of its hub."""

    settings: HubSettings
    domain: Domain
    buffer: ReceiveBuffer
    pauses: Pauses
    output: Output
    sessions: dict[Attachment, HubSession]
    by_host: Ledger[tuple[bytes, str]]
    by_address: Ledger[str]
    failed_plugins: set[Asker]
    taps: Taps
    budget: Budget
    gate: Gate
    instance: bytes
    """16 random bytes: this hub, as long as it runs."""
    prefixes: PrefixesOfHosts
    push: Push
    identities: Identities
    moved: Event
    """Set whenever a session ends, or its client has replied to DRAIN."""
    datagrams: HubDatagrams
    tokens: LaneTokens[HubSession]
    """The tokens by which lanes may join sessions."""

    @property
    def has_room(self) -> bool:
        """Whether there is room for connections that are not needed: second lanes."""

    def new_token(self, session: HubSession) -> bytes:
        """A token for a second lane of a session, 16 bytes; empty where none may join now."""

    @property
    def offloads(self) -> int:
        """Offload bits (packet_offload) that the hub takes."""


class HubSession:
    """The session of an admitted client."""

    def __init__(self, hub: Owner, stream: AnyStream, request: Request, vouchers: Vouchers) -> None:
        settings = hub.settings
        self.vouchers = vouchers
        self.hub = hub
        self.domain = hub.domain
        self.request = request
        self.certificate = stream.certificate
        self.attachment = Attachment(self.domain.namespace(request.namespace), request.host, stream.peer)
        self.attachment.mtu = framing.GOST_CLIENT_MAX
        self.attachment.again = self.scan_copy
        self.sender = LaneSender(
            stream, self.attachment.traffic, settings.queue_bytes, settings.queue_seconds, hub.budget
        )
        self._reader: SessionSender = self.sender.lanes[0]
        """The lane whose bytes are handled in this turn."""
        self._readers = 0
        """Lanes that are read, each by the greenlet of its own connection."""
        self._lane_over = Event()
        self._ended_because = ""
        self.channel: HubChannel | None = None
        """Its datagram channel; None where it has none."""
        self.sender.tell_losses(self._lost)
        self._limited: list[object] = []
        """The rates by plugins that limit it now."""
        self._counted = 0
        """Packets that the limits know of, of those that the client has sent."""
        self.limit()
        self.attachment.sender, self.attachment.budget = self.sender, hub.budget
        self.sender.is_alive = self.is_alive
        self.awaited = False
        """Whether the client was sent DRAIN or SWITCH and has neither replied nor left yet."""
        self._cluster = b""
        """What it was told of the cluster."""
        now = time.monotonic()
        self.control = SessionControl(self.sender, self.attachment.traffic, settings.keepalive_timeout, now)
        self.rates = Rates(now)
        self._heard = 0
        self.verdict = Verdict()
        """What is wrong with its host name or namespace."""

    @property
    def stream(self) -> AnyStream:
        """The stream of its first lane."""
        return self.sender.stream

    def enter(self) -> None:
        """Go live under the host's name; run() follows at once."""
        self.domain.enter(self.attachment, time.monotonic())
        self.hub.sessions[self.attachment] = self

    def run(self, rest: bytes) -> None:
        """Run the session until it ends; `rest` is the bytes that came after the client's request."""
        attachment, name = self.attachment, self.hub.settings.name
        books = self._books()
        for book in books:
            book.enter(attachment)
        if self.hub.settings.on_duplicate == "replace":
            for other in attachment.namespace.others(attachment):
                self.hub.identities.replaced(other, attachment, time.monotonic())
                end_replaced(other, f"replaced by a new session of its host name, of {attachment.peer}")
        hub_log.opened(name, attachment, self.hub.settings.transport.kind, self.stream.via)
        why = ""
        try:
            self._read(self.sender.lanes[0], rest)
            while self._readers:  # the session goes on with the lane that is left
                self._lane_over.wait()
                self._lane_over.clear()
            why = self._ended_because
        except gevent.GreenletExit:
            why = "the hub ends"
        except Exception as error:
            why = f"an error of this hub: {type(error).__name__}"
            raise
        finally:
            del self.hub.sessions[attachment]
            self.hub.tokens.forget(self)
            self.hub.moved.set()
            self.sender.ended()
            if self.channel is not None:
                self.channel.stop()
            self.domain.leave(attachment)
            for book in books:
                book.leave(attachment)
            if attachment.is_tunrouter:
                TIME_SLICE.release()
            self.tell_news()
            hub_log.closed(name, attachment, self.sender.closed_because or why)

    def run_lane(self, stream: AnyStream, rest: bytes) -> None:
        """Read a lane that has joined the session until it ends; `rest` came after its request."""
        own, other = stream.cost, self.sender.lanes[0].stream.cost
        if own is not None and other is not None:
            own.admit(self.hub.settings.transport.kind)
            own.join(other)
        lane = self.sender.add(stream, time.monotonic(), min(BUCKETS, self.attachment.max_flows))
        self._limit_stream(stream)
        hub_log.lane(self.hub.settings.name, self.attachment, stream.peer)
        self._read(lane, rest)

    def _read(self, lane: SessionSender, rest: bytes) -> None:
        """Read a lane until it ends. The session goes on with the other one, where there is one."""
        self._readers += 1
        why = "closed by the client"
        try:
            self._forward(lane, rest)
        except OSError as error:
            why = error.strerror or str(error)
        finally:
            self._readers -= 1
            self._ended_because = why
            self._lane_over.set()
            if len(self.sender.lanes) > 1:
                self.sender.remove(lane)
                if lane.stream.cost is not None:
                    lane.stream.cost.part()
                if not self.sender.closed_because:
                    lane.stream.close()
                    hub_log.lane_lost(self.hub.settings.name, self.attachment, lane.stream.peer, why)

    def _books(self) -> tuple[Book, Book]:
        """The ledger entries that its counters go to: that of its host, and that of its address."""
        attachment = self.attachment
        by_host = self.hub.by_host.book((attachment.namespace.id, attachment.host))
        by_host.opened += 1
        return by_host, self.hub.by_address.book(self.address)

    @property
    def address(self) -> str:
        """The client's IP address."""
        return host_of(self.attachment.peer)

    def _forward(self, lane: SessionSender, tail: bytes) -> None:
        """Receive from a lane and forward until the client closes it."""
        buffer, stream = self.hub.buffer, lane.stream
        try:
            while True:
                while tail and framing.is_whole(tail):  # more has come than a turn has time for
                    if not stream.give_way():
                        return
                    self._reader = lane
                    tail = tail[self.scan_copy(tail, stream.cost) :]
                seconds = self.hub.settings.read_timeout
                if seconds:
                    size = hub_receive.receive(stream, buffer.landing, seconds, self.attachment.traffic)
                else:
                    size = stream.receive_into(buffer.landing)
                if not size:
                    return
                self._reader = lane
                end = framing.HEADROOM + size
                start = buffer.join(tail)
                stop = hub_turn.scan(self.hub, self, stream.cost, buffer.data, buffer.view, start, end)
                tail = bytes(buffer.view[stop:end]) if stop < end else b""
                if self.meter is not None and self.meter.counts_packets:
                    self._count_packets(self.meter)
        finally:
            if tail:
                self.attachment.drop(Reason.CUT_OFF)
                self.tell_news()

    def _count_packets(self, meter: Meter) -> None:
        """Take what was received from the limits of packets; the stream takes the bytes."""
        received = self.attachment.traffic.received_packets
        meter.take_packets(received - self._counted, time.monotonic())
        self._counted = received

    def scan_copy(self, frames: bytes, cost: Cost | None = None) -> int:
        """Forward frames that are not in the receive buffer; returns how many bytes were whole frames.

        `cost` is the account in which this turn counts; None where it is no turn of the client's.
        """
        data = bytearray(frames + bytes(framing.SLACK))
        return hub_turn.scan(self.hub, self, cost, data, memoryview(data), 0, len(frames))

    def _lost(self, reason: Reason, frames: bytes) -> None:
        """Show the taps frames that were dropped on their way to the client."""
        if self.hub.taps.on:
            attachment = self.attachment
            to = attachment.namespace.id, attachment.host, f"session {attachment.peer}"
            capture_watch.lost(self.hub.taps, *to, reason, frames)

    def act(self, out: Output) -> None:
        """Act on the control frames of a turn."""
        contents, out.controls = out.controls, []
        for message in self.control.receive(contents, time.monotonic(), self._reader.reply):
            if isinstance(message, wire_control.Hello):
                self._meet(message)
            elif isinstance(message, wire_control.Drain):
                self.awaited = False  # it has another session now, or no other hub to go to
                self.hub.moved.set()
            elif isinstance(message, wire_control.Switch):
                self.awaited = False  # it sends by the other session from now on
                self.hub.moved.set()
            elif isinstance(message, wire_control.Lane) and (token := self.hub.new_token(self)):
                self.control.give_lane(token)
            elif isinstance(message, Pushed):
                self.hub.push.heard(self, message)
            elif isinstance(message, wire_control.Datagrams) and self.channel is not None:
                self.channel.peer.given(message, time.monotonic())

    def tell_news(self) -> None:
        """Log the reasons for drops that occurred for the first time in this session."""
        for reason, detail in self.attachment.traffic.take_news():
            hub_log.drops(self.hub.settings.name, self.attachment, reason, detail)

    def _meet(self, hello: wire_control.Hello) -> None:
        """Handle HELLO: the client is a tunrouter; send our own HELLO, and use what the client can do."""
        attachment = self.attachment
        attachment.instance = hello.instance
        attachment.takes_dummies = bool(hello.features & wire_control.Feature.DUMMY_SOURCE)
        attachment.takes_unreached = bool(hello.features & wire_control.Feature.UNREACHED)
        attachment.mtu = min(
            hello.mtu or framing.MAX_CONTENT, framing.MAX_CONTENT - packet_offload.HEADER_SIZE
        )
        if self.hub.offloads:
            if not attachment.is_tunrouter:
                TIME_SLICE.hold_long()
            attachment.is_tunrouter = True
            attachment.offloads = (
                hello.offloads & packet_offload.ALL if hello.offloads & packet_offload.CSUM else 0
            )
        self.greet()
        self.hub.push.met(self)
        for rival in attachment.namespace.rivals(attachment):
            if not rival.is_moving:
                rival.sender.close("replaced by a new session of the same client")
        if self.domain.registry is not None:
            self.domain.registry.met(attachment)
        hub_log.hello(self.hub.settings.name, attachment, hello.software)

    def greet(self) -> None:
        """Send HELLO; a client that has one already takes what is new in it."""
        prefixes = self.hub.prefixes.of(self.attachment.namespace, self.attachment.host)
        more = wire_control.Feature.LANES if self.hub.settings.lanes == MAX_LANES else 0
        more |= wire_control.Feature.SETTINGS
        token, cipher = self.hub.new_token(self), self.hub.datagrams.meet(self)
        self._cluster = self.domain.cluster(self.attachment.namespace.id)
        self.control.greet(
            *(self.hub.instance, self.hub.offloads), prefixes=prefixes, more=more, lane=token, cipher=cipher,
            cluster=self._cluster,
        )  # fmt: skip

    def beat(self, now: float) -> None:
        """Check the keepalive: ask the client for a sign of life, or end a session that is dead."""
        self.rates.sample(self.attachment.traffic, now)
        if self.attachment.traffic.received_packets != self._heard:
            self._heard, self.attachment.heard_at = self.attachment.traffic.received_packets, now
        self.control.beat(now)
        if [one.limit for one in self.vouchers.rates] != self._limited:
            self.limit()
        if self.attachment.instance and self.domain.cluster(self.attachment.namespace.id) != self._cluster:
            self.greet()
        if self.channel is not None:
            self.channel.peer.beat(now)
        if self.hub.settings.lanes < len(self.sender.lanes):  # a reload
            self.sender.lanes[-1].stream.shutdown()
        self.sender.end_stuck(now)

    def tell(self) -> None:
        """Tell the client what is wrong with its identity, where that has changed and it understands it."""
        verdict = self.verdict
        if verdict.advice != verdict.told and self.control.advise(verdict.advice):
            verdict.told = verdict.advice

    def limit(self) -> None:
        """Apply the limits of the present settings to this session."""
        rates = self.vouchers.rates
        self._limited = [one.limit for one in rates]
        into, out = self.hub.gate.meters(
            *(self.address, self.attachment.host, self.attachment.namespace.id, self),
            [(one.key, one.limit) for one in rates],
        )
        self.meter, self.sender.meter = into or None, out or None
        self._counted = self.attachment.traffic.received_packets  # what came before is no debt of new limits
        for lane in self.sender.lanes:
            self._limit_stream(lane.stream)

    def _limit_stream(self, stream: AnyStream) -> None:
        stream.limit(self.meter, self.sender.meter)
        least = self.meter.slice if self.meter is not None else SLOW
        stream.hold_unread(4 * least if least < SLOW else 0)

    def is_alive(self, seconds: float) -> bool:
        """Whether the client gives a sign of life within so many seconds; yes where it cannot be asked."""
        if not self.control.can(wire_control.Feature.KEEPALIVE):
            return True
        before, until = self.attachment.traffic.received_packets, time.monotonic() + seconds
        self.control.ask(time.monotonic())
        while time.monotonic() < until and self.attachment.is_here:
            if self.attachment.traffic.received_packets != before:
                return True
            gevent.sleep(0.02)
        return False

    def tell_drain(self) -> None:
        """Ask the client to open another session before this one ends, where it can go elsewhere.

        It goes on sending by this one until tell_switch(), where it can.
        """
        self.awaited = self.control.drain(hold=True) or self.awaited

    def tell_switch(self) -> None:
        """Tell the client to send by its other session from now on."""
        self.awaited = self.control.switch()
