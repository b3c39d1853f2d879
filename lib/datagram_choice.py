"""Choice of datagrams or the stream for each frame of a session: UDP and ICMP by datagrams, else the stream.

Knows: what goes by datagrams where these are good, and when a flow may move to them without being reordered.
Refuses to know: whether they are good (datagram_trust), which lane of the stream is taken (session_lanes),
clocks (`now` comes in, in seconds of a steady clock).

    the channel is not good     all by the stream
    it becomes good             ICMP and new flows of UDP by datagrams; an old flow once it has paused for as
                                long as the stream lags behind, so that nothing overtakes what it sent before.
                                A call in which nobody pauses for FOLLOW_SECONDS is held back for that time:
                                then it is no later than it would be by the stream, and never again as late
    a packet is too long        its flow goes by the stream until it has been silent for IDLE_SECONDS
    it is not good any more     all by the stream, which is slower: nothing is overtaken

Between two hubs a frame is an envelope of frames of one flow (cluster_frames): what it is, the first of them
says, and it fits if each of them does alone.

With `dscp` packets that are marked as urgent go by datagrams too, whatever they are.

Flows are known by buckets of a hash, so this has a bound. A flow that is not remembered goes by datagrams.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from struct import Struct

from lib import cluster_frames, framing, packet_offload
from lib import packet as ip
from lib.packet import Buffer

URGENT = 40
"""The least DSCP that is urgent: CS5; above are VA (44), EF (46), CS6 and CS7 (RFC 4594)."""
IDLE_SECONDS = 5.0
"""A flow that was silent for so long begins anew. Only for so long may there be flows of before."""
PAUSE_SECONDS = 0.002
"""Least pause of a flow that moves to datagrams."""
FOLLOW_SECONDS = 1.0
"""How long it is waited for a pause of a flow of UDP, until it is held back."""
HOLD_SECONDS, HOLD_BYTES = 0.3, 256 << 10
"""How long a flow is held back, and how many bytes of all flows together are, at most."""
BUCKETS = 512
"""Values of the hash by which flows are known."""

_LOOK = Struct("!HBB4xB2xBxB4xB2xB").unpack_from
"""LEN; first byte and the next; IPv6's next header; IPv4's protocol; behind a virtio-net header the second
byte of the packet, IPv6's next header and IPv4's protocol."""
_LEAST = 22
_HEADER = packet_offload.HEADER_SIZE
_PLAIN = [False] * 256
for _protocol in (ip.UDP, ip.ICMP, ip.ICMPV6):
    _PLAIN[_protocol] = True
_GSO_SIZE = Struct("<H").unpack_from
_STREAM, _DATAGRAM, _HOLD = range(3)
"""What becomes of a frame."""
_UDP_HEADERS = {4: 28, 6: 48}
"""IP version -> bytes of its usual header and UDP's."""


@dataclass(frozen=True, slots=True)
class _Flow:
    """A flow that goes by the stream."""

    at: float
    """When its last packet came."""
    since: float
    """When the first one did that is remembered."""
    was_too_long: bool
    """Whether one of its packets was."""


@dataclass(slots=True, eq=False)
class Choice:
    """The choice for one direction of a session."""

    dscp: bool = False
    """Whether packets that are marked as urgent go by datagrams."""
    _since: float = 0.0
    """When the channel has become good."""
    _by_stream: dict[int, _Flow] = field(default_factory=dict)
    """Flows that go by the stream, by bucket."""
    _held: dict[int, tuple[float, list[bytes]]] = field(default_factory=dict)
    """Bucket of a flow that is held back -> (until when, its frames); the first ones first."""
    _held_bytes: int = 0
    _moved: set[int] = field(default_factory=set)
    """Buckets of flows that have moved to datagrams, while there may be others of before."""
    _swept_at: float = 0.0

    def begin(self, now: float) -> None:
        """The channel has become good: any flow may have packets on the stream."""
        self._since = self._swept_at = now
        self._by_stream.clear()
        self._moved.clear()

    @property
    def holds_until(self) -> float:
        """When apart() has to be called again, if only with nothing, as frames are held back; 0 for never."""
        return min((until for until, _ in self._held.values()), default=0.0)

    def give_up(self) -> list[bytes]:
        """The frames that are held back, for the stream: the channel is not good any more."""
        return [frame for key in list(self._held) for frame in self._let_go(key)]

    def apart(
        self, buffers: Sequence[Buffer], now: float, room: int, lag: float
    ) -> tuple[list[Buffer], Sequence[Buffer]]:
        """Sort whole frames into those for datagrams and those for the stream, in their order.

        Some may be held back: they are in neither, and come first in a later call.
        `room`: bytes of the longest frame that fits into a datagram, its LEN included. `lag`: seconds by
        which a packet on the stream may arrive later than one that goes by datagrams.
        """
        if (self._by_stream or self._moved) and now - self._swept_at >= IDLE_SECONDS:
            self._sweep(now)
        by_datagram: list[Buffer] = []
        by_stream: list[Buffer] = []
        for key in [key for key, (until, _) in self._held.items() if now >= until]:
            by_datagram += self._let_go(key)
        asks = now - self._since < IDLE_SECONDS
        for buffer in buffers:
            self._apart(buffer, by_datagram, by_stream, now, room, lag, asks)
        return by_datagram, by_stream

    def is_settled(self, now: float) -> bool:
        """Whether the lag of the stream is of no interest: no flow could be moved too early."""
        return not self._by_stream and now - self._since >= IDLE_SECONDS

    def is_for(self, buffers: Sequence[Buffer]) -> bool:
        """Whether any of these frames would go by datagrams, if they were good."""
        for buffer in buffers:
            at, whole = 0, len(buffer)
            while at + _LEAST <= whole:
                look = _LOOK(buffer, at)
                if look[0] + 2 >= _LEAST and self._is_for(look, buffer, at):
                    return True
                at += look[0] + 2
        return False

    def is_for_first(self, run: Buffer) -> bool:
        """Whether the first of some frames would go by datagrams, if they were good."""
        return len(run) >= _LEAST and self._is_for(_LOOK(run, 0), run, 0)

    def _apart(
        self,
        buffer: Buffer,
        by_datagram: list[Buffer],
        by_stream: list[Buffer],
        now: float,
        room: int,
        lag: float,
        asks: bool,
    ) -> None:
        """Sort the frames of one buffer; those that follow each other one way stay one piece."""
        whole, at, begin, before, remembered = len(buffer), 0, 0, _STREAM, self._by_stream
        while at + _LEAST <= whole:
            look = _LOOK(buffer, at)
            after = at + look[0] + 2
            goes = int(after - at >= _LEAST and self._is_for(look, buffer, at))
            if goes and (asks or remembered or after - at > room):
                goes = self._may_move(buffer, at, after, now, room, lag, by_datagram)
            if goes != before:
                if at > begin and before != _HOLD:
                    (by_datagram if before else by_stream).append(memoryview(buffer)[begin:at])
                begin, before = at, goes
            at = after
        end = min(at, whole)
        if before == _HOLD:
            begin = end
        elif before and end > begin:
            by_datagram.append(memoryview(buffer)[begin:end] if begin or end < whole else buffer)
            begin = end
        if begin < whole:
            by_stream.append(memoryview(buffer)[begin:] if begin else buffer)

    def _is_for(self, look: tuple[int, ...], buffer: Buffer, at: int) -> bool:
        """Whether a frame is one for datagrams, by its protocol or its mark."""
        _, first, second, next_header, protocol, behind_second, behind_next, behind = look
        if first <= 2:
            first, second = buffer[at + 2 + _HEADER], behind_second
            next_header, protocol = behind_next, behind
        version = first >> 4
        if version == 4:
            return _PLAIN[protocol] or (self.dscp and second >> 2 >= URGENT)
        if version == 6:
            return _PLAIN[next_header] or (self.dscp and ((first << 4 | second >> 4) & 0xFF) >> 2 >= URGENT)
        inside = at + cluster_frames.BEGIN
        if first != cluster_frames.MARK or inside + _LEAST > len(buffer):
            return False
        look = _LOOK(buffer, inside)
        return look[1] != cluster_frames.MARK and self._is_for(look, buffer, inside)

    def foretell(self, frame: Buffer, now: float, room: int, lag: float) -> bool:
        """Whether apart() would let this one frame go by datagrams now; nothing is remembered of it."""
        if len(frame) < _LEAST or not self._is_for(_LOOK(frame, 0), frame, 0):
            return False
        return self._decide(frame, 0, len(frame), now, room, lag)[0] != _STREAM

    def _may_move(
        self,
        buffer: Buffer,
        at: int,
        after: int,
        now: float,
        room: int,
        lag: float,
        by_datagram: list[Buffer],
    ) -> int:
        """What becomes of a frame that is for datagrams; its flow is remembered where that is the stream."""
        goes, key, was_too_long = self._decide(buffer, at, after, now, room, lag)
        if key < 0:
            return goes
        known = self._by_stream.get(key)
        if goes == _STREAM:
            self._by_stream[key] = _Flow(now, known.since if known is not None else now, was_too_long)
        elif goes == _HOLD:
            self._hold(key, bytes(buffer[at:after]), now, lag)
            if self._held_bytes > HOLD_BYTES:
                by_datagram += self._let_go(key)
        elif known is not None:
            self._move(key)
        return goes

    def _decide(
        self, buffer: Buffer, at: int, after: int, now: float, room: int, lag: float
    ) -> tuple[int, int, bool]:
        """(what becomes of a frame, bucket of its flow or -1, whether one of it was too long)."""
        fits = after - at <= room or _fits_in_parts(buffer, at, after, room)
        if buffer[at + 2] == cluster_frames.MARK:
            at += cluster_frames.BEGIN
        start = at + 2 + (_HEADER if buffer[at + 2] <= 2 else 0)
        version = buffer[start] >> 4
        protocol = buffer[start + (9 if version == 4 else 6)]
        if protocol in (ip.ICMP, ip.ICMPV6):
            return int(fits), -1, False  # a flow of its own each
        addresses = buffer[start + 12 : start + 24] if version == 4 else buffer[start + 8 : start + 44]
        key = (hash(bytes(addresses)) + protocol) % BUCKETS
        known = self._by_stream.get(key)
        if key in self._held and fits:
            return _HOLD, key, False
        if not fits:
            return _STREAM, key, True
        if known is None:
            return int(now - self._since >= IDLE_SECONDS or key in self._moved), key, False
        pause = IDLE_SECONDS if known.was_too_long else max(PAUSE_SECONDS, lag)
        if now - known.at >= pause:
            return _DATAGRAM, key, False
        if protocol == ip.UDP and not known.was_too_long and now - known.since >= FOLLOW_SECONDS:
            return _HOLD, key, False
        return _STREAM, key, known.was_too_long

    def _hold(self, key: int, frame: bytes, now: float, lag: float) -> None:
        """Hold a frame back, until all that its flow has sent by the stream has arrived."""
        if key not in self._held:
            self._held[key] = now + min(HOLD_SECONDS, max(PAUSE_SECONDS, lag)), []
        self._held[key][1].append(frame)
        self._held_bytes += len(frame)

    def _let_go(self, key: int) -> list[bytes]:
        """The frames of a flow that need not be held back any more: it has moved, if all of it fits."""
        _, frames = self._held.pop(key)
        self._held_bytes -= sum(map(len, frames))
        if key not in self._by_stream or not self._by_stream[key].was_too_long:
            self._move(key)
        return frames

    def _move(self, key: int) -> None:
        self._by_stream.pop(key, None)
        self._moved.add(key)

    def _sweep(self, now: float) -> None:
        """Forget flows that are silent."""
        self._swept_at = now
        self._moved.clear()
        self._by_stream = {
            key: known for key, known in self._by_stream.items() if now - known.at < IDLE_SECONDS
        }


def _fits_in_parts(buffer: Buffer, at: int, after: int, room: int) -> bool:
    """Whether the frame buffer[at:after], which is longer than `room`, can be cut into some that are not."""
    if buffer[at + 2] != cluster_frames.MARK:
        return bool(parts_that_fit(buffer, at + 2, room))
    at, room = at + cluster_frames.BEGIN, room - cluster_frames.BEGIN
    while at < after:
        end = at + 2 + (buffer[at] << 8 | buffer[at + 1])
        if end - at > room and not parts_that_fit(buffer, at + 2, room):
            return False
        at = end
    return True


def parts_that_fit(content: Buffer, start: int, room: int) -> int:
    """How many segments of the superpacket of UDP at `start` fit into `room` bytes; 0 for anything else."""
    if content[start] > 2 or content[start + 1] & ~packet_offload.GSO_ECN != packet_offload.GSO_UDP_L4:
        return 0
    (gso_size,) = _GSO_SIZE(content, start + 4)
    headers = 2 + _HEADER + _UDP_HEADERS.get(content[start + _HEADER] >> 4, 1 << 16)
    return max(0, (room - headers) // gso_size) if gso_size else 0


def cut(frame: Buffer, room: int) -> Iterator[bytes]:
    """Frames of at most `room` bytes for the same packets as those of a superpacket, or of an envelope.

    None where none can be.
    """
    content: Buffer = memoryview(frame)[2:]
    if content[0] == cluster_frames.MARK:
        whole = bytes(frame)
        return _cut_envelope(whole, room) if _fits_in_parts(whole, 0, len(whole), room) else iter(())
    segments = parts_that_fit(content, 0, room)
    return map(framing.encode, packet_offload.parts(content, segments)) if segments else iter(())


def _cut_envelope(envelope: bytes, room: int) -> Iterator[bytes]:
    """Envelopes with the same frames in their order, as many in each as fit."""
    frames, room = envelope[cluster_frames.BEGIN :], room - cluster_frames.BEGIN
    at, piece = 0, b""
    for end in framing.split(frames):
        for part in (frames[at:end],) if end - at <= room else cut(frames[at:end], room):
            if piece and len(piece) + len(part) > room:
                yield cluster_frames.anew(envelope, piece)
                piece = b""
            piece += part
        at = end
    if piece:
        yield cluster_frames.anew(envelope, piece)
