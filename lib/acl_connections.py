"""Connections that access lists have let through in a namespace, and the fragments that follow such a packet.

Knows: what belongs to a connection (RFC 2663's session flow), how long it is remembered, which fragments
follow.
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
"""Of one namespace."""
IDLE_SECONDS = {ip.TCP: 7200.0, ip.UDP: 300.0}
"""How long a connection is remembered without a packet that is decided on anew."""
IDLE_OTHER = 60.0
REFRESH_SECONDS = 30.0
"""How long a flow may be forwarded from memory before its connection is seen again."""
_RENEWED_AFTER = 0.5
"""Seconds after which another packet of a connection makes it the newest: doing so takes time."""
MAX_DATAGRAMS = 4096
"""Of one namespace, whose first fragment was let through and others are still to come."""
DATAGRAM_SECONDS = 30.0
"""How long the others may take (Linux, net.ipv4.ipfrag_time)."""
_MAX_BYTES = 65535


def _connections() -> ShareTable[bytes, tuple[float, Acl]]:
    return ShareTable(MAX_CONNECTIONS)


@dataclass(slots=True)
class ConnectionTable:
    """What rules have let through in one namespace. A connection counts for the host that has opened it."""

    _known: ShareTable[bytes, tuple[float, Acl]] = field(default_factory=_connections)
    """Key of a connection -> until when, and by whose rules."""

    def __len__(self) -> int:
        return len(self._known)

    def knows(self, headers: Headers, now: float) -> bool:
        """Whether a packet belongs to a connection, in either direction; the question leaves no trace."""
        return self._find(headers.connection, now) is not None or self._find(headers.answers, now) is not None

    def belongs(self, headers: Headers, now: float) -> bool:
        """The same of a packet that has come: its connection lives on."""
        for key in (headers.connection, headers.answers):
            found = self._find(key, now)
            if found is not None:
                until = now + _idle(headers)
                if until - found[0] >= _RENEWED_AFTER:
                    self._known.renew(key, (until, found[1]))
                return True
        return False

    def note(self, headers: Headers, acl: Acl, host: str, now: float) -> None:
        """A rule has let a packet of a host through: what belongs to it may pass."""
        if headers.connection:
            self._known.put(headers.connection, (now + _idle(headers), acl), host)

    def _find(self, key: bytes, now: float) -> tuple[float, Acl] | None:
        """A connection, if the rules that have let it through count and it is not idle for too long."""
        found = self._known.get(key)
        return None if found is None or not found[1].live or now >= found[0] else found


def _idle(headers: Headers) -> float:
    return IDLE_SECONDS.get(headers.packet.protocol, IDLE_OTHER)


class _Open(NamedTuple):
    """A datagram of which fragments may pass."""

    until: float
    acl: Acl
    first_end: int
    """No other fragment may begin before: it would overwrite what the list has looked at."""
    passed: int
    """Bytes that have passed."""
    total: int
    """Its length; 0 before its last fragment has passed."""


Datagram = tuple[str, str, bytes, bytes, bytes]
"""The host that sends it, the one that gets it, both addresses, protocol and identification."""


def _datagrams() -> ShareTable[Datagram, _Open]:
    return ShareTable(MAX_DATAGRAMS)


@dataclass(slots=True)
class FragmentTable:
    """The datagrams whose first fragment was let through. One counts for the host that sends it."""

    _open: ShareTable[Datagram, _Open] = field(default_factory=_datagrams)

    def __len__(self) -> int:
        return len(self._open)

    def begin(self, datagram: Datagram, first: Fragment, acl: Acl | None, now: float) -> None:
        """A first fragment was let through by these rules; None: it was denied, and nothing may follow it."""
        if acl is None:
            self._open.pop(datagram)
            return
        before = self._open.get(datagram)
        end = first.end if before is None or now >= before.until else max(first.end, before.first_end)
        self._open.put(datagram, _Open(now + DATAGRAM_SECONDS, acl, end, first.end, 0), datagram[0])

    def follows(self, datagram: Datagram, later: Fragment, now: float) -> bool:
        """Whether a fragment that is not the first may pass: behind its first one, and once."""
        found = self._open.get(datagram)
        if found is None or now >= found.until or not found.acl.live or later.begin < found.first_end:
            return False
        passed = found.passed + later.end - later.begin
        total = found.total if later.more else later.end
        if passed > _MAX_BYTES:
            return False
        if total and passed >= total:
            self._open.pop(datagram)
        else:
            self._open.renew(datagram, found._replace(passed=passed, total=total))
        return True
