"""Listening socket of a hub: opened by its settings, and opened anew by a reload.

Knows: which options it has, and in which order the old one and the new one are there.
Refuses to know: what is done with a connection (hub), how connections are accepted (hub_accept).
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from gevent.pool import Pool

from lib import stream_moulds, stream_options
from lib.hub_accept import ALL, Server
from lib.settings import HubSettings
from lib.stream_listen import listen

Serve = Callable[[Any, Any], None]
"""Called with each connection and what Greet has returned for it."""
Greet = Callable[[Any, Any], Any]
"""Called with each connection and its address (hub_accept.Server.greet)."""
Listen = Callable[[HubSettings, Greet, Serve, Pool, Callable[[], bool]], Any]
"""opened(), or what gives a server whose connections another process accepts."""


def opened(
    settings: HubSettings,
    greet: Greet,
    serve: Serve,
    clients: Pool,
    make_room: Callable[[], bool],
    shared: bool = False,
    kind: type[Server] = Server,
) -> Server:
    """A server that listens, and accepts nothing before start(). Raises HostError.

    `make_room` is called where descriptors have run out (hub_accept.Sparing). `kind` is the server's class.
    `shared`: another socket of ours listens there for a moment longer, with SO_REUSEPORT.
    """
    transport, name = settings.transport, settings.name
    reuse = transport.reuse_port or shared
    sock = listen(
        *(settings.host, settings.port, reuse, transport.mptcp, settings.netns),
        make=partial(stream_moulds.cast, transport.congestion),
    )
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(transport.reuse_port))
    stream_options.use_congestion(sock, transport.congestion, name)
    if transport.mptcp and not stream_options.is_mptcp(sock):
        stream_options.tell_no_mptcp(name)
    server = kind(sock, serve, clients, name, f"service {name}", ALL)
    server.make_room, server.greet = make_room, greet
    return server


def reopened(
    server: Server, old: HubSettings, new: HubSettings, serve: Serve, clients: Pool
) -> Server | None:
    """A server for other settings, while `server` still listens; None where that one serves them as well.

    A socket cannot become one of MPTCP, nor be one no more, so both listen at the same address for a moment:
    nobody who connects meanwhile is turned away. Raises HostError; then nothing has changed.
    """
    stays = (new.host, new.port, new.netns) == (old.host, old.port, old.netns)
    if stays and new.transport.mptcp == old.transport.mptcp:
        return None
    if stays:
        server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        port = server.socket.getsockname()[1] if stays else new.port  # 0 in the settings is any
        port_only = replace(new, port=port)
        return opened(port_only, server.greet, serve, clients, server.make_room, shared=stays)
    finally:
        server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(old.transport.reuse_port))
