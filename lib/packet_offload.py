"""Superpackets: virtio-net headers, segmentation and checksums in software (TSO, USO, partial checksums).

Knows: which header fits which packet, how to cut a superpacket into the packets that it stands for, how to
complete a partial checksum (linux/virtio_net.h, linux/if_tun.h,
Documentation/networking/segmentation-offloads.rst).
Refuses to know: who sent the packet and where it goes.

A frame that starts with nibble 0 is this header, little-endian, and an IP packet:

     0       1          2         4          6            8             10
    +-------+----------+---------+----------+------------+-------------+-----------
    | flags | gso_type | hdr_len | gso_size | csum_start | csum_offset | IP packet …
    +-------+----------+---------+----------+------------+-------------+-----------

A peer's header may be wrong or forged, and the kernel would act on it: a forged csum_offset, for example,
rewrites a port of the packet. All of the header but gso_size follows from the packet, so `rebuild` parses the
packet and writes the header anew. Of the peer's header it keeps gso_size alone, within limits.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from lib import packet as ip
from lib.forward_drop_reasons import Reason
from lib.packet import ICMP, TCP, UDP, Buffer, Packet

HEADER_SIZE = 10
NO_OFFLOAD = bytes(HEADER_SIZE)
"""The header of a single packet with a complete checksum."""

# Offload bits, what a receiver can take: the kernel's TUN_F_* (linux/if_tun.h), used on our wire as well.
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
"""UDP_MAX_SEGMENTS (linux/udp.h): the kernel refuses a superpacket of more segments."""
MIN_TCP_SEGMENT = 28
"""Least gso_size of TCP: the kernel's tcp_min_snd_mss, 48, less 20 for TCP options."""
MAX_SEGMENTS = 512
"""Most segments of a TCP superpacket: 64 KB in segments of 128 bytes."""
FEW_SEGMENTS = 128
"""A gso_size from which on no frame has more segments than that, whatever its length."""
MAX_GROWTH = 3
MAX_HEADERS = 8192
"""What a frame may become for a peer that takes no superpackets: the headers of its segments are at most
MAX_GROWTH times the frame and MAX_HEADERS bytes (128 UDP packets of one byte are allowed)."""
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
"""Headers of a single IPv4 packet without options -> the protocol that each is right for (0: any).

Nearly every small packet has one of these, so the packet path looks them up here and parses no header."""


_LEAST = [1 << 17] * 256
_LEAST[TCP], _LEAST[UDP], _LEAST[ICMP] = HEADER_SIZE + 20 + 20, HEADER_SIZE + 20 + 8, HEADER_SIZE + 20 + 8
"""Protocol -> least content size of an IPv4 packet without options that has a whole transport header."""
_right = SINGLE.get


@dataclass(frozen=True, slots=True)
class TcpSuper:
    """What a virtio-net header says of an IPv4 TCP superpacket, and what that asks of others."""

    data_offset: int
    """TCP header length in words of 4 bytes. The packet's own (byte 12 of the TCP header, upper four bits)
    must be the same, or hdr_len is wrong."""
    overhead: int
    """Bytes of the virtio-net, IP and TCP headers together."""
    gso_size: int
    """Payload bytes of each segment."""
    offloads: int
    """Offload bits that the receiver must take."""
    segment: int
    """Bytes of one segment as an IP packet, which must fit the receiver's MTU."""

    def more(self, size: int) -> int:
        """How many packets a content of that size stands for beyond one."""
        return (size - self.overhead - 1) // self.gso_size


@lru_cache(maxsize=1024)
def tcp_super(header: bytes) -> TcpSuper | None:
    """Read the virtio-net header (10 bytes) of the usual superpacket: TCP over IPv4 without options.

    Where the packet's total length, protocol and data offset agree with it, and its payload is longer than
    gso_size, `rebuild` would accept the packet and leave the header as it is. None for any other header.
    Results are cached, as the headers of one flow are all alike.
    """
    flags, gso_type, headers, gso_size, csum_start, csum_offset = _HEADER.unpack(header)
    usual = flags == NEEDS_CSUM and gso_type & ~GSO_ECN == GSO_TCPV4 and (csum_start, csum_offset) == (20, 16)
    if not usual or headers not in range(40, 81, 4) or gso_size < FEW_SEGMENTS:
        return None
    ecn = TSO_ECN if gso_type & GSO_ECN else 0
    offset = (headers - 20) // 4
    return TcpSuper(offset, HEADER_SIZE + headers, gso_size, CSUM | TSO4 | ecn, headers + gso_size)


Plain = tuple[int, bytes, TcpSuper | None]
"""What `quick_check` says of a content that passes: protocol, flow key (Packet.flow) where it is TCP, UDP or
ICMP, else empty, and of a superpacket what that asks of its receiver."""
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
        if size < _LEAST[protocol] or fragment & 0x3FFF:
            return _WITHOUT_FLOW if total >= 20 else None
        return protocol, flow if protocol != ICMP else flow[:8] + ip.KEY_OF_ICMP, None
    if fragment & 0x3FFF:
        return None
    if right == protocol:
        return (protocol, flow, None) if size >= _LEAST[protocol] else None
    like = tcp_super(header) if protocol == 6 else None
    if like is None or buf[start + _TCP_OFFSET] >> 4 != like.data_offset:
        return None
    return (protocol, flow, like) if size - like.overhead > like.gso_size else None


def rebuild(buf: bytearray, start: int, packet: Packet, end: int) -> tuple[int, int, int] | Reason:
    """Check the virtio-net header at `start` against its packet, and write it anew in place.

    `packet` is parsed from buf[start + HEADER_SIZE:end]. Returns (offload bits that the receiver must take,
    gso_size, number of segments), with gso_size 0 for a single packet; or the reason to drop it.
    """
    flags, claimed_type, _, gso_size, _, _ = _HEADER.unpack_from(buf, start)
    # ECN is a flag beside the type: which TCP segment keeps CWR. hdr_len, csum_start and csum_offset are not
    # even read, since they follow from the packet.
    gso_type = claimed_type & ~GSO_ECN
    # For a single packet with a complete checksum a header of zeros is right, whatever its protocol. Other
    # flags that the peer may have set (DATA_VALID: "the checksum was verified") must not reach the kernel.
    if gso_type == GSO_NONE and not flags & NEEDS_CSUM:
        buf[start : start + HEADER_SIZE] = NO_OFFLOAD
        return 0, 0, 1
    # From here on the kernel will write a checksum into the packet, and perhaps cut it. Both need a whole TCP
    # or UDP header, which a fragment need not have. And virtio has no superpacket without a partial checksum.
    headers = _header_size(buf, packet, end)
    if not flags & NEEDS_CSUM or packet.fragment or not headers:
        return Reason.BAD_OFFLOAD
    # csum_start and csum_offset count from the packet's first byte, not from the buffer's.
    begin = start + HEADER_SIZE
    csum_start = packet.transport - begin
    offset = _CHECKSUM_AT[packet.protocol]
    payload = end - packet.transport - headers
    # A superpacket of one segment is a single packet. Sent as one, it also reaches a receiver without TSO.
    if gso_type == GSO_NONE or payload <= gso_size:
        _HEADER.pack_into(buf, start, NEEDS_CSUM, GSO_NONE, 0, 0, csum_start, offset)
        return CSUM, 0, 1
    # The type must be the one of this IP version and protocol, or the kernel would cut TCP as if it were UDP.
    # A gso_size below the least would make thousands of packets of one.
    kind = _KINDS.get((gso_type, packet.version, packet.protocol))
    if kind is None or gso_size < kind[1]:
        return Reason.BAD_OFFLOAD
    segments = -(-payload // gso_size)  # rounded up: the last segment may be shorter
    if segments > (MAX_UDP_SEGMENTS if packet.protocol == UDP else MAX_SEGMENTS):
        return Reason.BAD_OFFLOAD
    if segments * (csum_start + headers) > MAX_GROWTH * (end - begin) + MAX_HEADERS:
        return Reason.BAD_OFFLOAD
    # ECN means nothing to UDP, where the flag is left out.
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
"""(gso_type, IP version, protocol) -> (offload bits that the receiver must take, least gso_size)."""


def _header_size(buf: Buffer, packet: Packet, end: int) -> int:
    """Bytes of the TCP or UDP header; 0 when there is none, or not a whole one."""
    room = end - packet.transport
    if packet.protocol == UDP:
        return 8 if room >= 8 else 0
    if packet.protocol != TCP or room < 20:
        return 0
    size = (buf[packet.transport + 12] >> 4) * 4
    return size if 20 <= size <= room else 0


def complete(content: Buffer) -> bytes:
    """Complete a partial checksum; returns the packet without virtio-net header.

    `content` is header and packet. Its csum_start and csum_offset must lie within the packet, as they do
    after `rebuild` and in what our own kernel gives us. Any protocol.
    """
    _, _, _, _, start, offset = _HEADER.unpack_from(content)
    whole = bytearray(content[HEADER_SIZE:])
    _fill(whole, start, start + offset)
    return bytes(whole)


def _fill(packet: bytearray, start: int, at: int) -> None:
    """Complete the partial checksum at `at`, which covers packet[start:].

    A partial checksum is the pseudo-header's sum, so the sum over all bytes, that field included, is right.
    """
    value = ip.checksum(memoryview(packet)[start:])
    # Of UDP, 0 would mean "no checksum" (RFC 768). In ones' complement 0xFFFF is equal to it.
    struct.pack_into("!H", packet, at, value or 0xFFFF)


def segment(content: Buffer) -> Iterator[bytes]:
    """Cut a superpacket into complete packets, without virtio-net headers.

    `content` is header and packet as `rebuild` leaves them. As in the kernel (tcp_gso_segment,
    __udp_gso_segment) every segment repeats the headers, IPv4 ids count up, TCP sequence numbers move on,
    only the last segment keeps FIN and PSH, and only the first one CWR.
    """
    _, _, headers, gso_size, transport, _ = _HEADER.unpack_from(content)
    head = bytes(content[HEADER_SIZE : HEADER_SIZE + headers])
    payload = memoryview(content)[HEADER_SIZE + headers :]
    protocol = TCP if headers - transport >= 20 else UDP
    last = (len(payload) - 1) // gso_size
    for index in range(last + 1):
        out = bytearray(head)
        out += payload[index * gso_size : (index + 1) * gso_size]
        _write_segment(out, transport, protocol, index, index * gso_size, index == last)
        value = ip.checksum(memoryview(out)[transport:], _pseudo_sum(out, transport, protocol))
        # To UDP, 0 is "no checksum" (RFC 768); to TCP it is a value like any other.
        value = value or (0xFFFF if protocol == UDP else 0)
        struct.pack_into("!H", out, transport + _CHECKSUM_AT[protocol], value)
        yield bytes(out)


def _write_segment(
    out: bytearray, transport: int, protocol: int, index: int, offset: int, last: bool
) -> None:
    """Make the headers of a superpacket those of its segment number `index`, at `offset` in its payload.

    The transport checksum is 0 afterwards.
    """
    if out[0] >> 4 == 4:
        _write_ipv4(out, index)
    else:
        struct.pack_into("!H", out, 4, len(out) - 40)
    if protocol == TCP:
        _write_tcp(out, transport, index, offset, last)
    else:
        struct.pack_into("!HH", out, transport + 4, len(out) - transport, 0)


def _pseudo_sum(out: bytearray, transport: int, protocol: int) -> int:
    at, width = (12, 4) if out[0] >> 4 == 4 else (8, 16)
    source, destination = bytes(out[at : at + width]), bytes(out[at + width : at + 2 * width])
    return ip.pseudo_sum(source, destination, protocol, len(out) - transport)


def _write_ipv4(out: bytearray, index: int) -> None:
    (identity,) = struct.unpack_from("!H", out, 4)
    struct.pack_into("!HH", out, 2, len(out), (identity + index) & 0xFFFF)
    struct.pack_into("!H", out, 10, 0)
    struct.pack_into("!H", out, 10, ip.checksum(out[: (out[0] & 15) * 4]))


def _write_tcp(out: bytearray, at: int, index: int, offset: int, last: bool) -> None:
    (sequence,) = struct.unpack_from("!I", out, at + 4)
    struct.pack_into("!I", out, at + 4, (sequence + offset) & 0xFFFFFFFF)
    if not last:
        out[at + 13] &= ~0x09 & 0xFF  # FIN, PSH
    if index:
        out[at + 13] &= ~0x80 & 0xFF  # CWR
    struct.pack_into("!H", out, at + 16, 0)


def cut(content: Buffer, segments: int) -> tuple[bytes, bytes] | None:
    """Cut a superpacket into two contents: its first `segments` segments, and the others.

    Together they stand for the same packets, bit by bit, as the whole does (`packets`), and `rebuild` leaves
    both headers as they are. A part of one segment is a single packet. None for what is no superpacket, or
    has no more segments than that. hdr_len is not read: our own kernel counts payload in it sometimes.
    """
    whole = _superpacket(content)
    if whole is None or not 0 < segments < whole.segments:
        return None
    return _part(whole, 0, segments), _part(whole, segments, whole.segments)


def parts(content: Buffer, segments: int) -> Iterator[bytes]:
    """The same as contents of so many segments each, the last of fewer; none for what is no superpacket."""
    whole = _superpacket(content)
    if whole is not None:
        for first in range(0, whole.segments, segments):
            yield _part(whole, first, min(first + segments, whole.segments))


class _Superpacket(NamedTuple):
    """A superpacket as its parts are made from it; `head` is all headers, `transport` begins the last one."""

    head: bytes
    payload: memoryview
    transport: int
    protocol: int
    gso_type: int
    gso_size: int
    segments: int


def _superpacket(content: Buffer) -> _Superpacket | None:
    """Read a superpacket whose checksum is partial; None for anything else."""
    if len(content) <= HEADER_SIZE:
        return None
    flags, gso_type, _, gso_size, transport, _ = _HEADER.unpack_from(content)
    protocol, begin = _PROTOCOLS.get(gso_type & ~GSO_ECN, 0), HEADER_SIZE + transport
    least = 20 if protocol == TCP else 8
    if not protocol or not flags & NEEDS_CSUM or not gso_size or len(content) < begin + least:
        return None
    headers = (content[begin + 12] >> 4) * 4 if protocol == TCP else 8
    begin += headers
    if headers < least or transport < _LEAST_IP.get(content[HEADER_SIZE] >> 4, begin):
        return None
    head, payload = bytes(content[HEADER_SIZE:begin]), memoryview(content)[begin:]
    segments = -(-len(payload) // gso_size)
    return _Superpacket(head, payload, transport, protocol, gso_type, gso_size, segments)


def _part(whole: _Superpacket, first: int, stop: int) -> bytes:
    """The content that stands for the segments first to stop - 1."""
    head, payload, transport, protocol, gso_type, gso_size, segments = whole
    body = payload[first * gso_size : stop * gso_size]
    packet = bytearray(head)
    packet += body
    _write_segment(packet, transport, protocol, first, first * gso_size, stop >= segments)
    # A partial checksum is the pseudo-header's sum, with the part's own length.
    value = _pseudo_sum(packet, transport, protocol) % 65535 or 0xFFFF
    struct.pack_into("!H", packet, transport + _CHECKSUM_AT[protocol], value)
    if len(body) <= gso_size:
        kind = GSO_NONE, 0, 0
    else:  # CWR, of which GSO_ECN tells, stays in the first segment
        kind = gso_type & ~GSO_ECN if first else gso_type, len(head), gso_size
    return _HEADER.pack(NEEDS_CSUM, *kind, transport, _CHECKSUM_AT[protocol]) + packet


_PROTOCOLS = {GSO_TCPV4: TCP, GSO_TCPV6: TCP, GSO_UDP_L4: UDP}
_LEAST_IP = {4: 20, 6: 40}


def packets(content: Buffer) -> list[bytes]:
    """The complete packets that a frame's content (header and packet, after `rebuild`) stands for."""
    flags, gso_type, _, _, _, _ = _HEADER.unpack_from(content)
    if gso_type & ~GSO_ECN:
        return list(segment(content))
    return [complete(content) if flags & NEEDS_CSUM else bytes(content[HEADER_SIZE:])]


def count_packets(run: Buffer) -> int:
    """The number of packets in a run of whole frames; a superpacket counts as its segments."""
    packets, at, whole = 0, 0, len(run)
    while at + 2 <= whole:
        size = run[at] << 8 | run[at + 1]
        if at + 2 + size > whole:
            break
        packets += 1
        if size >= HEADER_SIZE and run[at + 2] >> 4 == 0 and (gso_size := run[at + 6] | run[at + 7] << 8):
            headers = HEADER_SIZE + (run[at + 4] | run[at + 5] << 8)
            packets += max(0, -(-(size - headers) // gso_size) - 1)
        at += 2 + size
    return packets
