"""Trusted proxies before a hub, and the address of a client that such a proxy names in an HTTP header.

    X-Forwarded-For: 192.0.2.66, 198.51.100.7, 10.0.0.2       each proxy has appended who came to it
                     forged      the client    trusted        read from right to left

Knows: which addresses are trusted, and how the header is read: every address that a trusted proxy has
appended is true, and the first one that is not a trusted proxy's is the client's. What stands left of it was
written by the client, who may write anything.
Refuses to know: HTTP (stream_websocket), PROXY headers (wire_proxy), to what an address is limited (limits).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

from lib.addresses import address, join_host_port
from lib.prefixes import PrefixSet

FORWARDED = "forwarded"
"""The standard header (RFC 7239), in lower case. It has a notation of its own; all others list addresses."""
MAX_PROXIES = 32
"""Addresses of a header that are looked at."""
_ADDRESS = re.compile(r"(?:\[([^\[\]]*)\]|([^:\[\]]*))(?::([0-9]{1,5}))?|([^\[\]]*)")
"""[IPv6] or IPv4, perhaps with a port; else IPv6 without brackets."""


class Named(NamedTuple):
    """A client's address as a trusted proxy has named it; of the two texts one is empty."""

    peer: str
    """address:port, the port 0 where none is named."""
    wrong: str
    """Why no address could be read."""


def is_trusted(text: str, trusted: PrefixSet) -> bool:
    """Whether an IP address lies in one of these prefixes."""
    if not trusted:
        return False
    try:
        return trusted.holds(ip_address(text.partition("%")[0]).packed)
    except ValueError:
        return False


def client_of(values: Sequence[str], header: str, trusted: PrefixSet) -> Named:
    """The client's address by the values of `header`, of which there is one for each line of that name.

    Where all addresses are trusted, it is the one farthest from the hub.
    """
    found: tuple[str, int] | None = None
    for number, item in enumerate(_from_the_right(values, header)):
        if number == MAX_PROXIES:
            return Named("", f"more than {MAX_PROXIES} proxies")
        try:
            found = _address_and_port(item)
        except ValueError:
            return Named("", f"{item[:64]!r} is no address")
        if not is_trusted(found[0], trusted):
            break
    return Named(join_host_port(*found), "") if found else Named("", "the header is missing")


def named(address_and_port: tuple[str, int] | None) -> Named:
    """The client's address as a PROXY header has it."""
    if address_and_port is None:
        return Named("", "the header has no IP address")
    host, port = address_and_port
    try:
        return Named(join_host_port(*_sane(address(host), port)), "")
    except ValueError as wrong:
        return Named("", f"{host}: {wrong}")


def _from_the_right(values: Sequence[str], header: str) -> Iterator[str]:
    """The items of a header, the last one first. No valid item of any such header has a comma inside."""
    read = _node if header.lower() == FORWARDED else str.strip
    for value in reversed(values):
        yield from map(read, reversed(value.split(",")))


def _node(element: str) -> str:
    """The `for` in an element of Forwarded, as in `for="[2001:db8::1]:47";proto=https`; else the element."""
    for pair in element.split(";"):
        name, equals, value = pair.strip().partition("=")
        if equals and name.lower() == "for":
            return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value
    return element.strip()


def _address_and_port(item: str) -> tuple[str, int]:
    """(address, port) of an address with or without a port, which is 0 then. Raises ValueError."""
    matched = _ADDRESS.fullmatch(item)
    if matched is None:
        raise ValueError("brackets that do not match")
    return _sane(address(matched[1] or matched[2] or matched[4] or ""), int(matched[3] or 0))


def _sane(found: IPv4Address | IPv6Address, port: int) -> tuple[str, int]:
    """(address, port) of a client, an IPv4-mapped address as that of IPv4. Raises ValueError."""
    if isinstance(found, IPv6Address):
        found = found.ipv4_mapped or found
    if found.is_unspecified or found.is_multicast or port > 65535:
        raise ValueError("nobody comes from there")
    return str(found), port
