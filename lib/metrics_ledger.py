"""Who has sent how much since the process began, by host or by address: sums that never go backwards.

Knows: counts of sessions that have ended, how many keys are told apart, that the rest is one sum.
Refuses to know: what a key is, and who reads the sums (metrics).

A session's own counts stay in its port; a book holds what is over, and the ports that are not. Of a full
ledger the key that has been away longest goes: its counts go on in `other`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from lib.counters import Traffic
from lib.metrics_names import MAX_KEYS

Key = TypeVar("Key")


class Counted(Protocol):
    """What has counts of its own while it lives."""

    traffic: Traffic


@dataclass(slots=True, eq=False)
class Book:
    """The counts of one key."""

    over: Traffic = field(default_factory=Traffic)
    """Of sessions that have ended."""
    live: dict[Counted, None] = field(default_factory=dict)
    opened: int = 0
    failed: int = 0
    in_flight: int = 0

    @property
    def idle(self) -> bool:
        """Whether nothing of it is going on."""
        return not self.live and not self.in_flight

    def enter(self, attachment: Counted) -> None:
        """A session begins."""
        self.live[attachment] = None

    def leave(self, attachment: Counted) -> None:
        """A session has ended."""
        if attachment in self.live:
            del self.live[attachment]
            self.over.add(attachment.traffic)

    def total(self) -> Traffic:
        """Everything so far; to be called without giving way between two of one key."""
        whole = Traffic()
        whole.add(self.over)
        for attachment in self.live:
            whole.add(attachment.traffic)
        return whole


@dataclass(slots=True, eq=False)
class Ledger(Generic[Key]):
    """Books by key."""

    most: int = MAX_KEYS
    books: dict[Key, Book] = field(default_factory=dict)
    """Those used last at the end."""
    other: Book = field(default_factory=Book)

    def book(self, key: Key) -> Book:
        """The book of a key, or the one of all others while there is no room."""
        book = self.books.pop(key, None)
        if book is None:
            if len(self.books) >= self.most and not self._make_room():
                return self.other
            book = Book()
        self.books[key] = book
        return book

    def _make_room(self) -> bool:
        for key, book in self.books.items():
            if book.idle:
                del self.books[key]
                self.other.over.add(book.over)
                self.other.opened += book.opened
                self.other.failed += book.failed
                return True
        return False

    def rows(self) -> Iterator[tuple[Key | None, Book]]:
        """Every book with its key, None for that of all others; who reads may give way in between."""
        yield from list(self.books.items())
        if not self.other.idle or self.other.opened:
            yield None, self.other


@dataclass(slots=True)
class Histogram:
    """How often something took how long."""

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    sum: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        """Count one."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value
