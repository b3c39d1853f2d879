"""Arithmetic of packed IP prefixes: mask, containment, text.

Knows: addresses of 4 and 16 bytes, and lengths in bits.
Refuses to know: tables (route_trie, route_table), and how people may write a prefix (addresses, route_parse).

A prefix is (address, length): 4 or 16 bytes whose bits beyond `length` are clear. IPv4 and IPv6 never
mix: an IPv4-mapped IPv6 address is IPv6.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address
from socket import AF_INET, AF_INET6, inet_ntop

Prefix = tuple[bytes, int]
_DOTTED = bytes(10)
"""inet_ntop writes IPv6 addresses that begin so with an IPv4 address at their end; ipaddress does not."""


def network(address: bytes, length: int) -> bytes:
    """The address with every bit beyond the first `length` cleared."""
    spare = 8 * len(address) - length
    number = int.from_bytes(address, "big")
    cleared = number >> spare << spare
    return address if cleared == number else cleared.to_bytes(len(address), "big")


def covers(prefix: bytes, length: int, address: bytes) -> bool:
    """Whether an address lies within a prefix; False where they are of different families."""
    if len(prefix) != len(address):
        return False
    differing = int.from_bytes(prefix, "big") ^ int.from_bytes(address, "big")
    return not differing >> (8 * len(address) - length)


def packed(network: IPv4Network | IPv6Network) -> Prefix:
    """A network of the standard library as a prefix."""
    return network.network_address.packed, network.prefixlen


def text(prefix: bytes, length: int) -> str:
    """A prefix as text, `10.0.0.0/8`, as ipaddress writes it. This is ten times as fast, for large tables."""
    if len(prefix) == 4:
        return f"{inet_ntop(AF_INET, prefix)}/{length}"
    if prefix.startswith(_DOTTED):
        return f"{ip_address(prefix)}/{length}"
    return f"{inet_ntop(AF_INET6, prefix)}/{length}"
