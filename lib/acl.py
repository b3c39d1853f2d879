"""Access rules: the ordered list of a router that says what may be sent.

Knows: which rule decides, that a list ends in `deny`.
Refuses to know: what was allowed before (acl_connections), tables and sessions (namespace), where a packet
goes (forward_decide).

The first rule that matches decides; where none matches, the packet is dropped. Rules look at a packet's
transport header, wherever it is (packet_headers). A rule that denies a protocol also matches packets that
have an extension header of this number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

from lib import prefixes
from lib.packet import Packet
from lib.settings_acl import AclEnd, AclRule


@dataclass(slots=True, eq=False)
class Acl:
    """The rules of one router, with a counter for each."""

    rules: Sequence[AclRule]
    hits: list[int] = field(init=False)
    """How often each rule decided: once a connection, and once a dropped packet.

    The last entry, hits[len(rules)], counts packets that no rule matched.
    """
    live: bool = True
    """False after a reload has replaced these rules: what they allowed has to be allowed anew."""
    number: int = field(init=False, default_factory=count(1).__next__)
    """No other rules of this process have it."""

    def __post_init__(self) -> None:
        self.hits = [0] * (len(self.rules) + 1)

    def match(self, host: str, packet: Packet, target: str, extensions: bytes = b"") -> int:
        """The index of the rule that decides on a packet from `host` to `target`; len(rules) for none.

        `extensions` are the numbers of the extension headers before the packet's transport header.
        """
        for number, rule in enumerate(self.rules):
            if (
                (rule.source is None or _is_in(rule.source, packet.source, host))
                and (rule.destination is None or _is_in(rule.destination, packet.destination, target))
                and _is_protocol(rule, packet, extensions)
                and (not rule.ports or _has_port(rule, packet))
            ):
                return number
        return len(self.rules)

    def allows(self, number: int) -> bool:
        """Whether the rule with this index allows; len(rules), no rule, does not."""
        return number < len(self.rules) and self.rules[number].allow

    def describe(self, number: int) -> str:
        """The rule with this index in words: `rule 2: deny …`, numbered from 1."""
        return f"rule {number + 1}: {self.rules[number]}" if number < len(self.rules) else "no rule: deny"


def _is_in(end: AclEnd, address: bytes, host: str) -> bool:
    if isinstance(end, str):
        return end == host
    return prefixes.covers(*end, address)


def _is_protocol(rule: AclRule, packet: Packet, extensions: bytes) -> bool:
    if rule.protocol is None or rule.protocol == packet.protocol:
        return True
    return not rule.allow and rule.protocol in extensions


def _has_port(rule: AclRule, packet: Packet) -> bool:
    port = int.from_bytes(packet.flow[-2:], "big")
    return has_ports(packet) and any(low <= port <= high for low, high in rule.ports)


def has_ports(packet: Packet) -> bool:
    """Whether a packet's flow key (12 bytes for IPv4, 36 for IPv6 with ports) ends in two port numbers."""
    return len(packet.flow) in (12, 36)
