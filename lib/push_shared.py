"""The list of addresses of one pool that all hubs of a cluster share, and every change to it.

Knows: what the list's text is, who gets which address, what becomes of a list that was lost or is an old one.
Refuses to know: where the text is kept (push_shared_redis), when it is read (push_sharing), how an address is
chosen (push_pool).

    HMAC in hex
    {"number": 12, "life": "9f86d081884c7d65", "settled": true, "hubs": {"hub-1": ["10.20.0.1"]}}
    ["10.20.113.7", "host-1", 11]

`number` grows with each change. A lease has the number of the change in which its host was seen last: where
no address is left, the lowest of hosts that are away goes first. `hubs` has the hubs' own addresses, which
no host gets.

The hub that finds the list gone, or an older one (Redis was emptied, or lost its last seconds), writes what
it knows and begins a new life of it. A life begins unsettled: each hub adds what it alone knows, and no host
gets an address that it had not until there was time for that.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import NamedTuple

from lib.push_pool import MAX_LEASES, Key, Pool

MAX_BYTES = 64 << 20
"""Bytes of a list's text: more than 65,536 leases of hosts with the longest names have."""
MAX_HUBS = 1024
"""Hubs whose own addresses are in a list; of more the one that was noted first goes."""
MAX_OWN = 8
"""Addresses of one hub in a list."""


class Lease(NamedTuple):
    """An address of a host."""

    address: bytes
    seen: int
    """The number of the list when the host was seen last."""


@dataclass(frozen=True, slots=True)
class SharedList:
    """A list at one time; nothing in it is changed any more."""

    number: int = 0
    life: str = ""
    """A new one each time that the list was lost; empty for what one hub knew by itself."""
    settled: bool = True
    hubs: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict)
    leases: Mapping[Key, Lease] = field(default_factory=dict)


@dataclass(slots=True)
class Wishes:
    """What one hub wants of a list."""

    hub: str
    own: tuple[bytes, ...]
    """The hub's own addresses in the pool."""
    wanted: Collection[Key]
    """Hosts here that have to get an address, or to be noted as here."""
    seen: Collection[str]
    """Hosts that were seen here since the last change."""
    may_settle: bool = False
    """Whether there was time enough for all hubs, should the list be unsettled."""


def caught_up(found: SharedList | None, mine: SharedList, life: str) -> SharedList:
    """The list as it goes on from what was found (None: nothing) and what this hub knew of it.

    `life` is the name of a new one, should one begin.
    """
    if found is None:
        return replace(mine, number=mine.number + 1, life=life, settled=False)
    number = max(found.number, mine.number) + 1
    if found.life != mine.life:
        leases = _both(found, mine)
        if len(leases) == len(found.leases) and found.number > mine.number:
            return found
        return replace(found, number=number, leases=leases)
    if found.number > mine.number or found == mine:
        return found
    newer, older = (mine, found) if found.number < mine.number else (found, mine)
    return SharedList(number, life, False, newer.hubs, _both(newer, older))


def _both(first: SharedList, other: SharedList) -> dict[Key, Lease]:
    """The leases of the first list, and those of another one that go with them."""
    found = dict(first.leases)
    taken = {lease.address for lease in found.values()}
    more = sorted(other.leases.items(), key=lambda item: -item[1].seen)
    for key, (address, seen) in more[: MAX_LEASES - len(found)]:
        if key not in found and address not in taken:
            taken.add(address)
            found[key] = Lease(address, min(seen, first.number))
    return found


Row = tuple[Key, Lease]


def in_order(shared: SharedList) -> list[Row]:
    """The leases of a list; the one whose host was seen longest ago is first."""
    return sorted(shared.leases.items(), key=lambda item: item[1].seen)


def settled(
    base: SharedList,
    rows: Iterable[Row],
    wishes: Wishes,
    pool: Pool,
    is_kept: Callable[[Key, Lease], bool],
    step: Callable[[], None] = lambda: None,
) -> SharedList:
    """The list with what one hub wants of it; the very same one where that changes nothing.

    `rows` are its leases in order. `pool` is empty and has the hub's prefixes; `is_kept` says of whose lease
    it is that no other host may get it. `step` is called again and again.
    """
    ours, number = set(wishes.own[:MAX_OWN]), base.number + 1
    reserved = ours.union(*(own for hub, own in base.hubs.items() if hub != wishes.hub))
    may_give = pool.may_give
    pool.may_give = lambda address: address not in reserved and may_give(address)
    for key, lease in rows:
        if lease.address not in reserved:
            pool.note(key[0], lease.address)
        step()
    new = base.settled or wishes.may_settle
    noted: set[Key] = set()
    for host, size in wishes.wanted:
        had = pool.known(host, size)
        if had is not None and not pool.fits(had) and new:
            pool.check(host, had)
        if (pool.known(host, size) is not None or new) and pool.lease(
            host, size, lambda other: _is_kept(base, other, is_kept)
        ):
            noted.add((host, size))
        step()
    noted |= {(host, size) for host in wishes.seen for size in (4, 16) if pool.known(host, size) is not None}
    leases: dict[Key, Lease] = {}
    is_same = True
    for host, address in list(pool.leases()):
        key = host, len(address)
        before = base.leases.get(key)
        if before is None or before.address != address or key in noted:
            is_same, before = False, Lease(address, number)
        leases[key] = before
        step()
    is_same = is_same and len(leases) == len(base.leases)
    hubs = dict(base.hubs)
    if tuple(hubs.get(wishes.hub, ())) != (own := tuple(sorted(ours))):
        hubs.pop(wishes.hub, None)
        if own:
            hubs[wishes.hub] = own
        if len(hubs) > MAX_HUBS:
            del hubs[next(iter(hubs))]
    if is_same and hubs == base.hubs and new == base.settled:
        return base
    return SharedList(number, base.life, new, hubs, leases)


def _is_kept(base: SharedList, host: str, is_kept: Callable[[Key, Lease], bool]) -> bool:
    """Whether a host keeps its addresses; one that has got its first one just now does."""
    found = [(key, base.leases[key]) for key in ((host, 4), (host, 16)) if key in base.leases]
    return not found or any(is_kept(*one) for one in found)


# --- the text


def dump(shared: SharedList, sign: Callable[[bytes], bytes]) -> bytes:
    """The text of a list, signed."""
    head = {
        "number": shared.number,
        "life": shared.life,
        "settled": shared.settled,
        "hubs": {hub: [str(ip_address(one)) for one in own] for hub, own in shared.hubs.items()},
    }
    lines = [json.dumps(head)]
    lines += [
        json.dumps([str(ip_address(lease.address)), host, lease.seen])
        for (host, _), lease in shared.leases.items()
    ]
    body = "\n".join(lines).encode()
    return sign(body).hex().encode() + b"\n" + body


def parse(text: bytes, is_signed: Callable[[bytes, bytes], bool]) -> SharedList:
    """The list in a text. `is_signed` is asked about (body, signature). Raises ValueError."""
    if len(text) > MAX_BYTES:
        raise ValueError("the list is too long")
    first, _, body = text.partition(b"\n")
    try:
        is_good = is_signed(body, bytes.fromhex(first[:128].decode("ascii")))
    except ValueError:
        is_good = False
    if not is_good:
        raise ValueError("the list is not signed by a hub of this cluster")
    try:
        head, *rows = map(json.loads, body.split(b"\n"))
        leases: dict[Key, Lease] = {}
        for address, host, seen in rows:
            packed = ip_address(str(address)).packed
            leases[str(host), len(packed)] = Lease(packed, int(seen))
        hubs = {
            str(hub): tuple(ip_address(one).packed for one in own[:MAX_OWN])
            for hub, own in head["hubs"].items()
        }
        found = SharedList(int(head["number"]), str(head["life"]), bool(head["settled"]), hubs, leases)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        raise ValueError("the list cannot be read") from None
    if len(rows) != len({lease.address for lease in leases.values()}) or len(rows) > MAX_LEASES:
        raise ValueError("the list has an address twice, or too many")
    return found


def remembered(leases: Iterable[tuple[str, bytes]], number: int, life: str) -> SharedList:
    """What a hub knew of a list when it ended: its leases, the one seen longest ago first.

    It counts as one change older than it was. So the list that it was is the newer one, and not another one.
    """
    known = {
        (host, len(address)): Lease(address, min(place, max(0, number - 1)))
        for place, (host, address) in enumerate(leases)
    }
    return SharedList(max(0, number - 1), life, True, {}, known)
