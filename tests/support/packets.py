"""Packets and frames for tests: built, parsed and checked without the program's own code.

Knows: IPv4, IPv6, TCP, UDP and ICMP headers, the virtio-net header, the two-byte frame length.
Refuses to know: lib, for code that is checked by itself is not checked; only its buffer's sizes are used.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from ipaddress import ip_address

from lib.framing import HEADROOM, SLACK

ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION, MOBILITY = 0, 43, 44, 51, 60, 135
DONT_FRAGMENT, MORE_FRAGMENTS = 0x4000, 0x2000
ACK, PSH, SYN, FIN = 0x10, 0x08, 0x02, 0x01
NEEDS_CSUM = 1
GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4 = 1, 4, 5
NO_OFFLOAD = bytes(10)


# --- checksums, word by word as RFC 1071 has it ----------------------------------------------------


def ones_sum(data: bytes) -> int:
    """The folded 16-bit ones' complement sum, not inverted."""
    data += b"\0" * (len(data) & 1)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return int(total)


def pseudo_header(source: bytes, destination: bytes, protocol: int, length: int) -> bytes:
    form = "!4s4sxBH" if len(source) == 4 else "!16s16sI3xB"
    numbers = (protocol, length) if len(source) == 4 else (length, protocol)
    return struct.pack(form, source, destination, *numbers)


# --- packets ---------------------------------------------------------------------------------------


def packed(address: str) -> bytes:
    return ip_address(address).packed


def ip(
    source: str,
    destination: str,
    protocol: int,
    payload: bytes,
    *,
    ttl: int = 64,
    identity: int = 7,
    fragment: int = 0,
    options: bytes = b"",
) -> bytes:
    """An IP packet of the family of its addresses; `fragment` is IPv4's flags and offset."""
    ends = packed(source) + packed(destination)
    if len(ends) == 32:
        return struct.pack("!IHBB", 6 << 28, len(payload), protocol, ttl) + ends + payload
    first, size = 0x45 + len(options) // 4, 20 + len(options)
    head = struct.pack("!BBHHHBBH", first, 0, size + len(payload), identity, fragment, ttl, protocol, 0)
    header = bytearray(head + ends + options)
    struct.pack_into("!H", header, 10, 0xFFFF - ones_sum(bytes(header)))
    return bytes(header) + payload


def _transport(source: str, destination: str, protocol: int, body: bytes, at: int, partial: bool) -> bytes:
    """A TCP or UDP header and payload with its checksum at `at`, or only the pseudo-header's sum there."""
    pseudo = pseudo_header(packed(source), packed(destination), protocol, len(body))
    value = ones_sum(pseudo) if partial else 0xFFFF - ones_sum(pseudo + body)
    if protocol == UDP and not partial:
        value = value or 0xFFFF  # 0 is "no checksum" there (RFC 768); to TCP it is a value like any other
    return body[:at] + struct.pack("!H", value) + body[at + 2 :]


def udp(
    source: str,
    destination: str,
    payload: bytes = b"x" * 8,
    *,
    ports: tuple[int, int] = (4000, 5000),
    partial: bool = False,
    **header: int,
) -> bytes:
    body = struct.pack("!HHHH", *ports, 8 + len(payload), 0) + payload
    return ip(source, destination, UDP, _transport(source, destination, UDP, body, 6, partial), **header)  # type: ignore[arg-type]


def tcp(
    source: str,
    destination: str,
    payload: bytes = b"x" * 8,
    *,
    ports: tuple[int, int] = (4000, 5000),
    sequence: int = 1000,
    flags: int = ACK,
    options: bytes = b"",
    partial: bool = False,
    **header: int,
) -> bytes:
    offset = (20 + len(options)) // 4 << 4
    body = struct.pack("!HHIIBBHHH", *ports, sequence, 1, offset, flags, 512, 0, 0) + options + payload
    return ip(source, destination, TCP, _transport(source, destination, TCP, body, 16, partial), **header)  # type: ignore[arg-type]


def icmp(
    source: str, destination: str, kind: int = 8, payload: bytes = b"ping", *, identifier: int = 1
) -> bytes:
    """An ICMP message (an echo request unless told); to IPv6 addresses an ICMPv6 one."""
    body = struct.pack("!BBHHH", kind, 0, 0, identifier, 1) + payload
    ends = packed(source), packed(destination)
    protocol = ICMP if len(ends[0]) == 4 else ICMPV6
    covered = body if protocol == ICMP else pseudo_header(*ends, ICMPV6, len(body)) + body
    body = body[:2] + struct.pack("!H", 0xFFFF - ones_sum(covered)) + body[4:]
    return ip(source, destination, protocol, body)


def with_tos(packet: bytes, tos: int) -> bytes:
    """An IP packet (IPv4 without options) with this type of service or traffic class, its last two bits ECN."""
    if packet[0] >> 4 == 6:
        return struct.pack("!H", 6 << 12 | tos << 4 | packet[1] & 15) + packet[2:]
    return with_payload(bytes((packet[0], tos)) + packet[2:], packet[20:])


def extended(packet: bytes, *headers: tuple[int, int]) -> bytes:
    """An IPv6 packet with extension headers, each (number, bytes), before what stands there now."""
    for number, size in reversed(headers):
        length = {FRAGMENT: 0, AUTHENTICATION: size // 4 - 2}.get(number, size // 8 - 1)
        pad = bytes((1, size - 4)) if number in (HOP_BY_HOP, DESTINATION) and size < 256 else b""
        header = bytes((packet[6], length)) + pad.ljust(size - 2, b"\0")
        packet = with_payload(packet[:6] + bytes((number,)) + packet[7:], header + packet[40:])
    return packet


def with_payload(packet: bytes, payload: bytes) -> bytes:
    """An IP packet (IPv4 without options) with something else behind its header, and the length that fits."""
    if packet[0] >> 4 == 6:
        return packet[:4] + struct.pack("!H", len(payload)) + packet[6:40] + payload
    header = bytearray(packet[:20])
    struct.pack_into("!H", header, 2, 20 + len(payload))
    struct.pack_into("!H", header, 10, 0)
    struct.pack_into("!H", header, 10, 0xFFFF - ones_sum(bytes(header)))
    return bytes(header) + payload


def piece(packet: bytes, begin: int, end: int | None = None, identity: int = 7) -> bytes:
    """The fragment that holds bytes begin to end of what stands behind a packet's IP header."""
    at = 20 if packet[0] >> 4 == 4 else 40
    data = packet[at:][begin:end]
    bits = begin // 8, begin + len(data) < len(packet) - at
    if at == 20:
        header = packet[:4] + struct.pack("!HH", identity, bits[0] | bits[1] << 13) + packet[8:20]
        return with_payload(header, data)
    header = packet[:6] + bytes((FRAGMENT,)) + packet[7:40]
    return with_payload(header, struct.pack("!BBHI", packet[6], 0, bits[0] << 3 | bits[1], identity) + data)


def pieces(packet: bytes, *cuts: int, identity: int = 7) -> list[bytes]:
    """A packet as fragments, cut at these bytes of what stands behind its IP header."""
    edges = [0, *cuts, None]
    return [piece(packet, edges[n] or 0, edges[n + 1], identity) for n in range(len(edges) - 1)]


def joined(parts: Iterable[bytes]) -> bytes:
    """The datagram of IPv4 fragments in any order, as a receiver puts it together (RFC 791, no gaps, no overlap)."""
    found = {(struct.unpack_from("!H", part, 6)[0] & 0x1FFF) * 8: part for part in parts}
    data = b""
    for offset in sorted(found):
        assert offset == len(data), "a gap or an overlap"
        data += found[offset][(found[offset][0] & 15) * 4 :]
    assert not found[max(found)][6] & MORE_FRAGMENTS >> 8, "the last fragment says that more come"
    assert all(part[6] & MORE_FRAGMENTS >> 8 for at, part in found.items() if at != max(found))
    header = bytearray(found[0][: (found[0][0] & 15) * 4])
    struct.pack_into("!H", header, 2, len(header) + len(data))
    header[6:8] = bytes((header[6] & ~(MORE_FRAGMENTS >> 8), 0))
    struct.pack_into("!H", header, 10, 0)
    struct.pack_into("!H", header, 10, 0xFFFF - ones_sum(bytes(header)))
    return bytes(header) + data


# --- virtio-net headers ----------------------------------------------------------------------------


def virtio(
    flags: int = 0, kind: int = 0, hdr_len: int = 0, gso_size: int = 0, start: int = 0, offset: int = 0
) -> bytes:
    return struct.pack("<BBHHHH", flags, kind, hdr_len, gso_size, start, offset)


def headed(packet: bytes) -> bytes:
    """A complete packet with a header that says so."""
    return NO_OFFLOAD + packet


def partial(packet: bytes) -> bytes:
    """A packet built with partial=True, with the header that belongs to it."""
    return virtio(NEEDS_CSUM, 0, 0, 0, transport_at(packet), _CHECKSUM_AT[protocol_of(packet)]) + packet


def superpacket(packet: bytes, gso_size: int) -> bytes:
    """A packet built with partial=True as a superpacket of segments of gso_size bytes."""
    at, protocol = transport_at(packet), protocol_of(packet)
    kind = GSO_UDP_L4 if protocol == UDP else GSO_TCPV4 if packet[0] >> 4 == 4 else GSO_TCPV6
    headers = at + (8 if protocol == UDP else (packet[at + 12] >> 4) * 4)
    return virtio(NEEDS_CSUM, kind, headers, gso_size, at, _CHECKSUM_AT[protocol]) + packet


_CHECKSUM_AT = {TCP: 16, UDP: 6}


# --- taking apart ----------------------------------------------------------------------------------


def transport_at(packet: bytes) -> int:
    """Where the transport header starts (no IPv6 extension headers in tests that ask)."""
    return (packet[0] & 15) * 4 if packet[0] >> 4 == 4 else 40


def protocol_of(packet: bytes) -> int:
    return packet[9] if packet[0] >> 4 == 4 else packet[6]


def payload_of(packet: bytes) -> bytes:
    """What a TCP or UDP packet carries."""
    at = transport_at(packet)
    return packet[at + (8 if protocol_of(packet) == UDP else (packet[at + 12] >> 4) * 4) :]


def ends_of(packet: bytes) -> tuple[str, str]:
    """Source and destination address."""
    at, width = (12, 4) if packet[0] >> 4 == 4 else (8, 16)
    return str(ip_address(packet[at : at + width])), str(ip_address(packet[at + width : at + 2 * width]))


def assert_right(packet: bytes) -> None:
    """Lengths and checksums of a complete packet (TCP, UDP or ICMP) are right."""
    at, protocol = transport_at(packet), protocol_of(packet)
    ends = tuple(ip_address(address).packed for address in ends_of(packet))
    body = packet[at:]
    if packet[0] >> 4 == 4:
        assert struct.unpack_from("!H", packet, 2)[0] == len(packet)
        assert ones_sum(packet[:at]) == 0xFFFF, "IPv4 header checksum"
    else:
        assert struct.unpack_from("!H", packet, 4)[0] == len(packet) - 40
    if protocol == UDP:
        assert struct.unpack_from("!H", body, 4)[0] == len(body)
    covered = body if protocol == ICMP else pseudo_header(ends[0], ends[1], protocol, len(body)) + body
    assert ones_sum(covered) == 0xFFFF, f"checksum of protocol {protocol}"


# --- frames ----------------------------------------------------------------------------------------


def frame(content: bytes) -> bytes:
    return struct.pack("!H", len(content)) + content


def stream(contents: Iterable[bytes]) -> bytes:
    return b"".join(map(frame, contents))


def contents(data: bytes) -> list[bytes]:
    """The frame contents in data, which must be whole frames."""
    found, at = [], 0
    while at < len(data):
        (size,) = struct.unpack_from("!H", data, at)
        assert at + 2 + size <= len(data), "a torn frame"
        found.append(bytes(data[at + 2 : at + 2 + size]))
        at += 2 + size
    return found


def received(data: bytes) -> tuple[bytearray, memoryview, int, int]:
    """data as it lies in a receive buffer: (buffer, view of it, first byte, end)."""
    buffer = bytearray(HEADROOM) + data + bytes(SLACK)
    return buffer, memoryview(buffer), HEADROOM, HEADROOM + len(data)
