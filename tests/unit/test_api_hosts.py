"""A host as pages see it: its problems, its figures, and who is forgotten where there are too many."""

from __future__ import annotations

from typing import Any

import pytest

from lib import api_hosts
from lib.api_hosts import AWAY, COLUMNS, Counts, Host, Hosts, Sample, two

WALL = 1_790_000_000.0


def sample(key: int = 1, received: int = 0, dropped: int = 0, missed: int = 0, **more: Any) -> Sample:
    counts = {key: Counts(received, 2 * received, dropped, missed)}
    about = (counts, "hub", "192.0.2.1:5", "10.0.0.1", "x")
    return Sample(*about, 0.0123, None, 0, 0.0, False, False, False, False)._replace(**more)


def host() -> Host:
    return Host(1, "host-1", bytes(16), "0", "service hub")


def cell(one: Host, name: str, now: float = 0.0) -> Any:
    return one.row(now)[COLUMNS.index(name)]


def look(one: Host, *samples: Sample | None, began: float = 100.0, every: float = 2.0) -> float:
    """Look once in `every` seconds; returns when the last look was."""
    now = began
    for number, each in enumerate(samples):
        now = began + number * every
        one.take(each, -1, now, WALL + now)
    return now


def test_the_first_look_gives_no_rate() -> None:
    """A session that was there before has bytes that came before."""
    one = host()
    look(one, sample(received=10**9))
    assert (cell(one, "in"), cell(one, "state"), cell(one, "since")) == (0, "up", int(WALL + 100))
    look(one, sample(received=10**9 + 2000), began=102)
    assert (cell(one, "in"), cell(one, "out")) == (500, 1000), "half of the news"
    for number in range(12):
        look(one, sample(received=10**9 + 2000 * (number + 2)), began=104 + 2 * number)
    assert cell(one, "in") == 1000


def test_a_new_session_counts_from_its_beginning_and_its_counters_never_go_back() -> None:
    one = host()
    look(one, sample(1, 10**6), sample(2, 4000))
    assert cell(one, "in") == 1000
    look(one, sample(2, 10), began=104)
    assert cell(one, "in") == 500, "a number that was used again"


def test_who_leaves_is_away_after_a_while_unless_an_operator_did_it() -> None:
    one = host()
    look(one, sample(), None)
    assert (cell(one, "state"), one.problems(105), one.problems(113)) == (AWAY, [], ["away"])
    assert [what for _, what, _ in one.events] == ["up", "down"]
    look(one, sample(2), began=120)
    one.excused = True
    look(one, None, began=122)
    assert one.problems(200) == []
    look(one, sample(3), None, began=1000)
    assert one.problems(1100) == ["away"], "it had come back since"


def test_who_comes_and_goes_flaps() -> None:
    one = host()
    look(one, sample(1), sample(2), None)
    assert "flapping" not in one.problems(105)
    look(one, sample(3), began=106)
    assert "flapping" in one.problems(106)
    assert "flapping" not in one.problems(705)


def test_sessions_between_two_looks_count_too() -> None:
    one = host()
    one.take(sample(1), 1, 100, WALL)
    assert "flapping" not in one.problems(100)
    one.take(sample(1), 4, 110, WALL)
    assert "flapping" in one.problems(110)


def test_drops_that_are_intended_are_no_problem() -> None:
    one = host()
    now = look(one, sample(), sample(dropped=50), every=10)
    assert (cell(one, "drops"), cell(one, "drops_s"), one.problems(now)) == (50, 2.5, [])
    now = look(one, sample(dropped=51, missed=1), began=120)
    assert (one.problems(now), one.problems(now + 31)) == (["dropping"], [])


def test_a_queue_has_to_stand_for_a_while() -> None:
    one = host()
    stands = sample(queue=123_456, queue_s=0.3)
    now = look(one, sample(), stands, stands, stands, stands)
    assert (cell(one, "queue"), one.problems(now)) == (120_000, [])
    now = look(one, stands, began=now + 2)
    assert one.problems(now) == ["queue"]
    now = look(one, sample(queue_s=0.1), stands, began=now + 2)
    assert one.problems(now) == []


def test_the_worst_comes_first() -> None:
    one = host()
    now = look(one, sample(), sample(missed=1, dropped=1, loss=0.03, conflict=True, misnamed=True))
    assert one.problems(now) == ["conflict", "dropping", "loss", "name"]


def test_what_is_away_has_no_figures() -> None:
    one = host()
    look(one, sample(), sample(received=5000, queue=5, loss=0.5))
    assert one.figures()[0] == 1250
    look(one, None, began=104)
    assert one.figures() == (None,) * 6
    assert [cell(one, name) for name in ("in", "queue", "loss", "rtt", "problems")] == [0, 0, None, None, []]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, 0), (0.0234, 0.023), (1.26, 1.3), (9.96, 10), (10.4, 10), (99.6, 100), (1234, 1200), (98765, 99000)],
)
def test_two_digits_count(value: float, shown: float) -> None:
    assert two(value) == shown


def test_who_is_away_longest_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_hosts, "MAX_HOSTS", 2)
    hosts = Hosts(bytes.hex)
    first, second = hosts.get("d", b"n", "a"), hosts.get("d", b"n", "b")
    assert first is not None
    assert second is not None
    look(first, sample(), None)
    look(second, sample())
    third = hosts.get("d", b"n", "c")
    assert third is not None
    assert (third.id, set(hosts.by_id)) == (3, {2, 3})
    look(third, sample())
    assert hosts.get("d", b"n", "d") is None
    assert hosts.left_out == 1
    assert hosts.get("d", b"m", "b") is None, "another namespace is another host"
    assert hosts.get("d", b"n", "b") is second


def test_a_host_that_is_not_reached_by_one_of_its_sessions() -> None:
    one = host()
    assert one.problems(look(one, sample(silent=True), sample(silent=True))) == ["silent"]
    assert one.problems(look(one, sample(), began=110.0)) == []
    look(one, sample(silent=True), None, began=120.0)
    assert "silent" not in one.problems(122.0), "it is away"
