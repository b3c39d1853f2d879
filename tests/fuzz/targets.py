"""What is fuzzed: every decoder that a stranger's bytes reach, each as a function of some bytes.

Knows: how bytes become an input, and which errors are a decoder's proper answer.
Refuses to know: where the bytes come from (fuzz.py, and tests/unit/test_fuzz.py for what was found before).

A target returns for whatever it is given, or the decoder is at fault.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from http.client import HTTPException
from io import BytesIO
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lib import (
    client_downlink,
    cluster_frames,
    cluster_wire,
    config_from_urls,
    config_read,
    config_resolve,
    datagram_wire,
    dns_answers,
    dns_forward,
    dns_listing,
    enrol_book,
    enrol_token,
    forward,
    forward_frame,
    framing,
    hub_proxies,
    packet_fragment,
    packet_headers,
    packet_icmp,
    packet_offload,
    packet_text,
    printable,
    push_accept,
    push_settings,
    rule_parse,
    session_mismatch,
    stream_resolve,
    text_encoding,
    wire_control,
    wire_enrol,
    wire_proxy,
    wire_relay,
    wire_tls,
    worker_wire,
)
from lib import packet as ip
from lib.acl import Acl
from lib.acl_connections import MAX_CONNECTIONS, MAX_DATAGRAMS
from lib.addresses import host_of
from lib.api_request import Refused, Request
from lib.api_sessions import token_of
from lib.auth_admission import basic
from lib.capture_taps import Taps
from lib.client_downlink import Downlink
from lib.cluster_claims import Claims, Clocks
from lib.cluster_hosts import Hosts
from lib.cluster_places import OtherHub
from lib.cluster_registry import Registry
from lib.cluster_seal import Proof, SharedSeal
from lib.counters import Traffic
from lib.datagram_keys import SealKey
from lib.datagram_peer import Peer
from lib.datagram_quality import OfStream
from lib.datagram_table import Place, Table
from lib.dns_zone import Zone
from lib.errors import ConfigError, PluginError, ProtocolError
from lib.forward_drop_reasons import Reason, Refusal
from lib.log_dedup import Fold, Key
from lib.namespace import Attachment
from lib.namespace_domain import Domain
from lib.packet import Buffer
from lib.plugin_client import read_route
from lib.plugin_http import read_object
from lib.plugin_protobuf import decode as decode_message
from lib.prefixes import PrefixSet, covers, packed
from lib.push_settings import Pushed
from lib.route_loader import RouteLoader
from lib.route_table import RouteTable, hub_addresses
from lib.service_scheduling import Pauses
from lib.session_budget import Budget
from lib.session_queue import FLOW_BYTES, HOST_BYTES, MAX_FLOWS, SendQueue
from lib.settings_acl import AclRule
from lib.settings_names import NamesSettings
from lib.settings_push import AcceptSettings
from lib.settings_transport import TlsSettings
from lib.source_text import NoTable
from lib.stream_http_body import WholeResponse
from lib.stream_tls import TlsCodec, context
from lib.stream_websocket import WebSocketCodec
from lib.wire_control import Datagrams
from lib.wire_guess import guess
from tests.support.routes import entry

Target = Callable[[bytes], None]

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
CRASHERS = HERE / "crashers"

_KEY = bytes(16)
MAX_EMPTY = 2 * MAX_FLOWS
"""Flows that a queue may have, at most: the empty ones cannot be dropped."""
BASE_SECONDS, BYTE_SECONDS = 0.1, 8e-6
"""CPU time that a target may take, whatever it is given, and for each byte: who is quadratic needs more."""


def relay_request(data: bytes) -> None:
    """A client's handshake, and that a prefix never means anything else."""
    try:
        found = wire_relay.decode_request(data)
        if found is not None:
            size = found[1]
            assert size <= len(data)
            assert wire_relay.decode_request(data[:size]) == found
            assert wire_relay.decode_request(data[: size - 1]) is None
    except ProtocolError:
        pass


def relay_response(data: bytes) -> None:
    """A hub's answer."""
    try:
        found = wire_relay.decode_response(data)
        assert found is None or found[1] <= len(data)
    except ProtocolError:
        pass


def proxy_header(data: bytes) -> None:
    """What a load balancer sends before a client's bytes, or somebody who would be one."""
    try:
        found = wire_proxy.parse(data)
        assert found is None or found.size <= min(len(data), wire_proxy.MAX_HEADER)
    except ProtocolError:
        pass


def control_frame(data: bytes) -> None:
    """A control frame's content."""
    try:
        wire_control.decode(b"\xf0" + data)
    except ProtocolError:
        pass


def settings_of_a_hub(data: bytes) -> None:
    """What a hub tells a client to set: read within bounds, and nothing taken that `auto` must not take."""
    try:
        pushed = wire_control.decode(b"\xf0\x08" + data)
    except ProtocolError:
        return
    assert isinstance(pushed, Pushed)
    assert len(pushed.routes) <= push_settings.MAX_ROUTES
    taken = push_accept.accept(pushed, AcceptSettings(), _LOCAL)
    assert not any(
        covers(*route, address) for route in taken.routes for address in (*_LOCAL.hubs, *_LOCAL.resolvers)
    )


_LOCAL = push_accept.Local(
    (ip_address("192.0.2.1").packed, ip_address("2001:db8::1").packed),
    (ip_address("192.0.2.53").packed,),
    (push_accept.LocalNetwork("eth0", packed(ip_network("192.168.1.0/24"))),),
)


def first_bytes(data: bytes) -> None:
    """The first bytes of whoever speaks another protocol, and what is said of them, to a hub and to a client."""
    guess(data)
    for kind, layers in session_mismatch.HANDSHAKES.items():
        for layer in layers:
            error = ProtocolError("no handshake", Refusal.MALFORMED)
            error.failed_in(layer, data)
            assert session_mismatch.at_hub(kind, error)[1]
            assert session_mismatch.at_client(kind, error)


def question(data: bytes) -> None:
    """A DNS question to a hub: an answer of bounded size, or none; what is kept of it has a bound too."""
    zone = Zone(NamesSettings("tun.example"), [_OWN], [("host-1", _OWN), ("nas", bytes(16))])
    for _ in range(2):
        found = dns_answers.answer(data, zone)
        assert found is None or len(found) <= max(dns_answers.MAX_SIZE, dns_answers.MAX_QUESTION)
    assert zone.remembered <= 1


_OWN = ip_address("10.0.0.1").packed


def name_server(data: bytes) -> None:
    """What a client's name server is asked, what a hub answers to that, and what a hub lists of all names."""
    asked = dns_forward.asked(data)
    if asked is not None:
        assert dns_forward.failure(data, asked.end, dns_forward.SERVFAIL)[:2] == data[:2]
        dns_forward.servers(asked.name, [dns_forward.Zone(("10.0.0.1",), "tun.example")], ["192.0.2.53"])
    dns_forward.is_answer(_ASKED, len(_ASKED), data)
    dns_forward.is_answer(_ASKED, len(_ASKED), _ASKED[:2] + b"\x81\x80" + _ASKED[4:] + data)
    replies = [data]
    listed = dns_listing.read("tun.example", "", lambda asked: replies.pop() if replies else None)
    assert listed is None or len(listed.names) <= dns_listing.MAX_NAMES
    assert listed is None or all(name.endswith("tun.example") for _, name in listed.names)


_ASKED = b"\0\7\1\0\0\1\0\0\0\0\0\0\1a\3tun\7example\0\0\1\0\1"


class _Naked:
    """A cipher that hides nothing: what is decrypted is what is fuzzed."""

    def encrypt(self, nonce: bytes, data: Buffer, start: bytes, /) -> bytes:
        return bytes(data) + bytes(datagram_wire.TAG_SIZE)

    def decrypt(self, nonce: bytes, data: Buffer, start: bytes, /) -> bytes:
        return bytes(data[: -datagram_wire.TAG_SIZE])


class _Outside:
    """A world for one end of a datagram channel, in which as little as possible happens."""

    def __init__(self) -> None:
        self.sent = 0

    def draw(self, size: int) -> bytes:
        return bytes(size)

    def seal_with(self, key: bytes) -> _Naked:
        return _Naked()

    open_with = seal_with

    def tell(self, given: Datagrams) -> None:
        """Nobody hears it."""

    def headers(self, place: Place) -> int:
        return 28

    def stream(self) -> OfStream:
        return OfStream()

    def send(self, place: Place, datagrams: Sequence[bytes]) -> tuple[int, int]:
        assert all(len(one) <= datagram_wire.MAX_DATAGRAM for one in datagrams)
        self.sent += sum(map(len, datagrams))
        return len(datagrams), 0


def datagrams(data: bytes) -> None:
    """Datagrams at a hub, each behind its length; the two bits before that say from which address.

    An address that has not answered is sent three times what came from there, at most.
    """
    outside, table = _Outside(), Table[Peer]()
    peer = Peer(outside, table, True, 8443)
    peer.give(0.0)
    peer.given(Datagrams(bytes(3), bytes(32), bytes(8)), 0.0)
    now, at, came = 1.0, 0, 0
    while at + 2 <= len(data):
        size, place = int.from_bytes(data[at : at + 2], "big") & 0x3FFF, data[at] >> 6
        datagram = data[at + 2 : at + 2 + size]
        at, now, came = at + 2 + size, now + 0.01, came + len(datagram)
        for one, arrived in table.sort([(place, datagram)]).items():
            for frames in one.open(arrived, now):
                assert frames[:1] != bytes([datagram_wire.MARK])
                list(datagram_wire.bundles(frames, 1200))
    assert peer._good is not None or outside.sent <= 3 * came


def http_body(data: bytes) -> None:
    """The reply of an HTTP server, head and body, as helpers send it."""

    class Sock:
        def makefile(self, mode: str) -> BytesIO:
            return BytesIO(data)

    response = WholeResponse(Sock())  # type: ignore[arg-type]
    with suppress(HTTPException, ValueError, OSError):
        response.begin()
        body = response.read()
        assert len(body) <= len(data)


def api_request(data: bytes) -> None:
    """What somebody without a login may send to the web API: a body, a cookie, basic auth."""
    with suppress(Refused):
        Request("POST", "/", read=lambda: data).json()
    text = data.decode("latin-1")
    token_of(text)
    basic(f"Basic {text}")


def enrolment(data: bytes) -> None:
    """What a host shows a hub to join it, what the hub answers, and the list that hubs share."""
    for decode in (wire_enrol.decode_ask, wire_enrol.decode_reply):
        with suppress(ProtocolError):
            decode(data)
    for line in (data.decode("latin-1"), enrol_token.PREFIX + data.hex()):
        with suppress(ValueError):
            enrol_token.decode(line)
    with suppress(ValueError):
        enrol_book.parse(data)


def frames(data: bytes) -> None:
    """What a client sends after its handshake: the first byte chooses who it is."""
    if not data:
        return
    table = RouteTable([entry("10.0.0.1/32", "one"), entry("10.0.0.0/8", "two"), entry("fd00::/8", "two")])
    if data[0] & 8:
        table.own = hub_addresses((ip_interface("10.9.9.9/8"), ip_interface("fd00::9/8")))
    domain = Domain({_KEY: table}, source_check=bool(data[0] & 1))
    attachments = {name: Attachment(domain.namespace(_KEY), name, "fuzz") for name in ("one", "two")}
    for attachment in attachments.values():
        attachment.mtu = 1500
        attachment.is_tunrouter = bool(data[0] & 2)
        attachment.offloads = packet_offload.ALL if data[0] & 4 else 0
        domain.enter(attachment, 0.0)
    body = data[1:]
    buf = bytearray(body + bytes(framing.SLACK))
    out = forward_frame.Output()
    stop = forward.scan(attachments["one"], buf, memoryview(buf), 0, len(body), 0.0, out)
    assert 0 <= stop <= len(body)
    queue, traffic = SendQueue(10_000, 1.0), Traffic()
    for attachment, runs in out.runs.items():
        run = b"".join(runs)
        assert framing.split(run)[-1] == len(run)
        queue.push(run, 0.0, traffic)
        assert attachment.traffic.sent_packets >= 1
    while queue.pop(0.0, traffic, 5000):
        pass
    assert queue.size == 0


def from_the_hub(data: bytes) -> None:
    """What a hub sends to a client."""
    body = data[1:]
    headed = bool(data and data[0] & 1)
    buf = bytearray(16 + len(body) + framing.SLACK)
    buf[16 : 16 + len(body)] = body
    written: list[bytes] = []

    def refused(error: OSError, packet: bytes) -> None:
        raise error

    def write(view: memoryview) -> None:
        written.append(bytes(view))

    down = Downlink(write, refused, Traffic(), headed, 1500, merges=headed)
    stop = client_downlink.deliver(down, buf, memoryview(buf), 16, 16 + len(body))
    assert 16 <= stop <= 16 + len(body)


def packets(data: bytes) -> None:
    """One packet, and the ICMP answers to it."""
    packet = ip.parse(data, 0, len(data))
    if isinstance(packet, Reason):
        return
    for reason in (Reason.NO_ROUTE, Reason.DENIED):
        answer = packet_icmp.unreachable(data, 0, packet, len(data), reason)
        if answer is not None:
            assert isinstance(ip.parse(answer, 0, len(answer)), ip.Packet)
    packet_icmp.too_big(data, 0, packet, len(data), 1280)
    ip.describe(packet)
    assert packet_text.summary(data[: packet_text.HEAD]).isprintable()
    for mtu in (68, 576, 1400):
        parts = packet_fragment.fitting(memoryview(data), False, len(data), 1, mtu) if len(data) > mtu else []
        assert sum(map(len, parts)) <= 4 * len(data) + packet_offload.MAX_HEADERS


def header_chains(data: bytes) -> None:
    """One packet, read to its transport header: as packet.parse has read it, or further."""
    packet = ip.parse(data, 0, len(data))
    if isinstance(packet, Reason):
        return
    has_ports = len(packet.flow) - 2 * len(packet.source) == 4
    headers = packet_headers.read(data, 0, packet, len(data))
    if isinstance(headers, Reason):
        assert headers is Reason.UNREADABLE
        assert not has_ports
        return
    assert headers.packet.transport <= len(data)
    assert len(headers.extensions) <= ip.MAX_EXTENSIONS
    assert headers.packet == packet or not has_ports
    if headers.fragment is not None:
        assert headers.fragment.begin < headers.fragment.end <= 65535


def listed_frames(data: bytes) -> None:
    """What two hosts send each other past an access list; of each frame the first byte says when and from whom.

    No fragment passes but behind a first one, and what is remembered is bounded.
    """
    table = RouteTable([entry("10.0.0.1/32", "one"), entry("10.0.0.0/8", "two"), entry("fd00::/8", "two")])
    table.acl = Acl([AclRule(False, protocol=ip.TCP, ports=((22, 22),)), AclRule(True)])
    domain = Domain({_KEY: table}, source_check=False)
    attachments = [Attachment(domain.namespace(_KEY), name, "fuzz") for name in ("one", "two")]
    for attachment in attachments:
        attachment.mtu = 65535
        domain.enter(attachment, 0.0)
    begun: set[tuple[bytes, bytes]] = set()
    now, at = 0.0, 0
    while at + 3 <= len(data):
        now += data[at] >> 1
        sender, size = attachments[data[at] & 1], int.from_bytes(data[at + 1 : at + 3], "big")
        content = data[at + 3 : at + 3 + size]
        at += 3 + size
        buf = bytearray(framing.encode(content) + bytes(framing.SLACK)) if content else bytearray()
        packet = ip.parse(content, 0, len(content)) if content and content[0] >> 4 else Reason.NOT_IP
        if isinstance(packet, Reason):
            continue
        out = forward_frame.Output()
        forward.scan(sender, buf, memoryview(buf), 0, len(content) + 2, now, out)
        passed = any(framing.encode(content) in runs for runs in out.runs.values())
        headers = packet_headers.read(content, 0, packet, len(content))
        assert not passed or not isinstance(headers, Reason)
        if isinstance(headers, Reason) or headers.fragment is None:
            continue
        datagram = packet.source + packet.destination, headers.fragment.datagram
        if headers.fragment.begin:
            assert not passed or datagram in begun
        elif passed:
            begun.add(datagram)
    namespace = domain.namespace(_KEY)
    assert len(namespace.connections) <= MAX_CONNECTIONS
    assert len(namespace.fragments) <= MAX_DATAGRAMS


def superpackets(data: bytes) -> None:
    """A virtio-net header and a packet: rebuilt, cut up, counted alike."""
    content = bytearray(data)
    if len(content) <= packet_offload.HEADER_SIZE:
        return
    packet = ip.parse(content, packet_offload.HEADER_SIZE, len(content))
    if isinstance(packet, Reason):
        return
    claim = packet_offload.rebuild(content, 0, packet, len(content))
    if isinstance(claim, Reason):
        return
    assert len(packet_offload.packets(content)) == claim[2]


def quick_check(data: bytes) -> None:
    """The same, looked at quickly: what passes is what `rebuild` accepts, and leaves as it is."""
    content = bytearray(data)
    if len(content) > framing.MAX_CONTENT:
        return
    padded = content + bytes(framing.SLACK)
    plain = packet_offload.quick_check(padded, 0, len(content))
    assert padded[: len(content)] == content, "it only looks"
    if plain is None:
        return
    protocol, flow, like = plain
    packet = ip.parse(content, packet_offload.HEADER_SIZE, len(content))
    assert isinstance(packet, ip.Packet)
    assert packet.version == 4
    assert not flow or (protocol, flow) == (packet.protocol, packet.flow)
    claim = packet_offload.rebuild(content, 0, packet, len(content))
    if isinstance(claim, Reason):  # of a single TCP packet the data offset is nobody's business
        assert (packet.protocol, like) == (ip.TCP, None)
        doff = packet.transport + 12
        assert not 20 <= (content[doff] >> 4) * 4 <= len(content) - packet.transport
        return
    assert content == data, "the header stays"
    bits, _, segments = claim
    if like is None:
        assert bits in (0, packet_offload.CSUM)
        assert segments == 1
    else:
        assert (like.offloads, like.more(len(content))) == (bits, segments - 1)
        assert max(map(len, packet_offload.packets(content))) == like.segment


def websocket_server(data: bytes) -> None:
    """A WebSocket client's upgrade and frames, in pieces as the first byte says."""
    _codec(WebSocketCodec("/ws"), data)


def websocket_client(data: bytes) -> None:
    """A WebSocket server's answer and frames."""
    _codec(WebSocketCodec("/ws", (), "hub.test"), data)


def websocket_frames(data: bytes) -> None:
    """Frames after a proper upgrade."""
    client, server = WebSocketCodec("/ws", (), "hub.test"), WebSocketCodec("/ws")
    server.feed(memoryview(client.output()))
    server.handshake()
    client.feed(memoryview(server.output()))
    client.handshake()
    _codec(server, data)
    _codec(client, data)


_tls = context(TlsSettings(), server=False)


def tls_records(data: bytes) -> None:
    """A TLS server's records."""
    _codec(TlsCodec(_tls, False, "hub.test"), data)


def _codec(codec: WebSocketCodec | TlsCodec, data: bytes) -> None:
    step = data[0] + 1 if data else 1
    view = memoryview(bytearray(4096))
    done = False
    try:
        for at in range(1, len(data), step):
            codec.feed(memoryview(data)[at : at + step])
            done = done or codec.handshake()
            codec.output()
            while done and codec.read_into(view):
                pass
    except (ProtocolError, OSError):
        pass


def tls_hello(data: bytes) -> None:
    """A hello of TLS, whose versions an error message names."""
    assert all(0x0301 <= version <= 0x0304 for version in wire_tls.versions_offered(data))
    assert 0 <= wire_tls.version_chosen(data) <= 0xFFFF


_PROXIES = PrefixSet(packed(ip_network(one)) for one in ("10.0.0.0/8", "fd00::/8"))


def forwarded_header(data: bytes) -> None:
    """Lines of the header in which a trusted proxy names its client; the first byte says in which notation."""
    header = "Forwarded" if data[:1] == b"\0" else "X-Forwarded-For"
    found = hub_proxies.client_of(data[1:].decode("latin-1").split("\n"), header, _PROXIES)
    assert bool(found.peer) != bool(found.wrong)
    if found.peer:
        host, port = host_of(found.peer), int(found.peer.rpartition(":")[2])  # of a link-local one no device
        assert str(ip_address(host)) == host
        assert 0 <= port <= 65535


def grpc_answer(data: bytes) -> None:
    """A gRPC plugin's messages."""
    for name in ("GetRouteReply", "GetRuleReply", "AuthenticateReply"):
        try:
            reply = decode_message(name, data)
            if name == "GetRouteReply":
                read_route(reply)
        except (ValueError, PluginError):
            pass


def http_answer(data: bytes) -> None:
    """An HTTP plugin's answer."""
    try:
        read_route(read_object(data))
    except PluginError:
        pass


def route_source(data: bytes) -> None:
    """A file, key or URL with routes, read twice: the second time by the difference."""
    table = RouteTable()
    loader = RouteLoader(table)
    for text in (data, data[: len(data) // 2], data):
        try:
            for _ in loader.source(1, text_encoding.utf8(text), "fuzz"):
                pass
        except (NoTable, UnicodeDecodeError):
            pass


def rule_source(data: bytes) -> None:
    """The same with ingress rules and logins."""
    for reader in (rule_parse.ingress_row, rule_parse.auther_row):
        for _ in rule_parse.rows(data, "fuzz", reader):
            pass


def configuration(data: bytes) -> None:
    """A configuration file."""
    try:
        read = config_read.read([("fuzz", data.decode("utf-8", "surrogateescape"))])
        config_resolve.resolve(read)
        config_read.render(read, "json")
    except ConfigError:
        pass


def urls(data: bytes) -> None:
    """-L and -F."""
    listen, _, forward_ = data.decode("utf-8", "surrogateescape").partition("\n")
    try:
        config_resolve.resolve(config_from_urls.read([listen], [forward_] if forward_ else []))
    except ConfigError:
        pass


# --- what is made of it: queues, the log, a terminal


def queued_frames(data: bytes) -> None:
    """Frames that wait for a session, each after a byte that says when it comes and how many are taken."""
    budget = Budget(1 << 15)
    queue, traffic, now = SendQueue(1 << 14, 0.5, budget), Traffic(), 0.0
    queue.rate = (data[0] & 3) * 20_000.0 if data else 0.0
    while len(data) > 3:
        when, size = data[0], int.from_bytes(data[1:3])
        frame, data = data[1 : 3 + size], data[3 + size :]
        if len(frame) < 2 + size or not size:
            break  # nobody queues an empty frame
        now += (when & 0xF) / 50
        queue.push(frame, now, traffic)
        if when & 0x70:
            queue.pop(now, traffic, when & 0x70)
        assert 0 <= queue.size <= queue.max_bytes
        assert queue.size <= queue.held == budget.used
        assert budget.used <= budget.limit + (FLOW_BYTES + 2 * HOST_BYTES) * MAX_EMPTY
    while queue.pop(now, traffic) or queue.size:
        pass
    queue.clear()
    assert (queue.size, queue.held, budget.used) == (0, 0, 0)


def folded_lines(data: bytes) -> None:
    """Log lines: three bytes are event, kind and address, the fourth says when. All are counted, room is bounded."""
    fold: Fold[bytes] = Fold()
    now, came, told = 0.0, 0, 0
    for at in range(0, len(data) - 3, 4):
        line = data[at : at + 4]
        now += line[3] / 10
        told += sum(summed.more for summed in fold.sweep(now))
        came += 1
        told += fold.count(Key(f"{line[0] & 7}", f"{line[1]}", f"{line[2]}"), line, now)
    told += sum(summed.more for summed in fold.finish(now))
    assert told == came
    assert not fold.sweep(now + 1e9)


def printed_text(data: bytes) -> None:
    """A text of a peer, on a terminal: whatever it is, only what is seen comes out, and it stays as it is then."""
    text = data.decode("utf-8", "surrogateescape")
    for shown in (printable.printable(text), printable.exact(text)):
        assert shown.isprintable()
        assert printable.printable(shown) == shown
        assert len(shown) <= 10 * len(text)
    assert printable.lines(text).count("\n") == text.count("\n")


def getent_lines(data: bytes) -> None:
    """What getent(1) prints of a name server's reply."""
    for address in stream_resolve.read_addresses(data):
        assert address == address.strip() != ""


class _Trusting(SharedSeal):
    """Takes every signature for a right one, or hardly an input would get as far as what is signed."""

    def check(self, name: str, data: bytes, signature: bytes) -> Proof:
        return Proof.GOOD


_TRUSTING = _Trusting(bytes(32), "fuzz")


def cluster_news(data: bytes) -> None:
    """What is published in the registry of a cluster, and a message by itself, from whoever has the secret."""
    with suppress(ProtocolError):
        message, signature = cluster_wire.decode(data)
        assert cluster_wire.decode(cluster_wire.encode(message) + signature) == (message, signature)
    registry = Registry("hub-0", 1, _TRUSTING)
    registry.hear(data, 0.0, 0)
    assert registry.size == sum(len(hub.claims) for hub in registry.hubs.values())
    while registry.places.is_busy:
        registry.places.tidy()
        registry.places.take_changed()


class _Came:
    """The sender of a host here: whole frames, and nothing else, come to it."""

    queued = 0

    def send(self, buffers: Sequence[Buffer], /) -> None:
        frames = b"".join(map(bytes, buffers))
        assert list(framing.split(frames))[-1] == len(frames)

    def close(self, because: str, /) -> None:
        raise AssertionError(because)

    def is_alive(self, seconds: float, /) -> bool:
        return True


def _untold() -> None:
    """Nobody is told of hosts here."""


@cache
def _linked() -> Hosts:
    """A hub where host-1 is, and another one where host-2 is."""
    registry, domain = Registry("hub-1", 1, _TRUSTING), Domain({_KEY: RouteTable(_LINKED)})
    owner: Any = SimpleNamespace(
        settings=SimpleNamespace(name="hub"),
        failed_plugins=set(),
        taps=Taps(),
        output=forward_frame.Output(),
        pauses=Pauses(),
    )
    hosts = Hosts(registry, Claims("hub-1", "", 1, _TRUSTING.sign), domain, owner, _untold, _TRUSTING.grants)
    domain.use_registry(hosts)
    other = registry.hubs["hub-2"] = OtherHub("hub-2", live=True)
    registry.places.add(other, (_KEY, "host-2"), 1, b"")
    here = Attachment(domain.namespace(_KEY), "host-1", "192.0.2.7:1", mtu=1500)
    here.sender = _Came()
    domain.enter(here, 0.0)
    return hosts


_LINKED = [entry("10.0.0.1/32", "host-1"), entry("10.0.0.2/32", "host-2"), entry("fd00::/64", "host-1")]


def link_frames(data: bytes) -> None:
    """What comes by a link: envelopes and runs with frames for a host here, and claims of another worker."""
    receiver = _linked().receiver("hub-2")
    buffer, at = bytearray(data + bytes(framing.SLACK)), 0
    view = memoryview(buffer)
    with suppress(ProtocolError):
        for end in framing.split(data):
            if worker_wire.is_head(data, at + 2, end):
                _, namespace, size = worker_wire.run(data, at + 2, end)
                receiver.take(namespace, buffer, view, end, min(len(data), end + size))
                break
            if data[at + 2 : at + 3] == bytes([worker_wire.MARK]):
                worker_wire.decode(data[at + 2 : end])
            else:
                namespace = cluster_frames.namespace_of(buffer, at + 2, end)
                receiver.take(namespace, buffer, view, at + cluster_frames.BEGIN, end)
            at = end
    receiver.send()
    while receiver.has_rest:
        with suppress(ProtocolError):
            receiver.go_on()


def in_time(target: Target, data: bytes, slack: float = 1.0) -> None:
    """Call a target; raise where the CPU time is more than it may be for so many bytes, twice.

    `slack` is how much slower the code is than usual: atheris counts its branches.
    """
    allowed = slack * (BASE_SECONDS + len(data) * BYTE_SECONDS)
    for again in (True, False):
        began = time.process_time()
        target(data)
        took = time.process_time() - began
        if took <= allowed:
            return
        assert again, (
            f"{target.__name__}: {took:.3f} s of CPU time for {len(data)} bytes, {allowed:.3f} at most"
        )


TARGETS: dict[str, Target] = {
    target.__name__: target
    for target in (
        *(
            relay_request,
            relay_response,
            first_bytes,
            control_frame,
            settings_of_a_hub,
            proxy_header,
            enrolment,
            frames,
            from_the_hub,
            packets,
            superpackets,
        ),
        quick_check,
        *(header_chains, listed_frames),
        *(websocket_server, websocket_client, websocket_frames, tls_records, grpc_answer, http_answer),
        *(tls_hello, forwarded_header, question, name_server, datagrams, http_body, api_request),
        *(route_source, rule_source, configuration, urls),
        *(queued_frames, folded_lines, printed_text, getent_lines, cluster_news, link_frames),
    )
}


def _listing() -> bytes:
    """The first page of a hub's names."""
    zone = Zone(NamesSettings("tun.example"), [_OWN], [("host-1", _OWN)])
    asked = b"\0\7\1\0\0\1\0\0\0\0\0\0\0010\6_hosts\3tun\7example\0\0\x10\0\1"
    return dns_answers.answer(asked, zone) or b""


def _datagrams(packet: bytes) -> list[bytes]:
    """Frames, a PROBE, an ACK, and one of nobody."""
    key = SealKey(_Naked(), bytes(3), bytes(8), 0.0)
    ack = datagram_wire.encode_ack(datagram_wire.Ack(bytes(8), 3, 3))
    plains = [framing.encode(packet) * 3, datagram_wire.encode_probe(bytes(8), 200), ack]
    return [*key.seal(plains), b"\x54nobody" + bytes(30)]


def _news() -> list[bytes]:
    """What a hub publishes when a host has come and another one has gone, and one of these messages."""
    claims = Claims("hub-1", "192.0.2.1:8444", 5, _TRUSTING.sign, "tunrouter")
    claims.join((_KEY, "host-1"), 1, bytes(16))
    claims.join((_KEY, "host-2"), 2, b"")
    first = claims.next_batch(Clocks(0, 0))
    claims.leave((_KEY, "host-2"))
    return [first.published, claims.next_batch(Clocks(0, 0)).published, first.sets[0][1]]


def seeds() -> dict[str, list[bytes]]:
    """Something proper for each target to start from."""
    from tests.support import packets as p

    tcp, udp = p.tcp("10.0.0.1", "10.0.0.2"), p.udp("10.0.0.1", "10.0.0.2")
    back = [p.tcp("10.0.0.2", "10.0.0.1"), p.udp("10.0.0.2", "10.0.0.1", bytes(100)), udp]
    whole = [tcp, udp, p.icmp("10.0.0.1", "10.0.0.2", 3, udp[:28]), p.udp("fd00::1", "fd00::2")]
    supers = [p.superpacket(p.tcp("10.0.0.1", "10.0.0.2", bytes(500), partial=True), 100), p.headed(udp)]
    tcp6 = p.tcp("fd00::1", "fd00::2", bytes(64))
    pieces = [*p.pieces(p.udp("10.0.0.1", "10.0.0.2", bytes(64)), 24, 48), *p.pieces(tcp6, 24, 48), *whole]
    stream = b"".join(map(p.frame, [*whole, *supers, wire_control.encode_ping(bytes(8))]))
    for_hub = (p.icmp("10.0.0.1", "10.9.9.9"), p.tcp("10.0.0.1", "10.9.9.9"), p.udp("10.0.0.1", "10.9.9.9"))
    last_hop = p.udp("10.0.0.1", "10.0.0.2", ttl=1)
    syn = p.tcp("10.0.0.1", "10.0.0.2", flags=2, options=bytes((2, 4, 255, 255)))
    hub = b"".join(map(p.frame, (*for_hub, last_hop, syn)))
    upgrade = (
        b"\x20GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MTIzNDU2Nzg5MDEyMzQ1Ng==\r\n\r\n"
    )
    request = wire_relay.encode_request(
        wire_relay.Request("host-1", "10.0.0.1", bytes(range(16)), ("u", "p"))
    )
    examples = [
        path.read_bytes() for path in sorted((HERE.parents[1] / "packaging" / "examples").glob("*.yml"))
    ]
    return {
        "relay_request": [request],
        "relay_response": [wire_relay.encode_response(wire_relay.Response(0, bytes(20)))],
        "proxy_header": [wire_proxy.encode(1, ("192.0.2.1", 1), ("192.0.2.2", 2)), wire_proxy.encode(2, ("::1", 1), ("::2", 2))],
        "control_frame": [wire_control.encode_hello(wire_control.Hello(bytes(16)))[1:], wire_control.encode_advice(wire_control.Advice(3, "host-1"))[1:], b"\x02\x01\x00\x08" + bytes(8)],
        "settings_of_a_hub": [
            push_settings.numbered(1) + push_settings.fields([_OWN], [0]) + push_settings.shared([packed(ip_network("10.0.0.0/8")), (bytes(16), 3)], 1, 1400, [_OWN], "tun.example"),
            b"\3\1\0" + bytes(256),
        ],
        "first_bytes": [b"SSH-2.0-x\r\n", upgrade[1:], b"\x16\3\1\0\x20", request, b"PROXY TCP4 1.2.3.4 1.2.3.5 1 2\r\n", b"GET / HTTP/1.1\r\n\r\n"],
        "question": [_ASKED, _ASKED[:11] + b"\1" + _ASKED[12:] + b"\0\0\x29\4\xd0\0\0\0\0\0\0", _ASKED[:5] + b"\x2a" + _ASKED[6:] + b"\xc0\x0c\0\1\0\1" * 41],
        "name_server": [_ASKED, _listing(), _ASKED[:2] + b"\x81\x83" + _ASKED[4:]],
        "datagrams": [b"".join(len(one).to_bytes(2, "big") + one for one in _datagrams(udp))],
        "http_body": [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\na: b\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"],
        "api_request": [b'{"username": "u", "password": "p"}', b"[" * 500, b"a=b; tunrouter=abc; c", b"dTpw"],
        "enrolment": [
            enrol_book.dump(enrol_book.Book(bytes(8))),
            wire_enrol.encode_reply(wire_enrol.Reply(0, 1.0, 1.0, ((bytes(4), 0),), ())),
        ],
        "frames": [bytes([flags]) + stream + hub for flags in range(16)],
        "from_the_hub": [b"\0" + stream, b"\1" + stream],
        "packets": whole,
        "superpackets": supers,
        "quick_check": supers,
        "header_chains": [
            p.extended(tcp6, (p.FRAGMENT, 8), (p.DESTINATION, 8)),
            p.extended(tcp6, (p.HOP_BY_HOP, 8), (p.ROUTING, 24), (p.AUTHENTICATION, 24), (p.MOBILITY, 8)),
            p.icmp("fd00::2", "fd00::1", 1, p.extended(tcp6, (p.DESTINATION, 8))),
            p.ip("10.0.0.1", "10.0.0.2", p.AUTHENTICATION, b"\x06\x04" + bytes(22) + tcp[20:]),
            *p.pieces(udp + bytes(100), 24, 48),
            *p.pieces(tcp6, 24),
        ],
        "listed_frames": [b"".join(b"\0" + p.frame(piece) for piece in pieces)],
        "websocket_server": [upgrade + b"\x82\x85\1\2\3\4hello"],
        "websocket_client": [b"\x20HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"],
        "websocket_frames": [b"\xff\x82\x05hello", b"\1\x82\x85\1\2\3\4hello", b"\xff\x89\x00\x88\x02\x03\xe8"],
        "tls_records": [b"\xff\x16\x03\x03\x00\x04\x02\x00\x00\x00"],
        "tls_hello": [
            b"\x16\x03\x01\0\x36\x01\0\0\x32\x03\x03" + bytes(33) + b"\0\x02\x13\x01\x01\0\0\x07\0\x2b\0\x03\x02\x03\x04",
            b"\x16\x03\x01\0\x2a\x02\0\0\x26\x03\x01" + bytes(33) + b"\xc0\x13\0",
        ],
        "forwarded_header": [
            b"\x01203.0.113.9, 198.51.100.7:4711, 10.0.0.2\n[fd00::1]:80, ::ffff:10.0.0.1",
            b'\0for=192.0.2.43, For="[2001:db8:cafe::17]:4711";proto=https\nfor=10.0.0.1;by=unknown',
        ],
        "queued_frames": [b"".join(bytes([n * 37 & 0xFF]) + p.frame(one) for n, one in enumerate(whole * 3 + supers))],
        "folded_lines": [bytes(n * 7 & 0xFF for n in range(400)), b"\1\2\3\0" * 50 + b"\1\2\3\xff" * 9],
        "printed_text": ["host-1 \x1b[31m \u202e\u200b\n e\u0301\u0301\u0301 \\x1b \udcff".encode("utf-8", "surrogateescape")],
        "cluster_news": _news(),
        "link_frames": [
            b"".join(cluster_frames.head(_KEY, 7, len(one) + 2) + p.frame(one) for one in (*back, *supers)),
            p.frame(worker_wire.encode(worker_wire.Claim(worker_wire.COME, _KEY, "host-1", 1))),
            worker_wire.head(_KEY, len(run := b"".join(p.frame(one) for one in (*back, *supers)))) + run,
        ],
        "getent_lines": [b"192.0.2.7       STREAM a.test\n192.0.2.7       DGRAM\nfe80::1%1     STREAM\n"],
        "grpc_answer": [b"\n\n10.0.0.0/8\x12\x06host-1", b"\x08\x01"],
        "http_answer": [b'{"dst":"10.0.0.0/8","gateway":"host-1"}'],
        "route_source": [b"10.0.0.0/8 host-1\n# comment\nfd00::/8 host-2 metric=3 fallThrough\n"],
        "rule_source": [b"host-1 e87f56dd-fd57-4921-9ab8-a0847662daae\nuser pass word\n"],
        "configuration": examples,
        "urls": [
            b"tun:///host-1?net=10.0.0.1/24&mtu=1400\nrouter+wss://u:p@h:443?secure=true",
            b"router+tls://:8443?router=r&limiter.in=1MB",
        ],
    }  # fmt: skip
