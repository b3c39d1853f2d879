"""What a router changes in packets that it passes on: the hop limit, and the MSS of TCP connections.

Knows: where TTL, hop limit and MSS stand, how a checksum follows a change (RFC 1624), frames that are alike.
Refuses to know: whether the hub is a hop (namespace), what is said of a packet without a hop left (forward).

A run of frames mostly holds packets of one length, as a transfer or a flood sends them. In such a run the
same byte of every packet is one slice of the buffer with a step, and one call changes all of them:

    len | v4 … ttl … sum … | len | v4 … ttl … sum … | len | v4 … ttl … sum … |
               ^ · · · · · · · · · · · ^ · · · · · · · · · · · ^               buf[at + 8 : end : stride]

A superpacket is one packet here: its segments get its TTL when it is cut.
"""

from __future__ import annotations

import struct

from lib.packet import TCP, Buffer, Packet
from lib.packet_offload import HEADER_SIZE

FEW = 8
"""Frames from which on it is quicker to change all at once."""
AHEAD = 256
"""Frames that are compared at once."""
SINGLY = 16
"""Frames that are changed one by one after such a comparison was in vain."""

_TTL, _PROTOCOL, _SUM, _HOP_LIMIT = 8, 9, 10, 7
_FLAGS, _TCP_SUM, _TCP_HEADER = 13, 16, 20
_IPV4_HEADER = 20
_TCP_FLAGS = _IPV4_HEADER + _FLAGS
"""Of an IPv4 packet without options."""
_SYN = 0x02
_END, _NO_OPERATION, _MSS = 0, 1, 2
MSS_HEADERS = {4: 40, 6: 60}
"""Bytes of IP and TCP headers without options, by version: what an MSS is less than an MTU (RFC 6691)."""
NO_MSS = 1 << 16
"""A bound that changes no MSS."""

_READ = struct.Struct("!HH").unpack_from
_WRITE = struct.Struct("!HH").pack_into
_U16 = struct.Struct("!H")
_FRAME = struct.Struct("!HB7xI").unpack_from
"""Length of a frame, the first byte of its content; of an IPv4 packet in it TTL, protocol and sum."""
_FRAME_TTL = 2 + 8
_HOP = struct.Struct("!I").unpack_from
_PUT_HOP = struct.Struct("!I").pack_into
"""TTL, protocol and sum as one number: its highest byte is the TTL, its lower half the sum."""
_ONE_HOP, _NO_HOP_LEFT = 1 << 24, 2 << 24
_PROTOCOL_MASK, _IS_TCP = 0xFF << 16, TCP << 16

_LESS = bytes((value - 1) & 0xFF for value in range(256))
_MORE = bytes((value + 1) & 0xFF for value in range(256))
_ENOUGH = bytes(range(2, 256))
"""Every TTL with which a packet may go on."""
_NO_SYN = bytes(value for value in range(256) if not value & _SYN)


def hops_left(buf: Buffer, start: int) -> int:
    """TTL or hop limit of the packet at `start`, whose IP header is whole."""
    return buf[start + (_TTL if buf[start] >> 4 == 4 else _HOP_LIMIT)]


def take_hop(buf: bytearray, start: int, hops: int = 1) -> None:
    """Take a hop from the packet at `start`, which has one left beside it; with -1 give one back."""
    if buf[start] >> 4 == 6:
        buf[start + _HOP_LIMIT] -= hops
        return
    # RFC 1624, equation 3: the TTL is the high byte of its word. That word has 0x0100 less, so the sum's
    # complement has 0x0100 more. Modulo 0xFFFF, which is 0 in ones' complement.
    word, check = _READ(buf, start + _TTL)
    _WRITE(buf, start + _TTL, word - 0x100 * hops, (check + 0x100 * hops) % 0xFFFF)


def pass_on(buf: bytearray, begin: int, end: int, most_mss: int = NO_MSS) -> int:
    """Take a hop from every packet in the whole frames of buf[begin:end], and bound the MSS of each SYN.

    They are IPv4 packets without options, TCP among them with whole headers, as forward.scan knows them;
    each may have a virtio-net header. Stops before the first packet that has no hop left beside this one;
    returns where it stopped, `end` where all may go on.
    """
    at, singly = begin, 0
    while at < end:
        size, first, hop = _FRAME(buf, at)
        stride, place = size + 2, at + _FRAME_TTL
        if first < 0x10:
            place += HEADER_SIZE
            (hop,) = _HOP(buf, place)
        if singly:
            singly -= 1
        elif stride * FEW <= end - at:
            count = _alike(buf, at, stride, end)
            if count >= FEW and _take_hops(buf, place - _TTL, stride, count):
                at += count * stride
                continue
            singly = SINGLY
        if hop < _NO_HOP_LEFT:
            return at
        # The sum has 0x0100 more (take_hop). Where that carries, or is 0xFFFF, it goes round.
        less = hop - _ONE_HOP + 0x100
        _PUT_HOP(buf, place, less if hop & 0xFFFF < 0xFEFF else less - 0xFFFF)
        if hop & _PROTOCOL_MASK == _IS_TCP and buf[place - _TTL + _TCP_FLAGS] & _SYN:
            _bound_mss(buf, place - _TTL + _IPV4_HEADER, at + stride, most_mss, first == 1)
        at += stride
    return end


def _alike(buf: bytearray, at: int, stride: int, end: int) -> int:
    """How many of the frames from `at` on have the length of the first one and begin with the same byte.

    Where one frame has that length, the next one begins a stride later: so all of them are what they seem.
    At least FEW frames of that length have room up to `end`. If the last one of so few has another length,
    nothing more is compared.
    """
    last = at + (FEW - 1) * stride
    if buf[last + 1] != buf[at + 1] or buf[last] != buf[at]:
        return 0
    count = min(AHEAD, (end - at) // stride)
    for offset in range(3):
        column = buf[at + offset : at + offset + (count - 1) * stride + 1 : stride]
        count -= len(column.lstrip(column[:1]))
    return count


def _take_hops(buf: bytearray, start: int, stride: int, count: int) -> bool:
    """Take a hop from `count` IPv4 packets, the first one at `start`; False where one has to be looked at."""
    last = start + (count - 1) * stride + 1
    hops = buf[start + _TTL : last + _TTL : stride]
    if hops.translate(None, _ENOUGH):
        return False
    # Of a UDP packet this byte is its data, or is behind it: it may cost a closer look, and no more.
    if TCP in buf[start + _PROTOCOL : last + _PROTOCOL : stride]:
        flags = buf[start + _TCP_FLAGS : last + _TCP_FLAGS : stride]
        if flags.translate(None, _NO_SYN):
            return False
    high = buf[start + _SUM : last + _SUM : stride]
    buf[start + _TTL : last + _TTL : stride] = hops.translate(_LESS)
    buf[start + _SUM : last + _SUM : stride] = high.translate(_MORE)
    for value in (0xFE, 0xFF):  # with these the low byte may change too
        number = high.find(value)
        while number >= 0:
            place = start + number * stride + _SUM
            _U16.pack_into(buf, place, ((value << 8 | buf[place + 1]) + 0x100) % 0xFFFF)
            number = high.find(value, number + 1)
    return True


def bound_mss(buf: bytearray, packet: Packet, end: int, most: int, partial: bool) -> None:
    """Bound the MSS of a SYN in place; other packets stay as they are.

    `packet` is parsed from buf up to `end`. `most` is in bytes. `partial` says that the TCP checksum is only
    the sum of the pseudo-header, as behind a virtio-net header that wants it completed.
    """
    at = packet.transport
    if packet.protocol == TCP and not packet.fragment and at + _TCP_HEADER <= end and buf[at + _FLAGS] & _SYN:
        _bound_mss(buf, at, end, most, partial)


def _bound_mss(buf: bytearray, tcp: int, end: int, most: int, partial: bool) -> None:
    """Bound the MSS in the options of the TCP header at `tcp`, of which 20 bytes are there."""
    stop = min(end, tcp + (buf[tcp + 12] >> 4) * 4)
    at = tcp + _TCP_HEADER
    while at + 1 < stop and buf[at] != _END:
        if buf[at] == _NO_OPERATION:
            at += 1
            continue
        size = buf[at + 1]
        if buf[at] == _MSS and size == 4 and at + 4 <= stop:
            (before,) = _U16.unpack_from(buf, at + 2)
            if before > most:
                _U16.pack_into(buf, at + 2, most)
                if not partial:
                    _follow(buf, tcp + _TCP_SUM, before, most, bool(at - tcp & 1))
        if size < 2:
            return
        at += size


def _follow(buf: bytearray, place: int, before: int, after: int, odd: bool) -> None:
    """Let the checksum at `place` follow a change of two bytes; `odd` where they are of two words."""
    (check,) = _U16.unpack_from(buf, place)
    if odd:  # then the first byte is the low one of its word
        before, after = ((value & 0xFF) << 8 | value >> 8 for value in (before, after))
    _U16.pack_into(buf, place, (check + before - after) % 0xFFFF)
