"""Frames that came from another hub: whose they are, and that they go to sessions here and nowhere else.

Knows: that the source of a packet has to be one of a host that is at the hub it came from.
Refuses to know: how frames come (cluster_entrypoint, cluster_receive), who knows where hosts are
(namespace_elsewhere), what becomes of a frame once its sender is known (forward).

The sender of each frame is the attachment of its host at that hub. From there on it is a frame like any
other: the same checks, the same access lists, and errors go back. But no attachment with `by` may send to
another hub (forward_decide), so nothing goes in a circle. A table must lead to the source, also where
`sourceCheck` is off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from lib import packet as ip
from lib import packet_headers
from lib.errors import ProtocolError
from lib.forward_drop_reasons import Reason
from lib.namespace import Attachment, Namespace
from lib.packet_headers import is_router_error
from lib.packet_offload import HEADER_SIZE
from lib.packet_text import head_of_frame
from lib.plugin_cache import Unresolved
from lib.route_table import all_names


def enter(stranger: Attachment, frames: Iterable[bytes], now: float) -> None:
    """Forward whole frames that came from another hub to sessions here.

    `stranger` stands for that hub in one namespace: it has no host, its `peer` names the hub, and its `again`
    calls this function, for frames that have to wait until it is known whose they are. What is nobody's
    counts as dropped there. `now` is in seconds of a steady clock.
    """
    runs: dict[Attachment, list[bytes]] = {}
    there: dict[bytes, Attachment] = {}
    """Source -> its host's attachment, as found for a frame before: most frames are of few flows."""
    for frame in frames:
        owner = _owner(stranger, frame, now, there)
        if isinstance(owner, Attachment):
            runs.setdefault(owner, []).append(frame)
    for attachment, run in runs.items():
        if attachment.again is not None:
            attachment.again(b"".join(run))


Forward = Callable[[Attachment, int, int], int]
"""Forwards whole frames buf[start:end] of an attachment as they lie there; returns where it stopped."""
MOST_ASKED = 64
"""Frames of one run whose sender is looked up, at most, before others have their turn."""
MOST_LOOKED, MOST_RUNS = 1024, 16
"""Likewise frames of it that are looked at, and how often its sender may change: each time frames are
forwarded, with a look at the clock for these alone."""
_IPV4, _IPV4_HEADER, _IPV6_HEADER = 0x45, 20, 40


def enter_run(
    stranger: Attachment,
    buf: bytearray,
    start: int,
    end: int,
    now: float,
    there: dict[bytes, Attachment],
    forward: Forward,
    nobody: set[bytes] | None = None,
    skip: Callable[[int], None] = lambda size: None,
) -> tuple[int, int]:
    """As enter, for frames buf[start:end], which are not copied. Returns (where it stopped, packets so far).

    It stops before the end where that would take too long, and then goes on from there later. `there` is
    source -> its host's attachment, as found before in the same turn, `nobody` the sources of which none was
    found: more frames of these are dropped unseen, and `skip` is told the bytes of each. `buf` must be
    readable for framing.SLACK bytes past `end`. Raises ProtocolError where no frame ends at `end`.
    """
    at = begin = start
    sender: Attachment | None = None
    source, packets, asked, looked, runs = b"", 0, 0, 0, 0
    nobody = set() if nobody is None else nobody
    while at < end and looked < MOST_LOOKED and runs < MOST_RUNS:
        looked += 1
        after = at + 2 + (buf[at] << 8 | buf[at + 1])
        if after > end:
            raise ProtocolError("frames in an envelope are cut off")
        found, segments = _source(buf, at + 2, after)
        if sender is None or found != source or not found:
            known = there.get(found)
            if known is None or not known.live:
                if found in nobody and not is_icmp(buf, at + 2):
                    known = None
                    _drop_unseen(stranger, segments, after - at)
                    skip(after - at)
                elif asked == MOST_ASKED:
                    break
                else:
                    asked += 1
                    owner = _owner(stranger, bytes(buf[at:after]), now, there)
                    if owner is Reason.FOREIGN_SOURCE and found and not is_icmp(buf, at + 2):
                        nobody.add(found)
                    known = owner if isinstance(owner, Attachment) else None
            if known is not sender:
                if sender is not None and (stop := forward(sender, begin, at)) < at:
                    return stop, packets
                runs += sender is not None
                begin = at
            sender, source = known, found
        packets += segments
        at = after
        if sender is None:
            begin = at
    if sender is not None:
        return forward(sender, begin, at), packets
    return at, packets


def source_of_frame(buf: bytearray, start: int, end: int) -> bytes:
    """The source of the first of some frames buf[start:end], if it is a usual packet; else b""."""
    after = start + 2 + (buf[start] << 8 | buf[start + 1]) if start < end else start
    return _source(buf, start + 2, after)[0] if start + 2 < after <= end else b""


def _drop_unseen(stranger: Attachment, packets: int, size: int) -> None:
    """Count a frame of nobody, of whose source one was dropped just before."""
    stranger.traffic.received_packets += packets
    stranger.traffic.received_bytes += size
    stranger.drop(Reason.FOREIGN_SOURCE, packets)


def is_icmp(buf: bytearray, start: int) -> bool:
    """Whether a usual packet may be an ICMP error: such a one passes from addresses that are nobody's."""
    start += HEADER_SIZE * (buf[start] < 0x10)
    return buf[start + 9] == ip.ICMP if buf[start] == _IPV4 else buf[start + 6] not in (ip.TCP, ip.UDP)


def _source(buf: bytearray, start: int, end: int) -> tuple[bytes, int]:
    """The source of a frame content that is a usual packet (else b""), and how many packets it stands for."""
    segments = 1
    if buf[start] < 0x10 and end - start > HEADER_SIZE:
        if gso_size := buf[start + 4] | buf[start + 5] << 8:
            payload = end - start - HEADER_SIZE - (buf[start + 2] | buf[start + 3] << 8)
            segments = max(1, -(-payload // gso_size))
        start += HEADER_SIZE
    if buf[start] == _IPV4 and end - start >= _IPV4_HEADER:
        return bytes(buf[start + 12 : start + 16]), segments
    if buf[start] >> 4 == 6 and end - start >= _IPV6_HEADER:
        return bytes(buf[start + 8 : start + 24]), segments
    return b"", segments


def _owner(
    stranger: Attachment, frame: bytes, now: float, there: dict[bytes, Attachment]
) -> Attachment | Reason | None:
    """Whose a frame is; why it was dropped where it is nobody's; None where it waits."""
    found = _sender(stranger, frame, now, there)
    if isinstance(found, Reason):
        stranger.traffic.received_packets += 1
        stranger.traffic.received_bytes += len(frame)
        stranger.drop(found, 1, "", head_of_frame(frame), now)
    return found


def _sender(
    stranger: Attachment, frame: bytes, now: float, there: dict[bytes, Attachment]
) -> Attachment | Reason | None:
    """Whose a frame is, or why it is dropped; None where it waits."""
    namespace, hub = stranger.namespace, stranger.peer
    headed = stranger.is_tunrouter and len(frame) > 2 and frame[2] >> 4 == 0
    start, end = 2 + HEADER_SIZE * headed, len(frame)
    packet = ip.parse(frame, start, end) if end > start else Reason.EMPTY_FRAME
    if isinstance(packet, Reason):
        return packet
    address = packet.source
    known = there.get(address)
    if known is not None and known.live:
        return known
    found = _host_there(namespace, hub, address, now)
    if isinstance(found, Attachment):
        there[address] = found
        return found
    if found is None and is_router_error(frame, packet, end):
        # A router behind a host: no table needs to know its address. What it quotes went to that host.
        headers = packet_headers.read(frame, start, packet, end)
        quoted = None if isinstance(headers, Reason) else headers.quoted
        if quoted is not None:
            address = quoted.packet.destination
            found = _host_there(namespace, hub, address, now)
    if found is Unresolved.ASKING:
        return None if namespace.park(address, stranger, frame, now) else Reason.RESOLVE_QUEUE
    if found is Unresolved.FAILED:
        return Reason.SD_FAILED
    return found or Reason.FOREIGN_SOURCE


def _host_there(namespace: Namespace, hub: str, address: bytes, now: float) -> Attachment | Unresolved | None:
    """The attachment at a hub of a host that a route to an address leads to; None where none is there.

    Also by a route that it falls through to, as in the check of sources (Namespace.leads_to).
    """
    route, elsewhere = namespace.route_to(address, now), namespace.elsewhere
    if elsewhere is None or not isinstance(route, tuple):
        return route if isinstance(route, Unresolved) else None
    state = None
    for name in all_names(*route, address):
        found = elsewhere.at(name, hub, now)
        if isinstance(found, Attachment):
            return found
        state = state or found
    return state
