"""SETTINGS: what a hub tells a host about its addresses and routes, as bytes (PROTOCOL.md).

Knows: the layout of the message's fields, the bounds on each, and which part of it all hosts of a namespace
share.
Refuses to know: what a hub puts into it (push_routes, hub_push), what a client takes of it (push_accept).

A prefix is packed as its length (1 byte) and as many bytes of its address as the length needs:

    10.20.0.0/16   ->  16 | 10 20                2001:db8::/32  ->  32 | 20 01 0d b8
    10.20.0.128/25 ->  25 | 10 20 00 80          0.0.0.0/0      ->   0

One frame says everything, so nothing has to be remembered of the one before. The routes are the same bytes
for all hosts of a namespace and are encoded once; which of them lead to the host itself is said by their
numbers.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from itertools import chain, islice

from lib import wire_fields
from lib.errors import ProtocolError
from lib.prefixes import Prefix, network

MAX_ROUTES = 2048
"""Routes of a message: of IPv6, each at its longest, they have 34,816 bytes of the frame's 65,535."""
MAX_ADDRESSES = 16
"""Addresses of a host."""
MAX_DNS = 8
"""Name servers."""
MAX_DOMAIN = 253
"""Bytes of a domain (RFC 1035, 2.3.4)."""

_SIZES = frozenset((4, 16))


class Field(IntEnum):
    """Fields of SETTINGS."""

    ADDRESSES = 1
    OWN = 2
    ROUTES4 = 3
    ROUTES6 = 4
    LEFT_OUT = 5
    MTU = 6
    DNS = 7
    DOMAIN = 8
    SERIAL = 9


@dataclass(frozen=True, slots=True)
class Pushed:
    """All that a hub tells a host; without anything in it, that it has nothing to say any more."""

    addresses: tuple[bytes, ...] = ()
    """The host's own addresses, packed."""
    routes: tuple[Prefix, ...] = ()
    """What is reached through the hub: IPv4 first, then IPv6. Those with numbers in `own` are not."""
    own: frozenset[int] = frozenset()
    """Numbers of the routes that lead to this host itself."""
    left_out: int = 0
    """Routes that had no room."""
    mtu: int = 0
    """The MTU that the host's device is to have, in bytes; 0 where the hub says nothing of it."""
    dns: tuple[bytes, ...] = ()
    """Addresses of name servers, packed."""
    domain: str = ""
    """The domain whose names these name servers know."""
    serial: int = 0
    """Number of the message within its session. A client sends it back, and forgets what has a lower one."""

    @property
    def others(self) -> tuple[Prefix, ...]:
        """The routes that lead to other hosts."""
        return tuple(route for number, route in enumerate(self.routes) if number not in self.own)

    @property
    def mine(self) -> tuple[Prefix, ...]:
        """The routes that lead to this host itself."""
        return tuple(route for number, route in enumerate(self.routes) if number in self.own)


def shared(
    routes: Collection[Prefix], left_out: int = 0, mtu: int = 0, dns: Iterable[bytes] = (), domain: str = ""
) -> bytes:
    """The fields that are the same for all hosts of a namespace.

    `routes` are at most MAX_ROUTES, those of IPv4 first. Raises ValueError for more.
    """
    if len(routes) > MAX_ROUTES:
        raise ValueError(f"more than {MAX_ROUTES} routes: {len(routes)}")
    body = (
        (Field.ROUTES4, b"".join(_packed(*route) for route in routes if len(route[0]) == 4)),
        (Field.ROUTES6, b"".join(_packed(*route) for route in routes if len(route[0]) == 16)),
        (Field.LEFT_OUT, struct.pack("!I", left_out) if left_out else b""),
        (Field.MTU, struct.pack("!I", mtu) if mtu else b""),
        (Field.DNS, _encode_addresses(tuple(dns)[:MAX_DNS])),
        (Field.DOMAIN, domain.encode()[:MAX_DOMAIN]),
    )
    return wire_fields.encode((kind, data) for kind, data in body if data)


def fields(addresses: Iterable[bytes], own: Iterable[int]) -> bytes:
    """The fields of the message to one host that no other host gets, but for its serial."""
    numbers = sorted(own)
    body = (
        (Field.ADDRESSES, _encode_addresses(tuple(addresses)[:MAX_ADDRESSES])),
        (Field.OWN, struct.pack(f"!{len(numbers)}H", *numbers)),
    )
    return wire_fields.encode((kind, data) for kind, data in body if data)


def numbered(serial: int) -> bytes:
    """The field with a message's serial; alone it is a client's reply."""
    return wire_fields.encode([(Field.SERIAL, struct.pack("!I", serial))])


def decode(found: dict[int, bytes]) -> Pushed:
    """The message with these fields. Raises ProtocolError where one of them is not as it has to be."""
    # One prefix more than there may be is read at most: a frame has room for 65,000, a microsecond each.
    routes = tuple(
        islice(
            chain(
                _decode_prefixes(found.get(Field.ROUTES4, b""), 4),
                _decode_prefixes(found.get(Field.ROUTES6, b""), 16),
            ),
            MAX_ROUTES + 1,
        )
    )
    if len(routes) > MAX_ROUTES:
        raise ProtocolError(f"SETTINGS with more routes than {MAX_ROUTES}")
    own = found.get(Field.OWN, b"")
    if len(own) > 2 * MAX_ROUTES:
        raise ProtocolError("SETTINGS with more numbers of routes than there may be routes")
    if len(own) % 2:
        raise ProtocolError("SETTINGS with half a number of a route")
    return Pushed(
        tuple(islice(_decode_addresses(found.get(Field.ADDRESSES, b"")), MAX_ADDRESSES)),
        routes,
        frozenset(number for (number,) in struct.iter_unpack("!H", own) if number < len(routes)),
        int.from_bytes(found.get(Field.LEFT_OUT, b"")[:4], "big"),
        int.from_bytes(found.get(Field.MTU, b"")[:4], "big"),
        tuple(islice(_decode_addresses(found.get(Field.DNS, b"")), MAX_DNS)),
        _decode_domain(found.get(Field.DOMAIN, b"")),
        int.from_bytes(found.get(Field.SERIAL, b"")[:4], "big"),
    )


def _packed(address: bytes, length: int) -> bytes:
    return bytes((length,)) + address[: (length + 7) // 8]


def _decode_prefixes(data: bytes, size: int) -> Iterator[Prefix]:
    at = 0
    while at < len(data):
        length = data[at]
        after = at + 1 + (length + 7) // 8
        if length > 8 * size or after > len(data):
            raise ProtocolError("SETTINGS with a prefix that is none")
        yield network(data[at + 1 : after].ljust(size, b"\0"), length), length
        at = after


def _encode_addresses(addresses: Iterable[bytes]) -> bytes:
    return b"".join(bytes((len(address),)) + address for address in addresses)


def _decode_addresses(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        size = data[at]
        if size not in _SIZES or at + 1 + size > len(data):
            raise ProtocolError("SETTINGS with an address that is none")
        yield data[at + 1 : at + 1 + size]
        at += 1 + size


def _decode_domain(data: bytes) -> str:
    """A domain in ASCII, as DNS carries it; empty where it is not."""
    text = data[:MAX_DOMAIN].decode("ascii", "replace").lower()
    labels = text.removesuffix(".").split(".")
    right = all(
        0 < len(label) <= 63 and label.replace("-", "a").replace("_", "a").isalnum() for label in labels
    )
    return ".".join(labels) if right and text.isascii() else ""
