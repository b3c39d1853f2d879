"""UDP sockets of datagram channels: bursts of datagrams received and sent in few calls.

Knows: the kernel's options for UDP (segmentation, coalescing, no fragments), by which address a hub replies.
Refuses to know: how such sockets are opened (datagram_open), what is in a datagram (datagram_wire), whose it
is (datagram_peer).

    send_burst    datagrams of one size, the last may be shorter: one sendmsg (UDP_SEGMENT)
    recv_runs     what the kernel has put together again (UDP_GRO); recv_burst cuts it at its gso_size

Every datagram of a channel has "don't fragment" set, and the kernel's own idea of the path MTU is ignored
(IP_PMTUDISC_PROBE): whoever sends finds out what passes (datagram_mtu). GOST's entrypoint has no such means,
so the kernel cuts what is too long (bound). A datagram that the network or this host refuses is lost, like
any other; no such error is raised.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import gevent

from lib import stream_options, stream_resolve
from lib.packet import Buffer
from lib.stream_tcp import format_peer

MAX_SEGMENTS, MAX_BYTES = 64, 65507
"""Most datagrams, and most bytes, of one send (UDP_MAX_SEGMENTS, linux/udp.h; what IPv4 lets UDP carry)."""
RECEIVES = 32
"""Most receives in a burst, before packets of others have their turn."""
BURST_BYTES = 256 << 10
"""Bytes after which a burst ends too."""
RECEIVE_BUFFER, SEND_BUFFER = 4 << 20, 256 << 10
"""Bytes that the kernel may hold; it doubles them, as its own overhead counts. A long turn of others,
of some ms, loses nothing then. What is unsent is a queue without turns, so it is short."""
_RECEIVED = 1 << 16

# linux/in.h, in6.h, udp.h, asm-generic/socket.h
IP_PKTINFO, _IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER = 8, 10, 23
_PMTUDISC_WANT, _PMTUDISC_PROBE = 1, 3
_IPV6_PKTINFO = 50
_SOL_UDP, _UDP_SEGMENT, _UDP_GRO = 17, 103, 104
RXQ_OVFL = 40

_IPV4_INFO = struct.Struct("=I4s4s")
_IPV6_INFO = struct.Struct("=16sI")
_GRO_SIZE = struct.Struct("=i")
_LOST = struct.Struct("=I")
_SEGMENT = struct.Struct("=H")
_ANCILLARY = sum(socket.CMSG_SPACE(one.size) for one in (_IPV6_INFO, _GRO_SIZE, _LOST))
_BLOCKED = (errno.EAGAIN, errno.EINTR)
_NOT_OURS = (errno.EINVAL, errno.EADDRNOTAVAIL, errno.ENODEV, errno.ENETUNREACH)
"""What the kernel says where the address that was asked is not this host's any more. The far end follows."""
Control = list[tuple[int, int, bytes]]
"""Ancillary data of a send."""


class Address(NamedTuple):
    """Where a datagram came from, and which of our addresses it was sent to; a reply goes the way back."""

    far: tuple[Any, ...]
    """The socket address of the far end."""
    near: bytes = b""
    """The kernel's in_pktinfo or in6_pktinfo, by which a reply has the address that was asked; or empty."""

    def __str__(self) -> str:
        return format_peer(self.far)

    def near_name(self, name: tuple[Any, ...]) -> tuple[Any, ...]:
        """The socket address of a socket that has this name, with the address that was asked."""
        if not self.near:
            return name
        if len(self.near) == _IPV4_INFO.size:
            return socket.inet_ntop(socket.AF_INET, self.near[4:8]), name[1]
        ours, index = _IPV6_INFO.unpack(self.near)
        return socket.inet_ntop(socket.AF_INET6, ours), name[1], 0, index


class Sent(NamedTuple):
    """What became of a burst."""

    taken: int
    """Datagrams that the kernel has taken; the others are lost."""
    too_long: int = 0
    """Size of the shortest datagram that is too long for the device (EMSGSIZE); 0 where none was."""
    is_full: bool = False
    """Whether the send buffer is full, so that the last ones were not even tried."""


class Run(NamedTuple):
    """Datagrams that came together from one address."""

    address: Address
    data: bytes
    size: int
    """Bytes of each of them; the last one may be shorter."""

    def __len__(self) -> int:
        return -(-len(self.data) // self.size) if self.size else 1

    def cut(self) -> list[tuple[Address, bytes]]:
        """(address, datagram) for each of them, in their order."""
        address, data, size = self
        if len(data) <= size:
            return [(address, data)]
        return [(address, data[at : at + size]) for at in range(0, len(data), size)]


class DatagramSocket:
    """A UDP socket that belongs to one greenlet for what is received; anybody may send."""

    __slots__ = ("_buffer", "_hub", "_readable", "_view", "lost", "segments", "sock")

    def __init__(
        self, sock: Any, fragments: bool = False, receive_buffer: int | None = RECEIVE_BUFFER
    ) -> None:
        """Take over a socket of the UDP kind; its options are set here. With `fragments` the kernel cuts what
        is too long for the path, as it does for every other program. Without a `receive_buffer` both buffers
        stay: who has opened it has sized them, perhaps with more rights (size_buffers)."""
        self.sock = sock
        """It; others use its name and options (datagram_open)."""
        sock.setblocking(False)
        self.segments = _has(sock, _UDP_SEGMENT, 0)
        """Whether a burst goes in one call, which the kernel cuts (Linux 4.18)."""
        _has(sock, _UDP_GRO, 1)  # Linux 5.0; without it each receive gives one datagram
        discovery = _PMTUDISC_WANT if fragments else _PMTUDISC_PROBE
        sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, discovery)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, discovery)
        if receive_buffer is not None:
            size_buffers(sock, receive_buffer)
        self.lost = 0
        """Datagrams, or runs of them, that the kernel had no room for, modulo 2^32; only where it tells."""
        self._hub = gevent.get_hub()
        self._readable = self._hub.loop.io(sock.fileno(), 1)
        self._buffer = bytearray(_RECEIVED)
        self._view = memoryview(self._buffer)

    # --- receiving

    def wait(self) -> None:
        """Wait until datagrams have come, or an error of the network. Others have their turn in any case."""
        self._hub.wait(self._readable)

    def recv_burst(self) -> list[tuple[Address, bytes]]:
        """As recv_runs(), datagram by datagram."""
        return [one for run in self.recv_runs() for one in run.cut()]

    def recv_runs(self, waits: bool = True, receives: int = RECEIVES, most: int = BURST_BYTES) -> list[Run]:
        """Wait for datagrams, and return those that are there, in their order, or the first of them.

        It ends after so many `receives`, or bytes. Empty where what woke us was an error of the network.
        Others had their turn in any case; not where nothing is waited for.
        """
        if waits:
            self.wait()
        found: list[Run] = []
        size = 0
        for _ in range(receives):
            try:
                received, ancillary, _, far = self.sock.recvmsg_into((self._buffer,), _ANCILLARY)
            except OSError:  # none is there, or an ICMP error of one that was sent
                break
            address, segment, lost = _told(far, ancillary)
            self.lost = lost or self.lost
            found.append(Run(address, bytes(self._view[:received]), segment or received))
            size += received
            if size >= most:
                break
        return found

    # --- sending

    def to(self, host: str, port: int) -> Address:
        """The address by which this socket sends to an IP address. Raises OSError: it cannot."""
        is_mapped = self.sock.family == socket.AF_INET6 and ":" not in host
        ((family, _, _, _, target),) = stream_resolve.numeric(f"::ffff:{host}" if is_mapped else host, port)
        if family != self.sock.family:
            raise OSError(errno.EAFNOSUPPORT, f"{host} is of another IP version than what we listen on")
        return Address(target)

    def send_burst(self, address: Address, datagrams: Sequence[Buffer]) -> Sent:
        """Send datagrams to one address, in their order. Never waits, and raises nothing of the network."""
        control = _control(address.near)
        count, too_long = 0, 0
        at, whole = 0, len(datagrams)
        while at < whole:
            end = _run_end(datagrams, at) if self.segments else at + 1
            taken, long, full = (
                self._send_run(address, datagrams[at:end], control)
                if end - at > 1
                else self._send_one(address, datagrams[at], control)
            )
            count += taken
            if long and (not too_long or long < too_long):
                too_long = long
            if full:
                return Sent(count, too_long, is_full=True)
            at = end
        return Sent(count, too_long)

    def _send_run(self, address: Address, run: Sequence[Buffer], control: Control) -> Sent:
        """Send datagrams of one size, the last may be shorter, in one call; singly where that fails."""
        cut = (_SOL_UDP, _UDP_SEGMENT, _SEGMENT.pack(len(run[0])))
        number = self._try(address, run, [*control, cut])
        if not number or (number in _NOT_OURS and control and not self._try(address, run, [cut])):
            return Sent(len(run))
        if number in _BLOCKED:
            return Sent(0, is_full=True)
        if number not in (errno.EIO, errno.EINVAL, errno.EMSGSIZE):
            return Sent(0)
        count, too_long = 0, 0
        for datagram in run:
            taken, long, full = self._send_one(address, datagram, control)
            if full:
                return Sent(count, too_long, is_full=True)
            count += taken
            too_long = long or too_long
        # No checksum offload, IPsec, or a bug: what passes singly would not pass in one call here.
        if number != errno.EMSGSIZE and count == len(run):
            self.segments = False
        return Sent(count, too_long)

    def _send_one(self, address: Address, datagram: Buffer, control: Control) -> Sent:
        number = self._try(address, (datagram,), control)
        if number in _NOT_OURS and control:
            number = self._try(address, (datagram,), [])
        if number in _BLOCKED:
            return Sent(0, is_full=True)
        return Sent(0 if number else 1, len(datagram) if number == errno.EMSGSIZE else 0)

    def _try(self, address: Address, datagrams: Sequence[Buffer], control: Control) -> int:
        """One call; returns 0, or the number of the error."""
        try:
            self.sock.sendmsg(datagrams, control, 0, address.far)
        except OSError as error:
            return error.errno or errno.EIO
        return 0

    def hold_unread(self, size: int) -> None:
        """Let the kernel hold so many bytes that were not received; it doubles them."""
        stream_options.size_buffer(self.sock, socket.SO_RCVBUF, size)

    def give_to(self, user: int) -> None:
        """Make it a user's, by id, who may open others of its port then. Where we may not, there are none."""
        with suppress(OSError):
            os.fchown(self.sock.fileno(), user, -1)

    def close(self) -> None:
        """Close it; only to be called by the greenlet that reads, or once that has ended."""
        self._readable.close()
        self.sock.close()


def size_buffers(sock: Any, receive_buffer: int = RECEIVE_BUFFER) -> None:
    """Let the kernel hold so many bytes of what comes, and SEND_BUFFER of what goes; it doubles them."""
    stream_options.size_buffer(sock, socket.SO_RCVBUF, receive_buffer)
    stream_options.size_buffer(sock, socket.SO_SNDBUF, SEND_BUFFER)


def _run_end(datagrams: Sequence[Buffer], at: int) -> int:
    """The end of the run from `at` on that one call may send: one size, only the last one may be shorter."""
    size = len(datagrams[at])
    if not size:
        return at + 1
    most = min(len(datagrams), at + MAX_SEGMENTS, at + max(1, MAX_BYTES // size))
    end = at + 1
    while end < most:
        length = len(datagrams[end])
        if length != size:
            return end + 1 if 0 < length < size else end
        end += 1
    return end


def _told(far: tuple[Any, ...], ancillary: list[tuple[int, int, bytes]]) -> tuple[Address, int, int]:
    """(address, gso_size or 0, lost or 0) from what the kernel says beside what was received."""
    near, segment, lost = b"", 0, 0
    for level, kind, data in ancillary:
        if level == _SOL_UDP and kind == _UDP_GRO:
            (segment,) = _GRO_SIZE.unpack_from(data)
        elif level == socket.IPPROTO_IP and kind == IP_PKTINFO:
            near = _IPV4_INFO.pack(0, data[4:8], b"\0\0\0\0")
        elif level == socket.IPPROTO_IPV6 and kind == _IPV6_PKTINFO:
            ours, index = _IPV6_INFO.unpack_from(data)
            is_link_local = ours[0] == 0xFE and ours[1] & 0xC0 == 0x80
            near = _IPV6_INFO.pack(ours, index if is_link_local else 0)
        elif level == socket.SOL_SOCKET and kind == RXQ_OVFL:
            (lost,) = _LOST.unpack_from(data)
    return Address(far, near), segment, lost


def _control(near: bytes) -> Control:
    """The ancillary data by which what is sent comes from the address that was asked."""
    if not near:
        return []
    if len(near) == _IPV4_INFO.size:
        return [(socket.IPPROTO_IP, IP_PKTINFO, near)]
    return [(socket.IPPROTO_IPV6, _IPV6_PKTINFO, near)]


def _has(sock: Any, option: int, value: int) -> bool:
    """Set an option of UDP; returns whether this kernel has it."""
    try:
        sock.setsockopt(_SOL_UDP, option, value)
    except OSError:
        return False
    return True
