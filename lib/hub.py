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
from lib.answers import Answers, Asker
from lib.domain import Domain
from lib.drops import Reason, Refusal
from lib.endpoint import Acceptor
from lib.errors import ProtocolError
from lib.framing import ReceiveBuffer
from lib.layered import AnyStream
from lib.logs import log
from lib.namespace import Port
from lib.packet import format_address
from lib.relay import Request, Response, Status
from lib.scheduling import Pauses, Turns
from lib.session import Link
from lib.settings import HubSettings
from lib.tables import Tables
from lib.transport import Stream, format_peer, listen

MAX_CLIENTS = 65536


class Hub:
    """One service that listens for clients."""

    def __init__(
        self, settings: HubSettings, domain: Domain, tables: Tables, buffer: ReceiveBuffer, turns: Turns
    ) -> None:
        """Open the port; raises HostError where that fails. Nothing is served before start()."""
        self.settings = settings
        self.domain = domain
        self.tables = tables
        self.buffer = buffer
        self.turns = turns
        self.pauses = Pauses()
        self.output = forward.Output()
        self.refused: Counter[Refusal] = Counter()
        self.sessions: dict[Port, _Session] = {}
        self.failed_plugins: set[Asker] = set()
        self._instance = os.urandom(16)
        self._acceptor = Acceptor(settings.transport, settings.name)
        self._clients = Pool(MAX_CLIENTS)
        self._server = self._listen(settings)

    @property
    def offloads(self) -> int:
        """The superpackets taken here."""
        return offload.ALL if self.settings.superpackets else 0

    @property
    def hello(self) -> bytes:
        """How this hub shows itself to one of our own kind."""
        hello = control.Hello(self._instance, self.offloads, 0, f"tunrouter {__version__}")
        return framing.encode(control.encode_hello(hello))

    def _listen(self, settings: HubSettings) -> StreamServer:
        return StreamServer(
            listen(settings.host, settings.port, settings.transport.reuse_port),
            self._serve,
            spawn=self._clients,
        )

    def start(self) -> None:
        """Begin to accept."""
        self._server.start()
        address = format_peer(self._server.socket.getsockname())
        log.info("service %s: listening on %s", self.settings.name, address)

    def stop(self) -> None:
        """Stop accepting and end every session."""
        self._server.close()
        self._clients.kill(timeout=1)

    def apply(self, settings: HubSettings, domain: Domain) -> list[str]:
        """Go on by other settings; sessions that they still allow are not touched.

        Returns a line for each thing that is different to a session. Raises HostError where the new
        address cannot be listened on; then nothing has changed.
        """
        lines = []
        old = self.settings
        differs = settings.transport != old.transport
        acceptor = Acceptor(settings.transport, settings.name) if differs else self._acceptor
        if (settings.host, settings.port) != (old.host, old.port):
            server = self._listen(settings)
            self._server.close()  # its sessions stay
            self._server = server
            lines.append(f"listens on {settings.host}:{settings.port} now")
            self.settings, self._acceptor = settings, acceptor
            self.start()
        if differs:
            lines.append(f"new sessions come over {settings.transport.kind}")
        self.settings, self._acceptor = settings, acceptor
        if domain is not self.domain:
            self.domain = domain
            lines.append(self._end_all("the service has other namespaces now"))
        return lines + self.recheck()

    def recheck(self) -> list[str]:
        """End the sessions that would not be let in now; returns a line for each."""
        lines = []
        for session in list(self.sessions.values()):
            status, why = self._admit(session.request, session.stream.peer, asked=False)
            if status not in (Status.OK, Status.SERVICE_UNAVAILABLE):  # who cannot be asked has not said no
                session.link.close(f"no longer let in: {why}")
                lines.append(f"host {session.port.host} ({session.port.peer}) is no longer let in: {why}")
        return lines

    def _end_all(self, why: str) -> str:
        for session in list(self.sessions.values()):
            session.link.close(why)
        return f"{len(self.sessions)} sessions ended: {why}"

    def _admit(self, request: Request, peer: str, asked: bool = True) -> tuple[Status, str]:
        """Whether a request may come in; with asked=False only as far as no plugin has to say it."""
        settings, tables = self.settings, self.tables
        authers = tuple(
            tables.logins(auther.name) for auther in settings.authers if asked or not auther.plugin
        )
        if not asked and len(authers) < len(settings.authers):
            authers = ()  # the plugin may be the one that lets it in
        ingress = settings.ingress
        rules = tables.ingress(ingress.name) if ingress and (asked or not ingress.plugin) else None
        return admit(request, settings.name, peer, authers, rules)

    def _serve(self, sock: Any, address: Any) -> None:
        """One client, in its own greenlet."""
        name, peer = self.settings.name, format_peer(address)
        try:
            stream = Stream(sock, peer, self.settings.transport.tcp_keepalive)
        except OSError as error:  # gone again already
            log.info("service %s: %s: %s", name, peer, error.strerror or error)
            return
        try:
            seconds = self.settings.handshake_timeout
            with gevent.Timeout(seconds, ProtocolError(f"no handshake within {seconds:g} s", Refusal.LATE)):
                top = self._acceptor.accept(stream)
                request, rest = handshake.receive_request(top, seconds)
                admitted = self._answer(top, request)
            if admitted:
                _Session(self, top, request).run(rest)
        except ProtocolError as error:
            self.refused[error.refusal] += 1
            log.warning("service %s: %s: %s", name, peer, error)
        except OSError as error:
            log.info("service %s: %s: %s", name, peer, error.strerror or error)
        finally:
            stream.close()

    def _answer(self, stream: AnyStream, request: Request) -> bool:
        """Admit or refuse a client."""
        status, why = self._admit(request, stream.peer)
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

    def __init__(self, hub: Hub, stream: AnyStream, request: Request) -> None:
        settings = hub.settings
        self.hub = hub
        self.domain = hub.domain
        self.request = request
        self.stream = stream
        self.port = Port(self.domain.namespace(request.namespace), request.host, stream.peer)
        self.port.mtu = framing.GOST_CLIENT_MAX
        self.link = Link(stream, self.port.traffic, settings.queue_bytes, settings.queue_seconds)
        self.port.link = self.link

    def run(self, rest: bytes) -> None:
        """Live until the client or somebody else ends it; rest is what came with the request."""
        port, name = self.port, self.hub.settings.name
        self.domain.enter(port, time.monotonic())
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
            self.domain.leave(port)
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
        now = time.monotonic()
        stop = forward.scan(port, data, view, start, end, now, out)
        for target, run in out.runs.items():
            target.link.send(run)
        out.runs.clear()
        if not port.told:
            self.hub.pauses.received(end - start, now)
        if out.controls:
            self._controls(out)
        if port.traffic.news:
            self._tell_news()
        for answers in port.namespace.tables:
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
        plugin, failed = answers.asker, self.hub.failed_plugins
        assert plugin is not None
        try:
            route = plugin.route(address, self.port.namespace.id)
            waited = answers.store(address, route, time.monotonic())
            if plugin in failed:
                log.info("router plugin: answers again")
                failed.discard(plugin)
        except OSError as error:
            if plugin not in failed:  # said once, until it answers again
                log.warning("router plugin: %s: %s", format_address(address), error)
                failed.add(plugin)
            waited = answers.fail(address, time.monotonic())
        for port, frame in waited:
            session = self.hub.sessions.get(port)
            if session is not None:
                session._scan_copy(frame)
            else:
                port.drop(Reason.SESSION_GONE)
