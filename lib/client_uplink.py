"""Uplink of a client: packets are read from the TUN device into one buffer of frames for the hub.

Knows: how to fill a buffer with as many frames as the device has packets for.
Refuses to know: the socket the frames go to, and where they are routed.

    buf   | LEN | packet or header+packet | LEN | … |      one send takes all of it

The kernel writes each packet straight to its place in the buffer. With superpackets a frame
keeps the virtio-net header it was read with; without, the header goes to a scratch buffer and
the frame is the packet alone.
"""

from __future__ import annotations

import io
import os
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from lib import framing, packet_fragment, packet_icmp, packet_offload, packet_udp_gro
from lib import packet as ip
from lib.counters import Traffic
from lib.forward_drop_reasons import Reason
from lib.packet_text import head

BATCH_BYTES = 192 << 10
"""Bytes after which a batch ends: what one send should carry."""
BATCH_PACKETS = 128
"""Packets after which a batch ends."""
BUFFER_SIZE = BATCH_BYTES + (1 << 18)
"""Bytes of the buffer: a batch and one more superpacket, even one that is cut up into tiny packets."""

_LENGTH = struct.Struct("!H").pack_into
_CSUM_START = [0] * 256
"""First byte of a packet -> offset of its transport header, where no options or extensions precede it."""
_CSUM_START[0x45] = 20
_CSUM_START[0x60:0x70] = [40] * 16


class Batch:
    """The buffer of the drawing above, one for all clients of a process; `view` is a memoryview over it."""

    __slots__ = ("data", "view")

    def __init__(self) -> None:
        self.data = bytearray(BUFFER_SIZE)
        self.view = memoryview(self.data)


@dataclass(slots=True, eq=False)
class Uplink:
    """A device to read from, and what the hub at the other end takes."""

    device: io.FileIO
    has_header: bool
    traffic: Traffic
    icmp_error: Callable[[bytes], None]
    """Writes an ICMP error to the device, for a sender on this host."""
    offloads: int = 0
    """Offload bits that the hub takes (packet_offload); 0 for complete single packets only."""
    limit: int = framing.MAX_CONTENT
    """Bytes of the largest frame content that the hub takes."""
    lost: Callable[[Reason, bytes, bool], None] | None = None
    """Called with (reason, frame content, whether an ICMP error was sent) for what is dropped here."""
    _header: bytearray = field(default_factory=lambda: bytearray(packet_offload.HEADER_SIZE))
    """Scratch buffer for virtio-net headers that the hub does not take."""
    _head: bytearray = field(default_factory=lambda: bytearray(packet_udp_gro.HEAD))
    """Scratch buffer for the headers of a packet that may belong to a run."""


def read_batch(up: Uplink, buf: bytearray, view: memoryview) -> int:
    """Fill buf with frames until the device has no more packets or the batch is full; returns the end.

    Raises OSError as the device does, except for EAGAIN. `view` is a memoryview of `buf`.
    """
    end = _read_headed(up, buf, view) if up.offloads else _read_plain(up, buf, view)
    up.traffic.sent_bytes += end
    return end


def _read_headed(up: Uplink, buf: bytearray, view: memoryview) -> int:
    read, start_of, may_run = up.device.readinto, _CSUM_START, up.offloads & packet_offload.USO4
    end = packets = 0
    size: int | None = 0  # of a packet that a run has read already
    while size or (end < BATCH_BYTES and packets < BATCH_PACKETS):
        start = end + 2
        size = size or read(view[start:])
        if size is None:
            break
        flags = buf[start]
        if flags:
            if flags != packet_offload.NEEDS_CSUM:  # verified by a network device: complete
                buf[start : start + packet_offload.HEADER_SIZE] = packet_offload.NO_OFFLOAD
            elif buf[start + 1]:
                packets += _more_segments(buf, start, size)
            elif buf[start + 6] != start_of[buf[start + 10]]:
                _complete(buf, start, size)
            elif may_run and buf[start + 19] == ip.UDP and end < BATCH_BYTES and packets < BATCH_PACKETS:
                count, stop, size = _read_run(up, buf, view, start, size)
                _LENGTH(buf, end, stop - start)
                packets += count
                end = stop
                if size is None:
                    break
                continue
        _LENGTH(buf, end, size)
        packets += 1
        end = start + size
        size = 0
    up.traffic.sent_packets += packets
    return end


def _read_run(
    up: Uplink, buf: bytearray, view: memoryview, start: int, size: int
) -> tuple[int, int, int | None]:
    """Read a run: small UDP packets of one flow, each payload directly behind the one before.

    The first packet lies at `start` and has `size` bytes. Returns (packets in the run, end of the run, size
    of the next packet). The next packet is the one that ended the run; it has been read already and lies
    where its frame will be. Its size is None where the device has no more packets, and 0 where none was read.
    """
    like = packet_udp_gro.likeness(buf, start)
    end = start + size
    if not packet_udp_gro.may_lead(like, size):
        return 1, end, 0
    head, readv, fd, payload = up._head, os.readv, up.device.fileno(), size - packet_udp_gro.HEAD
    count, other = 1, 0
    try:
        # A superpacket has one header and then all payloads. So the next packet is read as if it belonged to
        # the run: its headers into a scratch buffer, its payload to its final place. Nothing has to be
        # copied where that guess is right, and a flood of small packets makes it right most of the time.
        while count < packet_udp_gro.MAX_SEGMENTS and end - start + payload <= packet_udp_gro.MAX_SIZE:
            other = readv(fd, (head, view[end:]))
            if packet_udp_gro.likeness(head, 0) != like:
                break
            other = 0
            count += 1
            end += payload
    except BlockingIOError:
        return _close_run(buf, start, end, count, payload), end, None
    if other:
        # The guess was wrong, and a packet can be read only once: put its headers and the rest together
        # where read_batch expects a packet, behind the two bytes of the next frame's length.
        buf[end + 2 : end + 2 + other] = (head + buf[end : end + other - len(head)])[:other]
    return _close_run(buf, start, end, count, payload), end, other


def _close_run(buf: bytearray, start: int, end: int, count: int, payload: int) -> int:
    if count > 1:  # the first header was that of one packet: make it the superpacket's
        packet_udp_gro.close_run(buf, start, end, payload)
    return count


def _more_segments(buf: bytearray, start: int, size: int) -> int:
    """The number of segments after the first in a superpacket from our own kernel, as counters want it."""
    gso_size = int.from_bytes(buf[start + 4 : start + 6], "little") or 1
    transport = packet_offload.HEADER_SIZE + buf[start + 6]
    is_udp = buf[start + 1] == packet_offload.GSO_UDP_L4
    header = 8 if is_udp else (buf[start + transport + 12] >> 4) * 4
    return max(0, size - transport - header - 1) // gso_size


def _complete(buf: bytearray, start: int, size: int) -> None:
    """Complete a partial checksum that does not belong to the outer transport header, in place.

    That is so for a tunnel in the tunnel and with IP options; receivers take only the common form.
    """
    packet = packet_offload.complete(memoryview(buf)[start : start + size])
    buf[start : start + size] = packet_offload.NO_OFFLOAD + packet


def _read_plain(up: Uplink, buf: bytearray, view: memoryview) -> int:
    fd, readv, limit, header = up.device.fileno(), os.readv, up.limit, up._header
    skipped = packet_offload.HEADER_SIZE if up.has_header else 0
    end = 0
    packets = 0
    try:
        for _ in range(BATCH_PACKETS):
            into = view[end + 2 :]
            size = (readv(fd, (header, into)) if skipped else readv(fd, (into,))) - skipped
            if header[0]:
                end, count = _cut_up(up, buf, end, size)
                packets += count
            elif size > limit:
                end, count = _put_fitting(up, buf, end, [bytes(view[end + 2 : end + 2 + size])])
                packets += count
            else:
                _LENGTH(buf, end, size)
                end += 2 + size
                packets += 1
            if end >= BATCH_BYTES:
                break
    except BlockingIOError:
        pass
    up.traffic.sent_packets += packets
    return end


def _cut_up(up: Uplink, buf: bytearray, end: int, size: int) -> tuple[int, int]:
    """Turn a superpacket that was still in the device into frames of complete packets."""
    content = up._header + buf[end + 2 : end + 2 + size]
    packet = ip.parse(content, packet_offload.HEADER_SIZE, len(content))
    claim = packet if isinstance(packet, Reason) else packet_offload.rebuild(content, 0, packet, len(content))
    if isinstance(claim, Reason):
        up.traffic.drop(claim, 1, "", head(content, 0, len(content)), time.monotonic())
        if up.lost is not None:
            up.lost(claim, bytes(content), False)
        return end, 0
    return _put_fitting(up, buf, end, packet_offload.packets(content))


def _put_fitting(up: Uplink, buf: bytearray, end: int, whole: list[bytes]) -> tuple[int, int]:
    """Put complete packets into the batch as frames, as fragments where they are too big for the hub.

    Returns (end of the batch, number of packets). Packets that must not be cut are dropped.
    """
    packets = []
    for packet in whole:
        parts = packet_fragment.fragments(packet, up.limit)
        packets += parts
        if not parts:
            _too_big(up, packet)
    frames = b"".join(map(framing.encode, packets))
    buf[end : end + len(frames)] = frames
    return end + len(frames), len(packets)


def _too_big(up: Uplink, data: bytes) -> None:
    """Drop a packet that is too big for the hub and send its sender an ICMP error, as a router does."""
    up.traffic.drop(Reason.TOO_BIG, 1, "", head(data, 0, len(data)), time.monotonic())
    packet = ip.parse(data, 0, len(data))
    icmp_error = (
        None if isinstance(packet, Reason) else packet_icmp.too_big(data, 0, packet, len(data), up.limit)
    )
    if icmp_error is not None:
        up.icmp_error(icmp_error)
    if up.lost is not None:
        up.lost(Reason.TOO_BIG, data, icmp_error is not None)
