"""The hub's decision on a packet: which session gets it, or why it is dropped.

Knows: the order of the checks: unicast, source check, the hub itself, route, gateway and session, access
list, which counts for the hub itself too; what an access list wants to know of fragments and of ICMP errors;
which ICMP errors of routers pass the source check.
Refuses to know: bytes on the wire (packet and packet_headers parse them), counters, ICMP errors.
"""

from __future__ import annotations

from enum import Enum

from lib import packet_headers
from lib.acl import Acl
from lib.forward_drop_reasons import Reason
from lib.namespace import Attachment, Namespace
from lib.packet import ICMP, ICMPV6, UDP, Buffer, Packet
from lib.packet_headers import Headers, is_router_error
from lib.plugin_cache import Unresolved

_MISSING = {None: Reason.NO_SESSION, Unresolved.ASKING: None, Unresolved.FAILED: Reason.SD_FAILED}
"""Why it is not known where the gateways of a route are -> why a packet is dropped; None where it waits."""


class Here(Enum):
    """A packet that goes no further."""

    HUB = "it is for the hub's own address: an ICMP message, or a datagram where the hub answers DNS"


Verdict = Attachment | Reason | bytes | Here
"""The receiving session, the reason for a drop, the packed address that a plugin is being asked about (for a
route to it, or for the hub that its gateway is at), or that the hub itself is meant."""


_MAY_BE_SPECIAL = frozenset((0, 127, 169, *range(224, 256)))
"""First bytes of all addresses, of either version, that may be multicast, loopback, link-local or
unspecified; of all others it is known at once."""


def decide(
    attachment: Attachment,
    packet: Packet,
    now: float,
    buf: Buffer | None = None,
    start: int = 0,
    end: int = 0,
) -> Verdict:
    """Decide on a packet from `attachment`: the attachment that gets it, or why it is not delivered.

    The packet is in buf[start:end], where an access list reads on. Without `buf` there is no packet: somebody
    asks what would become of one, and nothing is counted or remembered. `now`: seconds of a steady clock.
    """
    namespace = attachment.namespace
    if packet.destination[0] in _MAY_BE_SPECIAL:
        reason = _special(namespace, packet.destination, now)
        if reason is not None:
            return reason
    if namespace.source_check:
        wrong = _wrong_source(attachment, packet, now, buf, start, end)
        if wrong is not None:
            return wrong
    if namespace.table.own or namespace.default.own:
        here = _own(attachment, packet, now, buf, start, end)
        if here is not None:
            return here
    route = namespace.route_to(packet.destination, now)
    if isinstance(route, Unresolved):
        return _unresolved(route, packet.destination)
    if route is None:
        return Reason.NO_ROUTE
    # What came from another hub is not passed on to one: no packet goes in a circle.
    is_from_elsewhere = bool(attachment.by)
    target = namespace.choose(*route, packet.destination, packet.flow, now, is_from_elsewhere)
    if target is None:
        state = None if is_from_elsewhere else namespace.unresolved(route[0], now)
        return _MISSING[state] or packet.destination
    return _denied(route[1].acl, attachment, packet, target.host, now, buf, start, end) or target


def _denied(
    acl: Acl | None,
    attachment: Attachment,
    packet: Packet,
    target: str,
    now: float,
    buf: Buffer | None,
    start: int,
    end: int,
) -> Reason | None:
    """Why an access list lets no packet through to a host, or to the hub itself (""); None where it does."""
    if acl is None:
        return None
    if buf is None:
        return None if _would_pass(acl, attachment, packet, target, now) else Reason.DENIED
    return _objection(acl, attachment, packet_headers.read(buf, start, packet, end), target, now)


def _own(
    attachment: Attachment, packet: Packet, now: float, buf: Buffer | None, start: int, end: int
) -> Here | Reason | None:
    """What becomes of a packet for the hub itself, or for everybody in its network; None for all others.

    The access list of the router that has the address is asked as about any other packet. The hub's own
    address as a source is a lie, whatever routes hold it.
    """
    for table in attachment.namespace.tables:
        for one in table.own:
            if packet.source == one.address and not (
                attachment.by and buf and is_router_error(buf, packet, end)
            ):
                return Reason.WRONG_SOURCE  # other hubs of ours have the same address, and say errors by it
            if packet.destination == one.address:
                denied = _denied(table.acl, attachment, packet, "", now, buf, start, end)
                if denied is not None:
                    return denied
                is_answered = packet.protocol in (ICMP, ICMPV6) or (one.names and packet.protocol == UDP)
                return Here.HUB if is_answered else Reason.FOR_HUB
            if packet.destination == one.broadcast:
                return Reason.MULTICAST
    return None


def _wrong_source(
    attachment: Attachment, packet: Packet, now: float, buf: Buffer | None, start: int, end: int
) -> Reason | bytes | None:
    """Why a packet does not pass the source check; None where it does."""
    namespace = attachment.namespace
    back = namespace.route_to(packet.source, now)
    if isinstance(back, Unresolved):
        return _unresolved(back, packet.source)
    if back is not None and namespace.leads_to(packet.source, attachment.host, *back):
        return None
    if buf is None or not is_router_error(buf, packet, end) or unroutable(packet.source) is not None:
        return Reason.WRONG_SOURCE
    return _router_error_judged(attachment, packet_headers.read(buf, start, packet, end), now)


def _router_error_judged(
    attachment: Attachment, headers: Headers | Reason, now: float
) -> Reason | bytes | None:
    """Why an ICMP error from an address that does not lead back to its host is not let through, or None.

    Routers behind a host have addresses that no table needs to know, and path MTU discovery depends on what
    they say. So an ICMP error passes if it is about a packet that went to its host by the tables, goes to
    whoever sent that packet, and is as short as RFC 1812 and RFC 4443 want it. What its quotation says could
    be made up, by a host that could as well have lost the packet.
    """
    namespace = attachment.namespace
    quoted = None if isinstance(headers, Reason) else headers.quoted
    if isinstance(headers, Reason) or quoted is None or quoted.packet.source != headers.packet.destination:
        return Reason.FOREIGN_ERROR
    went = quoted.packet.destination
    found = namespace.route_to(went, now) if unroutable(went) is None else None
    if isinstance(found, Unresolved):
        return _unresolved(found, went)
    if found is None or not namespace.leads_to(went, attachment.host, *found):
        return Reason.FOREIGN_ERROR
    if found[1].acl is not None and not namespace.connections.knows(quoted, now):
        return Reason.STRAY_ERROR
    return None if namespace.may_pass_router_error(attachment.host, now) else Reason.ERROR_RATE


def _would_pass(acl: Acl, attachment: Attachment, packet: Packet, target: str, now: float) -> bool:
    if attachment.namespace.connections.knows(packet_headers.imagined(packet), now):
        return True
    return acl.allows(acl.match(attachment.host, packet, target))


def _objection(
    acl: Acl, attachment: Attachment, headers: Headers | Reason, target: str, now: float
) -> Reason | None:
    """Why an access list does not let a packet through to a host; None where it does.

    The first fragment of a datagram is judged as a whole packet is, for it holds the ports. The others follow
    it.
    """
    if isinstance(headers, Reason):
        return headers
    fragment = headers.fragment
    if fragment is None:
        return _judged(acl, attachment, headers, target, now)
    fragments, packet = attachment.namespace.fragments, headers.packet
    datagram = attachment.host, target, packet.source, packet.destination, fragment.datagram
    if fragment.begin:
        return None if fragments.follows(datagram, fragment, now) else Reason.STRAY_FRAGMENT
    reason = _judged(acl, attachment, headers, target, now)
    fragments.begin(datagram, fragment, acl if reason is None else None, now)
    return reason


def _judged(acl: Acl, attachment: Attachment, headers: Headers, target: str, now: float) -> Reason | None:
    """Why neither a packet's connection nor the rules let it through; None where one of them does."""
    if headers.is_error:
        return _error_judged(acl, attachment, headers, target, now)
    passes = attachment.namespace.permits(acl, attachment.host, headers, target, now)
    return None if passes else Reason.DENIED


def _error_judged(
    acl: Acl, attachment: Attachment, headers: Headers, target: str, now: float
) -> Reason | None:
    """Why an ICMP error is not let through; None where it is.

    It must come from the host that the quoted packet went to, and go to the host that sent the quoted packet.
    If the quoted packet took a table without an access list, no connection of it is known: the rules decide.
    """
    namespace, quoted = attachment.namespace, headers.quoted
    if quoted is None or quoted.packet.source != headers.packet.destination:
        return Reason.STRAY_ERROR
    went = quoted.packet.destination
    found = namespace.route_to(went, now) if unroutable(went) is None else None
    if found is None or isinstance(found, Unresolved):
        return Reason.STRAY_ERROR
    if not namespace.leads_to(went, attachment.host, *found):
        return Reason.STRAY_ERROR
    if namespace.connections.knows(quoted, now):
        return None
    if found[1].acl is not None:
        return Reason.STRAY_ERROR
    number = acl.match(attachment.host, headers.packet, target, headers.extensions)
    acl.hits[number] += 1
    return None if acl.allows(number) else Reason.DENIED


def unroutable(address: bytes) -> Reason | None:
    """The reason why no packet is ever routed to an address (4 or 16 bytes); None for a unicast address."""
    return _UNROUTABLE[len(address)](address)


def _special(namespace: Namespace, destination: bytes, now: float) -> Reason | None:
    """Why packets to an address are dropped, whatever their source; None where they are routed.

    Hosts send such packets by themselves, so their sources are not even looked at. A link-local address is
    routed like any other where a table has a route for it, as GOST does.
    """
    reason = unroutable(destination)
    if reason is None and _is_link_local(destination) and namespace.route_to(destination, now) is None:
        return Reason.LINK_LOCAL
    return reason


def _is_link_local(address: bytes) -> bool:
    """Whether an address (4 or 16 bytes) is in 169.254.0.0/16 or fe80::/10."""
    if len(address) == 4:
        return address[:2] == b"\xa9\xfe"
    return address[0] == 0xFE and address[1] & 0xC0 == 0x80


def _unresolved(state: Unresolved, address: bytes) -> Reason | bytes:
    return address if state is Unresolved.ASKING else Reason.ROUTER_FAILED


def _unroutable_ipv4(address: bytes) -> Reason | None:
    if 224 <= address[0] < 240 or address == b"\xff\xff\xff\xff":
        return Reason.MULTICAST
    if address[0] == 127 or address == bytes(4):
        return Reason.LINK_LOCAL
    return None


def _unroutable_ipv6(address: bytes) -> Reason | None:
    if address[0] == 0xFF:
        return Reason.MULTICAST
    if address[:15] == bytes(15) and address[15] < 2:
        return Reason.LINK_LOCAL
    return None


_UNROUTABLE = {4: _unroutable_ipv4, 16: _unroutable_ipv6}
