"""Path MTU of a datagram channel, found by probes of several sizes at once (RFC 8899).

Knows: which sizes are probed when, what an answer or a silence means, when the path has shrunk.
Refuses to know: what a probe looks like (datagram_wire), how it is sent (datagram_peer), clocks (`now` comes
in, in seconds of a steady clock).

    base ──── answered ──── search ──── nothing is left to try ──── confirmed
      │                        ▲                                        │
    no answer: no channel      └──── RAISE_SECONDS, while it is used ───┤
      ▲                                                                 │
      └──────────────── no probe of that size is answered (black hole) ─┘

Sizes of packets are those of the whole IP packet; those of datagrams are without IP and UDP headers. ICMP's
"fragmentation needed" is not believed, as anybody may send it. What this host refuses (EMSGSIZE) only says
where to look first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

BASE = 1280
"""The packet that must pass, else there is no channel: IPv6's least MTU (RFC 8899, 5.1.2)."""
MOST = 1500
"""The largest packet that is tried, unless the tunnel's own packets may be longer."""
USUAL = (
    *(1300, 1350, 1380, 1400, 1420, 1440, 1452, 1460, 1472, 1480, 1492, 1500),
    *(2000, 4000, 8900, 9000),
)
"""Path MTUs that are met often: below tunnels, PPPoE and DSL; Ethernet, and with jumbo frames."""
GRAIN = 8
"""The search ends once the path MTU is known to so many bytes."""
PARTS = 5
"""Sizes that are tried at once where no usual one is left between what passes and what does not."""
AT_ONCE = 8
"""Most probes of one round."""
MAX_PROBES = 3
"""A size fails once so many probes of it in a row were not answered (RFC 8899, 5.1.2)."""
LEAST_TIMEOUT, RTT_TIMEOUT = 0.2, 3.0
"""Seconds, and round-trip times, after which a probe is not answered."""
FIRST_RTT = 0.3
"""The round-trip time until one is known."""
CONFIRM_SECONDS = 0.5
"""How often the size is confirmed while large datagrams are sent: a hole is found within a second or so."""
RAISE_SECONDS = 600.0
"""How long after a search a larger size is tried again (RFC 8899, 5.1.1)."""
IPV4_HEADERS, IPV6_HEADERS = 28, 48
"""Bytes of IP and UDP headers."""


class State(Enum):
    """Where the search is."""

    BASE = "base"
    SEARCH = "search"
    CONFIRMED = "confirmed"
    NONE = "none"
    """Not even the base passes."""


class MtuProbe(NamedTuple):
    """A probe that is to be sent now."""

    number: int
    """By which answered() knows it."""
    size: int
    """Bytes of the datagram, without IP and UDP headers."""


class _Out(NamedTuple):
    size: int
    at: float


@dataclass(slots=True, eq=False)
class PathMtu:
    """The search on one path, for one direction."""

    headers: int = IPV4_HEADERS
    """Bytes of IP and UDP headers in each packet."""
    most: int = MOST
    """The largest packet that is of use."""
    rtt: float = FIRST_RTT
    """The round-trip time, in seconds; whoever measures it sets it."""
    state: State = State.BASE
    mtu: int = 0
    """The largest packet that is known to pass; 0 while none is."""
    _fails: int = 0
    """The smallest packet that is known not to pass; 0 before begin."""
    _out: dict[int, _Out] = field(default_factory=dict)
    """Probes that are not answered yet, by number."""
    _silent: dict[int, int] = field(default_factory=dict)
    """Packet size -> how many probes of it in a row were not answered."""
    _numbers: int = 0
    _confirmed_at: float = -math.inf
    _raise_at: float = math.inf
    _used: bool = False
    """Whether datagrams over the base were sent since the size was confirmed."""

    def __post_init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Begin anew: on another path, or where nothing passed and it is time for another try."""
        self.state, self.mtu, self._fails = State.BASE, 0, max(self.most, BASE) + 1
        self._out.clear()
        self._silent.clear()
        self._used = False

    @property
    def size(self) -> int:
        """Bytes of the largest datagram that is known to pass; 0 while none is."""
        return max(0, self.mtu - self.headers)

    def due(self, now: float) -> list[MtuProbe]:
        """The probes to send now. Call it again some times a second, and after answered()."""
        self._expire(now)
        if self._out:
            return []
        if self.state is State.BASE:
            return self._probes([BASE], now)
        if self.state is State.SEARCH:
            if sizes := self._next_sizes():
                return self._probes(sizes, now)
            self.state, self._raise_at = State.CONFIRMED, now + RAISE_SECONDS
        if self.state is State.CONFIRMED and self._used:
            if now >= self._raise_at:
                self._fails = max(self.most, BASE) + 1
                self._silent.clear()
                self.state = State.SEARCH
                return self.due(now)
            if self._silent.get(self.mtu) or now - self._confirmed_at >= CONFIRM_SECONDS:
                self._used = False
                return self._probes([self.mtu], now)
        return []

    def sent(self, size: int) -> None:
        """Note that a datagram of this size was sent: only what is used is confirmed again and again."""
        if size > BASE - self.headers:
            self._used = True

    def answered(self, number: int, now: float) -> None:
        """A probe was answered."""
        out = self._out.pop(number, None)
        if out is None:
            return
        packet = out.size + self.headers
        self._silent.pop(packet, None)
        if self.state is State.BASE:
            self.state = State.SEARCH
        if packet >= self.mtu:
            self.mtu, self._confirmed_at = packet, now
            self._fails = max(self._fails, packet + 1)

    def refused(self, size: int) -> None:
        """This host refuses a datagram of this size (EMSGSIZE): the path begins with a smaller MTU."""
        packet = size + self.headers
        if BASE < packet < self._fails:
            self._fails = packet
            self._out = {number: out for number, out in self._out.items() if out.size < size}
            if self.mtu >= packet:
                self._fall()

    def fall(self) -> bool:
        """Perhaps what passed passes no more: begin with the base. False where nothing over it is sent."""
        if not self._used or self.mtu <= BASE:
            return False
        self.begin()
        return True

    def _fall(self) -> None:
        """What passed does not pass any more: the base is probed, and then what is between."""
        fails = self._fails
        self.begin()
        self._fails = fails

    @property
    def _timeout(self) -> float:
        return max(LEAST_TIMEOUT, RTT_TIMEOUT * self.rtt)

    def _probes(self, packets: list[int], now: float) -> list[MtuProbe]:
        probes = []
        for packet in packets:
            self._numbers += 1
            probe = MtuProbe(self._numbers, packet - self.headers)
            self._out[probe.number] = _Out(probe.size, now)
            probes.append(probe)
        return probes

    def _next_sizes(self) -> list[int]:
        """The sizes to try next, between what passes and what does not; none where the search is over."""
        low, high = self.mtu, self._fails
        sizes = [size for size in USUAL if low < size < high]
        if high - 1 == self.most > low and self.most not in sizes:
            sizes.append(self.most)
        if sizes:
            # where there are many, a part of them, the largest always: what passes at once needs no more
            step = -(-len(sizes) // AT_ONCE)
            return sizes[::-step][::-1]
        if high - low <= GRAIN:
            return []
        return sorted({low + (high - low) * part // PARTS for part in range(1, PARTS)} - {low})

    def _expire(self, now: float) -> None:
        """Count the probes that were not answered in time; a size fails after some of them."""
        late = [number for number, out in self._out.items() if now - out.at >= self._timeout]
        for number in late:
            packet = self._out.pop(number).size + self.headers
            if packet < self.mtu:
                continue
            self._silent[packet] = self._silent.get(packet, 0) + 1
            if self._silent[packet] < MAX_PROBES:
                continue
            if self.state is State.BASE:
                self.state = State.NONE
                self._out.clear()
                return
            if packet == self.mtu:
                self._fails = packet
                self._fall()
                return
            self._fails = min(self._fails, packet)
