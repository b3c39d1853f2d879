"""What forwarding leaves behind: runs of frames for receivers, and what became of every other frame.

Knows: how a frame, a packet in it and its fate are kept, how frames and drops are counted.
Refuses to know: which packets are dropped and where others go (forward), what is said of them
(forward_errors).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from lib import framing
from lib import packet as ip
from lib.forward_decide import Verdict
from lib.forward_drop_reasons import Reason
from lib.namespace import Attachment
from lib.packet import Buffer, Packet
from lib.packet_text import head

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
    icmp_errors: int = 0
    """ICMP errors that were sent in this turn (forward_errors has the limits)."""
    passed: int = 0
    """Where the last frame ends from which a hop was taken when it was judged; 0 in a new scan."""
    expired: int = 0
    """Frames of known flows without a hop left, in this scan."""
    frames: int = 0
    """Frames of this turn that were passed on (frames and bytes as they came)."""
    bytes: int = 0
    cut: int = 0
    """Segments that some of them were cut into."""
    new: int = 0
    """Frames of this turn for which a receiver was found anew, as each flow begins with one."""
    replies: int = 0
    """Replies of the hub itself to what was asked in this turn; each counts as a frame passed on too."""
    made: int = 0
    """Of these, answers about names that had to be made."""
    work: int = 0
    """What the scan has judged so far: frames that are not of known flows, and each CUT_ALIKE segments."""


class Frame(NamedTuple):
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


def send(out: Output, target: Attachment, packets: list[bytes]) -> None:
    """Send packets that were made anew, each in a frame of its own."""
    data = b"".join(map(framing.encode, packets))
    target.traffic.sent_packets += len(packets)
    target.traffic.sent_bytes += len(data)
    out.runs.setdefault(target, []).append(data)


def reply(out: Output, target: Attachment, packets: list[bytes], made: bool = False) -> None:
    """Send a reply of the hub itself, in one packet or in fragments, to who may ask for it.

    How many there may be is bounded before (Attachment.pings, Attachment.questions): each is worth its cost.
    """
    send(out, target, packets)
    out.replies += 1
    out.made += made
    out.frames += 1
    out.bytes += sum(map(len, packets))


def drop(attachment: Attachment, reason: Reason, frame: Frame, now: float) -> None:
    """Count a dropped packet (a superpacket as its segments) for its sender and for its destination."""
    attachment.traffic.received_packets += frame.segments - 1
    attachment.namespace.note_lost(frame.packet.destination, reason, frame.segments, now)
    detail = "" if reason in attachment.traffic.drops else ip.describe(frame.packet)
    first = first_bytes(attachment, reason, frame.buf, frame.packet_start, frame.end, now)
    attachment.drop(reason, frame.segments, detail, first, now)


def first_bytes(
    attachment: Attachment, reason: Reason, buf: bytearray, start: int, end: int, now: float
) -> bytes:
    """First bytes of a dropped packet, to be shown; empty where one of the same moment is kept already."""
    last = attachment.traffic.last.get(reason)
    return head(buf, start, end) if last is None or last.at != now else b""


def tell(
    out: Output,
    start: int,
    what: Reason | Attachment,
    target: Attachment | None = None,
    answered: bool = False,
) -> None:
    """Note what became of the frame whose content starts there, while somebody looks."""
    if out.fates is not None:
        out.fates[start] = what, target, answered
