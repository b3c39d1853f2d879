"""Hosts of several workers: who moves between two has not been away, whoever tells of it first."""

from __future__ import annotations

from lib.notify_mirror import WAIT_SECONDS, Mark, Mirror

NS = "namespace"


def here(mirror: Mirror) -> dict[str, Mark]:
    return dict(mirror.places.get(NS, {}))


def mirror(*workers: int) -> Mirror:
    made = Mirror()
    made.looked.update(dict.fromkeys(workers, 0.0))
    return made


def looked(found: Mirror, now: float, *workers: int) -> None:
    found.looked.update(dict.fromkeys(workers, now))
    found.settle(now)


def test_who_leaves_its_only_worker_is_away_once_all_have_looked() -> None:
    found = mirror(1, 2)
    found.came(1, NS, "a", "192.0.2.1:5", 1.0)
    looked(found, 2.0, 1, 2)
    (mark,) = here(found).values()
    assert (mark.peer, mark.at) == ("192.0.2.1:5", 1.0)
    found.left(1, NS, "a", 3.0, 3.1)
    looked(found, 3.0, 2)
    looked(found, 3.2, 1)
    assert here(found) == {"a": mark}, "the other one has not looked since"
    looked(found, 3.2, 2)
    assert not here(found)
    assert not found.places


def test_who_has_come_to_another_worker_first_has_not_been_away() -> None:
    """Though the one that it leaves tells sooner."""
    found = mirror(1, 2)
    found.came(1, NS, "a", "old", 1.0)
    mark = here(found)["a"]
    found.left(1, NS, "a", 5.0, 5.1)
    looked(found, 5.1, 1)
    assert here(found)["a"] is mark
    found.came(2, NS, "a", "new", 4.9)
    looked(found, 5.2, 1, 2)
    assert here(found)["a"] is mark
    assert mark.peer == "new"
    found.left(2, NS, "a", 9.0, 9.0)
    looked(found, 9.1, 1, 2)
    assert not here(found)


def test_who_comes_after_it_has_left_has_been_away() -> None:
    found = mirror(1, 2)
    found.came(1, NS, "a", "old", 1.0)
    mark = here(found)["a"]
    found.left(1, NS, "a", 5.0, 5.1)
    found.came(2, NS, "a", "new", 5.05)
    looked(found, 5.2, 1, 2)
    assert here(found)["a"] is not mark
    assert here(found)["a"].at == 5.05


def test_the_same_at_one_worker() -> None:
    found = mirror(1)
    found.came(1, NS, "a", "old", 1.0)
    mark = here(found)["a"]
    found.left(1, NS, "a", 5.0, 5.1)
    found.came(1, NS, "a", "new", 5.01)
    looked(found, 6.0, 1)
    assert here(found)["a"] is not mark


def test_sessions_at_several_workers_are_one_host() -> None:
    found = mirror(1, 2)
    found.came(1, NS, "a", "", 1.0)
    found.came(2, NS, "a", "", 2.0)
    mark = here(found)["a"]
    found.left(1, NS, "a", 3.0, 3.0)
    found.left(1, NS, "a", 3.0, 3.0)
    looked(found, 4.0, 1, 2)
    assert here(found) == {"a": mark}


def test_a_worker_that_ends_takes_its_hosts_along_and_is_waited_for_no_more() -> None:
    found = mirror(1, 2)
    found.came(1, NS, "a", "", 1.0)
    found.came(2, NS, "b", "", 1.0)
    found.came(1, NS, "b", "", 1.0)
    found.gone(1, 5.0)
    assert set(here(found)) == {"a", "b"}
    looked(found, 5.1, 2)
    assert set(here(found)) == {"b"}


def test_a_worker_that_does_not_look_is_not_waited_for_for_ever() -> None:
    found = mirror(1, 2)
    found.came(1, NS, "a", "", 1.0)
    found.left(1, NS, "a", 5.0, 5.0)
    looked(found, 5.0 + WAIT_SECONDS, 1)
    assert here(found)
    looked(found, 5.1 + WAIT_SECONDS, 1)
    assert not here(found)


def test_who_has_never_come_leaves_nothing() -> None:
    found = mirror(1)
    found.left(1, NS, "a", 5.0, 5.0)
    found.gone(7, 5.0)
    looked(found, 9.0, 1)
    assert not found.places
