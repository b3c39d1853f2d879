"""Fragmentation of IPv4 packets for a far side with a smaller MTU (RFC 791).

Knows: how a packet, or each packet of a superpacket, is cut into fragments; which packets may not be cut.
Refuses to know: reassembly, which is the receiver's, and what is said to the sender of a packet that may not
be cut (packet_icmp).

    header, options | data ..............................       offset 0
    header, options | data ..........         more fragments    offset 0
    header, copied options | data ....        more fragments    offset in units of 8 bytes
    header, copied options | data             as the packet had it

The transport header is not looked at, so a partial checksum must be complete before (packet_offload).
"""

from __future__ import annotations

import struct

from lib import packet_offload
from lib.packet import Buffer, sum16

MAX_FRAGMENTS = 256
"""Fragments that one frame may become: a bound on the time that it takes. It is enough for every frame where
the MTU is at least 576."""
_DONT_FRAGMENT, _MORE_FRAGMENTS, _OFFSET = 0x4000, 0x2000, 0x1FFF
_END_OF_OPTIONS, _NO_OPERATION, _FOR_ALL = 0, 1, 0x80
_ADDRESSES, _LONGEST_HEADER = 8, 60
_BITS = struct.Struct("!H").unpack_from
_IPV4 = struct.Struct("!BBHHHBBH")
"""Version and header length, type of service, total length, identification, flags and offset, time to live,
protocol, checksum."""


def fitting(content: Buffer, headed: bool, length: int, segments: int, mtu: int) -> list[bytes]:
    """The packets that a frame's content stands for, as fragments of at most `mtu` bytes.

    They are `segments` packets of `length` bytes each, more than `mtu`; the last one may be shorter. With
    `headed` the content is a virtio-net header, as packet_offload.rebuild leaves it, and a packet. Empty
    where the packets must not be cut: IPv6, "don't fragment", options that do not parse, an MTU below that of
    any IPv4 path, too many fragments, or too many bytes of headers (packet_offload.MAX_GROWTH). All of that
    is known before anything is cut.
    """
    start = packet_offload.HEADER_SIZE if headed else 0
    room = (mtu - _LONGEST_HEADER) & ~7
    if room <= 0 or (count := segments * -(-length // room)) > MAX_FRAGMENTS:
        return []
    headers = count * (content[start] & 15) * 4
    if headers > packet_offload.MAX_GROWTH * len(content) + packet_offload.MAX_HEADERS:
        return []
    if not _may_be_cut(content[start:]):
        return []
    whole = packet_offload.packets(content) if headed else [content]
    return [fragment for packet in whole for fragment in fragments(packet, mtu)]


def fragments(packet: Buffer, mtu: int) -> list[bytes]:
    """An IPv4 packet as fragments of at most `mtu` bytes, in order; the packet alone where it fits.

    The packet must be whole, so that its total length is that of `packet`; it may be a fragment itself. Empty
    where it must not be cut, as in `fitting`.
    """
    if len(packet) <= mtu:
        return [bytes(packet)]
    first, service, _, identity, bits, ttl, protocol, _ = _IPV4.unpack_from(packet)
    size, offset = (first & 15) * 4, bits & _OFFSET
    tail, later = bytes(packet[12:size]), _copied(bytes(packet[12:size]))
    if later is None or mtu < size + 8 or not _may_be_cut(packet):
        return []
    data, found, at, flags = memoryview(packet)[size:], [], 0, bits & ~(_OFFSET | _MORE_FRAGMENTS)
    base = _sum(tail, service, identity, ttl, protocol)
    while at < len(data):
        room = mtu - size
        # All but the last piece have a length that is a multiple of 8, for offsets are counted so.
        end = len(data) if len(data) - at <= room else at + (room & ~7)
        more = _MORE_FRAGMENTS if end < len(data) else bits & _MORE_FRAGMENTS
        total, place = size + end - at, flags | more | offset + at // 8
        value = -(base + total + place) % 65535
        header = _IPV4.pack(0x40 | size // 4, service, total, identity, place, ttl, protocol, value)
        found.append(header + tail + data[at:end])
        at = end
        if tail is not later:
            tail, size = later, 12 + len(later)
            base = _sum(tail, service, identity, ttl, protocol)
    return found


def _sum(tail: bytes, service: int, identity: int, ttl: int, protocol: int) -> int:
    """The sum of a header's words that are the same in all fragments; `tail` is its addresses and options."""
    first = 0x40 | (12 + len(tail)) // 4
    return sum16(tail, (first << 8 | service) + identity + (ttl << 8 | protocol))


def _may_be_cut(packet: Buffer) -> bool:
    """Whether a packet may be fragmented, so far as its header says; none of its bytes are trusted."""
    if packet[0] >> 4 != 4:
        return False
    size, (bits,) = (packet[0] & 15) * 4, _BITS(packet, 6)
    # A datagram has at most 65,535 bytes; a fragment that would lie beyond has no honest sender.
    end = (bits & _OFFSET) * 8 + len(packet) - size
    return not bits & _DONT_FRAGMENT and end <= 0xFFFF and _copied(bytes(packet[12:size])) is not None


def _copied(tail: bytes) -> bytes | None:
    """Addresses, and of the options behind them those for all fragments; None where they do not parse."""
    if len(tail) == _ADDRESSES:
        return tail
    kept, at = bytearray(tail[:_ADDRESSES]), _ADDRESSES
    while at < len(tail) and tail[at] != _END_OF_OPTIONS:
        size = 1
        if tail[at] != _NO_OPERATION:
            size = tail[at + 1] if at + 1 < len(tail) else 0
            if size < 2 or at + size > len(tail):
                return None
            if tail[at] & _FOR_ALL:
                kept += tail[at : at + size]
        at += size
    return bytes(kept) + bytes(-len(kept) % 4)
