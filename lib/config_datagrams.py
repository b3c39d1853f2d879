"""Keys of a datagram channel (`channel`, `datagram`, `dscp`) of a hub, a client or a cluster, checked.

Knows: where a channel cannot be, and what is not safe although somebody asks for it.
Refuses to know: what goes by the channel (datagram_choice), how it works (datagram_peer).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lib import config_metadata
from lib.addresses import host_port, join_host_port
from lib.config_findings import Findings
from lib.config_metadata import where_of
from lib.config_schema import Handler
from lib.config_schema_cluster import ClusterLink
from lib.settings import NodeSettings
from lib.settings_transport import AUTO, DATAGRAM, STREAM, TransportSettings, has_datagrams


def of_hub(handler: Handler, transport: TransportSettings, found: Findings) -> tuple[str, str, bool]:
    """(channel, where clients send datagrams, dscp) of a hub whose listener has this transport."""
    channel = config_metadata.scalar(handler, ("channel",), _channel, AUTO, found)
    where = config_metadata.scalar(handler, ("datagram",), _where, "", found)
    dscp = config_metadata.switch(handler, "dscp", False, found)
    if channel == DATAGRAM and transport.reuse_port:
        text = "'channel: datagram' with 'reuseport': another process may get the datagrams of a session"
        found.error(where_of(handler, "channel"), text, "leave out one of the two")
    elif channel == DATAGRAM:
        _warn_in_the_clear(handler, transport, found)
    if not has_datagrams(channel, transport):
        for key in ("datagram",) * bool(where) + ("dscp",) * dscp:
            _refuse(handler, key, channel, transport, found)
    return channel, where, dscp


def of_client(handler: Handler, nodes: Sequence[NodeSettings], found: Findings) -> tuple[str, bool]:
    """(channel, dscp) of a client with these nodes."""
    channel = config_metadata.scalar(handler, ("channel",), _channel, AUTO, found)
    dscp = config_metadata.switch(handler, "dscp", False, found)
    clear = next((node.transport for node in nodes if not node.transport.encrypted), None)
    if channel == DATAGRAM and clear is not None:
        _warn_in_the_clear(handler, clear, found)
    if dscp and nodes and not any(node.has_datagrams(channel) for node in nodes):
        _refuse(handler, "dscp", channel, nodes[0].transport, found)
    return channel, dscp


def of_link(link: ClusterLink, found: Findings) -> tuple[str, str]:
    """(channel, where other hubs send datagrams) of a cluster's links, which are TLS always."""
    channel = _checked(link, "channel", _channel, STREAM, found)
    where = _checked(link, "datagram", _where, "", found)
    if where and channel == STREAM:
        text = "'datagram' has no effect: there are no datagrams with channel: stream"
        hint = "leave out one of the two" if link.channel else "write channel: auto, as stream is the default"
        found.error(link.where("datagram"), text, hint)
    return channel, where


def _checked(link: ClusterLink, key: str, read: Callable[[str], str], default: str, found: Findings) -> str:
    """The value of a key of a link, or its default where it is none, which is a problem."""
    text = getattr(link, key)
    try:
        return read(text) if text else default
    except ValueError as wrong:
        found.error(link.where(key), f"{key!r}: {wrong}")
        return default


def _warn_in_the_clear(handler: Handler, transport: TransportSettings, found: Findings) -> None:
    if not transport.encrypted:
        text = f"'channel: datagram' over {transport.kind}: datagrams have keys that go in the clear"
        hint = "whoever hears them can send packets from anywhere; write tls, or wss"
        found.warn(where_of(handler, "channel"), text, hint)


def _refuse(handler: Handler, key: str, channel: str, transport: TransportSettings, found: Findings) -> None:
    """Add a problem: a key that has no effect, because there are no datagrams."""
    text, hint = f"{key!r} has no effect: there are no datagrams", "write channel: datagram"
    if channel == STREAM:
        found.error(where_of(handler, key), f"{text} with channel: stream", "leave out one of the two")
    elif transport.reuse_port:
        found.error(where_of(handler, key), f"{text} with 'reuseport'", "leave out one of the two")
    elif not transport.encrypted:
        found.error(where_of(handler, key), f"{text} over {transport.kind}, which does not encrypt", hint)
    else:
        found.error(where_of(handler, key), f"{text} past a proxy, unless they are asked for", hint)


def _channel(text: str) -> str:
    if text.lower() not in (AUTO, STREAM, DATAGRAM):
        raise ValueError(f"{text[:64]!r} is not auto, stream or datagram")
    return text.lower()


def _where(text: str) -> str:
    host, port = host_port(text)
    if not port:
        raise ValueError("port 0 is none that a client could send to")
    return join_host_port(host, port)
