"""Sums that never go backwards: sessions come and go, keys are more than there is room for."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from lib.counters import Traffic
from lib.metrics_ledger import Book, Histogram, Ledger


@dataclass(eq=False)
class Attachment:
    traffic: Traffic = field(default_factory=Traffic)


STEPS = st.lists(st.tuples(st.sampled_from("oxt"), st.integers(0, 9), st.integers(1, 50)), max_size=80)


@given(STEPS, st.integers(1, 4))
def test_no_sum_goes_backwards_and_nothing_is_lost(steps: list[tuple[str, int, int]], most: int) -> None:
    ledger: Ledger[int] = Ledger(most)
    live: list[tuple[Book, Attachment]] = []
    sent, before = 0, Counter[int | None]()
    for what, number, size in steps:
        if what == "o":
            book, attachment = ledger.book(number), Attachment()
            book.opened += 1
            book.enter(attachment)
            live.append((book, attachment))
        elif live and what == "x":
            book, attachment = live.pop(number % len(live))
            book.leave(attachment)
        elif live:
            live[number % len(live)][1].traffic.sent_bytes += size
            sent += size
        now = Counter({key: book.total().sent_bytes for key, book in ledger.rows()})
        assert len(ledger.books) <= most
        assert sum(now.values()) == sent
        assert all(now[key] >= count for key, count in before.items() if key in now)
        before = now


def test_who_is_there_keeps_its_row_and_who_left_longest_ago_goes() -> None:
    ledger: Ledger[str] = Ledger(2)
    attachment = Attachment(Traffic(sent_bytes=5))
    ledger.book("there").enter(attachment)
    ledger.book("left").opened += 1
    ledger.book("new").enter(Attachment())
    assert set(ledger.books) == {"there", "new"}
    assert ledger.other.opened == 1
    assert ledger.book("one too many") is ledger.other
    assert ledger.book("there").total().sent_bytes == 5


def test_a_session_that_ends_twice_counts_once() -> None:
    book, attachment = Book(), Attachment(Traffic(sent_bytes=5))
    book.enter(attachment)
    book.leave(attachment)
    book.leave(attachment)
    assert (book.total().sent_bytes, book.idle) == (5, True)


def test_a_histogram_counts_up_to_and_with_each_bound() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.5):
        histogram.observe(value)
    assert (histogram.counts, histogram.sum) == ([2, 1, 1], 5.5)
