"""A stateful packet filter: the ordered access rules of a router, and the connections they have allowed.

Knows: which rule decides, that a list ends in `deny`, that replies within an allowed connection are allowed.
Refuses to know: tables and sessions (namespace), where a packet goes (forward_decide).

The first rule that matches decides; where none matches, the packet is dropped. A packet of a connection (a
session flow in RFC 2663's words) that a rule has allowed needs no rule of its own, in either direction;
neither does an ICMP error about such a packet. Fragments carry no ports: a rule that allows ports does not
match them; a rule that denies ports does, because the fragment may belong to a denied port.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lib import packet as ip
from lib import prefixes
from lib.bounded_dict import BoundedDict
from lib.packet import Packet
from lib.settings import AclEnd, AclRule

MAX_CONNECTIONS = 65536
"""Connections remembered for one namespace; past that, the one unseen for the longest is forgotten."""
IDLE_SECONDS = {ip.TCP: 7200.0, ip.UDP: 300.0}
"""Protocol -> seconds that a connection is remembered after its last packet that reached the rules.

A flow that forward remembers passes without reaching them; REFRESH_SECONDS sends it here again in time.
"""
IDLE_OTHER = 60.0
"""The same for every other protocol."""
REFRESH_SECONDS = 30.0
"""Seconds that a flow may be forwarded from memory before it has to renew its connection here."""
_ECHO_REQUESTS = {ip.ICMP: 8, ip.ICMPV6: 128}


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

    def __post_init__(self) -> None:
        self.hits = [0] * (len(self.rules) + 1)

    def match(self, host: str, packet: Packet, target: str) -> int:
        """The index of the rule that decides on a packet from `host` to `target`; len(rules) for none."""
        for number, rule in enumerate(self.rules):
            if (
                (rule.source is None or _is_in(rule.source, packet.source, host))
                and (rule.destination is None or _is_in(rule.destination, packet.destination, target))
                and (rule.protocol is None or rule.protocol == packet.protocol)
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


def _has_port(rule: AclRule, packet: Packet) -> bool:
    if packet.fragment:
        return not rule.allow
    port = int.from_bytes(packet.flow[-2:], "big")
    return has_ports(packet) and any(low <= port <= high for low, high in rule.ports)


def has_ports(packet: Packet) -> bool:
    """Whether a packet's flow key (12 bytes for IPv4, 36 for IPv6 with ports) ends in two port numbers."""
    return len(packet.flow) in (12, 36)


@dataclass(slots=True)
class ConnectionTable:
    """The connections that rules have allowed in one namespace, MAX_CONNECTIONS at most."""

    known: BoundedDict[bytes, tuple[float, Acl]] = field(default_factory=lambda: BoundedDict(MAX_CONNECTIONS))
    """Protocol and flow key, as its first packet had them -> until when, and by whose rules."""

    def belongs(self, packet: Packet, quoted: Packet | None, now: float) -> bool:
        """Whether a packet is part of a connection that was allowed; renews that connection.

        `quoted` is the packet inside an ICMP error, else None: an error belongs to its connection.
        """
        if quoted is not None:
            return self._is_known(quoted.protocol, quoted.flow, now) or self._is_known(
                quoted.protocol, reverse(quoted.flow), now
            )
        if self._is_known(packet.protocol, packet.flow, now):
            return True
        if packet.kind and packet.kind == _ECHO_REQUESTS.get(packet.protocol):
            return False  # an echo request opens a connection: that a ping went the other way allows nothing
        return self._is_known(packet.protocol, reverse(packet.flow), now)

    def note(self, packet: Packet, acl: Acl, now: float) -> None:
        """Remember the connection of a packet that a rule has just allowed."""
        self._put(bytes([packet.protocol]) + packet.flow, packet.protocol, acl, now)

    def _is_known(self, protocol: int, flow: bytes, now: float) -> bool:
        # The protocol is part of the key, since the flow keys of TCP and UDP with the same ports are equal.
        key = bytes([protocol]) + flow
        until, acl = self.known.get(key, (0.0, None))
        # After a reload a connection counts only if the new rules allow it too. The entries of the old rules
        # (not live) are not searched for and removed; they are just not used any more.
        if acl is None or not acl.live or now >= until:
            return False
        self._put(key, protocol, acl, now)
        return True

    def _put(self, key: bytes, protocol: int, acl: Acl, now: float) -> None:
        self.known.renew(key, (now + IDLE_SECONDS.get(protocol, IDLE_OTHER), acl))


def reverse(flow: bytes) -> bytes:
    """The flow key of the opposite direction: addresses and ports swapped."""
    size = 16 if len(flow) > 32 else 4
    ports = flow[2 * size :]
    if len(ports) == 4:
        ports = ports[2:] + ports[:2]
    return flow[size : 2 * size] + flow[:size] + ports
