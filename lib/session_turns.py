"""Turns of the flows in a session's queue: deficit round robin over hosts, and in a host over its flows.

Knows: which flow's turn it is, and how many bytes a host and a flow may send in it.
Refuses to know: what waits in a flow, and when it is sent or dropped (session_queue).

    new       flows that had nothing waiting before, of any host: all of them are served before the old ones
    openings  new flows of packets that open connections (session_chunks), one of each host: after those
    old       hosts, in the order of their turns, each with its old flows in the order of theirs

A host is a source address. All hosts get as much, however many flows each has (Shreedhar and Varghese 1995,
on two levels). A flow is sparse while it is new. It becomes old (bulk) once it has sent the bytes of a turn,
or was empty at its turn while others waited (RFC 8290, 4.2). What new flows send is taken from their host's
turn too, and where that was much, its new flows are as old ones: nobody wins by many short flows.

A packet that opens a connection makes more work. Where there is too much, the work that was begun has to be
done first, or hardly any connection comes to an end. So openings wait for all other new flows, and where they
are too many, they are one old flow of many.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from lib.session_budget import BySize
from lib.session_codel import Codel

QUANTUM = 16 << 10
"""Bytes that a host, and one of its flows, may send in a turn. A superpacket of 64 KB takes the bytes of the
turns that follow."""
SPARSE_TURNS = 8
"""What a host's new flows may send before it has had turns for it: as much as in so many of them."""
_FLOW_UNIT = 10  # bits: flows that hold less than 1 KB are all alike


@dataclass(slots=True, eq=False)
class Host:
    """A source address with flows in the queue."""

    key: bytes
    credit: int
    """Bytes that its old flows may send in this turn."""
    sparse: int
    """Bytes that its new flows may send until it has had turns for what they have sent."""
    flows: deque[Flow] = field(default_factory=deque)
    """Its old flows, in the order of their turns."""
    count: int = 0
    """How many flows it has, the new ones included."""


@dataclass(slots=True, eq=False)
class Flow:
    """The chunks of one flow that wait, each as (time it came, frames, packets they stand for)."""

    key: int
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
    flows: dict[int, Flow] = field(default_factory=dict)
    """The flows with chunks that wait, and those that became empty and whose next turn has not come yet."""
    hosts: dict[bytes, Host] = field(default_factory=dict)
    """The hosts that have a flow."""
    new: deque[Flow] = field(default_factory=deque)
    openings: deque[Flow] = field(default_factory=deque)
    old: deque[Host] = field(default_factory=deque)
    """Hosts that have old flows."""
    by_size: BySize[Flow] = field(default_factory=lambda: BySize(_FLOW_UNIT))

    def begin(self, key: int, source: bytes, first: bool = False, opens: bool = False) -> Flow:
        """Make a flow of a host. It goes before old ones; `first` before all, `opens` behind the new ones."""
        host = self.hosts.get(source)
        if host is None:
            host = self.hosts[source] = Host(source, self.quantum, SPARSE_TURNS * self.quantum)
        host.count += 1
        flow = self.flows[key] = Flow(key, host, True, self.quantum, opens)
        if first:
            self.new.appendleft(flow)
        else:
            self._line(flow).append(flow)
        return flow

    def whose(self) -> Flow | None:
        """The flow whose turn it is; it may be empty or without credit. None where there is no flow."""
        while self.new:
            flow = self.new[0]
            if flow.host.sparse > 0:
                return flow
            self._pass(flow)
        while self.openings:
            flow = self.openings[0]
            if flow.host.sparse > 0:
                return flow
            self._pass(flow)
        old = self.old
        while old:
            host = old[0]
            if host.credit > 0:
                return host.flows[0]
            # Its turn is over, and it gets the credit of the next one now. After a superpacket of 64 KB that
            # is still below zero, so its next turns only pay the debt. Where no other host waits, there is
            # nobody to whom it owes anything.
            host.credit = self.quantum if len(old) == 1 else host.credit + self.quantum
            if host.credit > 0:
                host.sparse = SPARSE_TURNS * self.quantum
            if len(old) > 1:
                old.rotate(-1)
        return None

    def spend(self, flow: Flow, size: int) -> None:
        """Take what a flow sends from its turn and its host's."""
        flow.credit -= size
        flow.host.credit -= size
        if flow.is_new:
            flow.host.sparse -= size

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
        if flow.is_new and self.old and flow.key >= 0 and not flow.opens:
            self._pass(flow)
            return False
        return True

    def end(self, flow: Flow) -> None:
        """Forget an empty flow, and its host where it was the last one."""
        host = flow.host
        _take(self._line(flow) if flow.is_new else host.flows, flow)
        if not flow.is_new and not host.flows:
            _take(self.old, host)
        host.count -= 1
        if not host.count:
            del self.hosts[host.key]
        del self.flows[flow.key]
        self.by_size.remove(flow)

    def clear(self) -> None:
        """Forget all flows."""
        self.flows, self.hosts, self.by_size = {}, {}, BySize(_FLOW_UNIT)
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
        if not flow.host.flows:
            self.old.append(flow.host)
        flow.host.flows.append(flow)


def _take(turns: deque[Flow] | deque[Host], one: Flow | Host) -> None:
    # It is mostly the first one, whose turn it is. A flow that became empty by a drop may be anywhere.
    if turns[0] is one:
        turns.popleft()
    else:
        turns.remove(one)  # type: ignore[arg-type]
