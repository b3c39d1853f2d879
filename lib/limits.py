"""Rate and connection limits of a hub: token buckets and counts by address, host and namespace.

Knows: token buckets that may go into debt (after RFC 2697), which sessions share a bucket, which limits apply
to a session.
Refuses to know: clocks (`now` comes in, in seconds of a steady clock), GOST's notation (config_limits),
sockets.

Traffic above its rate is delayed, not dropped: the hub reads that client later, or drains its queue later.
What a full queue cannot hold is dropped there, under the queue's own reason. Connections and handshakes above
their limit are refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_address, ip_network
from weakref import WeakValueDictionary

from lib.addresses import host_of, without_zone
from lib.bounded_dict import BoundedDict
from lib.forward_drop_reasons import Refusal
from lib.hub_proxies import is_trusted
from lib.prefixes import PrefixSet, covers, packed
from lib.settings_limits import CountLimit, HubLimits, Rate, RateLimit

BURST_SECONDS = 0.1
"""A bucket holds what its rate is in this time, so much may pass at once after a pause."""
MIN_BURST = {"bytes": 128 << 10, "packets": 64}
"""Least size of a bucket: two superpackets. With less, each superpacket would wait for the bucket."""
SLICE_SECONDS, MIN_SLICE, LEAST_PACKET = 0.25, 4096, 64
"""For Meter.slice: seconds of traffic, least bytes, and the bytes that a packet has at least."""
MAX_ADDRESSES = 65536
"""Addresses whose handshakes are counted; past that the oldest one is forgotten."""
MAX_UNNAMED = 1024
"""Connections of one trusted proxy at a time whose clients are neither named nor let in yet."""


@dataclass(slots=True, eq=False, weakref_slot=True)
class Bucket:
    """A token bucket that may go into debt. `rate` is tokens a second, `burst` the most it saves up.

    The debt, not the next packet, is what is waited for: so a packet larger than the bucket passes too.
    """

    rate: float
    burst: float
    tokens: float = 0.0
    at: float = 0.0

    def __post_init__(self) -> None:
        self.tokens = self.burst

    def take(self, amount: float, now: float) -> None:
        """Take `amount` tokens (bytes or packets) out, more than there are if need be."""
        # Each turn of a session does this several times, so it does without min() and max().
        if now > self.at:
            self.tokens += (now - self.at) * self.rate
            if self.tokens > self.burst:
                self.tokens = self.burst
        self.tokens -= amount
        self.at = now

    def spend(self, now: float) -> bool:
        """Take one token out, where there is a whole one; returns whether there was."""
        self.take(1, now)
        if self.tokens < 0:
            self.take(-1, now)
            return False
        return True

    def wait(self, now: float) -> float:
        """Seconds until the debt is paid; 0 while there is none."""
        return max(0.0, -self.tokens / self.rate - (now - self.at))


class Meter:
    """All buckets that limit one session in one direction. False in a condition where there are none."""

    __slots__ = ("_all", "_bytes", "_packets", "counts_packets")

    def __init__(self, bytes_: Iterable[Bucket], packets: Iterable[Bucket]) -> None:
        self._bytes, self._packets = tuple(bytes_), tuple(packets)
        self._all = self._bytes + self._packets
        self.counts_packets = bool(self._packets)

    @property
    def slice(self) -> int:
        """Most bytes to let pass at a time: 0.25 s of the slowest bucket.

        A larger run would be followed by a pause so long that the far end seems dead.
        """
        rates = [bucket.rate for bucket in self._bytes]
        rates += [bucket.rate * LEAST_PACKET for bucket in self._packets]
        return max(MIN_SLICE, int(min(rates, default=float(1 << 30)) * SLICE_SECONDS))

    def __bool__(self) -> bool:
        return bool(self._all)

    def take_bytes(self, size: int, now: float) -> None:
        """Count `size` bytes that have passed."""
        for bucket in self._bytes:
            bucket.take(size, now)

    def take_packets(self, packets: int, now: float) -> None:
        """Count packets that have passed."""
        for bucket in self._packets:
            bucket.take(packets, now)

    def wait(self, now: float) -> float:
        """Seconds until every bucket's debt is paid and more may pass."""
        longest = 0.0
        for bucket in self._all:
            if bucket.tokens < 0 and (delay := bucket.wait(now)) > longest:
                longest = delay
        return longest


def stranger(peer: str) -> str:
    """The network that counts as one stranger, for a peer as `address:port`: an IPv4 address or an IPv6 /64.

    The owner of a /64 has as many addresses as they like, and would else get a share for each of them.
    """
    address = without_zone(host_of(peer))
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if found.version == 4:
        return str(found)
    return str(found.ipv4_mapped or ip_network((int(found) >> 64 << 64, 64)))


@dataclass(slots=True, eq=False)
class Visit:
    """One connection, as a gate counts it."""

    address: str
    """The IP address that it is counted under: a proxy's, until that has named its client."""
    keys: list[str] = field(default_factory=list)
    """What it was counted under: settings may be others when it leaves."""
    paid: list[Bucket] = field(default_factory=list)
    """The buckets from which its handshake was taken."""
    owes: Refusal | None = None
    """Why it may only stay if it is a lane: there was no room for one more."""
    lent: str | None = None
    """The address whose lanes that are on their way it counts as one of."""
    number: int = 0
    """What it is called where it is counted elsewhere."""


@dataclass(slots=True, eq=False)
class Gate:
    """The limits of one hub service, with the counts and buckets that they need.

    A trusted proxy's own address has no limits by address: its clients have, once it has named them.
    """

    settings: HubLimits
    trusted: PrefixSet = field(default_factory=PrefixSet)
    """Prefixes of trusted proxies."""
    expected: Callable[[str, float], int] = lambda address, now: 0
    """How many lanes of sessions may be on their way from an address at a moment; "" for all addresses."""
    elsewhere: Callable[[Visit, str], Refusal | None] = lambda visit, address: None
    """Has another process count it, too, as rename(), which may wait; without an address as settle()."""
    _lent: Counter[str] = field(default_factory=Counter)
    _buckets: WeakValueDictionary[tuple[object, ...], Bucket] = field(default_factory=WeakValueDictionary)
    """The buckets of live sessions. Sessions that share a bucket have the same key; it goes with the last."""
    _connections: Counter[str] = field(default_factory=Counter)
    _handshakes: BoundedDict[str, Bucket] = field(default_factory=lambda: BoundedDict(MAX_ADDRESSES))

    def enter(self, visit: Visit, now: float) -> Refusal | None:
        """Count a new connection. Returns None, or why it is refused.

        For a connection that was not refused, `leave` must be called at its end.
        """
        connections = self._rows(self.settings.connections, visit.address)
        handshakes = self._rows(self.settings.handshakes, visit.address)
        if is_trusted(visit.address, self.trusted):
            connections.append((MAX_UNNAMED, _unnamed(visit)))
        return self._count(visit, connections, handshakes, now)

    def rename(self, visit: Visit, address: str, now: float) -> Refusal | None:
        """Count a connection that has entered under the client's address that its proxy has named.

        Returns None, or why it is refused; `leave` must be called in both cases.
        """
        self._settle(visit)
        visit.address = address
        connections, handshakes = (
            [row for row in self._rows(rows, address) if row[1] != "$"]  # in all it is counted already
            for rows in (self.settings.connections, self.settings.handshakes)
        )
        return self._count(visit, connections, handshakes, now) or self.elsewhere(visit, address)

    def settle(self, visit: Visit) -> None:
        """Note that a client is let in: nobody waits any more for its proxy to name it."""
        if self._settle(visit):
            self.elsewhere(visit, "")

    def _settle(self, visit: Visit) -> bool:
        is_unnamed = _unnamed(visit) in visit.keys
        if is_unnamed:
            visit.keys.remove(_unnamed(visit))
            self._uncount(_unnamed(visit))
        return is_unnamed

    def join(self, visit: Visit, address: str, now: float) -> Refusal | None:
        """Uncount a connection that is a lane of a session from `address`: that is counted already.

        A lane from elsewhere counts as any connection. Returns None, or why it is refused.
        """
        if visit.address != address:
            return visit.owes
        for bucket in visit.paid:
            bucket.take(-1, now)
        visit.paid.clear()
        self.leave(visit)
        return None

    def leave(self, visit: Visit) -> None:
        """Uncount a connection that has entered."""
        if visit.lent is not None:
            self._lent[visit.lent] -= 1
            visit.lent = visit.owes = None
        for key in visit.keys:
            self._uncount(key)
        visit.keys.clear()

    def _rows(self, rows: tuple[CountLimit, ...], address: str) -> list[tuple[float, str]]:
        if is_trusted(address, self.trusted):
            rows = tuple(row for row in rows if row.key == "$")
        return _counted(rows, address)

    def _count(
        self,
        visit: Visit,
        connections: list[tuple[float, str]],
        handshakes: list[tuple[float, str]],
        now: float,
    ) -> Refusal | None:
        refusal = self._refusal(visit, connections, handshakes, now)
        if refusal is not None and not self._lend(visit, refusal, now):
            return refusal
        for _, key in connections:
            self._connections[key] += 1
            visit.keys.append(key)
        return None

    def _lend(self, visit: Visit, refusal: Refusal, now: float) -> bool:
        """Let in a connection that there is no room for, if it may be a lane; what it is will be seen."""
        address = "" if is_trusted(visit.address, self.trusted) else visit.address
        if visit.lent is None:
            if self._lent[address] >= self.expected(address, now):
                return False
            self._lent[address] += 1
            visit.lent = address
        visit.owes = refusal
        return True

    def _refusal(
        self,
        visit: Visit,
        connections: list[tuple[float, str]],
        handshakes: list[tuple[float, str]],
        now: float,
    ) -> Refusal | None:
        """Why there is no room for a connection; None where there is. Then it has paid for its handshake."""
        for limit, key in connections:
            if self._connections[key] >= limit:
                return Refusal.CONNECTIONS
        for limit, key in handshakes:
            bucket = self._handshakes.get(key)
            if bucket is None:
                bucket = Bucket(limit, max(1.0, limit))
                self._handshakes.remember(key, bucket)
            bucket.take(0, now)
            if bucket.tokens < 1:
                return Refusal.RATE
            bucket.take(1, now)
            visit.paid.append(bucket)
        return None

    def _uncount(self, key: str) -> None:
        self._connections[key] -= 1
        if self._connections[key] <= 0:
            del self._connections[key]

    def meters(
        self,
        address: str,
        host: str,
        namespace: bytes,
        session: object,
        asked: Iterable[tuple[tuple[object, ...], RateLimit]] = (),
    ) -> tuple[Meter, Meter]:
        """The meters of a session: (from its client to the hub, from the hub to its client).

        `address` is the client's IP address, `namespace` 16 bytes, `session` any object of its own. `asked`
        has the rates that plugins have said, each with what the sessions that share it have in common.
        """
        rows = [(("asked", *key), row) for key, row in asked]
        services = self.settings.services
        if is_trusted(address, self.trusted):
            services = tuple(row for row in services if row.key in ("$", "$$"))
        rows += [(key, row) for row, key in _by_address(services, address, id(session))]
        rows += [(key, row) for row, key in _by_host(self.settings.hosts, host, namespace)]
        return self._meter(rows, "in", lambda row: row.into), self._meter(rows, "out", lambda row: row.out)

    def _meter(
        self,
        rows: list[tuple[tuple[object, ...], RateLimit]],
        way: str,
        rate_of: Callable[[RateLimit], Rate],
    ) -> Meter:
        bytes_, packets = [], []
        for key, row in rows:
            rate = rate_of(row)
            if rate.bytes:
                bytes_.append(self._bucket((*key, way, "bytes"), rate.bytes))
            if rate.packets:
                packets.append(self._bucket((*key, way, "packets"), rate.packets))
        return Meter(bytes_, packets)

    def _bucket(self, key: tuple[object, ...], rate: float) -> Bucket:
        bucket = self._buckets.get(key)
        if bucket is None or bucket.rate != rate:
            bucket = Bucket(rate, max(rate * BURST_SECONDS, MIN_BURST[str(key[-1])]))
            self._buckets[key] = bucket
        return bucket


def _unnamed(visit: Visit) -> str:
    return f"unnamed {visit.address}"


def _counted(rows: tuple[CountLimit, ...], address: str) -> list[tuple[float, str]]:
    """The limits that apply to an address, each as (limit, key under which it is counted)."""
    found: list[tuple[float, str]] = []
    for row in rows:
        if row.key == "$":
            found.append((row.most, "$"))
        elif row.key == "site":
            if site := _site(address):
                found.append((row.most, site))
        elif row.key == "$$":
            if not any(other.key not in ("$", "$$") and _holds(other.key, address) for other in rows):
                found.append((row.most, address))
        elif _holds(row.key, address):
            found.append((row.most, row.key))
    return found


@lru_cache(maxsize=4096)
def _site(address: str) -> str:
    """An IPv4 address, or the 64 bits of an IPv6 one; empty for this machine itself."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if parsed.is_loopback:
        return ""
    return address if parsed.version == 4 else str(ip_network((parsed, 64), strict=False))


def _by_address(
    rows: tuple[RateLimit, ...], address: str, session: int
) -> list[tuple[RateLimit, tuple[object, ...]]]:
    found: list[tuple[RateLimit, tuple[object, ...]]] = []
    for row in rows:
        if row.key == "$$":
            found.append((row, ("session", session)))
        elif row.key == "$" or _holds(row.key, address):
            found.append((row, ("service", row.key)))
    return found


def _by_host(
    rows: tuple[RateLimit, ...], host: str, namespace: bytes
) -> list[tuple[RateLimit, tuple[object, ...]]]:
    """The rows for a host and for a namespace: for each the row that names it, else the row for all."""
    keyed = {row.key: row for row in rows}
    found: list[tuple[RateLimit, tuple[object, ...]]] = []
    of_namespace = keyed.get(namespace.hex()) or keyed.get("$")
    if of_namespace:
        found.append((of_namespace, ("namespace", namespace)))
    of_host = keyed.get(f"host {host}") or keyed.get("$$")
    if of_host:
        found.append((of_host, ("host", namespace, host)))
    return found


def _holds(network: str, address: str) -> bool:
    try:
        return covers(*packed(ip_network(network)), ip_address(address.partition("%")[0]).packed)
    except ValueError:
        return False
