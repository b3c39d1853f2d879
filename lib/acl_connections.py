"""Connection table of a namespace's access lists (conntrack), and a table of fragmented datagrams.

Knows: which packets belong to a connection that a rule has let through (RFC 2663's session flow), how long a
connection is remembered, which fragments may follow the first one of a datagram.
Refuses to know: rules (acl), how a packet is read (packet_headers), where it goes (forward_decide).

Both tables are bounded, and a host that fills one of them pushes out its own entries first (acl_shares).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from lib import packet as ip
from lib.acl import Acl
from lib.acl_shares import ShareTable
from lib.packet_headers import Fragment, Headers

MAX_CONNECTIONS = 65536
"""Connections that one namespace remembers."""
CONNECTION_BYTES = 300
"""What one holds."""
IDLE_SECONDS = {ip.TCP: 7440.0, ip.UDP: 300.0}
"""Least seconds for which a connection is remembered after its last packet, by protocol (RFC 5382 REQ-5:
2 h 4 min, because hosts send the first keepalive after 2 h; RFC 4787 REQ-5)."""
IDLE_OTHER = 60.0
"""The same for all other protocols (RFC 5508 REQ-2)."""
REFRESH_SECONDS = 30.0
"""Seconds that a flow may be forwarded from memory, before a packet of it is decided on anew."""
_RENEWED_AFTER = 0.5
"""Seconds for which a connection is not renewed again: to renew it for each packet would take time."""
UNSEEN_SECONDS = REFRESH_SECONDS + _RENEWED_AFTER
"""For so long before its last packet a connection may not have been renewed."""
MAX_DATAGRAMS = 4096
"""Datagrams of one namespace whose first fragment was let through and whose others may still come."""
DATAGRAM_BYTES = 900
"""What one holds."""
DATAGRAM_SECONDS = 30.0
"""Seconds after the first fragment in which the others may come (Linux, net.ipv4.ipfrag_time)."""
_MAX_BYTES = 65535


def _connections() -> ShareTable[bytes, tuple[float, int]]:
    return ShareTable(MAX_CONNECTIONS, CONNECTION_BYTES)


@dataclass(slots=True)
class ConnectionTable:
    """The connections that rules have let through in one namespace, each held for the host that opened it."""

    table: ShareTable[bytes, tuple[float, int]] = field(default_factory=_connections)
    """Key of a connection (Headers.connection) -> when it is forgotten, number of the rules that let it pass.

    What has nothing but numbers in it is of no interest to Python's collector. It took 10 ms for each 100,000
    connections that had the rules themselves, with no packet received meanwhile.
    """
    _rules: dict[int, Acl] = field(default_factory=dict)
    """The rules of these numbers that count, and some that do not any more."""

    def __len__(self) -> int:
        return len(self.table)

    def knows(self, headers: Headers, now: float) -> bool:
        """Whether a packet would belong to a connection, in either direction; the connection is not renewed.

        For packets that have not come: one that forward_explain imagines, one that an ICMP error quotes.
        `now` is in seconds of a steady clock.
        """
        return any(self._find(key, now) is not None for key in (headers.connection, headers.replies_to))

    def belongs(self, headers: Headers, now: float) -> bool:
        """Whether a packet that has come belongs to a connection; if so, the connection is renewed."""
        # A connection has one entry, under the key of the direction in which it was opened. A packet in that
        # direction has this key itself; a packet the other way has it as the key that it replies to.
        for key in (headers.connection, headers.replies_to):
            found = self._find(key, now)
            if found is not None:
                until = now + _idle(headers)
                if until - found[0] >= _RENEWED_AFTER:
                    # The rules stay those that let the connection through: this packet was not asked about.
                    self.table.renew(key, (until, found[1]))
                return True
        return False

    def note(self, headers: Headers, acl: Acl, host: str, now: float) -> None:
        """Remember a packet that the rules of `acl` have let through from `host`: its connection may pass."""
        # Some packets open no connection: ICMP messages other than requests, and fragments without ports.
        if headers.connection:
            if acl.number not in self._rules:
                self._rules = {one.number: one for one in self._rules.values() if one.live}
                self._rules[acl.number] = acl
            self.table.put(headers.connection, (now + _idle(headers), acl.number), host)

    def _find(self, key: bytes, now: float) -> tuple[float, int] | None:
        """The entry of a connection; None where there is none, or where it does not count any more."""
        # After a reload of the rules, a connection counts only if the new rules let a packet of it through
        # again. Entries of the old rules (not live) and idle ones are not searched for and removed, which
        # would take long in a full table. They are not used, and newer entries push them out.
        found = self.table.get(key)
        if found is None or now >= found[0]:
            return None
        rules = self._rules.get(found[1])
        return None if rules is None or not rules.live else found


def _idle(headers: Headers) -> float:
    return IDLE_SECONDS.get(headers.packet.protocol, IDLE_OTHER) + UNSEEN_SECONDS


class _Open(NamedTuple):
    """A datagram whose first fragment was let through."""

    until: float
    acl: Acl
    first_end: int
    """Where the first fragment ends, in bytes. A later one that begins before it would overwrite the ports
    that the access list has looked at (RFC 1858)."""
    passed: int
    """Bytes that have passed."""
    total: int
    """Its length in bytes, which only its last fragment says; 0 before that one has passed."""


Datagram = tuple[str, str, bytes, bytes, bytes]
"""The host that sends it, the one that gets it, both addresses, protocol and identification."""


def _datagrams() -> ShareTable[Datagram, _Open]:
    return ShareTable(MAX_DATAGRAMS, DATAGRAM_BYTES)


@dataclass(slots=True)
class FragmentTable:
    """The datagrams whose first fragment was let through, each held for the host that sends it."""

    table: ShareTable[Datagram, _Open] = field(default_factory=_datagrams)

    def __len__(self) -> int:
        return len(self.table)

    def begin(self, datagram: Datagram, first: Fragment, acl: Acl | None, now: float) -> None:
        """Note a first fragment that the rules of `acl` have let through; None: they have denied it.

        `now` is in seconds of a steady clock.
        """
        if acl is None:
            # An earlier datagram with this identification may be known. Its entry must not let the rest of
            # the denied one through.
            self.table.pop(datagram)
            return
        # The first fragment may come twice. If the second one is shorter, the bytes between the two ends were
        # looked at in the first one, so later fragments must not overwrite them either.
        before = self.table.get(datagram)
        end = first.end if before is None or now >= before.until else max(first.end, before.first_end)
        self.table.put(datagram, _Open(now + DATAGRAM_SECONDS, acl, end, first.end, 0), datagram[0])

    def follows(self, datagram: Datagram, later: Fragment, now: float) -> bool:
        """Whether a fragment that is not the first may pass. If it may, its bytes are counted.

        `now` is in seconds of a steady clock.
        """
        found = self.table.get(datagram)
        if found is None or now >= found.until or not found.acl.live or later.begin < found.first_end:
            return False
        passed = found.passed + later.end - later.begin
        total = found.total if later.more else later.end
        # More bytes than a datagram can have: somebody sends fragments of one datagram again and again.
        if passed > _MAX_BYTES:
            return False
        # The datagram is complete. It is forgotten, so nothing else passes under its identification.
        if total and passed >= total:
            self.table.pop(datagram)
        else:
            self.table.renew(datagram, found._replace(passed=passed, total=total))
        return True
