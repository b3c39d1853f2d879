"""Users that open TCP connections through a send queue, to a peer that takes so many packets a second.

Knows: a handshake, a request and its reply, an end; lost packets sent again as Linux does it (RFC 6298); the patience
of users. Refuses to know: sockets and the clock; time is a number that goes from event to event.

    users --- SYN, request, FIN --- SendQueue --- `packets` a second --- half of the way ---> a server
      ^------------------------ its replies, which wait for nothing: half of the way ------------'

Nothing is random: connections come at equal distances.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from statistics import quantiles

from lib.counters import Traffic
from lib.session_queue import SendQueue
from tests.support import packets as p

TRIP = 0.002
"""Seconds to the server and back without any queue."""
PATIENCE = 3.0
"""Seconds after which a user gives a connection up."""
FIRST_AGAIN, AGAIN = 1.0, 0.3
"""Seconds after which SYN, and any other packet, is sent again; then after twice as long, and so on."""
SYN, REQUEST, FIN = "SYN", "request", "FIN"
PACKETS = 5
"""Packets that a connection sends at least: SYN, ACK, request, ACK, FIN."""
_FORMS = {SYN: (p.SYN, b""), REQUEST: (p.ACK | p.PSH, b"hello"), FIN: (p.ACK | p.FIN, b"")}
RUN = 1024
"""Bytes that the peer takes at a time."""


@dataclass(eq=False)
class Connection:
    """One connection; it is served once the reply to its request has come."""

    number: int
    began: float
    acknowledged: set[str] = field(default_factory=set)
    sent: Counter[str] = field(default_factory=Counter)
    at: float = 0.0
    """When SYN was sent the last time."""


@dataclass
class Newcomers:
    """Users, the queue and the peer. `frame` makes the frame of a number (port), flags and a payload."""

    queue: SendQueue
    packets: float
    offered: float
    """Connections a second."""
    frame: Callable[[int, int, bytes], bytes]
    pauses: Iterable[tuple[float, float]] = ()
    """(when, until when) the peer takes nothing."""
    others: Callable[[float], bytes] = lambda now: b""
    """Frames of somebody else that come before each run is taken."""
    served: list[float] = field(default_factory=list)
    """When, one after the other."""
    opened: list[float] = field(default_factory=list)
    """How long the SYNs that the peer took had waited, in s."""
    carried: list[tuple[float, bytes]] = field(default_factory=list)
    """What the peer has taken, and when."""
    traffic: Traffic = field(default_factory=Traffic)
    _events: list[tuple[float, int, Callable[[float], None]]] = field(default_factory=list)
    _count: int = 0
    _number: int = 0
    _all: dict[int, Connection] = field(default_factory=dict)

    def run(self, seconds: float) -> None:
        """Let connections come until so many seconds after the beginning; may be called again."""
        if not self._count:
            self._at(0.0, self._come)
            self._at(0.0, self._serve)
        while self._events and self._events[0][0] < seconds:
            when, _, what = heapq.heappop(self._events)
            what(when)

    def rate(self, since: float, until: float) -> float:
        """Connections a second that were served in that time."""
        return sum(since <= when < until for when in self.served) / (until - since)

    def longest(self) -> float:
        """The 99th percentile of how long a SYN had waited, in s."""
        return quantiles(self.opened, n=100)[-1]

    def _at(self, when: float, what: Callable[[float], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (when, self._count, what))

    # --- users

    def _come(self, now: float) -> None:
        self._number += 1
        one = self._all[1024 + self._number % 60_000] = Connection(self._number, now)
        self._send(one, SYN, now)
        self._at(now + 1 / self.offered, self._come)

    def _send(self, one: Connection, what: str, now: float) -> None:
        """Send a packet, and again until it is acknowledged or the user gives up."""
        if what in one.acknowledged or now - one.began >= PATIENCE:
            return
        tries = one.sent[what]
        one.sent[what] += 1
        if what == SYN:
            one.at = now
        again = (FIRST_AGAIN if what == SYN else AGAIN) * 2**tries
        self._at(now + again, partial(self._send, one, what))
        port = 1024 + one.number % 60_000
        flags, payload = _FORMS[what]
        if what != SYN and not tries:
            self.queue.push(self.frame(port, p.ACK, b""), now, self.traffic)
        self.queue.push(self.frame(port, flags, payload), now, self.traffic)

    # --- the peer and the server

    def _serve(self, now: float) -> None:
        for since, until in self.pauses:
            if since <= now < until:
                self._at(until, self._serve)
                return
        if frames := self.others(now):
            self.queue.push(frames, now, self.traffic)
        run = self.queue.pop(now, self.traffic, RUN)
        contents = p.contents(run)
        spent = now + max(1, len(contents)) / self.packets
        if run:
            self.carried.append((now, run))
        for content in contents:
            self._at(spent + TRIP, partial(self._reply, content[10:] if content[0] < 16 else content))
        self._at(spent, self._serve)

    def _reply(self, packet: bytes, now: float) -> None:
        """The server's reply to a packet has come to its user."""
        at = p.transport_at(packet)
        one = self._all.get(int.from_bytes(packet[at : at + 2], "big"))
        if p.protocol_of(packet) != p.TCP or one is None:
            return
        flags = packet[at + 13]
        what = SYN if flags == p.SYN else FIN if flags & p.FIN else REQUEST if flags & p.PSH else ""
        if not what or what in one.acknowledged:
            return
        if what == SYN:
            self.opened.append(now - TRIP - one.at)
        if now - one.began >= PATIENCE or (what == REQUEST and SYN not in one.acknowledged):
            return
        one.acknowledged.add(what)
        if what == SYN:
            self._send(one, REQUEST, now)
        elif what == REQUEST:
            self.served.append(now)
            self._send(one, FIN, now)
