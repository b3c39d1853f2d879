"""Forwarding loop of the hub: frames received from one session are sorted into runs for other sessions.

Knows: the way of a packet through the hub, and every reason for which it is dropped there.
Refuses to know: sockets, clocks (time comes in), how the runs are sent.

    1  scan        one look at a frame's first 36 bytes: whole? plain TCP, UDP or ping of a known flow?
    2  known flow  the attachment it goes to, from the memory of this session's flows
    3  _judge      anything else: parse, virtio-net header rebuilt, source check, route, gateway
    4  _pass_hop   only where the hub has an address: a hop less, an MSS that fits (packet_hop)
    5  _deliver    does the receiver take it as it is? else cut it up or fragment it, or send "too big" back
    6  runs        consecutive frames for one attachment are one slice of the receive buffer; with an address
                   a hop is taken from all frames of a run at once

Who owns the bytes: scan reads the receive buffer between pos and end and returns views of it. They are
valid until the caller receives again; a queue must copy what it keeps.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial

from lib import (
    forward_errors,
    forward_names,
    framing,
    packet_fragment,
    packet_headers,
    packet_hop,
    packet_offload,
    wire_control,
)
from lib import packet as ip
from lib.acl import has_ports
from lib.bounded_dict import forget_oldest
from lib.forward_decide import Here, Verdict, decide
from lib.forward_drop_reasons import Reason
from lib.forward_errors import own_address
from lib.forward_frame import Frame, Output, first_bytes, send, tell
from lib.namespace import DENIED_SECONDS, Attachment
from lib.packet import Packet

_PLAIN = struct.Struct("!HBxHxxHxB2x12s").unpack_from
"""LEN, version and header length, total length, fragment bits, protocol, addresses and ports."""
_HDR_LEN = struct.Struct("<H").unpack_from

_IPV4 = 0x45  # version 4, header of 20 bytes
_IPV6_HEADER = 40
_PING = ip.KEY_OF_ICMP
_LEAST = [65536] * 256
"""By protocol, from which length on a packet of this version has a whole transport header; others never."""
_LEAST[ip.TCP], _LEAST[ip.UDP], _LEAST[ip.ICMP] = 40, 28, 28
MOST_EXPIRED = 16
"""Frames of known flows without a hop left that are judged in one scan, for an ICMP error about each."""
_MSS_HEADERS = packet_hop.MSS_HEADERS[4]
CUT_ALIKE = 4
"""So many segments cost as much to cut as one frame to judge."""
_Close = Callable[[Output, Attachment | None, memoryview, int, int, int], None]
_FRAGMENT = 0x3FFF  # more-fragments bit and fragment offset


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
    known, udp, least = attachment.flows.get, attachment.udp_flows.get, _LEAST
    headed, check = attachment.is_tunrouter, packet_offload.quick_check
    target: Attachment | None = None
    close = _as_hop(attachment, buf, now, out) if attachment.own4 else _hand_over
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
                hop = (
                    known(flow) if protocol == 6 else udp(flow) if protocol == 17 else known(flow[:8] + _PING)
                )
                if hop is not None and size > hop.mtu:
                    hop = None
        elif first <= 2 and headed:
            plain = check(buf, pos + 2, size)
            if plain is not None:
                protocol, flow, like = plain
                hop = udp(flow) if protocol == 17 else known(flow)
                if hop is not None and (like or not hop.offloads or size - 10 > hop.mtu):
                    hop = _takes_super(attachment, hop, like, size) if like else None
        unusual = hop is None or not hop.live
        if unusual:
            if out.work >= most:
                break
            out.work += 1
        if unusual or hop is not target:
            close(out, target, view, begin, pos, frames - begin_frames)
            begin, begin_frames = pos, frames
            target = _judge(attachment, buf, pos + 2, after, now, out) if unusual else hop
        frames += 1
        pos = after
    close(out, target, view, begin, pos, frames - begin_frames)
    attachment.traffic.received_packets += frames
    attachment.traffic.received_bytes += pos - first_pos
    return pos


def _as_hop(attachment: Attachment, buf: bytearray, now: float, out: Output) -> _Close:
    """What a hop does with each run of frames from an attachment: it is handed over, one hop less."""
    out.passed = out.expired = 0
    return partial(_pass_run, attachment, buf, now)


def _pass_run(
    attachment: Attachment,
    buf: bytearray,
    now: float,
    out: Output,
    target: Attachment | None,
    view: memoryview,
    begin: int,
    end: int,
    frames: int,
) -> None:
    """Take a hop from the frames of a run, but for a first one that was judged, and hand the run over.

    A frame without a hop left ends the run; those behind it are a run of their own.
    """
    if target is None or begin == end:
        return
    most = attachment.mtu
    if target.mtu < most:
        most = target.mtu
    most -= _MSS_HEADERS
    stop = packet_hop.pass_on(buf, max(begin, out.passed), end, most)
    while stop < end:
        count = len(framing.split(view[begin:stop]))
        _hand_over(out, target, view, begin, stop, count)
        begin = stop + 2 + (buf[stop] << 8 | buf[stop + 1])
        frames -= count + 1
        _expire(attachment, target, buf, now, out, stop + 2, begin)
        stop = packet_hop.pass_on(buf, begin, end, most)
    _hand_over(out, target, view, begin, end, frames)


def _expire(
    attachment: Attachment,
    target: Attachment,
    buf: bytearray,
    now: float,
    out: Output,
    start: int,
    end: int,
) -> None:
    """Drop a frame content without a hop left. Of very many only the first ones are looked at again.

    The segments of a superpacket were counted as sent to `target`, where none of them goes.
    """
    out.expired += 1
    out.work += 1
    plain = packet_offload.quick_check(buf, start, end - start) if buf[start] <= 2 else None
    more = plain[2].more(end - start) if plain is not None and plain[2] is not None else 0
    target.traffic.sent_packets -= more
    if out.expired <= MOST_EXPIRED:
        attachment.traffic.received_packets -= more  # who judges it counts them too
        _judge(attachment, buf, start, end, now, out)
    else:
        attachment.drop(Reason.HOP_LIMIT, 1 + more)
        tell(out, start, Reason.HOP_LIMIT)


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
        attachment.own4, attachment.own6 = attachment.namespace.own(4), attachment.namespace.own(16)
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


def _judge(
    attachment: Attachment, buf: bytearray, start: int, end: int, now: float, out: Output
) -> Attachment | None:
    """Handle a frame content whose flow is not known, or whose packet is of an uncommon kind.

    Returns the receiver that takes it as it lies; None where it was dropped, waits, was cut, is for the hub.
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
            _dispose(attachment, frame, verdict, now, out)
            return None
        target = verdict
        out.new += 1
        if _is_like_its_flow(attachment, frame):
            _remember(attachment, memory, packet.flow, target, now)
            if attachment.by and attachment.namespace.elsewhere is not None:
                attachment.namespace.elsewhere.came(attachment, packet.flow)
                back = target.udp_flows if memory is attachment.udp_flows else target.flows
                back.pop(ip.reversed_flow(packet.flow), None)  # perhaps replies went by another hub before
    if own_address(attachment, packet) and not _pass_hop(attachment, target, frame):
        forward_errors.refuse(attachment, Reason.HOP_LIMIT, frame, now, out)
        return None
    out.passed = end
    return _deliver(attachment, target, frame, now, out)


def _is_like_its_flow(attachment: Attachment, frame: Frame) -> bool:
    """Whether what was decided on a packet is right for all packets with its flow key."""
    packet = frame.packet
    # A flow key without ports may stand for many connections, on which access rules decide one by one. And a
    # router's error may pass from an address from which nothing else does.
    return has_ports(packet) or not (
        attachment.namespace.has_acl or packet_headers.is_router_error(frame.buf, packet, frame.end)
    )


def _verdict(attachment: Attachment, frame: Frame, now: float) -> Verdict:
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
) -> Frame | None:
    """Parse a frame content and rebuild its virtio-net header from the packet; None where it is no packet."""
    first = buf[start] if end > start else 0
    headed = first >> 4 == 0 and attachment.is_tunrouter and end > start + packet_offload.HEADER_SIZE
    packet_start = start + packet_offload.HEADER_SIZE if headed else start
    if end == start:
        attachment.drop(Reason.EMPTY_FRAME)
        tell(out, start, Reason.EMPTY_FRAME)
        return None
    if first == wire_control.MARK:
        out.controls.append(bytes(buf[start:end]))
        return None
    packet = ip.parse(buf, packet_start, end)
    if isinstance(packet, Reason):
        if not framing.is_gost_keepalive(buf, start, end):
            attachment.drop(packet, 1, "", first_bytes(attachment, packet, buf, start, end, now), now)
            tell(out, start, packet)
        return None
    if not headed:
        return Frame(buf, start, start, end, packet, 0, 0, 1)
    claim = packet_offload.rebuild(buf, start, packet, end)
    if isinstance(claim, Reason):
        attachment.drop(claim, 1, "", first_bytes(attachment, claim, buf, packet_start, end, now), now)
        tell(out, start, claim)
        return None
    offloads, gso_size, segments = claim
    return Frame(buf, start, packet_start, end, packet, offloads, gso_size, segments)


def _remember(
    attachment: Attachment, memory: dict[bytes, Attachment], flow: bytes, target: Attachment, now: float
) -> None:
    if len(memory) >= attachment.max_flows:
        forget_oldest(memory)
    memory[flow] = target
    attachment.fresh_until = min(attachment.fresh_until, attachment.namespace.fresh_until(now, target))


def _dispose(attachment: Attachment, frame: Frame, verdict: Verdict, now: float, out: Output) -> None:
    """Handle a packet that goes to nobody: it waits for a plugin's reply, is for the hub, or is dropped."""
    if verdict is Here.HUB:
        answer = forward_names.answer if frame.packet.protocol == ip.UDP else forward_errors.answer
        answer(attachment, frame, now, out)
        return
    if isinstance(verdict, bytes):
        whole = bytes(frame.buf[frame.start - 2 : frame.end])
        if attachment.namespace.park(verdict, attachment, whole, now):
            attachment.traffic.received_packets -= 1  # it is scanned, and counted, again after the reply
            attachment.traffic.received_bytes -= len(whole)
            return
        verdict = Reason.RESOLVE_QUEUE
    assert isinstance(verdict, Reason)
    forward_errors.refuse(attachment, verdict, frame, now, out)


def _pass_hop(attachment: Attachment, target: Attachment, frame: Frame) -> bool:
    """Do what a router does with a packet that it passes on; False where the packet has no hop left."""
    start, packet = frame.packet_start, frame.packet
    if packet_hop.hops_left(frame.buf, start) < 2:
        return False
    partial = bool(frame.offloads & packet_offload.CSUM)
    packet_hop.bound_mss(frame.buf, packet, frame.end, _most_mss(attachment, target, packet.version), partial)
    packet_hop.take_hop(frame.buf, start)
    return True


def _most_mss(attachment: Attachment, target: Attachment, version: int) -> int:
    """The largest MSS that fits the devices at both ends."""
    return min(attachment.mtu, target.mtu) - packet_hop.MSS_HEADERS[version]


def _deliver(
    attachment: Attachment, target: Attachment, frame: Frame, now: float, out: Output
) -> Attachment | None:
    """Give `target` the frame in a form that it takes; returns it if that is the frame as it lies there."""
    headed = frame.packet_start != frame.start
    length = frame.end - frame.packet_start
    if frame.gso_size:
        (headers,) = _HDR_LEN(frame.buf, frame.start + 2)
        length = headers + frame.gso_size
    fits = length <= target.mtu
    if fits and (not headed or (target.offloads and not frame.offloads & ~target.offloads)):
        if frame.segments > 1:
            _count_segments(attachment, target, frame.segments - 1)
        return target
    content = memoryview(frame.buf)[frame.start : frame.end]
    if fits:
        packets = packet_offload.packets(content)
    else:
        packets = packet_fragment.fitting(content, headed, length, frame.segments, target.mtu)
        if not packets:
            if own_address(attachment, frame.packet):
                packet_hop.take_hop(frame.buf, frame.packet_start, -1)  # an error quotes it as it came
            forward_errors.too_big(attachment, target, frame, now, out)
            return None
    attachment.traffic.received_packets += frame.segments - 1
    send(out, target, packets)
    out.frames += 1
    out.bytes += frame.end - frame.start
    out.cut += len(packets)
    out.work += len(packets) // CUT_ALIKE
    tell(out, frame.start, target)
    return None
