"""What the hub itself says to a sender: ICMP errors about its packets, and replies to packets for the hub.

Knows: which packets have an answer, from which address it comes, how many there may be.
Refuses to know: why a packet is dropped (forward_decide), how an answer looks in bytes (packet_icmp,
packet_replies).

    dropped, or without a hop left     an ICMP error      100 a second of a session, ERRORS_A_TURN at once
    TCP for the hub's own address      a reset            the same
    other protocols                    unreachable        the same
    a ping of the hub's own address    an echo reply      1,000 packets a second of a session
"""

from __future__ import annotations

from lib import packet as ip
from lib import packet_fragment, packet_headers, packet_icmp, packet_offload, packet_replies
from lib.acl import Acl
from lib.forward_drop_reasons import Reason
from lib.forward_frame import Frame, Output, drop, reply, send, tell
from lib.namespace import Attachment
from lib.packet import Buffer, Packet
from lib.packet_headers import Headers

ERRORS_A_TURN = 16
"""ICMP errors in a turn of a hub with an address: as many as a traceroute sends probes at once. Of one
without an address one is enough to say what is wrong."""
_EVERYTHING = Acl(())
"""For the table of fragments, which keeps the rules that let a first fragment through."""


def own_address(attachment: Attachment, packet: Packet) -> bytes:
    """The hub's own address of a packet's version; empty where it has none, and is no hop."""
    return attachment.own4 if packet.version == 4 else attachment.own6


def refuse(attachment: Attachment, reason: Reason, frame: Frame, now: float, out: Output) -> None:
    """Drop a packet, and send what there is to say about it to its sender."""
    drop(attachment, reason, frame, now)
    sent = False
    if may_send_icmp_error(attachment, now, out):
        sent = _send(attachment, _about(attachment, reason, frame), out)
    tell(out, frame.start, reason, None, sent)


def _about(attachment: Attachment, reason: Reason, frame: Frame) -> bytes | None:
    buf, start, packet, end = _quotable(frame)
    if reason is Reason.FOR_HUB and packet.protocol == ip.TCP:
        return packet_replies.reset(frame.buf, frame.packet, frame.end)
    own = own_address(attachment, packet)
    return packet_icmp.unreachable(buf, start, packet, end, reason, attachment.takes_dummies, own)


def too_big(attachment: Attachment, target: Attachment, frame: Frame, now: float, out: Output) -> None:
    """Drop a packet that is too big for its receiver and must not be cut, and tell its sender by ICMP."""
    drop(attachment, Reason.TOO_BIG, frame, now)
    icmp_error = None
    if may_send_icmp_error(attachment, now, out):
        own = own_address(attachment, frame.packet)
        icmp_error = packet_icmp.too_big(*_quotable(frame), target.mtu, own)
    tell(out, frame.start, Reason.TOO_BIG, target, _send(attachment, icmp_error, out))


def answer(attachment: Attachment, frame: Frame, now: float, out: Output) -> None:
    """Reply to an ICMP message for the hub's own address, where it is an echo request or a part of one."""
    packet = frame.packet
    headers = packet_headers.read(frame.buf, frame.packet_start, packet, frame.end)
    if isinstance(headers, Reason):
        refuse(attachment, headers, frame, now, out)
        return
    if not _is_asking(attachment, frame, headers, now):
        drop(attachment, Reason.FOR_HUB, frame, now)
        tell(out, frame.start, Reason.FOR_HUB)
        return
    if not attachment.pings.spend(now):
        drop(attachment, Reason.HUB_RATE, frame, now)
        tell(out, frame.start, Reason.HUB_RATE)
        return
    back = packet_replies.echo_reply(frame.buf, frame.packet_start, headers, frame.end)
    if back is not None:
        is_short = len(back) <= attachment.mtu
        reply(out, attachment, [back] if is_short else packet_fragment.fragments(back, attachment.mtu))
    tell(out, frame.start, attachment)


def _is_asking(attachment: Attachment, frame: Frame, headers: Headers, now: float) -> bool:
    """Whether a packet is an echo request or belongs to one; the first fragment has to come first."""
    fragment = headers.fragment
    fragments = attachment.namespace.fragments
    if fragment is None or not fragment.begin:
        asks = packet_replies.is_echo_request(frame.buf, headers, frame.end)
        if fragment is not None:
            fragments.begin(_datagram(attachment, headers), fragment, _EVERYTHING if asks else None, now)
        return asks
    return fragments.follows(_datagram(attachment, headers), fragment, now)


def _datagram(attachment: Attachment, headers: Headers) -> tuple[str, str, bytes, bytes, bytes]:
    packet, fragment = headers.packet, headers.fragment
    assert fragment is not None
    # Not the key of decide's access list, which has counted the same fragment already.
    return attachment.host, "", packet.source, packet.destination, b"echo" + fragment.datagram


def may_send_icmp_error(attachment: Attachment, now: float, out: Output) -> bool:
    """Whether an ICMP error is worth making: so many a turn, and at a limited rate."""
    most = ERRORS_A_TURN if attachment.own4 or attachment.own6 else 1
    return out.icmp_errors < most and attachment.may_send_icmp_error(now)


def _send(attachment: Attachment, answer: bytes | None, out: Output) -> bool:
    """Send an answer to the sender; returns whether there was one to send."""
    if answer is None:
        return False
    attachment.icmp_error_tokens -= 1
    out.icmp_errors += 1
    send(out, attachment, [answer])
    return True


def _quotable(frame: Frame) -> tuple[Buffer, int, Packet, int]:
    """The packet that an error quotes: (buffer, its start, the packet, its end).

    Of a superpacket that is the first segment, for no sender has sent a packet as long as the whole.
    """
    whole = frame.buf, frame.packet_start, frame.packet, frame.end
    if not frame.gso_size:
        return whole
    parts = packet_offload.cut(memoryview(frame.buf)[frame.start : frame.end], 1)
    if parts is None:
        return whole
    first = bytes(parts[0])
    packet = ip.parse(first, packet_offload.HEADER_SIZE, len(first))
    return whole if isinstance(packet, Reason) else (first, packet_offload.HEADER_SIZE, packet, len(first))
