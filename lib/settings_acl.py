"""Settings of access lists: the rules of a router that say what may be sent.

Knows: what a rule has, and how people write it.
Refuses to know: how a rule is checked (config_acl), what it matches (acl).
"""

from __future__ import annotations

from typing import NamedTuple

from lib import prefixes

_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6"}

AclEnd = tuple[bytes, int] | str
"""Source or destination in a rule: a prefix as (packed address, length), or a host name."""


class AclRule(NamedTuple):
    """A rule of a router's access list. A field that is None or empty matches everything."""

    allow: bool
    source: AclEnd | None = None
    destination: AclEnd | None = None
    protocol: int | None = None
    ports: tuple[tuple[int, int], ...] = ()
    """Ranges of destination ports, each as (first, last)."""

    def __str__(self) -> str:
        ends = (("from", self.source), ("to", self.destination))
        words = ["allow" if self.allow else "deny"]
        words += [f"{word} {end_text(end)}" for word, end in ends if end is not None]
        if self.protocol is not None:
            words.append(f"protocol {_PROTOCOLS.get(self.protocol, self.protocol)}")
        if self.ports:
            ranges = (str(low) if low == high else f"{low}-{high}" for low, high in self.ports)
            words.append(f"port {','.join(ranges)}")
        return " ".join(words)


def end_text(end: AclEnd) -> str:
    """An end as people write it."""
    return end if isinstance(end, str) else prefixes.text(*end)
