"""Dialling a hub: a stream to it, and the relay handshake.

Knows: what a client asks a hub for.
Refuses to know: which node is tried when (client_reconnect), how a client's own tunnel is avoided
(client_around), proxies and layers on the way (stream_open).
"""

from __future__ import annotations

import errno
import math

from lib import session_handshake
from lib.client_around import Around
from lib.errors import ProtocolError
from lib.session_mismatch import RELAY, at_client
from lib.settings import ClientSettings, NodeSettings
from lib.stream_bounded import Bounds, failing_as
from lib.stream_deadline import within
from lib.stream_layer import AnyStream
from lib.stream_open import dial, handshake, not_useful
from lib.stream_proxy import ProxyFailed
from lib.wire_relay import ASSOCIATE, JOIN, Request, Response, Status

MAX_PROXY = 1 << 16
"""Bytes that proxies may say until there is a connection."""


TEMPORARY = frozenset({Status.TIMEOUT, Status.SERVICE_UNAVAILABLE, Status.INTERNAL_ERROR})
"""Statuses that say nothing about this client: who decides cannot be asked, or a table is not loaded yet."""


_MEANINGS: dict[int, str] = {
    Status.BAD_REQUEST: "the hub does not understand this client",
    Status.UNAUTHORIZED: "the hub wants a login, and this one is wrong, missing, or revoked",
    Status.FORBIDDEN: "the login or certificate is not for this host name or namespace, or the name is taken",
    Status.SERVICE_UNAVAILABLE: "the hub ends, or cannot ask who decides about clients",
    Status.HOST_UNREACHABLE: "the hub's ingress does not let this host name into this namespace",
}
"""What a status means when a hub sends it (PROTOCOL.md); the names alone mislead."""


class Refused(ProtocolError):
    """The hub's response has a status other than OK."""

    def __init__(self, status: int, as_lane: bool = False) -> None:
        """`as_lane`: the request was to join a session."""
        self.temporary = status in TEMPORARY
        """Whether the same request may soon be granted."""
        known = status in Status.__members__.values()
        name = Status(status).name.lower().replace("_", " ") if known else f"status {status}"
        gone = as_lane and status == Status.NETWORK_UNREACHABLE
        meaning = "the session that this lane is for is not there" if gone else _MEANINGS.get(status)
        super().__init__(f"refused: {name}: {meaning}" if meaning else f"refused: {name}")


def let_in(
    settings: ClientSettings, node: NodeSettings, around: Around, token: bytes = b""
) -> tuple[AnyStream, Response, bytes]:
    """Dial a node and do the handshake; returns (stream, response, bytes that came after the response).

    The node's `connect_timeout` is one deadline for the look-up, TCP, proxies, layers and the handshake.
    With a token (16 bytes) the connection is to join the session that the token is of, as a lane.
    Raises OSError; ProtocolError where the hub breaks the protocol; Refused where it does not admit us.
    """
    bounds = Bounds(math.inf, MAX_PROXY)  # the one deadline is here
    bounds.turn = min(bounds.turn, node.connect_timeout / (1 + len(node.first.dial.others)))
    with (
        within(node.connect_timeout, lambda: _late(bounds, node)),
        failing_as(OSError, OSError, ProtocolError),
    ):
        try:
            return _let_in(settings, node, around, bounds, token)
        except ProtocolError as error:
            if not error.layer:
                raise
            raise ProtocolError(at_client(node.transport.kind, error), error.refusal) from None


def _late(bounds: Bounds, node: NodeSettings) -> OSError:
    """The error at the deadline, which says what was waited for."""
    what = f": {bounds.waits_for}" if bounds.waits_for else ""
    text = f"no connection within {node.connect_timeout:g} s{what}"
    if bounds.hop < len(node.proxies):
        return ProxyFailed(errno.ETIMEDOUT, text, bounds.hop)
    return OSError(errno.ETIMEDOUT, text)


def hop_of(error: Exception) -> int:
    """The number of the hop whose node has failed; -1 for the last one, the hub's."""
    return error.hop if isinstance(error, ProxyFailed) else -1


def _let_in(
    settings: ClientSettings, node: NodeSettings, around: Around, bounds: Bounds, token: bytes
) -> tuple[AnyStream, Response, bytes]:
    with around.dialling_again(node) if token else around.dialling(node) as dialling:
        stream = dial(node, dialling, bounds, settings.keepalive_timeout, settings.name)
    try:
        with handshake(RELAY, node, stream.peer, bounds):
            response, rest = session_handshake.ask(stream, _request(settings, node, token))
    except BaseException:
        stream.close()
        not_useful(node)
        raise
    if response.status != Status.OK:
        stream.close()
        raise Refused(response.status, bool(token))
    return stream, response, rest


def _request(settings: ClientSettings, node: NodeSettings, token: bytes) -> Request:
    addresses = settings.device.addresses
    source = str(addresses[0].ip) if addresses else ""
    login = (node.username, node.password) if node.username or node.password else None
    command = JOIN if token else ASSOCIATE
    return Request(settings.host, source, node.namespace, login, command, token)
