"""The policy of the hub: may this packet go, and which session takes it.

Knows: the order of the questions (unicast? source? route? gateway? session? access list?).
Refuses to know: bytes on the wire (packet has read them), counters, answers to the sender.
"""

from __future__ import annotations

from lib.forward_drop_reasons import Reason
from lib.namespace import Attachment
from lib.packet import Packet
from lib.route_plugin_cache import Unresolved

Verdict = Attachment | Reason | bytes
"""The session that takes it, why nobody does, or the address whose route is being asked for."""


def decide(attachment: Attachment, packet: Packet, now: float, quoted: Packet | None = None) -> Verdict:
    """Decide on a packet that came from port; quoted is the one an ICMP error is about."""
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
    """Why no packet is ever routed to an address (4 or 16 bytes), None where one may be."""
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
