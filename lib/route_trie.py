"""A multibit trie: longest-prefix match over packed addresses, IPv4 (4 bytes) or IPv6 (16 bytes).

Knows: which prefixes are held, with one value each, and which of them is the longest for an address.
Refuses to know: what a value means, text addresses, families mixed in one table (route_table).

There are two structures. The record holds every prefix and its value in a dict, under a key of its own:

    key = 1 followed by the prefix's bits        10.0.0.0/8 -> 0b1_00001010        0.0.0.0/0 -> 0b1

So `(1 followed by the address's bits) >> (bits - length)` is the key of the prefix of that length which holds
the address, and `key >> 1` is the key of the prefix one bit shorter. The record is split into shards, because
one dict of 700,000 keys pauses for 52 ms while it grows.

The nodes only make look-ups quick. A table of up to SMALL prefixes has none, and its look-up asks the record
for each length in use. Above that there are three levels of nodes, one for each of the first three octets:

    node   [256 slots | held | default]   held: number of prefixes at or beneath this node
    slot   None, a value, or a list: the next node; on the third level a stub instead of a next node
    stub   (shift, … , default)           the lengths beyond /24 to ask the record for, longest first,
                                          each as the shift that makes an address its key

A level owns the prefixes that end within its octet: /0 to /8, /9 to /16, and /17 up. A prefix is painted:
its value is written to every slot of its level that it covers, except the slots of longer prefixes of the
same level. Where a slot holds a next node or a stub, the value is written to that one's default (its last
item) instead, for addresses that nothing further down holds. So painting never goes down to the next level,
and it costs 256 slots at most, even for a default route above a million other prefixes.

Packets must never see a table that is half changed, so whoever makes many changes makes them on a copy. To
copy or free a million prefixes takes a good part of a second, so both are done in steps. Copies share the
stubs, which is why stubs are tuples.
"""

# A slot holds a value or a list: mypy sees Any.
# mypy: no-warn-return-any

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Generator, Iterator, Sequence
from heapq import merge
from itertools import chain, islice
from typing import Any, Generic, TypeVar

V = TypeVar("V")

SMALL = 1024
"""A table with more prefixes than this gets nodes; when only a quarter of it is left, they are removed."""

_SHARDS = 17
"""Odd, so that the keys of one shard differ in their low bits, which is what a dict hashes integers by."""
_STEP = 2048
"""Keys that a step of a walk looks at."""
_RUNS = 64
"""Sorted runs that a walk keeps before it merges them, where only the first few prefixes are wanted."""
_HELD = 256
_DEFAULT = 257
_LEVELS = 3
_NODE_BITS = 8 * _LEVELS
_LEVEL = tuple(min(max(length - 1, 0) // 8, _LEVELS - 1) for length in range(129))
"""Prefix length -> the level that owns it: /0 to /8 is 0, /9 to /16 is 1, /17 and longer is 2."""


class Trie(Generic[V]):
    """A table of prefixes of one family. A value may be anything but None, a list or a tuple.

    Nothing may be inserted or deleted while `items()` is being iterated.
    """

    __slots__ = ("_bits", "_count", "_lengths", "_mark", "_record", "_root", "_shifts")

    def __init__(self, size: int) -> None:
        """`size` is that of an address in bytes, 4 or 16. Raises ValueError."""
        if size not in (4, 16):
            raise ValueError(f"an address has 4 or 16 bytes, not {size}")
        self._bits = 8 * size
        self._mark = 1 << self._bits
        self._record: tuple[dict[int, V], ...] = tuple({} for _ in range(_SHARDS))
        self._count = 0
        self._lengths = [0] * (self._bits + 1)
        self._shifts: list[int] = []
        self._root: list[Any] | None = None

    def insert(self, prefix: bytes, length: int, value: V) -> V | None:
        """Hold `value` for a prefix; returns the value it replaced, None if the prefix is new.

        Raises ValueError for bits set beyond `length`, a wrong size, and a value of None, a list or a tuple.
        """
        if value is None or type(value) in (list, tuple):
            raise ValueError("a trie holds neither None nor lists nor tuples")
        key = self._key(prefix, length)
        shard = self._record[(key >> 8) % _SHARDS]
        old = shard.get(key)
        shard[key] = value
        if old is None:
            self._tally(length, 1)
        if self._root is None:
            if self._count > SMALL:
                self._grow()
        elif old is not value:
            self._place(self._root, prefix, key, value, int(old is None))
        return old

    def delete(self, prefix: bytes, length: int) -> V:
        """Forget a prefix and return its value. Raises KeyError where it is not held."""
        key = self._key(prefix, length)
        old = self._record[(key >> 8) % _SHARDS].pop(key, None)
        if old is None:
            raise KeyError((prefix, length))
        self._tally(length, -1)
        if self._count <= SMALL // 4:
            self._root = None
        if self._root is not None:
            self._remove(self._root, prefix, key)
        return old

    def get(self, prefix: bytes, length: int) -> V | None:
        """The value of exactly this prefix, None where it is not held."""
        return self._at(self._key(prefix, length))

    def lookup(self, address: bytes) -> V | None:
        """The value of the longest prefix that holds `address`; None where none does.

        Called for packets, so the size of `address` is not checked.
        """
        root = self._root
        if root is None:
            return self._ask(self._shifts, address)
        middle = root[address[0]]
        if type(middle) is not list:
            return middle
        last = middle[address[1]]
        if type(last) is not list:
            return middle[_DEFAULT] if last is None else last
        found = last[address[2]]
        if type(found) is tuple:
            stub = found
            found = self._ask(stub[:-1], address)
            if found is None:
                found = stub[-1]
        if found is None:
            found = last[_DEFAULT]
        return middle[_DEFAULT] if found is None else found

    def matches(self, address: bytes) -> list[tuple[int, V]]:
        """Every (length, value) whose prefix holds `address`, longest first."""
        marked = int.from_bytes(address, "big") | self._mark
        found = ((self._bits - shift, self._at(marked >> shift)) for shift in self._shifts)
        return [(length, value) for length, value in found if value is not None]

    def items(self) -> Iterator[tuple[bytes, int, V]]:
        """Every (prefix, length, value) in the order of addresses, a shorter prefix before a longer one.

        All keys are sorted before the first one comes: 1 s for a million.
        """
        for key in sorted(chain.from_iterable(self._record), key=self._order):
            yield *self._prefix(key), self._record[(key >> 8) % _SHARDS][key]

    def unordered(self) -> Iterator[tuple[bytes, int, V]]:
        """Every (prefix, length, value) in no order; nothing is sorted before the first one."""
        for shard in self._record:
            for key, value in shard.items():
                yield *self._prefix(key), value

    __iter__ = items

    def __len__(self) -> int:
        return self._count

    # --- a million at a time, in steps of a few milliseconds

    def copying(self) -> Generator[None, None, Trie[V]]:
        """Make a copy; each yield ends a step. The original must not change meanwhile."""
        twin: Trie[V] = Trie(self._bits // 8)
        record: list[dict[int, V]] = []
        for shard in self._record:
            record.append(shard.copy())
            yield
        twin._record = tuple(record)
        twin._count, twin._lengths, twin._shifts = self._count, self._lengths[:], self._shifts
        root = self._root and self._root[:]
        for octet, middle in enumerate(root[:_HELD] if root else ()):
            if root and type(middle) is list:
                root[octet] = [last[:] if type(last) is list else last for last in middle]
                yield
        twin._root = root
        return twin

    @property
    def shards(self) -> int:
        """Number of parts in which part() finds everything."""
        return len(self._record)

    def part(self, shard: int, begin: int, most: int) -> list[tuple[bytes, int, V]]:
        """At most so many (prefix, length, value) of a shard, in no order, from number `begin` on."""
        found = islice(self._record[shard].items(), begin, begin + most)
        return [(*self._prefix(key), value) for key, value in found]

    def walking(
        self,
        prefix: bytes | None = None,
        length: int = 0,
        *,
        most: int | None = None,
        after: tuple[bytes, int] | None = None,
    ) -> Generator[None, None, tuple[int, Iterator[tuple[bytes, int, V]]]]:
        """Find the prefixes within one (itself included), or all prefixes; each yield ends a step.

        Returns their number, and an iterator over the first `most` of them as (prefix, length, value), in
        the order of `items`; with `after`, a prefix and its length, of those that come after that one. Raises
        RuntimeError, the iterator too, where the table is freed meanwhile.
        """
        last = self._order(self._key(*after)) if after is not None else -1
        lowest = self._order(self._key(prefix, length)) if prefix is not None else 0
        above = (lowest >> 8) + (1 << (self._bits - length)) << 8 if prefix is not None else 1 << 160
        top, count = self._bits + 1, 0
        runs: list[list[int]] = []
        for shard in self._record:
            keys = iter(shard)
            while part := list(islice(keys, _STEP)):
                orders = [(key << (top - (size := key.bit_length()))) << 8 | size for key in part]
                found = sorted([order for order in orders if lowest <= order < above])
                count += len(found)
                first = bisect_right(found, last)
                runs.append(found[first : None if most is None else first + most])
                if most is not None and len(runs) > _RUNS:
                    runs = [list(islice(merge(*runs), most))]
                yield
        held = (order for order in islice(merge(*runs), most))
        return count, (self._held(order) for order in held)

    def _held(self, order: int) -> tuple[bytes, int, V]:
        key = (order >> 8) >> (self._bits + 1 - (order & 255))
        value = self._at(key)
        if value is None:
            raise RuntimeError("the table was changed meanwhile")
        return *self._prefix(key), value

    def freeing(self) -> Generator[None, None, None]:
        """Remove everything; each yield ends a step. The trie must not be used any more."""
        root, self._root = self._root or [], None
        while root:
            root.pop()
            yield
        for shard in self._record:
            shard.clear()
            yield

    # --- the record

    def _key(self, prefix: bytes, length: int) -> int:
        if 8 * len(prefix) != self._bits or not 0 <= length <= self._bits:
            raise ValueError(f"not a prefix of {self._bits} bits: {prefix.hex()}/{length}")
        shift = self._bits - length
        marked = int.from_bytes(prefix, "big") | self._mark
        key = marked >> shift
        if key << shift != marked:
            raise ValueError(f"bits are set beyond the length: {prefix.hex()}/{length}")
        return key

    def _prefix(self, key: int) -> tuple[bytes, int]:
        length = key.bit_length() - 1
        number = (key << (self._bits - length)) ^ self._mark
        return number.to_bytes(self._bits // 8, "big"), length

    def _order(self, key: int) -> int:
        size = key.bit_length()
        return key << (self._bits + 1 - size) << 8 | size

    def _at(self, key: int) -> V | None:
        return self._record[(key >> 8) % _SHARDS].get(key)

    def _ask(self, shifts: Sequence[int], address: bytes) -> V | None:
        """The value of the longest prefix in the record, among those of some lengths, that holds `address`.

        The lengths are given as shifts (bits - length), the longest prefix first.
        """
        marked = int.from_bytes(address, "big") | self._mark
        record = self._record
        for shift in shifts:
            key = marked >> shift
            value = record[(key >> 8) % _SHARDS].get(key)
            if value is not None:
                return value
        return None

    def _tally(self, length: int, step: int) -> None:
        """Count a prefix that came (1) or went (-1), and keep the list of lengths in use up to date."""
        self._count += step
        self._lengths[length] += step
        if self._lengths[length] == (step > 0):  # the first of its length came, or the last one went
            longest_first = range(self._bits, -1, -1)
            self._shifts = [self._bits - n for n in longest_first if self._lengths[n]]

    # --- the nodes

    def _grow(self) -> None:
        self._root = root = _node(None)
        for prefix, length, value in self.items():
            self._place(root, prefix, self._key(prefix, length), value, 1)

    def _place(self, node: list[Any], prefix: bytes, key: int, value: V, new: int) -> None:
        """Write a prefix of the record into the nodes; `new` is 1, or 0 where only its value changed."""
        length = key.bit_length() - 1
        level = _LEVEL[length]
        node[_HELD] += new
        # Down to the node of its level. Where a slot has no next node yet, one is made, and the value painted
        # on the slot becomes its default: look-ups that ended at the slot still find that value.
        for octet in prefix[:level]:
            child = node[octet]
            if type(child) is not list:
                child = node[octet] = _node(child)
            child[_HELD] += new
            node = child
        # Beyond /24 there are no nodes. The slot only learns that the record has to be asked for this length.
        if length > _NODE_BITS:
            _extend(node, prefix[level], self._bits - length)
        else:
            self._paint(node, key, length - 8 * level, value)

    def _remove(self, node: list[Any], prefix: bytes, key: int) -> None:
        """Remove a prefix, which the record no longer has, from the nodes.

        A stub keeps its length until its node is removed: whether another prefix of this length is under the
        slot is not known here, and to ask the record in vain does no harm.
        """
        length = key.bit_length() - 1
        level = _LEVEL[length]
        node[_HELD] -= 1
        for octet in prefix[:level]:
            child = node[octet]
            child[_HELD] -= 1
            # It was the last prefix beneath: the node goes, and its slot gets back the value painted on it.
            if not child[_HELD]:
                node[octet] = child[_DEFAULT]
                return
            node = child
        # Its slots now belong to the next shorter prefix of the same level, if there is one. None leaves
        # them empty, and look-ups find the default of the node, which the level above has painted.
        if length <= _NODE_BITS:
            self._paint(node, key, length - 8 * level, self._cover(key, length, level))

    def _cover(self, key: int, length: int, level: int) -> V | None:
        """The value of the next shorter prefix that the same level owns; None where there is none."""
        shortest = 8 * level + 1 if level else 0
        covers = (self._at(key >> (length - n)) for n in range(length - 1, shortest - 1, -1))
        return next((value for value in covers if value is not None), None)

    def _paint(self, node: list[Any], key: int, depth: int, value: V | None) -> None:
        """Write a value to all slots of a prefix but those of longer prefixes of the same level.

        `depth` is how many of the node's 8 bits the prefix fixes: with 8 it has one slot, with 0 all 256.
        """
        # A prefix with one slot is the longest of its level, so no other one can own the slot.
        for index in self._free(key, 8 - depth) if depth < 8 else (key & 255,):
            slot = node[index]
            # What is further down stays: the value is for addresses that nothing there holds.
            if type(slot) is list:
                slot[_DEFAULT] = value
            elif type(slot) is tuple:  # stubs are shared with copies, so never changed in place
                node[index] = (*slot[:-1], value)
            else:
                node[index] = value

    def _free(self, key: int, rest: int) -> set[int]:
        """The slots that a prefix owns: those it covers without those of longer prefixes of its level.

        `rest` is how many of the node's 8 bits the prefix leaves open: it covers 2**rest slots.
        """
        first = key << rest & 255
        free = set(range(first, first + (1 << rest)))
        # Longer prefixes are found by their keys. Those that are `more` bits longer have consecutive keys
        # from key << more on, which differ in their last 8 bits only. So all of them are in one shard, and
        # there are at most 256 to ask for.
        for more in range(1, rest + 1):
            start = key << more
            held = self._record[(start >> 8) % _SHARDS].keys()
            for longer in held & range(start, start + (1 << more)):
                first = longer << (rest - more) & 255
                free.difference_update(range(first, first + (1 << (rest - more))))
        return free


def _node(default: Any) -> list[Any]:
    return [None] * _HELD + [0, default]


def _extend(node: list[Any], octet: int, shift: int) -> None:
    """Make a slot of the third level a stub that asks the record for one more length (as its shift)."""
    stub = node[octet]
    *shifts, default = stub if type(stub) is tuple else (stub,)
    if shift not in shifts:
        node[octet] = (*sorted((*shifts, shift)), default)
