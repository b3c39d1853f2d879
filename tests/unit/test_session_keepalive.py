"""Keepalive between tunrouters: when to ask, when silence is death, the round-trip time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import session_keepalive
from lib.session_keepalive import Health, Liveness


def looks(live: Liveness, counts: list[tuple[float, int]]) -> list[tuple[float, Health]]:
    said = [(at, live.look(count, at)) for at, count in counts]
    return [(at, verdict) for at, verdict in said if verdict is not Health.QUIET]


def test_a_silent_peer_is_asked_and_dead_within_the_timeout() -> None:
    said = looks(Liveness(15.0, 0.0), [(float(at), 7) for at in range(20)])
    assert [at for at, verdict in said if verdict is Health.ASK] == [0, 5, 10]
    assert min(at for at, verdict in said if verdict is Health.DEAD) == 14


def test_a_client_that_was_asked_is_as_quick_to_see_that_the_hub_is_dead() -> None:
    for late in range(10):
        live = Liveness(15.0, 0.0, follows=True)
        assert live.asked(late / 10)
        assert not live.asked(late / 10 + 2.4)
        said = looks(live, [(float(at), 7) for at in range(20)])
        assert next(at for at, verdict in said if verdict is Health.ASK) in {6, 7}
        assert min(at for at, verdict in said if verdict is Health.DEAD) <= 15


def test_a_hub_asks_at_its_own_time() -> None:
    live = Liveness(15.0, 0.0)
    assert not live.asked(0.0)
    assert looks(live, [(5.0, 7)]) == [(5.0, Health.ASK)]


def test_anything_received_is_a_sign_of_life() -> None:
    said = looks(Liveness(15.0, 0.0), [(float(at), at // 10) for at in range(200)])
    assert Health.DEAD not in {verdict for _, verdict in said}


def test_a_pause_of_our_own_is_no_silence_of_theirs() -> None:
    live = Liveness(15.0, 0.0)
    assert live.look(1, 1.0) is Health.ASK
    live.look(2, 2.0)
    assert live.look(2, 300.0) is Health.ASK
    assert live.look(2, 301.0) is Health.QUIET
    assert live.look(2, 312.0) is Health.DEAD


def test_the_round_trip_time_is_smoothed() -> None:
    live = Liveness(15.0, 0.0)
    live.pong(session_keepalive.token(10.0), 10.008)
    assert live.rtt == pytest.approx(0.008)
    live.pong(session_keepalive.token(20.0), 20.016)
    assert live.rtt == pytest.approx(0.009)


@given(st.binary(min_size=8, max_size=8), st.floats(0, 1e6))
def test_an_answer_to_no_question_is_not_believed(token: bytes, now: float) -> None:
    live = Liveness(15.0, 0.0)
    live.pong(token, now)
    assert 0 <= live.rtt <= 30


@given(st.floats(1, 3600), st.integers(1, 1000))
def test_dead_within_any_timeout(timeout: float, start: int) -> None:
    live, now = Liveness(timeout, float(start)), float(start)
    while live.look(5, now) is not Health.DEAD:
        now += live.tick
        assert now - start <= timeout
    assert now - start >= timeout * 0.8
