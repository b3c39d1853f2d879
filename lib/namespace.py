"""Namespaces: which hosts live there, and which of them a packet may go to.

Knows: gateways and their live sessions (ports), the order in which tables are asked, flows.
Refuses to know: frames (forward), sockets (session), how a plugin is asked (plugins).

Nothing is looked up outside one Namespace object, so nothing can leak between two.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lib.answers import Answers, Unresolved
from lib.drops import Reason
from lib.routes import Route, RouteTable
from lib.stats import Traffic

ANSWERS_PER_SECOND = 100.0
ANSWER_BURST = 50.0
"""ICMP messages to one session, as Linux limits its own (icmp_msgs_per_sec is 1,000 a host)."""
MAX_GATEWAY_FLOWS = 16384
"""Flows a gateway remembers; past that the oldest are chosen for anew."""


@dataclass(slots=True, eq=False)
class Port:
    """One session as forwarding sees it: where its packets come in and go out."""

    namespace: Namespace
    host: str
    peer: str
    """Its far address, for people."""
    offloads: int = 0
    """What the peer receives: offload bits, 0 for single complete packets only (GOST)."""
    told: bool = False
    """Whether the peer has said HELLO, and so may send virtio-net headers."""
    mtu: int = 0
    """Largest single packet the peer takes, bytes."""
    live: bool = True
    instance: bytes = b""
    flows: dict[bytes, Port] = field(default_factory=dict)
    """flow -> where it goes: forwarding's memory of what this port's packets were allowed."""
    generation: int = -1
    """The generation of the namespace that `flows` belongs to."""
    fresh_until: float = float("inf")
    """When the first plugin answer behind `flows` runs out."""
    traffic: Traffic = field(default_factory=Traffic)
    link: Any = None
    """The session's way out, hung here by the IO layer."""
    answer_tokens: float = ANSWER_BURST
    answered_at: float = 0.0

    def drop(self, reason: Reason, count: int = 1, detail: str = "") -> None:
        """Count packets lost on the way in from, or out to, this session."""
        self.traffic.drop(reason, count, detail)

    def may_answer(self, now: float) -> bool:
        """Whether one more ICMP message may go back to this session (token bucket)."""
        refill = max(0.0, now - self.answered_at) * ANSWERS_PER_SECOND
        self.answer_tokens = min(ANSWER_BURST, self.answer_tokens + refill)
        self.answered_at = now
        if self.answer_tokens < 1:
            return False
        self.answer_tokens -= 1
        return True


@dataclass(slots=True, eq=False)
class Gateway:
    """A host name in a namespace, and the live sessions that go by it."""

    name: str
    ports: list[Port] = field(default_factory=list)
    flows: dict[bytes, Port] = field(default_factory=dict)
    turn: int = 0

    def port_for(self, flow: bytes) -> Port | None:
        """The session a flow goes to: the one it had while that lives, else the next in turn."""
        port = self.flows.get(flow)
        if port is not None and port.live:
            return port
        if not self.ports:
            return None
        self.turn = (self.turn + 1) % len(self.ports)
        port = self.ports[self.turn]
        if len(self.flows) >= MAX_GATEWAY_FLOWS:
            del self.flows[next(iter(self.flows))]
        self.flows[flow] = port
        return port


@dataclass(slots=True, eq=False)
class Namespace:
    """Hosts that can reach each other, and the tables that say how."""

    id: bytes
    table: RouteTable
    """The table named by this namespace's UUID; empty where there is none."""
    default: RouteTable | Answers[Port]
    """Asked where `table` has no route: the handler's `router:`."""
    source_check: bool = True
    gateways: dict[str, Gateway] = field(default_factory=dict)
    returns: int = 0
    """How often a host came back that may be preferred to its stand-in."""
    gone: Traffic = field(default_factory=Traffic)
    """The counts of sessions that have ended."""

    @property
    def generation(self) -> int:
        """Moves when a decision might come out otherwise: what was remembered no longer counts."""
        return self.returns + self.table.changes + self.default.changes

    def gateways_to(self, address: bytes, now: float) -> tuple[str, ...] | Unresolved | None:
        """The gateways of the longest match in this namespace's table, or else in the default one.

        None where neither has a route.
        """
        gateways = self.table.gateways(address)
        if gateways is not None:
            return gateways
        if isinstance(self.default, Answers):
            route = self.default.lookup(address, now)
            return route.gateways if isinstance(route, Route) else route
        return self.default.gateways(address)

    def fresh_until(self, now: float) -> float:
        """Until when what `gateways_to` answers now may be remembered."""
        return now + self.default.seconds if isinstance(self.default, Answers) else float("inf")

    def park(self, address: bytes, port: Port, frame: bytes) -> bool:
        """Let a frame wait for the route to an address; False where it cannot."""
        return isinstance(self.default, Answers) and self.default.park(address, port, frame)

    def live_gateway(self, names: tuple[str, ...]) -> Gateway | None:
        """The first of a route's gateways that has a live session."""
        for name in names:
            gateway = self.gateways.get(name)
            if gateway is not None and gateway.ports:
                return gateway
        return None

    def join(self, port: Port) -> None:
        """A session goes live under its host name."""
        gateway = self.gateways.get(port.host)
        if gateway is None:
            gateway = self.gateways[port.host] = Gateway(port.host)
            if len(self.gateways) > 1 and self._may_be_preferred():
                self.returns += 1  # what goes to its stand-in now shall come back to it
        gateway.ports.append(port)

    def _may_be_preferred(self) -> bool:
        default = isinstance(self.default, RouteTable) and self.default.has_alternatives
        return self.table.has_alternatives or default

    def leave(self, port: Port) -> None:
        """A session ends: its flows are free to go elsewhere, its counts stay."""
        port.live = False
        port.flows.clear()
        gateway = self.gateways[port.host]
        gateway.ports.remove(port)
        gateway.flows = {flow: other for flow, other in gateway.flows.items() if other is not port}
        if not gateway.ports:
            del self.gateways[port.host]
        self.gone.add(port.traffic)

    def rivals(self, port: Port) -> list[Port]:
        """Older sessions of the same host and the same instance, which a new one replaces."""
        gateway = self.gateways.get(port.host)
        others = gateway.ports if gateway else []
        return [p for p in others if p is not port and p.instance and p.instance == port.instance]

    def ports(self) -> list[Port]:
        """Every live session."""
        return [port for gateway in self.gateways.values() for port in gateway.ports]
