"""Bounded table in which every owner has a fair share.

Knows: which owner has how many entries, whose entry is removed when the table is full.
Refuses to know: what keys and values are.

When the table is full, the owner with the most entries loses its own oldest. So nobody can push another
below an equal share of the table, however many entries it adds.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from lib.namespace_commons import Member

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


@dataclass(slots=True)
class ShareTable(Generic[Key, Value]):
    """Entries by key, each of some owner. Every operation takes the same time, however full the table is."""

    limit: int
    """The most entries that the table holds."""
    price: int = 0
    """Bytes that an entry holds, where a member counts them (namespace_commons)."""
    counted: int = 0
    member: Member | None = None
    _entries: dict[Key, tuple[str, Value]] = field(default_factory=dict)
    _held: dict[str, dict[Key, None]] = field(default_factory=dict)
    """Owner -> its keys, in the order in which they were last put or renewed (oldest first)."""
    _by_count: dict[int, dict[str, None]] = field(default_factory=dict)
    """Number of entries -> the owners that have so many."""
    _most: int = 0
    """The largest number of entries that an owner has."""

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key) -> Value | None:
        """The value of a key; None where the key is not in the table."""
        found = self._entries.get(key)
        return None if found is None else found[1]

    def put(self, key: Key, value: Value, owner: str) -> None:
        """Set a key's value and make the key its owner's newest. A key of another owner changes hands.

        In a full table, the owner with the most entries loses its oldest one.
        """
        found = self._entries.get(key)
        if found is not None and found[0] == owner:
            self.renew(key, value)
            return
        if found is not None:
            self.pop(key)
        self._entries[key] = owner, value
        keys = self._held.setdefault(owner, {})
        keys[key] = None
        self._recount(owner, len(keys) - 1, len(keys))
        if len(self._entries) > self.limit:
            # Of several owners with the most entries, whoever adds this one pays for it.
            largest = self._by_count[self._most]
            self._drop_of(owner if owner in largest else next(iter(largest)))
        if self.member is not None:
            self.member.grew(self)

    def drop_oldest(self) -> None:
        """Remove the oldest entry of the owner with the most, where there is one."""
        if self._entries:
            self._drop_of(next(iter(self._by_count[self._most])))

    def _drop_of(self, owner: str) -> None:
        self.pop(next(iter(self._held[owner])))

    def renew(self, key: Key, value: Value) -> None:
        """Set the value of a key and make it its owner's newest. Raises KeyError where it is not there."""
        owner, _ = self._entries[key]
        keys = self._held[owner]
        del keys[key]
        keys[key] = None
        self._entries[key] = owner, value

    def pop(self, key: Key) -> None:
        """Remove a key, if it is there."""
        found = self._entries.pop(key, None)
        if found is None:
            return
        owner, keys = found[0], self._held[found[0]]
        del keys[key]
        self._recount(owner, len(keys) + 1, len(keys))
        if not keys:
            del self._held[owner]

    def _recount(self, owner: str, before: int, now: int) -> None:
        """Note that the number of an owner's entries has changed by one, from `before` to `now`."""
        # The owner moves from one set of owners to the next. A set that has only this owner is taken along,
        # so that an owner who adds entries alone makes no new set for each of them.
        owners = self._by_count.pop(before, None)
        if owners is None or len(owners) > 1:
            if owners is not None:
                del owners[owner]
                self._by_count[before] = owners
            owners = {owner: None}
        there = self._by_count.get(now)
        if there is not None:
            there[owner] = None
        elif now:
            self._by_count[now] = owners  # of this owner alone
        # The number changes by one, so the largest one does too at most: it need not be searched for.
        if now > self._most or (before == self._most and before not in self._by_count):
            self._most = now
