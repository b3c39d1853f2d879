"""Echo requests (ping) that no router may fragment: who answers, and which size still comes through.

Knows: ICMP and ICMPv6 echo (RFC 792, RFC 4443), the kernel's path MTU discovery (ip(7), IP_MTU_DISCOVER).
Refuses to know: who is pinged, and why (doctor_look_tunnel, doctor_look_way).

Without CAP_NET_RAW the kernel's ping sockets are used (icmp(7), net.ipv4.ping_group_range).
"""

from __future__ import annotations

import errno
import os
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address

from gevent import socket, spawn
from gevent.select import select

from lib.packet import checksum

SECONDS = 1.0
"""How long a reply may take."""
TRIES = 2
MAX_SIZE = 65_535
SMALL = 84
"""Bytes of the packet that ping(8) sends."""
LADDER = (
    *(1492, 1480, 1472, 1460, 1452, 1440, 1420, 1400, 1380),
    *(1360, 1320, 1280, 1200, 1100, 1000, 900, 800, 576),
)
"""Sizes that are tried where the largest one vanishes."""

_HEADER = struct.Struct("!BBHHH")  # type, code, checksum, identifier, sequence number
_ECHO = {4: (8, 0), 6: (128, 129)}
"""IP version -> (echo request, echo reply)."""
_IP_HEADER = {4: 20, 6: 40}
_DISCOVER = {4: (socket.IPPROTO_IP, 10), 6: (socket.IPPROTO_IPV6, 23)}  # IP_MTU_DISCOVER, IPV6_MTU_DISCOVER
_MTU = {4: (socket.IPPROTO_IP, 14), 6: (socket.IPPROTO_IPV6, 24)}  # IP_MTU, IPV6_MTU
_DO = 2  # IP_PMTUDISC_DO: set DF, and keep to the path MTU that is known
_ICMP = {4: (socket.AF_INET, socket.IPPROTO_ICMP), 6: (socket.AF_INET6, socket.IPPROTO_ICMPV6)}


@dataclass(frozen=True, slots=True)
class Measured:
    """A path: whether a small packet is answered, the largest that is, the largest that the kernel sends."""

    answered: bool
    largest: int
    believed: int


class Pinger:
    """A socket for echo requests to one address."""

    def __init__(self, target: str, source: str = "") -> None:
        """Open it; `source` is an address of this host. Raises OSError."""
        self._version = ip_address(target.partition("%")[0]).version
        family, protocol = _ICMP[self._version]
        try:
            self._socket = socket.socket(family, socket.SOCK_RAW, protocol)
            self._is_raw = True
        except PermissionError:
            self._socket = socket.socket(family, socket.SOCK_DGRAM, protocol)
            self._is_raw = False
        self._token, self._sequence = os.urandom(8), 0
        try:
            self._socket.setsockopt(*_DISCOVER[self._version], _DO)
            if source:
                self._socket.bind((source, 0))
            self._socket.connect((target, 0))
        except BaseException:
            self._socket.close()
            raise

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def believed(self) -> int:
        """The path MTU that the kernel knows of, in bytes."""
        level, option = _MTU[self._version]
        mtu: int = self._socket.getsockopt(level, option)
        return min(mtu, MAX_SIZE)  # lo has a byte more than a packet can have

    def answered(self, sizes: Iterable[int], seconds: float = SECONDS, tries: int = TRIES) -> set[int]:
        """Those of `sizes` (bytes of a whole IP packet) of which an echo comes back."""
        wanted, found = set(sizes), set[int]()
        for _ in range(tries):
            numbers = {self._send(size): size for size in sorted(wanted - found)}
            numbers.pop(-1, None)
            until = time.monotonic() + seconds
            while not set(numbers.values()) <= found and (left := until - time.monotonic()) > 0:
                if select([self._socket], [], [], left)[0]:
                    found |= {numbers[one] for one in self._receive() if one in numbers}
            if wanted <= found:
                break
        return found

    def _send(self, size: int) -> int:
        """Send one; returns its sequence number, -1 where the kernel refuses it (it is too big)."""
        self._sequence += 1
        payload = self._token.ljust(size - _IP_HEADER[self._version] - _HEADER.size, b"\0")
        kind = _ECHO[self._version][0]
        body = _HEADER.pack(kind, 0, 0, os.getpid() & 0xFFFF, self._sequence) + payload
        if self._version == 4:  # of ICMPv6 the kernel makes it
            body = body[:2] + checksum(body).to_bytes(2, "big") + body[4:]
        try:
            self._socket.send(body)
        except OSError as error:
            if error.errno in (errno.EMSGSIZE, errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH):
                return -1
            raise
        return self._sequence

    def _receive(self) -> set[int]:
        """The sequence number of the echo that has come; empty for other packets."""
        try:
            data = self._socket.recv(1 << 16)
        except OSError:  # an ICMP error about one of them
            return set()
        if self._is_raw and self._version == 4 and data:
            data = data[(data[0] & 15) * 4 :]
        if len(data) < _HEADER.size + 8 or data[0] != _ECHO[self._version][1]:
            return set()
        is_ours = data[_HEADER.size : _HEADER.size + 8] == self._token
        return {_HEADER.unpack_from(data)[4]} if is_ours else set()


def is_allowed() -> bool:
    """Whether this user may ping."""
    try:
        Pinger("127.0.0.1").close()
    except OSError:
        return False
    return True


def answers(target: str, source: str = "", seconds: float = SECONDS) -> bool:
    """Whether an address answers a ping that comes from `source`, an address of this host."""
    try:
        pinger = Pinger(target, source)
    except OSError:  # no route
        return False
    try:
        return bool(pinger.answered([SMALL], seconds))
    except OSError:
        return False
    finally:
        pinger.close()


def measure(target: str, source: str = "") -> Measured:
    """Measure the path to an address. Raises OSError.

    It takes a round trip where all is well, and some seconds where large packets vanish.
    """
    pinger = Pinger(target, source)
    try:
        if not pinger.answered([SMALL]):
            return Measured(False, 0, pinger.believed())
        while True:
            believed = pinger.believed()
            if pinger.answered([believed], tries=1):
                return Measured(True, believed, believed)
            if pinger.believed() >= believed:  # no router has told of a smaller one
                break
        sizes = {one for one in LADDER if one < believed}
        return Measured(True, max(pinger.answered({believed, *sizes}), default=SMALL), believed)
    finally:
        pinger.close()


def all_answers(pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], bool]:
    """Whether each (target, source) answers, all at the same time."""
    jobs = {pair: spawn(answers, *pair) for pair in pairs}
    return {pair: bool(job.get()) for pair, job in jobs.items()}
