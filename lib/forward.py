"""Forwarding loop of the hub: frames received from one session are sorted into runs for other sessions.

Knows: the way of a packet through the hub, and every reason for which it is dropped there.
Refuses to know: sockets, clocks (time comes in), how the runs are sent.

    1  scan        one look at a frame's first 36 bytes: whole? plain TCP or UDP of a known flow?
    2  known flow  the attachment it goes to, from the memory of this session's flows
    3  _judge      anything else: parse, virtio-net header rebuilt, source check, route, gateway
    4  _deliver    does the receiver take it as it is? else cut it up or fragment it, or send "too big" back
    5  runs        consecutive frames for one attachment are one slice of the receive buffer

Who owns the bytes: scan reads the receive buffer between pos and end and returns views of it. They are
valid until the caller receives again; a queue must copy what it keeps.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import NamedTuple

from lib import framing, packet_fragment, packet_headers, packet_icmp, packet_offload, wire_control
from lib import packet as ip
from lib.acl import has_ports
from lib.forward_decide import Verdict, decide
from lib.forward_drop_reasons import Reason
from lib.namespace import DENIED_SECONDS, Attachment
from lib.packet import Buffer, Packet
from lib.packet_text import head

_PLAIN = struct.Struct("!HBxHxxHxB2x12s").unpack_from
"""LEN, version and header length, total length, fragment bits, protocol, addresses and ports."""
_HDR_LEN = struct.Struct("<H").unpack_from

_IPV4 = 0x45  # version 4, header of 20 bytes
_IPV6_HEADER = 40
_LEAST = [65536] * 256
"""By protocol, from which length on a packet of this version has a whole transport header; others never."""
_LEAST[ip.TCP], _LEAST[ip.UDP] = 40, 28
CUT_ALIKE = 4
"""So many segments cost as much to cut as one frame to judge."""
_FRAGMENT = 0x3FFF  # more-fragments bit and fragment offset


Dealt = tuple[Reason | Attachment, Attachment | None, bool]
"""(reason, receiver or None, whether an ICMP error was sent) of a frame that was dropped.

An Attachment in place of the reason is the receiver that the frame was cut up for.
"""


@dataclass(slots=True)
class Output:
    """The result of a scan."""

    runs: dict[Attachment, list[Buffer]] = field(default_factory=dict)
    """Receiver -> whole frames for it, in order."""
    controls: list[bytes] = field(default_factory=list)
    """Contents of control frames, for the session itself."""
    fates: dict[int, Dealt] | None = None
    """While somebody looks (watching): what became of frames that are not in runs as they lay, by where their
    content starts."""
    spans: list[tuple[int, int, Attachment]] | None = None
    """Likewise: where each run of frames that went as they lay began and ended, and whom it went to."""
    verdicts: list[tuple[Packet, Verdict]] | None = None
    """For capture_watch, else None: every packet that decide was asked about, with the Verdict."""
    has_icmp_error: bool = False
    """Whether an ICMP error was sent in this turn: one a turn is enough to say what is wrong."""
    frames: int = 0
    """Frames of this turn that were passed on (frames and bytes as they came)."""
    bytes: int = 0
    cut: int = 0
    """Segments that some of them were cut into."""
    work: int = 0
    """What the scan has judged so far: frames that are not of known flows, and each CUT_ALIKE segments."""


def scan(
    attachment: Attachment,
    buf: bytearray,
    view: memoryview,
    pos: int,
    end: int,
    now: float,
    out: Output,
    most: int = 1 << 30,
) -> int:
    """Forward every whole frame in buf[pos:end] that came from `attachment`; returns where it stopped.

    `view` is a memoryview of `buf`, which must be readable for framing.SLACK bytes past `end`; virtio-net
    headers in it are rewritten in place. `now` is in seconds of a monotonic clock. The scan stops after
    `most` frames that are not of known flows, because each of those may cost as much as a hundred others.
    """
    _forget_outdated(attachment, now)
    known, known_udp, least = attachment.flows.get, attachment.udp_flows.get, _LEAST
    headed, check = attachment.is_tunrouter, packet_offload.quick_check
    target: Attachment | None = None
    first_pos = begin = pos
    frames = begin_frames = out.work = 0
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
        elif first <= 2 and headed:
            plain = check(buf, pos + 2, size)
            if plain is not None:
                protocol, flow, like = plain
                hop = known(flow) if protocol == 6 else known_udp(flow)
                if hop is not None and (like or not hop.offloads or size - 10 > hop.mtu):
                    hop = _takes_super(attachment, hop, like, size) if like else None
        unusual = hop is None or not hop.live
        if unusual:
            if out.work >= most:
                break
            out.work += 1
        if unusual or hop is not target:
            _hand_over(out, target, view, begin, pos, frames - begin_frames)
            begin, begin_frames = pos, frames
            target = _judge(attachment, buf, pos + 2, after, now, out) if unusual else hop
        frames += 1
        pos = after
    _hand_over(out, target, view, begin, pos, frames - begin_frames)
    attachment.traffic.received_packets += frames
    attachment.traffic.received_bytes += pos - first_pos
    return pos


def _takes_super(
    attachment: Attachment, hop: Attachment, like: packet_offload.TcpSuper, size: int
) -> Attachment | None:
    """Count the segments of a superpacket that its receiver takes as it is; None where it does not."""
    if like.segment > hop.mtu or like.offloads & ~hop.offloads or not hop.live:
        return None
    more = like.more(size)
    attachment.traffic.received_packets += more
    hop.traffic.sent_packets += more
    return hop


def _count_segments(attachment: Attachment, target: Attachment, more: int) -> None:
    attachment.traffic.received_packets += more
    target.traffic.sent_packets += more


def _forget_outdated(attachment: Attachment, now: float) -> None:
    """Forget the flows that were decided by an older table or by a plugin's reply that has expired."""
    generation = attachment.namespace.generation(now)
    if attachment.generation != generation or now >= attachment.fresh_until:
        attachment.forget()
        attachment.generation = generation
        attachment.fresh_until = float("inf")


def _hand_over(
    out: Output, target: Attachment | None, view: memoryview, begin: int, end: int, frames: int
) -> None:
    """Send a run of frames as they lie in the buffer."""
    if target is None or begin == end:
        return
    if out.spans is not None:
        out.spans.append((begin, end, target))
    target.traffic.sent_packets += frames
    target.traffic.sent_bytes += end - begin
    out.frames += frames
    out.bytes += end - begin
    runs = out.runs.get(target)
    if runs is None:
        out.runs[target] = [view[begin:end]]
    else:
        runs.append(view[begin:end])


def _send(out: Output, target: Attachment, data: Buffer, packets: int) -> None:
    """Send frames that were made anew."""
    target.traffic.sent_packets += packets
    target.traffic.sent_bytes += len(data)
    out.runs.setdefault(target, []).append(data)


class _Frame(NamedTuple):
    """One frame content in the receive buffer, and the packet in it."""

    buf: bytearray
    start: int
    packet_start: int
    """Differs from `start` by a virtio-net header."""
    end: int
    packet: Packet
    offloads: int
    """Offload bits that its receiver must take (packet_offload); 0 for a complete single packet."""
    gso_size: int
    """Payload bytes of each segment of a superpacket, else 0."""
    segments: int
    """Number of packets that it stands for."""


def _judge(
    attachment: Attachment, buf: bytearray, start: int, end: int, now: float, out: Output
) -> Attachment | None:
    """Handle a frame content whose flow is not known, or whose packet is of an uncommon kind.

    Returns the receiver that takes it as it lies in the buffer; None where it was dropped, kept waiting, cut
    up or is a control frame.
    """
    frame = _read(attachment, buf, start, end, now, out)
    if frame is None:
        return None
    packet = frame.packet
    memory = attachment.udp_flows if packet.protocol == ip.UDP and has_ports(packet) else attachment.flows
    target = memory.get(packet.flow)
    if target is None or not target.live:
        verdict = _verdict(attachment, frame, now)
        if out.verdicts is not None:
            read = packet_headers.read(buf, frame.packet_start, packet, end)
            out.verdicts.append((packet if isinstance(read, Reason) else read.packet, verdict))
        if not isinstance(verdict, Attachment):
            _refuse(attachment, frame, verdict, now, out)
            return None
        target = verdict
        if _is_like_its_flow(attachment, frame):
            _remember(attachment, memory, packet.flow, target, now)
    return _deliver(attachment, target, frame, now, out)


def _is_like_its_flow(attachment: Attachment, frame: _Frame) -> bool:
    """Whether what was decided on a packet is right for all packets with its flow key."""
    packet = frame.packet
    # A flow key without ports may stand for many connections, on which access rules decide one by one. And a
    # router's error may pass from an address from which nothing else does.
    return has_ports(packet) or not (
        attachment.namespace.has_acl or packet_headers.is_router_error(frame.buf, packet, frame.end)
    )


def _verdict(attachment: Attachment, frame: _Frame, now: float) -> Verdict:
    """What decide says of a packet; a denial is remembered, since it costs as much as all rules together."""
    packet, denied = frame.packet, attachment.denied
    if denied and denied.get(_denial_key(packet), 0.0) > now:
        return Reason.DENIED
    verdict = decide(attachment, packet, now, frame.buf, frame.packet_start, frame.end)
    # With extension headers it may be one of those that was denied, and not the flow.
    plain = packet.version == 4 or packet.transport - frame.packet_start == _IPV6_HEADER
    if verdict is Reason.DENIED and plain and has_ports(packet):
        denied.renew(_denial_key(packet), now + DENIED_SECONDS)
    return verdict


def _denial_key(packet: Packet) -> bytes:
    return bytes((packet.protocol,)) + packet.flow


def _read(
    attachment: Attachment, buf: bytearray, start: int, end: int, now: float, out: Output
) -> _Frame | None:
    """Parse a frame content and rebuild its virtio-net header from the packet; None where it is no packet."""
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
            attachment.drop(packet, 1, "", _head(attachment, packet, buf, start, end, now), now)
            _tell(out, start, packet)
        return None
    if not headed:
        return _Frame(buf, start, start, end, packet, 0, 0, 1)
    claim = packet_offload.rebuild(buf, start, packet, end)
    if isinstance(claim, Reason):
        attachment.drop(claim, 1, "", _head(attachment, claim, buf, packet_start, end, now), now)
        _tell(out, start, claim)
        return None
    offloads, gso_size, segments = claim
    return _Frame(buf, start, packet_start, end, packet, offloads, gso_size, segments)


def _remember(
    attachment: Attachment, memory: dict[bytes, Attachment], flow: bytes, target: Attachment, now: float
) -> None:
    if len(memory) >= attachment.max_flows:
        memory.clear()
    memory[flow] = target
    attachment.fresh_until = min(attachment.fresh_until, attachment.namespace.fresh_until(now))


def _refuse(attachment: Attachment, frame: _Frame, verdict: Reason | bytes, now: float, out: Output) -> None:
    """Let a packet wait for a plugin's reply, or drop it and send an ICMP error to its sender."""
    if isinstance(verdict, bytes):
        whole = bytes(frame.buf[frame.start - 2 : frame.end])
        if attachment.namespace.park(verdict, attachment, whole):
            attachment.traffic.received_packets -= 1  # it is scanned, and counted, again after the reply
            attachment.traffic.received_bytes -= len(whole)
            return
        verdict = Reason.RESOLVE_QUEUE
    _drop(attachment, verdict, frame, now)
    sent = False
    if _may_send_icmp_error(attachment, now, out):
        icmp_error = packet_icmp.unreachable(
            frame.buf, frame.packet_start, frame.packet, frame.end, verdict, attachment.takes_dummies
        )
        sent = _send_icmp_error(attachment, icmp_error, out)
    _tell(out, frame.start, verdict, None, sent)


def _drop(attachment: Attachment, reason: Reason, frame: _Frame, now: float) -> None:
    """Count a dropped packet (a superpacket as its segments) for its sender and for its destination."""
    attachment.traffic.received_packets += frame.segments - 1
    attachment.namespace.note_lost(frame.packet.destination, reason, frame.segments, now)
    detail = "" if reason in attachment.traffic.drops else ip.describe(frame.packet)
    first = _head(attachment, reason, frame.buf, frame.packet_start, frame.end, now)
    attachment.drop(reason, frame.segments, detail, first, now)


def _head(attachment: Attachment, reason: Reason, buf: bytearray, start: int, end: int, now: float) -> bytes:
    """First bytes of a dropped packet, to be shown; empty where one of the same moment is kept already."""
    last = attachment.traffic.last.get(reason)
    return head(buf, start, end) if last is None or last.at != now else b""


def _may_send_icmp_error(attachment: Attachment, now: float, out: Output) -> bool:
    """Whether an ICMP error is worth making: at most one a turn, and at a limited rate."""
    return not out.has_icmp_error and attachment.may_send_icmp_error(now)


def _send_icmp_error(attachment: Attachment, icmp_error: bytes | None, out: Output) -> bool:
    """Send an ICMP error to the sender; returns whether there was one to send."""
    if icmp_error is None:
        return False
    attachment.icmp_error_tokens -= 1
    out.has_icmp_error = True
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
    """Give `target` the frame in a form that it takes; returns it if that is the frame as it lies there."""
    headed = frame.packet_start != frame.start
    length = frame.end - frame.packet_start
    if frame.gso_size:
        (headers,) = _HDR_LEN(frame.buf, frame.start + 2)
        length = headers + frame.gso_size
    fits = length <= target.mtu
    if fits and (not headed or (target.offloads and not frame.offloads & ~target.offloads)):
        _count_segments(attachment, target, frame.segments - 1)
        return target
    content = memoryview(frame.buf)[frame.start : frame.end]
    if fits:
        packets = packet_offload.packets(content)
    else:
        packets = packet_fragment.fitting(content, headed, length, frame.segments, target.mtu)
        if not packets:
            _too_big(attachment, target, frame, now, out)
            return None
    attachment.traffic.received_packets += frame.segments - 1
    _send(out, target, b"".join(map(framing.encode, packets)), len(packets))
    out.frames += 1
    out.bytes += frame.end - frame.start
    out.cut += len(packets)
    out.work += len(packets) // CUT_ALIKE
    _tell(out, frame.start, target)
    return None


def _too_big(attachment: Attachment, target: Attachment, frame: _Frame, now: float, out: Output) -> None:
    """Drop a packet that is too big for its receiver and must not be cut, and tell its sender by ICMP."""
    _drop(attachment, Reason.TOO_BIG, frame, now)
    icmp_error = None
    if _may_send_icmp_error(attachment, now, out):
        icmp_error = packet_icmp.too_big(frame.buf, frame.packet_start, frame.packet, frame.end, target.mtu)
    _tell(out, frame.start, Reason.TOO_BIG, target, _send_icmp_error(attachment, icmp_error, out))
