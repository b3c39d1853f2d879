"""Addresses of clients, and the matchers of an admission: IPv4 is IPv4, however it is written.

Knows: that ::ffff:192.0.2.7 is 192.0.2.7. Refuses to know: what a match means (rule_admission).
"""

from __future__ import annotations

from ipaddress import ip_address

from lib.addresses import host_of, packed_prefix, without_zone
from lib.prefixes import Prefix

_MAPPED = bytes(10) + b"\xff\xff"
_MAPPED_BITS = 8 * len(_MAPPED)


def matcher(text: str) -> Prefix:
    """The prefix of a matcher, an address or a CIDR. Raises ValueError.

    GOST looks up a host name here once, at its start, and leaves out without a word what is none of these.
    """
    try:
        packed, length = packed_prefix(text)
    except ValueError:
        what = "write an address such as 192.0.2.7, or a CIDR such as 192.0.2.0/24; names are not looked up"
        raise ValueError(f"not an address or CIDR: {text[:64]!r}; {what}") from None
    if packed.startswith(_MAPPED) and length >= _MAPPED_BITS:
        return packed[len(_MAPPED) :], length - _MAPPED_BITS
    return packed, length


def address_of(client: str) -> bytes:
    """The packed address of a client written as address:port. Raises ValueError."""
    packed = ip_address(without_zone(host_of(client))).packed
    return packed.removeprefix(_MAPPED) if len(packed) > 4 else packed


def row(line: str) -> Prefix | None:
    """The matcher in a line of a source; None for an empty line or a comment. Raises ValueError."""
    text = line.partition("#")[0].strip()
    return matcher(text) if text else None
