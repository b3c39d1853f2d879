"""UDP datagrams for the hub's own address: what is in them, and the datagram that answers one (RFC 768).

Knows: UDP's header and checksum in both versions of IP. Refuses to know: what is asked (dns_answers).
"""

from __future__ import annotations

import struct

from lib.packet import UDP, Buffer, Packet, checksum, pseudo_sum

HEADER = 8
HOPS = 64
_HEADER = struct.Struct("!HHHH")  # source port, destination port, length, checksum


def port(buf: Buffer, packet: Packet, end: int) -> int:
    """The port that a whole UDP datagram is for; 0 for fragments, other protocols and cut off ones."""
    at = packet.transport
    if packet.protocol != UDP or packet.fragment or at + HEADER > end:
        return 0
    number: int = _HEADER.unpack_from(buf, at)[1]
    return number


def content(buf: Buffer, packet: Packet, end: int) -> bytes:
    """What is in a datagram; empty where its length cannot be."""
    at = packet.transport
    length: int = _HEADER.unpack_from(buf, at)[2]
    return bytes(buf[at + HEADER : at + length]) if HEADER <= length <= end - at else b""


def reply(buf: Buffer, packet: Packet, data: bytes) -> bytes:
    """The datagram that brings `data` back to where one came from, as an IP packet."""
    source, destination, *_ = _HEADER.unpack_from(buf, packet.transport)
    size = HEADER + len(data)
    datagram = bytearray(_HEADER.pack(destination, source, size, 0) + data)
    value = checksum(datagram, pseudo_sum(packet.destination, packet.source, UDP, size))
    struct.pack_into("!H", datagram, 6, value or 0xFFFF)  # 0 would say that there is none
    if packet.version == 6:
        head = struct.pack("!IHBB", 6 << 28, size, UDP, HOPS)
        return head + packet.destination + packet.source + bytes(datagram)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + size, 0, 0, HOPS, UDP, 0)
    ends = packet.destination + packet.source
    check = checksum(head + ends)
    return head[:10] + check.to_bytes(2, "big") + ends + bytes(datagram)
