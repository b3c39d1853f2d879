"""What a client says of a hub that speaks another transport, or nothing."""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent.server import StreamServer

from lib.client_dial import Refused, let_in
from lib.errors import ProtocolError
from lib.settings import ClientSettings, DeviceSettings, NodeSettings
from lib.settings_transport import TransportSettings
from tests.support.devices import NoTunnel
from tests.support.hubs import running
from tests.support.tls import Authority
from tests.unit.test_stream_proxy import replying

TLS, WS, WSS, TCP = "router+tls://", "router+ws://", "router+wss://", "router://"


def failure(port: int, kind: str, seconds: float = 5.0) -> Exception:
    """How a client fails that dials a port by this transport."""
    node = NodeSettings("n", "127.0.0.1", port, transport=TransportSettings(kind), connect_timeout=seconds)
    settings = ClientSettings("s", "host-1", DeviceSettings(), (node,))
    with pytest.raises((OSError, ProtocolError)) as raised, gevent.Timeout(10):
        let_in(settings, node, NoTunnel(settings))
    return raised.value


MISMATCHES = [
    ("tcp", "tls", f"the hub speaks plain relay, not TLS: write {TCP}"),
    ("tcp", "ws", f"the hub speaks plain relay, not WebSocket: write {TCP}"),
    ("tcp", "wss", f"the hub speaks plain relay, not TLS: write {TCP}"),
    ("tls", "tcp", f"the hub speaks TLS, not plain relay: write {TLS} or {WSS}"),
    ("tls", "ws", f"the hub speaks TLS, not WebSocket: write {TLS} or {WSS}"),
    ("tls", "wss", f"the hub speaks plain relay, not WebSocket inside TLS: write {TLS}"),
    ("ws", "tcp", f"the hub speaks HTTP, not plain relay: write {WS} or {WSS}"),
    ("ws", "tls", f"the hub speaks HTTP, not TLS: write {WS}"),
    ("ws", "wss", f"the hub speaks HTTP, not TLS: write {WS}"),
    ("wss", "tcp", f"the hub speaks TLS, not plain relay: write {TLS} or {WSS}"),
    ("wss", "ws", f"the hub speaks TLS, not WebSocket: write {TLS} or {WSS}"),
    ("wss", "tls", f"the hub speaks HTTP, not plain relay inside TLS: write {WSS}"),
]


@pytest.mark.parametrize(("hub", "client", "said"), MISMATCHES)
def test_a_hub_of_another_transport(hub: str, client: str, said: str, tmp_path: Path) -> None:
    """Both sides are tunrouters: each pair of transports."""
    own = Authority(tmp_path).issue("hub.test")
    tls = f", tls: {{certFile: {own.cert}, keyFile: {own.key}}}" if hub in ("tls", "wss") else ""
    config = f"services: [{{name: s, addr: '127.0.0.1:0', handler: {{type: router}}, listener: {{type: {hub}{tls}}}}}]"
    with running(config) as (to,):
        error = failure(to._server.socket.getsockname()[1], client)
        ((_, told),) = [(refusal, why) for refusal, (_, _, why) in to.turned_away.items()]
    assert str(error) == said
    assert told.startswith("the client speaks "), "and the hub says it too"


@pytest.mark.parametrize(
    ("client", "replies", "said"),
    [
        ("tcp", [b"SSH-2.0-OpenSSH_9.9\r\n"], "the far end speaks SSH, not plain relay: it is no hub"),
        ("tls", [b"SSH-2.0-OpenSSH_9.9\r\n"], "the far end speaks SSH, not TLS: it is no hub"),
        (
            "ws",
            [b"220 mail.test\r\n"],
            "the far end speaks SMTP, FTP or the like, not WebSocket: it is no hub",
        ),
        (
            "ws",
            [b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"],
            f"the hub is an HTTPS server: write {WSS}",
        ),
        ("ws", [b"HTTP/1.1 404 Not Found\r\n\r\n"], "WebSocket: refused with HTTP status 404"),
        (
            "tcp",
            [b""],
            f"closed without a reply to the relay handshake: perhaps the hub wants {TLS}, {WS} or {WSS}",
        ),
        ("tls", [b""], f"closed without a reply to the TLS handshake: perhaps the hub wants {TCP} or {WS}"),
        ("tls", [b"\x16\3\3\0\x7a\2"], "closed in the middle of the TLS handshake"),
        (
            "tcp",
            [b"\1\5\0\0"],
            "refused: service unavailable: the hub ends, or cannot ask who decides about clients",
        ),
        (
            "tcp",
            [b"\1\6\0\0"],
            "refused: host unreachable: the hub's ingress does not let this host name into this namespace",
        ),
        ("tcp", [b"\1\7\0\0"], "refused: network unreachable"),
    ],
)
def test_another_server(client: str, replies: list[bytes], said: str) -> None:
    with replying(*replies) as port:
        error = failure(port, client)
    assert str(error) == said
    assert isinstance(error, Refused) == said.startswith("refused")


@pytest.mark.parametrize(
    ("client", "replies", "said"),
    [
        (
            "tcp",
            [],
            f"no reply to the relay handshake from {{hub}}: perhaps the hub wants {TLS}, {WS} or {WSS}",
        ),
        ("tls", [], f"no reply to the TLS handshake from {{hub}}: perhaps the hub wants {TCP} or {WS}"),
        (
            "ws",
            [],
            f"no reply to the WebSocket handshake from {{hub}}: perhaps the hub wants {TCP}, {TLS} or {WSS}",
        ),
        ("tls", [b"\x16\3\3\0\x7a\2"], "{hub} has not gone on with the TLS handshake"),
    ],
)
def test_the_deadline_says_which_handshake_got_no_reply(client: str, replies: list[bytes], said: str) -> None:
    with replying(*replies, stay=True) as port:
        error = failure(port, client, 0.2)
    assert error.strerror == f"no connection within 0.2 s: {said.format(hub=f'127.0.0.1:{port}')}"  # type: ignore[attr-defined]


def test_a_reset_is_told_like_an_end() -> None:
    """GOST closes with bytes unread, which resets the connection."""

    def serve(sock: Any, address: object) -> None:
        sock.recv(4)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()

    server = StreamServer(("127.0.0.1", 0), serve)
    server.start()
    error = failure(server.server_port, "tls")
    server.stop(timeout=0)
    assert isinstance(error, ProtocolError)
    assert str(error) == f"closed without a reply to the TLS handshake: perhaps the hub wants {TCP} or {WS}"
