"""What may be sent: an ordered list of rules per router, and the connections they have let through.

Knows: which rule decides, that a list ends in `deny`, that answers to what is allowed are allowed.
Refuses to know: tables and sessions (namespace), where a packet goes (forward_decide).

The first rule that fits decides; where none fits, the packet is dropped. A packet that belongs to a
connection (RFC 2663's session flow) some rule has let through needs no rule of its own, in either direction;
neither does an ICMP error about one. Fragments carry no ports: a rule to allow ports does not fit them, one
to deny ports does, for it might be the port.
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
"""Of one namespace; past that the one not seen for longest is forgotten."""
IDLE_SECONDS = {ip.TCP: 7200.0, ip.UDP: 300.0}
"""How long a connection is remembered without a packet that is decided on anew."""
IDLE_OTHER = 60.0
REFRESH_SECONDS = 30.0
"""How long a flow may be forwarded from memory before its connection is seen again."""
_ECHO_REQUESTS = {ip.ICMP: 8, ip.ICMPV6: 128}


@dataclass(slots=True, eq=False)
class Acl:
    """One router's rules."""

    rules: Sequence[AclRule]
    hits: list[int] = field(init=False)
    """How often each rule decided: once a connection, once a packet that is dropped; the last is for none."""
    live: bool = True
    """False once other rules have taken its place: what it let through no longer counts."""

    def __post_init__(self) -> None:
        self.hits = [0] * (len(self.rules) + 1)

    def match(self, host: str, packet: Packet, target: str) -> int:
        """The number of the rule that decides on a packet from one host to another; len(rules) for none."""
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
        """What the rule of that number says."""
        return number < len(self.rules) and self.rules[number].allow

    def describe(self, number: int) -> str:
        """The rule as people read it."""
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
    """Whether a packet's flow key ends in ports."""
    return len(packet.flow) in (12, 36)


@dataclass(slots=True)
class ConnectionTable:
    """What rules have let through in one namespace."""

    known: BoundedDict[bytes, tuple[float, Acl]] = field(default_factory=lambda: BoundedDict(MAX_CONNECTIONS))
    """Protocol and flow key, as its first packet had them -> until when, and by whose rules."""

    def belongs(self, packet: Packet, quoted: Packet | None, now: float) -> bool:
        """Whether a packet is part of a connection, or (quoting one of its packets) an error about it."""
        if quoted is not None:
            return self._is_known(quoted.protocol, quoted.flow, now) or self._is_known(
                quoted.protocol, reverse(quoted.flow), now
            )
        if self._is_known(packet.protocol, packet.flow, now):
            return True
        if packet.kind and packet.kind == _ECHO_REQUESTS.get(packet.protocol):
            return False  # a question, whoever has been asked before
        return self._is_known(packet.protocol, reverse(packet.flow), now)

    def note(self, packet: Packet, acl: Acl, now: float) -> None:
        """A rule has let a packet through: what belongs to it may pass."""
        self._put(bytes([packet.protocol]) + packet.flow, packet.protocol, acl, now)

    def _is_known(self, protocol: int, flow: bytes, now: float) -> bool:
        key = bytes([protocol]) + flow
        until, acl = self.known.get(key, (0.0, None))
        if acl is None or not acl.live or now >= until:
            return False
        self._put(key, protocol, acl, now)
        return True

    def _put(self, key: bytes, protocol: int, acl: Acl, now: float) -> None:
        self.known.renew(key, (now + IDLE_SECONDS.get(protocol, IDLE_OTHER), acl))


def reverse(flow: bytes) -> bytes:
    """The flow key of what comes back."""
    size = 16 if len(flow) > 32 else 4
    ports = flow[2 * size :]
    if len(ports) == 4:
        ports = ports[2:] + ports[:2]
    return flow[size : 2 * size] + flow[:size] + ports
