"""Counters: added up, and printed for people."""

from __future__ import annotations

from collections import Counter

from lib.drops import Reason
from lib.stats import Traffic, drop_lines


def test_counts_are_added_up() -> None:
    total = Traffic(1, 2, 3, 4, Counter({Reason.NO_ROUTE: 1}))
    other = Traffic(10, 20, 30, 40, Counter({Reason.NO_ROUTE: 1, Reason.NOT_IP: 5}))
    total.add(other)
    assert total == Traffic(11, 22, 33, 44, Counter({Reason.NO_ROUTE: 2, Reason.NOT_IP: 5}))
    assert other == Traffic(10, 20, 30, 40, Counter({Reason.NO_ROUTE: 1, Reason.NOT_IP: 5}))


def test_sessions_do_not_share_their_counters() -> None:
    one, two = Traffic(), Traffic()
    one.drops[Reason.NOT_IP] += 1
    assert two.drops == {}


def test_drops_are_printed_the_most_first() -> None:
    rows = [
        ("ns-1", "host-1", Counter({Reason.NO_ROUTE: 2, Reason.WRONG_SOURCE: 7})),
        ("ns-1", "host-2", Counter[Reason]()),
        ("ns-2", "host-1", Counter({Reason.QUEUE_FULL: 1})),
    ]
    assert drop_lines(rows) == [
        f"dropped 7 wrong-source namespace=ns-1 session=host-1 ({Reason.WRONG_SOURCE.doc})",
        f"dropped 2 no-route namespace=ns-1 session=host-1 ({Reason.NO_ROUTE.doc})",
        f"dropped 1 queue-full namespace=ns-2 session=host-1 ({Reason.QUEUE_FULL.doc})",
    ]


def test_nothing_dropped_is_said() -> None:
    assert drop_lines([]) == drop_lines([("n", "s", Counter[Reason]())]) == ["dropped nothing"]
