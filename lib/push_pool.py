"""A pool of addresses from which a hub gives its hosts one each: always the same one to the same host.

Knows: which address a host gets, which are taken, whose address goes where none is left.
Refuses to know: tables and routes (push_leases), where leases are kept (push_leases), sessions.

Where a host's address begins to be looked for is a hash of its name, so that most hosts get the same one even
if nothing was kept. Where that address is taken, the next places are tried; no two hosts ever have the same
one. A host that is away keeps its address until there is no other one for a new host: then the one goes that
was given to the host that has been away for longest.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator

from lib.prefixes import Prefix, covers

MAX_LEASES = 65_536
"""Addresses that a pool gives at most, of both versions of IP together."""
TRIES = 4096
"""Places that are tried for a host before another one's address is taken."""
UNFIT = 16
"""Leases of addresses that it may not give (Pool.note) which are ended for one host at most."""

Key = tuple[str, int]
"""(host name, bytes of its address: 4 or 16)."""


class Pool:
    """The addresses of one router's pool, and which host has which. All addresses are packed."""

    def __init__(
        self, prefixes: Iterable[Prefix], may_give: Callable[[bytes], bool] = lambda address: True
    ) -> None:
        """`may_give` says whether an address is nobody else's: no fixed one, no hub's, in no other route."""
        self.prefixes = tuple(prefixes)
        self.may_give = may_give
        self._leases: OrderedDict[Key, bytes] = OrderedDict()
        """The one whose host was seen longest ago is first."""
        self._holders: dict[bytes, Key] = {}
        self._given = {4: 0, 16: 0}

    def __len__(self) -> int:
        return len(self._leases)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The versions of IP that it has addresses of, as bytes of an address: 4, 16 or both."""
        return tuple(dict.fromkeys(len(prefix) for prefix, _ in self.prefixes))

    def total(self, size: int) -> int:
        """Its addresses of a version of IP, without the first and the last one of each prefix."""
        return sum(_count(*prefix) for prefix in self.prefixes if len(prefix[0]) == size)

    def given(self, size: int) -> int:
        """How many of these are some host's."""
        return self._given[size]

    def leases(self) -> Iterator[tuple[str, bytes]]:
        """(host, address) of every lease; the one whose host was seen longest ago is first."""
        return ((host, address) for (host, _), address in self._leases.items())

    def known(self, host: str, size: int) -> bytes | None:
        """The address that a host has, of a version of IP; None for none."""
        return self._leases.get((host, size))

    def holder(self, address: bytes) -> str | None:
        """The host that has an address; None for nobody."""
        key = self._holders.get(address)
        return key[0] if key is not None else None

    def put(self, host: str, address: bytes) -> bool:
        """Note a lease that was kept; False where it cannot be any more."""
        return self.fits(address) and self.note(host, address)

    def note(self, host: str, address: bytes) -> bool:
        """Note a lease of any address; False where the host has one already, or another host has this one."""
        key = host, len(address)
        if key in self._leases or address in self._holders or len(self) >= MAX_LEASES:
            return False
        self._hold(key, address)
        return True

    def lease(self, host: str, size: int, is_here: Callable[[str], bool]) -> bytes | None:
        """The address of a host, the one that it had where it had one; None where there is none left.

        `is_here` says whether a host is connected: such a one keeps its address.
        """
        key = host, size
        had = self._leases.get(key)
        if had is not None:
            self._leases.move_to_end(key)
            return had
        if len(self) >= MAX_LEASES and self._take_back(0, is_here) is None:
            return None
        address = self._free(host, size)
        for _ in range(UNFIT):
            taken = None if address is not None else self._take_back(size, is_here)
            if taken is None:
                break
            address = taken if self.fits(taken) else None
        if address is not None:
            self._hold(key, address)
        return address

    def seen(self, host: str) -> None:
        """Note that a host is here, or was here until now."""
        for size in (4, 16):
            if (host, size) in self._leases:
                self._leases.move_to_end((host, size))

    def check(self, host: str, address: bytes, wanted: bool = True) -> None:
        """End a lease that is not wanted, or whose address is somebody else's or not in the pool any more."""
        key = host, len(address)
        if self._leases.get(key) == address and not (wanted and self.fits(address)):
            self._end(key)

    def _hold(self, key: Key, address: bytes) -> None:
        self._leases[key] = address
        self._holders[address] = key
        self._given[key[1]] += 1

    def _end(self, key: Key) -> None:
        del self._holders[self._leases.pop(key)]
        self._given[key[1]] -= 1

    def fits(self, address: bytes) -> bool:
        """Whether an address is one that it may give."""
        return any(
            covers(*prefix, address) and not _is_end(prefix, address) for prefix in self.prefixes
        ) and self.may_give(address)

    def _free(self, host: str, size: int) -> bytes | None:
        """An address that nobody has, from where the host's own begins to be looked for."""
        prefixes = [one for one in self.prefixes if len(one[0]) == size]
        counts = [_count(*prefix) for prefix in prefixes]
        total = sum(counts)
        if not total:
            return None
        start = int.from_bytes(
            hashlib.blake2b(f"{size}/{host}".encode("utf-8", "replace")).digest()[:16], "big"
        )
        for turn in range(min(total, TRIES)):
            place = (start + turn) % total
            number = 0
            while place >= counts[number]:
                place -= counts[number]
                number += 1
            address = (int.from_bytes(prefixes[number][0], "big") + 1 + place).to_bytes(size, "big")
            if address not in self._holders and self.may_give(address):
                return address
        return None

    def _take_back(self, size: int, is_here: Callable[[str], bool]) -> bytes | None:
        """Take back the address of who has been away for longest; of any version of IP for size 0."""
        for key in list(self._leases):
            if is_here(key[0]):
                self._leases.move_to_end(key)
            elif not size or key[1] == size:
                address = self._leases[key]
                self._end(key)
                return address
        return None


def _count(prefix: bytes, length: int) -> int:
    """The addresses of a prefix without the first and the last one."""
    return (1 << (8 * len(prefix) - length)) - 2


def _is_end(prefix: Prefix, address: bytes) -> bool:
    """Whether an address is the first or the last one of a prefix: a network's own, and its broadcast's."""
    spare = (1 << (8 * len(address) - prefix[1])) - 1
    return int.from_bytes(address, "big") & spare in (0, spare)
