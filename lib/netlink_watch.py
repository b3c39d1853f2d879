"""Notifications and look-ups over rtnetlink(7): when the kernel's network settings change, and what they are.

Knows: netlink sockets, multicast groups, dumps, what an overflow (ENOBUFS) means.
Refuses to know: what a message says (netlink_messages), what is wanted (netlink_plan), changes (netlink).
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator, Sequence

from gevent import socket

from lib import netlink_messages
from lib.errors import HostError
from lib.netlink_messages import Address, Message, Route, TunState
from lib.netlink_plan import Seen
from lib.service_scheduling import breathe
from lib.stream_netns import made_here

# linux/netlink.h, linux/rtnetlink.h
_SOL_NETLINK = 270
_NETLINK_GET_STRICT_CHK = 12
_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400 | 0x800
"""RTMGRP_LINK, and for IPv4 and IPv6 RTMGRP_…_IFADDR and _ROUTE; RTMGRP_IPV6_IFINFO, without which nothing
says that IPv6 was switched on again for a device.
"""

_RECEIVE = 1 << 16
_SECONDS = 5.0
"""The kernel replies at once; this is only so that nothing waits for ever."""
_TRIES = 3
"""Times that a dump is begun again because something has changed meanwhile."""
_NOTHING_THERE = frozenset({errno.ENODEV, errno.ENOENT, errno.EAFNOSUPPORT, errno.EOPNOTSUPP})


class Watch:
    """A subscription to changes of devices, addresses and routes."""

    def __init__(self) -> None:
        """Subscribe. Raises OSError."""
        self._socket = _open(_GROUPS)

    def close(self) -> None:
        """End the subscription."""
        self._socket.close()

    def wait(self, concerns: Callable[[Message], bool], seconds: float) -> bool:
        """Wait for a notification that concerns us; False where none has come in so many seconds.

        An overflow counts as one: what was lost may have concerned us.
        """
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                data = self._socket.recv(_RECEIVE)
            except TimeoutError:
                break
            except OSError as lost:
                if lost.errno == errno.ENOBUFS:
                    return True
                raise
            if any(map(concerns, netlink_messages.messages(data))):
                return True
            breathe()  # gevent's recv does not give way while there are notifications
        return False

    def drain(self) -> None:
        """Forget the notifications up to now: whoever looks afterwards sees what they are about."""
        self._socket.settimeout(0)
        while True:
            try:
                self._socket.recv(_RECEIVE)
            except BlockingIOError:
                return
            except OSError as lost:
                if lost.errno != errno.ENOBUFS:
                    raise


def index_of(name: str) -> int:
    """The number of a device, which stays when the device is renamed. Raises HostError."""
    try:
        index: int = made_here(lambda: socket.if_nametoindex(name))
    except OSError:
        raise HostError(f"{name}: there is no such device (any more)") from None
    return index


def look(index: int) -> Seen:
    """What the kernel has of a device: its state, addresses and routes. Raises HostError.

    A device with thousands of routes takes some ms.
    """
    try:
        return _look(index)
    except OSError as error:
        raise HostError(f"netlink: the device cannot be looked at: {error.strerror or error}") from None


def look_addresses(index: int) -> Seen:
    """The state and the addresses of a device, without its routes. Raises HostError."""
    try:
        return _look(index, with_routes=False)
    except OSError as error:
        raise HostError(f"netlink: the device cannot be looked at: {error.strerror or error}") from None


def tun_state(index: int) -> TunState | None:
    """The state of a TUN device; None where the device is none. Raises HostError."""
    try:
        with _open(0) as sock:
            sock.settimeout(_SECONDS)
            found = _ask(sock, netlink_messages.ask_link(index, 5), netlink_messages.NEWLINK)
    except OSError as error:
        raise HostError(f"netlink: the device cannot be looked at: {error.strerror or error}") from None
    return netlink_messages.tun_state(found[0]) if found else None


def input_route(index: int, source: bytes, destination: bytes) -> tuple[int, bool]:
    """The kernel's route for a packet that comes in from a device; the addresses are packed.

    Returns (errno of the look-up, 0 for a route; whether that leads to the host itself). Raises OSError.
    """
    with _open(0) as sock:
        sock.settimeout(_SECONDS)
        sock.send(netlink_messages.ask_input(index, source, destination, 4))
        (message, *_) = netlink_messages.messages(sock.recv(_RECEIVE))
    if message.type == netlink_messages.ERROR:
        return netlink_messages.error(message), False
    return 0, netlink_messages.is_local(message.body)


def remove_together(indices: Sequence[int], group: int) -> int:
    """Remove devices by their numbers, as members of a group that nobody else has; returns the errno or 0.

    The kernel waits some 15 ms whenever a device goes, and only once for all devices of a group. One that has
    gone already does not come into the group, which is no error. Raises OSError.
    """
    with _open(0) as sock:
        sock.settimeout(_SECONDS)
        sock.send(b"".join(netlink_messages.put_in_group(index, group, 1) for index in indices))
        sock.send(netlink_messages.remove_group(group, 2))
        while True:
            for message in netlink_messages.messages(sock.recv(_RECEIVE)):
                if message.sequence == 2:
                    return netlink_messages.error(message)


def _look(index: int, with_routes: bool = True) -> Seen:
    with _open(0) as sock:
        # With strict checks the kernel sorts out what belongs to the device (Linux 4.20); we look again.
        sock.setsockopt(_SOL_NETLINK, _NETLINK_GET_STRICT_CHK, 1)
        sock.settimeout(_SECONDS)
        found = list(_ask(sock, netlink_messages.ask_link(index, 1), netlink_messages.NEWLINK))
        link = netlink_messages.link(found[0]) if found else None
        if link is None:
            return Seen(None)
        routes = frozenset(_routes(sock, index)) if with_routes else frozenset()
        return Seen(link, frozenset(_addresses(sock, index)), routes)


def _addresses(sock: socket.socket, index: int) -> Iterator[Address]:
    for body in _ask(sock, netlink_messages.ask_addresses(index, 2), netlink_messages.NEWADDR):
        address = netlink_messages.address(body)
        if address is not None and address.device == index:
            yield address


def _routes(sock: socket.socket, index: int) -> Iterator[Route]:
    for family in (netlink_messages.INET, netlink_messages.INET6):
        for body in _ask(sock, netlink_messages.ask_routes(family, index, 3), netlink_messages.NEWROUTE):
            yield from (route for route in netlink_messages.routes(body) if route.device == index)


def _ask(sock: socket.socket, request: bytes, wanted: int) -> list[bytes]:
    """The bodies of the messages of one type in the reply; none where there is no such device or family."""
    for _ in range(_TRIES):
        sock.send(request)
        found, whole = _reply(sock, wanted)
        if whole:
            break
    return found


def _reply(sock: socket.socket, wanted: int) -> tuple[list[bytes], bool]:
    """Read a reply to its end; returns (bodies, whether nothing has changed meanwhile)."""
    found: list[bytes] = []
    whole = True
    while True:
        for message in netlink_messages.messages(sock.recv(_RECEIVE)):
            whole = whole and not message.flags & netlink_messages.DUMP_INTERRUPTED
            if message.type == wanted:
                found.append(message.body)
                if not message.flags & netlink_messages.PART:
                    return found, whole
            elif message.type in (netlink_messages.DONE, netlink_messages.ERROR):
                code = netlink_messages.error(message)
                if code and code not in _NOTHING_THERE:
                    raise OSError(code, "netlink")
                return found, whole


def _open(groups: int) -> socket.socket:
    """A socket in the caller's stream_netns.inside. Raises OSError."""
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    sock = made_here(lambda: socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE))
    try:
        sock.bind((0, groups))
    except BaseException:
        sock.close()
        raise
    return sock
