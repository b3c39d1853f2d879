"""Builder of ICMP errors that a hub or a client sends about a packet (RFC 792, 1812, 4443).

Knows: types and codes, which error fits a reason for a drop, about which packets none may be sent, how long
one may be.
Refuses to know: how many may be sent (namespace), and why a packet was dropped (forward_decide).
"""

from __future__ import annotations

import struct

from lib.forward_drop_reasons import Reason
from lib.packet import ICMP, ICMPV6, UDP, Buffer, Packet, checksum, pseudo_sum

DUMMY_IPV4 = bytes((192, 0, 0, 8))
"""The source of an ICMP error of a router without an IPv4 address (RFC 7600, 4.8), as Linux has it too."""
DUMMY_IPV6 = bytes((1, 0, 0, 0, 0, 0, 0, 1)) + bytes(7) + b"\x08"
"""100:0:0:1::8, of the IPv6 prefix for addresses that are only sources (RFC 9780)."""
_V4_UNREACHABLE, _V4_TOO_BIG = 3, 4
_V6_UNREACHABLE, _V6_TOO_BIG, _V6_REDIRECT = 1, 2, 137
_IPV6_HEADER = 40
_V4_ERRORS = {
    Reason.NO_ROUTE: (_V4_UNREACHABLE, 0),
    Reason.NO_SESSION: (_V4_UNREACHABLE, 1),
    Reason.FOR_HUB: (_V4_UNREACHABLE, 3),  # port unreachable
    Reason.DENIED: (_V4_UNREACHABLE, 13),
    Reason.HOP_LIMIT: (11, 0),  # time exceeded
}
_V6_ERRORS = {
    Reason.NO_ROUTE: (_V6_UNREACHABLE, 0),
    Reason.NO_SESSION: (_V6_UNREACHABLE, 3),
    Reason.FOR_HUB: (_V6_UNREACHABLE, 4),
    Reason.DENIED: (_V6_UNREACHABLE, 1),
    Reason.HOP_LIMIT: (3, 0),
}
"""Reason for a drop -> (type, code) of the error about it, by IP version."""
_V4_PROTOCOL_UNREACHABLE = _V4_UNREACHABLE, 2
_V6_UNKNOWN_NEXT_HEADER, _NEXT_HEADER_AT = (4, 1), 6


def unreachable(
    buf: Buffer,
    start: int,
    packet: Packet,
    end: int,
    reason: Reason,
    dummy: bool = False,
    own: bytes = b"",
) -> bytes | None:
    """The ICMP error about a packet that was not delivered for a reason, as an IP packet to its sender.

    None where no error may be sent (RFC 1122 3.2.2, RFC 4443 2.4), or where none fits the reason. A router's
    errors come from an address of its own (RFC 1812 4.3.2.4), `own`, packed. A hub without one speaks from a
    dummy address where `dummy` says so, so that ping and traceroute do not name the address that could not be
    reached as the one who speaks. Else it speaks from that address, which every reverse path filter lets in.
    """
    if packet.version == 4:
        if reason not in _V4_ERRORS or not _icmp_error_allowed_ipv4(buf, start, packet, end):
            return None
        kind, code = _V4_ERRORS[reason]
        if reason is Reason.FOR_HUB and packet.protocol != UDP:
            kind, code = _V4_PROTOCOL_UNREACHABLE
        source = own or (DUMMY_IPV4 if dummy else packet.destination)
        return _icmp_error_ipv4(buf, start, packet, end, source, kind, code, 0)
    if reason not in _V6_ERRORS or not _icmp_error_allowed_ipv6(buf, packet, end):
        return None
    kind, code = _V6_ERRORS[reason]
    word = 0
    if reason is Reason.FOR_HUB and packet.protocol != UDP:
        (kind, code), word = _V6_UNKNOWN_NEXT_HEADER, _NEXT_HEADER_AT
        if packet.transport - start != _IPV6_HEADER:
            return None  # the pointer would be into an extension header
    source = own or (DUMMY_IPV6 if dummy else packet.destination)
    return _icmp_error_ipv6(buf, start, packet, end, source, kind, code, word)


def too_big(buf: Buffer, start: int, packet: Packet, end: int, mtu: int, own: bytes = b"") -> bytes | None:
    """The ICMP error "fragmentation needed" (IPv6: "packet too big") with an MTU in bytes, as an IP packet.

    None where no error may be sent, as about an IPv4 packet that allows fragmentation. Without an address of
    the hub's own, `own`, its source is the address that the packet was for: a strict check of the reverse
    path (rp_filter=1) would drop a dummy address, and a connection whose path MTU is not told hangs.
    """
    source = own or packet.destination
    if packet.version == 4:
        dont_fragment = buf[start + 6] & 0x40
        if not dont_fragment or not _icmp_error_allowed_ipv4(buf, start, packet, end):
            return None
        word = min(mtu, 0xFFFF)
        return _icmp_error_ipv4(buf, start, packet, end, source, _V4_UNREACHABLE, _V4_TOO_BIG, word)
    if not _icmp_error_allowed_ipv6(buf, packet, end):
        return None
    return _icmp_error_ipv6(buf, start, packet, end, source, _V6_TOO_BIG, 0, mtu)


def is_unicast(address: bytes) -> bool:
    """Whether a packed address is unicast, so that an ICMP error may be sent to it (RFC 1122 3.2.2)."""
    if len(address) == 4:
        return 0 < address[0] < 224 and address[0] != 127
    return address[0] != 0xFF and any(address[:15])


def _icmp_error_allowed_ipv4(buf: Buffer, start: int, packet: Packet, end: int) -> bool:
    first = not buf[start + 6] & 0x1F and not buf[start + 7]
    error = packet.protocol == ICMP and (packet.transport >= end or buf[packet.transport] not in (0, 8))
    return first and not error and is_unicast(packet.source) and is_unicast(packet.destination)


def _icmp_error_allowed_ipv6(buf: Buffer, packet: Packet, end: int) -> bool:
    if packet.fragment and (buf[packet.transport - 6] or buf[packet.transport - 5] & 0xF8):
        return False  # not the first fragment: its sender has an error about that one
    kind = buf[packet.transport] if packet.transport < end else 0
    error = packet.protocol == ICMPV6 and (kind < 128 or kind == _V6_REDIRECT)
    return not error and is_unicast(packet.source) and is_unicast(packet.destination)


def _icmp_error_ipv4(
    buf: Buffer, start: int, packet: Packet, end: int, source: bytes, kind: int, code: int, word: int
) -> bytes:
    quoted = bytes(buf[start : min(end, start + 548)])  # 576 with the two headers: RFC 1812 4.3.2.3
    message = bytearray(struct.pack("!BBHI", kind, code, 0, word) + quoted)
    struct.pack_into("!H", message, 2, checksum(message))
    header = bytearray(struct.pack("!BBHHHBBH", 0x45, 0xC0, 20 + len(message), 0, 0, 64, ICMP, 0))
    header += source + packet.source
    struct.pack_into("!H", header, 10, checksum(header))
    return bytes(header + message)


def _icmp_error_ipv6(
    buf: Buffer, start: int, packet: Packet, end: int, source: bytes, kind: int, code: int, word: int
) -> bytes:
    quoted = bytes(buf[start : min(end, start + 1232)])  # at most 1,280 in all: RFC 4443 2.4 (c)
    message = bytearray(struct.pack("!BBHI", kind, code, 0, word) + quoted)
    pseudo = pseudo_sum(source, packet.source, ICMPV6, len(message))
    struct.pack_into("!H", message, 2, checksum(message, pseudo))
    header = struct.pack("!IHBB", 6 << 28, len(message), ICMPV6, 64)
    return header + source + packet.source + bytes(message)
