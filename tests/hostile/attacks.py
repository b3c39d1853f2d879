"""Table of attacks: what one attacker sends, again and again, until its time is up.

Knows: which bytes over which transports, and what the hub and its accomplices must be for it.
Refuses to know: how many attack at once (attacker), what it does to others (arena).
"""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

from lib import wire_control, wire_relay
from lib.cluster_identity import LinkIdentity
from lib.wire_control import Feature, Lane
from tests.hostile import channel, peer, streams
from tests.support import packets as p

ALL = ("tcp", "tls", "ws", "wss")
ENCRYPTED = ("tls", "wss")
WEBSOCKET = ("ws", "wss")
OPEN, LISTED, LOGINS, NAMED, CLUSTER = "open", "listed", "logins", "named", "cluster"
BEHIND, WORKERS = "behind", "workers"
"""Hubs: anybody may do anything; an access list of 100 rules; an auther with scrypt passwords; an address, and
answers about names; a hub of a cluster; one with that access list, behind another one that has none (two_hubs);
one with that access list and two workers."""
LINKS_PORT, SECRET = 8450, "a secret of thirty-two letters, or more"
"""Of that cluster's links: its attackers have the secret, so they may be any hub."""
MOST = 16
"""Attackers at once."""
LINKS = 4
"""Links of one attacker, each as another hub."""
QUESTIONS, EVERY = 100, 0.01
"""As many questions, each time, as a session has answers to (dns_zone.PER_SECOND)."""
LOGIN = "newcomer", "right"
"""User name and password of the hub with logins."""
THREADS = 4
"""Connections that one attacker makes at once where each is short."""
GUESSES = 40
"""Likewise where each waits for a password to be checked."""
HELD = 400
"""Connections that one attacker keeps open."""
MANY = 64
"""Sessions of one attacker from one address."""
OPENING_SECONDS = 8.0
"""Seconds in which an attacker opens them, before it begins."""
NAMESPACE_SECONDS = 2.0
"""How long one made-up namespace is filled: its hub remembers 65,536 connections of one."""
PAUSE = 0.02
"""Seconds before another try, when the hub has closed."""


@dataclass
class Attacker:
    """One of them, and how long it has."""

    number: int
    kind: str
    hub: str
    source: str
    """The address that it connects from."""
    until: float = 0.0
    """On time.monotonic's clock."""
    blob: bytes = b""
    context: ssl.SSLContext = field(default_factory=peer.trust)
    held: list[peer.Socket] = field(default_factory=list)
    """Sessions that it had before it began."""
    channels: list[channel.Channel] = field(default_factory=list)
    """Those with a channel."""
    sent: int = 0
    connections: int = 0

    @property
    def host(self) -> str:
        return f"attacker-{self.number}"

    @property
    def over(self) -> bool:
        return time.monotonic() >= self.until

    def open(self) -> peer.Socket:
        """A connection with its layers, no login."""
        self.connections += 1
        return peer.opened(self.kind, self.hub, self.source, self.context)

    def session(self, greets: bool = False, host: str = "") -> peer.Socket:
        """A session, which says HELLO first if it `greets`."""
        self.connections += 1
        return peer.session(
            self.kind, self.hub, host or self.host, self.source, "", self.number if greets else -1
        )

    def member(self, host: str, namespace: bytes) -> peer.Socket:
        """A session in a namespace. Raises OSError."""
        sock = self.open()
        if peer.log_in(sock, self.kind, wire_relay.Request(host, namespace=namespace)):
            peer.abort(sock)
            raise ConnectionError("refused")
        return sock

    def again(self, once: Callable[[], None]) -> None:
        """Do it until the time is up, whatever the hub says."""
        while not self.over:
            try:
                once()
            except OSError:
                time.sleep(PAUSE)

    def at_once(self, count: int, once: Callable[[], None]) -> None:
        """The same in so many threads."""
        threads = [threading.Thread(target=self.again, args=(once,)) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


@dataclass(frozen=True)
class Attack:
    """One row of the table."""

    name: str
    blob: Callable[[int], bytes] = lambda number: b""
    """The stream that is sent again and again, by the attacker's number."""
    run: Callable[[Attacker], None] | None = None
    """What is done instead of sending the stream in a session."""
    opens: Callable[[Attacker], None] | None = None
    """What is done before the attack begins, while all is still normal."""
    kinds: tuple[str, ...] = ALL
    greets: bool = False
    """Whether HELLO is said first."""
    reads: bool = True
    hub: str = OPEN
    sink: bool = False
    """Whether an accomplice reads at streams.SINK; of two hubs at the tried one."""
    framed: bool = True
    """Whether the stream becomes WebSocket messages where the transport is one."""
    one_address: bool = False
    """Whether all attackers share one address; otherwise each has its own."""
    counts: tuple[int, ...] = (1, MOST)
    """How many attack at once."""

    def prepared(self, number: int, kind: str) -> bytes:
        """The stream as it goes over this transport."""
        blob = self.blob(number)
        return streams.ws_messages(blob) if self.framed and peer.is_websocket(kind) else blob

    def go(self, me: Attacker) -> None:
        """Attack until the time is up."""
        if self.run is not None:
            self.run(me)
        else:
            me.again(lambda: self._flood(me))

    def _flood(self, me: Attacker) -> None:
        with me.session(self.greets) as sock:
            me.sent += peer.pump([sock], me.blob, me.until, self.reads)


# --- before a login -------------------------------------------------------------------------------


def without_login(reads: bool) -> Callable[[Attacker], None]:
    """Send the stream as soon as the layers are open."""

    def run(me: Attacker) -> None:
        def once() -> None:
            with me.open() as sock:
                me.sent += peer.pump([sock], me.blob, me.until, reads)

        me.again(once)

    return run


def restart_handshakes(me: Attacker) -> None:
    """Let the hub do its part of a TLS handshake, and begin another."""
    said = peer.client_hello()

    def once() -> None:
        sock = peer.connect(me.kind, me.hub, me.source)
        try:
            sock.sendall(said)
            sock.recv(1)
            me.connections += 1
            me.sent += len(said)
        finally:
            peer.abort(sock)

    me.at_once(THREADS, once)


def endless_headers(me: Attacker) -> None:
    """An upgrade that goes on until the hub has had enough."""

    def once() -> None:
        sock = peer.connect(me.kind, me.hub, me.source)
        try:
            if peer.is_encrypted(me.kind):
                sock = me.context.wrap_socket(sock)
            me.connections += 1
            sock.sendall(streams.HEADERS)
            me.sent += len(streams.HEADERS)
            sock.recv(1)
        finally:
            peer.abort(sock)

    me.at_once(THREADS, once)


def headers_in_pieces(me: Attacker) -> None:
    """The same, a few bytes at a time, in a thread for each connection."""

    def once() -> None:
        sock = peer.connect(me.kind, me.hub, me.source)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if peer.is_encrypted(me.kind):
                sock = me.context.wrap_socket(sock)
            me.connections += 1
            for at in range(0, len(streams.HEADERS), 4):
                if me.over:
                    return
                me.sent += sock.send(streams.HEADERS[at : at + 4])
        finally:
            peer.abort(sock)

    me.at_once(THREADS, once)


def hold_handshakes(me: Attacker) -> None:
    """Many connections that say a byte and then wait; whoever is shown the door comes again."""
    first = peer.client_hello()[:20] if peer.is_encrypted(me.kind) else streams.UPGRADE[:20]
    first = first if me.kind != "tcp" else b"\1\3"
    with ExitStack() as stack:
        held: list[socket.socket] = []
        while not me.over:
            try:
                while len(held) < HELD and not me.over:
                    sock = stack.enter_context(peer.connect(me.kind, me.hub, me.source))
                    sock.setblocking(False)
                    sock.send(first)
                    held.append(sock)
                    me.connections += 1
                held = [sock for sock in held if not _is_closed(sock)]
            except OSError:
                pass
            time.sleep(PAUSE)


def _is_closed(sock: peer.Socket) -> bool:
    try:
        closed = not sock.recv(4096)
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        closed = True
    if closed:
        sock.close()
    return closed


def join_and_leave(me: Attacker) -> None:
    """Whole logins, as many as there can be."""

    def once() -> None:
        sock = me.session(host="joiner")
        peer.abort(sock)

    me.at_once(THREADS, once)


def join_lanes(me: Attacker) -> None:
    """Second lanes of a session, each gone as soon as it is one, and the next one by the next token."""
    greeting = wire_control.Hello(bytes(15) + bytes([me.number]), features=Feature.LANES)

    def once() -> None:
        with me.session() as sock:
            peer.say(sock, me.kind, wire_control.encode_hello(greeting))
            token = peer.message(sock, me.kind, wire_control.Hello).lane
            sock.settimeout(PAUSE)  # there is no token before the hub has seen the last lane end
            while not me.over:
                if token:
                    _join(me, token)
                peer.say(sock, me.kind, wire_control.encode_lane(Lane()))
                try:
                    token = peer.message(sock, me.kind, Lane).token
                except TimeoutError:
                    token = b""

    me.again(once)


def guess_lanes(me: Attacker) -> None:
    """Lanes of sessions that nobody has, by tokens that are made up."""
    me.at_once(THREADS, lambda: _join(me, os.urandom(wire_control.LANE_TOKEN_SIZE)))


def _join(me: Attacker, token: bytes) -> None:
    sock = me.open()
    try:
        peer.log_in(sock, me.kind, wire_relay.Request(me.host, token=token, command=wire_relay.JOIN))
    finally:
        peer.abort(sock)


def guess(me: Attacker) -> None:
    """A wrong password after the other, on many connections at once."""

    def once() -> None:
        sock = me.open()
        try:
            peer.log_in(sock, me.kind, wire_relay.Request("guest", login=(LOGIN[0], str(time.monotonic()))))
        finally:
            peer.abort(sock)

    me.at_once(GUESSES, once)


def more_than_are_let_in(me: Attacker) -> None:
    """Connections that are refused at once, for there have been too many of this address."""

    def once() -> None:
        peer.abort(peer.connect(me.kind, me.hub, me.source))
        me.connections += 1

    me.at_once(THREADS, once)


# --- in a session ---------------------------------------------------------------------------------


def one_byte_records(me: Attacker) -> None:
    """The junk of `junk frames`, each byte in a TLS record of its own."""
    junk = p.stream([b"\xee"] * 1000)
    request = wire_relay.encode_request(wire_relay.Request(me.host))

    def once() -> None:
        with peer.connect(me.kind, me.hub, me.source) as sock:
            records = peer.Records(sock)
            me.connections += 1
            data = junk
            if peer.is_websocket(me.kind):
                records.ask(streams.UPGRADE, b"\r\n\r\n")
                data = streams.ws_frame(junk)
            records.ask(streams.ws_frame(request) if peer.is_websocket(me.kind) else request)
            while not me.over:
                records.send(data, 1)
                me.sent += len(data)

    me.again(once)


def single_bytes(me: Attacker) -> None:
    """Frames a byte a send: the hub wakes up for each."""
    whole = streams.ws_frame(b"\0\1\xee") if peer.is_websocket(me.kind) else b"\0\1\xee"

    def once() -> None:
        with me.session() as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while not me.over:
                for at in range(len(whole)):
                    me.sent += sock.send(whole[at : at + 1])

    me.again(once)


def ask_in_limits(me: Attacker) -> None:
    """As many questions as are answered, and no more: none of it is worth nothing."""
    asked = streams.questions(me.number, QUESTIONS)
    asked = streams.ws_messages(asked) if peer.is_websocket(me.kind) else asked

    def once() -> None:
        with me.session(greets=True) as sock:
            me.sent += peer.pace(sock, asked, EVERY, me.until)

    me.again(once)


def feed_the_deaf(me: Attacker) -> None:
    """One session that never reads, and another that sends to it."""

    def once() -> None:
        with me.session(host=f"deaf-{me.number}"), me.session() as sock:
            me.sent += peer.pump([sock], me.blob, me.until)

    me.again(once)


def open_many(me: Attacker) -> None:
    """Sessions up to MANY, as many as the hub lets in: it bounds the logins of an address."""
    patience = time.monotonic() + OPENING_SECONDS
    while len(me.held) < MANY and time.monotonic() < patience:
        try:
            sock = me.session(host=f"{me.host}-{len(me.held)}")
            sock.setblocking(False)
            me.held.append(sock)
        except OSError:
            time.sleep(PAUSE)


def many_sessions(me: Attacker) -> None:
    """All sessions that are open send a little in turn; none is opened again."""

    def once() -> None:
        me.held = [sock for sock in me.held if not _is_closed(sock)]
        me.sent += peer.pump(me.held, me.blob, me.until, piece=4096)

    me.again(once)


def make_up_namespaces(me: Attacker) -> None:
    """Fill tables of ever new namespaces, in each of which both ends are ours."""
    made = 0

    def once() -> None:
        nonlocal made
        made += 1
        namespace = b"%4d made up %3d" % (made, me.number)
        with me.member("sink", namespace), me.member(me.host, namespace) as sock:
            until = min(me.until, time.monotonic() + NAMESPACE_SECONDS)
            me.sent += peer.pump([sock], me.blob, until)
            me.held += [me.member("sink", namespace)]  # it goes on
            me.held[-1].setblocking(False)

    me.again(once)


# --- as hubs of a cluster -------------------------------------------------------------------------


def open_links(me: Attacker) -> None:
    """Links as hubs that nobody has heard of; both ends have said HELLO."""
    for number in range(LINKS):
        identity = LinkIdentity(f"hub-{me.number}-{number}", SECRET.encode())
        plain = socket.create_connection((me.hub, LINKS_PORT), peer.SLOW, (me.source, 0))
        sock = identity.client.wrap_socket(plain)
        sock.sendall(p.frame(wire_control.encode_hello(wire_control.Hello(bytes(16)))))
        if not sock.recv(4096):
            raise ConnectionError("closed instead of HELLO")
        me.held.append(sock)
        me.connections += 1


def flood_links(me: Attacker) -> None:
    """The stream by all of them in turn."""
    me.again(lambda: _flood_links(me))


def _flood_links(me: Attacker) -> None:
    me.held = [sock for sock in me.held if sock.fileno() >= 0]
    me.sent += peer.pump(me.held, me.blob, me.until, piece=1 << 16)


# --- the table ------------------------------------------------------------------------------------


def one_byte_messages(number: int) -> bytes:
    """The same junk, each byte in a WebSocket message of its own."""
    return streams.ws_messages(streams.repeated(b"\xee", size=streams.BLOB // 8), 1)


ATTACKS = (
    Attack("frames of one byte of junk", streams.junk),
    Attack("empty frames", streams.empty),
    Attack("PING control frames", streams.pings),
    Attack("PING control frames, answers not read", streams.pings, reads=False),
    Attack("HELLO again and again", streams.hellos, greets=True),
    Attack("bad control frames", streams.bad_control, greets=True),
    Attack("SETTINGS of very many routes", streams.settings, greets=True),
    Attack("replies to SETTINGS", streams.settings_replies, greets=True),
    Attack("new flows that 100 rules deny", streams.denied_flows, hub=LISTED),
    Attack("new flows to nowhere", streams.nowhere),
    Attack("packets too big", streams.too_big),
    Attack("packets of a wrong source", streams.wrong_source),
    Attack("fragments", streams.fragments, sink=True),
    Attack("fragments under 100 rules", streams.fragments, hub=LISTED, sink=True),
    Attack("superpackets of 128 × 1 byte", streams.small_segments, greets=True, sink=True),
    Attack("superpackets of 28 MB", streams.long_headers, greets=True, sink=True),
    Attack("questions about names", streams.questions, greets=True, hub=NAMED),
    Attack("questions, each a new one", partial(streams.questions, new=True), greets=True, hub=NAMED),
    Attack("messages of 42 questions", streams.long_messages, greets=True, hub=NAMED),
    Attack("as many questions as are answered", run=ask_in_limits, hub=NAMED),
    Attack("one byte a send", run=single_bytes),
    Attack("a reader that never reads", streams.large_to_the_deaf, feed_the_deaf),
    Attack("tiny packets for a reader that never reads", streams.tiny_to_the_deaf, feed_the_deaf),
    Attack("64 sessions from one address", streams.junk, many_sessions, open_many, one_address=True),
    Attack("logins, and gone", run=join_and_leave),
    Attack("lanes, and gone", run=join_lanes),
    Attack("guesses of a lane's token", run=guess_lanes),
    Attack("connections, more than are let in", run=more_than_are_let_in),
    Attack("flows in ever new namespaces", streams.allowed_flows, make_up_namespaces, hub=LISTED),
    Attack("packets of nobody by links of a cluster", streams.of_nobody_by_a_link, flood_links, open_links,
           hub=CLUSTER, kinds=("tcp",), framed=False),
    Attack("new flows that the hub behind denies", streams.denied_flows, hub=BEHIND, kinds=("tcp",)),
    Attack("tiny packets that the hub behind denies", streams.denied_flow, hub=BEHIND, kinds=("tcp",)),
    Attack("fragments that the hub behind denies", partial(streams.fragments, target=streams.INNOCENT),
           hub=BEHIND, kinds=("tcp",)),
    Attack("new flows that the hub behind has no route for", streams.nowhere, hub=BEHIND, kinds=("tcp",)),
    Attack("packets too big for a host at the hub behind", streams.too_big, hub=BEHIND, kinds=("tcp",)),
    Attack("new flows that the hub behind lets through", streams.allowed_flows, hub=BEHIND, sink=True,
           kinds=("tcp",)),
    Attack("echo requests that the hub behind lets through", streams.echoes, hub=BEHIND, sink=True,
           kinds=("tcp",)),
    Attack("superpackets of 128 × 1 byte for the hub behind", streams.small_segments, greets=True, hub=BEHIND,
           sink=True, kinds=("tcp",)),
    Attack("frames of one byte of junk, two workers", streams.junk, hub=WORKERS, kinds=("tcp",)),
    Attack("new flows that 100 rules deny, two workers", streams.denied_flows, hub=WORKERS, kinds=("tcp",)),
    Attack("fragments, two workers", streams.fragments, hub=WORKERS, sink=True, kinds=("tcp",), counts=(1,)),
    Attack("superpackets of 128 × 1 byte, two workers", streams.small_segments, greets=True, hub=WORKERS,
           sink=True, kinds=("tcp",), counts=(1,)),
    Attack("connections, more than are let in, two workers", run=more_than_are_let_in, hub=WORKERS,
           kinds=("tcp",)),
    Attack("logins, and gone, two workers", run=join_and_leave, hub=WORKERS, kinds=("tcp",), counts=(1,)),
    Attack("datagrams of strangers", run=channel.strangers, kinds=ENCRYPTED),
    Attack("forged datagrams of a session", run=channel.forge, kinds=ENCRYPTED),
    Attack("one datagram again and again", run=channel.replay, kinds=ENCRYPTED),
    Attack("PROBE by datagrams", run=channel.probe, kinds=ENCRYPTED),
    Attack("frames of one byte of junk by datagrams", streams.junk, channel.flood, kinds=ENCRYPTED,
           framed=False),
    Attack("bursts of junk by datagrams of 64 sessions", streams.junk, channel.bursts, channel.open_many,
           kinds=ENCRYPTED, framed=False, one_address=True, counts=(1,)),
    Attack("new flows that 100 rules deny, by datagrams", streams.denied_flows, channel.flood, hub=LISTED,
           kinds=ENCRYPTED, framed=False),
    Attack("new flows to nowhere by datagrams", streams.nowhere, channel.flood, kinds=ENCRYPTED, framed=False),
    Attack("fragments by datagrams", streams.fragments, channel.flood, sink=True, kinds=ENCRYPTED, framed=False),
    Attack("echo requests by datagrams", streams.echoes, channel.flood, sink=True, kinds=ENCRYPTED, framed=False),
    Attack("datagrams of strangers, two workers", run=channel.strangers, hub=WORKERS, kinds=("tls",)),
    Attack("new flows that 100 rules deny, by datagrams, two workers", streams.denied_flows, channel.flood,
           hub=WORKERS, kinds=("tls",), framed=False, counts=(1,)),
    Attack("guesses of a password", run=guess, hub=LOGINS),
    Attack("slow handshakes", run=hold_handshakes),
    Attack("TLS handshakes begun anew", run=restart_handshakes, kinds=ENCRYPTED),
    Attack("TLS records of one byte", run=one_byte_records, kinds=ENCRYPTED),
    Attack("WebSocket messages of one byte", one_byte_messages, kinds=WEBSOCKET, framed=False),
    Attack("empty messages before a login", lambda number: streams.ws_empty(), without_login(True),
           kinds=WEBSOCKET, framed=False),
    Attack("WebSocket pings before a login, not read", lambda number: streams.ws_pings(), without_login(False),
           kinds=WEBSOCKET, framed=False),
    Attack("WebSocket pings in a session, not read", lambda number: streams.ws_pings(), reads=False,
           kinds=WEBSOCKET, framed=False),
    Attack("headers without end", run=endless_headers, kinds=WEBSOCKET),
    Attack("headers four bytes at a time", run=headers_in_pieces, kinds=WEBSOCKET),
)  # fmt: skip

BY_NAME = {attack.name: attack for attack in ATTACKS}
SHORT = {
    "tcp": "frames of one byte of junk",
    "tls": "TLS records of one byte",
    "ws": "empty messages before a login",
    "wss": "TLS handshakes begun anew",
}
"""What .ci/run tries: one attack for each transport."""
