"""Hub: listens, does the handshake with each client, and keeps the list of its sessions.

Knows: the life of a connection until it is a session, which sessions stay after a reload, how a hub ends.
Refuses to know: what a session does (hub_session), who is admitted (auth_admission), TLS and WebSocket
(stream_open).

Each connection has a greenlet of its own, from the accept to the end of its session.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import gevent
from gevent.event import Event
from gevent.pool import Pool

from lib import (
    hub_drain,
    hub_enrol,
    hub_lane,
    hub_listen,
    hub_log,
    hub_names,
    hub_recheck,
    ids,
    packet_offload,
    rule_recheck,
    session_handshake,
    session_mismatch,
    stream_options,
    wire_relay,
)
from lib.addresses import host_of, join_host_port
from lib.auth_admission import REFUSALS
from lib.capture_taps import Taps
from lib.errors import ProtocolError
from lib.forward_drop_reasons import Refusal
from lib.forward_frame import Output
from lib.framing import ReceiveBuffer
from lib.hub_caller import Caller
from lib.hub_datagram import HubDatagrams
from lib.hub_enrol import Attempts
from lib.hub_identity import Identities
from lib.hub_identity import Tables as TablesNow
from lib.hub_push import Push
from lib.hub_session import HubSession
from lib.hub_tables import Tables
from lib.humanize import counted
from lib.limits import Gate, stranger
from lib.metrics_ledger import Histogram, Ledger
from lib.namespace import MAX_FLOWS, MAX_LOST, Attachment
from lib.namespace_domain import Domain
from lib.namespace_prefixes import PrefixesOfHosts
from lib.route_plugin_cache import Asker
from lib.rule_recheck import Vouchers
from lib.service_scheduling import Pauses, breathe, in_steps
from lib.service_supervisor import Task
from lib.session_budget import Budget
from lib.session_cost import Cost
from lib.session_lane_tokens import LaneTokens
from lib.settings import HubSettings
from lib.settings_memory import ALL_FLOWS, ALL_LOST, LEAST_FLOWS, LEAST_LOST, MAX_CLIENTS, share_of
from lib.stream_deadline import within
from lib.stream_layer import AnyStream
from lib.stream_open import Acceptor
from lib.stream_tcp import Stream, format_peer
from lib.wire_relay import ENROL, JOIN, Request, Response, Status

DURATIONS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30, 60)
"""Bounds, in seconds, of the histogram of how long connections lasted; the same as GOST's."""
BEAT_SESSIONS = 64
"""Sessions that the hub looks after before packets have their turn again."""

SCARCE_SECONDS = 60.0
"""Seconds without new second lanes after descriptors have run out."""


def flows_of(sessions: int) -> int:
    """How many flows each of so many sessions may remember."""
    return share_of(ALL_FLOWS, LEAST_FLOWS, MAX_FLOWS, sessions)


class Hub:
    """A service with handler router: it listens, and forwards between its clients."""

    def __init__(
        self,
        settings: HubSettings,
        domain: Domain,
        tables: Tables,
        buffer: ReceiveBuffer,
        taps: Taps | None = None,
        listen: hub_listen.Listen = hub_listen.opened,
        acceptor: Acceptor | None = None,
        datagrams: HubDatagrams | None = None,
    ) -> None:
        """Listen on the configured address; accepts nothing before start(). Raises HostError."""
        self.settings = settings
        self.domain = domain
        self.tables = tables
        self.buffer = buffer
        self.taps = taps or Taps()
        self.budget = Budget(settings.queue_memory)
        self.gate = Gate(tables.limits(settings), settings.trusted_proxies)
        self.pauses = Pauses()
        self.output = Output()
        self.refused: Counter[Refusal] = Counter()
        self.unnamed = 0
        """How often a trusted proxy has named no client, or none that could be read."""
        self.by_host: Ledger[tuple[bytes, str]] = Ledger()
        """Traffic by (namespace, host name)."""
        self.by_address: Ledger[str] = Ledger()
        """Traffic by the client's IP address."""
        self.durations = Histogram(DURATIONS)
        self.turned_away: dict[Refusal, tuple[float, str, str]] = {}
        """The last refused client for each reason: (when, its address:port, why)."""
        self.sessions: dict[Attachment, HubSession] = {}
        self.failed_plugins: set[Asker] = set()
        self.tokens: LaneTokens[HubSession] = LaneTokens()
        self.attempts = Attempts()
        self.gate.expected = self.tokens.expected
        self.prefixes = PrefixesOfHosts()
        self.identities = Identities(settings)
        self.push = Push(self)
        self.moved = Event()
        self._ending = False
        self._scarce_until = 0.0
        self._rules = 0
        """How often the hub has looked again at who may be here."""
        self.unchecked = 0
        """Sessions that could not be judged the last time, because of an error: they may have to end."""
        self.instance = os.urandom(16)
        self.acceptor = acceptor or Acceptor(settings.transport, settings.name)
        self._clients = Pool(MAX_CLIENTS)
        self._server = listen(settings, self._greet, self._serve, self._clients, self._make_room)
        self.datagrams = datagrams or HubDatagrams()
        self.datagrams.open(settings, self._server.socket)
        self._beating = Task(f"service {settings.name}: sessions are looked after", self._beat)

    @property
    def offloads(self) -> int:
        """Offload bits (packet_offload) that this hub takes from clients."""
        return packet_offload.ALL if self.settings.superpackets else 0

    @property
    def has_room(self) -> bool:
        """Whether there is room for connections that are not needed: second lanes of sessions."""
        return len(self._clients) < MAX_CLIENTS // 2 and time.monotonic() >= self._scarce_until

    def new_token(self, session: HubSession) -> bytes:
        """A token for a second lane of a session, 16 bytes; empty where none may join now."""
        return hub_lane.new_token(session)

    def _make_room(self) -> bool:
        """End the second lane of a session, as descriptors have run out; and let nobody have another one."""
        self._scarce_until = time.monotonic() + SCARCE_SECONDS
        return hub_lane.end_one(self.sessions.values())

    def start(self) -> None:
        """Begin to accept connections."""
        self._server.start()
        self._beating.start()
        self.push.start()
        hub_log.listening(self.settings.name, self.address)

    @property
    def address(self) -> str:
        """The address and port that it listens on."""
        return format_peer(self._server.socket.getsockname())

    def drain(self) -> None:
        """Stop accepting, let clients move to another hub, and send what is queued (hub_drain)."""
        self._ending = True
        self._server.close()
        self.datagrams.close()
        hub_drain.drain(self, self.settings.drain_timeout)

    def stop(self) -> None:
        """Stop accepting and end every session."""
        self._beating.kill(block=False)
        self.push.stop()
        self._server.close()
        self.datagrams.close()
        self._clients.kill(timeout=1)

    @property
    def listens(self) -> bool:
        """Whether clients are accepted: not before start(), and not while the hub ends."""
        return bool(self._server.started) and not self._ending

    def fault(self) -> str:
        """Which greenlet has ended that must not end, in words; empty if all is well."""
        if not self._ending and (self._server.closed or not self._server.started):
            return "nothing is accepted any more"
        return "nobody looks after the sessions any more" if self._beating.dead else ""

    def _beat(self) -> None:
        """Sample the counters and check the keepalive of every session at each tick."""
        while True:
            gevent.sleep(min(1.0, self.settings.keepalive_timeout / 15))
            most = flows_of(len(self.sessions))
            for number, session in enumerate(list(self.sessions.values()), 1):
                if not self._beating.attempt(session.beat, time.monotonic()):
                    session.sender.close("it cannot be looked after")
                if session.attachment.max_flows != most:
                    session.attachment.share_flows(most)
                while session.sender.expire(time.monotonic()):
                    breathe()
                if not number % BEAT_SESSIONS:
                    breathe()
            lost = share_of(ALL_LOST, LEAST_LOST, MAX_LOST, len(self.domain.namespaces))
            for namespace in in_steps(list(self.domain.namespaces.values())):
                namespace.lost.bound(lost)
            self._beating.attempt(self._look_at_identities)

    def _look_at_identities(self) -> None:
        """Look for hosts and namespaces that are not what their clients think."""
        tables = TablesNow(self.domain, self.tables.unread_routes)
        for number, session in enumerate(self.identities.due(list(self.sessions.values())), 1):
            if self.identities.look(session, tables, time.monotonic()) or not number % BEAT_SESSIONS:
                breathe()

    def apply(self, settings: HubSettings, domain: Domain) -> list[str]:
        """Take the settings of a reload; sessions that they still allow are not touched.

        Returns a line for each change that concerns sessions. Raises HostError where the new address cannot
        be listened on; then nothing has changed.
        """
        lines = []
        old = self.settings
        differs = settings.transport != replace(old.transport, congestion=settings.transport.congestion)
        acceptor = Acceptor(settings.transport, settings.name) if differs else self.acceptor
        server = hub_listen.reopened(self._server, old, settings, self._serve, self._clients)
        if server is not None:
            self._server.close()  # its sessions stay
            self._server = server
            lines.append(f"listens on {join_host_port(settings.host, settings.port)} now")
            self.settings, self.acceptor = settings, acceptor
            self.start()
        if differs:
            lines.append(f"new sessions come over {settings.transport.kind}")
        self.settings, self.acceptor = settings, acceptor
        sessions = list(self.sessions.values())
        self.datagrams.apply(old, settings, self._server.socket, server is not None, sessions)
        stream_options.use_congestion(
            self._server.socket, settings.transport.congestion, settings.name, old.transport.congestion
        )
        lines += hub_lane.use_congestion(self.sessions.values(), settings, old)
        self.identities.settings = settings
        self.budget.limit = settings.queue_memory
        if domain is not self.domain:
            self.domain = domain
            lines.append(self._end_all("the service has other namespaces now"))
        return lines + self.recheck()

    def use(self, settings: HubSettings) -> None:
        """Take settings of which only what the service names is different (settings_diff.only_named)."""
        self.settings = self.identities.settings = settings

    def recheck(self) -> list[str]:
        """End the sessions that would not be admitted any more; returns a line for each."""
        rule_recheck.use_limits(self)
        self._rules += 1
        sessions = list(self.sessions.values())
        self.unchecked = len(sessions)
        lines, self.unchecked = hub_recheck.recheck(self, sessions, self._beating)
        return lines

    def _end_all(self, why: str) -> str:
        for session in list(self.sessions.values()):
            session.sender.close(why)
        return f"{counted(len(self.sessions), 'session')} ended: {why}"

    def admit(
        self, request: Request, stream: AnyStream, vouchers: Vouchers, asked: bool = True
    ) -> tuple[Status, str]:
        """Whether a client may be here, as rule_recheck.judge."""
        return rule_recheck.judge(self.settings, self.tables, request, stream, vouchers, asked)

    def _greet(self, sock: Any, address: Any) -> Caller | None:
        """Count a new connection; None where there is no room for it: it is closed then."""
        caller = Caller(self, format_peer(address))
        refused = caller.enter()
        if refused is None:
            return caller
        self.refuse(refused[0], caller.peer, refused[1])
        sock.close()
        return None

    def _serve(self, sock: Any, caller: Caller) -> None:
        """One connection, in its own greenlet: closed whatever comes."""
        began = time.monotonic()
        try:
            self._handle(sock, caller)
        finally:
            caller.leave()
            if not caller.is_lane:
                self.durations.observe(time.monotonic() - began)

    def _handle(self, sock: Any, caller: Caller) -> None:
        """Serve a connection within the limits: TLS, WebSocket and relay handshake, then its session."""
        settings, began = self.settings, time.monotonic()
        try:
            transport = settings.transport
            options = transport.tcp_keepalive, settings.keepalive_timeout, transport.congestion
            stream = caller.stream = Stream(sock, caller.peer, *options)
        except OSError as error:  # gone again already
            hub_log.lost(settings.name, caller.peer, error)
            return
        cost = Cost()
        stream.count(cost, stranger(caller.peer), self.budget)
        self._server.spend(time.monotonic() - began)
        try:
            seconds = settings.handshake_timeout
            with ExitStack() as name:
                late = f"no handshake within {seconds:g} s"
                with within(seconds, lambda: ProtocolError(late, Refusal.LATE)):
                    top = self.acceptor.accept(caller.unwrapped(stream), caller.read_headers)
                    request, rest = session_handshake.receive_request(top, seconds)
                    stream.end_turn()
                    vouchers = Vouchers()
                    session = hub_lane.session_of(self, caller, request)
                    if not self._answer(top, request, name, vouchers, session):
                        return
                if session is not None:
                    if hub_lane.has_room(session):  # it may have ended meanwhile
                        stream.count(cost, session.attachment, self.budget)
                        session.run_lane(top, rest)
                    return
                caller.admitted()
                cost.admit(settings.transport.kind)
                session = HubSession(self, top, request, vouchers)
                stream.count(cost, session.attachment, self.budget)
                session.enter()  # from here on others see that the name is taken
            session.run(rest)
        except ProtocolError as error:
            refusal, why = session_mismatch.at_hub(settings.transport.kind, error)
            is_quiet = refusal is Refusal.ADMISSION and caller.is_own  # a load balancer's health checks
            if not is_quiet and (refusal is not Refusal.CUT_OFF or not caller.is_check(cost)):
                self.refuse(refusal, caller.peer, why)
        except OSError as error:
            if not caller.is_check(cost):
                hub_log.lost(settings.name, caller.peer, error)
        finally:
            stream.close()

    def refuse(self, refusal: Refusal, peer: str, why: str) -> None:
        """Count and log a connection that becomes no session; log_dedup keeps a flood out of the log."""
        now = time.monotonic()
        self.refused[refusal] += 1
        self.by_address.book(host_of(peer)).failed += 1
        hub_log.refused(self.settings.name, peer, refusal, why)
        self.turned_away[refusal] = now, peer, why

    def _answer(
        self,
        stream: AnyStream,
        request: Request,
        name: ExitStack,
        vouchers: Vouchers,
        session: HubSession | None = None,
    ) -> bool:
        """Send the handshake's response; returns whether the client is admitted. Raises ProtocolError.

        The client has its host name for itself until `name` is left. `session` is the one that it joins,
        `vouchers` as for admit.
        """
        if request.command == ENROL:
            hub_enrol.answer(self, stream, request)
            return False
        rules = self._rules
        status, why = self.admit(request, stream, vouchers)
        if status == Status.OK and request.command == JOIN:
            if session is None or not hub_lane.may_join(session, request, stream):
                status, why = Status.NETWORK_UNREACHABLE, "the session of this lane is not here"
        elif status == Status.OK and self.settings.on_duplicate == "refuse":
            status, why = hub_names.take(self.domain, self.identities, request, stream.peer, name)
        if self._ending:
            status, why = Status.SERVICE_UNAVAILABLE, "the hub is about to end"
        tunnel_id = b""
        if status == Status.OK:
            tunnel_id = ids.hub_tunnel_id(os.urandom(16))
        else:
            self.refuse(REFUSALS[status], stream.peer, f"host {request.host!r} refused: {why}")
        stream.send_all(wire_relay.encode_response(Response(status, tunnel_id)))
        while status == Status.OK and rules != self._rules:  # they have changed while this one was waiting
            rules = self._rules
            again, why = self.admit(request, stream, vouchers, asked=False)
            if again not in (Status.OK, Status.SERVICE_UNAVAILABLE):
                raise ProtocolError(f"host {request.host!r}: no longer let in: {why}", REFUSALS[again])
        return status == Status.OK
