"""Figures that the kernel has of a connection, of TCP or MPTCP: round-trip time, bytes, paths, its ends.

Knows: struct tcp_info and struct mptcp_info, and which of them is right for what. TCP_INFO of an MPTCP socket
is that of its first path, which may be dead.
Refuses to know: what the figures are good for (stream_tcp, ctl_status, session_lanes).
"""

from __future__ import annotations

import fcntl
import select
import socket
import struct
import sys
import termios
from typing import Any, NamedTuple

from gevent import monkey

from lib.session_pacing import UNKNOWN_TRIP, Trip
from lib.session_silence import NO_FLIGHT, Flight

_SOL_MPTCP, _MPTCP_INFO = 284, 1  # linux/socket.h, linux/mptcp.h
_INFO_BYTES, _TOTAL = 128, 80  # of struct mptcp_info there: enough of it; where mptcpi_subflows_total is
_FALLBACK, _REMOTE_KEY = 1, 2  # MPTCP_INFO_FLAG_*
_WRITTEN_ACKED = struct.Struct("=QQ")  # mptcpi_write_seq, mptcpi_snd_una
_UNACKED = struct.Struct("=24xI92xQ16xI")  # linux/tcp.h: tcpi_unacked, tcpi_bytes_acked, tcpi_notsent_bytes
_BYTES = struct.Struct("=QQ")  # at 64: mptcpi_bytes_received, mptcpi_bytes_acked
_RCV_SPACE = struct.Struct("=96xI")  # linux/tcp.h: tcpi_rcv_space
_FIGURES = struct.Struct(
    "=68xI28xI16xQQ20xIQ"
)  # tcpi_rtt, total_retrans, bytes_acked, bytes_received, data_segs_out, delivery_rate
_TRIP = struct.Struct(
    "=16xI48xI28xIQ32xII40xI"
)  # tcpi_snd_mss, rtt, total_retrans, pacing_rate, notsent_bytes, min_rtt, delivered
_FLIGHT = struct.Struct(
    "=24xI28xI8xI28xI16xQ64xI20xI4xI"
)  # tcpi_unacked, last_ack_recv, rtt, total_retrans, bytes_acked, delivered, dsack_dups, rcv_ooopack (5.4)
_poll = monkey.get_original("select", "poll")


class Figures(NamedTuple):
    """What the kernel says of a connection (linux/tcp.h, struct tcp_info)."""

    rtt: float
    """Smoothed round-trip time, seconds; of the first path where there are several."""
    sent: int
    """Bytes that the far kernel has acknowledged."""
    received: int
    rate: int
    """Bytes a second at which sent bytes were last acknowledged (tcpi_delivery_rate), on the first path."""
    segments: int
    """Segments with data that were sent, on the first path, and those that were sent again."""
    resent: int


def figures(sock: Any, mptcp: bool) -> Figures:
    """The figures of a connection; all zero where it is not connected any more."""
    try:
        rtt, resent, acked, received, segments, rate = _FIGURES.unpack(
            sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _FIGURES.size)
        )
    except (OSError, struct.error):  # a kernel before 4.9 tells less
        return Figures(0.0, 0, 0, 0, 0, 0)
    info = _info(sock) if mptcp else b""
    if len(info) >= _TOTAL:
        received, acked = _BYTES.unpack_from(info, 64)
    return Figures(rtt / 1e6, acked, received, rate, segments, resent)


def trip(sock: Any) -> Trip:
    """The round trips of a connection, and what has come across or not; UNKNOWN_TRIP where it has ended."""
    try:
        info: bytes = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TRIP.size)
        segment, now, resent, paced, unsent, shortest, delivered = _TRIP.unpack(info)
    except (OSError, struct.error):  # closed; a kernel before 4.18
        return UNKNOWN_TRIP
    return Trip(now / 1e6, shortest / 1e6, segment * delivered, resent, unsent, paced)


def flight(sock: Any) -> Flight:
    """What was sent by a connection of TCP and is not acknowledged; NO_FLIGHT where it has ended."""
    try:
        info: bytes = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _FLIGHT.size)
    except OSError:  # closed
        return NO_FLIGHT
    out, quiet, rtt, resent, acked, delivered, twice, ahead = _FLIGHT.unpack(info.ljust(_FLIGHT.size, b"\0"))
    return Flight(bool(out), acked + delivered, quiet / 1e3, rtt / 1e6, resent - twice + ahead)


def read_in_a_trip(sock: Any) -> int:
    """Most bytes that were read in a round trip so far. Raises OSError."""
    info: bytes = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _RCV_SPACE.size)
    size: int = _RCV_SPACE.unpack(info)[0]
    return size


def unread(sock: Any) -> int:
    """Bytes that have come and nobody has read yet. Raises OSError."""
    (size,) = struct.unpack("i", fcntl.ioctl(sock, termios.FIONREAD, bytes(4)))
    return int(size)


def acknowledged(sock: Any) -> tuple[int, bool]:
    """How far the far end of a socket of MPTCP has acknowledged, in bytes, and whether that is all. OSError.

    Where the far end has no MPTCP, the only path knows it.
    """
    info = _info(sock)
    if info and not _flags(info) & _FALLBACK:
        written, acked = _WRITTEN_ACKED.unpack_from(info, 16)
        return acked, acked == written
    path: bytes = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 148)
    unacked, acked, unsent = _UNACKED.unpack_from(path)
    return acked, not unacked and not unsent


def paths(sock: Any) -> int:
    """How many TCP connections a socket of MPTCP has now; 0 where the far end, or the way, has no MPTCP."""
    info = _info(sock)
    if not info or _flags(info) & (_FALLBACK | _REMOTE_KEY) != _REMOTE_KEY:
        return 0
    return info[_TOTAL] if len(info) > _TOTAL else info[0] + 1  # before Linux 6.7: those beside the first one


def _info(sock: Any) -> bytes:
    """The struct mptcp_info of a socket; empty where it has fallen back to TCP, and before Linux 5.16."""
    try:
        info: bytes = sock.getsockopt(_SOL_MPTCP, _MPTCP_INFO, _INFO_BYTES)
    except OSError:
        return b""
    return info


def _flags(info: bytes) -> int:
    return int.from_bytes(info[8:12], sys.byteorder)


def has_hung_up(sock: Any) -> bool:
    """Whether the far end of a socket has closed or reset it. Of MPTCP TCP_INFO has the state of one path."""
    poll = _poll()
    poll.register(sock.fileno(), select.POLLRDHUP)
    return bool(poll.poll(0))


def far_address(sock: Any) -> str:
    """The IP address that a socket is connected to; "" where that is not enough to find it again."""
    try:
        address = sock.getpeername()
    except OSError:  # not connected any more
        return ""
    return "" if len(address) > 3 and address[3] else str(address[0])
