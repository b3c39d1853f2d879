"""The hosts of a namespace that are there, and which of a route's gateways gets a flow.

Knows: sessions by host name, the order of preference, how flows are shared and stay where they are.
Refuses to know: prefixes and tables (route_table, namespace), packets (forward).

A route's gateways come in tiers (routes.Group). The first tier with somebody alive carries its packets:

    tiers   (a) (b c) (d)          a alive: a.  a away: b and c share.  all three away: d.

Who was away and comes back is held down for a while: it is preferred again only when it has lived that
long, lest a link that flaps drag its flows to and fro. With nobody else alive it is used at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar
from zlib import crc32

from lib.bounded_dict import BoundedDict
from lib.route_table import Group

MAX_FLOWS = 16384
"""Flows a gateway, or a tier of several, remembers; past that the oldest are chosen for anew."""
MAX_TIERS = 1024
"""Tiers whose flows are remembered."""
MAX_AWAY = 65536
"""Names of hosts that left that are remembered."""


class Session(Protocol):
    """What is to be known of a session here."""

    host: str
    live: bool


S = TypeVar("S", bound=Session)


@dataclass(slots=True, eq=False)
class Gateway(Generic[S]):
    """A host name, and the live sessions that go by it."""

    name: str
    back_at: float = float("-inf")
    """When it came back after it had been away."""
    attachments: list[S] = field(default_factory=list)
    flows: BoundedDict[bytes, S] = field(default_factory=lambda: BoundedDict(MAX_FLOWS))
    turn: int = 0

    def port_for(self, flow: bytes) -> S | None:
        """The session a flow goes to: the one it had while that lives, else the next in turn."""
        attachment = self.flows.get(flow)
        if attachment is not None and attachment.live:
            return attachment
        if not self.attachments:
            return None
        self.turn = (self.turn + 1) % len(self.attachments)
        attachment = self.attachments[self.turn]
        self.flows.remember(flow, attachment)
        return attachment


@dataclass(slots=True, eq=False)
class Gateways(Generic[S]):
    """The hosts of one namespace."""

    here: dict[str, Gateway[S]] = field(default_factory=dict)
    _away: BoundedDict[str, None] = field(default_factory=lambda: BoundedDict(MAX_AWAY))
    """Who was here once; the longest gone first."""
    _shares: BoundedDict[tuple[str, ...], BoundedDict[bytes, str]] = field(
        default_factory=lambda: BoundedDict(MAX_TIERS)
    )
    """tier -> flow -> the gateway it has."""

    def join(self, attachment: S, now: float) -> bool:
        """A session goes live; returns whether its host was not here before it."""
        gateway = self.here.get(attachment.host)
        new = gateway is None
        if gateway is None:
            came_back = attachment.host in self._away
            gateway = Gateway(attachment.host, now if came_back else float("-inf"))
            self.here[attachment.host] = gateway
            self._away.pop(attachment.host, None)
        gateway.attachments.append(attachment)
        return new

    def leave(self, attachment: S) -> None:
        """A session ends: its flows are free to go elsewhere."""
        gateway = self.here[attachment.host]
        gateway.attachments.remove(attachment)
        for flow in [flow for flow, other in gateway.flows.items() if other is attachment]:
            del gateway.flows[flow]
        if not gateway.attachments:
            del self.here[attachment.host]
            self._away.remember(attachment.host, None)

    def choose(self, group: Group, flow: bytes, hold_down: float, now: float) -> S | None:
        """The session a flow goes to; None where none of the group's gateways lives."""
        gateway = self.chosen(group, flow, hold_down, now)
        return gateway.port_for(flow) if gateway is not None else None

    def chosen(self, group: Group, flow: bytes, hold_down: float, now: float) -> Gateway[S] | None:
        """The gateway a flow goes to: of the best tier, and of those in it the one it had."""
        held: tuple[str, ...] = ()
        for tier in group.tiers:
            live = [self.here[name] for name in tier if name in self.here]
            steady = [gateway for gateway in live if now >= gateway.back_at + hold_down]
            if steady:
                return steady[0] if len(tier) == 1 else self._shared(tier, steady, flow)
            held = held or (tier if live else ())
        return self._shared(held, [self.here[name] for name in held if name in self.here], flow)

    def carriers(self, group: Group, hold_down: float, now: float) -> tuple[str, ...]:
        """The gateways that new flows go to, several where they share them: `chosen`, without a flow."""
        held: tuple[str, ...] = ()
        for tier in group.tiers:
            live = tuple(name for name in tier if name in self.here)
            steady = tuple(name for name in live if now >= self.here[name].back_at + hold_down)
            if steady:
                return steady
            held = held or live
        return held

    def _shared(self, tier: tuple[str, ...], able: list[Gateway[S]], flow: bytes) -> Gateway[S] | None:
        """One of those able to carry: whom the flow had, else by its hash."""
        if len(able) < 2 and len(tier) < 2:
            return able[0] if able else None
        flows = self._shares.get(tier)
        if flows is None:
            flows = BoundedDict(MAX_FLOWS)
            self._shares.remember(tier, flows)
        had = flows.get(flow)
        for gateway in able:
            if gateway.name == had:
                return gateway
        # the highest of hashes over flow and name: without memory too, few flows move when a gateway goes
        seed = crc32(flow)
        best = max(able, key=lambda gateway: _weight(seed, gateway.name))
        flows.remember(flow, best.name)
        return best

    def get(self, name: str) -> Gateway[S] | None:
        """The gateway of that name, if it is here."""
        return self.here.get(name)

    def attachments(self) -> Iterator[S]:
        """Every live session."""
        for gateway in self.here.values():
            yield from gateway.attachments

    def __len__(self) -> int:
        return len(self.here)


def _weight(seed: int, name: str) -> int:
    """A hash of flow and name; CRCs alone would not do, for they are linear (the steps are xxHash32's)."""
    mixed = (seed ^ crc32(name.encode("utf-8", "surrogateescape"))) * 0x85EBCA77 & 0xFFFFFFFF
    mixed = (mixed ^ mixed >> 13) * 0xC2B2AE3D & 0xFFFFFFFF
    return mixed ^ mixed >> 16
