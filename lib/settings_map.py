"""Settings of a prefix map (`map`): under which prefix a network behind a client appears to others.

Knows: which address stands for which, what the hub has to route for that.
Refuses to know: how packets are translated (netfilter_map), where the hub's routes are heard of (client).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from lib.prefixes import Prefix, covers, network, overlap, text


class PrefixMap(NamedTuple):
    """A network behind the host, and the prefix of the same length under which others reach it."""

    outside: Prefix
    """What the others see, and the hub routes to this host."""
    inside: Prefix
    """The addresses that the network really has."""

    def __str__(self) -> str:
        return f"{text(*self.outside)}: {text(*self.inside)}"


def to_inside(maps: Iterable[PrefixMap], address: bytes) -> bytes:
    """The address that a packed address from the tunnel is translated to; itself where none is."""
    for (outside, length), (inside, _) in maps:
        if covers(outside, length, address):
            host = int.from_bytes(address, "big") - int.from_bytes(network(address, length), "big")
            return (int.from_bytes(inside, "big") + host).to_bytes(len(address), "big")
    return address


def texts(maps: Iterable[PrefixMap]) -> dict[str, str]:
    """The maps as they are written in a configuration."""
    return {text(*one.outside): text(*one.inside) for one in maps}


def misrouted(maps: Iterable[PrefixMap], routed: Sequence[Prefix], is_all: bool) -> Iterator[str]:
    """A line for each map that the hub's routes to this host do not fit; `is_all` where it has told all."""
    for one in maps:
        outside, inside = text(*one.outside), text(*one.inside)
        bare = [
            prefix for prefix in routed if overlap(prefix, one.inside) and not overlap(prefix, one.outside)
        ]
        for prefix in bare:
            yield (
                f"the hub routes {text(*prefix)} to this host, which shows {inside} as {outside}: "
                f"give the hub a route for {outside} in place of it"
            )
        covered = (covers(*prefix, one.outside[0]) and prefix[1] <= one.outside[1] for prefix in routed)
        if is_all and not bare and not any(covered):
            yield (
                f"the hub does not route {outside} to this host, so nobody reaches {inside} behind it: "
                f"give the hub a route for {outside}"
            )
