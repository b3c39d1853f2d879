"""The list of reasons: none without an explanation and a remedy."""

from __future__ import annotations

import pytest

from lib.counters import Traffic
from lib.forward_drop_reasons import Reason, Refusal

EVERY = (*Reason, *Refusal)


@pytest.mark.parametrize("reason", EVERY, ids=lambda reason: f"{type(reason).__name__}-{reason.value}")
def test_every_reason_says_what_it_is_and_what_to_do(reason: Reason | Refusal) -> None:
    assert len(reason.doc) > 10
    assert len(reason.remedy) > 10
    assert reason.remedy != reason.doc


def test_the_last_packet_of_each_reason_is_kept() -> None:
    traffic = Traffic()
    traffic.drop(Reason.NO_ROUTE, 1, "", b"first", 1.0)
    traffic.drop(Reason.NO_ROUTE, 3, "", b"second", 2.0)
    traffic.drop(Reason.DENIED, 1, "", b"other", 3.0)
    traffic.drop(Reason.CUT_OFF)
    assert traffic.last == {
        Reason.NO_ROUTE: (2.0, b"second"),
        Reason.DENIED: (3.0, b"other"),
    }
    gone = Traffic()
    gone.drop(Reason.NO_ROUTE, 1, "", b"newer", 9.0)
    gone.add(traffic)
    assert gone.last[Reason.NO_ROUTE] == (9.0, b"newer")
    assert gone.last[Reason.DENIED] == (3.0, b"other")
    assert gone.drops[Reason.NO_ROUTE] == 5
