"""Key ring of one end of a datagram channel: the keys that it has given to the far end, and still takes.

Knows: how many there are at most, which one is the newest in use, how many datagrams have come by all.
Refuses to know: ciphers and indexes (they come in), how the far end is told (datagram_peer).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from lib.datagram_keys import GRACE_SECONDS, OpenKey
from lib.datagram_table import Table

P = TypeVar("P", bound=Hashable)

MOST_KEYS = 3
"""Keys that are taken at a time: a new one, the one in use, and one of before."""


@dataclass(slots=True, eq=False)
class KeyRing(Generic[P]):
    """The keys, and their entries in the table of a socket."""

    owner: P
    table: Table[P]
    newest: OpenKey | None = None
    """The newest key with which something has come, while it is taken."""
    _keys: list[OpenKey] = field(default_factory=list)
    """The newest last."""
    _expected: int = 0
    _received: int = 0
    """Of keys that are taken no more."""

    def __len__(self) -> int:
        return len(self._keys)

    def is_due(self, now: float) -> bool:
        """Whether the far end needs a new key if it is to send anything."""
        return not self._keys or self._keys[-1].is_due(now)

    def add(self, key: OpenKey) -> None:
        """Take a key from now on. Where there are too many, the oldest one is not taken any more."""
        if len(self._keys) >= MOST_KEYS:
            self._forget(self._keys[0])
        self._keys.append(key)
        self.table.entries[key.label] = self.owner, key

    def takes(self, key: OpenKey) -> bool:
        """Whether a key is still taken: a datagram may have waited while that changed."""
        return key is self.newest or key in self._keys

    def heard(self, key: OpenKey, now: float) -> None:
        """Something authentic has come with a key that is taken: if it is newer, older ones end soon."""
        at = self._keys.index(key)
        if self.newest is not None and at < self._keys.index(self.newest):
            return
        self.newest = key
        for older in self._keys[:at]:
            older.until = min(older.until, now + GRACE_SECONDS)

    def expire(self, now: float) -> None:
        """Take no key any more that is too old."""
        for key in [one for one in self._keys if now >= one.until]:
            self._forget(key)

    def clear(self) -> None:
        """Take nothing any more."""
        for key in list(self._keys):
            self._forget(key)

    def counts(self) -> tuple[int, int]:
        """(datagrams that should have come by their counters, those that have come), by all keys ever."""
        return (
            self._expected + sum(key.expected for key in self._keys),
            self._received + sum(key.received for key in self._keys),
        )

    def _forget(self, key: OpenKey) -> None:
        self._keys.remove(key)
        if key is self.newest:
            self.newest = None
        self.table.entries.pop(key.label, None)
        self._expected += key.expected
        self._received += key.received
