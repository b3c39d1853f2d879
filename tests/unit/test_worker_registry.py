"""Where hosts are among workers: the newest session counts, and a worker that ends takes its hosts with it."""

from __future__ import annotations

import pytest

from lib import worker_registry, worker_wire
from lib.worker_registry import Others, Own
from lib.worker_wire import Claim, FarHost

SPACE = bytes(16)
PLACE = SPACE, "host-1"


def come(since: int, host: str = "host-1", instance: bytes = b"") -> Claim:
    return Claim(worker_wire.COME, SPACE, host, since, instance)


def claim(content: bytes) -> Claim:
    message = worker_wire.decode(content)
    assert isinstance(message, Claim)
    return message


LEFT = Claim(worker_wire.LEFT, *PLACE)


def names(others: Others) -> list[str]:
    return [one.name for one in others.where(PLACE)]


def test_the_newest_session_is_first() -> None:
    others = Others()
    for name, since in (("w1", 5), ("w2", 9), ("w3", 7)):
        others.hear(name, come(since))
    assert names(others) == ["w2", "w3", "w1"]
    others.hear("w1", come(10, instance=b"i" * 16))
    assert names(others) == ["w1", "w2", "w3"]
    assert others.instance(others.hubs["w1"], PLACE) == b"i" * 16
    assert others.instance(others.hubs["w2"], PLACE) == b""


def test_what_has_changed_is_told_once() -> None:
    others = Others()
    others.hear("w1", come(1))
    assert others.take_changed() == {PLACE}
    assert others.take_changed() == set()
    others.hear("w1", LEFT)
    assert others.take_changed() == {PLACE}
    others.hear("w1", LEFT)
    assert others.take_changed() == set(), "it had left before"


def test_a_worker_that_ends_has_no_hosts() -> None:
    others = Others()
    others.hear("w1", come(1))
    others.hear("w1", come(1, "host-2"))
    others.hear("w2", come(2))
    others.take_changed()
    others.gone("w1")
    assert names(others) == ["w2"]
    assert others.take_changed() == {PLACE, (SPACE, "host-2")}
    others.gone("w1")
    others.gone("never there")


def test_there_is_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_registry, "MAX_HOSTS", 2)
    others = Others()
    for number in range(3):
        others.hear("w1", come(1, f"host-{number}"))
    assert (len(others.hubs["w1"].claims), others.full) == (2, 1)
    others.hear("w1", Claim(worker_wire.LEFT, SPACE, "host-0"))
    others.hear("w1", come(1, "host-2"))
    assert (len(others.hubs["w1"].claims), others.full) == (2, 1), "there is room again"


def test_own_hosts_are_told_as_they_are_now() -> None:
    own, others = Own(), Others()
    own.join(PLACE, 1, b"")
    own.join(PLACE, 1, b"i" * 16)
    news = own.take_news()
    assert len(news) == 1, "the last word counts"
    assert own.take_news() == []
    own.leave(PLACE)
    own.leave(PLACE)
    own.join((SPACE, "host-2"), 3, b"")
    for content in [*news, *own.take_news()]:
        others.hear("w1", claim(content))
    assert names(others) == []
    assert [claim(content).host for content in own.all()] == ["host-2"]
    assert len(own) == 1


NAMES = {1: "hub-2", 2: "hub-3"}


def far(*at: tuple[int, int, bytes], host: str = "host-1") -> FarHost:
    return FarHost(SPACE, host, at)


def test_a_host_at_other_hubs_is_where_it_was_said_last() -> None:
    others = Others()
    others.hear_far(far((1, 5, b""), (2, 9, b"i" * 16)), NAMES)
    assert names(others) == ["hub-3", "hub-2"]
    assert others.instance(others.hubs["hub-3"], PLACE) == b"i" * 16
    others.hear("w1", come(7))
    assert names(others) == ["hub-3", "w1", "hub-2"]
    assert [one.is_near for one in others.where(PLACE)] == [False, True, False]
    others.take_changed()
    others.hear_far(far((1, 5, b""), (9, 99, b"")), NAMES)
    assert names(others) == ["w1", "hub-2"], "a number that nobody has told of is none"
    assert others.take_changed() == {PLACE}
    others.hear_far(far((1, 5, b"")), NAMES)
    assert others.take_changed() == set(), "nothing new"
    others.hear_far(far(), NAMES)
    assert names(others) == ["w1"]


def test_what_is_known_of_other_hubs_goes_on_until_all_is_told_anew() -> None:
    others = Others()
    for host in ("host-1", "host-2", "host-3"):
        others.hear_far(far((1, 5, b""), host=host), NAMES)
    others.hear("w1", come(3, "host-4"))
    others.doubt_far()
    assert names(others) == ["hub-2"]
    others.hear_far(far((1, 5, b""), host="host-2"), NAMES)
    others.hear_far(far((1, 6, b""), host="host-3"), NAMES)
    forgotten = others.forget_doubted()
    assert next(forgotten) == PLACE
    assert list(forgotten) == []
    assert set(others.hubs["hub-2"].claims) == {(SPACE, "host-2"), (SPACE, "host-3")}
    assert set(others.hubs["w1"].claims) == {(SPACE, "host-4")}


def test_what_is_doubted_anew_is_not_forgotten_by_the_old_word() -> None:
    others = Others()
    for number in range(3):
        others.hear_far(far((1, 5, b""), host=f"host-{number}"), NAMES)
    others.doubt_far()
    forgotten = others.forget_doubted()
    next(forgotten)
    others.doubt_far()
    assert list(forgotten) == []
    assert len(others.hubs["hub-2"].claims) == 2


def test_a_hub_that_lives_counts_without_a_host_and_a_dead_one_does_not() -> None:
    others = Others()
    others.hear_hub("hub-2", True)
    assert [(one.name, one.live, one.is_near) for one in others.hubs.values()] == [("hub-2", True, False)]
    others.hear_far(far((1, 5, b"")), NAMES)
    others.hear_hub("hub-2", False)
    assert [one.live for one in others.hubs.values()] == [False]
    others.hear_far(far(), NAMES)
    others.hear_hub("hub-2", False)
    assert others.hubs == {}


def test_hosts_of_workers_are_counted_by_namespace() -> None:
    others = Others()
    others.hear("w1", come(1))
    others.hear("w2", come(2))
    others.hear_far(far((1, 5, b"")), NAMES)
    assert others.spaces == {SPACE: 2}
    others.hear("w1", LEFT)
    assert others.spaces == {SPACE: 1}
    others.gone("w2")
    assert others.spaces == {}
