"""Traffic counters by host or client address that outlive their sessions and never go backwards.

Knows: the counts of sessions that have ended, how many keys have a sum of their own.
Refuses to know: what a key is, and who reads the sums (metrics).

A live session's counts stay in its attachment. The book of a key holds the counts of its ended sessions, and
the attachments of the live ones. When the ledger is full, the book that has been unused for longest is
removed, and its counts are added to `other`.
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
    """Anything with traffic counts while it lives: an attachment."""

    traffic: Traffic


@dataclass(slots=True, eq=False)
class Book:
    """The counts of one key: of its ended and its live sessions."""

    over: Traffic = field(default_factory=Traffic)
    """Counts of the sessions that have ended."""
    live: dict[Counted, None] = field(default_factory=dict)
    """The attachments of live sessions, a dict as an ordered set."""
    opened: int = 0
    failed: int = 0
    in_flight: int = 0

    @property
    def idle(self) -> bool:
        """Whether it has neither a live session nor a handshake under way."""
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
        """All counts so far. To read several values of one key, do not let other greenlets run in between."""
        whole = Traffic()
        whole.add(self.over)
        for attachment in self.live:
            whole.add(attachment.traffic)
        return whole


@dataclass(slots=True, eq=False)
class Ledger(Generic[Key]):
    """The books of at most `most` keys, and one for all other keys."""

    most: int = MAX_KEYS
    books: dict[Key, Book] = field(default_factory=dict)
    """The one that was used last is at the end."""
    other: Book = field(default_factory=Book)
    """The counts of all keys that have no book of their own."""

    def book(self, key: Key) -> Book:
        """The book of a key, made where there is none; `other` while all books are in use."""
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
        """(key, book) of every book, key None for `other`. Other greenlets may run between two of them."""
        yield from list(self.books.items())
        if not self.other.idle or self.other.opened:
            yield None, self.other


@dataclass(slots=True)
class Histogram:
    """A histogram of durations: how many lie up to each of `bounds` (seconds), and how many above them."""

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    sum: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        """Count one value, in seconds."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value
