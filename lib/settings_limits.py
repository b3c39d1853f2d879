"""Settings of limits: traffic rates, connections and handshakes of a hub service.

Knows: the settings of limits.
Refuses to know: buckets and counts (limits), which service has them (settings).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple


class Rate(NamedTuple):
    """A rate limit: bytes and packets a second, each 0 for no limit."""

    bytes: float = 0.0
    packets: float = 0.0


class RateLimit(NamedTuple):
    """A limit on traffic: `into` the hub from clients, and `out` to clients.

    The key of a limit by address: "$" for all together, "$$" for each connection, else a network (CIDR). The
    key of a limit by host: "$" for each namespace, "$$" for each host, a namespace's 32 hex digits, or
    `host NAME`.
    """

    key: str
    into: Rate
    out: Rate


class CountLimit(NamedTuple):
    """A limit on connections, or on handshakes a second.

    The key is "$" for all together, "$$" for each address, else a network (CIDR). "site" is each IPv4 address
    or IPv6 network of 64 bits, which is what one customer has; but not this machine itself, where a proxy may
    stand before the hub.
    """

    key: str
    most: int


@dataclass(frozen=True, slots=True)
class HubLimits:
    """All limits of one hub service."""

    services: tuple[RateLimit, ...] = ()
    """Traffic limits by address (GOST's `limiters`)."""
    hosts: tuple[RateLimit, ...] = ()
    """Traffic limits by host and namespace."""
    connections: tuple[CountLimit, ...] = ()
    handshakes: tuple[CountLimit, ...] = ()


NO_LIMITS = HubLimits()

SERVICE, CONN = "service", "conn"
"""Scopes of a service's limiter (GOST's `limiter.scope`): its "$" rows alone, or all but these."""


def of_scope(rows: Iterable[RateLimit], scope: str) -> tuple[RateLimit, ...]:
    """The rows of a service's limiter that count in a scope; all of them where it is empty."""
    return tuple(row for row in rows if not scope or (row.key == "$") == (scope == SERVICE))


DEFAULT_CONNECTIONS = (CountLimit("$", 4096), CountLimit("site", 256))
DEFAULT_HANDSHAKES = (CountLimit("site", 64),)
"""Where no climiter or rlimiter is named. An office behind one address has room, a flood has not."""
