"""Frames that come by the link with one hub: whose they are is looked up, and they are forwarded as they lie.

Knows: that all frames of one receive are sorted first and sent then, a run for each receiver; what is left
for later because it takes long.
Refuses to know: how envelopes are read (cluster_link), whose a frame is (forward_enter), what becomes of it
(forward).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from lib import framing, hub_log, hub_resolve, hub_turn
from lib.counters import Traffic
from lib.forward_drop_reasons import Reason
from lib.forward_enter import enter_run
from lib.namespace import Attachment, Namespace
from lib.namespace_domain import Domain
from lib.packet_offload import count_packets
from lib.session_cost import Cost

MAX_SOURCES, MAX_NAMESPACES = 4096, 256
"""Sources of one namespace, and namespaces, that are remembered of a hub."""


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


class Receiver:
    """What takes the frames of one hub."""

    __slots__ = ("_domain", "_grants", "_known", "_owner", "_rest", "_stranger", "_traffic", "_turn")

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
        self._owner, self._domain, self._stranger, self._traffic = owner, domain, stranger, traffic
        self._grants = grants
        self._known: dict[bytes, _Known] = {}
        self._turn: dict[Namespace, _Known] = {}
        """Those that frames of this turn are of."""
        self._rest: deque[tuple[bytes, bytes]] = deque()
        """(namespace, frames) that took too long in this turn."""

    def take(self, namespace_id: bytes, data: bytearray, view: memoryview, start: int, end: int) -> int:
        """Sort the whole frames data[start:end] of a namespace; returns how many packets they are.

        They are sent by send(), before anybody else receives into `data`. Raises ProtocolError for what is no
        whole frames.
        """
        if self._rest:  # these must not overtake them
            self._rest.append((namespace_id, bytes(view[start:end])))
            return count_packets(view[start:end])
        namespace = self._domain.namespaces.get(namespace_id)
        if namespace is None or not self._grants(namespace_id):
            packets = count_packets(view[start:end])
            self._traffic.drop(Reason.NO_NAMESPACE if namespace is None else Reason.UNTRUSTED, packets)
            return packets
        now = time.monotonic()
        known = self._turn.get(namespace) or self._looked_up(namespace, now)
        forward = partial(self._forward, data, view)
        stop, packets = enter_run(known.stranger, data, start, end, now, known.there, forward)
        if stop < end:
            self._rest.append((namespace_id, bytes(view[stop:end])))
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
        self._turn[namespace] = known
        return known

    def _forward(
        self, data: bytearray, view: memoryview, attachment: Attachment, start: int, end: int
    ) -> int:
        return hub_turn.sort(self._owner, attachment, data, view, start, end)

    @property
    def has_rest(self) -> bool:
        """Whether frames are left that took too long: for go_on()."""
        return bool(self._rest)

    def send(self, cost: Cost | None = None) -> None:
        """Send what was sorted, and count it in the account of this turn. It does not wait."""
        owner, out = self._owner, self._owner.output
        hub_turn.send(owner)
        out.controls.clear()  # none comes by another hub
        if cost is not None:
            cost.forward(out.frames, out.bytes, out.cut, out.new)
            cost.reply(out.replies, out.made)
        out.frames = out.bytes = out.cut = out.new = out.replies = out.made = 0
        if self._traffic.news and self._turn:
            stranger = next(iter(self._turn.values())).stranger
            for reason, detail in self._traffic.take_news():
                hub_log.drops(owner.settings.name, stranger, reason, detail)
        for namespace in self._turn:
            hub_resolve.ask(owner, namespace)
        self._turn.clear()

    def go_on(self, cost: Cost | None = None) -> None:
        """Forward a turn's part of what is left, once all others have had theirs; there has to be some."""
        namespace_id, frames = self._rest.popleft()
        later, self._rest = self._rest, deque()
        data = bytearray(frames + bytes(framing.SLACK))
        try:
            self.take(namespace_id, data, memoryview(data), 0, len(frames))
        finally:
            self.send(cost)
            self._rest += later
