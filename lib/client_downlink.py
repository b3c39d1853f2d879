"""Downlink of a client: frames from the hub are checked and written to the TUN device.

Knows: what a client accepts from its hub, and how a frame becomes one write.
Refuses to know: the device and the socket (write is any function), what the hub decided.

A hub is trusted no more than any peer: packets with a wrong length and virtio-net headers that do not fit
their packet are dropped and counted; every header is written anew.

A write takes as long as the kernel needs for all that the packet leads to, replies included. These wait in
the device until it is read, and there is no room for thousands. So a receive is as short as AT_ONCE packets
are, about as many as are read from the device in a turn (client_uplink.BATCH_PACKETS).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from lib import framing, packet_offload, packet_tcp_gro, wire_control
from lib import packet as ip
from lib.counters import Traffic
from lib.forward_drop_reasons import Reason
from lib.packet_text import head

_PLAIN = struct.Struct("!HBxH").unpack_from
_HDR_LEN = struct.Struct("<H").unpack_from
AT_ONCE, LEAST = 128, 4096
"""Packets that one receive should bring at most, where they are small, and bytes that it may always bring."""


@dataclass(slots=True)
class Downlink:
    """A device to write to, and what its client counts and keeps."""

    write: Callable[[memoryview], object]
    """Writes one packet, with a virtio-net header before it if `headed`."""
    refused: Callable[[OSError, bytes], None]
    """Called when a write fails, with the packet's first bytes; raises what is not the packet's fault."""
    traffic: Traffic
    headed: bool
    """Whether the device wants a virtio-net header before every packet (IFF_VNET_HDR)."""
    mtu: int
    """Bytes of the largest packet that the device takes."""
    merges: bool = False
    """Whether TCP segments may be merged into superpackets (packet_tcp_gro); only if `headed`."""
    controls: list[bytes] = field(default_factory=list)
    """Contents of control frames, for the session."""
    clock: Callable[[], float] = float
    """Monotonic clock, called when a packet is dropped."""
    room: int = framing.RECEIVE
    """Bytes that the next receive should bring at most, so that it is about AT_ONCE packets."""
    dropped: Reason | None = None
    """Why the last dropped packet was dropped, for capture_watch, which resets it."""

    @property
    def is_crowded(self) -> bool:
        """Whether the hub sends so many small packets that a receive has to be short."""
        return self.room < framing.RECEIVE

    def take_controls(self) -> list[bytes]:
        """The contents of control frames since the last call."""
        taken, self.controls = self.controls, []
        return taken


def deliver(down: Downlink, buf: bytearray, view: memoryview, pos: int, end: int) -> int:
    """Write every packet of the whole frames in buf[pos:end]; returns where it stopped.

    buf must be writable from pos - 8 and readable to end + framing.SLACK. Raises what `refused`
    raises.
    """
    write, headed, check, merge = down.write, down.headed, packet_offload.quick_check, packet_tcp_gro.merge
    least = packet_tcp_gro.MIN_SIZE if down.merges else 1 << 16
    begin, packets, writes = pos, 0, 0
    while True:
        size, first, total = _PLAIN(buf, pos)
        start = pos + 2
        after = start + size
        if after > end:
            break
        packets += 1
        until = after
        if first > 2 and size >= least and (merged := merge(buf, view, start, size, end)) is not None:
            until, after, segments = merged
            start -= packet_offload.HEADER_SIZE
            packets += segments - 1
        elif first == 0x45 and total == size >= 20:
            if headed:
                start = _put_empty_header(buf, start)
        else:
            plain = check(buf, start, size) if first <= 2 and headed else None
            if plain is None:
                start = _examine(down, buf, start, after)
            elif (like := plain[2]) is not None:
                if like.segment > down.mtu:
                    start = _examine(down, buf, start, after)
                else:
                    packets += like.more(size)
        if start:
            writes += 1
            try:
                write(view[start:until])
            except OSError as error:
                down.refused(error, head(buf, start, until))
        pos = after
    down.traffic.received_packets += packets
    down.traffic.received_bytes += pos - begin
    if writes > AT_ONCE or down.room < framing.RECEIVE:
        _suit(down, pos - begin, writes)
    return pos


def _suit(down: Downlink, size: int, writes: int) -> None:
    """Let the next receive be as long as AT_ONCE packets like those of this one, which were `size` bytes."""
    if writes > AT_ONCE:
        down.room = max(LEAST, size * AT_ONCE // writes)
    elif writes < AT_ONCE // 2 and size >= down.room // 2:
        down.room = min(framing.RECEIVE, 2 * down.room)


def _put_empty_header(buf: bytearray, packet_start: int) -> int:
    """Write an empty virtio-net header in front of a complete packet; returns where it starts.

    It overwrites the frame's length and the end of the frame before, which is in the kernel already.
    """
    start = packet_start - packet_offload.HEADER_SIZE
    buf[start:packet_start] = packet_offload.NO_OFFLOAD
    return start


def _examine(down: Downlink, buf: bytearray, start: int, end: int) -> int:
    """Check a frame content of an uncommon kind; returns where to write from, 0 to write nothing."""
    if end == start:
        return _drop(down, Reason.EMPTY_FRAME, b"")
    if buf[start] == wire_control.MARK:
        down.controls.append(bytes(buf[start:end]))
        return 0
    has_header = buf[start] >> 4 == 0 and down.headed and end > start + packet_offload.HEADER_SIZE
    packet_start = start + packet_offload.HEADER_SIZE if has_header else start
    packet = ip.parse(buf, packet_start, end)
    if isinstance(packet, Reason):
        return 0 if framing.is_gost_keepalive(buf, start, end) else _drop(down, packet, head(buf, start, end))
    if not has_header:
        return _put_empty_header(buf, start) if down.headed else start
    claim = packet_offload.rebuild(buf, start, packet, end)
    if isinstance(claim, Reason):
        return _drop(down, claim, head(buf, packet_start, end))
    _, gso_size, segments = claim
    down.traffic.received_packets += segments - 1
    if gso_size and _HDR_LEN(buf, start + 2)[0] + gso_size > down.mtu:
        return _drop(down, Reason.TOO_BIG, head(buf, packet_start, end))
    return start


def _drop(down: Downlink, reason: Reason, packet: bytes) -> int:
    down.traffic.drop(reason, 1, "", packet, down.clock())
    down.dropped = reason
    return 0
