"""Turns of the flows in a session's queue: deficit round robin over tenants, over hosts, and over flows.

Knows: which flow's turn it is, and how many bytes a tenant, a host and a flow may send in it.
Refuses to know: what waits in a flow, and when it is sent or dropped (session_queue).

    new       flows that had nothing waiting before, of any host: all of them are served before the old ones
    openings  new flows of packets that open connections (session_chunks), one of each host: after those
    old       tenants, in the order of their turns, each with its hosts, each of these with its old flows

A host is a source address, and a tenant a namespace: by a link between two hubs come those of several. In the
queue of a session all hosts are of one tenant. All tenants get as much, in each of them all hosts, however
many flows a host has (Shreedhar and Varghese 1995, on three levels).

A flow is sparse while it is new. It becomes old (bulk) once it has sent the bytes of a turn, or was empty at
its turn while others waited (RFC 8290, 4.2). What new flows send is taken from their host's turn too, and
where that was much, its new flows are as old ones: nobody wins by many short flows. The same holds for a
tenant where there are others.

A packet that opens a connection makes more work. Where there is too much, the work that was begun has to be
done first, or hardly any connection comes to an end. So openings wait for all other new flows, and where they
are too many, they are one old flow of many.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TypeVar

from lib.session_budget import BySize
from lib.session_codel import Codel

QUANTUM = 16 << 10
"""Bytes that a host, and one of its flows, may send in a turn. A superpacket of 64 KB takes the bytes of the
turns that follow."""
SPARSE_TURNS, SPARSE_HOSTS = 8, 2
"""What a host's new flows may send before it has had turns for it: as much as in so many of them. Where there
are more hosts than SPARSE_HOSTS, they have together what so many may: all others wait for that."""
_FLOW_UNIT = 10  # bits: flows, hosts and tenants that hold less than 1 KB are all alike
_One = TypeVar("_One")
_Sharer = TypeVar("_Sharer", "Tenant", "Host")
Key = tuple[bytes, int]
"""What a flow is known by in a queue: its host, and its bucket (session_chunks). So no host, however many
flows it has, has one in the same place as another host."""


@dataclass(slots=True, eq=False)
class Tenant:
    """A namespace with hosts that have flows in the queue."""

    key: bytes
    credit: int
    """Bytes that its hosts' old flows may send in this turn, where there are other tenants."""
    sparse: int
    """As a host's, for all of its hosts together."""
    hosts: deque[Host] = field(default_factory=deque)
    """Its hosts that have old flows, in the order of their turns."""
    count: int = 0
    """How many hosts it has."""
    held: int = 0
    """Bytes of its hosts' chunks."""
    rank: int = -1
    high: int = 0
    by_size: BySize[Host] = field(default_factory=lambda: BySize(_FLOW_UNIT))


@dataclass(slots=True, eq=False)
class Host:
    """A source address with flows in the queue."""

    key: bytes
    tenant: Tenant
    credit: int
    """Bytes that its old flows may send in this turn."""
    sparse: int
    """Bytes that its new flows may send until it has had turns for what they have sent."""
    flows: deque[Flow] = field(default_factory=deque)
    """Its old flows, in the order of their turns."""
    count: int = 0
    """How many flows it has, the new ones included."""
    held: int = 0
    """Bytes of its flows' chunks."""
    rank: int = -1
    high: int = 0
    by_size: BySize[Flow] = field(default_factory=lambda: BySize(_FLOW_UNIT))


@dataclass(slots=True, eq=False)
class Flow:
    """The chunks of one flow that wait, each as (time it came, frames, packets they stand for)."""

    key: Key
    host: Host
    is_new: bool
    credit: int
    opens: bool = False
    """Whether it is the openings of its host."""
    chunks: deque[tuple[float, bytes, int]] = field(default_factory=deque)
    held: int = 0
    """Bytes of its chunks."""
    codel: Codel | None = None
    """Whether and when its packets are dropped or marked; None while none of them has waited too long."""
    rank: int = -1
    high: int = 0


@dataclass(slots=True, eq=False)
class Turns:
    """The flows of a queue, and whose turn it is."""

    quantum: int = QUANTUM
    """Bytes of a turn."""
    flows: dict[Key, Flow] = field(default_factory=dict)
    """The flows with chunks that wait, and those that became empty and whose next turn has not come yet."""
    hosts: dict[bytes, Host] = field(default_factory=dict)
    """The hosts that have a flow."""
    tenants: dict[bytes, Tenant] = field(default_factory=dict)
    """The tenants that have such a host."""
    new: deque[Flow] = field(default_factory=deque)
    openings: deque[Flow] = field(default_factory=deque)
    old: deque[Tenant] = field(default_factory=deque)
    """Tenants with hosts that have old flows."""
    by_size: BySize[Tenant] = field(default_factory=lambda: BySize(_FLOW_UNIT))

    def begin(self, key: Key, tenant: bytes, first: bool = False, opens: bool = False) -> Flow:
        """Make a flow. It goes before old ones; `first` before all, `opens` behind the new ones."""
        source, _ = key
        host = self.hosts.get(source)
        if host is None:
            host = self.hosts[source] = self._host(source, tenant)
        host.count += 1
        flow = self.flows[key] = Flow(key, host, True, self.quantum, opens)
        if first:
            self.new.appendleft(flow)
        else:
            self._line(flow).append(flow)
        return flow

    def _host(self, source: bytes, key: bytes) -> Host:
        tenant = self.tenants.get(key)
        if tenant is None:
            tenant = self.tenants[key] = Tenant(key, self.quantum, SPARSE_TURNS * self.quantum)
        tenant.count += 1
        return Host(source, tenant, self.quantum, SPARSE_TURNS * self.quantum)

    def whose(self) -> Flow | None:
        """The flow whose turn it is; it may be empty or without credit. None where there is no flow."""
        if (self.new or self.openings) and (flow := self._sparse()) is not None:
            return flow
        old = self.old
        if not old:
            return None
        tenant = old[0] if 0 < old[0].credit <= self.quantum else self._next(old)
        hosts = tenant.hosts
        host = hosts[0] if 0 < hosts[0].credit <= self.quantum else self._next(hosts)
        return host.flows[0]

    def _next(self, line: deque[_Sharer]) -> _Sharer:
        """End turns, from that of the first in line on, until one has credit, who is the first then."""
        # Once a turn is over, the credit of the next one is given. After a superpacket of 64 KB that is still
        # below zero, so the next turns only pay the debt. Where nobody else waits, there is nobody to whom
        # anything is owed.
        while (first := line[0]).credit <= 0:
            first.credit = self.quantum if len(line) == 1 else first.credit + self.quantum
            if first.credit > 0:
                first.sparse = SPARSE_TURNS * self.quantum
            if len(line) > 1:
                line.rotate(-1)
        first.credit = min(first.credit, self.quantum)  # turns may have become shorter meanwhile
        return first

    def _sparse(self) -> Flow | None:
        """The new flow whose turn it is; those become old that have had too much. None where none is left."""
        least, alone, full = 0, len(self.tenants) == 1, SPARSE_TURNS * self.quantum
        if (count := len(self.hosts)) > SPARSE_HOSTS:
            least = full - SPARSE_HOSTS * full // count
        for line in (self.new, self.openings):
            while line:
                flow = line[0]
                host = flow.host
                if flow.credit > self.quantum:  # turns have become shorter
                    flow.credit, host.sparse = self.quantum, min(host.sparse, full)
                if host.sparse > least and (alone or host.tenant.sparse > 0):
                    return flow
                self._pass(flow)
        return None

    def hold(self, flow: Flow, size: int) -> None:
        """Count `size` bytes more that a flow holds (less where it is negative)."""
        host = flow.host
        tenant = host.tenant
        flow.held += size
        host.held += size
        tenant.held += size
        if size < 0:
            return
        if flow.held >= flow.high:
            host.by_size.grown(flow)
        if host.held >= host.high:
            tenant.by_size.grown(host)
        if tenant.held >= tenant.high:
            self.by_size.grown(tenant)

    def largest(self) -> Flow | None:
        """One of the largest flows of one of the largest hosts of one of the largest tenants.

        So whoever has very many small flows pays, and not a host with a single one. None where nothing waits.
        """
        tenant = self.by_size.largest()
        host = tenant.by_size.largest() if tenant is not None else None
        return host.by_size.largest() if host is not None else None

    def spend(self, flow: Flow, size: int) -> None:
        """Take what a flow sends from its turn, its host's and its tenant's."""
        host = flow.host
        flow.credit -= size
        host.credit -= size
        if flow.is_new:
            host.sparse -= size
        if len(self.tenants) > 1:  # else it owes nobody anything
            tenant = host.tenant
            tenant.credit -= size
            if flow.is_new:
                tenant.sparse -= size

    def end_turn(self, flow: Flow) -> None:
        """Give a flow whose turn it is the credit of its next one, and put it behind all of its host's."""
        flow.credit += self.quantum
        if flow.is_new and flow.opens:  # they stay new for as much as their host's new flows may send
            self.openings.rotate(-1)
        else:
            self._pass(flow)

    def rest(self, flow: Flow) -> bool:
        """Take an empty flow out of its turn; returns whether it has to end (see `end`)."""
        # A sender that paces its packets has an empty flow after each of them. If the flow ended at once,
        # each packet would begin a new flow, which goes before all old ones, and those would starve. So an
        # empty new flow first stays for one round of the old flows (RFC 8290, 4.2). Control frames always go
        # before all others. Openings are of many connections, each of which is new.
        if flow.is_new and self.old and flow.key[1] >= 0 and not flow.opens:
            self._pass(flow)
            return False
        return True

    def end(self, flow: Flow) -> None:
        """Forget an empty flow, and its host where it was the last one."""
        host, tenant = flow.host, flow.host.tenant
        _take(self._line(flow) if flow.is_new else host.flows, flow)
        if not flow.is_new and not host.flows:
            _take(tenant.hosts, host)
            if not tenant.hosts:
                _take(self.old, tenant)
        del self.flows[flow.key]
        host.by_size.remove(flow)
        host.count -= 1
        if not host.count:
            del self.hosts[host.key]
            tenant.by_size.remove(host)
            tenant.count -= 1
            if not tenant.count:
                del self.tenants[tenant.key]
                self.by_size.remove(tenant)

    def clear(self) -> None:
        """Forget all flows."""
        self.flows, self.hosts, self.tenants, self.by_size = {}, {}, {}, BySize(_FLOW_UNIT)
        self.new.clear()
        self.openings.clear()
        self.old.clear()

    def _line(self, flow: Flow) -> deque[Flow]:
        """Where a new flow waits for its turn."""
        return self.openings if flow.opens else self.new

    def _pass(self, flow: Flow) -> None:
        if flow.is_new:
            self._line(flow).popleft()
            flow.is_new = False
            self._enter(flow)
        else:
            flow.host.flows.rotate(-1)

    def _enter(self, flow: Flow) -> None:
        host, tenant = flow.host, flow.host.tenant
        if not host.flows:
            if not tenant.hosts:
                self.old.append(tenant)
            tenant.hosts.append(host)
        host.flows.append(flow)


def _take(turns: deque[_One], one: _One) -> None:
    # It is mostly the first one, whose turn it is. A flow that became empty by a drop may be anywhere.
    if turns[0] is one:
        turns.popleft()
    else:
        turns.remove(one)
