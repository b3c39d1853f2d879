"""Where hosts are among workers: the newest session counts, and a worker that ends takes its hosts with it."""

from __future__ import annotations

import pytest

from lib import worker_registry, worker_wire
from lib.worker_registry import Others, Own
from lib.worker_wire import Claim

SPACE = bytes(16)
PLACE = SPACE, "host-1"


def come(since: int, host: str = "host-1", instance: bytes = b"") -> Claim:
    return Claim(worker_wire.COME, SPACE, host, since, instance)


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
        others.hear("w1", worker_wire.decode(content))
    assert names(others) == []
    assert [worker_wire.decode(content).host for content in own.all()] == ["host-2"]
    assert len(own) == 1
