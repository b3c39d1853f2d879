"""Replies of a host to packets for its own address: the echo of a ping, the reset of a TCP connection.

Knows: which packet is a reply to which (RFC 792, 4443, 9293), also fragment by fragment.
Refuses to know: which address is whose (namespace), how many replies may be sent (forward_hop).

The reply to an echo request is the same message with another type. A request that comes in fragments has its
reply in the same fragments: only the first one has the type, and the checksum follows that one change. So
nothing is put together, and nothing has to be kept but which datagrams are requests.
"""

from __future__ import annotations

import struct

from lib.packet import FRAGMENT, ICMP, ICMPV6, TCP, Buffer, Packet, checksum, pseudo_sum
from lib.packet_headers import Headers

HOPS = 64
_ECHO = {4: (8, 0), 6: (128, 129)}
"""Types of echo request and echo reply, by IP version."""
_RST, _SYN, _FIN, _ACK = 0x04, 0x02, 0x01, 0x10
_DONT_FRAGMENT = 0x4000
_TCP = struct.Struct("!HHIIBBHHH")


def is_echo_request(buf: Buffer, headers: Headers, end: int) -> bool:
    """Whether a packet is an echo request, or the first fragment of one."""
    packet = headers.packet
    if packet.protocol != (ICMP if packet.version == 4 else ICMPV6) or packet.transport + 8 > end:
        return False
    is_later = headers.fragment is not None and headers.fragment.begin > 0
    return not is_later and buf[packet.transport] == _ECHO[packet.version][0]


def echo_reply(buf: Buffer, start: int, headers: Headers, end: int) -> bytes | None:
    """The reply to an echo request in buf[start:end], or to any fragment of one, as an IP packet.

    None for IPv6 fragments behind other extension headers, which no ping sends.
    """
    packet = headers.packet
    is_later = headers.fragment is not None and headers.fragment.begin > 0
    body = bytearray(buf[packet.transport : end])
    if not is_later:
        request, reply = _ECHO[packet.version]
        (check,) = struct.unpack_from("!H", body, 2)
        body[0] = reply
        # RFC 1624: the sum follows the change of the type, which is the high byte of its word.
        value = (check + ((request - reply) << 8)) % 0xFFFF
        body[2:4] = bytes(2)
        # 0 and 0xFFFF are equal in ones' complement, but the sum of nothing but zeros has one spelling.
        struct.pack_into("!H", body, 2, value if value or any(body) else 0xFFFF)
    if packet.version == 4:
        service, identity, bits = (
            buf[start + 1],
            bytes(buf[start + 4 : start + 6]),
            buf[start + 6 : start + 8],
        )
        head = struct.pack("!BBH", 0x45, service, 20 + len(body)) + identity + bytes(bits)
        return _ipv4(head, ICMP, packet) + bytes(body)
    if headers.fragment is None:
        return _ipv6(buf, start, ICMPV6, len(body), packet) + bytes(body)
    if set(headers.extensions) != {FRAGMENT}:
        return None
    header = bytes(buf[packet.transport - 8 : packet.transport])
    return _ipv6(buf, start, FRAGMENT, 8 + len(body), packet) + header + bytes(body)


def reset(buf: Buffer, packet: Packet, end: int) -> bytes | None:
    """The TCP reset for a segment to a port where nobody listens (RFC 9293, 3.10.7.1), as an IP packet.

    None for a reset, for fragments and for a header that is cut off.
    """
    at = packet.transport
    if packet.protocol != TCP or packet.fragment or at + 20 > end:
        return None
    source, destination, sequence, acknowledged, offset, flags, *_ = _TCP.unpack_from(buf, at)
    if flags & _RST:
        return None
    length = end - at - (offset >> 4) * 4 + bool(flags & _SYN) + bool(flags & _FIN)
    ends = (acknowledged, 0, _RST) if flags & _ACK else (0, (sequence + length) & 0xFFFFFFFF, _RST | _ACK)
    reply = bytearray(_TCP.pack(destination, source, *ends[:2], 5 << 4, ends[2], 0, 0, 0))
    value = checksum(reply, pseudo_sum(packet.destination, packet.source, TCP, len(reply)))
    struct.pack_into("!H", reply, 16, value)
    if packet.version == 4:
        head = struct.pack("!BBHHH", 0x45, 0, 20 + len(reply), 0, _DONT_FRAGMENT)
        return _ipv4(head, TCP, packet) + bytes(reply)
    head = struct.pack("!IHBB", 6 << 28, len(reply), TCP, HOPS)
    return head + packet.destination + packet.source + bytes(reply)


def _ipv4(head: bytes, protocol: int, packet: Packet) -> bytes:
    """The header of a reply; `head` is its first eight bytes."""
    header = bytearray(head + bytes((HOPS, protocol, 0, 0)) + packet.destination + packet.source)
    struct.pack_into("!H", header, 10, checksum(header))
    return bytes(header)


def _ipv6(buf: Buffer, start: int, following: int, length: int, packet: Packet) -> bytes:
    """The header of a reply, of the traffic class and flow label that the request has."""
    head = bytes(buf[start : start + 4]) + struct.pack("!HBB", length, following, HOPS)
    return head + packet.destination + packet.source
