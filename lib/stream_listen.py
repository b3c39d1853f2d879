"""Listening TCP sockets: bound to an address, and what to do where a port cannot be opened.

Knows: the addresses of "every address", the errors of bind(2) that people meet.
Refuses to know: how connections are accepted (hub_accept).
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import Any

from gevent import socket as gsocket

from lib.addresses import join_host_port
from lib.errors import HostError
from lib.stream_netns import made_in
from lib.stream_options import made
from lib.stream_resolve import check_device

_BACKLOG = 65535
"""Connections that may wait to be accepted. The kernel takes net.core.somaxconn where that is less: as a rule
4,096. All clients of a hub come back at the same moment, and who finds no room tries again a second later."""
Make = Callable[[int], Any]
"""Makes a socket of a family (AF_INET, AF_INET6) in another way; None for the usual one."""


def listen(
    host: str,
    port: int,
    reuse_port: bool = False,
    mptcp: bool = False,
    netns: str = "",
    make: Make | None = None,
) -> Any:
    """A listening socket, as bind() gives it. Raises HostError."""
    try:
        sock = bind(host, port, reuse_port, mptcp, netns, make)
        sock.listen(_BACKLOG)
        return sock
    except OSError as error:
        remedy = listen_remedy(error.errno, port)
        what = f"cannot listen on {join_host_port(host, port)}: {error.strerror or error}"
        raise HostError(f"{what}; {remedy}" if remedy else what) from error


def bind(
    host: str,
    port: int,
    reuse_port: bool = False,
    mptcp: bool = False,
    netns: str = "",
    make: Make | None = None,
) -> Any:
    """A bound socket; an empty host means every address, IPv4 and IPv6. Raises OSError.

    A host may be a link-local address with its device: `fe80::1%eth0`. With `mptcp` it is a socket of MPTCP
    where the kernel has that, and such a one takes connections of plain TCP too. It is in the network
    namespace `netns`, where that is not empty. `make` may have one of plain TCP already, by its family.
    """
    check_device(host)
    infos = gsocket.getaddrinfo(host or None, port, 0, socket.SOCK_STREAM, 0, socket.AI_PASSIVE)
    dual = not host and socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else infos[0][0]
    sock = make(family) if make is not None and not mptcp and not netns else None
    sock = sock or made_in(
        netns, lambda: made(lambda protocol: gsocket.socket(family, socket.SOCK_STREAM, protocol), 0, mptcp)
    )
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(reuse_port))
    if dual:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind(("::", port) if dual else infos[0][4])
    return sock


def listen_remedy(number: int | None, port: int, udp: bool = False) -> str:
    """What to do where a port of TCP or UDP cannot be opened, by the errno; "" for what nobody can guess."""
    if number in (errno.EACCES, errno.EPERM) and port < 1024:
        return (
            "ports below 1024 need root or the capability CAP_NET_BIND_SERVICE: write "
            "AmbientCapabilities=CAP_NET_BIND_SERVICE in the systemd unit, or run "
            f"`sysctl net.ipv4.ip_unprivileged_port_start={port}`"
        )
    if number == errno.EADDRINUSE:
        return f"another program listens there: `ss -l{'u' if udp else 't'}np sport = :{port}` shows which"
    if number == errno.EADDRNOTAVAIL:
        return "this host has no such address: `ip address` shows those that it has"
    return ""
