"""The routes that a hub tells its hosts, made of its tables: aggregated, bounded, and for whom each is.

Knows: which prefixes may become one, which have no room, which are a host's own addresses.
Refuses to know: tables and when they change (hub_push), the message (push_settings).

A host is not told the prefixes for which it is a gateway itself, and it may refuse some. So prefixes become
one only where there would be no room for them, and only those that have the same gateways. Hosts' own
addresses (/32, /128) always become one with those of any host: an address that is set on a host wins over
every route there.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Mapping
from dataclasses import dataclass, field

from lib.prefixes import Prefix, network
from lib.push_settings import MAX_ROUTES

STEP = 400
"""Rows, or prefixes, that a step goes through: about a millisecond."""

Row = tuple[bytes, int, frozenset[str]]
"""(prefix, length, names of its gateways); without names it is the hub's own, and nobody is its gateway."""
_Class = tuple[int, frozenset[str] | None]
"""Prefixes that may become one: bytes of an address, and their gateways; None for addresses of hosts."""
Steps = Generator[None, None, "Told"]
_NONE: Mapping[str, Collection[bytes]] = {}


@dataclass(frozen=True, slots=True)
class Told:
    """What the hosts of a namespace are told of its routes."""

    routes: tuple[Prefix, ...] = ()
    """IPv4 first; at most MAX_ROUTES."""
    left_out: int = 0
    """How many had no room: the narrowest ones."""
    own: dict[str, frozenset[int]] = field(default_factory=dict)
    """Host -> numbers of the routes for which it is a gateway."""
    addresses: dict[str, tuple[bytes, ...]] = field(default_factory=dict)
    """Host -> the addresses that are routed to it alone."""


def told(
    rows: Iterable[Row], fixed: Mapping[str, Collection[bytes]] = _NONE, most: int = MAX_ROUTES
) -> Steps:
    """What is told of these rows, in steps of about a millisecond; at most `most` routes.

    `fixed` are hosts whose addresses are known: what else is routed to one of them alone is behind it.
    """
    classes: dict[_Class, set[Prefix]] = {}
    addresses: dict[str, list[bytes]] = {}
    for count, (address, length, names) in enumerate(rows):
        host = next(iter(names)) if length == 8 * len(address) and len(names) == 1 else None
        if host is not None and address in fixed.get(host, (address,)):
            addresses.setdefault(host, []).append(address)
            classes.setdefault((len(address), None), set()).add((address, length))
        else:
            classes.setdefault((len(address), names), set()).add((address, length))
        if not count % STEP:
            yield
    owners = yield from _owners(classes, most)
    own_addresses: dict[str, tuple[bytes, ...]] = {}
    for count, (host, found) in enumerate(addresses.items()):
        own_addresses[host] = tuple(sorted(found))
        for address in found:
            whole = address, 8 * len(address)
            if owners.get(whole) == frozenset():
                owners[whole] = frozenset((host,))
        if not count % STEP:
            yield
    kept = yield from _widest(owners, most)
    own: dict[str, set[int]] = {}
    for number, prefix in enumerate(kept):
        for name in owners[prefix]:
            own.setdefault(name, set()).add(number)
        if not number % STEP:
            yield
    numbered = {name: frozenset(numbers) for name, numbers in own.items()}
    return Told(tuple(kept), len(owners) - len(kept), numbered, own_addresses)


def _owners(
    classes: Mapping[_Class, set[Prefix]], most: int
) -> Generator[None, None, dict[Prefix, frozenset[str]]]:
    """Prefix -> its gateways; none for the hub's own, and for addresses of hosts that have become one."""
    owners: dict[Prefix, frozenset[str]] = {}
    has_room = sum(len(found) for (_, gateways), found in classes.items() if gateways is not None) <= most
    for (size, gateways), found in classes.items():
        hubs: set[Prefix] = classes.get((size, frozenset()), set()) if gateways is None else set()
        merged = found
        if gateways is None or not has_room:
            merged = yield from _merged(found, size, hubs)
        for number, prefix in enumerate(merged):
            # A prefix that several of these have is behind no host alone, so it is told to all.
            owners[prefix] = frozenset() if prefix in owners else gateways or frozenset()
            if number % STEP == STEP - 1:
                yield
    return owners


def _merged(found: set[Prefix], size: int, wider: set[Prefix]) -> Generator[None, None, set[Prefix]]:
    """The fewest prefixes that hold the same addresses, without what one of `wider` holds already."""
    by_length: dict[int, set[bytes]] = {}
    for prefix, length in found:
        by_length.setdefault(length, set()).add(prefix)
    lengths = {length for _, length in wider}
    merged: set[Prefix] = set()
    for length in range(8 * size, -1, -1):
        here = by_length.get(length, set())
        for number, prefix in enumerate(list(here)):
            if not number % STEP:
                yield
            if prefix not in here:  # it went with its other half
                continue
            half = _other_half(prefix, length) if length else b""
            if half in here:
                here.discard(half)
                by_length.setdefault(length - 1, set()).add(network(prefix, length - 1))
            elif not _is_held(prefix, length, by_length, wider, lengths):
                merged.add((prefix, length))
    # What was merged later may hold what was kept before it.
    held: dict[int, set[bytes]] = {}
    for prefix, length in merged:
        held.setdefault(length, set()).add(prefix)
    left: set[Prefix] = set()
    for number, (prefix, length) in enumerate(merged):
        if not _is_held(prefix, length, held, wider, lengths):
            left.add((prefix, length))
        if not number % STEP:
            yield
    return left


def _widest(prefixes: Iterable[Prefix], most: int) -> Generator[None, None, list[Prefix]]:
    """At most so many prefixes, the widest ones for their version of IP; those of IPv4 first."""
    by_width: dict[int, list[Prefix]] = {}
    for number, prefix in enumerate(prefixes):
        by_width.setdefault(prefix[1] * (16 // len(prefix[0])), []).append(prefix)
        if not number % STEP:
            yield
    kept: list[Prefix] = []
    for width in sorted(by_width):
        room = most - len(kept)
        if len(by_width[width]) > room:
            kept += yield from _first(by_width[width], room)
        else:
            kept += by_width[width]
        yield
    return sorted(kept, key=lambda one: (len(one[0]), one))


def _first(prefixes: list[Prefix], count: int) -> Generator[None, None, list[Prefix]]:
    """The first `count` in order. To sort all of a long list at once would take ten milliseconds."""
    first: list[Prefix] = []
    for start in range(0, len(prefixes) if count else 0, STEP):
        first = sorted([*first, *prefixes[start : start + STEP]])[:count]
        yield
    return first


def _is_held(
    prefix: bytes, length: int, others: dict[int, set[bytes]], wider: set[Prefix], lengths: set[int]
) -> bool:
    """Whether a shorter prefix holds this one, or one of `wider` that is no longer."""
    if any(shorter < length and network(prefix, shorter) in found for shorter, found in others.items()):
        return True
    return any(bits <= length and (network(prefix, bits), bits) in wider for bits in lengths)


def _other_half(prefix: bytes, length: int) -> bytes:
    """The prefix of the same length that makes one a bit shorter together with this one."""
    bit = 1 << (8 * len(prefix) - length)
    return (int.from_bytes(prefix, "big") ^ bit).to_bytes(len(prefix), "big")
