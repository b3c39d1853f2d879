"""Namespaces: which hosts live there, and which of them a packet may go to.

Knows: sessions (attachments), the order in which tables are asked, what makes a decision outdated.
Refuses to know: frames (forward), sockets (session_sender), how a plugin is asked (plugin_client), who of
several gateways gets a flow (route_gateways).

Nothing is looked up outside one Namespace object, so nothing can leak between two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from lib.acl import Acl
from lib.acl_connections import REFRESH_SECONDS, ConnectionTable, FragmentTable
from lib.counters import Traffic
from lib.forward_drop_reasons import Reason
from lib.packet_headers import Headers
from lib.route_gateways import Gateways
from lib.route_plugin_cache import PluginCache, Unresolved
from lib.route_table import Group, RouteTable

ICMP_ERRORS_PER_SECOND = 100.0
ICMP_ERROR_BURST = 50.0
"""ICMP messages to one session, as Linux limits its own (icmp_msgs_per_sec is 1,000 a host)."""
MAX_LOST = 1024
"""Destinations of a namespace whose last drops are remembered."""

FOREVER = float("inf")


@dataclass(slots=True, eq=False)
class Attachment:
    """A host's place in a namespace: one session as forwarding sees it, with its counters and flows."""

    namespace: Namespace
    host: str
    peer: str
    """Its far address, for people."""
    offloads: int = 0
    """What the peer receives: offload bits, 0 for single complete packets only (GOST)."""
    is_tunrouter: bool = False
    """Whether the peer has said HELLO, and so may send virtio-net headers."""
    mtu: int = 0
    """Largest single packet the peer takes, bytes."""
    live: bool = True
    instance: bytes = b""
    since: float = 0.0
    """When it went live."""
    flows: dict[bytes, Attachment] = field(default_factory=dict)
    """flow -> where it goes: what forwarding remembers of this attachment's packets, except UDP's."""
    udp_flows: dict[bytes, Attachment] = field(default_factory=dict)
    """The same of UDP, whose ports are not TCP's."""
    generation: int = -1
    """The generation of the namespace that `flows` belongs to."""
    fresh_until: float = FOREVER
    """When the first plugin reply behind `flows` runs out."""
    traffic: Traffic = field(default_factory=Traffic)
    sender: Any = None
    """The session's way out, hung here by the IO layer."""
    icmp_error_tokens: float = ICMP_ERROR_BURST
    icmp_error_at: float = 0.0

    def forget(self) -> None:
        """Forget what its packets were allowed: each flow is asked for anew."""
        self.flows.clear()
        self.udp_flows.clear()

    def drop(
        self, reason: Reason, count: int = 1, detail: str = "", head: bytes = b"", now: float = 0.0
    ) -> None:
        """Count packets lost on the way in from, or out to, this session."""
        self.traffic.drop(reason, count, detail, head, now)

    def may_send_icmp_error(self, now: float) -> bool:
        """Whether one more ICMP error may go back to this session (token bucket)."""
        refill = max(0.0, now - self.icmp_error_at) * ICMP_ERRORS_PER_SECOND
        self.icmp_error_tokens = min(ICMP_ERROR_BURST, self.icmp_error_tokens + refill)
        self.icmp_error_at = now
        if self.icmp_error_tokens < 1:
            return False
        self.icmp_error_tokens -= 1
        return True


Table = RouteTable | PluginCache[Attachment]
"""What can be asked for a route."""


@dataclass(slots=True)
class Lost:
    """What was dropped on its way to one destination, and when last."""

    reasons: Counter[Reason] = field(default_factory=Counter)
    last: float = 0.0


@dataclass(slots=True, eq=False)
class Namespace:
    """Hosts that can reach each other, and the tables that say how."""

    id: bytes
    table: Table
    """The table named by this namespace's UUID; empty where there is none."""
    default: Table
    """Asked where `table` has no route: the handler's `router:`."""
    source_check: bool = True
    gateways: Gateways[Attachment] = field(default_factory=Gateways)
    lost: dict[bytes, Lost] = field(default_factory=dict)
    """Destination -> its last drops; the longest ago first."""
    gone: Traffic = field(default_factory=Traffic)
    """The counts of sessions that have ended."""
    connections: ConnectionTable = field(default_factory=ConnectionTable)
    """What access lists have let through."""
    fragments: FragmentTable = field(default_factory=FragmentTable)
    """The datagrams of which fragments may follow."""
    _turns: int = 0
    """How often something other than a table's routes made decisions outdated."""
    _settling: list[float] = field(default_factory=list)
    """When hosts that came back are preferred again."""

    def generation(self, now: float) -> int:
        """Moves when a decision might come out otherwise: what was remembered no longer counts."""
        if self._settling and now >= min(self._settling):
            self._settling = [at for at in self._settling if at > now]
            self._turns += 1
        return self._turns + self.table.changes + self.default.changes

    @property
    def tables(self) -> tuple[Table, Table]:
        """Its tables in the order they are asked; a shorter prefix of the first beats all of the second."""
        return self.table, self.default

    def replace_tables(self, table: Table, default: Table, source_check: bool) -> None:
        """Route by other tables from now on."""
        if (table, default, source_check) != (self.table, self.default, self.source_check):
            self._turns += self.table.changes + self.default.changes + 1  # never the same number again
            self.table, self.default, self.source_check = table, default, source_check

    def route_to(self, address: bytes, now: float) -> tuple[Group, Table] | Unresolved | None:
        """The gateways of the longest match, and the table that has it; None where no table has a route."""
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
        """Whether a host is a gateway for an address, be it the stand-in of a route that falls through."""
        if host in group.names:
            return True
        return group.fall_through and any(host in other.names for other in falls_to(table, address))

    def choose(
        self, group: Group, table: Table, address: bytes, flow: bytes, now: float
    ) -> Attachment | None:
        """The session that takes a flow; None where no gateway that may carry it lives."""
        hold_down = table.hold_down
        attachment = self.gateways.choose(group, flow, hold_down, now)
        if attachment is None and group.fall_through:
            for other in falls_to(table, address):
                attachment = self.gateways.choose(other, flow, hold_down, now)
                if attachment is not None:
                    return attachment
        return attachment

    def fresh_until(self, now: float) -> float:
        """Until when what is decided now may be remembered."""
        seconds = [table.seconds for table in self.tables if isinstance(table, PluginCache)]
        seconds += [REFRESH_SECONDS for table in self.tables if table.acl is not None]
        return now + min(seconds) if seconds else FOREVER

    def park(self, address: bytes, attachment: Attachment, frame: bytes) -> bool:
        """Let a frame wait for the route to an address; False where it cannot."""
        return any(
            isinstance(table, PluginCache) and table.park(address, attachment, frame) for table in self.tables
        )

    def join(self, attachment: Attachment, now: float) -> None:
        """A session goes live under its host name."""
        attachment.since = now
        if self.gateways.join(attachment, now) and len(self.gateways) > 1 and self._may_be_preferred():
            self._turns += 1  # what goes to its stand-in now may come back to it
            gateway = self.gateways.here[attachment.host]
            if gateway.back_at == now:
                self._settling += [now + table.hold_down for table in self.tables]

    def _may_be_preferred(self) -> bool:
        return any(isinstance(table, RouteTable) and table.has_alternatives for table in self.tables)

    def leave(self, attachment: Attachment) -> None:
        """A session ends: its flows are free to go elsewhere, its counts stay."""
        attachment.live = False
        attachment.forget()
        self.gateways.leave(attachment)
        self.gone.add(attachment.traffic)

    def attachments(self) -> list[Attachment]:
        """Every live session."""
        return list(self.gateways.attachments())

    def rivals(self, attachment: Attachment) -> list[Attachment]:
        """Older sessions of the same host and the same instance, which a new one replaces."""
        return [
            other
            for other in self.others(attachment)
            if other.instance and other.instance == attachment.instance
        ]

    def sessions_of(self, host: str) -> list[Attachment]:
        """The live sessions under a host name."""
        gateway = self.gateways.get(host)
        return list(gateway.attachments) if gateway else []

    def others(self, attachment: Attachment) -> list[Attachment]:
        """The other live sessions under a session's host name."""
        return [other for other in self.sessions_of(attachment.host) if other is not attachment]

    @property
    def has_acl(self) -> bool:
        """Whether any of its tables has an access list."""
        return any(table.acl is not None for table in self.tables)

    def permits(self, acl: Acl, host: str, headers: Headers, target: str, now: float) -> bool:
        """Whether an access list, or a connection it has let through, allows a packet between two hosts."""
        if self.connections.belongs(headers, now):
            return True
        number = acl.match(host, headers.packet, target, headers.extensions)
        acl.hits[number] += 1
        if not acl.allows(number):
            return False
        self.connections.note(headers, acl, host, now)
        return True

    def note_lost(self, destination: bytes, reason: Reason, count: int, now: float) -> None:
        """Remember a drop by where it was to go."""
        lost = self.lost.pop(destination, None)
        if lost is None:
            lost = Lost()
            if len(self.lost) >= MAX_LOST:
                del self.lost[next(iter(self.lost))]
        lost.reasons[reason] += count
        lost.last = now
        self.lost[destination] = lost


def falls_to(table: Table, address: bytes) -> Iterator[Group]:
    """The groups of shorter and shorter prefixes, as far as each route lets its packets fall through."""
    if isinstance(table, RouteTable):
        routes = table.matches(address)
        for longer, shorter in pairwise(routes):
            if not longer.group.fall_through:
                return
            yield shorter.group
