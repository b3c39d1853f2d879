"""A hub's side of a session with a client, from its admission to the end of the session.

Knows: how received frames are handled, control frames, keepalive, limits, and how a session ends.
Refuses to know: who is admitted (hub), how a packet is forwarded (forward, forward_decide), how bytes are
sent (session_sender).
"""

from __future__ import annotations

import errno
import time
from typing import Protocol

import gevent
from gevent.event import Event

from lib import capture_watch, forward, framing, hub_log, ids, packet_offload, wire_control
from lib.addresses import host_of
from lib.capture_taps import Taps
from lib.counter_rates import Rates
from lib.forward_drop_reasons import Reason
from lib.framing import ReceiveBuffer
from lib.hub_identity import Identities, Verdict
from lib.limits import Gate, Meter
from lib.log_dedup import OUTAGE
from lib.log_events import Entry
from lib.log_setup import say, settle
from lib.metrics_ledger import Book, Ledger
from lib.namespace import Attachment
from lib.namespace_domain import Domain
from lib.namespace_prefixes import PrefixesOfHosts
from lib.packet import format_address
from lib.packet_text import head_of_frame
from lib.route_plugin_cache import Asker, PluginCache
from lib.service_scheduling import Pauses, Turns
from lib.session_budget import Budget
from lib.session_control import SessionControl
from lib.session_cost import TURN_SECONDS
from lib.session_sender import SessionSender
from lib.settings import HubSettings
from lib.stream_bounded import failing_as
from lib.stream_deadline import within
from lib.stream_layer import AnyStream
from lib.wire_relay import Request

PIECE, JUDGED = 1 << 17, 16
"""Bytes, and frames that are not of known flows, between two looks at the clock."""

SLOW = 1 << 18
"""Bytes in 0.25 s. A client that may send less gets a receive buffer for one second (Stream.hold_unread).

With a bigger buffer its TCP window would stay shut for too long after it has once been full.
"""


class Owner(Protocol):
    """What a session uses of its hub."""

    settings: HubSettings
    domain: Domain
    buffer: ReceiveBuffer
    turns: Turns
    pauses: Pauses
    output: forward.Output
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
    identities: Identities
    moved: Event
    """Set whenever a session ends, or its client has replied to DRAIN."""

    @property
    def offloads(self) -> int:
        """Offload bits (packet_offload) that the hub takes."""


class HubSession:
    """The session of an admitted client."""

    def __init__(self, hub: Owner, stream: AnyStream, request: Request) -> None:
        settings = hub.settings
        self.hub = hub
        self.domain = hub.domain
        self.request = request
        self.stream = stream
        self.attachment = Attachment(self.domain.namespace(request.namespace), request.host, stream.peer)
        self.attachment.mtu = framing.GOST_CLIENT_MAX
        self.sender = SessionSender(
            stream, self.attachment.traffic, settings.queue_bytes, settings.queue_seconds, hub.budget
        )
        self.sender.tell_losses(self._lost)
        self.limit()
        self.attachment.sender, self.attachment.budget = self.sender, hub.budget
        self.sender.is_alive = self.is_alive
        self._counted = 0
        self.awaited = False
        """Whether the client was sent DRAIN and has neither replied nor left yet."""
        now = time.monotonic()
        self.control = SessionControl(self.sender, self.attachment.traffic, settings.keepalive_timeout, now)
        self.rates = Rates(now)
        self._heard = 0
        self.verdict = Verdict()
        """What is wrong with its host name or namespace."""

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
                other.sender.close(f"replaced by a new session of its host name, of {attachment.peer}")
        hub_log.opened(name, attachment, self.hub.settings.transport.kind, self.stream.via)
        why = "closed by the client"
        try:
            self._forward(rest)
        except OSError as error:
            why = error.strerror or str(error)
        except gevent.GreenletExit:
            why = "the hub ends"
        except Exception as error:
            why = f"an error of this hub: {type(error).__name__}"
            raise
        finally:
            del self.hub.sessions[attachment]
            self.hub.moved.set()
            self.sender.ended()
            self.domain.leave(attachment)
            for book in books:
                book.leave(attachment)
            if attachment.is_tunrouter:
                self.hub.turns.release()
            self._tell_news()
            hub_log.closed(name, attachment, self.sender.closed_because or why)

    def _books(self) -> tuple[Book, Book]:
        """The ledger entries that its counters go to: that of its host, and that of its address."""
        attachment = self.attachment
        by_host = self.hub.by_host.book((attachment.namespace.id, attachment.host))
        by_host.opened += 1
        return by_host, self.hub.by_address.book(self._address)

    @property
    def _address(self) -> str:
        return host_of(self.attachment.peer)

    def _forward(self, tail: bytes) -> None:
        """Receive and forward until the client closes."""
        buffer = self.hub.buffer
        try:
            while True:
                while framing.is_whole(tail):  # more has come than a turn has time for
                    if not self.stream.give_way():
                        return
                    tail = tail[self.scan_copy(tail) :]
                size = self._receive(buffer.landing)
                if not size:
                    return
                end = framing.HEADROOM + size
                stop = self._scan(buffer.data, buffer.view, buffer.join(tail), end)
                tail = bytes(buffer.view[stop:end])
                if self._meter is not None and self._meter.counts_packets:
                    self._count_packets(self._meter)
        finally:
            if tail:
                self.attachment.drop(Reason.CUT_OFF)
                self._tell_news()

    def _count_packets(self, meter: Meter) -> None:
        """Take what was received from the limits of packets; the stream takes the bytes."""
        received = self.attachment.traffic.received_packets
        meter.take_packets(received - self._counted, time.monotonic())
        self._counted = received

    def _receive(self, landing: memoryview) -> int:
        seconds = self.hub.settings.read_timeout
        if not seconds:
            return self.stream.receive_into(landing)
        self.stream.hold_back()  # that is no silence of the client's
        late = f"nothing received for {seconds:g} s (readTimeout)"
        with within(seconds, lambda: OSError(errno.ETIMEDOUT, late)):
            return self.stream.receive_into(landing)

    def scan_copy(self, frames: bytes) -> int:
        """Forward frames that are not in the receive buffer; returns how many bytes were whole frames."""
        data = bytearray(frames + bytes(framing.SLACK))
        return self._scan(data, memoryview(data), 0, len(frames))

    def _scan(self, data: bytearray, view: memoryview, start: int, end: int) -> int:
        """Forward whole frames of data[start:end] for a turn's time; returns where it stopped."""
        out, traffic, cost = self.hub.output, self.attachment.traffic, self.stream.cost
        patience = cost.patience if cost is not None else TURN_SECONDS
        stop = self._scan_pieces(data, view, start, end, patience)
        for target, run in out.runs.items():
            target.sender.send(run)
        out.runs.clear()
        out.has_icmp_error = False
        if out.controls:
            self._controls(out)
        if cost is not None:
            cost.forward(out.frames, out.bytes, out.cut)
        out.frames = out.bytes = out.cut = 0
        if traffic.news:
            self._tell_news()
        for cache in self.attachment.namespace.tables:
            if isinstance(cache, PluginCache):
                for address in cache.take_wanted():
                    gevent.spawn(self._resolve, cache, address)
        return stop

    def _scan_pieces(self, data: bytearray, view: memoryview, start: int, end: int, patience: float) -> int:
        attachment, out, taps = self.attachment, self.hub.output, self.hub.taps
        began = now = time.monotonic()
        stop = start
        while True:
            piece = min(end, stop + PIECE)
            if taps.on:
                stop = capture_watch.scan(attachment, data, view, stop, piece, now, out, taps, JUDGED)
            else:
                stop = forward.scan(attachment, data, view, stop, piece, now, out, JUDGED)
            if not framing.is_whole(view[stop:end]):
                break
            now = time.monotonic()
            if now - began > patience:
                break
        if not attachment.is_tunrouter:
            self.hub.pauses.received(stop - start, now)
        return stop

    def _lost(self, reason: Reason, frames: bytes) -> None:
        """Show the taps frames that were dropped on their way to the client."""
        if self.hub.taps.on:
            attachment = self.attachment
            to = attachment.namespace.id, attachment.host, f"session {attachment.peer}"
            capture_watch.lost(self.hub.taps, *to, reason, frames)

    def _controls(self, out: forward.Output) -> None:
        """Act on the control frames of a turn."""
        contents, out.controls = out.controls, []
        for message in self.control.receive(contents, time.monotonic()):
            if isinstance(message, wire_control.Hello):
                self._meet(message)
            elif isinstance(message, wire_control.Drain):
                self.awaited = False  # it has another session now, or no other hub to go to
                self.hub.moved.set()

    def _tell_news(self) -> None:
        """Log the reasons for drops that occurred for the first time in this session."""
        for reason, detail in self.attachment.traffic.take_news():
            hub_log.drops(self.hub.settings.name, self.attachment, reason, detail)

    def _meet(self, hello: wire_control.Hello) -> None:
        """Handle HELLO: the client is a tunrouter; send our own HELLO, and use what the client can do."""
        attachment = self.attachment
        attachment.instance = hello.instance
        attachment.takes_dummies = bool(hello.features & wire_control.Feature.DUMMY_SOURCE)
        attachment.mtu = min(
            hello.mtu or framing.MAX_CONTENT, framing.MAX_CONTENT - packet_offload.HEADER_SIZE
        )
        if self.hub.offloads:
            if not attachment.is_tunrouter:
                self.hub.turns.hold_long()
            attachment.is_tunrouter = True
            attachment.offloads = (
                hello.offloads & packet_offload.ALL if hello.offloads & packet_offload.CSUM else 0
            )
        prefixes = self.hub.prefixes.of(attachment.namespace, attachment.host)
        self.control.greet(self.hub.instance, self.hub.offloads, prefixes=prefixes)
        for rival in attachment.namespace.rivals(attachment):
            rival.sender.close("replaced by a new session of the same client")
        hub_log.hello(self.hub.settings.name, attachment, hello.software)

    def beat(self, now: float) -> None:
        """Check the keepalive: ask the client for a sign of life, or end a session that is dead."""
        self.rates.sample(self.attachment.traffic, now)
        if self.attachment.traffic.received_packets != self._heard:
            self._heard, self.attachment.heard_at = self.attachment.traffic.received_packets, now
        self.control.beat(now)

    def tell(self) -> None:
        """Tell the client what is wrong with its identity, where that has changed and it understands it."""
        verdict = self.verdict
        if verdict.advice != verdict.told and self.control.advise(verdict.advice):
            verdict.told = verdict.advice

    def limit(self) -> None:
        """Apply the limits of the present settings to this session."""
        into, out = self.hub.gate.meters(
            self._address, self.attachment.host, self.attachment.namespace.id, self
        )
        self._meter, self.sender.meter = into or None, out or None
        self.stream.limit(self._meter, self.sender.meter)
        if into and into.slice < SLOW:
            self.stream.hold_unread(4 * into.slice)

    def is_alive(self, seconds: float) -> bool:
        """Whether the client gives a sign of life within so many seconds; yes where it cannot be asked."""
        if not self.control.can(wire_control.Feature.KEEPALIVE):
            return True
        before, until = self.attachment.traffic.received_packets, time.monotonic() + seconds
        self.control.ask(time.monotonic())
        while time.monotonic() < until and self.attachment.live:
            if self.attachment.traffic.received_packets != before:
                return True
            gevent.sleep(0.02)
        return False

    def tell_drain(self) -> None:
        """Ask the client to open another session before this one ends, where it can go elsewhere."""
        self.awaited = self.control.drain() or self.awaited

    def _resolve(self, cache: PluginCache[Attachment], address: bytes) -> None:
        """Ask the plugin for a route (in a greenlet of its own), then forward the frames that waited."""
        plugin, failed, name = cache.asker, self.hub.failed_plugins, self.hub.settings.name
        assert plugin is not None
        try:
            with failing_as(OSError, OSError):
                route = plugin.route(address, self.attachment.namespace.id)
            waited = cache.store(address, route, time.monotonic())
            if plugin in failed:
                settle(Entry.PLUGIN_FAILED, name)
                say(Entry.PLUGIN_RECOVERED, "router plugin: replies again", service=name)
                failed.discard(plugin)
        except OSError as error:
            say(
                Entry.PLUGIN_FAILED,
                "router plugin: %s: %s",
                *(format_address(address), error),
                fold=name,
                habit=OUTAGE,
                service=name,
                namespace=ids.format_uuid(self.attachment.namespace.id),
                address=format_address(address),
                reason=error,
            )
            failed.add(plugin)
            waited = cache.fail(address, time.monotonic())
        for attachment, frame in waited:
            attachment.unpark(frame)
            session = self.hub.sessions.get(attachment)
            if session is not None:
                session.scan_copy(frame)
            else:
                attachment.drop(Reason.SESSION_GONE, 1, "", head_of_frame(frame), time.monotonic())
                if self.hub.taps.on:  # the sender's session has ended meanwhile
                    capture_watch.dropped(self.hub.taps, attachment, Reason.SESSION_GONE, frame)
