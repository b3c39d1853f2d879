"""Choice of a lane for each packet of a session with two: bulk by one connection, the rest by the other.

Knows: which flows are bulk, and when a flow may change its lane without being reordered.
Refuses to know: sockets and clocks (session_lane_sender; `now` comes in, in seconds of a steady clock).

    new flow ──── sparse lane ──── more than a burst ──── what it sent there has arrived ──── bulk lane
                                                    └──── it never pauses: it is held back until then

Each flow has a level, as a leaky bucket has: bytes come in as they are sent, and LEVEL_RATE runs out. A flow
that gets above a burst is bulk. So a request and its reply, a login, a game or a call are sparse, and a
download is bulk before it is a second old. ICMP and control frames are always sparse. What was bulk stays so
until it has been silent for IDLE_SECONDS, when nothing of it can be on the way any more.

The lanes are two TCP connections, so what is sent later on one may arrive before what was sent on the other.
A flow therefore moves only once the far end has passed on all that it sent on its lane: it has answered a
PING that was sent behind that. An acknowledgement by TCP would not do, as the far process may read the other
lane first. TCP senders pause as well, to wait for acknowledgements. A flow that does not pause is held back
for that time, at most HOLD_SECONDS.

Where the peer is near and no wire slows it down, nothing waits anywhere, and to sort packets would only cost
time. There the lanes have gathered: all flows go by the bulk lane until its peer is slow.

Flows are known by buckets of a hash, so this has a bound. Two flows in one bucket move together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from struct import Struct
from typing import NamedTuple

from lib import packet as ip
from lib import packet_offload, wire_control
from lib.packet import Buffer

BULK, SPARSE = 0, 1
"""Numbers of the lanes: the first connection of a session carries bulk, the second one all else."""

LEVEL_RATE = 256 << 10
"""Bytes a second that a flow may send for ever without being bulk: 2 Mbit/s."""
LEAST_BYTES = 256
"""Bytes that a packet counts as at least. So acknowledgements of a fast transfer, over 1,000 a second, are
bulk too: by the lane of what they acknowledge they cost the kernel less, as its own ones go with them."""
TCP_BURST, BURST = 16 << 10, 64 << 10
"""Bytes above that after which a flow is bulk: TCP's first window, and for others a key frame of video."""
IDLE_SECONDS = 5.0
"""A flow that was silent for so long begins anew."""
ARRIVED_SECONDS = 1.0
"""What was sent so long ago has arrived, for a flow that wants to move off a lane which is never empty."""
FOLLOWED = 256 << 10
"""Bytes that a bulk flow still sends on the sparse lane, to move when it pauses; then it is held back."""
HOLD_SECONDS, HOLD_BYTES = 0.3, 256 << 10
"""How long, and how many bytes, a flow is held back at most."""
LEARN_SECONDS = 1.0
"""For so long after a lane has joined, a flow that is not known may be an old one, on the other lane."""
BUCKETS = 512
"""Values of the hash by which flows are known."""

_PLAIN, _PLAIN_SIZE = Struct("!HBxHxxHxB2x12s").unpack_from, 26
"""A frame with an IPv4 packet without options: LEN, first byte, total length, fragment bits, protocol,
addresses and ports."""
_HEADED, _HEADED_SIZE = Struct("!10xBxHxxHxB2x12s").unpack_from, 34
"""A content with a virtio-net header before the same."""
_SUPER, _SUPER_LEAST = Struct("!HB9xB5xHxB2x12s").unpack_from, 4096
"""The two together: a frame with a header, and the least size at which it is worth a look of its own."""
_FRAGMENT = 0x3FFF
_ICMP = (ip.ICMP, ip.ICMPV6)
_NO_FLOW = -1
"""The key of what is always sparse."""


class Progress(NamedTuple):
    """How far a lane's connection is."""

    written: int
    """Bytes that the kernel was given."""
    answered: int
    """Those of them that the far end has passed on, as it has answered a PING behind them."""


@dataclass(slots=True, eq=False)
class _Flow:
    lane: int
    bulk: bool = False
    level: float = 0.0
    at: float = 0.0
    """When its last packet came."""
    mark: float = math.inf
    """How far its lane was after its last packet; infinite where that is not known."""
    call: int = 0
    """The call of split() in which it was sent on a lane that it wants to leave."""
    followed: int = 0
    """Bytes that it has sent on that lane since."""
    held: list[bytes] = field(default_factory=list)
    held_bytes: int = 0
    held_since: float = 0.0


@dataclass(slots=True, eq=False)
class Lanes:
    """The choice for one direction of a session."""

    look: Callable[[int], Progress | None]
    """How far a lane is; None while not all of it has been given to the kernel."""
    since: float
    """When the second lane joined."""
    buckets: int = BUCKETS
    gathers: bool = False
    """Whether everything goes by the bulk lane: flows on the sparse one are on their way to it."""
    holding: int = 0
    """Flows that are held back now: release() has to be called again soon."""
    _flows: dict[int, _Flow] = field(default_factory=dict)
    _call: int = 0
    _seen: dict[int, Progress | None] = field(default_factory=dict)
    """What `look` has said in this call."""
    _marked: list[_Flow] = field(default_factory=list)
    """Flows that were sent in this call on a lane that they want to leave."""

    def split(
        self, buffers: Sequence[Buffer], now: float, crowded: bool
    ) -> tuple[list[Buffer], list[Buffer]]:
        """Sort whole frames into those for the bulk lane and those for the sparse one, in their order.

        `crowded`: the sparse lane has a queue, so nothing runs out of levels and a burst is short. The
        caller sends both, and calls sent() if has_marks. Frames that are held back are in neither.
        """
        self._call += 1
        self._seen.clear()
        lanes: tuple[list[Buffer], list[Buffer]] = self.release(now) if self.holding else ([], [])
        for buffer in buffers:
            self._split(buffer, lanes, now, crowded)
        return lanes

    def is_bulk(self, buffer: Buffer, now: float) -> bool:
        """Whether a buffer is one superpacket of a flow that is settled on the bulk lane: most of a transfer.

        Then split() would return just that. False also where this cannot be told at a glance.
        """
        whole = len(buffer)
        if whole < _SUPER_LEAST or self.holding:
            return False
        size, first, version, fragment, protocol, addresses = _SUPER(buffer, 0)
        if size + 2 != whole or first > 2 or version != 0x45 or protocol != ip.TCP or fragment & _FRAGMENT:
            return False
        flow = self._flows.get((hash(addresses) + ip.TCP) % self.buckets)
        if flow is None or flow.lane != BULK or not flow.bulk or now - flow.at >= IDLE_SECONDS:
            return False
        flow.at = now
        return True

    @property
    def has_marks(self) -> bool:
        """Whether sent() has to be called."""
        return bool(self._marked)

    def sent(self) -> set[int]:
        """Note that what split() has returned was sent; returns the lanes that flows want to leave."""
        self._seen.clear()
        for flow in self._marked:
            progress = self._progress(flow.lane)
            flow.mark = progress.written if progress is not None else math.inf
        left = {flow.lane for flow in self._marked}
        self._marked.clear()
        return left

    def settle(self, lane: int, written: int) -> None:
        """Note that a lane, which has no queue, is so far: and with it all flows that were not seen since."""
        for flow in self._flows.values():
            if flow.lane == lane and flow.mark == math.inf:
                flow.mark = written

    def has_gathered(self, now: float) -> bool:
        """Whether nothing is sent or on the way by the sparse lane any more."""
        self._call += 1
        self._seen.clear()
        some = self._flows.values()
        return not self.holding and all(flow.lane == BULK or self._has_arrived(flow, now) for flow in some)

    def scatter(self, now: float) -> None:
        """Use both lanes again. Where all had gathered, the flows that there are were not seen meanwhile."""
        if self.gathers and self.has_gathered(now):
            self._flows.clear()
            self.since = now
        self.gathers = False

    def release(self, now: float) -> tuple[list[Buffer], list[Buffer]]:
        """The frames that were held back and need not be any more, as split() returns them."""
        bulk: list[Buffer] = []
        for flow in self._flows.values():
            if flow.held and (self._has_arrived(flow, now) or now - flow.held_since >= HOLD_SECONDS):
                bulk += self._let_go(flow)
        return bulk, []

    def give_up(self) -> list[Buffer]:
        """All frames that are held back: one of the lanes has ended."""
        return [frames for flow in self._flows.values() if flow.held for frames in self._let_go(flow)]

    def _let_go(self, flow: _Flow) -> list[bytes]:
        held, flow.held, flow.held_bytes = flow.held, [], 0
        self.holding -= 1
        flow.lane = BULK
        return held

    # --- frames

    def _split(
        self, buffer: Buffer, lanes: tuple[list[Buffer], list[Buffer]], now: float, crowded: bool
    ) -> None:
        """Sort the frames of one buffer; those that follow each other on one lane stay one piece."""
        whole, at, begin, before = len(buffer), 0, 0, -1
        flows = self._flows
        while at + 2 <= whole:
            key, protocol, size = self._key(buffer, at, whole)
            after = at + 2 + size
            flow = flows.get(key)
            if key == _NO_FLOW:
                lane = BULK if self.gathers else SPARSE
            elif (
                flow is not None and flow.lane == BULK and flow.bulk and now - flow.at < IDLE_SECONDS
            ):  # nearly every frame
                flow.at = now
                lane = BULK
            else:
                lane = self._choose(flow, key, protocol, size, now, crowded)
                if lane < 0:  # held back
                    if at > begin:
                        lanes[before].append(_piece(buffer, begin, at))
                    lanes[BULK].extend(self._hold(flows[key], bytes(buffer[at:after]), now))
                    begin, before = after, -1
                    at = after
                    continue
            if lane != before:
                if at > begin:
                    lanes[before].append(_piece(buffer, begin, at))
                begin, before = at, lane
            at = after
        if whole > begin:
            lanes[before if before >= 0 else SPARSE].append(_piece(buffer, begin, whole))

    def _key(self, buffer: Buffer, at: int, whole: int) -> tuple[int, int, int]:
        """(bucket of the flow, protocol, size of the content) of the frame at `at`."""
        if at + _PLAIN_SIZE > whole:
            return self._unusual(buffer, at, int.from_bytes(buffer[at : at + 2], "big"))
        size, first, _, fragment, protocol, flow = _PLAIN(buffer, at)
        if first <= 2:
            if size < _HEADED_SIZE:
                return self._unusual(buffer, at, size)
            first, _, fragment, protocol, flow = _HEADED(buffer, at + 2)
        if first == 0x45 and (protocol == 6 or protocol == 17) and not fragment & _FRAGMENT:
            return (hash(flow) + protocol) % self.buckets, protocol, size
        return self._unusual(buffer, at, size)

    def _unusual(self, buffer: Buffer, at: int, size: int) -> tuple[int, int, int]:
        """The same for a frame of another kind: its addresses and protocol are its flow, or it has none."""
        start, end = at + 2, at + 2 + size
        if not size or buffer[start] == wire_control.MARK:
            return _NO_FLOW, 0, size
        if buffer[start] <= 2:
            start += packet_offload.HEADER_SIZE
        if start + 44 <= end and buffer[start] >> 4 == 6 and buffer[start + 6] in (ip.TCP, ip.UDP):
            protocol = buffer[start + 6]
            return (hash(bytes(buffer[start + 8 : start + 44])) + protocol) % self.buckets, protocol, size
        packet = ip.parse(buffer, start, end) if start < end else None
        if not isinstance(packet, ip.Packet) or packet.protocol in _ICMP:
            return _NO_FLOW, 0, size
        return (hash(packet.flow) + packet.protocol) % self.buckets, packet.protocol, size

    # --- flows

    def _choose(
        self, flow: _Flow | None, key: int, protocol: int, size: int, now: float, crowded: bool
    ) -> int:
        """The lane of a packet whose flow is not settled on the bulk lane; -1 where it is held back."""
        if flow is None or (now - flow.at >= IDLE_SECONDS and not flow.held):
            is_old = self.gathers or (flow is None and now - self.since < LEARN_SECONDS)
            flow = self._flows[key] = _Flow(BULK if is_old else SPARSE, at=now)
            is_new = not is_old
        else:
            is_new = False
        gone = 0.0 if crowded else (now - flow.at) * LEVEL_RATE
        flow.level = max(0.0, flow.level - gone) + max(size, LEAST_BYTES)
        if self.gathers or flow.level > (TCP_BURST if protocol == ip.TCP or crowded else BURST):
            flow.bulk = True
        wanted = BULK if flow.bulk else SPARSE
        if flow.lane != wanted and not is_new and not flow.held and not self._has_arrived(flow, now):
            flow.at, flow.call = now, self._call
            if wanted == BULK:
                flow.followed += size
                if flow.followed > FOLLOWED and now - self.since > LEARN_SECONDS:
                    return -1
            self._marked.append(flow)
            return flow.lane
        flow.at = now
        if flow.held:
            return -1
        flow.lane = wanted
        if wanted == SPARSE:  # it may want to leave by its next packet, and nobody has looked how far this is
            flow.mark, flow.call = math.inf, self._call
        return wanted

    def _has_arrived(self, flow: _Flow, now: float) -> bool:
        """Whether all that a flow has sent on its lane is known to have arrived."""
        if flow.call == self._call:
            return False
        if not flow.held and now - flow.at >= ARRIVED_SECONDS:
            return True
        progress = self._progress(flow.lane)
        return progress is not None and progress.answered >= min(flow.mark, progress.written)

    def _progress(self, lane: int) -> Progress | None:
        if lane not in self._seen:
            self._seen[lane] = self.look(lane)
        return self._seen[lane]

    def _hold(self, flow: _Flow, frame: bytes, now: float) -> list[bytes]:
        """Hold a frame back; returns the frames that need not be any more, as they are too many."""
        if not flow.held:
            flow.held_since = now
            self.holding += 1
        flow.held.append(frame)
        flow.held_bytes += len(frame)
        return self._let_go(flow) if flow.held_bytes > HOLD_BYTES else []


def _piece(buffer: Buffer, begin: int, end: int) -> Buffer:
    if begin == 0 and end == len(buffer):
        return buffer
    return memoryview(buffer)[begin:end]
