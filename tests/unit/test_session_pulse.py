"""Which hub is silent while another one answers: packets, PINGs and answers under a played clock."""

from __future__ import annotations

from lib.session_pulse import PAUSE, SILENT_SECONDS, TICK, Pulse, silent


def play(answers: dict[int, float], uses: set[int], seconds: float = 3.0) -> tuple[dict[int, float], int]:
    """Hubs answer until a moment. Returns since when each is silent, and how many PINGs were sent."""
    pulses, counts, since = {n: Pulse() for n in answers}, dict.fromkeys(answers, 0), dict[int, float]()
    pings = 0
    for step in range(int(seconds / TICK)):
        now = 100 + step * TICK
        asked = any(one.asked_at for one in pulses.values())
        for number, one in pulses.items():
            if one.look(counts[number], number in uses or asked, now):
                pings += 1
                counts[number] += now - 100 < answers[number]
        for number in silent(pulses, now):
            since.setdefault(number, now - 100)
    return since, pings


def test_a_hub_that_stops_answering_is_silent_within_a_second() -> None:
    since, _ = play({1: 1.0, 2: 99}, {1})
    assert list(since) == [1]
    assert since[1] - 1.0 <= SILENT_SECONDS + PAUSE + 2 * TICK < 1.0


def test_where_nobody_answers_nobody_is_silent() -> None:
    assert play({1: 1.0, 2: 1.0}, {1, 2})[0] == {}
    assert play({1: 1.0}, {1})[0] == {}, "nor one that is alone"


def test_without_packets_nobody_is_asked() -> None:
    assert play({1: 99, 2: 99}, set()) == ({}, 0)
    assert play({1: 99, 2: 99}, {1})[1] <= 2 * 3.0 / PAUSE, "and four times a second at most"


def test_one_that_is_heard_again_is_not_silent_any_more() -> None:
    one, other = Pulse(), Pulse()
    assert one.look(0, True, 10.0)
    other.look(7, False, 10.6)
    assert silent({1: one, 2: other}, 10.6) == {1}
    one.look(1, False, 10.7)
    assert silent({1: one, 2: other}, 11.0) == set()


def test_one_that_is_far_away_has_more_time() -> None:
    one, other = Pulse(patience=1.2), Pulse()
    assert one.look(0, True, 10.0)
    other.look(7, False, 11.1)
    assert silent({1: one, 2: other}, 11.1) == set()
    assert silent({1: one, 2: other}, 11.3) == {1}
