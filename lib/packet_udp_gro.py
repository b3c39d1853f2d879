"""Small UDP packets of one flow become one superpacket, as the kernel's own UDP GRO would make it.

Knows: which packets may travel together, and the headers of the superpacket they become.
Refuses to know: where packets come from (client_uplink) and who takes superpackets (offload bits).

Only IPv4 without options, with a partial checksum, as the kernel hands over what this host sends:
its checksum field then holds nothing but the pseudo-header's sum. Packets are the same but for
their IP id and payload:

    | virtio-net 10 | IPv4 20            | UDP 8 | payload |     HEAD = 38 bytes and payload
                       ^^ id  ^^ checksum  may differ

    superpacket: one head, then the payloads one after the other, each gso_size long
"""

from __future__ import annotations

import struct

from lib import packet as ip
from lib import packet_offload

HEAD = 38
MAX_SEGMENTS = packet_offload.MAX_UDP_SEGMENTS
MAX_SIZE = 65000
"""Largest superpacket made, bytes with its header: a frame and an IP length hold 65,535."""

_SAME = struct.Struct("14s2x4s2x16s").unpack_from
_LIKELY = struct.pack("<BBHHHH", packet_offload.NEEDS_CSUM, 0, 0, 0, 20, 6) + b"\x45"
_HEADER = struct.Struct("<BBHHHH").pack_into
_U16 = struct.Struct("!H").pack_into

Likeness = tuple[bytes, bytes, bytes]
"""All of a head that packets must have in common to travel together."""


def likeness(buf: bytearray, start: int) -> Likeness:
    """What the packet (header and packet) at start has in common with others of its run."""
    return _SAME(buf, start)


def may_lead(like: Likeness, size: int) -> bool:
    """Whether a packet of size bytes (with header) may be the first of a run."""
    first, middle, _ = like
    unfragmented_udp = middle[0] & 0x3F == 0 and middle[1] == 0 and middle[3] == ip.UDP
    total = size - packet_offload.HEADER_SIZE
    return first.startswith(_LIKELY) and unfragmented_udp and size > HEAD and first[12:] == total.to_bytes(2)


def close_run(buf: bytearray, start: int, end: int, gso_size: int) -> None:
    """Make the head at start that of a superpacket which ends at end."""
    _HEADER(buf, start, packet_offload.NEEDS_CSUM, packet_offload.GSO_UDP_L4, 28, gso_size, 20, 6)
    packet = start + packet_offload.HEADER_SIZE
    total = end - packet
    _U16(buf, packet + 2, total)
    _U16(buf, packet + 10, 0)
    _U16(buf, packet + 10, ip.checksum(buf[packet : packet + 20]))
    _U16(buf, packet + 24, total - 20)
    source, destination = bytes(buf[packet + 12 : packet + 16]), bytes(buf[packet + 16 : packet + 20])
    _U16(buf, packet + 26, ip.pseudo_sum(source, destination, ip.UDP, total - 20) % 65535 or 65535)
