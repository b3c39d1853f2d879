"""When a connection is silent, under a played clock: what is out, what was acknowledged, and how far it is."""

from __future__ import annotations

import socket
import time

import pytest

from lib import stream_figures
from lib.session_silence import (
    HEARD_TIMES,
    HOLD_SECONDS,
    MOST_HOLD_SECONDS,
    NO_FLIGHT,
    QUIET_SECONDS,
    QUIET_TRIPS,
    SOON_SECONDS,
    Flight,
    Silence,
)

STEP = 0.05


def cut(silence: Silence, began: float, seconds: float, rtt: float = 0.01) -> float | None:
    """Nothing is acknowledged for so long; returns after how long the connection was silent."""
    found = None
    for step in range(int(seconds / STEP) + 1):
        passed = step * STEP
        if silence.look(Flight(True, 1, passed, rtt), began + passed) and found is None:
            found = passed
    return found


def test_a_cut_wire_is_silent_in_less_than_half_a_second() -> None:
    found = cut(Silence(), 100.0, 3.0)
    assert found is not None
    assert QUIET_SECONDS <= found <= QUIET_SECONDS + STEP < 0.5


@pytest.mark.parametrize("rtt", [0.3, 1.0])
def test_a_far_one_has_more_time(rtt: float) -> None:
    assert cut(Silence(), 100.0, QUIET_TRIPS * rtt - STEP, rtt) is None
    assert cut(Silence(), 100.0, QUIET_TRIPS * rtt + STEP, rtt) is not None


def test_a_wire_that_lives_is_not_silent() -> None:
    """Something is acknowledged now and then, or nothing is out."""
    silence = Silence()
    for step in range(200):
        now = 100 + step * STEP
        assert not silence.look(Flight(True, step // 7, 0.3, 0.01), now)
    for step in range(200):
        assert not silence.look(Flight(False, 99, 1000.0, 0.01), 300 + step * STEP)


def test_one_that_is_heard_and_acknowledges_nothing_is_silent_a_little_later() -> None:
    """The wire is cut in one direction: what comes by the other one acknowledges nothing new."""
    silence, found = Silence(), None
    for step in range(20):
        if silence.look(Flight(True, 99, 0.02, 0.01), 100 + step * STEP) and found is None:
            found = step * STEP
    assert found is not None
    assert HEARD_TIMES * QUIET_SECONDS <= found <= HEARD_TIMES * QUIET_SECONDS + STEP


def test_what_was_just_sent_is_waited_for_however_long_nothing_was_heard_before() -> None:
    silence = Silence()
    silence.look(Flight(False, 5, 60.0, 0.01), 100.0)
    assert not silence.look(Flight(True, 5, 60.1, 0.01), 100.1)
    assert not silence.look(Flight(True, 5, 60.1 + QUIET_SECONDS - STEP, 0.01), 100.1 + QUIET_SECONDS - STEP)
    assert silence.look(Flight(True, 5, 60.2 + QUIET_SECONDS, 0.01), 100.2 + QUIET_SECONDS)


def test_one_that_is_heard_again_is_used_again_later_and_each_time_later_still() -> None:
    silence, now, holds = Silence(), 100.0, []
    for _ in range(8):
        assert cut(silence, now, 1.0) is not None
        now += 1.0
        heard = now
        while silence.look(NO_FLIGHT, now):
            now += STEP
        holds.append(now - heard)
    assert holds[0] == pytest.approx(HOLD_SECONDS, abs=2 * STEP)
    assert holds[1] == pytest.approx(2 * HOLD_SECONDS, abs=2 * STEP)
    assert holds[-1] == pytest.approx(MOST_HOLD_SECONDS, abs=2 * STEP)
    now += SOON_SECONDS
    assert cut(silence, now, 1.0) is not None
    assert not silence.look(NO_FLIGHT, now + 1.0 + HOLD_SECONDS + STEP), "after a minute it is forgotten"


def test_what_the_kernel_says() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        other, _ = server.accept()
        with one, other:
            one.sendall(b"x" * 1000)
            until = time.monotonic() + 10
            while (found := stream_figures.flight(one)).acked < 1000:
                assert time.monotonic() < until
            assert not found.is_out
            assert 0 <= found.quiet < 10
            assert 0 < found.rtt < 1
            assert found.acked > 1000, (
                "segments count as well, since those behind a lost one are no bytes yet"
            )
    assert stream_figures.flight(one) == NO_FLIGHT
