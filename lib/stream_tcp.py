"""Byte streams to peers: dialling, listening, reading and writing without ever blocking the rest.

Knows: TCP sockets and their options; gevent's way of waiting for them.
Refuses to know: what the bytes mean.

A Stream keeps one watcher a direction. Reading always waits for the event loop first: one
receive for one readiness is the fairness between sessions, for gevent's own recv does not give
way while data is there. Writing never waits; who wants to wait asks for it.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

import gevent
from gevent import monkey
from gevent import socket as gsocket

from lib.auth_admission import NO_CERTIFICATE, Certificate
from lib.errors import HostError

Buffer = bytes | bytearray | memoryview

NOTSENT_LOWAT = 1 << 18
"""Unsent bytes the kernel holds per session: more would be a queue we can neither see nor bound."""
DEAD_AFTER = 15.0
"""Seconds of silence after which a path is dead (GOST never notices)."""
Keepalive = tuple[int, int, int]
"""TCP's own: seconds of silence before the first probe, seconds between probes, probes without answer."""
_KEEPALIVE_OPTIONS = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)

_TCP_NOTSENT_LOWAT = 25  # linux/tcp.h
_BACKLOG = 1024
_OriginalSocket = monkey.get_original("socket", "socket")


class Stream:
    """A connected, non-blocking byte stream."""

    __slots__ = ("_hub", "_readable", "_receive", "_sock", "_writable", "peer")

    def __init__(
        self, sock: Any, peer: str, keepalive: Keepalive | None = None, dead_after: float = DEAD_AFTER
    ) -> None:
        """Take over a connected socket; peer is its far address as people write it.

        A path on which nothing is acknowledged for `dead_after` seconds ends it, idle or busy, unless
        `keepalive` says otherwise for an idle one.
        """
        self._sock = _OriginalSocket(sock.family, sock.type, sock.proto, fileno=sock.detach())
        self._sock.setblocking(False)
        self.peer = peer
        _tune(self._sock, keepalive, dead_after)
        self._receive = self._sock.recv_into
        self._hub = gevent.get_hub()
        self._readable = self._hub.loop.io(self._sock.fileno(), 1)
        self._writable = self._hub.loop.io(self._sock.fileno(), 2)

    def receive_into(self, view: memoryview) -> int:
        """Wait for bytes and put them into view; returns how many, 0 when the peer has closed."""
        while True:
            self._hub.wait(self._readable)
            try:
                size: int = self._receive(view)
                return size
            except (BlockingIOError, InterruptedError):
                continue

    @property
    def pending(self) -> int:
        """Bytes taken that are not yet the kernel's: none, ever."""
        return 0

    @property
    def certificate(self) -> Certificate:
        """TCP knows of none."""
        return NO_CERTIFICATE

    pongs = 0  # of pings there are none

    def ping(self) -> bool:
        """TCP's own keepalive is all it has."""
        return False

    def try_send(self, buffers: Sequence[Buffer]) -> int:
        """Send what the kernel takes now; returns how many bytes that was."""
        if not buffers:
            return 0
        try:
            sent: int
            if len(buffers) == 1:
                sent = self._sock.send(buffers[0])
            else:
                sent = self._sock.sendmsg(buffers[:_IOV_MAX])
            return sent
        except (BlockingIOError, InterruptedError):
            return 0

    def hold_unread(self, size: int) -> None:
        """Let the kernel hold about so many bytes that we have not read yet.

        The window opens again when a sixteenth of what there is room for has been read: with much room and
        little reading it stays shut for longer than the far end's patience (TCP_USER_TIMEOUT).
        """
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)

    def hold_unsent(self, size: int) -> None:
        """Let the kernel hold so many bytes at most that it has not sent yet."""
        self._sock.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, size)

    def wait_writable(self) -> None:
        """Wait until the kernel takes more."""
        self._hub.wait(self._writable)

    def send_all(self, data: bytes) -> None:
        """Send everything, waiting where needed (handshakes only: sessions have a queue)."""
        view = memoryview(data)
        while view:
            sent = self.try_send([view])
            if not sent:
                self.wait_writable()
            view = view[sent:]

    def shutdown(self) -> None:
        """End both directions: whoever reads sees the end and cleans up."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it was not connected any more

    def close(self) -> None:
        """Give up the socket; only for the greenlet that reads."""
        self._readable.close()
        self._writable.close()
        self._sock.close()


_IOV_MAX = 1024


def _tune(sock: Any, keepalive: Keepalive | None, dead_after: float) -> None:
    third = max(1, int(dead_after / 3))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, NOTSENT_LOWAT)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(dead_after * 1000))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in zip(_KEEPALIVE_OPTIONS, keepalive or (third, third, 2), strict=True):
        sock.setsockopt(socket.IPPROTO_TCP, option, value)


def listen(host: str, port: int, reuse_port: bool = False) -> Any:
    """A listening socket; an empty host is every address, IPv4 and IPv6. Raises HostError."""
    try:
        infos = gsocket.getaddrinfo(host or None, port, 0, socket.SOCK_STREAM, 0, socket.AI_PASSIVE)
        dual = not host and socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if dual else infos[0][0]
        address = ("::", port) if dual else infos[0][4]
        sock = gsocket.socket(family, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if dual:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(address)
        sock.listen(_BACKLOG)
        return sock
    except OSError as error:
        raise HostError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error


def format_peer(address: Any) -> str:
    """A socket address as people write it: 192.0.2.1:8443, [2001:db8::1]:8443."""
    host = address[0].removeprefix("::ffff:") if "." in address[0] else address[0]
    return f"[{host}]:{address[1]}" if ":" in host else f"{host}:{address[1]}"
