"""TCP GRO: consecutive TCP segments of a flow are merged into one superpacket, as the kernel's TCP GRO does.

Knows: which segments may be merged (in Linux tcp_gro_receive, inet_gro_receive and ipv6_gro_receive), and the
headers of the superpacket.
Refuses to know: who sent the frames, and who takes the superpacket (client_downlink).

A GOST hub sends each packet in a frame of its own. Segments of a bulk transfer lie one behind the other
in the receive buffer, and there their payloads are moved together:

    | length | headers | payload 1 | length | headers | payload 2 | length | headers | payload 3 | length | …
    virtio-net | headers | payload 1 | payload 2 | payload 3 |           (what is left of them) | length | …

The superpacket stands for exactly the packets that it was made of: `packet_offload.packets` gives them back
byte by byte. So their headers may differ in nothing but lengths, checksums, sequence number, IPv4 id (one
more each time), and FIN and PSH of the last one. The kernel looks at no checksum of a superpacket, and where
it forwards the segments it computes new ones. So the checksums of each segment are verified here: what was
damaged must not become right.

Of what the kernel merges as well, these go one by one: segments that all have the same IPv4 id (a virtio-net
header cannot say so), with CWR, with IPv6 extension headers, with less than MIN_PAYLOAD bytes, and segments
of two flows whose frames alternate.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from lib import packet as ip
from lib import packet_offload

MIN_PAYLOAD = packet_offload.FEW_SEGMENTS
"""Least payload of the first segment, in bytes: no superpacket has more than packet_offload.MAX_SEGMENTS."""
MIN_SIZE = 20 + 20 + MIN_PAYLOAD
"""Least size of the first segment with its headers, in bytes."""
MAX_SIZE = 65535
"""Largest superpacket, in bytes of the IP packet: IPv4's total length has 16 bits."""

_ENDS = 0x01 | 0x08
"""FIN and PSH: the last segment may have them, and no other one."""
_PLAIN = (0x10, 0x50)
"""Flags of the other segments: ACK, perhaps ECE. Not SYN, RST, URG or CWR."""

_LEAD_V4 = struct.Struct("!2xH2xHxB22xBB").unpack_from
_LEAD_V6 = struct.Struct("!4xHB45xBB").unpack_from
_V4 = struct.Struct("!2sHH4s2x12sI5sB2s2x2s").unpack_from
_V6 = struct.Struct("!4sH38sI5sB2s2x2s").unpack_from
_HEADER = struct.Struct("<BBHHHH").pack_into
_U16 = struct.Struct("!H").pack_into

Fields = tuple[tuple[bytes, ...], int, int, int, int]
"""What is compared of two segments: all that must be the same (addresses, ports, TOS, TTL, acknowledgement,
window and so on), the packet's size by its IP header, IPv4 id, sequence number, TCP flags."""


def _lead_v4(buf: bytearray, start: int, size: int) -> int:
    length, fragment, protocol, offset, flags = _LEAD_V4(buf, start)
    plain = length == size and not fragment & 0xBFFF and protocol == ip.TCP and flags in _PLAIN
    return 20 + (offset >> 4) * 4 if plain else 0


def _lead_v6(buf: bytearray, start: int, size: int) -> int:
    length, protocol, offset, flags = _LEAD_V6(buf, start)
    plain = length == size - 40 and protocol == ip.TCP and flags in _PLAIN
    return 40 + (offset >> 4) * 4 if plain else 0


def _fields_v4(buf: bytearray, start: int) -> Fields:
    first, length, ident, second, flow, sequence, ack, flags, window, urgent = _V4(buf, start)
    return (flow, ack, first, second, window, urgent), length, ident, sequence, flags


def _fields_v6(buf: bytearray, start: int) -> Fields:
    first, length, flow, sequence, ack, flags, window, urgent = _V6(buf, start)
    return (flow, ack, first, window, urgent), length + 40, 0, sequence, flags


@dataclass(frozen=True, slots=True)
class _Version:
    """What differs between IPv4 and IPv6."""

    transport: int
    """Offset of the TCP header. The addresses lie right before it."""
    addresses: int
    """Offset of the addresses."""
    step: int
    """By how much the id grows from one segment to the next."""
    gso_type: int
    lead: Callable[[bytearray, int, int], int]
    """Bytes of the headers of a segment that others may follow; 0 where none may."""
    fields: Callable[[bytearray, int], Fields]


_IPV4 = _Version(20, 12, 1, packet_offload.GSO_TCPV4, _lead_v4, _fields_v4)
_IPV6 = _Version(40, 8, 0, packet_offload.GSO_TCPV6, _lead_v6, _fields_v6)
_VERSIONS = {0x45: _IPV4, **dict.fromkeys(range(0x60, 0x70), _IPV6)}
"""First byte of a packet -> its version; IPv4 with options is merged with nothing."""


def merge(buf: bytearray, view: memoryview, start: int, size: int, end: int) -> tuple[int, int, int] | None:
    """Merge the packet in buf[start:start + size] with those of the whole frames behind it, up to `end`.

    Works in place, on a buffer with 10 bytes before `start` and framing.SLACK behind `end`; `view` is a view
    of it. Returns (end of the superpacket, whose virtio-net header begins at start - 10; end of the last
    frame that has become part of it; segments), or None, with buf as it was, where nothing can be merged.
    """
    version = _VERSIONS.get(buf[start])
    head = version.lead(buf, start, size) if version is not None and size >= MIN_SIZE else 0
    payload = size - head
    if version is None or head < version.transport + 20 or payload < MIN_PAYLOAD:
        return None
    first = version.fields(buf, start)
    options = buf[start + version.transport + 20 : start + head]
    into = at = start + size
    flags, segments = first[4], 1
    while segments * payload <= MAX_SIZE - size:
        begin = at + 2
        after = begin + (buf[at] << 8 | buf[at + 1])
        more = after - begin - head
        if after > end or not 0 < more <= payload:
            break
        same, length, ident, sequence, its_flags = version.fields(buf, begin)
        if (
            same != first[0]
            or length != after - begin
            or ident != first[2] + segments * version.step & 0xFFFF
            or sequence != first[3] + segments * payload & 0xFFFFFFFF
            or its_flags & ~_ENDS != first[4]
            or buf[begin + version.transport + 20 : begin + head] != options
        ):
            break
        if segments == 1 and not _is_sound(version, view, start, at):
            return None
        if not _is_sound(version, view, begin, after):
            break
        view[into : into + more] = view[begin + head : after]
        into, at, flags, segments = into + more, after, its_flags, segments + 1
        if more < payload or flags != first[4]:
            break
    if segments == 1:
        return None
    _close(version, buf, start, into, head, payload, flags)
    return into, at, segments


def _is_sound(version: _Version, view: memoryview, start: int, end: int) -> bool:
    """Whether the packet's checksums are right, that of TCP and IPv4's of the header."""
    size = end - start - version.transport
    if version is _IPV4 and ip.sum16(view[start : start + 20]):
        return False
    return not ip.sum16(view[start + version.addresses : end], ip.TCP + size)


def _close(
    version: _Version, buf: bytearray, start: int, end: int, head: int, payload: int, flags: int
) -> None:
    """Write the headers of the superpacket in buf[start:end], and a virtio-net header before them."""
    transport, total = version.transport, end - start
    vnet = packet_offload.NEEDS_CSUM, version.gso_type, head, payload, transport, 16
    _HEADER(buf, start - packet_offload.HEADER_SIZE, *vnet)
    if version is _IPV4:
        _U16(buf, start + 2, total)
        _U16(buf, start + 10, 0)
        _U16(buf, start + 10, ip.checksum(buf[start : start + 20]))
    else:
        _U16(buf, start + 4, total - transport)
    tcp = start + transport
    buf[tcp + 13] = flags
    pseudo = ip.sum16(buf[start + version.addresses : tcp]) + ip.TCP + total - transport
    _U16(buf, tcp + 16, pseudo % 65535)
