"""A client's session at a hub, from its admission to its last counter.

Knows: what becomes of what the client sends, control frames, and how a session ends.
Refuses to know: who is admitted (hub), how a packet is judged (forward, forward_decide), how bytes get out
(session_sender).
"""

from __future__ import annotations

import errno
import time
from typing import Protocol

import gevent
from gevent.event import Event

from lib import capture_watch, forward, framing, ids, packet_offload, wire_control
from lib.capture_taps import Taps
from lib.counter_rates import Rates
from lib.errors import ProtocolError
from lib.forward_drop_reasons import Reason
from lib.framing import ReceiveBuffer
from lib.limits import Gate, Meter
from lib.log_dedup import OUTAGE
from lib.log_events import Entry
from lib.log_setup import say, settle
from lib.metrics_ledger import Book, Ledger
from lib.namespace import Attachment
from lib.namespace_domain import Domain
from lib.packet import format_address
from lib.packet_text import head_of_frame
from lib.route_plugin_cache import Asker, PluginCache
from lib.service_scheduling import Pauses, Turns
from lib.session_keepalive import Health, Liveness
from lib.session_queue import Budget
from lib.session_sender import SessionSender
from lib.settings import HubSettings
from lib.stream_bounded import failing_as
from lib.stream_layer import AnyStream
from lib.wire_relay import Request

SLOW = 1 << 18
"""Who may send less than this in a quarter of a second has little on the way to us."""


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
    moved: Event
    """Set whenever a session ends, or needs this hub no more."""

    @property
    def offloads(self) -> int:
        """The superpackets taken here."""

    @property
    def hello(self) -> bytes:
        """How the hub shows itself."""


class HubSession:
    """An admitted client."""

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
        self.attachment.sender = self.sender
        self.sender.is_alive = self.is_alive
        self._counted = 0
        self.software = ""
        """What the client says it is; empty for GOST's."""
        self.features = 0
        """What the client understands beside HELLO (control.Feature); 0 until it has said so."""
        self.awaited = False
        """Whether it has been told that the hub is about to end, and has not gone elsewhere yet."""
        now = time.monotonic()
        self.liveness = Liveness(settings.keepalive_timeout, now)
        self.rates = Rates(now)

    def run(self, rest: bytes) -> None:
        """Live until the client or somebody else ends it; rest is what came with the request."""
        attachment, name = self.attachment, self.hub.settings.name
        self.domain.enter(attachment, time.monotonic())
        self.hub.sessions[attachment] = self
        books = self._books()
        for book in books:
            book.enter(attachment)
        if self.hub.settings.on_duplicate == "replace":
            for other in attachment.namespace.others(attachment):
                other.sender.close("replaced by a new session of its host name")
        namespace = ids.format_uuid(attachment.namespace.id)
        say(
            Entry.SESSION_OPENED,
            "service %s: %s is host %s in namespace %s",
            *(name, attachment.peer, attachment.host, namespace),
            service=name,
            host=attachment.host,
            namespace=namespace,
            peer=attachment.peer,
            transport=self.hub.settings.transport.kind,
        )
        why = "closed by the client"
        try:
            self._forward(rest)
        except OSError as error:
            why = error.strerror or str(error)
        except gevent.GreenletExit:
            why = "the hub ends"
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
            why = self.sender.closed_because or why
            say(
                Entry.SESSION_CLOSED,
                "service %s: %s (%s) left: %s",
                *(name, attachment.peer, attachment.host, why),
                service=name,
                host=attachment.host,
                namespace=namespace,
                peer=attachment.peer,
                reason=why,
                seconds=round(time.monotonic() - attachment.since, 1),
                received_bytes=attachment.traffic.received_bytes,
                sent_bytes=attachment.traffic.sent_bytes,
            )

    def _books(self) -> tuple[Book, Book]:
        """Where its packets are counted when it is over."""
        attachment = self.attachment
        by_host = self.hub.by_host.book((attachment.namespace.id, attachment.host))
        by_host.opened += 1
        return by_host, self.hub.by_address.book(self._address)

    @property
    def _address(self) -> str:
        return self.attachment.peer.rpartition(":")[0].strip("[]")

    def _forward(self, tail: bytes) -> None:
        """Read and forward until the client closes."""
        buffer = self.hub.buffer
        tail = tail[self.scan_copy(tail) :]
        try:
            while size := self._receive(buffer.landing):
                end = framing.HEADROOM + size
                stop = self._scan(buffer.data, buffer.view, buffer.join(tail), end)
                tail = bytes(buffer.view[stop:end])
                if self._meter is not None:
                    self._hold_back(self._meter, stop - end + size)
        finally:
            if tail:
                self.attachment.drop(Reason.CUT_OFF)
                self._tell_news()

    def _hold_back(self, meter: Meter, size: int) -> None:
        """Read a client that sends too fast later; what it sends meanwhile waits on its side."""
        received = self.attachment.traffic.received_packets
        now = time.monotonic()
        meter.take(size, received - self._counted, now)
        self._counted = received
        delay = meter.wait(now)
        if delay > 0:
            gevent.sleep(delay)

    def _receive(self, landing: memoryview) -> int:
        seconds = self.hub.settings.read_timeout
        landing = landing[: self._slice]
        if not seconds:
            return self.stream.receive_into(landing)
        late = OSError(errno.ETIMEDOUT, f"nothing received for {seconds:g} s (readTimeout)")
        with gevent.Timeout(seconds, late):
            return self.stream.receive_into(landing)

    def scan_copy(self, frames: bytes) -> int:
        """Forward frames that are not in the receive buffer; returns how many bytes that took."""
        data = bytearray(frames + bytes(framing.SLACK))
        return self._scan(data, memoryview(data), 0, len(frames))

    def _scan(self, data: bytearray, view: memoryview, start: int, end: int) -> int:
        """Forward the whole frames in data[start:end]; returns where it stopped."""
        attachment, out = self.attachment, self.hub.output
        now = time.monotonic()
        if self.hub.taps.on:
            stop = capture_watch.scan(attachment, data, view, start, end, now, out, self.hub.taps)
        else:
            stop = forward.scan(attachment, data, view, start, end, now, out)
        for target, run in out.runs.items():
            target.sender.send(run)
        out.runs.clear()
        if not attachment.is_tunrouter:
            self.hub.pauses.received(end - start, now)
        if out.controls:
            self._controls(out)
        if attachment.traffic.news:
            self._tell_news()
        for cache in attachment.namespace.tables:
            if isinstance(cache, PluginCache):
                for address in cache.take_wanted():
                    gevent.spawn(self._resolve, cache, address)
        return stop

    def _lost(self, reason: Reason, frames: bytes) -> None:
        """What was on its way to the client will not get there."""
        if self.hub.taps.on:
            attachment = self.attachment
            capture_watch.lost(
                self.hub.taps,
                attachment.namespace.id,
                attachment.host,
                f"session {attachment.peer}",
                reason,
                frames,
            )

    def _controls(self, out: forward.Output) -> None:
        contents, out.controls = out.controls, []
        for content in contents:
            self._control(content)

    def _tell_news(self) -> None:
        """Log each reason for drops once a session."""
        attachment = self.attachment
        for reason, detail in attachment.traffic.take_news():
            what = f" {detail}" if detail else ""
            name = self.hub.settings.name
            say(
                Entry.DROPS,
                "host %s (%s): packets are dropped: %s%s: %s",
                *(attachment.host, attachment.peer, reason.value, what, reason.doc),
                fold=reason.value,
                service=name,
                host=attachment.host,
                peer=attachment.peer,
                reason=reason.value,
                detail=detail,
            )
            if reason is Reason.WRONG_SOURCE:
                source = detail.partition(" ")[0]
                say(
                    Entry.ADVICE,
                    "a route `dst: %s, gateway: %s` would allow it, `sourceCheck: off` would allow all",
                    *(source, attachment.host),
                    fold=reason.value,
                    service=name,
                    host=attachment.host,
                    advice=f"dst: {source}, gateway: {attachment.host}",
                )

    def _control(self, content: bytes) -> None:
        try:
            message = wire_control.decode(content)
        except ProtocolError:
            self.attachment.drop(Reason.BAD_CONTROL)
            return
        if isinstance(message, wire_control.Hello):
            self._meet(message)
        elif isinstance(message, wire_control.Ping):
            self.sender.send([framing.encode(wire_control.encode_pong(message.token))])
        elif isinstance(message, wire_control.Pong):
            self.liveness.pong(message.token, time.monotonic())
        elif isinstance(message, wire_control.Drain):
            self.awaited = False  # it is elsewhere, or has nowhere to go
            self.hub.moved.set()

    def _meet(self, hello: wire_control.Hello) -> None:
        """The client is one of our own kind: reply in kind, and use what it can do."""
        attachment = self.attachment
        self.features, self.software = hello.features, hello.software
        attachment.instance = hello.instance
        if self.hub.offloads:
            if not attachment.is_tunrouter:
                self.hub.turns.hold_long()
            attachment.is_tunrouter = True
            attachment.offloads = (
                hello.offloads & packet_offload.ALL if hello.offloads & packet_offload.CSUM else 0
            )
            attachment.mtu = min(
                hello.mtu or framing.MAX_CONTENT, framing.MAX_CONTENT - packet_offload.HEADER_SIZE
            )
        self.sender.send([self.hub.hello])
        for rival in attachment.namespace.rivals(attachment):
            rival.sender.close("replaced by a new session of the same client")
        say(
            Entry.HELLO,
            "%s (%s) is %s, offloads %#x",
            *(attachment.peer, attachment.host, hello.software, attachment.offloads),
            service=self.hub.settings.name,
            host=attachment.host,
            peer=attachment.peer,
            software=hello.software,
            offloads=attachment.offloads,
        )

    def beat(self, now: float) -> None:
        """Look whether the client still lives; ask it if it knows how to answer."""
        self.rates.sample(self.attachment.traffic, now)
        if not self.features & wire_control.Feature.KEEPALIVE:
            return  # TCP's own keepalive looks after GOST's clients (transport)
        health = self.liveness.look(self.attachment.traffic.received_packets, now)
        if health is Health.ASK:
            self.sender.send([framing.encode(wire_control.encode_ping(self.liveness.token(now)))])
        elif health is Health.DEAD:
            self.sender.close(f"nothing heard for {self.liveness.timeout:g} s")

    def limit(self) -> None:
        """Take the limits that count for this session, as the settings have them now."""
        into, out = self.hub.gate.meters(
            self._address, self.attachment.host, self.attachment.namespace.id, self
        )
        self._meter = into or None
        self._slice = into.slice if into else 1 << 30
        if self._slice < SLOW:
            self.stream.hold_unread(4 * self._slice)
        self.sender.meter = out or None

    def is_alive(self, seconds: float) -> bool:
        """Whether the client gives a sign of life within so many seconds; yes where it cannot be asked."""
        if not self.features & wire_control.Feature.KEEPALIVE:
            return True
        before, until = self.attachment.traffic.received_packets, time.monotonic() + seconds
        self.sender.send([framing.encode(wire_control.encode_ping(self.liveness.token(time.monotonic())))])
        while time.monotonic() < until and self.attachment.live:
            if self.attachment.traffic.received_packets != before:
                return True
            gevent.sleep(0.02)
        return False

    def tell_drain(self) -> None:
        """The hub is about to end: tell a client that can go elsewhere."""
        if self.features & wire_control.Feature.DRAIN:
            self.awaited = True
            self.sender.send([framing.encode(wire_control.encode_drain())])

    def _resolve(self, cache: PluginCache[Attachment], address: bytes) -> None:
        """Ask the plugin for a route, off the packet path; then let go the frames that waited."""
        plugin, failed, name = cache.asker, self.hub.failed_plugins, self.hub.settings.name
        assert plugin is not None
        try:
            with failing_as(OSError, OSError):
                route = plugin.route(address, self.attachment.namespace.id)
            waited = cache.store(address, route, time.monotonic())
            if plugin in failed:
                settle(Entry.PLUGIN_FAILED, name)
                say(Entry.PLUGIN_RECOVERED, "router plugin: answers again", service=name)
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
            session = self.hub.sessions.get(attachment)
            if session is not None:
                session.scan_copy(frame)
            else:
                attachment.drop(Reason.SESSION_GONE, 1, "", head_of_frame(frame), time.monotonic())
                if self.hub.taps.on:  # it came from there, and nobody is left who asked
                    capture_watch.dropped(self.hub.taps, attachment, Reason.SESSION_GONE, frame)
