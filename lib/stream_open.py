"""Opens the stream of a session: a client by dialling (proxies, TLS, WebSocket), a hub over a TCP connection.

Knows: the order of the layers. Refuses to know: what a layer does (stream_tls, stream_websocket).
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from lib.addresses import join_host_port
from lib.errors import HostError
from lib.log_events import Entry
from lib.log_setup import say
from lib.settings import NodeSettings, TransportSettings
from lib.stream_bounded import Bounds
from lib.stream_certificates import Identity
from lib.stream_dial import dial as dial_name
from lib.stream_dial import distrust
from lib.stream_layer import AnyStream, Layered
from lib.stream_tcp import DEAD_AFTER, Stream, format_peer
from lib.stream_tls import TlsCodec, context

PROXY_PIECES = 1 << 14, 1 << 14, 1 << 14
"""python-socks wants all of a proxy's headers in one receive."""

DeviceFor = Callable[[str], str | None]


class Acceptor:
    """Opens the streams of a hub over accepted TCP connections."""

    def __init__(self, settings: TransportSettings, name: str) -> None:
        """Load the certificate; `name` is the service's, for the log. Raises HostError where that fails."""
        self.settings = settings
        self._identity = Identity(settings.tls) if settings.encrypted else None
        if self._identity is not None:
            mark = f"sha256:{self._identity.fingerprint()}"
            say(Entry.CERTIFICATE, "service %s: certificate %s", name, mark, service=name, fingerprint=mark)

    def accept(self, stream: Stream) -> AnyStream:
        """Do the handshakes of the layers over an accepted connection. Raises ProtocolError, OSError."""
        top: AnyStream = stream
        if self.settings.kind != "tcp":
            stream.wait_readable()  # who says nothing costs no more than a socket and a greenlet
        if self._identity is not None:
            top = _opened(top, TlsCodec(self._identity.context(), server=True))
        if self.settings.kind in ("ws", "wss"):
            from lib.stream_websocket import WebSocketCodec

            top = _opened(top, WebSocketCodec(self.settings.path, self.settings.headers))
        return top


def dial(
    node: NodeSettings, device_for: DeviceFor, bounds: Bounds, dead_after: float = DEAD_AFTER
) -> AnyStream:
    """Connect to a hub through proxies and layers. The deadline is the caller's (stream_deadline).

    Host names are resolved anew; behind proxies the last one resolves the hub's name. `device_for` says for
    an IP address through which network device to send (stream_dial.dial). `bounds` limits what proxies may
    say, and at each moment says what has not come yet. A path on which nothing is acknowledged for
    `dead_after` seconds ends the stream. Raises OSError, ProtocolError.
    """
    stream = Stream(*_connected(node, device_for, bounds), node.transport.tcp_keepalive, dead_after)
    try:
        return _over(stream, node, bounds)
    except BaseException:
        stream.close()
        not_useful(node)
        raise


def not_useful(node: NodeSettings) -> None:
    """Try another address first the next time: a connection was made, and no hub answered over it."""
    first = node.proxies[0] if node.proxies else node
    distrust(first.host, first.port)


def _over(stream: Stream, node: NodeSettings, bounds: Bounds) -> AnyStream:
    transport, top = node.transport, stream
    layered: AnyStream = top
    if transport.encrypted:
        settings = transport.tls
        try:
            made = context(settings, server=False)
        except HostError as error:  # a file that was there when we began
            raise OSError(22, str(error)) from None
        name = settings.server_name or node.host
        bounds.waits_for = f"no TLS handshake with {stream.peer}"
        layered = _opened(layered, TlsCodec(made, False, name, settings.pin))
    if transport.kind in ("ws", "wss"):
        from lib.stream_websocket import WebSocketCodec

        host = transport.host or join_host_port(node.host, node.port)
        bounds.waits_for = f"no reply to the WebSocket upgrade from {stream.peer}"
        layered = _opened(layered, WebSocketCodec(transport.path, transport.headers, host))
    return layered


def _opened(below: AnyStream, codec: Any) -> Layered:
    layered = Layered(below, codec)
    layered.open()
    return layered


def _connected(node: NodeSettings, device_for: DeviceFor, bounds: Bounds) -> tuple[Any, str]:
    """A connection to the hub, and the far address as people write it."""
    if not node.proxies:
        sock = dial_name(node.host, node.port, bounds, device_for)
        return sock, format_peer(sock.getpeername())
    far = join_host_port(node.host, node.port)
    return _through(node, _Direct(device_for, bounds, far)), far


class _Direct:
    """The first connection of a chain of proxies, made our way."""

    def __init__(self, device_for: DeviceFor, bounds: Bounds, far: str) -> None:
        self._device_for, self._bounds, self._far = device_for, bounds, far
        self.sock: Any = None

    def connect(self, dest_host: str, dest_port: int, timeout: float | None = None) -> Any:
        self.sock = dial_name(dest_host, dest_port, self._bounds, self._device_for, PROXY_PIECES)
        proxy = join_host_port(dest_host, dest_port)
        self._bounds.waits_for = f"the proxy {proxy} has no connection to {self._far} yet"
        return self.sock


def _through(node: NodeSettings, direct: _Direct) -> socket.socket:
    """A connection to a hub through its proxies, by python-socks."""
    from python_socks import ProxyConnectionError, ProxyError, ProxyTimeoutError, ProxyType
    from python_socks.sync import Proxy

    kinds = {"socks5": ProxyType.SOCKS5, "socks4": ProxyType.SOCKS4, "http": ProxyType.HTTP}
    way: Any = direct
    for proxy in node.proxies:
        way = Proxy(
            kinds[proxy.kind],
            proxy.host,
            proxy.port,
            proxy.username or None,
            proxy.password if proxy.username else None,
            rdns=True,
            forward=way,
        )
    try:
        sock: socket.socket = way.connect(node.host, node.port)
        return sock
    except (ProxyError, ProxyConnectionError, ProxyTimeoutError) as error:
        names = " and ".join(join_host_port(proxy.host, proxy.port) for proxy in node.proxies)
        raise OSError(111, f"proxy {names}: {error}") from None
    except BaseException:
        if direct.sock is not None:
            direct.sock.close()  # python-socks closes it for an Exception only
            not_useful(node)
        raise
