"""Forwarding and delivery with taps: the same code as without, then each frame's fate is reported.

Knows: how to find a frame's fate afterwards, from what forward, client_uplink and client_downlink leave
behind. Refuses to know: which taps there are (capture_taps), sockets, and the decisions themselves.

A session comes here only while there is a tap; forward.scan is the same in both cases:

    forward.scan -> out.spans   where each run lay in the buffer, and its receiver    forwarded as it lay
                    out.fates   frame -> reason, or receiver it was cut up for        everything else
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from lib import forward, framing, wire_control
from lib.capture_fate import ANSWERED, DROPPED, FORWARDED, Fate
from lib.capture_taps import Taps
from lib.forward_drop_reasons import Reason
from lib.forward_frame import Dealt, Output
from lib.namespace import Attachment
from lib.packet import Buffer

if TYPE_CHECKING:
    from lib.client_downlink import Downlink

_MARK = bytes([wire_control.MARK])
BY_DATAGRAMS = " by datagrams"
"""Follows the session in how a packet leaves this process."""
ByDatagrams = Callable[[Buffer], bool]
"""Tells whether a frame goes by datagrams."""


def scan(
    attachment: Attachment,
    buf: bytearray,
    view: memoryview,
    pos: int,
    end: int,
    now: float,
    out: Output,
    taps: Taps,
    most: int = 1 << 30,
) -> int:
    """forward.scan, watched."""
    out.fates, out.spans, out.verdicts = {}, [], []
    try:
        stop = forward.scan(attachment, buf, view, pos, end, now, out, most)
        spans = [
            (start, until, _forwarded(attachment, target, by))
            for begin, after, target in out.spans
            for start, until, by in _apart(view, begin, after, target.by_datagrams)
        ]
        found = [(start - 2, _dealt(attachment, dealt)) for start, dealt in out.fates.items()]
        for packet, verdict in out.verdicts:
            taps.decided(attachment, packet, verdict)
    finally:
        out.fates = out.spans = out.verdicts = None
    spans += [(at, at + 2 + (buf[at] << 8 | buf[at + 1]), fate) for at, fate in found]
    spans.sort(key=_first)
    for begin, after, fate in spans:
        taps.saw(fate, view, begin, after)
    return stop


def _first(span: tuple[int, int, Fate]) -> int:
    return span[0]


def _apart(
    view: Buffer, begin: int, end: int, by_datagrams: ByDatagrams | None
) -> Iterator[tuple[int, int, bool]]:
    """Cut a run of frames into (begin, end, whether they go by datagrams)."""
    if by_datagrams is None:
        yield begin, end, False
        return
    start = at = begin
    before = False
    for after in framing.split(view[begin:end]):
        by = by_datagrams(view[at : begin + after])
        if by != before and at > start:
            yield start, at, before
            start = at
        at, before = begin + after, by
    if end > start:
        yield start, end, before


def _forwarded(attachment: Attachment, target: Attachment, by_datagrams: bool = False) -> Fate:
    way = _way(target) + (BY_DATAGRAMS if by_datagrams else "")
    return _between(attachment.namespace.id, attachment.host, target.host, way)


@lru_cache(maxsize=1024)
def _between(namespace: bytes, host: str, to: str, way: str) -> Fate:
    return Fate(FORWARDED, namespace.hex(), host, to, way)


def _way(target: Attachment) -> str:
    return f"hub {target.peer}, {target.by}" if target.by else f"session {target.peer}"


def _dealt(attachment: Attachment, dealt: Dealt) -> Fate:
    what, target, answered = dealt
    namespace = attachment.namespace.id.hex()
    if isinstance(what, Attachment):
        return _forwarded(attachment, what)
    to, way = (target.host, _way(target)) if target is not None else ("", "")
    return Fate(ANSWERED if answered else DROPPED, namespace, attachment.host, to, way, what.value)


def dropped(taps: Taps, attachment: Attachment, reason: Reason, frames: Buffer) -> None:
    """Report frames of a session that are dropped outside of forward.scan, for `reason`."""
    sent(taps, _dealt(attachment, (reason, None, False)), frames)


def lost(taps: Taps, namespace: bytes, to: str, way: str, reason: Reason, frames: Buffer) -> None:
    """Report whole frames that a queue dropped after they had been forwarded; it does not know the sender."""
    sent(taps, Fate(DROPPED, namespace.hex(), "", to, way, reason.value), frames)


def leaving(
    namespace: bytes, host: str, peer: str, reason: Reason | None = None, answered: bool = False
) -> Fate:
    """The fate of what a client's device sends: forwarded to the hub, or dropped for `reason`."""
    way = f"session {peer}" if peer else ""
    if reason is None:
        return Fate(FORWARDED, namespace.hex(), host, "", way)
    return Fate(ANSWERED if answered else DROPPED, namespace.hex(), host, "", way, reason.value)


def arriving(namespace: bytes, host: str, device: str) -> Fate:
    """The fate of what a client gets from its hub: forwarded to its device."""
    return Fate(FORWARDED, namespace.hex(), "", host, f"device {device}")


def left(taps: Taps, fate: Fate, frames: Buffer, by_datagrams: ByDatagrams | None) -> None:
    """Show the taps frames that go to the hub, of which some may go by datagrams."""
    for begin, end, by in _apart(frames, 0, len(frames), by_datagrams):
        seen = fate._replace(way=fate.way + BY_DATAGRAMS) if by else fate
        sent(taps, seen, memoryview(frames)[begin:end])


def sent(taps: Taps, fate: Fate, frames: Buffer) -> None:
    """Show a run of frames with one fate to the taps, without the control frames among them."""
    begin = at = 0
    for after in framing.split(frames):
        if frames[at + 2 : at + 3] == _MARK:
            if at > begin:
                taps.saw(fate, frames, begin, at)
            begin = after
        at = after
    if at > begin:
        taps.saw(fate, frames, begin, at)


def deliver(
    down: Downlink, buf: bytearray, view: memoryview, pos: int, end: int, taps: Taps, fate: Fate
) -> int:
    """client_downlink.deliver for one frame at a time, after which the taps see the frame with its fate.

    One at a time and copied before, because deliver writes virtio-net headers over frames that are done.
    """
    from lib.client_downlink import deliver as deliver_one  # a hub has none of that

    while pos + 2 <= end:
        after = pos + 2 + (buf[pos] << 8 | buf[pos + 1])
        if after > end:
            break
        frame = bytes(view[pos:after])
        down.dropped = None
        stop = deliver_one(down, buf, view, pos, after)
        if not _is_ours(frame):
            reason: Any = down.dropped
            seen = fate if reason is None else fate._replace(what=DROPPED, reason=reason.value)
            taps.saw(seen, frame, 0, len(frame))
        pos = stop
    return pos


def _is_ours(frame: bytes) -> bool:
    """Whether a frame is a message between peers (control frame, GOST's keepalive) and no packet."""
    return frame[2:3] == _MARK or framing.is_gost_keepalive(frame, 2, len(frame))
