"""Opens the stream of a session: a client by dialling (proxies, TLS, WebSocket), a hub over a TCP connection.

Knows: the order of the layers. Refuses to know: what a layer does (stream_tls, stream_websocket).
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import gevent

from lib.addresses import join_host_port
from lib.errors import HostError
from lib.log_events import Entry
from lib.log_setup import say
from lib.settings import NodeSettings, ProxySettings, TransportSettings
from lib.stream_bounded import Bounds
from lib.stream_bounded import dial as dial_within
from lib.stream_certificates import Identity
from lib.stream_layer import AnyStream, Layered
from lib.stream_tcp import DEAD_AFTER, Stream, format_peer
from lib.stream_tls import TlsCodec, context

PROXY_PIECES = 1 << 14, 1 << 14, 1 << 14
"""python-socks wants all of a proxy's headers in one receive."""

DeviceFor = Callable[[str], str | None]
MAX_PROXY = 1 << 16
"""Bytes that proxies may say until there is a connection."""


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


def dial(node: NodeSettings, device_for: DeviceFor, dead_after: float = DEAD_AFTER) -> AnyStream:
    """Connect to a hub through proxies and layers, within the node's `connect_timeout`.

    Host names are resolved anew; behind proxies the last one resolves the hub's name. `device_for` says for
    an IP address through which network device to send (stream_tcp.connect). A path on which nothing is
    acknowledged for `dead_after` seconds ends the stream. Raises OSError, ProtocolError.
    """
    late = OSError(110, f"no connection within {node.connect_timeout:g} s")
    with gevent.Timeout(node.connect_timeout, late):
        stream = Stream(*_connected(node, device_for), node.transport.tcp_keepalive, dead_after)
        try:
            return _over(stream, node)
        except BaseException:
            stream.close()
            raise


def _over(stream: Stream, node: NodeSettings) -> AnyStream:
    transport, top = node.transport, stream
    layered: AnyStream = top
    if transport.encrypted:
        settings = transport.tls
        try:
            made = context(settings, server=False)
        except HostError as error:  # a file that was there when we began
            raise OSError(22, str(error)) from None
        name = settings.server_name or node.host
        layered = _opened(layered, TlsCodec(made, False, name, settings.pin))
    if transport.kind in ("ws", "wss"):
        from lib.stream_websocket import WebSocketCodec

        host = transport.host or join_host_port(node.host, node.port)
        layered = _opened(layered, WebSocketCodec(transport.path, transport.headers, host))
    return layered


def _opened(below: AnyStream, codec: Any) -> Layered:
    layered = Layered(below, codec)
    layered.open()
    return layered


def _connected(node: NodeSettings, device_for: DeviceFor) -> tuple[Any, str]:
    """A connection to the hub, and the far address as people write it."""
    bounds = Bounds(node.connect_timeout, MAX_PROXY)
    if not node.proxies:
        sock = dial_within(node.host, node.port, bounds, device_for)
        return sock, format_peer(sock.getpeername())
    proxied = _through(node.proxies, node.host, node.port, _Direct(device_for, bounds))
    return proxied, join_host_port(node.host, node.port)


class _Direct:
    """The first connection of a chain of proxies, made our way."""

    def __init__(self, device_for: DeviceFor, bounds: Bounds) -> None:
        self._device_for, self._bounds = device_for, bounds

    def connect(self, dest_host: str, dest_port: int, timeout: float | None = None) -> Any:
        return dial_within(dest_host, dest_port, self._bounds, self._device_for, PROXY_PIECES)


def _through(proxies: tuple[ProxySettings, ...], host: str, port: int, direct: _Direct) -> socket.socket:
    """A connection to host:port through proxies, by python-socks."""
    from python_socks import ProxyConnectionError, ProxyError, ProxyTimeoutError, ProxyType
    from python_socks.sync import Proxy

    kinds = {"socks5": ProxyType.SOCKS5, "socks4": ProxyType.SOCKS4, "http": ProxyType.HTTP}
    way: Any = direct
    for proxy in proxies:
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
        sock: socket.socket = way.connect(host, port)
        return sock
    except (ProxyError, ProxyConnectionError, ProxyTimeoutError) as error:
        names = " and ".join(join_host_port(proxy.host, proxy.port) for proxy in proxies)
        raise OSError(111, f"proxy {names}: {error}") from None
