"""What a configuration means for limits: how much may pass through a service, and how many may connect.

Knows: the settings of limits. Refuses to know: buckets and counts (limits), and whose they are (settings).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Rate(NamedTuple):
    """So much a second; 0 for no limit."""

    bytes: float = 0.0
    packets: float = 0.0


class RateLimit(NamedTuple):
    """A limit on traffic in from clients and out to them.

    By address: $ for all together, $$ for each connection, else a network. By host: $ for each namespace,
    $$ for each host, a namespace's 32 hex digits, or `host NAME`.
    """

    key: str
    into: Rate
    out: Rate


class CountLimit(NamedTuple):
    """A limit on connections, or handshakes a second: $ in all, $$ of each address, else of a network.

    `site` is each IPv4 address or IPv6 network of 64 bits, which is what one customer has; not this machine
    itself, where a proxy may stand before the hub.
    """

    key: str
    most: int


@dataclass(frozen=True, slots=True)
class HubLimits:
    """How much may pass through a service, and how many may connect."""

    services: tuple[RateLimit, ...] = ()
    """By address."""
    hosts: tuple[RateLimit, ...] = ()
    connections: tuple[CountLimit, ...] = ()
    handshakes: tuple[CountLimit, ...] = ()


NO_LIMITS = HubLimits()

DEFAULT_CONNECTIONS = (CountLimit("$", 4096), CountLimit("site", 256))
DEFAULT_HANDSHAKES = (CountLimit("site", 64),)
"""Where no climiter or rlimiter is named. An office behind one address has room, a flood has not."""
