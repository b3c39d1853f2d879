"""TCP options of a session's socket: how soon a dead path is noticed, how much the kernel holds back.

Knows: the options that every stream begins with, and why.
Refuses to know: the bytes (stream_tcp); options of a connection that is only about to be made (stream_dial).
"""

from __future__ import annotations

import socket
from typing import Any

NOTSENT_LOWAT = 1 << 18
"""Most unsent bytes that the kernel holds for a session (TCP_NOTSENT_LOWAT). More would be a second queue,
which we could neither see nor bound."""
DEAD_AFTER = 15.0
"""Seconds without any acknowledgement after which a connection is dead (GOST never notices)."""
Keepalive = tuple[int, int, int]
"""TCP keepalive: (seconds of silence before the first probe, seconds between probes, number of probes)."""
_KEEPALIVE_OPTIONS = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
TCP_NOTSENT_LOWAT = 25  # linux/tcp.h


def tune(sock: Any, keepalive: Keepalive | None, dead_after: float) -> None:
    """Set the options of a new stream: seconds without an acknowledgement, and keepalive where it is said."""
    third = max(1, int(dead_after / 3))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, NOTSENT_LOWAT)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(dead_after * 1000))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in zip(_KEEPALIVE_OPTIONS, keepalive or (third, third, 2), strict=True):
        sock.setsockopt(socket.IPPROTO_TCP, option, value)
