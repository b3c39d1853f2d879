"""The hub: admits clients and forwards between them, one greenlet a client.

Knows: the life of a client's session, from the accepted socket to its last counter.
Refuses to know: how a packet is judged (forward, decide), how bytes get out (session).
"""

from __future__ import annotations

import errno
import os
import time
from collections import Counter
from typing import Any

import gevent
from gevent.pool import Pool
from gevent.server import StreamServer

from lib import __version__, control, forward, framing, handshake, ids, offload, relay
from lib.admission import REFUSALS, admit
from lib.answers import Answers
from lib.domain import Domain
from lib.drops import Reason, Refusal
from lib.errors import ProtocolError
from lib.framing import ReceiveBuffer
from lib.ingress import Ingress
from lib.logs import log
from lib.namespace import Port
from lib.packet import format_address
from lib.plugins import RouterPlugin
from lib.relay import Request, Response, Status
from lib.scheduling import Turns
from lib.session import Link
from lib.settings import HubSettings
from lib.transport import Stream, format_peer, listen

MAX_CLIENTS = 65536


class Hub:
    """One service that listens for clients."""

    def __init__(self, settings: HubSettings, domain: Domain, buffer: ReceiveBuffer, turns: Turns) -> None:
        """Open the port; raises HostError where that fails. Nothing is served before start()."""
        self.settings = settings
        self.domain = domain
        self.buffer = buffer
        self.turns = turns
        self.output = forward.Output()
        self.refused: Counter[Refusal] = Counter()
        self.sessions: dict[Port, _Session] = {}
        table = settings.default_table
        self.plugin = RouterPlugin(table.plugin) if table is not None and table.plugin is not None else None
        self.plugin_failed = False
        self.ingress = Ingress(settings.ingress.rules) if settings.ingress is not None else None
        self.offloads = offload.ALL if settings.superpackets else 0
        hello = control.Hello(os.urandom(16), self.offloads, 0, f"tunrouter {__version__}")
        self.hello = framing.encode(control.encode_hello(hello))
        listener = listen(settings.host, settings.port)
        self.address = format_peer(listener.getsockname())
        self._server = StreamServer(listener, self._serve, spawn=Pool(MAX_CLIENTS))

    def start(self) -> None:
        """Begin to accept."""
        self._server.start()
        log.info("service %s: listening on %s", self.settings.name, self.address)

    def stop(self) -> None:
        """Stop accepting and end every session."""
        self._server.stop(timeout=0)

    def _serve(self, sock: Any, address: Any) -> None:
        """One client, in its own greenlet."""
        name, peer = self.settings.name, format_peer(address)
        try:
            stream = Stream(sock, peer)
        except OSError as error:  # gone again already
            log.info("service %s: %s: %s", name, peer, error.strerror or error)
            return
        try:
            request, rest = handshake.receive_request(stream, self.settings.handshake_timeout)
            if self._answer(stream, request):
                _Session(self, stream, request).run(rest)
        except ProtocolError as error:
            self.refused[error.refusal] += 1
            log.warning("service %s: %s: %s", name, peer, error)
        except OSError as error:
            log.info("service %s: %s: %s", name, peer, error.strerror or error)
        finally:
            stream.close()

    def _answer(self, stream: Stream, request: Request) -> bool:
        """Admit or refuse a client."""
        status, why = admit(request, self.ingress)
        tunnel_id = b""
        if status == Status.OK:
            connector = os.urandom(16)
            tunnel_id = ids.hub_tunnel_id(connector) if self.offloads else connector + bytes(4)
        else:
            self.refused[REFUSALS[status]] += 1
            log.warning(
                "service %s: %s: host %r refused: %s", self.settings.name, stream.peer, request.host, why
            )
        stream.send_all(relay.encode_response(Response(status, tunnel_id)))
        return status == Status.OK


class _Session:
    """An admitted client."""

    def __init__(self, hub: Hub, stream: Stream, request: Request) -> None:
        settings = hub.settings
        self.hub = hub
        self.stream = stream
        self.port = Port(hub.domain.namespace(request.namespace), request.host, stream.peer)
        self.port.mtu = framing.GOST_CLIENT_MAX
        self.link = Link(stream, self.port.traffic, settings.queue_bytes, settings.queue_seconds)
        self.port.link = self.link

    def run(self, rest: bytes) -> None:
        """Live until the client or somebody else ends it; rest is what came with the request."""
        port, name = self.port, self.hub.settings.name
        self.hub.domain.enter(port)
        self.hub.sessions[port] = self
        namespace = ids.format_uuid(port.namespace.id)
        log.info("service %s: %s is host %s in namespace %s", name, port.peer, port.host, namespace)
        why = "closed by the client"
        try:
            self._forward(rest)
        except OSError as error:
            why = error.strerror or str(error)
        except gevent.GreenletExit:
            why = "the hub ends"
        finally:
            del self.hub.sessions[port]
            self.link.ended()
            self.hub.domain.leave(port)
            if port.told:
                self.hub.turns.release()
            self._tell_news()
            log.info(
                "service %s: %s (%s) left: %s", name, port.peer, port.host, self.link.closed_because or why
            )

    def _forward(self, tail: bytes) -> None:
        """Read and forward until the client closes."""
        buffer = self.hub.buffer
        tail = tail[self._scan_copy(tail) :]
        try:
            while size := self._receive(buffer.landing):
                end = framing.HEADROOM + size
                stop = self._scan(buffer.data, buffer.view, buffer.join(tail), end)
                tail = bytes(buffer.view[stop:end])
        finally:
            if tail:
                self.port.drop(Reason.CUT_OFF)
                self._tell_news()

    def _receive(self, landing: memoryview) -> int:
        seconds = self.hub.settings.read_timeout
        if not seconds:
            return self.stream.receive_into(landing)
        late = OSError(errno.ETIMEDOUT, f"nothing received for {seconds:g} s (readTimeout)")
        with gevent.Timeout(seconds, late):
            return self.stream.receive_into(landing)

    def _scan_copy(self, frames: bytes) -> int:
        """Forward frames that are not in the receive buffer; returns how many bytes that took."""
        data = bytearray(frames + bytes(framing.SLACK))
        return self._scan(data, memoryview(data), 0, len(frames))

    def _scan(self, data: bytearray, view: memoryview, start: int, end: int) -> int:
        """Forward the whole frames in data[start:end]; returns where it stopped."""
        port, out = self.port, self.hub.output
        stop = forward.scan(port, data, view, start, end, time.monotonic(), out)
        for target, run in out.runs.items():
            target.link.send(run)
        out.runs.clear()
        if out.controls:
            self._controls(out)
        if port.traffic.news:
            self._tell_news()
        answers = port.namespace.default
        if isinstance(answers, Answers):
            for address in answers.take_wanted():
                gevent.spawn(self._resolve, answers, address)
        return stop

    def _controls(self, out: forward.Output) -> None:
        contents, out.controls = out.controls, []
        for content in contents:
            self._control(content)

    def _tell_news(self) -> None:
        """Log each reason for drops once a session."""
        port = self.port
        for reason, detail in port.traffic.take_news():
            what = f" {detail}" if detail else ""
            log.warning(
                "host %s (%s): packets are dropped: %s%s: %s",
                port.host,
                port.peer,
                reason.value,
                what,
                reason.doc,
            )
            if reason is Reason.WRONG_SOURCE:
                source = detail.partition(" ")[0]
                log.warning(
                    "a route `dst: %s, gateway: %s` would allow it, `sourceCheck: off` would allow all",
                    source,
                    port.host,
                )

    def _control(self, content: bytes) -> None:
        try:
            hello = control.decode(content)
        except ProtocolError:
            self.port.drop(Reason.BAD_CONTROL)
            return
        if hello is not None and self.hub.offloads:
            self._meet(hello)

    def _meet(self, hello: control.Hello) -> None:
        """The client is one of our own kind: answer in kind, and use what it can do."""
        port = self.port
        if not port.told:
            self.hub.turns.hold_long()
        port.told = True
        port.offloads = hello.offloads & offload.ALL if hello.offloads & offload.CSUM else 0
        port.mtu = min(hello.mtu or framing.MAX_CONTENT, framing.MAX_CONTENT - offload.HEADER_SIZE)
        port.instance = hello.instance
        self.link.send([self.hub.hello])
        for rival in port.namespace.rivals(port):
            rival.link.close("replaced by a new session of the same client")
        log.debug("%s (%s) is %s, offloads %#x", port.peer, port.host, hello.software, port.offloads)

    def _resolve(self, answers: Answers[Port], address: bytes) -> None:
        """Ask the plugin for a route, off the packet path; then let go the frames that waited."""
        assert self.hub.plugin is not None
        try:
            route = self.hub.plugin.route(address, self.port.namespace.id)
            waited = answers.store(address, route, time.monotonic())
            if self.hub.plugin_failed:
                log.info("router plugin: answers again")
            self.hub.plugin_failed = False
        except OSError as error:
            if not self.hub.plugin_failed:  # said once, until it answers again
                log.warning("router plugin: %s: %s", format_address(address), error)
            self.hub.plugin_failed = True
            waited = answers.fail(address, time.monotonic())
        for port, frame in waited:
            session = self.hub.sessions.get(port)
            if session is not None:
                session._scan_copy(frame)
            else:
                port.drop(Reason.SESSION_GONE)
