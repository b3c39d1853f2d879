"""Frames that come by the link with one hub: whose they are is looked up, and they are forwarded as they lie.

Knows: that all frames of one receive are sorted first and sent then, a run for each receiver; what is left
for later because it takes long; what is dropped of a host that costs too much.
Refuses to know: how envelopes are read (cluster_link), whose a frame is (forward_enter), what becomes of it
(forward), what a host may cost (cluster_costs).

Runs of frames are timed only in turns that are timed exactly, which those are that follow one beyond its
worth (session_cost). So a link that forwards pays nothing for the accounts of its hosts. Of a dear host the
flows that are known go on as all others; of anything else it gets turns of the share of all that is
expensive, while that is free. The rest of the run, which is of one flow, is dropped unseen.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from lib import capture_watch, forward, framing, hub_log, hub_resolve, hub_turn
from lib.cluster_costs import HostCosts
from lib.counters import Traffic
from lib.forward_drop_reasons import Reason
from lib.forward_enter import MOST_LOOKED, enter_run, is_icmp, source_of_frame
from lib.namespace import Attachment, Namespace
from lib.namespace_domain import Domain
from lib.packet_offload import count_packets
from lib.packet_text import head_of_frame
from lib.service_scheduling import SHARE
from lib.session_cost import MORE_SECONDS, SKIPPED_RUN_SECONDS, TURN_SECONDS, Cost, run_worth

MAX_SOURCES, MAX_NAMESPACES = 4096, 256
"""Sources of one namespace, and namespaces, that are remembered of a hub."""
MOST_JUDGED = 32
"""Frames of a dear host that are judged at once, in a turn of the share."""
SMALL_PIECE = 30 * MOST_LOOKED
"""Bytes of a piece where no long frame comes first, for MOST_LOOKED frames at most."""
LEAST_FRAME = 22
"""Bytes of the smallest frame that is a packet. A superpacket costs no more to drop than a packet."""


@dataclass(slots=True, eq=False)
class _Known:
    """What is known of a hub in one namespace."""

    namespace: Namespace
    stranger: Attachment
    generation: int
    """The namespace's, and until when what tables and plugins have said counts."""
    until: float
    there: dict[bytes, Attachment] = field(default_factory=dict)
    """Source -> its host, while that lives: it ends where the registry says so (cluster_hosts)."""
    nobody: set[bytes] = field(default_factory=set)
    """Sources that were found in this turn to be nobody's there: a host has left, and much is on its way."""


class Unhurried:
    """A cluster_link.Receiver that leaves for later what takes too long in a turn."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest: deque[tuple[bytes, bytes]] = deque()
        """(namespace, frames) that took too long in this turn."""

    @property
    def has_rest(self) -> bool:
        """Whether frames are left that took too long: for go_on()."""
        return bool(self._rest)

    def take(
        self,
        namespace_id: bytes,
        data: bytearray,
        view: memoryview,
        start: int,
        end: int,
        cost: Cost | None = None,
        /,
    ) -> int:
        """As cluster_link.Receiver.take."""
        raise NotImplementedError

    def send(self, cost: Cost | None = None, /) -> None:
        """As cluster_link.Receiver.send."""
        raise NotImplementedError

    def go_on(self, cost: Cost | None = None, /) -> None:
        """Forward a turn's part of what is left, once all others have had theirs.

        Nothing may be left any more: the link's stream and its datagrams have turns of their own.
        """
        if not self._rest:
            return
        namespace_id, frames = self._rest.popleft()
        later, self._rest = self._rest, deque()
        data = bytearray(frames + bytes(framing.SLACK))
        try:
            self.take(namespace_id, data, memoryview(data), 0, len(frames), cost)
        finally:
            self.send(cost)
            self._rest += later


class Receiver(Unhurried):
    """What takes the frames of one hub."""

    __slots__ = (
        *("_costs", "_domain", "_grants", "_known", "_owner", "_skipped", "_spared", "_stranger"),
        *("_traffic", "_turn"),
    )

    def __init__(
        self,
        owner: hub_turn.Owner,
        domain: Domain,
        stranger: Callable[[Namespace], Attachment],
        traffic: Traffic,
        grants: Callable[[bytes], bool],
    ) -> None:
        """`stranger` gives what stands for that hub in a namespace (forward_enter); `traffic` counts.

        `grants` says whether that hub may send packets of a namespace.
        """
        super().__init__()
        self._owner, self._domain, self._stranger, self._traffic = owner, domain, stranger, traffic
        self._grants = grants
        self._known: dict[bytes, _Known] = {}
        self._turn: dict[Namespace, _Known] = {}
        """Those that frames of this turn are of."""
        self._costs = HostCosts()
        self._spared = 0.0
        """Seconds of this turn that hosts owe."""
        self._skipped = [0, 0, 0]
        """Runs, frames and bytes of this turn that were dropped unseen."""

    @property
    def by_flow(self) -> bool:
        """Whether frames have to come flow by flow: some host may cost too much."""
        return self._costs.may_be_dear

    def take(
        self,
        namespace_id: bytes,
        data: bytearray,
        view: memoryview,
        start: int,
        end: int,
        cost: Cost | None = None,
    ) -> int:
        """Sort the whole frames data[start:end] of a namespace; returns how many packets they are.

        They are sent by send(), before anybody else receives into `data`. `cost` is the link's account.
        Raises ProtocolError for what is no whole frames.
        """
        if self._rest:  # these must not overtake them
            self._rest.append((namespace_id, bytes(view[start:end])))
            return count_packets(view[start:end])
        namespace = self._domain.namespaces.get(namespace_id)
        if namespace is None or not self._grants(namespace_id):
            packets = count_packets(view[start:end])
            self._traffic.drop(Reason.NO_NAMESPACE if namespace is None else Reason.UNTRUSTED, packets)
            self._skip(packets, end - start)
            return packets
        now = time.monotonic()
        known = self._turn.get(namespace) or self._looked_up(namespace, now)
        if self._costs and (dear := self._dear(known, data, start, end, now)) is not None:
            return self._take_dear(dear, known, data, view, start, end, now)
        if cost is not None and cost.exact:
            return self._timed(known, data, view, start, end, now)[0]
        return self._enter(known, data, view, start, end, now)

    def _enter(
        self, known: _Known, data: bytearray, view: memoryview, start: int, end: int, now: float
    ) -> int:
        """Sort frames by whose they are; what takes too long is left for later. Returns how many packets.

        Those of flows that are known of their host need no other look: whose they are was found out before.
        """
        sender, packets, stop, is_late = known.there.get(source_of_frame(data, start, end)), 0, start, False
        if sender is not None and sender.live:
            had = sender.traffic.received_packets
            stop, is_late = self._known_flows(sender, data, view, start, end, now)
            packets = sender.traffic.received_packets - had
        if stop < end and not is_late:
            forward = partial(self._forward, data, view)
            stop, others = enter_run(
                known.stranger, data, stop, end, now, known.there, forward, known.nobody, self._skip_one
            )
            packets += others
        if stop < end:
            self._rest.append((known.namespace.id, bytes(view[stop:end])))
        return packets

    def _looked_up(self, namespace: Namespace, now: float) -> _Known:
        """What is known of the hub in a namespace, for this turn."""
        known, generation = self._known.get(namespace.id), namespace.generation(now)
        if (
            known is None
            or known.namespace is not namespace
            or known.generation != generation
            or now >= known.until
            or len(known.there) > MAX_SOURCES
        ):
            if len(self._known) >= MAX_NAMESPACES:
                self._known.clear()
            stranger = self._stranger(namespace)
            known = _Known(namespace, stranger, generation, namespace.fresh_until(now, stranger))
            self._known[namespace.id] = known
        if self._costs:
            self._costs.sweep(now)
        self._turn[namespace] = known
        return known

    def _forward(
        self, data: bytearray, view: memoryview, attachment: Attachment, start: int, end: int
    ) -> int:
        """Sort frames of one host for a turn's time; returns where it stopped."""
        return hub_turn.sort(self._owner, attachment, data, view, start, end)

    def _timed(
        self, known: _Known, data: bytearray, view: memoryview, start: int, end: int, now: float
    ) -> tuple[int, float]:
        """As _enter, and the host owes what is beyond its worth; returns how many seconds it took, too.

        Errors of routers are of a host that may have nothing to do with them: they have an account together.
        """
        out = self._owner.output
        before = out.frames, out.bytes, out.cut, out.new, out.replies, out.made
        began = time.thread_time()
        packets = self._enter(known, data, view, start, end, now)
        if out.cut > before[2]:  # to send that many segments takes longer than to cut them
            hub_turn.send(self._owner)
        seconds = time.thread_time() - began
        if seconds <= MORE_SECONDS and out.frames > before[0]:
            return packets, seconds  # whatever was forwarded is worth that: this is so for nearly every run
        after = out.frames, out.bytes, out.cut, out.new, out.replies, out.made
        over = seconds - run_worth(*(now_has - had for now_has, had in zip(after, before, strict=True)))
        sender = known.there.get(source_of_frame(data, start, end))
        if over > 0 and (sender is not None or is_icmp(data, start + 2)):
            host = known.namespace.id, sender.host if sender is not None else ""
            over += SKIPPED_RUN_SECONDS  # to find out whose they are, and to time them
            if self._costs.charge(host, over, now):
                self._spared += over
        return packets, seconds

    def _dear(self, known: _Known, data: bytearray, start: int, end: int, now: float) -> Attachment | None:
        """Whose the first of some frames is, if that costs too much: a host, or what stands for routers."""
        sender = known.there.get(source_of_frame(data, start, end))
        if sender is None and is_icmp(data, start + 2):
            sender = known.stranger
        if sender is None or not sender.live:
            return None
        return sender if self._costs.is_dear((sender.namespace.id, sender.host), now) else None

    def _take_dear(
        self,
        sender: Attachment,
        known: _Known,
        data: bytearray,
        view: memoryview,
        start: int,
        end: int,
        now: float,
    ) -> int:
        """As take, for frames of a host that costs too much.

        They are of one flow, unless they were left of a run that had begun before the host was dear.
        """
        stop, is_late = self._known_flows(sender, data, view, start, end, now)
        packets = count_packets(view[start:stop]) if stop > start else 0
        if is_late:
            self._rest.append((known.namespace.id, bytes(view[stop:end])))
            return packets + count_packets(view[stop:end])
        if stop == end:
            return packets
        if not SHARE.try_enter((sender.namespace.id, sender.host)):
            return packets + self._drop_dear(sender, view, stop, end, now)
        cut, seconds = _after(data, stop, end), 0.0
        try:
            entered, seconds = self._timed(known, data, view, stop, cut, now)
        finally:
            SHARE.leave(seconds)
        packets += entered
        return packets + self._drop_dear(sender, view, cut, end, now) if cut < end else packets

    def _known_flows(
        self, attachment: Attachment, data: bytearray, view: memoryview, start: int, end: int, now: float
    ) -> tuple[int, bool]:
        """Sort frames of known flows up to the first one that is not of any; returns where that is.

        And whether there was no time for all of them.
        """
        out, taps, traffic = self._owner.output, self._owner.taps, attachment.traffic
        until, most = now + TURN_SECONDS, traffic.received_packets + MOST_LOOKED
        while True:
            piece = hub_turn.piece_end(data, start, end, SMALL_PIECE)
            if taps.on:
                stop = capture_watch.scan(attachment, data, view, start, piece, now, out, taps, 0)
            else:
                stop = forward.scan(attachment, data, view, start, piece, now, out, 0)
            if stop in (start, end):
                return stop, False
            start = stop
            if traffic.received_packets >= most or time.monotonic() > until:
                return stop, True

    def _drop_dear(self, sender: Attachment, view: memoryview, start: int, end: int, now: float) -> int:
        """Drop the rest of a run of a host that costs too much; returns how many packets that was."""
        packets, traffic = count_packets(view[start:end]), sender.traffic
        traffic.received_packets += packets
        traffic.received_bytes += end - start
        detail = "" if Reason.LINK_SHARE in traffic.drops else f"of {sender.host or 'routers'}"
        sender.drop(Reason.LINK_SHARE, packets, detail, head_of_frame(view[start:end]), now)
        self._skip(packets, end - start)
        return packets

    def _skip_one(self, size: int) -> None:
        """Count a frame that is dropped unseen, of a run that was looked at."""
        runs, frames, total = self._skipped
        self._skipped = [runs, frames + 1, total + size]

    def _skip(self, packets: int, size: int) -> None:
        """Count a run that is dropped unseen."""
        runs, frames, total = self._skipped
        self._skipped = [runs + 1, frames + min(packets, size // LEAST_FRAME), total + size]

    def send(self, cost: Cost | None = None) -> None:
        """Send what was sorted, and count it in the account of this turn. It does not wait."""
        owner, out = self._owner, self._owner.output
        hub_turn.send(owner)
        out.controls.clear()  # none comes by another hub
        hub_turn.account(out, cost)
        if cost is not None:
            if self._skipped[1]:
                cost.skip(*self._skipped)
            if self._spared:
                cost.spare(self._spared)
        self._skipped, self._spared = [0, 0, 0], 0.0
        if self._traffic.news and self._turn:
            stranger = next(iter(self._turn.values())).stranger
            for reason, detail in self._traffic.take_news():
                hub_log.drops(owner.settings.name, stranger, reason, detail)
        for namespace, known in self._turn.items():
            known.nobody.clear()
            if namespace.plugins:
                hub_resolve.ask(owner, namespace)
        self._turn.clear()


def _after(data: bytearray, start: int, end: int) -> int:
    """Where the first frames of data[start:end] end that a dear host may have judged in one turn."""
    for _ in range(MOST_JUDGED):
        if start >= end:
            break
        start += 2 + (data[start] << 8 | data[start + 1])
    return min(start, end)
