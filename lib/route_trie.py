"""Longest-prefix match over packed addresses, IPv4 (4 bytes) or IPv6 (16 bytes).

Knows: which prefixes are held, with one value each, and which of them is the longest for an address.
Refuses to know: what a value means, text addresses, families mixed in one table (route_table).

Two structures. The record is the truth: every prefix under a key that no other prefix has,

    key = 1 followed by the prefix's bits        10.0.0.0/8 -> 0b1_00001010        0.0.0.0/0 -> 0b1

so `address with its mark >> (bits - length)` is the key to ask for one length, and `key >> 1` the
prefix one bit shorter. It is split into shards, for one dict of 700,000 keys pauses 52 ms to grow.

The nodes only make look-ups quick, and a table of up to SMALL prefixes has none: its look-up asks the
record for each length in use. Above that there are three levels, one for each of the first three octets:

    node   [256 slots | held | default]   held: prefixes at or beneath this node
    slot   None, a value, or a list: the next node; on the third level, instead of that, a stub
    stub   (shift, … , default)           the lengths beyond /24 to ask the record for, longest first

A prefix is painted on every slot of its own level that no longer prefix of that level owns; where a slot
has become a list or a stub it is that one's default, its last item. A level never reaches down into the next
one: painting costs 256 slots at most, even for a default route above a million others.

A table in use is never seen half changed: whoever changes much changes a copy. To copy a million prefixes,
or to free them, takes a good part of a second, so both come in steps; copies share the stubs, hence tuples.
"""

# A slot holds a value or a list: mypy sees Any.
# mypy: no-warn-return-any

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from heapq import merge
from itertools import chain, islice
from typing import Any, Generic, TypeVar

V = TypeVar("V")

SMALL = 1024
"""With more prefixes than this a table gets nodes; with a quarter of it left they go again."""

_SHARDS = 17
"""Odd, so that the keys of one shard differ in their low bits, which a dict hashes by."""
_STEP = 2048
"""Keys that a step of a walk looks at."""
_RUNS = 64
_HELD = 256
_DEFAULT = 257
_LEVELS = 3
_NODE_BITS = 8 * _LEVELS
_LEVEL = tuple(min(max(length - 1, 0) // 8, _LEVELS - 1) for length in range(129))
"""Which level owns a prefix length: /0 to /8, /9 to /16, and /17 up."""


class Trie(Generic[V]):
    """A table of prefixes of one family; a value is anything but None, lists and tuples.

    Nothing may be inserted or deleted while `items()` is being walked.
    """

    __slots__ = ("_bits", "_count", "_lengths", "_mark", "_record", "_root", "_shifts")

    def __init__(self, size: int) -> None:
        """`size` of an address in bytes: 4 or 16, else ValueError."""
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
        """Forget a prefix and return its value; KeyError when it is not held."""
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
        """The value of exactly this prefix."""
        return self._at(self._key(prefix, length))

    def lookup(self, address: bytes) -> V | None:
        """The value of the longest prefix holding `address`. The hot call: the size is not checked."""
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
        """Every (prefix, length, value) by address, the shorter first; it sorts first (1 s a million)."""
        for key in sorted(chain.from_iterable(self._record), key=self._order):
            yield *self._prefix(key), self._record[(key >> 8) % _SHARDS][key]

    def unordered(self) -> Iterator[tuple[bytes, int, V]]:
        """The same in no order, at once."""
        for shard in self._record:
            for key, value in shard.items():
                yield *self._prefix(key), value

    __iter__ = items

    def __len__(self) -> int:
        return self._count

    # --- a million at a time, in steps of a few milliseconds

    def copying(self) -> Generator[None, None, Trie[V]]:
        """Make a copy; each yield ends a step. This one must not change meanwhile."""
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

    def walking(
        self, prefix: bytes | None = None, length: int = 0, *, most: int | None = None
    ) -> Generator[None, None, tuple[int, Iterator[tuple[bytes, int, V]]]]:
        """Find the prefixes within one (itself included), or all; each yield ends a step.

        Returns how many there are, and the first `most` of them by address, the shorter first, of which the
        caller takes a few at a time. Raises RuntimeError where the table is freed meanwhile.
        """
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
                runs.append(found[:most])
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
        """Forget everything; each yield ends a step. It must not be used any more."""
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
        """The first of these lengths (as shifts, longest first) under which the record has `address`."""
        marked = int.from_bytes(address, "big") | self._mark
        record = self._record
        for shift in shifts:
            key = marked >> shift
            value = record[(key >> 8) % _SHARDS].get(key)
            if value is not None:
                return value
        return None

    def _tally(self, length: int, step: int) -> None:
        """Count a prefix in (1) or out (-1), and keep the list of the lengths in use."""
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
        """Bring a prefix the record holds into the nodes; `new` is 0 where its value was replaced."""
        length = key.bit_length() - 1
        level = _LEVEL[length]
        node[_HELD] += new
        for octet in prefix[:level]:
            child = node[octet]
            if type(child) is not list:
                child = node[octet] = _node(child)
            child[_HELD] += new
            node = child
        if length > _NODE_BITS:
            _extend(node, prefix[level], self._bits - length)
        else:
            self._paint(node, key, length - 8 * level, value)

    def _remove(self, node: list[Any], prefix: bytes, key: int) -> None:
        """Take a prefix the record no longer holds out of the nodes.

        A stub keeps the length (asking for it in vain is harmless) until its node is empty and goes.
        """
        length = key.bit_length() - 1
        level = _LEVEL[length]
        node[_HELD] -= 1
        for octet in prefix[:level]:
            child = node[octet]
            child[_HELD] -= 1
            if not child[_HELD]:
                node[octet] = child[_DEFAULT]
                return
            node = child
        if length <= _NODE_BITS:
            self._paint(node, key, length - 8 * level, self._cover(key, length, level))

    def _cover(self, key: int, length: int, level: int) -> V | None:
        """The value of the next shorter prefix of the same level."""
        shortest = 8 * level + 1 if level else 0
        covers = (self._at(key >> (length - n)) for n in range(length - 1, shortest - 1, -1))
        return next((value for value in covers if value is not None), None)

    def _paint(self, node: list[Any], key: int, depth: int, value: V | None) -> None:
        """Paint the slots under a key, `depth` bits (0-8) into its node, but not those of longer keys."""
        for index in self._free(key, 8 - depth) if depth < 8 else (key & 255,):
            slot = node[index]
            if type(slot) is list:
                slot[_DEFAULT] = value
            elif type(slot) is tuple:
                node[index] = (*slot[:-1], value)
            else:
                node[index] = value

    def _free(self, key: int, rest: int) -> set[int]:
        """The slots under a key, `rest` bits above them, that no longer prefix of its level owns."""
        first = key << rest & 255
        free = set(range(first, first + (1 << rest)))
        for more in range(1, rest + 1):
            start = key << more  # these keys differ in their last 8 bits only: they share a shard
            held = self._record[(start >> 8) % _SHARDS].keys()
            for longer in held & range(start, start + (1 << more)):
                first = longer << (rest - more) & 255
                free.difference_update(range(first, first + (1 << (rest - more))))
        return free


def _node(default: Any) -> list[Any]:
    return [None] * _HELD + [0, default]


def _extend(node: list[Any], octet: int, shift: int) -> None:
    """Make sure that the stub in a slot of the third level asks for the length behind `shift`."""
    stub = node[octet]
    *shifts, default = stub if type(stub) is tuple else (stub,)
    if shift not in shifts:
        node[octet] = (*sorted((*shifts, shift)), default)
