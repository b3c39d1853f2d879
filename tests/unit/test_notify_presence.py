"""Who has come, left, stays away, comes and goes: by time that comes in, without a session."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import notify_presence
from lib.notify_presence import FLAPS, WINDOW, Carriers, Presence

GRACE = 60.0


def told(presence: Presence, now: float, *hosts: str, marks: dict[str, object] | None = None) -> list[str]:
    """What is told when these hosts are here; each has one mark unless `marks` has another one."""
    here = {host: (marks or {}).get(host, host) for host in hosts}
    return [f"{kind} {host} {seconds:g}" for kind, host, seconds in presence.update(here, now)]


def test_the_life_of_a_host() -> None:
    presence = Presence(GRACE, {}, 0)
    assert told(presence, 1, "a") == ["join a 0"]
    assert told(presence, 2, "a", "b") == ["join b 0"]
    assert told(presence, 10, "b") == ["leave a 9"]
    assert told(presence, 69.9, "b") == []
    assert told(presence, 70, "b") == ["away a 60"]
    assert told(presence, 500, "b") == []
    assert told(presence, 600, "a", "b") == ["join a 590"]


def test_who_comes_back_within_the_grace_was_not_away() -> None:
    presence = Presence(GRACE, {"a": "a"}, 0)
    assert told(presence, 10) == ["leave a 10"]
    assert told(presence, 60, "a") == ["join a 50"]
    assert told(presence, 200, "a") == []


def test_who_is_here_already_is_no_news() -> None:
    presence = Presence(GRACE, {"a": "a"}, 100)
    assert told(presence, 101, "a") == []


def test_what_happens_between_two_looks_is_told_by_the_mark() -> None:
    presence = Presence(GRACE, {}, 0)
    one, two = object(), object()
    told(presence, 1, "a", marks={"a": one})
    assert told(presence, 2, "a", marks={"a": one}) == []
    assert told(presence, 3, "a", marks={"a": two}) == ["leave a 2", "join a 0"]


def test_all_that_leave_at_once_are_away_at_once_and_time_alone_is_enough() -> None:
    presence = Presence(GRACE, {"a": 1, "b": 1}, 0)
    assert sorted(told(presence, 1)) == ["leave a 1", "leave b 1"]
    assert sorted(change.host for change in presence.tick(61)) == ["a", "b"]
    assert presence.tick(62) == []


def flap(presence: Presence, times: int, start: float, every: float = 10) -> Sequence[str]:
    """Let `a` leave and come so often; returns all that is told."""
    found: list[str] = []
    for number in range(times):
        found += told(presence, start + number * every)
        found += told(presence, start + number * every + 1, "a")
    return found


def test_a_host_that_comes_and_goes_is_told_once_until_it_is_steady() -> None:
    presence = Presence(GRACE, {"a": "a"}, 0)
    found = flap(presence, 20, 100)
    assert found == ["leave a 100", "join a 1", *["leave a 9", "join a 1"] * 3, "flap a 40"]
    end = 100 + 19 * 10 + 1
    assert told(presence, end + WINDOW - 1, "a") == []
    assert told(presence, end + WINDOW, "a") == ["join a 0"], "how it is in the end"
    assert told(presence, end + WINDOW + 5) == ["leave a 605"], "it is told of like any other again"


def test_one_that_flaps_and_then_stays_away_is_told_to_be_away() -> None:
    presence = Presence(GRACE, {"a": "a"}, 0)
    flap(presence, FLAPS, 100)
    assert told(presence, 200) == []
    assert told(presence, 260) == ["away a 60"]
    assert told(presence, 200 + WINDOW) == [], "it is still away, which was told"


def test_leaving_often_but_slowly_is_no_flapping() -> None:
    presence = Presence(GRACE, {"a": "a"}, 0)
    assert not any("flap" in one for one in flap(presence, 20, 1000, WINDOW / 2))


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify_presence, "MAX_GONE", 10)
    presence = Presence(1e9, {}, 0)
    for number in range(1000):
        told(presence, number, str(number))
    assert len(presence._gone) == len(presence._not_away) == 10
    assert len(presence._here) == 1


@given(st.lists(st.tuples(st.floats(0, 400), st.sets(st.sampled_from("abc"))), max_size=60))
def test_what_was_told_agrees_with_what_is(steps: list[tuple[float, set[str]]]) -> None:
    """Once all has been steady for long, everybody knows who is here; and nobody is told the same twice."""
    presence, now = Presence(GRACE, {}, 0), 0.0
    last: dict[str, str] = {}
    here: set[str] = set()
    for step in (*steps, None):
        now += step[0] if step else WINDOW + GRACE + 1
        here = step[1] if step else here
        for kind, host, seconds in presence.update({one: one for one in here}, now):
            assert seconds >= 0
            name = str(host)
            assert kind != "join" or last.get(name) in (None, "leave", "away", "flap")
            assert kind != "leave" or last.get(name) in ("join", "flap")
            last[name] = kind
    for _ in range(2):
        for kind, host, _ in presence.update({one: one for one in here}, now + WINDOW):
            last[str(host)] = kind
    for name, kind in last.items():
        assert (kind == "join") is (name in here), (name, kind)


def test_who_carries_what() -> None:
    carriers = Carriers()

    def taken(**now: tuple[str, ...]) -> list[object]:
        return list(carriers.update(now))

    assert taken(r=("a",)) == [], "the first one takes over from nobody"
    assert taken(r=("a",)) == []
    assert taken(r=("b",)) == [("r", ("a",))]
    assert taken(r=()) == [], "nobody is there: that is no takeover"
    assert taken(r=("b",)) == [], "it was the last one"
    assert taken(r=("a",)) == [("r", ("b",))]
    assert taken(s=("b", "c")) == []
    assert taken(s=("b",)) == [], "c has gone, and b goes on"
    assert taken(s=("b", "c")) == [("s", ("b",))]
