"""Counters: added up, and printed for people."""

from __future__ import annotations

from collections import Counter

from lib.counters import Traffic
from lib.forward_drop_reasons import Reason


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
