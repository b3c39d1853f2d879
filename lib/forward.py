"""Forwarding: from the frames one session sent to what goes out to which session.

Knows: the way of a packet through the hub, and every reason for which it ends there.
Refuses to know: sockets, time (it comes in), what becomes of the frames afterwards.

    1  scan        one look at a frame's first 36 bytes: whole? plain TCP or UDP of a known flow?
    2  known flow  the attachment it goes to, from the memory of this session's flows
    3  _judge      anything else: parse, virtio-net header rebuilt, source check, route, gateway
    4  _deliver    does the far side take it as it is? else cut it up, or send "too big" back
    5  runs        consecutive frames for one attachment are one slice of the receive buffer

Who owns the bytes: scan reads the receive buffer between pos and end and hands out views of
it. They are good until the caller receives again; a queue must copy what it keeps.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import NamedTuple

from lib import framing, packet_headers, packet_offload, wire_control
from lib import packet as ip
from lib.acl import has_ports
from lib.forward_decide import Verdict, decide
from lib.forward_drop_reasons import Reason
from lib.namespace import Attachment
from lib.packet import Buffer, Packet
from lib.packet_text import head

MAX_FLOWS = 4096
"""Flows an attachment remembers; past that it starts afresh (each is asked again, none is lost)."""

_PLAIN = struct.Struct("!HBxHxxHxB2x12s").unpack_from
"""LEN, version and header length, total length, fragment bits, protocol, addresses and ports."""
_HEADED = struct.Struct("!H10sBxHxxHxB2x12s").unpack_from
"""The same with a virtio-net header in front of the packet."""

_HDR_LEN = struct.Struct("<H").unpack_from

_IPV4 = 0x45  # version 4, header of 20 bytes
_LEAST = [65536] * 256
"""By protocol, from which length on a packet of this version has a whole transport header; others never."""
_LEAST[ip.TCP], _LEAST[ip.UDP] = 40, 28
_FRAGMENT = 0x3FFF  # more-fragments bit and fragment offset
_TCP_OFFSET = 2 + packet_offload.HEADER_SIZE + 20 + 12  # of the TCP header's length, in a headed frame


Dealt = tuple[Reason | Attachment, Attachment | None, bool]
"""(why it was dropped, whom it would have gone to, whether its sender was told); a Port as the first: it was
cut up for it."""


@dataclass(slots=True)
class Output:
    """What came of a scan."""

    runs: dict[Attachment, list[Buffer]] = field(default_factory=dict)
    """Frames by the attachment they go to, in order."""
    controls: list[bytes] = field(default_factory=list)
    """Contents of control frames, for the session itself."""
    fates: dict[int, Dealt] | None = None
    """While somebody looks (watching): what became of frames that are not in runs as they lay, by where their
    content starts."""
    verdicts: list[tuple[Packet, Verdict]] | None = None
    """Likewise: the packets that were decided on, flow by flow."""


def scan(
    attachment: Attachment, buf: bytearray, view: memoryview, pos: int, end: int, now: float, out: Output
) -> int:
    """Forward every whole frame in buf[pos:end] that came from attachment; returns where it stopped.

    buf must be readable for framing.SLACK bytes past end; virtio-net headers in it are rewritten
    in place. now is in seconds of any steady clock.
    """
    _forget_outdated(attachment, now)
    known, known_udp, least = attachment.flows.get, attachment.udp_flows.get, _LEAST
    target: Attachment | None = None
    first_pos = begin = pos
    frames = begin_frames = 0
    while True:
        size, first, total, fragment, protocol, flow = _PLAIN(buf, pos)
        after = pos + 2 + size
        if after > end:
            break
        hop = None
        if first == _IPV4:
            if least[protocol] <= total == size and not fragment & _FRAGMENT:
                hop = known(flow) if protocol == 6 else known_udp(flow)
                if hop is not None and size > hop.mtu:
                    hop = None
        elif first <= 2 and size >= 38 and attachment.is_tunrouter:
            hop = _known_headed(attachment, buf, pos, size)
        unusual = hop is None or not hop.live
        if unusual or hop is not target:
            _hand_over(out, target, view[begin:pos], frames - begin_frames)
            begin, begin_frames = pos, frames
            target = _judge(attachment, buf, pos + 2, after, now, out) if unusual else hop
        frames += 1
        pos = after
    _hand_over(out, target, view[begin:pos], frames - begin_frames)
    attachment.traffic.received_packets += frames
    attachment.traffic.received_bytes += pos - first_pos
    return pos


def _known_headed(attachment: Attachment, buf: bytearray, pos: int, size: int) -> Attachment | None:
    """Where a frame with a virtio-net header goes, if its flow is known and the header plainly true."""
    _, header, first, total, fragment, protocol, flow = _HEADED(buf, pos)
    hop = (attachment.udp_flows if protocol == 17 else attachment.flows).get(flow)
    if (
        first != _IPV4
        or total != size - 10
        or fragment & _FRAGMENT
        or hop is None
        or total < _LEAST[protocol]
    ):
        return None
    if not hop.offloads or not hop.live:
        return None
    right = packet_offload.SINGLE.get(header)
    if right == 0 or right == protocol:
        return hop if total <= hop.mtu else None
    like = packet_offload.tcp_super(header) if protocol == 6 else None
    if like is None or buf[pos + _TCP_OFFSET] >> 4 != like.data_offset:
        return None
    payload = size - like.overhead
    if payload <= like.gso_size or like.segment > hop.mtu or like.offloads & ~hop.offloads:
        return None
    _count_segments(attachment, hop, (payload - 1) // like.gso_size)
    return hop


def _count_segments(attachment: Attachment, target: Attachment, more: int) -> None:
    attachment.traffic.received_packets += more
    target.traffic.sent_packets += more


def _forget_outdated(attachment: Attachment, now: float) -> None:
    """Drop the memory of flows that an older table or an outdated plugin reply allowed."""
    generation = attachment.namespace.generation(now)
    if attachment.generation != generation or now >= attachment.fresh_until:
        attachment.forget()
        attachment.generation = generation
        attachment.fresh_until = float("inf")


def _hand_over(out: Output, target: Attachment | None, run: memoryview, frames: int) -> None:
    if target is not None and frames:
        _send(out, target, run, frames)


def _send(out: Output, target: Attachment, data: Buffer, packets: int) -> None:
    target.traffic.sent_packets += packets
    target.traffic.sent_bytes += len(data)
    runs = out.runs.get(target)
    if runs is None:
        out.runs[target] = [data]
    else:
        runs.append(data)


class _Frame(NamedTuple):
    """One frame content in the receive buffer, and the packet in it."""

    buf: bytearray
    start: int
    packet_start: int
    end: int
    packet: Packet
    offloads: int
    """Bits its receiver must take; 0 for a complete single packet."""
    gso_size: int
    segments: int


def _judge(
    attachment: Attachment, buf: bytearray, start: int, end: int, now: float, out: Output
) -> Attachment | None:
    """Decide on one frame content that is not of a known flow, or not plain.

    Returns the attachment that takes it as it lies in the buffer, None where it is dealt with.
    """
    frame = _read(attachment, buf, start, end, now, out)
    if frame is None:
        return None
    packet = frame.packet
    memory = attachment.udp_flows if packet.protocol == ip.UDP and has_ports(packet) else attachment.flows
    target = memory.get(packet.flow)
    if target is None or not target.live:
        verdict = decide(attachment, packet, now, buf, frame.packet_start, end)
        if out.verdicts is not None:
            read = packet_headers.read(buf, frame.packet_start, packet, end)
            out.verdicts.append((packet if isinstance(read, Reason) else read.packet, verdict))
        if not isinstance(verdict, Attachment):
            _refuse(attachment, frame, verdict, now, out)
            return None
        target = verdict
        if has_ports(packet) or not attachment.namespace.has_acl:  # rules look at more than the flow's key
            _remember(attachment, memory, packet.flow, target, now)
    return _deliver(attachment, target, frame, now, out)


def _read(
    attachment: Attachment, buf: bytearray, start: int, end: int, now: float, out: Output
) -> _Frame | None:
    """Parse a frame content and make its virtio-net header true; None where it is no packet."""
    first = buf[start] if end > start else 0
    headed = first >> 4 == 0 and attachment.is_tunrouter and end > start + packet_offload.HEADER_SIZE
    packet_start = start + packet_offload.HEADER_SIZE if headed else start
    if end == start:
        attachment.drop(Reason.EMPTY_FRAME)
        _tell(out, start, Reason.EMPTY_FRAME)
        return None
    if first == wire_control.MARK:
        out.controls.append(bytes(buf[start:end]))
        return None
    packet = ip.parse(buf, packet_start, end)
    if isinstance(packet, Reason):
        if not framing.is_gost_keepalive(buf, start, end):
            attachment.drop(packet, 1, "", head(buf, start, end), now)
            _tell(out, start, packet)
        return None
    if not headed:
        return _Frame(buf, start, start, end, packet, 0, 0, 1)
    claim = packet_offload.rebuild(buf, start, packet, end)
    if isinstance(claim, Reason):
        attachment.drop(claim, 1, "", head(buf, packet_start, end), now)
        _tell(out, start, claim)
        return None
    offloads, gso_size, segments = claim
    return _Frame(buf, start, packet_start, end, packet, offloads, gso_size, segments)


def _remember(
    attachment: Attachment, memory: dict[bytes, Attachment], flow: bytes, target: Attachment, now: float
) -> None:
    if len(memory) >= MAX_FLOWS:
        memory.clear()
    memory[flow] = target
    attachment.fresh_until = min(attachment.fresh_until, attachment.namespace.fresh_until(now))


def _refuse(attachment: Attachment, frame: _Frame, verdict: Reason | bytes, now: float, out: Output) -> None:
    """Let a packet wait for its route, or drop it and say so to its sender."""
    if isinstance(verdict, bytes):
        whole = bytes(frame.buf[frame.start - 2 : frame.end])
        if attachment.namespace.park(verdict, attachment, whole):
            attachment.traffic.received_packets -= 1  # it comes by once more
            attachment.traffic.received_bytes -= len(whole)
            return
        verdict = Reason.RESOLVE_QUEUE
    _drop(attachment, verdict, frame, now)
    icmp_error = ip.unreachable(frame.buf, frame.packet_start, frame.packet, frame.end, verdict)
    _tell(out, frame.start, verdict, None, _send_icmp_error(attachment, icmp_error, now, out))


def _drop(attachment: Attachment, reason: Reason, frame: _Frame, now: float) -> None:
    """Count a dropped packet, a superpacket as its segments, here and by where it was to go."""
    attachment.traffic.received_packets += frame.segments - 1
    attachment.namespace.note_lost(frame.packet.destination, reason, frame.segments, now)
    detail = "" if reason in attachment.traffic.drops else ip.describe(frame.packet)
    attachment.drop(reason, frame.segments, detail, head(frame.buf, frame.packet_start, frame.end), now)


def _send_icmp_error(attachment: Attachment, icmp_error: bytes | None, now: float, out: Output) -> bool:
    """Send an ICMP error back where the packet came from, not too many of them; whether one was sent."""
    if icmp_error is None or not attachment.may_send_icmp_error(now):
        return False
    _send(out, attachment, framing.encode(icmp_error), 1)
    return True


def _tell(
    out: Output,
    start: int,
    what: Reason | Attachment,
    target: Attachment | None = None,
    answered: bool = False,
) -> None:
    if out.fates is not None:
        out.fates[start] = what, target, answered


def _deliver(
    attachment: Attachment, target: Attachment, frame: _Frame, now: float, out: Output
) -> Attachment | None:
    """Give target the frame in a form it takes; returns target where that is the frame itself."""
    headed = frame.packet_start != frame.start
    length = frame.end - frame.packet_start
    if frame.gso_size:
        (headers,) = _HDR_LEN(frame.buf, frame.start + 2)
        length = headers + frame.gso_size
    if length > target.mtu:
        _drop(attachment, Reason.TOO_BIG, frame, now)
        icmp_error = ip.too_big(frame.buf, frame.packet_start, frame.packet, frame.end, target.mtu)
        _tell(out, frame.start, Reason.TOO_BIG, target, _send_icmp_error(attachment, icmp_error, now, out))
        return None
    if not headed or (target.offloads and not frame.offloads & ~target.offloads):
        _count_segments(attachment, target, frame.segments - 1)
        return target
    attachment.traffic.received_packets += frame.segments - 1
    packets = packet_offload.packets(memoryview(frame.buf)[frame.start : frame.end])
    _send(out, target, b"".join(map(framing.encode, packets)), len(packets))
    _tell(out, frame.start, target)
    return None
