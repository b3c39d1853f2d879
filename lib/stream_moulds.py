"""Sockets with a congestion control that this process may not choose any more (`user:`).

Knows: that an accepted socket has the congestion control of the one that listens, and that the kernel lets it
be bound elsewhere once it is disconnected (connect(2), AF_UNSPEC).
Refuses to know: who wants it and where it will listen (stream_listen, hub_listen).

A process makes moulds while it may choose: a socket for each congestion control and version of IP, which is
bound to nothing. Later a mould listens on loopback for a moment, accepts a connection of our own, and that
socket, disconnected, is the cast. So a hub can have as many new listeners as reloads want, without a right.
"""

from __future__ import annotations

import ctypes
import socket
from collections.abc import Iterable
from typing import Any

from gevent import socket as gsocket

from lib import stream_options

SECONDS = 1.0
"""How long a connection over loopback may take."""
STRANGERS = 16
"""Connections of others that a mould may get in that moment."""
_LOOPBACK: dict[int, str] = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
_UNSPECIFIED = bytes(16)
"""A socket address of the family AF_UNSPEC."""
_moulds: dict[tuple[str, int], Any] = {}
"""(congestion control, version of IP) -> a socket that has it."""


def keep(names: Iterable[str]) -> None:
    """Make moulds of these congestion controls, as far as we may choose them."""
    for name in names:
        for family in _LOOPBACK:
            try:
                mould = gsocket.socket(family, socket.SOCK_STREAM)
                mould.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name.encode())
            except OSError:
                continue
            _moulds[name, family] = mould


def cast(wanted: str, family: int) -> Any:
    """A new socket for a congestion control (as of use_congestion) that only a mould has; else None."""
    name = stream_options.by_name(wanted)
    mould = _moulds.get((name, family))
    if mould is None or not stream_options.missing(name):
        return None
    try:
        return _cast(mould, family)
    except OSError:  # no loopback here
        return None


def _cast(mould: Any, family: int) -> Any:
    mould.settimeout(SECONDS)
    mould.bind((_LOOPBACK[family], 0))
    mould.listen(STRANGERS)
    made = None
    try:
        with gsocket.socket(family, socket.SOCK_STREAM) as far:
            far.settimeout(SECONDS)
            far.connect(mould.getsockname())
            for _ in range(STRANGERS):
                made, address = mould.accept()
                if address == far.getsockname():
                    _disconnect(made)
                    return made
                made.close()
        return None
    except BaseException:
        if made is not None:
            made.close()
        raise
    finally:
        mould.shutdown(socket.SHUT_RD)  # it listens no longer, and can be bound again


def _disconnect(sock: Any) -> None:
    """Let a socket be as a new one, but for its options. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.connect(sock.fileno(), _UNSPECIFIED, len(_UNSPECIFIED)):
        raise OSError(ctypes.get_errno(), "a socket cannot be disconnected")
