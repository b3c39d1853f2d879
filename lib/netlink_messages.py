"""rtnetlink(7) messages: requests for links, addresses and routes encoded, the kernel's messages decoded.

Knows: the layout of nlmsghdr, ifinfomsg, ifaddrmsg, rtmsg and their attributes (linux/rtnetlink.h).
Refuses to know: sockets (netlink_watch), what anything is wanted for (netlink_plan), changes (netlink).

    0        4      6       8     12    16
    +--------+------+-------+-----+-----+------------------+---------------------------+
    | LEN    | TYPE | FLAGS | SEQ | PID | body of its type | attributes: LEN TYPE DATA |
    +--------+------+-------+-----+-----+------------------+---------------------------+

All numbers are in the host's byte order; messages and attributes begin at multiples of four bytes.

pyroute2 has all this too. But a greenlet cannot wait for a notification with it (it runs an event loop of its
own inside each call), and it needs 100 µs for a route where this needs 4: a device may have thousands.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

NEWLINK, DELLINK, GETLINK = 16, 17, 18
NEWADDR, DELADDR, GETADDR = 20, 21, 22
NEWROUTE, DELROUTE, GETROUTE = 24, 25, 26
SETLINK = 19
ERROR, DONE = 2, 3

REQUEST, PART, ACK, DUMP = 0x1, 0x2, 0x4, 0x300
DUMP_INTERRUPTED = 0x10
"""Something has changed during a dump, so that a part of it may be missing."""

INET, INET6 = 2, 10
TABLE_MAIN = 254
IPV6_METRIC = 1024
"""The metric that the kernel gives an IPv6 route which names none; an IPv4 route then has 0."""

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_U32 = struct.Struct("=I")
_I32 = struct.Struct("=i")
_LINK = struct.Struct("=BxHiII")  # family, type, index, flags, change
_ADDRESS = struct.Struct("=BBBBi")  # family, prefix length, flags, scope, index
_ROUTE = struct.Struct("=BBBBBBBBI")  # family, dst_len, src_len, tos, table, protocol, scope, type, flags
_HOP = struct.Struct("=HBBi")  # length, flags, hops, index

_IFF_UP = 0x1
_IFLA_IFNAME, _IFLA_MTU, _IFLA_TXQLEN, _IFLA_LINKINFO, _IFLA_AF_SPEC = 3, 4, 13, 18, 26
_IFLA_GROUP = 27
_IFLA_GSO_MAX_SEGS, _IFLA_GSO_MAX_SIZE = 40, 41
_IFLA_INFO_KIND, _IFLA_INFO_DATA = 1, 2
_IFLA_INET6_ADDR_GEN_MODE = 8
_IFLA_TUN_TYPE, _IFLA_TUN_PI, _IFLA_TUN_VNET_HDR, _IFLA_TUN_PERSIST = 3, 4, 5, 6
_IFLA_TUN_MULTI_QUEUE, _IFLA_TUN_NUM_QUEUES = 7, 8
_IFF_TUN = 1
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_SRC, _RTA_IIF = 2, 3
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_MULTIPATH, _RTA_TABLE = 1, 4, 5, 6, 9, 15
_RTN_UNICAST, _RTN_LOCAL = 1, 2
_RTM_F_CLONED = 0x200
_TYPE_MASK = 0x3FFF
_SIZES = {INET: 4, INET6: 16}


class Message(NamedTuple):
    """One message, not yet decoded."""

    type: int
    flags: int
    sequence: int
    body: bytes


class Link(NamedTuple):
    """A network device; `device` is its number, which stays when it is renamed."""

    device: int
    name: str
    up: bool
    mtu: int


class TunState(NamedTuple):
    """What a TUN device was made with, and what we change on it beside MTU and state (linux/if_link.h)."""

    has_pi: bool
    has_vnet_hdr: bool
    persists: bool
    has_many_queues: bool
    queues: int
    """How many descriptors are attached to it."""
    queue_length: int
    gso_max_size: int
    gso_max_segs: int
    address_mode: int
    """IN6_ADDR_GEN_MODE: how it makes itself an IPv6 address; -1 without IPv6."""


class Address(NamedTuple):
    """An address of a device; `address` and `peer` are packed, and `peer` is empty for none."""

    device: int
    address: bytes
    length: int
    peer: bytes


class Route(NamedTuple):
    """A next hop of a unicast route in the main table, with the metric that a route without one gets.

    `prefix` and `gateway` are packed; an empty gateway means straight out of the device.
    """

    device: int
    prefix: bytes
    length: int
    gateway: bytes


def messages(data: bytes) -> Iterator[Message]:
    """The messages in what one receive gave. What cannot be read ends them without an error."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, at)
        if length < _HEADER.size:
            return
        yield Message(kind, flags, sequence, data[at + _HEADER.size : at + length])
        at += _aligned(length)


def error(message: Message) -> int:
    """The errno in an ERROR message or in the DONE at the end of a dump; 0 for success."""
    return -int(_I32.unpack_from(message.body)[0]) if len(message.body) >= _I32.size else 0


def link(body: bytes) -> Link | None:
    """The device in a message of one of the LINK types; None where it cannot be read."""
    if len(body) < _LINK.size:
        return None
    _, _, index, flags, _ = _LINK.unpack_from(body)
    found = attributes(body, _LINK.size)
    name = found.get(_IFLA_IFNAME, b"").rstrip(b"\0").decode(errors="surrogateescape")
    return Link(index, name, bool(flags & _IFF_UP), _number(found, _IFLA_MTU))


def tun_state(body: bytes) -> TunState | None:
    """The state of the TUN device in a message of one of the LINK types; None where the device is none.

    Before Linux 4.20 it is always None.
    """
    found = attributes(body, _LINK.size)
    info = attributes(found.get(_IFLA_LINKINFO, b""), 0)
    tun = attributes(info.get(_IFLA_INFO_DATA, b""), 0)
    if info.get(_IFLA_INFO_KIND, b"").rstrip(b"\0") != b"tun" or tun.get(_IFLA_TUN_TYPE) != bytes([_IFF_TUN]):
        return None
    families = attributes(found.get(_IFLA_AF_SPEC, b""), 0)
    mode = attributes(families.get(INET6, b""), 0).get(_IFLA_INET6_ADDR_GEN_MODE, b"")
    return TunState(
        has_pi=tun.get(_IFLA_TUN_PI) == b"\1",
        has_vnet_hdr=tun.get(_IFLA_TUN_VNET_HDR) == b"\1",
        persists=tun.get(_IFLA_TUN_PERSIST) == b"\1",
        has_many_queues=tun.get(_IFLA_TUN_MULTI_QUEUE) == b"\1",
        queues=_number(tun, _IFLA_TUN_NUM_QUEUES),
        queue_length=_number(found, _IFLA_TXQLEN),
        gso_max_size=_number(found, _IFLA_GSO_MAX_SIZE),
        gso_max_segs=_number(found, _IFLA_GSO_MAX_SEGS),
        address_mode=mode[0] if mode else -1,
    )


def address(body: bytes) -> Address | None:
    """The address in a message of one of the ADDR types; None where it cannot be read."""
    if len(body) < _ADDRESS.size:
        return None
    _, length, _, _, index = _ADDRESS.unpack_from(body)
    found = attributes(body, _ADDRESS.size)
    far = found.get(_IFA_ADDRESS, b"")
    local = found.get(_IFA_LOCAL, far)
    return Address(index, local, length, far if far != local else b"") if local else None


def routes(body: bytes) -> list[Route]:
    """The next hops in a message of one of the ROUTE types; none where the route is of another kind."""
    if len(body) < _ROUTE.size:
        return []
    family, length, _, _, table, _, _, kind, flags = _ROUTE.unpack_from(body)
    found = attributes(body, _ROUTE.size)
    metric = IPV6_METRIC if family == INET6 else 0
    table = _number(found, _RTA_TABLE) or table
    if (kind, table) != (_RTN_UNICAST, TABLE_MAIN) or flags & _RTM_F_CLONED or family not in _SIZES:
        return []
    if _number(found, _RTA_PRIORITY) != metric:
        return []
    prefix = found.get(_RTA_DST, bytes(_SIZES[family]))
    if _RTA_MULTIPATH in found:
        hops = _hops(found[_RTA_MULTIPATH])
    else:
        hops = [(_number(found, _RTA_OIF), found.get(_RTA_GATEWAY, b""))]
    return [Route(index, prefix, length, gateway) for index, gateway in hops]


def ask_link(index: int, sequence: int) -> bytes:
    """A request for one device."""
    return encoded(GETLINK, REQUEST, sequence, _LINK.pack(0, 0, index, 0, 0))


def put_in_group(index: int, group: int, sequence: int) -> bytes:
    """A request to put a device into a group; the kernel replies only where it refuses."""
    body = _LINK.pack(0, 0, index, 0, 0) + attribute(_IFLA_GROUP, _U32.pack(group))
    return encoded(SETLINK, REQUEST, sequence, body)


def remove_group(group: int, sequence: int) -> bytes:
    """A request to remove all devices of a group; the reply is an ERROR message."""
    body = _LINK.pack(0, 0, 0, 0, 0) + attribute(_IFLA_GROUP, _U32.pack(group))
    return encoded(DELLINK, REQUEST | ACK, sequence, body)


def ask_addresses(index: int, sequence: int) -> bytes:
    """A request for all addresses of a device."""
    return encoded(GETADDR, REQUEST | DUMP, sequence, _ADDRESS.pack(0, 0, 0, 0, index))


def ask_routes(family: int, index: int, sequence: int) -> bytes:
    """A request for all routes of the main table that lead out of a device (INET or INET6)."""
    body = _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
    body += attribute(_RTA_TABLE, _U32.pack(TABLE_MAIN)) + attribute(_RTA_OIF, _U32.pack(index))
    return encoded(GETROUTE, REQUEST | DUMP, sequence, body)


def ask_input(device: int, source: bytes, destination: bytes, sequence: int) -> bytes:
    """A request for the route of a packet that comes in from a device. The addresses are packed."""
    bits = 8 * len(source)
    family = INET if bits == 32 else INET6
    body = _ROUTE.pack(family, bits, bits, 0, 0, 0, 0, 0, 0) + attribute(_RTA_DST, destination)
    body += attribute(_RTA_SRC, source) + attribute(_RTA_IIF, _U32.pack(device))
    return encoded(GETROUTE, REQUEST, sequence, body)


def protocol(body: bytes) -> int:
    """The origin (rtm_protocol) of the route in a message of one of the ROUTE types; 0 for none."""
    return int(_ROUTE.unpack_from(body)[5]) if len(body) >= _ROUTE.size else 0


def is_local(body: bytes) -> bool:
    """Whether the route in a message of one of the ROUTE types leads to the host itself."""
    return len(body) >= _ROUTE.size and _ROUTE.unpack_from(body)[7] == _RTN_LOCAL


def encoded(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """A message as it is sent."""
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, sequence, 0) + body


def attribute(kind: int, data: bytes) -> bytes:
    """An attribute of a message."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(data), kind) + data + bytes(-len(data) % 4)


def attributes(body: bytes, at: int) -> dict[int, bytes]:
    """The attributes that begin there, by number; what cannot be read ends them without an error."""
    found = {}
    while at + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, at)
        if length < _ATTRIBUTE.size:
            break
        found[kind & _TYPE_MASK] = body[at + _ATTRIBUTE.size : at + length]
        at += _aligned(length)
    return found


def _hops(data: bytes) -> list[tuple[int, bytes]]:
    """(device, gateway) of each next hop of a route that has several."""
    hops, at = [], 0
    while at + _HOP.size <= len(data):
        length, _, _, index = _HOP.unpack_from(data, at)
        if length < _HOP.size:
            break
        gateway = attributes(data[at : at + length], _HOP.size).get(_RTA_GATEWAY, b"")
        hops.append((index, gateway))
        at += _aligned(length)
    return hops


def _number(found: dict[int, bytes], kind: int) -> int:
    data = found.get(kind, b"")
    return int(_U32.unpack_from(data)[0]) if len(data) >= _U32.size else 0


def _aligned(length: int) -> int:
    return (length + 3) & ~3
