"""Answers of a router plugin: what is asked, how long an answer counts, what waits for it."""

from __future__ import annotations

import pytest

from lib import plugin_cache
from lib.plugin_cache import MAX_ASKING, MAX_WAITING, PATIENCE_SECONDS, RETRY_SECONDS, Unresolved
from lib.route_plugin_cache import PluginCache
from lib.route_table import Route
from tests.support.routes import to

A, B = b"\x0a\0\0\1", b"\x0a\0\0\2"
TO_ONE, TO_TWO = Route(A, 32, to("one")), Route(A, 32, to("two"))


@pytest.fixture
def cache() -> PluginCache[str]:
    return PluginCache(1.0)


def asked(cache: PluginCache[str]) -> list[bytes]:
    return sorted(cache.take_wanted())


def test_an_unknown_address_is_asked_about_once(cache: PluginCache[str]) -> None:
    assert cache.lookup(A, 0) is Unresolved.ASKING
    assert cache.lookup(A, 0) is Unresolved.ASKING
    assert cache.lookup(B, 0) is Unresolved.ASKING
    assert asked(cache) == [A, B]
    assert asked(cache) == []
    assert cache.lookup(A, PATIENCE_SECONDS) is Unresolved.ASKING, "the request may take its time"
    assert asked(cache) == []


def test_a_request_that_nobody_settles_is_made_again(cache: PluginCache[str]) -> None:
    cache.lookup(A, 0)
    assert asked(cache) == [A]
    assert cache.park(A, "sender", b"frame")
    late = PATIENCE_SECONDS + 1
    assert cache.lookup(A, late) is Unresolved.ASKING
    assert asked(cache) == [A]
    assert cache.lookup(A, late) is Unresolved.ASKING
    assert asked(cache) == [], "once"
    assert cache.store(A, TO_ONE, late) == [("sender", b"frame")]
    assert cache.lookup(A, late) == TO_ONE


@pytest.mark.parametrize("route", [TO_ONE, None], ids=["a route", "no route"])
def test_an_answer_counts_for_its_time(cache: PluginCache[str], route: Route | None) -> None:
    cache.lookup(A, 0)
    cache.store(A, route, 10)
    asked(cache)
    assert cache.lookup(A, 10.99) == route
    assert asked(cache) == []
    assert cache.lookup(A, 11) == route, "stale, but it serves"
    assert asked(cache) == [A]
    assert cache.lookup(A, 99) == route
    assert asked(cache) == [], "asked already"
    cache.store(A, TO_TWO, 99)
    assert cache.lookup(A, 99.9) == TO_TWO


def test_a_failure_counts_for_its_time(cache: PluginCache[str]) -> None:
    cache.lookup(A, 0)
    cache.fail(A, 10)
    asked(cache)
    assert cache.lookup(A, 10 + RETRY_SECONDS * 0.99) is Unresolved.FAILED
    assert asked(cache) == []
    assert cache.lookup(A, 10 + RETRY_SECONDS) is Unresolved.ASKING
    assert asked(cache) == [A]


def test_with_no_time_to_keep_every_packet_asks(cache: PluginCache[str]) -> None:
    cache.seconds = 0
    cache.lookup(A, 0)
    asked(cache)
    assert cache.store(A, TO_ONE, 1) == []
    assert cache.lookup(A, 1) == TO_ONE
    assert asked(cache) == [A]


def test_what_waits_is_given_back_in_order(cache: PluginCache[str]) -> None:
    cache.lookup(A, 0)
    cache.lookup(B, 0)
    for number in range(3):
        assert cache.park(A, "s", b"%d" % number)
    assert cache.park(B, "t", b"b")
    assert cache.store(A, TO_ONE, 1) == [("s", b"0"), ("s", b"1"), ("s", b"2")]
    assert cache.store(A, TO_ONE, 1) == []
    assert cache.fail(B, 1) == [("t", b"b")]


def test_nothing_waits_without_a_request(cache: PluginCache[str]) -> None:
    assert not cache.park(A, "s", b"")
    cache.lookup(A, 0)
    cache.store(A, TO_ONE, 0)
    assert not cache.park(A, "s", b"")


def test_a_bounded_number_waits_for_one_address(cache: PluginCache[str]) -> None:
    cache.lookup(A, 0)
    assert [cache.park(A, "s", b"") for _ in range(MAX_WAITING + 2)] == [True] * MAX_WAITING + [False] * 2


def address(number: int) -> bytes:
    return number.to_bytes(4)


def test_a_bounded_number_of_requests_is_under_way(cache: PluginCache[str]) -> None:
    cache.lookup(A, 0)
    cache.store(A, TO_ONE, 0)
    for number in range(MAX_ASKING):
        assert cache.lookup(address(number), 50) is Unresolved.ASKING
    assert len(asked(cache)) == MAX_ASKING + 1
    assert cache.lookup(address(MAX_ASKING), 50) is Unresolved.FAILED
    assert cache.lookup(A, 50) == TO_ONE, "a stale answer serves, the more so while nobody can be asked"
    assert asked(cache) == []
    cache.store(address(0), None, 50)
    assert cache.lookup(address(MAX_ASKING), 50) is Unresolved.ASKING


def test_a_bounded_number_of_answers_is_kept(cache: PluginCache[str]) -> None:
    assert cache.table.most == plugin_cache.MAX_REPLIES
    cache.table.most = 3
    for number in range(4):
        cache.store(address(number), TO_ONE, 0)
    cache.store(address(1), TO_TWO, 0)  # the oldest now, but renewed
    cache.store(address(4), TO_ONE, 0)
    assert [cache.lookup(address(n), 0) for n in range(5)] == [
        Unresolved.ASKING, TO_TWO, Unresolved.ASKING, TO_ONE, TO_ONE,
    ]  # fmt: skip
