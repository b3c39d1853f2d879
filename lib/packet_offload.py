"""Superpackets: the virtio-net header, what it promises, and how to do without it.

Knows: which headers fit which packets, how to cut a superpacket into the packets it stands
for, and how to complete a checksum that was left partial (linux/virtio_net.h, linux/if_tun.h,
Documentation/networking/segmentation-offloads.rst).
Refuses to know: who sent the packet and where it goes.

A frame that starts with nibble 0 is this header, little-endian, and an IP packet:

     0       1          2         4          6            8             10
    +-------+----------+---------+----------+------------+-------------+-----------
    | flags | gso_type | hdr_len | gso_size | csum_start | csum_offset | IP packet …
    +-------+----------+---------+----------+------------+-------------+-----------

A header from a peer is a claim, not a fact. All of it but gso_size follows from the packet,
so `rebuild` writes what must stand there from our own reading and keeps nothing else.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from lib import packet as ip
from lib.forward_drop_reasons import Reason
from lib.framing import split
from lib.packet import TCP, UDP, Buffer, Packet

HEADER_SIZE = 10
NO_OFFLOAD = bytes(HEADER_SIZE)
"""The header of a complete single packet."""

# What a receiver takes: the kernel's own bits (linux/if_tun.h TUN_F_*), used on our wire as well.
CSUM = 0x01
TSO4 = 0x02
TSO6 = 0x04
TSO_ECN = 0x08
USO4 = 0x20
USO6 = 0x40
ALL = CSUM | TSO4 | TSO6 | TSO_ECN | USO4 | USO6

NEEDS_CSUM = 1
GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, GSO_ECN = 0, 1, 4, 5, 0x80

MAX_UDP_SEGMENTS = 128
"""UDP_MAX_SEGMENTS of the kernel: more, and it refuses the packet."""
MIN_TCP_SEGMENT = 28
"""tcp_min_snd_mss (48) less what TCP options can take of it in practice."""
_CHECKSUM_AT = {TCP: 16, UDP: 6}

_HEADER = struct.Struct("<BBHHHH")

_QUICK = struct.Struct("!10sBxHxxHxB2x12s").unpack_from
"""A virtio-net header, and of the IPv4 packet behind it: version and header length, total length, fragment
bits, protocol, addresses and ports."""
_TCP_OFFSET = HEADER_SIZE + 20 + 12
"""Where the TCP header's own length stands, of an IPv4 packet without options."""

SINGLE: dict[bytes, int] = {
    NO_OFFLOAD: 0,
    _HEADER.pack(NEEDS_CSUM, 0, 0, 0, 20, 16): TCP,
    _HEADER.pack(NEEDS_CSUM, 0, 0, 0, 20, 6): UDP,
}
"""The headers of a single IPv4 packet without options, and the protocol each is right for
(0: any). This is how nearly every small packet looks, so it is looked up, not parsed."""


_LEAST_TCP, _LEAST_UDP = HEADER_SIZE + 20 + 20, HEADER_SIZE + 20 + 8
"""From which content size on an IPv4 packet without options has a whole transport header."""
_right = SINGLE.get


@dataclass(frozen=True, slots=True)
class TcpSuper:
    """What a virtio-net header says of an IPv4 TCP superpacket, and what that asks of others."""

    data_offset: int
    """Byte 12 of the TCP header must say so (its upper four bits): else hdr_len lies."""
    overhead: int
    """Bytes of virtio-net, IP and TCP header."""
    gso_size: int
    offloads: int
    """Bits its receiver must take."""
    segment: int
    """Length of one segment's packet, which must fit the receiver's MTU."""

    def more(self, size: int) -> int:
        """How many packets a content of that size stands for beyond one."""
        return (size - self.overhead - 1) // self.gso_size


@lru_cache(maxsize=1024)
def tcp_super(header: bytes) -> TcpSuper | None:
    """Read the header of a superpacket of the usual kind: IPv4 without options, TCP.

    A packet with total length, protocol and data offset to match, and with more payload than
    gso_size, is what `rebuild` would accept without changing the header. None for any other
    header. Remembered, for a flow's headers are all alike.
    """
    flags, gso_type, headers, gso_size, csum_start, csum_offset = _HEADER.unpack(header)
    usual = flags == NEEDS_CSUM and gso_type & ~GSO_ECN == GSO_TCPV4 and (csum_start, csum_offset) == (20, 16)
    if not usual or headers not in range(40, 81, 4) or gso_size < MIN_TCP_SEGMENT:
        return None
    ecn = TSO_ECN if gso_type & GSO_ECN else 0
    offset = (headers - 20) // 4
    return TcpSuper(offset, HEADER_SIZE + headers, gso_size, CSUM | TSO4 | ecn, headers + gso_size)


Plain = tuple[int, bytes, TcpSuper | None]
"""What `quick_check` says of a content that passes: protocol, flow (addresses and ports, 12 bytes; empty
where it has none to be known by), and of a superpacket what that asks of its receiver."""
_WITHOUT_FLOW: Plain = 0, b"", None


def quick_check(buf: Buffer, start: int, size: int) -> Plain | None:
    """Whether a content of `size` bytes is of the usual kind, with a header that is plainly true.

    This guards the kernel: what passes is written to a device, or sent to a peer, without another look. So
    only IPv4 without options passes, under a header that `rebuild` would write just as it stands (it looks at
    the data offset of single TCP packets as well, which no device needs). Nearly every frame is of that kind;
    the others (None) are for `rebuild`. 34 bytes must be there to be read, however few the content has.
    """
    header, first, total, fragment, protocol, flow = _QUICK(buf, start)
    if first != 0x45 or total != size - HEADER_SIZE:
        return None
    right = _right(header)
    if right == 0:
        if size < _LEAST_UDP or fragment & 0x3FFF or (protocol != 17 and protocol != 6):
            return _WITHOUT_FLOW if total >= 20 else None
        return protocol, flow, None
    if fragment & 0x3FFF:
        return None
    if right == protocol:
        is_whole = size >= _LEAST_TCP or (protocol == 17 and size >= _LEAST_UDP)
        return (protocol, flow, None) if is_whole else None
    like = tcp_super(header) if protocol == 6 else None
    if like is None or buf[start + _TCP_OFFSET] >> 4 != like.data_offset:
        return None
    return (protocol, flow, like) if size - like.overhead > like.gso_size else None


def rebuild(buf: bytearray, start: int, packet: Packet, end: int) -> tuple[int, int, int] | Reason:
    """Check the header at start against the packet behind it, and write it anew.

    Returns (offload bits its receiver must take, gso_size, number of segments), or a reason to
    drop it. gso_size is 0 for a single packet.
    """
    flags, claimed_type, _, gso_size, _, _ = _HEADER.unpack_from(buf, start)
    gso_type = claimed_type & ~GSO_ECN
    if gso_type == GSO_NONE and not flags & NEEDS_CSUM:
        buf[start : start + HEADER_SIZE] = NO_OFFLOAD
        return 0, 0, 1
    headers = _header_size(buf, packet, end)
    if not flags & NEEDS_CSUM or packet.fragment or not headers:
        return Reason.BAD_OFFLOAD
    begin = start + HEADER_SIZE
    csum_start = packet.transport - begin
    offset = _CHECKSUM_AT[packet.protocol]
    payload = end - packet.transport - headers
    if gso_type == GSO_NONE or payload <= gso_size:
        _HEADER.pack_into(buf, start, NEEDS_CSUM, GSO_NONE, 0, 0, csum_start, offset)
        return CSUM, 0, 1
    kind = _KINDS.get((gso_type, packet.version, packet.protocol))
    if kind is None or gso_size < kind[1]:
        return Reason.BAD_OFFLOAD
    segments = -(-payload // gso_size)
    if packet.protocol == UDP and segments > MAX_UDP_SEGMENTS:
        return Reason.BAD_OFFLOAD
    bits = kind[0]
    if claimed_type & GSO_ECN and packet.protocol == TCP:
        bits, gso_type = bits | TSO_ECN, gso_type | GSO_ECN
    _HEADER.pack_into(buf, start, NEEDS_CSUM, gso_type, csum_start + headers, gso_size, csum_start, offset)
    return bits, gso_size, segments


_KINDS = {
    (GSO_TCPV4, 4, TCP): (CSUM | TSO4, MIN_TCP_SEGMENT),
    (GSO_TCPV6, 6, TCP): (CSUM | TSO6, MIN_TCP_SEGMENT),
    (GSO_UDP_L4, 4, UDP): (CSUM | USO4, 1),
    (GSO_UDP_L4, 6, UDP): (CSUM | USO6, 1),
}
"""(gso_type, IP version, protocol) that exist: (bits the receiver must take, least gso_size)."""


def _header_size(buf: Buffer, packet: Packet, end: int) -> int:
    """Bytes of the transport header, 0 when there is no whole TCP or UDP header."""
    room = end - packet.transport
    if packet.protocol == UDP:
        return 8 if room >= 8 else 0
    if packet.protocol != TCP or room < 20:
        return 0
    size = (buf[packet.transport + 12] >> 4) * 4
    return size if 20 <= size <= room else 0


def complete(content: Buffer) -> bytes:
    """The packet behind a header whose checksum was left partial, with the checksum done.

    content is header and packet; csum_start and csum_offset must lie within (as rebuild leaves
    them, and as our own kernel gives them, for any protocol).
    """
    _, _, _, _, start, offset = _HEADER.unpack_from(content)
    whole = bytearray(content[HEADER_SIZE:])
    _fill(whole, start, start + offset)
    return bytes(whole)


def _fill(packet: bytearray, start: int, at: int) -> None:
    """Complete a partial checksum: the field holds the pseudo-header's sum already."""
    value = ip.checksum(memoryview(packet)[start:])
    struct.pack_into("!H", packet, at, value or 0xFFFF)


def segment(content: Buffer) -> Iterator[bytes]:
    """Cut a superpacket (header and packet, as rebuild leaves it) into complete packets.

    As the kernel does (tcp_gso_segment, __udp_gso_segment): every segment repeats the headers,
    IPv4 ids count up, TCP sequence numbers move on, FIN and PSH stay on the last and CWR on the
    first segment.
    """
    _, _, headers, gso_size, transport, _ = _HEADER.unpack_from(content)
    head = bytes(content[HEADER_SIZE : HEADER_SIZE + headers])
    payload = memoryview(content)[HEADER_SIZE + headers :]
    write_ip = _write_ipv4 if head[0] >> 4 == 4 else _write_ipv6
    write_transport = _write_tcp if headers - transport >= 20 else _write_udp
    source_at, width = (12, 4) if head[0] >> 4 == 4 else (8, 16)
    addresses = head[source_at : source_at + 2 * width]
    last = (len(payload) - 1) // gso_size
    for index in range(last + 1):
        part = payload[index * gso_size : (index + 1) * gso_size]
        out = bytearray(head)
        out += part
        write_ip(out, index)
        write_transport(out, transport, index, index * gso_size, index == last)
        protocol = TCP if write_transport is _write_tcp else UDP
        at = transport + _CHECKSUM_AT[protocol]
        size = len(out) - transport
        pseudo = ip.pseudo_sum(addresses[:width], addresses[width:], protocol, size)
        value = ip.checksum(memoryview(out)[transport:], pseudo)
        # To UDP, 0 is "no checksum" (RFC 768); to TCP it is a value like any other.
        struct.pack_into("!H", out, at, value or (0xFFFF if protocol == UDP else 0))
        yield bytes(out)


def _write_ipv4(out: bytearray, index: int) -> None:
    (identity,) = struct.unpack_from("!H", out, 4)
    struct.pack_into("!HH", out, 2, len(out), (identity + index) & 0xFFFF)
    struct.pack_into("!H", out, 10, 0)
    struct.pack_into("!H", out, 10, ip.checksum(out[: (out[0] & 15) * 4]))


def _write_ipv6(out: bytearray, index: int) -> None:
    struct.pack_into("!H", out, 4, len(out) - 40)


def _write_tcp(out: bytearray, at: int, index: int, offset: int, last: bool) -> None:
    (sequence,) = struct.unpack_from("!I", out, at + 4)
    struct.pack_into("!I", out, at + 4, (sequence + offset) & 0xFFFFFFFF)
    if not last:
        out[at + 13] &= ~0x09 & 0xFF  # FIN, PSH
    if index:
        out[at + 13] &= ~0x80 & 0xFF  # CWR
    struct.pack_into("!H", out, at + 16, 0)


def _write_udp(out: bytearray, at: int, index: int, offset: int, last: bool) -> None:
    struct.pack_into("!HH", out, at + 4, len(out) - at, 0)


def packets(content: Buffer) -> list[bytes]:
    """The complete packets that header-and-packet content stands for (after rebuild)."""
    flags, gso_type, _, _, _, _ = _HEADER.unpack_from(content)
    if gso_type & ~GSO_ECN:
        return list(segment(content))
    return [complete(content) if flags & NEEDS_CSUM else bytes(content[HEADER_SIZE:])]


def count_packets(run: Buffer) -> int:
    """How many packets a run of whole frames stands for: a superpacket counts as its segments."""
    packets, at = 0, 0
    for end in split(run):
        gso_size = int.from_bytes(run[at + 6 : at + 8], "little") if run[at + 2] >> 4 == 0 else 0
        headers = int.from_bytes(run[at + 4 : at + 6], "little") + HEADER_SIZE + 2
        packets += max(1, -(-(end - at - headers) // gso_size)) if gso_size else 1
        at = end
    return packets
