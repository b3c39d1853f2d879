"""Requests to the kernel over rtnetlink(7), by pyroute2: one at a time, and a refusal in the kernel's words.

Knows: how pyroute2 is opened beside gevent, and how it names an error.
Refuses to know: what is asked for (netlink, netlink_host_routes).

pyroute2 0.9 runs an asyncio loop inside each call, and under gevent other greenlets run while it
waits; a second loop in the same thread fails ("This event loop is already running"). So an IPRoute is
opened for each piece of work, under one lock. pyroute2 is imported on first use (234 ms, 10 MB).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any

from gevent.lock import RLock
from gevent.monkey import get_original

from lib.errors import HostError
from lib.settings import Interface, Network
from lib.stream_netns import here, made_here

_OriginalSocket = get_original("socket", "socket")
_AF_INET = 2
_AF_INET6 = 10

_lock = RLock()


@contextmanager
def opened(strict: bool = False) -> Iterator[Any]:
    """A new IPRoute, the only one in the process meanwhile (see the top). Raises HostError.

    It is in the namespace of the caller (stream_netns.inside). With `strict` the kernel itself leaves out of
    a list what was not asked for: it may have a million routes.
    """
    with _lock:
        from pyroute2 import IPRoute

        try:
            ip = IPRoute(ext_ack=True, strict_check=strict, fileno=made_here(_socket) if here() else None)
        except OSError as refused:
            raise HostError(f"netlink: {os.strerror(refused.errno or 0)}") from None
        with ip:
            yield ip


def _socket() -> int:
    """A socket of rtnetlink, for pyroute2 to take over: it stays in the namespace in which it was made."""
    descriptor: int = _OriginalSocket(socket.AF_NETLINK, socket.SOCK_DGRAM, socket.NETLINK_ROUTE).detach()
    return descriptor


def refusal() -> Any:
    """The exception class of a refusal by the kernel, imported on first use as the rest of pyroute2."""
    from pyroute2.netlink.exceptions import NetlinkError

    return NetlinkError


def ask(what: str, call: Any, *arguments: Any, ignore: tuple[int, ...] = (), **fields: Any) -> None:
    """Make one request; a refusal becomes a HostError about `what`, unless its code is to ignore."""
    try:
        call(*arguments, **fields)
    except refusal() as refused:
        if refused.code not in ignore:
            raise HostError(f"{what}: {reason(refused)}") from None


def reason(refused: Any) -> str:
    """The kernel's error text (extended ack) where it gave one, else the errno's."""
    return str(refused.args[1]).rstrip(".")


def link_index(ip: Any, name: str) -> int:
    """The number of a device. Raises HostError where there is none of this name."""
    found = ip.link_lookup(ifname=name)
    if not found:
        raise HostError(f"{name}: there is no such device (any more)")
    index: int = found[0]
    return index


def link_name(ip: Any, index: int) -> str:
    """The name of the device with this number."""
    name: str = ip.get_links(index)[0].get_attr("IFLA_IFNAME")
    return name


def family(address: Interface | Network | str) -> int:
    """The address family (AF_INET, AF_INET6) of an address or a prefix."""
    version = ip_address(address).version if isinstance(address, str) else address.version
    return _AF_INET if version == 4 else _AF_INET6
