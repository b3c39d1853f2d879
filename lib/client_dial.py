"""Dialling a hub: a stream to it that does not go through the tunnel itself, and the relay handshake.

Knows: what a client asks a hub for, and that its own routes must not cover the way to the hub.
Refuses to know: which node is tried when (client), proxies and layers on the way (stream_open).
"""

from __future__ import annotations

from ipaddress import ip_address

from lib import netlink, session_handshake
from lib.errors import ProtocolError
from lib.settings import ClientSettings, NodeSettings
from lib.stream_bounded import failing_as
from lib.stream_layer import AnyStream
from lib.stream_open import dial
from lib.wire_relay import Request, Response, Status


class Refused(ProtocolError):
    """The hub's response has a status other than OK."""


def let_in(settings: ClientSettings, node: NodeSettings, device: str) -> tuple[AnyStream, Response, bytes]:
    """Dial a node and do the handshake; returns (stream, response, bytes that came after the response).

    `device` is the name of the client's TUN device. Raises OSError; ProtocolError where the hub breaks the
    protocol; Refused where it does not admit us.
    """
    with failing_as(OSError, OSError, ProtocolError):
        return _let_in(settings, node, device)


def _let_in(settings: ClientSettings, node: NodeSettings, device: str) -> tuple[AnyStream, Response, bytes]:
    stream = dial(node, lambda address: _way_out(settings, device, address), settings.keepalive_timeout)
    try:
        response, rest = session_handshake.ask(stream, _request(settings, node), node.connect_timeout)
        if response.status != Status.OK:
            raise Refused(_refusal(response.status))
    except BaseException:
        stream.close()
        raise
    return stream, response, rest


def _way_out(settings: ClientSettings, device: str, address: str) -> str | None:
    """The network device to reach a hub through, where our own routes lead into the tunnel; else None."""
    hub = ip_address(address.partition("%")[0])
    networks = [prefix for prefix, _ in settings.device.routes] + [
        own.network for own in settings.device.addresses
    ]
    if not any(hub in network for network in networks):
        return None
    return netlink.way_around(address, device)


def _request(settings: ClientSettings, node: NodeSettings) -> Request:
    addresses = settings.device.addresses
    source = str(addresses[0].ip) if addresses else ""
    login = (node.username, node.password) if node.username or node.password else None
    return Request(settings.host, source, node.namespace, login)


def _refusal(status: int) -> str:
    known = status in Status.__members__.values()
    return f"refused: {Status(status).name.lower().replace('_', ' ') if known else f'status {status}'}"
