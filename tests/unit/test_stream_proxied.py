"""A hub behind a load balancer that sends PROXY headers: who is believed, and what the rest of the hub sees."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import socket

from lib import ctl_session, hub_log, stream_dial, wire_proxy, wire_relay
from lib.errors import ProtocolError
from lib.forward_drop_reasons import Refusal
from lib.hub import Hub
from lib.log_events import Entry
from lib.settings import NodeSettings
from lib.settings_dial import DialSettings
from lib.settings_transport import TlsSettings, TransportSettings
from lib.stream_bounded import Bounds
from lib.stream_layer import AnyStream, Layered
from lib.stream_tcp import Stream
from lib.stream_tls import TlsCodec, context
from lib.wire_relay import Request, Status
from tests.support.hubs import running
from tests.unit.test_config_dial import url
from tests.unit.test_config_resolve import CHAIN, CLIENT, problems, resolve
from tests.unit.test_wire_proxy import TLVS, V4, binary

HUB = """\
services:
- name: s
  addr: 127.0.0.1:0
  metadata: {%s}
  climiter: c
  handler: {type: router, metadata: {router: r, %s}}
  listener: {type: %s}
climiters: [{name: c, limits: [%s]}]
routers: [{name: r, routes: [{net: 10.0.0.0/8, gateway: host-1}]}]
"""
BELIEVED, TRUST = "proxyProtocol: 1", "trustedProxies: 127.0.0.0/8"
PEER, OTHER = "192.0.2.1:56324", "198.51.100.8"
LINE = b"PROXY TCP4 192.0.2.1 198.51.100.9 56324 8443\r\n"
BINARY = binary(0x21, 0x11, V4 + TLVS)
LOCAL = binary(0x20, 0, b"")


@pytest.fixture
def log_of(monkeypatch: pytest.MonkeyPatch) -> list[Entry]:
    said: list[Entry] = []
    monkeypatch.setattr(hub_log, "say", lambda event, *_, **__: said.append(event))
    return said


@pytest.fixture(autouse=True)
def own_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where certificates are made."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


@contextmanager
def serving(
    service: str = BELIEVED, handler: str = TRUST, kind: str = "tcp", limit: str = '"$ 1000"'
) -> Iterator[Hub]:
    with running(HUB % (service, handler, kind, limit)) as (one,):
        yield one


def connect(to: Hub, *pieces: bytes) -> Stream:
    """A connection that begins with these bytes, each in a segment of its own."""
    sock = socket.create_connection(to._server.socket.getsockname(), 5)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for piece in pieces:
        sock.sendall(piece)
        gevent.sleep(0)
    return Stream(sock, "hub")


def come(to: Hub, *pieces: bytes, host: str = "host-1") -> AnyStream:
    """A client's session behind a proxy that sends this header. Raises ProtocolError where it is refused."""
    below = connect(to, *pieces)
    with gevent.Timeout(5):
        stream: AnyStream = below
        if to.settings.transport.kind == "tls":
            codec: Any = TlsCodec(context(TlsSettings(), False), False, "hub.test")
            layered = Layered(below, codec)
            layered.open()
            stream = layered
        stream.send_all(wire_relay.encode_request(Request(host, "10.0.0.1")))
        answer = memoryview(bytearray(1000))
        found = wire_relay.decode_response(bytes(answer[: stream.receive_into(answer)]))
        if found is None or found[0].status != Status.OK:
            below.close()
            raise ProtocolError("refused")
    return stream


def wait_refused(to: Hub, refusal: Refusal) -> str:
    """Wait until a connection has been refused for this reason; returns why."""
    with gevent.Timeout(5):
        while not to.refused[refusal]:
            gevent.sleep(0.01)
    return to.turned_away[refusal][2]


def ended(to: Hub) -> None:
    with gevent.Timeout(5):
        while to.sessions or to.gate._connections:
            gevent.sleep(0.01)


@pytest.mark.parametrize("kind", ["tcp", "tls"])
@pytest.mark.parametrize(
    "pieces",
    [(LINE,), (BINARY,), tuple(bytes([byte]) for byte in LINE), tuple(bytes([byte]) for byte in BINARY)],
    ids=["1", "2", "1 byte by byte", "2 byte by byte"],
)
def test_the_client_s_address_is_the_one_that_counts(kind: str, pieces: tuple[bytes, ...]) -> None:
    """In status, counters and the gate; nothing of what follows the header is lost."""
    with serving(kind=kind) as hub, closing(come(hub, *pieces)):
        (session,) = hub.sessions.values()
        row = ctl_session.session_row(session, [], 0.0)
        assert row["peer"] == PEER
        assert str(row["via"]).startswith("127.0.0.1:")
        assert list(hub.by_address.books) == ["192.0.2.1"]
        assert hub.unnamed == 0


def test_limits_are_the_client_s_and_not_the_proxy_s() -> None:
    with serving(limit='"$$ 1"') as hub, closing(come(hub, LINE)):
        second = LINE.replace(b"192.0.2.1", OTHER.encode())
        with closing(come(hub, second, host="host-2")):
            connect(hub, LINE)
            wait_refused(hub, Refusal.CONNECTIONS)
            assert hub.turned_away[Refusal.CONNECTIONS][1] == PEER
            assert len(hub.sessions) == 2


NO_HEADER = wire_relay.encode_request(Request("host-1", "10.0.0.1"))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (NO_HEADER, "no PROXY header of a trusted proxy: the connection does not begin with one"),
        (b"\x16\x03\x01\x00", "does not begin with one"),
        (b"PROXY TCP9 a b 1 2\r\n", "a line that does not parse"),
    ],
)
def test_a_trusted_proxy_has_to_send_one(data: bytes, why: str) -> None:
    """Else a proxy that forgets it would let its clients write it."""
    with serving() as hub, closing(connect(hub, data)):
        assert why in wait_refused(hub, Refusal.PROXY_HEADER)
        assert not hub.sessions


@pytest.mark.parametrize(("service", "handler"), [(BELIEVED, "trustedProxies: 10.0.0.0/8"), ("", TRUST)])
def test_nobody_else_s_header_is_read(service: str, handler: str) -> None:
    with serving(service, handler) as hub, closing(connect(hub, LINE, NO_HEADER)):
        assert "a PROXY protocol header on a tcp port" in wait_refused(hub, Refusal.MALFORMED)
        assert not hub.by_address.books.keys() & {"192.0.2.1"}
        with closing(come(hub)):
            assert len(hub.sessions) == 1, "and who sends none is let in"


def test_a_header_that_names_nobody_is_counted_and_the_proxy_s_address_counts() -> None:
    for header in (binary(0x21, 0x12, bytes(12)), binary(0x21, 0, b""), binary(0x21, 0x31, bytes(216))):
        with serving() as hub, closing(come(hub, header)):
            (session,) = hub.sessions.values()
            assert session.attachment.peer.startswith("127.0.0.1:")
            assert hub.unnamed == 1


@pytest.mark.parametrize("header", [LOCAL, b"PROXY UNKNOWN\r\n"])
def test_a_proxy_s_own_connection_is_no_refusal_and_no_unnamed_client(
    header: bytes, log_of: list[Entry]
) -> None:
    with serving() as hub:
        connect(hub, header).close()
        with gevent.Timeout(5):
            while not hub.by_address.books or hub.gate._connections:
                gevent.sleep(0.01)
        assert not hub.refused
        assert hub.unnamed == 0
        assert not {Entry.REFUSED, Entry.CONNECTION_LOST} & set(log_of)


def test_who_drips_a_header_meets_the_deadline() -> None:
    with serving(handler=f"{TRUST}, handshakeTimeout: 300ms") as hub, closing(connect(hub, BINARY[:-1])):
        assert wait_refused(hub, Refusal.LATE) == "no handshake within 0.3 s"


def test_a_reload_begins_to_read_headers() -> None:
    with serving("") as hub, closing(come(hub)):
        hub.apply(replace(hub.settings, proxy_protocol=True), hub.domain)
        with closing(come(hub, LINE, host="host-2")):
            assert {session.attachment.peer == PEER for session in hub.sessions.values()} == {True, False}


# --- what a client sends -------------------------------------------------------------------------


@pytest.mark.parametrize("version", [1, 2])
def test_a_client_sends_its_own_two_ends_before_everything_else(version: int) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
        made = stream_dial.dial(
            "127.0.0.1", port, Bounds(5, 1 << 16), how=DialSettings(proxy_protocol=version)
        )
        with closing(made), closing(listener.accept()[0]) as far:
            found = wire_proxy.parse(far.recv(200))
            assert found is not None
            assert found.source == made.getsockname()


WAYS = [
    ("router://h:1?proxyProtocol=2", 2),
    ("router://h:1?node.proxyProtocol=1", 1),
    ("router://h:1?hop.proxyProtocol=1", 1),
    ("router://h:1", 0),
]


@pytest.mark.parametrize(("forward", "version"), WAYS)
def test_where_a_client_is_told_to(forward: str, version: int) -> None:
    assert url(forward)[-1].dial.proxy_protocol == version


def test_behind_a_proxy_it_has_no_effect_as_in_gost() -> None:
    chain = CHAIN.replace(
        "hops: [",
        "hops: [{name: p, nodes: [{name: p, addr: 'p:1', connector: {type: socks5}, dialer: {type: tcp}}]}, ",
    ).replace("{name: n,", "{name: n, metadata: {proxyProtocol: 1},")
    found = resolve(CLIENT % "{}", chain)
    assert "'proxyProtocol' has no effect behind a proxy, as in GOST" in str(found.warnings[0])


@pytest.mark.parametrize(
    ("service", "handler", "said"),
    [
        (BELIEVED, "domain: d", "f:4:29: 'proxyProtocol' without trustedProxies: any client could name any"),
        ("proxyProtocol: 3", TRUST, "'proxyProtocol': there is version 1 and 2, and not 3"),
        ("proxyProtocol: yes", TRUST, "'proxyProtocol': "),
    ],
)
def test_what_is_wrong_in_a_hub(service: str, handler: str, said: str) -> None:
    [found] = problems(HUB % (service, handler, "tcp", '"$ 9"'))
    assert said in found


# --- a real load balancer ------------------------------------------------------------------------

HAPROXY = """
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend f
  bind 127.0.0.1:%d
  default_backend b
backend b
  server hub 127.0.0.1:%d %s check inter 100ms fall 1 rise 1
"""


@pytest.mark.skipif(not shutil.which("haproxy"), reason="haproxy is not installed")
@pytest.mark.parametrize("version", ["send-proxy", "send-proxy-v2"])
def test_behind_haproxy(version: str, tmp_path: Path, log_of: list[Entry]) -> None:
    """Its checks (LOCAL, UNKNOWN) are no refusals, and a client has the address that HAProxy saw."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    with serving() as hub:
        path = tmp_path / "haproxy.cfg"
        path.write_text(HAPROXY % (port, hub._server.socket.getsockname()[1], version))
        running_one = subprocess.Popen(["haproxy", "-db", "-f", path])
        try:
            with gevent.Timeout(10):
                while not hub.by_address.books:  # a check
                    gevent.sleep(0.02)
                sock = socket.create_connection(("127.0.0.1", port), 5, ("127.0.0.77", 0))
                near = "{}:{}".format(*sock.getsockname())
                sock.sendall(NO_HEADER)
                assert sock.recv(100)
                while not hub.sessions:
                    gevent.sleep(0.01)
            (session,) = hub.sessions.values()
            assert session.attachment.peer == near
            assert Entry.REFUSED not in log_of
            sock.close()
            ended_sessions(hub)
        finally:
            running_one.terminate()
            running_one.wait(10)


def ended_sessions(hub: Hub) -> None:
    with gevent.Timeout(5):
        while hub.sessions:
            gevent.sleep(0.01)


def test_the_node_of_a_client_is_another_one_with_it() -> None:
    """So a reload that switches it on connects anew."""
    node = NodeSettings("n", "h", 1, transport=TransportSettings())
    assert replace(node, dial=DialSettings(proxy_protocol=1)) != node
