"""The kernel's switch for forwarding, asked over rtnetlink(7), for where /proc/sys is not shown to us.

Knows: RTM_GETNETCONF (linux/netconf.h). Refuses to know: how the switch is set (client_nat).

    header of rtnetlink | family, 3 bytes of padding | length 8, NETCONFA_IFINDEX, -1 (all devices)

A unit of systemd with ProcSubset=pid, as ours, hides all of /proc that is about no process.
"""

from __future__ import annotations

import struct

from gevent import socket

from lib import netlink_messages

_RTM_GETNETCONF, _RTM_NEWNETCONF = 82, 80
_IFINDEX, _FORWARDING = 1, 2
_ALL = -1
_FAMILIES = {4: netlink_messages.INET, 6: netlink_messages.INET6}
_SECONDS, _RECEIVE = 5.0, 1 << 14


def is_on(version: int) -> bool | None:
    """Whether this host forwards a version of IP; None where the kernel does not say. Raises OSError."""
    header = struct.pack("=IHHII", 28, _RTM_GETNETCONF, 1, 1, 0)
    request = header + struct.pack("=B3xHHi", _FAMILIES[version], 8, _IFINDEX, _ALL)
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    with socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE) as sock:
        sock.settimeout(_SECONDS)
        sock.send(request)
        (message, *_) = netlink_messages.messages(sock.recv(_RECEIVE))
    return read(message.body) if message.type == _RTM_NEWNETCONF else None


def read(body: bytes) -> bool | None:
    """The switch in the body of a reply; None where there is none."""
    at = 4
    while at + 8 <= len(body):
        length, kind = struct.unpack_from("=HH", body, at)
        if kind == _FORWARDING:
            return bool(struct.unpack_from("=i", body, at + 4)[0])
        at += max(4, length + 3 & ~3)
    return None
