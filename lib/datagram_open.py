"""UDP sockets opened: a hub's beside its listener, one for one address beside that, a client's.

Knows: which sockets may have one port, which namespace, interface and address each is bound to.
Refuses to know: how datagrams are received and sent (datagram_socket), who has which socket (datagram_port).
"""

from __future__ import annotations

import errno
import os
import resource
import socket
from contextlib import suppress
from typing import Any

from gevent import monkey

from lib import stream_interface, stream_resolve
from lib.datagram_socket import IP_PKTINFO, RXQ_OVFL, Address, DatagramSocket
from lib.settings_dial import PLAIN_DIAL, DialSettings
from lib.stream_netns import made_in

REUSE = socket.SOL_SOCKET, socket.SO_REUSEPORT, 1
"""By which two sockets of one user may have one port (DatagramSocket.give_to). With SO_REUSEADDR anybody on
this host could bind to it too, and get what is for new sessions."""
_IPV6_RECVPKTINFO = 49  # linux/in6.h
_OriginalSocket = monkey.get_original("socket", "socket")


def beside(listener: Any, netns: str = "") -> DatagramSocket:
    """A hub's socket, on the address and port of its stream listener, in the network namespace of that.

    Raises OSError: the port is busy.
    """
    sock = made_in(netns, lambda: _OriginalSocket(listener.family, socket.SOCK_DGRAM))
    try:
        be_as(sock, listener)
        sock.bind(listener.getsockname())
        sock.setsockopt(*REUSE)  # only now: where the port is busy, that is an error
        return DatagramSocket(sock)
    except BaseException:
        sock.close()
        raise


def connected(
    port: DatagramSocket,
    address: Address,
    receive_buffer: int,
    netns: str = "",
    name: tuple[Any, ...] | None = None,
) -> DatagramSocket:
    """A socket beside a hub's that gets all that comes to this port from one address.

    It is bound to `name`, or else to the address that was asked. What comes to it between bind(2) and
    connect(2) may be of others. Raises OSError: half of the descriptors are in use, or a port below 1024 is
    not ours any more.
    """
    shared = port.sock
    sock = made_in(netns, lambda: _OriginalSocket(shared.family, socket.SOCK_DGRAM))
    try:
        if sock.fileno() > resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2:  # the lowest one that is free
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        be_as(sock, shared)
        sock.setsockopt(*REUSE)
        sock.setsockopt(socket.SOL_SOCKET, RXQ_OVFL, 1)
        made = DatagramSocket(sock, receive_buffer=receive_buffer)
        sock.bind(name or address.near_name(shared.getsockname()))
        sock.connect(address.far)
        return made
    except BaseException:
        sock.close()
        raise


def be_as(sock: Any, other: Any) -> None:
    """Give a hub's socket the options of another one of its port, and let it tell by which address of ours a
    datagram came."""
    options = [(socket.SOL_SOCKET, socket.SO_REUSEPORT)]
    if other.family == socket.AF_INET6:
        options.append((socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))
    for level, option in options:
        sock.setsockopt(level, option, other.getsockopt(level, option))
    if other.family == socket.AF_INET6:  # of IPv4 too, whose addresses are mapped
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)


def bound(host: str, port: int, netns: str = "") -> DatagramSocket:
    """A hub's entrypoint on an address and port; an empty host means every address, IPv4 and IPv6.

    Raises OSError.
    """
    ((family, _, _, _, target),) = stream_resolve.numeric(host or "::", port)
    sock = made_in(netns, lambda: _OriginalSocket(family, socket.SOCK_DGRAM))
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(bool(host)))
        sock.bind(target)
        return DatagramSocket(sock, fragments=True)
    except BaseException:
        sock.close()
        raise


def shared(descriptor: int) -> DatagramSocket:
    """The socket of an entrypoint that another process has opened with bound(), by a descriptor of ours."""
    return DatagramSocket(_OriginalSocket(fileno=descriptor), fragments=True, receive_buffer=None)


def toward(
    host: str, port: int, device: str | None = None, how: DialSettings = PLAIN_DIAL
) -> tuple[DatagramSocket, Address]:
    """A client's socket, and the address to send to: an IP address (`fe80::1%eth0` too) and a port.

    `device` is the one to bind to (client_around); `how` has the settings of the node, which go first. The
    socket is not connected: the kernel looks for a way each time, so it goes on when that changes. Raises
    OSError.
    """
    ((family, _, _, _, target),) = stream_resolve.numeric(host, port)
    sock = made_in(how.netns, lambda: _OriginalSocket(family, socket.SOCK_DGRAM))
    try:
        stream_interface.bind(sock, how, device)
        return DatagramSocket(sock), Address(target)
    except BaseException:
        with suppress(OSError):
            sock.close()
        raise
