"""Arithmetic of packed IP prefixes: mask, containment, text.

Knows: addresses of 4 and 16 bytes, and lengths in bits.
Refuses to know: tables (route_trie, route_table), and how people may write a prefix (addresses, route_parse).

A prefix is (address, length): 4 or 16 bytes whose bits beyond `length` are clear. IPv4 and IPv6 never
mix: an IPv4-mapped IPv6 address is IPv6.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, ip_address
from socket import AF_INET, AF_INET6, inet_ntop

Prefix = tuple[bytes, int]
SHOWN = 8
"""Prefixes of a set that are written out where it is shown in one line."""
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


def overlap(one: Prefix, other: Prefix) -> bool:
    """Whether some address lies in both prefixes; False where they are of different families."""
    return covers(*one, other[0]) or covers(*other, one[0])


class PrefixSet:
    """Prefixes, of which it is asked whether one holds an address: in a time that does not grow with them.

    Two are equal that were filled alike.
    """

    __slots__ = ("_by_length", "_prefixes")

    def __init__(self, prefixes: Iterable[Prefix] = ()) -> None:
        self._prefixes: list[Prefix] = []
        self._by_length: dict[tuple[int, int], set[bytes]] = {}
        """(bytes of an address, length) -> the prefixes of that length."""
        for prefix in prefixes:
            self.add(prefix)

    def add(self, prefix: Prefix) -> None:
        """Add a prefix; only while nobody else has this set."""
        self._prefixes.append(prefix)
        self._by_length.setdefault((len(prefix[0]), prefix[1]), set()).add(prefix[0])

    def holds(self, address: bytes) -> bool:
        """Whether an address lies in one of the prefixes."""
        return any(
            network(address, length) in found
            for (size, length), found in self._by_length.items()
            if size == len(address)
        )

    def texts(self) -> Iterator[str]:
        """The prefixes as they are written, in the order in which they were added."""
        return (text(*prefix) for prefix in self._prefixes)

    def __len__(self) -> int:
        return len(self._prefixes)

    def __str__(self) -> str:
        return f"{len(self)} prefixes" if len(self) > SHOWN else ", ".join(self.texts()) or "none"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PrefixSet) and self._prefixes == other._prefixes

    def __hash__(self) -> int:
        return hash(len(self))


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
