"""IP packets: parsing of headers, flow keys, checksums (RFC 791, 8200, 1071).

Knows: how to read what forwarding needs from a packet that may be malformed.
Refuses to know: routes, sessions, virtio-net headers (packet_offload).

Positions are offsets in the buffer that holds the packet, not in the packet. Only addresses and the flow key
are copied.
"""

from __future__ import annotations

import struct
from ipaddress import ip_address
from typing import NamedTuple

from lib.forward_drop_reasons import Reason

ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
KEY_OF_ICMP = bytes([ICMP])
"""What a flow key of ICMP has behind the addresses."""
FRAGMENT = 44
"""The number of IPv6's fragment header."""
EXTENSIONS = frozenset((0, 43, 60, 135))  # hop-by-hop, routing, destination options, mobility
MAX_EXTENSIONS = 8
MAX_EXTENSION_BYTES = 2048
"""How many extension headers are read, and how many bytes of them: a real packet has few and short ones."""

Buffer = bytes | bytearray | memoryview

_IPV4 = struct.Struct("!BxHxxHxBxx4s4s")
_IPV6 = struct.Struct("!4xHBx16s16s")


class Packet(NamedTuple):
    """The fields of a parsed IP packet, checked against its length."""

    version: int
    source: bytes
    """The source address, packed: 4 or 16 bytes."""
    destination: bytes
    """The destination address, packed."""
    protocol: int
    """The transport protocol's number, after any IPv6 extension headers."""
    transport: int
    """Offset of the transport header in the buffer; the end of the packet when there is none."""
    fragment: bool
    """Whether it is a fragment, the first one included."""
    flow: bytes
    """The flow key: addresses and ports (12 or 36 bytes); of fragments, of other protocols and where the
    header of TCP or UDP is cut off, the addresses and the protocol (9 or 33 bytes)."""


def parse(buf: Buffer, start: int, end: int) -> Packet | Reason:
    """Parse the packet in buf[start:end]; returns the reason to drop it where it is not a whole IP packet."""
    version = buf[start] >> 4 if end > start else 0
    if version == 4:
        return _parse_ipv4(buf, start, end)
    return _parse_ipv6(buf, start, end) if version == 6 else Reason.NOT_IP


def _parse_ipv4(buf: Buffer, start: int, end: int) -> Packet | Reason:
    size = end - start
    header = (buf[start] & 15) * 4
    if size < 20 or header < 20 or size < header:
        return Reason.TRUNCATED
    _, total, fragment, protocol, source, destination = _IPV4.unpack_from(buf, start)
    if total != size:
        return Reason.TRUNCATED if total > size else Reason.LENGTH_LIES
    return _packet(buf, 4, source, destination, protocol, start + header, end, bool(fragment & 0x3FFF))


def _parse_ipv6(buf: Buffer, start: int, end: int) -> Packet | Reason:
    if end - start < 40:
        return Reason.TRUNCATED
    payload, protocol, source, destination = _IPV6.unpack_from(buf, start)
    if payload != end - start - 40:
        return Reason.TRUNCATED if payload > end - start - 40 else Reason.LENGTH_LIES
    at, fragment = start + 40, False
    for _ in range(MAX_EXTENSIONS):
        if protocol == FRAGMENT and at + 8 <= end:
            # No further: only the first fragment holds what follows, and all must read the same.
            fragment, protocol, at = True, buf[at], at + 8
            break
        if protocol not in EXTENSIONS or at + 8 > end:
            break
        following = at + 8 + buf[at + 1] * 8
        if following > end or following - start > 40 + MAX_EXTENSION_BYTES:
            break
        protocol, at = buf[at], following
    return _packet(buf, 6, source, destination, protocol, at, end, fragment)


def _packet(
    buf: Buffer,
    version: int,
    source: bytes,
    destination: bytes,
    protocol: int,
    transport: int,
    end: int,
    fragment: bool,
) -> Packet:
    if not fragment and (
        (protocol == TCP and transport + 20 <= end) or (protocol == UDP and transport + 8 <= end)
    ):
        tail = bytes(buf[transport : transport + 4])
    else:
        tail = bytes([protocol])
    return Packet(version, source, destination, protocol, transport, fragment, source + destination + tail)


def format_address(address: bytes) -> str:
    """A packed address (4 or 16 bytes) as text, as in `192.0.2.1`."""
    return str(ip_address(address))


def describe(packet: Packet) -> str:
    """A packet's addresses for a log line: `192.0.2.1 to 192.0.2.9`."""
    return f"{format_address(packet.source)} to {format_address(packet.destination)}"


def sum16(data: Buffer, initial: int = 0) -> int:
    """The 16-bit ones' complement sum (RFC 1071) of data, an odd length padded with a zero byte.

    65,536 is 1 modulo 65,535. So the sum of all 16-bit words is the whole data, read as one number, modulo
    65,535. One big division is faster than any loop over the words, and to add two halves before it, cut
    between two words, saves half of the division (2.3 µs for 1,388 bytes, with one number 2.8).
    """
    size = len(data)
    half = size >> 2 << 1 if size > 512 else 0
    value = int.from_bytes(data[half:], "big")
    if size & 1:
        value <<= 8
    if half:
        value += int.from_bytes(data[:half], "big")
    return (value + initial) % 65535


def reversed_flow(flow: bytes) -> bytes:
    """The flow key of packets the other way: addresses exchanged, and ports where it has any."""
    size = 4 if len(flow) < 16 else 16
    tail = flow[2 * size :]
    return flow[size : 2 * size] + flow[:size] + (tail[2:] + tail[:2] if len(tail) == 4 else tail)


def checksum(data: Buffer, initial: int = 0) -> int:
    """The Internet checksum (RFC 1071) of data that is not all zeros, as a header holds it: 0 to 65,534."""
    return -sum16(data, initial) % 65535


def pseudo_sum(source: bytes, destination: bytes, protocol: int, length: int) -> int:
    """The sum over the pseudo-header, for a TCP, UDP or ICMPv6 checksum; not folded, not inverted.

    `length` is that of transport header and payload, in bytes.
    """
    return sum16(source + destination) + protocol + (length >> 16) + (length & 0xFFFF)
