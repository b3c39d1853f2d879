"""Pings that wait for late replies: how many of so many were answered, and which of ping(8)'s were not.

Knows: ICMP and ICMPv6 echo, the lines of ping(8). Refuses to know: who is asked, and why.

ping(8) of iputils waits for one interval, or for two round trips, after the last one it sends. On a busy machine a
reply that a tunnel delays for longer than that would be a lost one.
"""

from __future__ import annotations

import errno
import itertools
import os
import re
import socket
import struct
import time
from ipaddress import ip_address

from tests.support import packets
from tests.support.netns import in_namespace

PATIENCE = 5.0
"""Seconds for which replies may still come after the last one was sent; nobody waits once all are there."""
NOTHING_SECONDS = 2.0
"""The same where none has come at all."""
_REQUEST, _REPLY = {4: 8, 6: 128}, {4: 0, 6: 129}
_ERRORS = {4: (3, 11, 12), 6: (1, 2, 3, 4)}
_numbers = itertools.count(os.getpid())


def answered(namespace: str, address: str, count: int, interval: float = 0.1) -> int:
    """Send so many pings from a namespace, one each interval; returns how many were answered.

    An ICMP error that quotes one ends the wait for it. Raises OSError where no route leads there.
    """
    version, ident = ip_address(address).version, next(_numbers) & 0xFFFF
    family, protocol = {
        4: (socket.AF_INET, socket.IPPROTO_ICMP),
        6: (socket.AF_INET6, socket.IPPROTO_ICMPV6),
    }[version]
    with in_namespace(namespace):
        sock = socket.socket(family, socket.SOCK_RAW, protocol)
    replies, errors = set[int](), set[int]()

    def receive(until: float) -> None:
        while len(replies | errors) < count and (left := until - time.monotonic()) > 0:
            sock.settimeout(left)
            try:
                kind, number = _read(sock.recv(65536), version, ident)
            except TimeoutError:
                return
            if kind:
                (replies if kind == "reply" else errors).add(number)

    with sock:
        began = time.monotonic()
        for number in range(count):
            receive(began + number * interval)
            try:
                sock.sendto(_request(version, ident, number), (address, 0))
            except OSError as error:
                if error.errno == errno.ENETUNREACH and not number:
                    raise
                errors.add(number)  # as ping does: it is not sent, and the next one may be
        ended = time.monotonic()
        receive(ended + NOTHING_SECONDS)
        if replies:
            receive(ended + PATIENCE)
    return len(replies)


def unanswered(said: str) -> list[int]:
    """The numbers of pings without an answer in what ping(8) has said, of those before the last one that has one."""
    answered = {int(number) for number in re.findall(r"bytes from .*icmp_seq=(\d+) ", said)}
    return sorted(set(range(1, max(answered))) - answered)


def _request(version: int, ident: int, number: int) -> bytes:
    """An echo request of 64 bytes, as ping's; of ICMPv6 the kernel sets the checksum."""
    body = struct.pack("!32H", _REQUEST[version] << 8, 0, ident, number, *range(28))
    total = 0xFFFF - packets.ones_sum(body) if version == 4 else 0
    return body[:2] + struct.pack("!H", total) + body[4:]


def _read(data: bytes, version: int, ident: int) -> tuple[str, int]:
    """("reply" or "error", the number of the ping) for a message about one of ours; ("", 0) for any other."""
    if version == 4:
        data = data[4 * (data[0] & 15) :]
    what, wanted = "reply", _REPLY[version]
    if data[:1] and data[0] in _ERRORS[version]:
        data = data[8:]
        data = data[4 * (data[0] & 15) if version == 4 and data else 40 :]
        what, wanted = "error", _REQUEST[version]
    if len(data) < 8 or data[0] != wanted or int.from_bytes(data[4:6], "big") != ident:
        return "", 0
    return what, int.from_bytes(data[6:8], "big")
