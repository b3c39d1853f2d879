"""A bounded table in which every owner has a fair share.

Knows: who holds how much of it, whose entry goes when it is full.
Refuses to know: what keys and values are.

When the table is full, the owner with the most entries loses its own oldest. So nobody can push another
below an equal share of the table, however many entries it adds.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


@dataclass(slots=True)
class ShareTable(Generic[Key, Value]):
    """Entries by key, each of some owner. Every operation takes the same time, however full the table is."""

    limit: int
    """Entries there may be."""
    _entries: dict[Key, tuple[str, Value]] = field(default_factory=dict)
    _held: dict[str, dict[Key, None]] = field(default_factory=dict)
    """Owner -> its keys; the one that was not put for longest first."""
    _by_count: dict[int, dict[str, None]] = field(default_factory=dict)
    """How many entries -> the owners with so many."""
    _most: int = 0
    """The largest number of entries that an owner has."""

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key) -> Value | None:
        """The value of a key."""
        found = self._entries.get(key)
        return None if found is None else found[1]

    def put(self, key: Key, value: Value, owner: str) -> None:
        """Set a key's value, as the owner's newest; one that another owner has becomes this one's."""
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
            largest = self._by_count[self._most]
            loser = owner if owner in largest else next(iter(largest))
            self.pop(next(iter(self._held[loser])))

    def renew(self, key: Key, value: Value) -> None:
        """Set the value of a key that is there, as its owner's newest."""
        owner, _ = self._entries[key]
        keys = self._held[owner]
        del keys[key]
        keys[key] = None
        self._entries[key] = owner, value

    def pop(self, key: Key) -> None:
        """Forget a key, if it is there."""
        found = self._entries.pop(key, None)
        if found is None:
            return
        owner, keys = found[0], self._held[found[0]]
        del keys[key]
        self._recount(owner, len(keys) + 1, len(keys))
        if not keys:
            del self._held[owner]

    def _recount(self, owner: str, before: int, now: int) -> None:
        """An owner has one entry more or less: so the largest number moves by one at most."""
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
        if now > self._most or (before == self._most and before not in self._by_count):
            self._most = now
