"""Dialling a hub: a stream to it that does not go through the tunnel itself, and the relay handshake.

Knows: what a client asks a hub for, and that its own routes must not cover the way to the hub.
Refuses to know: which node is tried when (client), proxies and layers on the way (stream_open).
"""

from __future__ import annotations

import errno
import math
from ipaddress import ip_address

from lib import netlink, session_handshake
from lib.errors import ProtocolError
from lib.session_mismatch import RELAY, at_client
from lib.settings import ClientSettings, NodeSettings
from lib.stream_bounded import Bounds, failing_as
from lib.stream_deadline import within
from lib.stream_layer import AnyStream
from lib.stream_open import dial, handshake, not_useful
from lib.wire_relay import Request, Response, Status

MAX_PROXY = 1 << 16
"""Bytes that proxies may say until there is a connection."""


TEMPORARY = frozenset({Status.TIMEOUT, Status.SERVICE_UNAVAILABLE, Status.INTERNAL_ERROR})
"""Statuses that say nothing about this client: who decides cannot be asked, or a table is not loaded yet."""


class Refused(ProtocolError):
    """The hub's response has a status other than OK."""

    def __init__(self, status: int) -> None:
        self.temporary = status in TEMPORARY
        """Whether the same request may soon be granted."""
        known = status in Status.__members__.values()
        super().__init__(
            f"refused: {Status(status).name.lower().replace('_', ' ') if known else f'status {status}'}"
        )


def let_in(settings: ClientSettings, node: NodeSettings, device: str) -> tuple[AnyStream, Response, bytes]:
    """Dial a node and do the handshake; returns (stream, response, bytes that came after the response).

    The node's `connect_timeout` is one deadline for the look-up, TCP, proxies, layers and the handshake.
    `device` is the name of the client's TUN device. Raises OSError; ProtocolError where the hub breaks the
    protocol; Refused where it does not admit us.
    """
    bounds = Bounds(math.inf, MAX_PROXY)  # the one deadline is here
    with (
        within(node.connect_timeout, lambda: _late(bounds, node)),
        failing_as(OSError, OSError, ProtocolError),
    ):
        try:
            return _let_in(settings, node, device, bounds)
        except ProtocolError as error:
            if not error.layer:
                raise
            raise ProtocolError(at_client(node.transport.kind, error), error.refusal) from None


def _late(bounds: Bounds, node: NodeSettings) -> OSError:
    """The error at the deadline, which says what was waited for."""
    what = f": {bounds.waits_for}" if bounds.waits_for else ""
    return OSError(errno.ETIMEDOUT, f"no connection within {node.connect_timeout:g} s{what}")


def _let_in(
    settings: ClientSettings, node: NodeSettings, device: str, bounds: Bounds
) -> tuple[AnyStream, Response, bytes]:
    def device_for(address: str) -> str | None:
        return _way_out(settings, device, address)

    stream = dial(node, device_for, bounds, settings.keepalive_timeout)
    try:
        with handshake(RELAY, node, stream.peer, bounds):
            response, rest = session_handshake.ask(stream, _request(settings, node))
    except BaseException:
        stream.close()
        not_useful(node)
        raise
    if response.status != Status.OK:
        stream.close()
        raise Refused(response.status)
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
