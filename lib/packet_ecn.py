"""Congestion marks in IP headers: CE instead of a drop, for packets whose sender understands it (RFC 3168).

Knows: where the two ECN bits stand in IPv4 and IPv6, and how a mark changes a header checksum (RFC 1624).
Refuses to know: which packets are to be marked (session_codel, session_queue).

The bits say: 00 the sender does not understand marks, 01 and 10 (ECT) it does, 11 (CE) a router on the way
has marked the packet. They are in no pseudo-header, so no TCP or UDP checksum changes. Of a superpacket, one
mark marks all segments, as segmentation copies the IP header to each (tcp_gso_segment in Linux, and
packet_offload.segment). The flag GSO_ECN of its virtio-net header (SKB_GSO_TCP_ECN in Linux) is about CWR in
the TCP header, not about these bits, and stays as it is.
"""

from __future__ import annotations

import struct

from lib.packet_offload import HEADER_SIZE

_CE = 3
_IPV4, _IPV6 = 20, 40


def mark(data: bytes, start: int, end: int) -> bytes | None:
    """`data` with the packet in data[start:end] marked CE; None where its sender does not understand marks.

    The packet may have a virtio-net header before it. A packet that is marked already stays as it is. None
    also for what is no IPv4 or IPv6 packet.
    """
    if start < end and data[start] >> 4 == 0:
        start += HEADER_SIZE
    version = data[start] >> 4 if start < end else 0
    if version == 4 and end - start >= _IPV4:
        before = data[start + 1] & _CE
        if before in (0, _CE):
            return data if before else None
        out = bytearray(data)
        out[start + 1] |= _CE
        # RFC 1624, equation 3: HC' = ~(~HC + ~m + m'), with m the 16-bit word that changes.
        (old, check), (new,) = struct.unpack_from("!H8xH", data, start), struct.unpack_from("!H", out, start)
        total = (check ^ 0xFFFF) + (old ^ 0xFFFF) + new
        total = (total & 0xFFFF) + (total >> 16)
        struct.pack_into("!H", out, start + 10, ((total & 0xFFFF) + (total >> 16)) ^ 0xFFFF)
        return bytes(out)
    if version == 6 and end - start >= _IPV6:
        # The traffic class is the second and third nibble; its last two bits are ECN.
        before = data[start + 1] >> 4 & _CE
        if before in (0, _CE):
            return data if before else None
        out = bytearray(data)
        out[start + 1] |= _CE << 4
        return bytes(out)
    return None
