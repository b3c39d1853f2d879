"""A namespace: its attached hosts, its routing tables and its connections (what routers call a VRF).

Knows: attachments, the order in which its two tables are asked, when remembered verdicts are outdated.
Refuses to know: frames (forward), sockets (session_sender), how a plugin is asked (plugin_client), which of
several gateways gets a flow (route_gateways).

Forwarding looks everything up in one Namespace object, so no packet can get from one namespace to another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import chain

from lib import ids
from lib.acl import Acl
from lib.acl_connections import REFRESH_SECONDS, ConnectionTable, FragmentTable
from lib.bounded_dict import BoundedDict
from lib.counters import Traffic
from lib.dns_zone import Questions, ZoneMemory
from lib.forward_drop_reasons import Reason
from lib.limits import Bucket
from lib.namespace_commons import Member
from lib.namespace_elsewhere import Elsewhere
from lib.namespace_sender import NO_SENDER, Sender
from lib.packet import Buffer, Packet, reversed_flow
from lib.packet_headers import Headers
from lib.plugin_cache import Unresolved
from lib.route_gateways import Find, Gateway, Gateways, Settling
from lib.route_plugin_cache import PluginCache
from lib.route_table import Group, RouteTable, falls_to
from lib.session_budget import PARKED_BYTES, Budget

ICMP_ERRORS_PER_SECOND = 100.0
ICMP_ERROR_BURST = 50.0
"""Limits on ICMP errors to one session, a second and at once (RFC 1812 4.3.2.8; Linux: 1,000 a host)."""
PINGS_PER_SECOND, PING_BURST = 1000.0, 250.0
"""Packets of echo requests for the hub's own address, of one session, that have a reply."""
DENIED_SECONDS = 1.0
"""How long: a flow that the rules would allow now (its gateway has changed) waits no longer."""
MAX_LOST = 1024
"""Destinations of a namespace whose last drops are remembered, fewer where there are many namespaces; past
that the oldest is forgotten."""

MAX_FLOWS = 32768
"""Flows that an attachment remembers, of UDP and of all else, fewer where there are many sessions; past that
the oldest are asked again. Of 10,000 connections a second there are as many at once where each lasts 3 s. If
fewer were remembered, each packet would be judged anew, and so be late: then there are even more of them."""

FOREVER = float("inf")
"""For Attachment.fresh_until: no plugin's reply limits it."""


@dataclass(slots=True, eq=False)
class Attachment:
    """A host's place in a namespace: one session as forwarding sees it, with its counters and flows.

    Two sessions under one host name are two attachments.
    """

    namespace: Namespace
    host: str
    peer: str
    """The client's address and port as text; of a host at another hub that hub's."""
    offloads: int = 0
    """What the peer can receive: offload bits (packet_offload); 0 for single complete packets only (GOST)."""
    is_tunrouter: bool = False
    """Whether the peer has said HELLO, and so may send virtio-net headers."""
    takes_dummies: bool = False
    """Whether ICMP errors from a dummy address reach the peer's host; of a GOST peer nobody knows."""
    takes_unreached: bool = False
    """Whether the peer wants to know to which addresses this hub has no way (cluster_unreached)."""
    mtu: int = 0
    """Largest single packet the peer takes, bytes."""
    is_here: bool = True
    """False once its session has ended, or is released."""
    live: bool = True
    """Whether flows may go to it: it is here, and not set aside (cluster_silence)."""
    is_moving: bool = False
    """Whether its client was asked to move: a newer session does not end this one at once."""
    instance: bytes = b""
    """The client's instance id, 16 bytes, from its HELLO; empty without one."""
    since: float = 0.0
    """When its session began, in seconds of a steady clock."""
    heard_at: float = 0.0
    """When it was seen last that something has come from it, in seconds of a steady clock."""
    flows: dict[bytes, Attachment] = field(default_factory=dict)
    """The flow cache: flow key -> attachment its packets go to. For packets from here, except UDP."""
    udp_flows: dict[bytes, Attachment] = field(default_factory=dict)
    """The flow cache of UDP: a flow key does not hold the protocol, and UDP's ports are not TCP's."""
    denied: BoundedDict[bytes, float] = field(default_factory=lambda: BoundedDict(MAX_FLOWS))
    """Protocol and flow key of packets that an access list has denied -> until when that is remembered."""
    generation: int = -1
    """The namespace's generation when the first entry was put into `flows`."""
    fresh_until: float = FOREVER
    """When the first plugin reply that `flows` relies on expires, in seconds of a steady clock."""
    traffic: Traffic = field(default_factory=Traffic)
    max_flows: int = MAX_FLOWS
    """Flows that `flows`, `udp_flows` and `denied` may hold each; so many to its host are remembered."""
    sender: Sender = NO_SENDER
    """The session's way out, hung here by the IO layer."""
    by: str = ""
    """By what a host at another hub is reached, in a word; empty for a session here."""
    again: Callable[[bytes], object] | None = None
    """Takes whole frames of it that have waited, or come from another hub; None where nobody does."""
    by_datagrams: Callable[[Buffer], bool] | None = None
    """Tells those who look on whether a frame goes to it by datagrams; None where its session has none."""
    budget: Budget | None = None
    """What its frames count in while they wait for a plugin."""
    parked: int = 0
    """How many bytes do."""
    icmp_error_tokens: float = ICMP_ERROR_BURST
    icmp_error_at: float = 0.0
    own4: bytes = b""
    own6: bytes = b""
    """The hub's own addresses, with `generation`: with one of a version the hub is a hop for its packets."""
    pings: Bucket = field(default_factory=lambda: Bucket(PINGS_PER_SECOND, PING_BURST))
    """How many packets that ask the hub itself for an echo may have a reply."""
    questions: Questions = field(default_factory=Questions)
    """How many DNS questions to the hub itself may have an answer."""

    def forget(self) -> None:
        """Empty the flow cache, so that each flow is decided on anew."""
        self.flows.clear()
        self.udp_flows.clear()
        self.denied.clear()

    def share_flows(self, most: int) -> None:
        """Remember so many flows at most from now on: all sessions together have a bound."""
        self.max_flows = self.denied.most = most
        if max(len(self.flows), len(self.udp_flows), len(self.denied)) > most:
            self.forget()
        gateway = self.namespace.gateways.get(self.host)
        if gateway is not None:
            gateway.bound_flows(4 * most)

    def unpark(self, frame: bytes) -> None:
        """A frame of it waits for a plugin no longer."""
        if self.budget is not None:
            self.budget.unpark(frame)
            self.parked -= len(frame) + PARKED_BYTES

    def drop(
        self, reason: Reason, count: int = 1, detail: str = "", head: bytes = b"", now: float = 0.0
    ) -> None:
        """Count packets of this session, in either direction, that are dropped (counters.Traffic.drop)."""
        self.traffic.drop(reason, count, detail, head, now)

    def may_send_icmp_error(self, now: float) -> bool:
        """Whether one more ICMP error may go back to this session (token bucket)."""
        refill = max(0.0, now - self.icmp_error_at) * ICMP_ERRORS_PER_SECOND
        self.icmp_error_tokens = min(ICMP_ERROR_BURST, self.icmp_error_tokens + refill)
        self.icmp_error_at = now
        return self.icmp_error_tokens >= 1


Table = RouteTable | PluginCache[Attachment]
"""A routing table as a namespace uses it: one with routes, or the cached replies of a plugin."""


@dataclass(slots=True)
class Lost:
    """Packets to one destination that were dropped: how many for which reason, and when the last one."""

    reasons: Counter[Reason] = field(default_factory=Counter)
    last: float = 0.0


@dataclass(slots=True, eq=False)
class Namespace:
    """The attachments that can reach each other, and the routing tables between them."""

    id: bytes
    """Its UUID, 16 bytes."""
    table: Table
    """The table named by this namespace's UUID; one without routes where there is none."""
    default: Table
    """The table of the handler's `router:`, asked where `table` has no route."""
    source_check: bool = True
    elsewhere: Elsewhere[Attachment] | None = None
    """Its hosts at other hubs, where there are any."""
    gateways: Gateways[Attachment] = field(default_factory=Gateways)
    lost: BoundedDict[bytes, Lost] = field(default_factory=lambda: BoundedDict(MAX_LOST))
    """Destination -> its last drops; the longest ago first."""
    gone: Traffic = field(default_factory=Traffic)
    """The counts of sessions that have ended."""
    connections: ConnectionTable = field(default_factory=ConnectionTable)
    """The connections that access lists have allowed."""
    fragments: FragmentTable = field(default_factory=FragmentTable)
    """The datagrams whose later fragments may follow the first one."""
    zone: ZoneMemory = field(default_factory=ZoneMemory)
    """The names of its hosts, where the hub answers for them (forward_names)."""
    _turns: int = 0
    """How often something other than a change of a table's routes made remembered verdicts outdated."""
    _settling: Settling = field(default_factory=Settling)
    """When the hold-downs end of hosts that came back."""
    member: Member | None = None
    """What counts those of its tables that have no bound of their own."""
    plugins: tuple[PluginCache[Attachment], ...] = ()
    """Those of its tables that are a plugin's replies."""

    def __post_init__(self) -> None:
        self.plugins = tuple(table for table in self.tables if isinstance(table, PluginCache))

    def generation(self, now: float) -> int:
        """A number that changes whenever a remembered verdict might be outdated. `now`: a steady clock's."""
        if self._settling.ended(now):
            self._turns += 1
        return self._turns + self.table.changes + self.default.changes

    @property
    def tables(self) -> tuple[Table, Table]:
        """(table, default): in the order they are asked. Any route of the first beats all of the second."""
        return self.table, self.default

    def own(self, size: int) -> bytes:
        """The hub's own address (packed) of so many bytes, 4 or 16; empty where it has none."""
        for table in self.tables:
            for one in table.own:
                if len(one.address) == size:
                    return one.address
        return b""

    def replace_tables(self, table: Table, default: Table, source_check: bool) -> None:
        """Route by other tables from now on, with or without a check of sources."""
        if (table, default, source_check) != (self.table, self.default, self.source_check):
            self._turns += self.table.changes + self.default.changes + 1  # never the same number again
            self.table, self.default, self.source_check = table, default, source_check
            self.__post_init__()

    def route_to(self, address: bytes, now: float) -> tuple[Group, Table] | Unresolved | None:
        """The gateways of the longest prefix that holds an address (packed), and the table that has it.

        Unresolved while a plugin's reply is missing; None where no table has a route.
        """
        for table in (self.table, self.default):
            if isinstance(table, RouteTable):
                group = table.lookup(address)
            else:
                found = table.lookup(address, now)
                if isinstance(found, Unresolved):
                    return found
                group = found.group if found is not None else None
            if group is not None:
                return group, table
        return None

    def leads_to(self, address: bytes, host: str, group: Group, table: Table) -> bool:
        """Whether a host is a gateway for an address, by the route found or one that it falls through to."""
        if host in group.names:
            return True
        return group.fall_through and any(host in other.names for other in falls_to(table, address))

    def choose(
        self, group: Group, table: Table, address: bytes, flow: bytes, now: float, here: bool = False
    ) -> Attachment | None:
        """The attachment that a flow goes to; None where no gateway that may carry it is connected.

        `group` and `table` are what `route_to` returned, `flow` is the packet's flow key. With `here` no
        gateway at another hub may carry it, but one that is released or aside, as others may not know yet.
        """
        find: Find[Attachment] | None = self.gateways.at_last if here else None
        if not here and self.elsewhere is not None:
            find = partial(self._at_another_hub, now)
        for one in chain((group,), falls_to(table, address) if group.fall_through else ()):
            attachment = self.gateways.choose(one, flow, table.hold_down, now, find)
            if attachment is not None:
                return attachment
        return None

    def _at_another_hub(self, now: float, host: str) -> Gateway[Attachment] | None:
        found = self.elsewhere.gateway(host, now) if self.elsewhere is not None else None
        return None if isinstance(found, Unresolved) else found

    def known_elsewhere(self, host: str) -> Gateway[Attachment] | None:
        """A host at other hubs, as far as that is known already, for those who show it."""
        return self.elsewhere.known(host) if self.elsewhere is not None else None

    def unresolved(self, group: Group, now: float) -> Unresolved | None:
        """Why it is not known at which hubs the gateways of a route are; None where that is known."""
        elsewhere = self.elsewhere
        found = [elsewhere.gateway(name, now) for name in group.names] if elsewhere is not None else []
        return next((state for state in Unresolved if state in found), None)

    def outdate(self) -> None:
        """A host has come at another hub: what goes to its stand-in now may go to it."""
        self._turns += self._may_be_preferred()

    def fresh_until(self, now: float, target: Attachment) -> float:
        """Until when a verdict reached now may be remembered: as long as a plugin's reply counts."""
        seconds = [cache.seconds for cache in self.plugins]
        seconds += [self.elsewhere.seconds] if target.by and self.elsewhere is not None else []
        seconds += [REFRESH_SECONDS for table in self.tables if table.acl is not None]
        return now + min(seconds) if seconds else FOREVER

    def park(self, address: bytes, attachment: Attachment, frame: bytes, now: float) -> bool:
        """Let a frame wait for a plugin's reply about an address, or about where its gateways are.

        False where no more frames may wait.
        """
        budget = attachment.budget
        if budget is not None:
            if not budget.park(frame, attachment.parked):
                return False
            attachment.parked += len(frame) + PARKED_BYTES
        for table in self.tables:
            if isinstance(table, PluginCache) and table.park(address, attachment, frame):
                return True
        route = self.route_to(address, now) if self.elsewhere is not None else None
        if isinstance(route, tuple) and self.elsewhere is not None:
            for name in route[0].names:
                if self.elsewhere.park(name, attachment, frame):
                    return True
        attachment.unpark(frame)
        return False

    def join(self, attachment: Attachment, now: float) -> None:
        """Add an attachment under its host name, when its session begins."""
        attachment.since = now
        if self.gateways.join(attachment, now) and len(self.gateways) > 1 and self._may_be_preferred():
            self._turns += 1  # what goes to its stand-in now may come back to it
            gateway = self.gateways.here[attachment.host]
            if gateway.back_at == now:
                for table in self.tables:
                    self._settling.note(now + table.hold_down)

    def _may_be_preferred(self) -> bool:
        return any(isinstance(table, RouteTable) and table.has_alternatives for table in self.tables)

    def leave(self, attachment: Attachment) -> None:
        """Remove an attachment when its session ends; its flows go elsewhere, its counts go to `gone`."""
        attachment.live = attachment.is_here = False
        attachment.forget()
        self.gateways.leave(attachment)
        self.gone.add(attachment.traffic)

    def release(self, attachment: Attachment) -> None:
        """Let flows go to newer sessions of its host; only what comes from other hubs may go to it still."""
        attachment.live = attachment.is_here = False
        attachment.forget()
        self.gateways.release(attachment)

    def attachments(self) -> list[Attachment]:
        """All attachments, those of one host together."""
        return list(self.gateways.attachments())

    def rivals(self, attachment: Attachment) -> list[Attachment]:
        """Older attachments of the same host and client instance, which a new one replaces."""
        return [one for one in self.others(attachment) if ids.is_same(one.instance, attachment.instance)]

    def sessions_of(self, host: str) -> list[Attachment]:
        """The attachments of a host, one for each of its sessions."""
        gateway = self.gateways.get(host)
        return list(gateway.attachments) if gateway else []

    def others(self, attachment: Attachment) -> list[Attachment]:
        """The other attachments of the same host."""
        return [other for other in self.sessions_of(attachment.host) if other is not attachment]

    @property
    def has_acl(self) -> bool:
        """Whether any of its tables has an access list."""
        return any(table.acl is not None for table in self.tables)

    def permits(self, acl: Acl, host: str, headers: Headers, target: str, now: float) -> bool:
        """Whether an access list allows a packet between two hosts, by a rule or as part of a connection."""
        if self.connections.belongs(headers, now):
            return True
        number = acl.match(host, headers.packet, target, headers.extensions)
        acl.hits[number] += 1
        if not acl.allows(number):
            return False
        self.connections.note(headers, acl, host, now)
        self._admit_replies(target, headers.packet)
        return True

    def may_pass_router_error(self, host: str, now: float) -> bool:
        """Whether one more ICMP error of a router behind a host may pass; if so, it is counted."""
        gateway = self.gateways.get(host) or self.known_elsewhere(host)
        return gateway is None or gateway.router_errors.spend(now)

    def _admit_replies(self, host: str, packet: Packet) -> None:
        """A host may reply to a packet from now on, though the same flow may just have been denied to it."""
        gateway = self.gateways.get(host)
        if gateway is not None:
            for attachment in gateway.attachments:
                if attachment.denied:
                    attachment.denied.pop(bytes((packet.protocol,)) + reversed_flow(packet.flow), None)

    def note_lost(self, destination: bytes, reason: Reason, count: int, now: float) -> None:
        """Remember a drop by where it was to go."""
        lost = self.lost.get(destination)
        if lost is None:
            lost = Lost()
        self.lost.renew(destination, lost)
        lost.reasons[reason] += count
        lost.last = now
