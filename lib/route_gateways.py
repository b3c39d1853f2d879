"""Choice of a route's gateway for a flow: failover by preference with hold-down, load sharing by flow.

Knows: the attachments by host name, the order of preference, how flows are shared and stay on their gateway.
Refuses to know: prefixes and tables (route_table, namespace), packets (forward).

A route's gateways are in tiers (route_table.Group). The first tier with a connected gateway carries packets:

    tiers   (a) (b c) (d)          a is connected: a.  Not a: b and c share.  None of these three: d.

A gateway that was away and comes back is held down: it is preferred again only after it has been connected
for `hold_down` seconds, so that a host that comes and goes does not drag its flows to and fro. While no other
gateway is connected, it is used at once.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import ceil
from typing import Generic, Protocol, TypeVar
from zlib import crc32

from lib.bounded_dict import BoundedDict
from lib.limits import Bucket
from lib.namespace_commons import PricedDict
from lib.route_table import Group

MAX_FLOWS = 16384
"""Flows that a gateway remembers; past that the oldest is forgotten."""
MAX_SHARED = 65536
"""Flows that are remembered of all tiers of several gateways together."""
ROUTER_ERRORS_PER_SECOND = 10.0
"""ICMP errors of routers behind a host, to which no route leads, that may pass in a second and at once."""
MAX_AWAY = 65536
"""Host names that are remembered after they left, for the hold-down."""
SHARED_BYTES, AWAY_BYTES = 350, 400
"""What one of these holds; a host name has 255 bytes at most."""


class Session(Protocol):
    """What this module uses of an attachment: its host name, and whether its session lives."""

    host: str
    live: bool


S = TypeVar("S", bound=Session)
Find = Callable[[str], "Gateway[S] | None"]
"""Finds a gateway by its name that is connected elsewhere; None where there is none."""


@dataclass(slots=True, eq=False)
class Gateway(Generic[S]):
    """A connected host: its name, and its attachments, one for each live session."""

    name: str
    back_at: float = float("-inf")
    """When it came back after it had been away, in seconds of a steady clock; -inf if it never was away."""
    attachments: list[S] = field(default_factory=list)
    flows: BoundedDict[bytes, S] = field(default_factory=lambda: BoundedDict(MAX_FLOWS))
    turn: int = 0
    """Index of the attachment that got the last new flow."""
    router_errors: Bucket = field(
        default_factory=lambda: Bucket(ROUTER_ERRORS_PER_SECOND, ROUTER_ERRORS_PER_SECOND)
    )
    """Of routers behind it that no route leads to: how many ICMP errors may pass."""

    def bound_flows(self, most: int) -> None:
        """Remember so many flows at most from now on."""
        self.flows.bound(min(MAX_FLOWS, most))

    def attachment_for(self, flow: bytes) -> S | None:
        """The attachment that a flow goes to: the one it had, while that is live, else the next in turn."""
        attachment = self.flows.get(flow)
        if attachment is not None and attachment.live:
            return attachment
        if not self.attachments:
            return None
        for _ in self.attachments:
            self.turn = (self.turn + 1) % len(self.attachments)
            attachment = self.attachments[self.turn]
            if attachment.live:
                break
        assert attachment is not None
        self.flows.remember(flow, attachment)
        return attachment

    @property
    def is_reached(self) -> bool:
        """Whether any attachment may be chosen: none is set aside, or not all are."""
        return any(attachment.live for attachment in self.attachments)


@dataclass(slots=True, eq=False)
class Gateways(Generic[S]):
    """The connected hosts of one namespace, by name."""

    here: dict[str, Gateway[S]] = field(default_factory=dict)
    released: dict[str, Gateway[S]] = field(default_factory=dict)
    """Hosts with sessions that end because there are newer ones, for what still comes to these."""
    away: PricedDict[str, None] = field(default_factory=lambda: PricedDict(MAX_AWAY, AWAY_BYTES))
    """Who was here once; the longest gone first."""
    shared: PricedDict[tuple[tuple[str, ...], bytes], str] = field(
        default_factory=lambda: PricedDict(MAX_SHARED, SHARED_BYTES)
    )
    """(tier, flow) -> the gateway that it has."""

    def join(self, attachment: S, now: float) -> bool:
        """Add an attachment at the beginning of its session; returns whether it is its host's first one."""
        gateway = self.here.get(attachment.host)
        new = gateway is None
        if gateway is None:
            came_back = attachment.host in self.away
            gateway = Gateway(attachment.host, now if came_back else float("-inf"))
            self.here[attachment.host] = gateway
            self.away.pop(attachment.host, None)
        gateway.attachments.append(attachment)
        return new

    def leave(self, attachment: S) -> None:
        """Remove an attachment at the end of its session; its flows are chosen for anew."""
        released = self.released.get(attachment.host)
        if released is not None and attachment in released.attachments:
            released.attachments.remove(attachment)
            if not released.attachments:
                del self.released[attachment.host]
            return
        gateway = self.here[attachment.host]
        gateway.attachments.remove(attachment)
        if not gateway.attachments:
            del self.here[attachment.host]  # with all its flows, which may be many
            self.away.remember(attachment.host, None)
            return
        for flow in [flow for flow, other in gateway.flows.items() if other is attachment]:
            del gateway.flows[flow]

    def release(self, attachment: S) -> None:
        """Choose an attachment no more, but for those who find it in `released` until it leaves."""
        self.leave(attachment)
        released = self.released.setdefault(attachment.host, Gateway(attachment.host))
        released.attachments.append(attachment)

    def choose(
        self, group: Group, flow: bytes, hold_down: float, now: float, find: Find[S] | None = None
    ) -> S | None:
        """The attachment that a flow goes to; None where no gateway of the group is connected.

        `hold_down` in seconds, `now` in seconds of a steady clock. `find` finds gateways that are not here.
        """
        gateway = self.chosen(group, flow, hold_down, now, find)
        return gateway.attachment_for(flow) if gateway is not None else None

    def chosen(
        self, group: Group, flow: bytes, hold_down: float, now: float, find: Find[S] | None = None
    ) -> Gateway[S] | None:
        """The gateway that a flow goes to: one of the best tier, and within it the one it had before."""
        held: tuple[str, ...] = ()
        for tier in group.tiers:
            live = [one for name in tier if (one := self.reached(name)) is not None]
            if find is not None and len(live) < len(tier):
                found = (self.reached(name) or find(name) for name in tier)
                live = [gateway for gateway in found if gateway is not None]
            # A gateway that has just come back may leave again at once. Its flows have found another way
            # meanwhile, so it is passed over until it has been here for hold_down seconds.
            steady = [gateway for gateway in live if now >= gateway.back_at + hold_down]
            if steady:
                return steady[0] if len(tier) == 1 else self._shared(tier, steady, flow)
            # Everybody alive in this tier is held down: go on with the next tier, but remember the first.
            held = held or (tier if live else ())
        # No tier has a steady gateway. One that may leave again is better than dropping the packet.
        return self._shared(held, [one for name in held if (one := self.reached(name)) is not None], flow)

    def carriers(self, group: Group, hold_down: float, now: float, find: Find[S]) -> tuple[str, ...]:
        """The names of the gateways that new flows go to: several where they share the load."""
        held: tuple[str, ...] = ()
        for tier in group.tiers:
            found = {name: self.reached(name) or find(name) for name in tier}
            live = tuple(name for name, gateway in found.items() if gateway is not None)
            steady = tuple(name for name in live if now >= found[name].back_at + hold_down)  # type: ignore[union-attr]
            if steady:
                return steady
            held = held or live
        return held

    def _shared(self, tier: tuple[str, ...], able: list[Gateway[S]], flow: bytes) -> Gateway[S] | None:
        """One of the gateways of a tier that are able to carry: the one the flow had, else by its hash."""
        if len(able) < 2 and len(tier) < 2:
            return able[0] if able else None
        # With one gateway left of several the choice is remembered too: the flow stays there when the others
        # come back, because a gateway that keeps state (NAT, a firewall) would break it by a move.
        had = self.shared.get((tier, flow))
        for gateway in able:
            if gateway.name == had:
                return gateway
        # Rendezvous hashing: when a gateway goes, only its own flows move, even if all flows are forgotten.
        seed = crc32(flow)
        best = max(able, key=lambda gateway: weight(seed, gateway.name))
        self.shared.remember((tier, flow), best.name)
        return best

    def get(self, name: str) -> Gateway[S] | None:
        """The gateway of that name, None where it is not connected."""
        return self.here.get(name)

    def reached(self, name: str) -> Gateway[S] | None:
        """The gateway of that name, None where it is not connected, or not reached by any of its sessions."""
        gateway = self.here.get(name)
        return gateway if gateway is not None and gateway.is_reached else None

    def at_last(self, name: str) -> Gateway[S] | None:
        """The gateway of that name with sessions that are set aside, or else released; None without any."""
        return self.here.get(name) or self.released.get(name)

    def attachments(self) -> Iterator[S]:
        """All attachments, host by host."""
        for gateway in self.here.values():
            yield from gateway.attachments

    def leaving(self) -> Iterator[S]:
        """All that are released, and have not left yet."""
        for gateway in self.released.values():
            yield from gateway.attachments

    def __len__(self) -> int:
        return len(self.here)


class Settling:
    """When hold-downs end, in seconds of a steady clock, to a quarter of a second.

    A host may come and go as often as it likes: what is kept of that is four times a second for as long as
    the longest hold-down, and to look whether one has ended takes no time.
    """

    __slots__ = ("_ends",)

    def __init__(self) -> None:
        self._ends: list[float] = []

    def note(self, at: float) -> None:
        """A hold-down ends at `at`."""
        at = ceil(at * 4) / 4
        place = bisect_left(self._ends, at)
        if self._ends[place : place + 1] != [at]:
            self._ends.insert(place, at)

    def ended(self, now: float) -> bool:
        """Whether one has ended since this was asked last."""
        if not self._ends or now < self._ends[0]:
            return False
        del self._ends[: bisect_right(self._ends, now)]
        return True


def weight(seed: int, name: str) -> int:
    """A 32-bit hash of a flow (as its CRC) and a name, mixed as xxHash32 does at its end.

    CRCs alone would not do, since they are linear: of three gateways one would get half of the flows.
    """
    mixed = (seed ^ crc32(name.encode("utf-8", "surrogateescape"))) * 0x85EBCA77 & 0xFFFFFFFF
    mixed = (mixed ^ mixed >> 13) * 0xC2B2AE3D & 0xFFFFFFFF
    return mixed ^ mixed >> 16
