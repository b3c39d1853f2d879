"""Settings of policy tests: packets of which the configuration says whether they must pass.

Knows: what a test asks, and how it is called in messages.
Refuses to know: how a test is written (config_policy), how it is run (service_policy).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from lib.errors import Position
from lib.ids import NO_NAMESPACE, format_uuid


@dataclass(frozen=True, slots=True)
class PolicyTest:
    """One test: a packet from a host, and whether a hub must let it through."""

    host: str
    """The host that sends the packet."""
    to: str
    """The address that it is for, as text."""
    allow: bool
    """Whether it must be delivered; else it must be dropped."""
    port: str = ""
    """Protocol and destination port as in `tcp/22`; empty for a ping."""
    source: str = ""
    """Its source address; empty for one address of each prefix that leads to the host."""
    namespace: bytes = NO_NAMESPACE
    service: str = ""
    """The hub whose tables decide; empty where all hubs have the same ones."""
    where: Position = field(default=Position("configuration"), compare=False)
    """Where the expectation is written."""

    @property
    def expected(self) -> str:
        """The expectation as it is written."""
        return "allow" if self.allow else "deny"

    def __str__(self) -> str:
        words = [self.host, *([f"({self.source})"] if self.source else []), "to", self.to]
        words += [self.port] if self.port else []
        words += [f"in {format_uuid(self.namespace)}"] if self.namespace != NO_NAMESPACE else []
        return " ".join(words)
