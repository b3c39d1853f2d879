"""The hub's decision on a packet: which session gets it, or why it is dropped.

Knows: the order of the checks: unicast, source check, route, gateway and session, access list.
Refuses to know: bytes on the wire (packet has parsed them), counters, ICMP errors to the sender.
"""

from __future__ import annotations

from lib.forward_drop_reasons import Reason
from lib.namespace import Attachment
from lib.packet import Packet
from lib.route_plugin_cache import Unresolved

Verdict = Attachment | Reason | bytes
"""The receiving session, the reason for a drop, or the packed address that a plugin is being asked about."""


def decide(attachment: Attachment, packet: Packet, now: float, quoted: Packet | None = None) -> Verdict:
    """Decide on a packet from `attachment`; `quoted` is the packet inside an ICMP error, else None."""
    namespace = attachment.namespace
    reason = unroutable(packet.destination)
    if reason is not None:
        return reason
    if namespace.source_check:
        back = namespace.route_to(packet.source, now)
        if isinstance(back, Unresolved):
            return _unresolved(back, packet.source)
        if back is None or not namespace.leads_to(packet.source, attachment.host, *back):
            return Reason.WRONG_SOURCE
    route = namespace.route_to(packet.destination, now)
    if isinstance(route, Unresolved):
        return _unresolved(route, packet.destination)
    if route is None:
        return Reason.NO_ROUTE
    target = namespace.choose(*route, packet.destination, packet.flow, now)
    if target is None:
        return Reason.NO_SESSION
    acl = route[1].acl
    if acl is not None and not namespace.permits(acl, attachment.host, packet, target.host, quoted, now):
        return Reason.DENIED
    return target


def unroutable(address: bytes) -> Reason | None:
    """The reason why no packet is ever routed to an address (4 or 16 bytes); None for a unicast address."""
    return _UNROUTABLE[len(address)](address)


def _unresolved(state: Unresolved, address: bytes) -> Verdict:
    return address if state is Unresolved.ASKING else Reason.ROUTER_FAILED


def _unroutable_ipv4(address: bytes) -> Reason | None:
    if 224 <= address[0] < 240 or address == b"\xff\xff\xff\xff":
        return Reason.MULTICAST
    if address[0] in (0, 127) or address[:2] == b"\xa9\xfe":
        return Reason.LINK_LOCAL
    return None


def _unroutable_ipv6(address: bytes) -> Reason | None:
    if address[0] == 0xFF:
        return Reason.MULTICAST
    if (address[0] == 0xFE and address[1] & 0xC0 == 0x80) or address[:15] == bytes(15):
        return Reason.LINK_LOCAL
    return None


_UNROUTABLE = {4: _unroutable_ipv4, 16: _unroutable_ipv6}
