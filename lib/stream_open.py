"""Opens the stream of a session: a client by dialling (proxies, TLS, WebSocket), a hub over a TCP connection.

Knows: the order of the layers. Refuses to know: what a layer does (stream_tls, stream_websocket).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from lib import stream_options
from lib.addresses import dns_name, join_host_port, without_zone
from lib.errors import HostError, ProtocolError
from lib.forward_drop_reasons import Refusal
from lib.log_events import Entry
from lib.log_setup import say
from lib.service_threads import aside
from lib.session_mismatch import silent
from lib.settings import NodeSettings
from lib.settings_transport import TransportSettings
from lib.stream_bounded import Bounds
from lib.stream_certificates import Identity
from lib.stream_dial import Ways, distrust
from lib.stream_dial import dial as dial_name
from lib.stream_layer import AnyStream, Layered
from lib.stream_options import DEAD_AFTER
from lib.stream_proxy import connect
from lib.stream_tcp import Stream, format_peer
from lib.stream_tls import TlsCodec, context


class Acceptor:
    """Opens the streams of a hub over accepted TCP connections."""

    def __init__(self, settings: TransportSettings, name: str) -> None:
        """Load the certificate; `name` is the service's, for the log. Raises HostError where that fails."""
        self.settings = settings
        self._identity = Identity(settings.tls) if settings.encrypted else None
        if self._identity is not None:
            mark = f"sha256:{self._identity.fingerprint()}"
            say(Entry.CERTIFICATE, "service %s: certificate %s", name, mark, service=name, fingerprint=mark)

    def fingerprint(self) -> str:
        """SHA-256 of the certificate in hex digits; empty without TLS. Raises HostError, OSError."""
        return self._identity.fingerprint() if self._identity is not None else ""

    def accept(
        self, stream: Stream, read_headers: Callable[[Sequence[tuple[bytes, bytes]]], None]
    ) -> AnyStream:
        """Do the handshakes of the layers over an accepted connection. Raises ProtocolError, OSError.

        `read_headers` is told the headers of a WebSocket's upgrade, before that is answered; it may raise
        ProtocolError.
        """
        top: AnyStream = stream
        if self.settings.kind != "tcp":
            stream.wait_readable()  # who says nothing costs no more than a socket and a greenlet
        if self._identity is not None:
            top = _opened(top, TlsCodec(self._identity.context(), server=True))
        if self.settings.kind in ("ws", "wss"):
            from lib.stream_websocket import WebSocketCodec

            codec = WebSocketCodec(self.settings.path, self.settings.headers)
            codec.read_headers = read_headers
            top = _opened(top, codec)
        return top


def dial(
    node: NodeSettings, ways: Ways, bounds: Bounds, dead_after: float = DEAD_AFTER, service: str = ""
) -> AnyStream:
    """Connect to a hub through proxies and layers. The deadline is the caller's (stream_deadline).

    Host names are resolved anew; behind proxies the last one resolves the hub's name. `ways` says for
    an IP address through which network device to send (stream_dial.dial). `bounds` limits what proxies may
    say, and at each moment says what has not come yet. A path on which nothing is acknowledged for
    `dead_after` seconds ends the stream. `service` is whose it is, for the log. Raises OSError,
    ProtocolError.
    """
    transport = node.transport
    stream = Stream(*_connected(node, ways, bounds), transport.tcp_keepalive, dead_after)
    try:
        stream.use_congestion(transport.congestion, service)
        if transport.mptcp and not stream.is_mptcp:
            stream_options.tell_no_mptcp(service)
        return _over(stream, node, bounds)
    except BaseException:
        stream.close()
        not_useful(node)
        raise


def not_useful(node: NodeSettings) -> None:
    """Try another address first the next time: a connection was made, and no hub answered over it."""
    distrust(node.first.host, node.first.port)


def _over(stream: Stream, node: NodeSettings, bounds: Bounds) -> AnyStream:
    transport, top = node.transport, stream
    layered: AnyStream = top
    if transport.encrypted:
        settings = transport.tls
        try:
            made = aside(settings.ca_file or settings.cert_file or "certificates", context, settings, False)
        except HostError as error:  # a file that was there when we began
            raise OSError(22, str(error)) from None
        name = settings.server_name or without_zone(node.host)
        layered = _asked(layered, TlsCodec(made, False, name, settings.pin), node, bounds)
    if transport.kind in ("ws", "wss"):
        from lib.stream_websocket import WebSocketCodec

        host = transport.host or join_host_port(dns_name(without_zone(node.host)), node.port)
        codec = WebSocketCodec(transport.path, transport.headers, host)
        layered = _asked(layered, codec, node, bounds)
    return layered


def _opened(below: AnyStream, codec: Any) -> Layered:
    layered = Layered(below, codec)
    layered.open()
    return layered


def _asked(below: AnyStream, codec: Any, node: NodeSettings, bounds: Bounds) -> Layered:
    """A layer over a stream to a hub. Raises ProtocolError, also where the hub resets; OSError."""
    layered = Layered(below, codec)
    with handshake(codec.name, node, below.peer, bounds, layered.first):
        layered.open()
    return layered


@contextmanager
def handshake(
    layer: str, node: NodeSettings, peer: str, bounds: Bounds, first: bytes | bytearray = b""
) -> Iterator[None]:
    """A client's handshake in a layer: a deadline (in `bounds`) and a reset say that it was this one.

    Programs that are sent another protocol than theirs reset the connection, or wait for more. `first` has
    the first bytes of the hub.
    """
    bounds.waits_for = silent(node.transport.kind, layer, peer)
    try:
        yield
    except ConnectionError:
        error = ProtocolError(f"reset in the middle of the {layer} handshake", Refusal.CUT_OFF)
        error.failed_in(layer, bytes(first))
        raise error from None
    except BaseException:
        if first:
            bounds.waits_for = f"{peer} has not gone on with the {layer} handshake"
        raise


def _connected(node: NodeSettings, ways: Ways, bounds: Bounds) -> tuple[Any, str]:
    """A connection to the hub, and the far address as people write it."""
    if not node.proxies:
        sock = dial_name(node.host, node.port, bounds, ways, how=node.dial, mptcp=node.transport.mptcp)
        return sock, format_peer(sock.getpeername())
    host = node.dial.addresses[0] if node.dial.addresses else node.host
    sock = connect(node.proxies, host, node.port, bounds, ways, node.transport.mptcp)
    return sock, join_host_port(node.host, node.port)
