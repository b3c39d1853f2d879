"""UDP GRO: small UDP packets of one flow are merged into one superpacket, as the kernel's UDP GRO does.

Knows: which packets may be merged, and the headers of the superpacket.
Refuses to know: where packets come from (client_uplink), who takes superpackets (offload bits).

Only for UDP over IPv4 without options, with a partial checksum, which is what the kernel gives us of packets
that this host sends. Their checksum field holds nothing but the pseudo-header's sum. The packets of a run are
the same but for IP id, IP checksum and payload:

    | virtio-net 10 | IPv4 20            | UDP 8 | payload |     HEAD = 38 bytes and payload
                       ^^ id  ^^ checksum  may differ

    superpacket: one head, then the payloads one after the other, each gso_size long, the last maybe shorter
"""

from __future__ import annotations

import struct

from lib import packet as ip
from lib import packet_offload

HEAD = 38
"""Bytes of virtio-net, IPv4 and UDP headers together."""
MAX_SEGMENTS = packet_offload.MAX_UDP_SEGMENTS
MAX_SIZE = 65000
"""Largest superpacket that is made, in bytes with its header: a frame's and an IP length are below 65,536."""

_SAME = struct.Struct("14s2x4s2x16s").unpack_from
_LIKELY = struct.pack("<BBHHHH", packet_offload.NEEDS_CSUM, 0, 0, 0, 20, 6) + b"\x45"
_HEADER = struct.Struct("<BBHHHH").pack_into
_U16 = struct.Struct("!H").pack_into

Likeness = tuple[bytes, bytes, bytes]
"""The bytes of a head that must be equal in two packets for them to be merged."""


def likeness(buf: bytearray, start: int) -> Likeness:
    """The bytes of the head at `start` that must be equal in all packets of a run."""
    return _SAME(buf, start)


def may_lead(like: Likeness, size: int) -> bool:
    """Whether a packet may be the first of a run; `size` is its bytes with virtio-net header."""
    first, middle, _ = like
    unfragmented_udp = middle[0] & 0x3F == 0 and middle[1] == 0 and middle[3] == ip.UDP
    total = size - packet_offload.HEADER_SIZE
    return first.startswith(_LIKELY) and unfragmented_udp and size > HEAD and first[12:] == total.to_bytes(2)


def close_run(buf: bytearray, start: int, end: int, gso_size: int) -> None:
    """Write the head of a superpacket that lies in buf[start:end], in place of its first packet's."""
    _HEADER(buf, start, packet_offload.NEEDS_CSUM, packet_offload.GSO_UDP_L4, 28, gso_size, 20, 6)
    packet = start + packet_offload.HEADER_SIZE
    total = end - packet
    _U16(buf, packet + 2, total)
    _U16(buf, packet + 10, 0)
    _U16(buf, packet + 10, ip.checksum(buf[packet : packet + 20]))
    _U16(buf, packet + 24, total - 20)
    source, destination = bytes(buf[packet + 12 : packet + 16]), bytes(buf[packet + 16 : packet + 20])
    _U16(buf, packet + 26, ip.pseudo_sum(source, destination, ip.UDP, total - 20) % 65535 or 65535)
