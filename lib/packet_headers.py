"""Parser of a packet down to its transport header: extension headers, fragments, the packet in an ICMP error.

Knows: every chain of headers that RFC 8200 allows, how fragments may lie (RFC 791, 1858, 7112), which ICMP
message replies to which (RFC 792, 4443).
Refuses to know: which packets may pass (acl), which have passed before (acl_connections).

packet.parse reads as much as routing needs, and stops where it is unsure. An access list must not be unsure:
what cannot be read to its transport header here is Reason.UNREADABLE. Where packet.parse finds ports, this
module finds the same, so forwarding may remember a flow by them.
"""

from __future__ import annotations

from typing import NamedTuple

from lib.forward_drop_reasons import Reason
from lib.packet import (
    EXTENSIONS,
    FRAGMENT,
    ICMP,
    ICMPV6,
    MAX_EXTENSION_BYTES,
    MAX_EXTENSIONS,
    TCP,
    UDP,
    Buffer,
    Packet,
)

AUTHENTICATION = 51
_CHAINED = EXTENSIONS | {FRAGMENT, AUTHENTICATION, 139, 140}  # the last two are HIP and shim6
_CHAINED_IPV4 = frozenset((AUTHENTICATION,))
_LEAST = {TCP: 20, UDP: 8, ICMP: 8, ICMPV6: 8}
"""Bytes of a transport header without options."""
_LONGEST_HEADER = {4: 60, 6: 40}
"""Of an IP header, by version."""
_MAX_DATAGRAM = 65535
MAX_ERROR = {4: 576, 6: 1280}
"""Length of the longest ICMP error, by IP version (RFC 1812 4.3.2.3, RFC 4443 2.4 c)."""
_ICMP_ERRORS = frozenset((3, 4, 5, 11, 12))
_ROUTER_ERRORS = {4: frozenset((3, 11, 12)), 6: frozenset((1, 2, 3, 4))}
"""Types of ICMP errors by which a router says what became of a packet, by IP version: unreachable, too big,
time exceeded, parameter problem."""
_FIRST_ICMPV6_INFORMATION = 128
"""All ICMPv6 types below are errors (RFC 4443 2.1)."""
_REQUESTS = {(ICMP, 0): 8, (ICMP, 14): 13, (ICMP, 16): 15, (ICMP, 18): 17, (ICMPV6, 129): 128}
"""(protocol, type of a reply) -> the type that it replies to: echo, timestamp, information, address mask."""
_ASKING = frozenset((protocol, kind) for (protocol, _), kind in _REQUESTS.items())
"""(protocol, type) of the requests."""


class Fragment(NamedTuple):
    """A piece of a datagram. An atomic fragment, which is the whole datagram, is none."""

    datagram: bytes
    """Protocol (1 byte) and identification (2 bytes, IPv6: 4), which all its fragments have in common."""
    begin: int
    """Where in the datagram its data begins, in bytes; 0 for the first fragment."""
    end: int
    """Where in the datagram its data ends, in bytes."""
    more: bool
    """Whether other fragments come behind it."""


class Headers(NamedTuple):
    """The headers of a packet, as far as an access list needs them."""

    packet: Packet
    """With the protocol, the ports and the place of the transport header, whatever stands before it. Of a
    fragment that is not the first: as packet.parse has it."""
    extensions: bytes = b""
    """Protocol numbers of the extension headers before it."""
    connection: bytes = b""
    """The key of the connection that it begins or continues. Empty for a fragment that is not the first, and
    for an ICMP message that is no request."""
    replies_to: bytes = b""
    """The key of the connection whose other direction it would be; empty where it cannot be one."""
    fragment: Fragment | None = None
    is_error: bool = False
    """Whether it is an ICMP error."""
    quoted: Headers | None = None
    """The packet that an ICMP error is about; None where too little of it is quoted, or too much."""


class _Chain(NamedTuple):
    """Where a walk over headers has ended."""

    protocol: int
    transport: int
    extensions: bytes = b""
    fragment: Fragment | None = None


def read(buf: Buffer, start: int, packet: Packet, end: int) -> Headers | Reason:
    """Read buf[start:end], which packet.parse has found to be this packet, to its transport header.

    Returns Reason.UNREADABLE where the transport header cannot be read: there are too many or too long
    extension headers, one ends past the packet, the transport header is cut off, or no honest host makes such
    a fragment.
    """
    ports = packet.flow[len(packet.source) * 2 :]
    plain = packet.transport - start <= _LONGEST_HEADER[packet.version]
    if plain and len(ports) == 4:
        return Headers(packet, b"", *_both_ways(packet, ports))  # nearly every packet: nothing stands between
    if plain and not packet.fragment and packet.protocol not in _CHAINED:
        chain: _Chain | None = _Chain(packet.protocol, packet.transport)
    else:
        chain = _walk(buf, start, end)
    if chain is None or not _is_sound(chain.fragment):
        return Reason.UNREADABLE
    if chain.fragment is not None and chain.fragment.begin:
        return Headers(packet, chain.extensions, fragment=chain.fragment)
    if chain.transport + _LEAST.get(chain.protocol, 0) > end:
        return Reason.UNREADABLE
    found = _headers(buf, chain, packet)
    if not _is_error(buf, packet.version, chain):
        return found
    whole = chain.fragment is None and end - start <= MAX_ERROR[packet.version]
    return found._replace(is_error=True, quoted=_quoted(buf, chain.transport + 8, end) if whole else None)


def is_router_error(buf: Buffer, packet: Packet, end: int) -> bool:
    """Whether a packet, as packet.parse reads it, is a whole ICMP error of a type that routers send."""
    if packet.protocol != _icmp_of(packet.version) or packet.fragment or packet.transport >= end:
        return False
    return buf[packet.transport] in _ROUTER_ERRORS[packet.version]


def imagined(packet: Packet) -> Headers:
    """The headers of a packet that does not exist, for a decision that is explained (forward_explain)."""
    request = {ICMP: 8, ICMPV6: 128}.get(packet.protocol)
    if request is not None:
        return Headers(packet, connection=_key(packet, bytes((request, 0, 0))))
    ports = packet.flow[len(packet.source) * 2 :]
    return Headers(packet, b"", *_both_ways(packet, ports if len(ports) == 4 else b""))


def _walk(buf: Buffer, start: int, end: int) -> _Chain | None:
    """Go from header to header up to the transport header, or to the data of a fragment; None if it fails."""
    if buf[start] >> 4 == 6:
        if start + 40 > end:
            return None
        return _walk_extensions(buf, buf[start + 6], start + 40, end, _CHAINED)
    if start + 20 > end:
        return None
    protocol, at = buf[start + 9], start + (buf[start] & 15) * 4
    bits = int.from_bytes(buf[start + 6 : start + 8], "big")
    if at > end or at < start + 20:
        return None
    fragment = None
    if bits & 0x3FFF:
        datagram, begin = bytes((protocol, *buf[start + 4 : start + 6])), (bits & 0x1FFF) * 8
        fragment = Fragment(datagram, begin, begin + end - at, bool(bits & 0x2000))
        if begin:
            return _Chain(protocol, at, b"", fragment)
    chain = _walk_extensions(buf, protocol, at, end, _CHAINED_IPV4)
    return None if chain is None else chain._replace(fragment=fragment)


def _walk_extensions(buf: Buffer, protocol: int, at: int, end: int, chained: frozenset[int]) -> _Chain | None:
    """Go on from the first extension header, if there is one, as long as the next one is among chained."""
    most, fragment, extensions = at + MAX_EXTENSION_BYTES, None, bytearray()
    while protocol in chained:
        if at + 8 > end or len(extensions) == MAX_EXTENSIONS:
            return None
        extensions.append(protocol)
        following, size = buf[at], _size(protocol, buf[at + 1])
        if protocol == FRAGMENT:
            bits = int.from_bytes(buf[at + 2 : at + 4], "big")
            if bits & 0xFFF9:  # not atomic (RFC 6946)
                if fragment is not None:
                    return None
                begin, datagram = bits & 0xFFF8, bytes((following, *buf[at + 4 : at + 8]))
                fragment = Fragment(datagram, begin, begin + end - at - 8, bool(bits & 1))
                if begin:
                    return _Chain(following, at + 8, bytes(extensions), fragment)
        protocol, at = following, at + size
        if at > end or at > most:
            return None
    return _Chain(protocol, at, bytes(extensions), fragment)


def _size(protocol: int, length: int) -> int:
    """Bytes of an extension header with this in its length field (RFC 4302 2.2 counts otherwise)."""
    if protocol == FRAGMENT:
        return 8
    return length * 4 + 8 if protocol == AUTHENTICATION else length * 8 + 8


def _is_sound(fragment: Fragment | None) -> bool:
    """Whether a fragment has data, and the data ends at a place that is allowed (RFC 791, RFC 8200 4.5)."""
    if fragment is None:
        return True
    size = fragment.end - fragment.begin
    return size > 0 and fragment.end <= _MAX_DATAGRAM and not (fragment.more and size % 8)


def _headers(buf: Buffer, chain: _Chain, packet: Packet) -> Headers:
    """What the transport header says; packet has the addresses."""
    protocol, at = chain.protocol, chain.transport
    ports = bytes(buf[at : at + 4]) if protocol in (TCP, UDP) else b""
    if protocol != packet.protocol or at != packet.transport or ports:
        flow = packet.source + packet.destination + (ports or bytes((protocol,)))
        packet = packet._replace(protocol=protocol, transport=at, flow=flow)
    if protocol != _icmp_of(packet.version):
        return Headers(packet, chain.extensions, *_both_ways(packet, ports), chain.fragment)
    kind, request = buf[at], _REQUESTS.get((protocol, buf[at]))
    identifier = bytes(buf[at + 4 : at + 6])
    connection = _key(packet, bytes((kind,)) + identifier) if (protocol, kind) in _ASKING else b""
    replies_to = b"" if request is None else _key_back(packet, bytes((request,)) + identifier)
    return Headers(packet, chain.extensions, connection, replies_to, chain.fragment)


def _both_ways(packet: Packet, ports: bytes) -> tuple[bytes, bytes]:
    """The keys of a packet's connection and of the one that it replies to, which is the same but for ICMP."""
    return _key(packet, ports), _key_back(packet, ports[2:] + ports[:2])


def _key(packet: Packet, tail: bytes) -> bytes:
    """The key of a connection; tail: its ports, or the type and identifier of an ICMP message."""
    return bytes((packet.protocol,)) + packet.source + packet.destination + tail


def _key_back(packet: Packet, tail: bytes) -> bytes:
    """The key of the connection the other way."""
    return bytes((packet.protocol,)) + packet.destination + packet.source + tail


def _icmp_of(version: int) -> int:
    return ICMP if version == 4 else ICMPV6


def _is_error(buf: Buffer, version: int, chain: _Chain) -> bool:
    if chain.protocol != _icmp_of(version):
        return False
    kind = buf[chain.transport]
    return kind in _ICMP_ERRORS if version == 4 else kind < _FIRST_ICMPV6_INFORMATION


def _quoted(buf: Buffer, start: int, end: int) -> Headers | None:
    """The packet at start, of which a beginning is there; None where that does not hold its ports."""
    version = buf[start] >> 4 if start < end else 0
    if version not in (4, 6) or (chain := _walk(buf, start, end)) is None:
        return None
    later = chain.fragment is not None and chain.fragment.begin
    if later or chain.transport + min(8, _LEAST.get(chain.protocol, 0)) > end:
        return None
    if _is_error(buf, version, chain):
        return None  # no error is about an error (RFC 1122 3.2.2, RFC 4443 2.4 e)
    first, size = (start + 12, 4) if version == 4 else (start + 8, 16)
    source, destination = bytes(buf[first : first + size]), bytes(buf[first + size : first + 2 * size])
    packet = Packet(version, source, destination, chain.protocol, chain.transport, False, b"")
    return _headers(buf, chain, packet)
