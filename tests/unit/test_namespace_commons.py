"""The memory that namespaces share which anybody can make up: who pays when it is full, and what is counted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import namespace_commons
from lib.acl_shares import ShareTable
from lib.ids import NO_NAMESPACE
from lib.namespace import Attachment, Namespace
from lib.namespace_commons import Commons, Member, PricedDict
from lib.namespace_domain import Domain
from lib.plugin_cache import Unresolved
from lib.route_plugin_cache import PluginCache
from lib.route_table import Route
from tests.support.routes import Nobody, to

Table = PricedDict[int, int]


def table(member: Member, price: int = 10, most: int = 1000) -> Table:
    made: Table = PricedDict(most, price)
    member.keep([*member.tables, made])
    return made


def fill(one: Table, count: int, first: int = 0) -> None:
    for key in range(first, first + count):
        one.renew(key, key)


def test_whoever_has_made_up_most_loses_its_own_oldest() -> None:
    commons = Commons(20_000)
    innocent = table(commons.join("192.0.2.1"))
    fill(innocent, 400)
    for _ in range(50):  # each of them has less than the innocent one
        fill(table(commons.join("198.51.100.7")), 300)
    assert commons.used <= commons.limit
    assert list(innocent) == list(range(400))


def test_of_one_stranger_s_namespaces_the_largest_loses_its_own_oldest() -> None:
    commons = Commons(20_000)
    small = table(commons.join("198.51.100.7"))
    fill(small, 150)
    last = table(commons.join("198.51.100.7"), most=10_000)
    fill(last, 5000)
    assert commons.used <= commons.limit
    assert list(small) == list(range(150))
    assert list(last) == list(range(5000 - 1850, 5000))


def test_many_strangers_leave_everybody_an_equal_share() -> None:
    commons = Commons(100_000)
    innocent = table(commons.join("192.0.2.1"))
    fill(innocent, 400)
    for number in range(15):
        fill(table(commons.join(f"198.51.100.{number}")), 1000)
    assert commons.used <= commons.limit
    assert len(innocent) == 400  # 4,000 bytes of 100,000, where 16 share them


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.sampled_from(["put", "pop", "end"]), st.integers(0, 40)), max_size=300
    )
)
def test_too_little_is_never_counted(steps: list[tuple[int, str, int]]) -> None:
    commons = Commons(300)
    members: dict[int, tuple[Member, Table]] = {}
    for number, what, key in steps:
        if number not in members:
            member = commons.join(f"stranger {number // 2}")
            members[number] = member, table(member, 10 + number)
        member, one = members[number]
        if what == "put":
            one.renew(key, key)
        elif what == "pop":
            one.pop(key, None)
        else:
            member.end()
            del members[number]
        held = sum(len(one) * one.price for _, one in members.values())
        assert held <= commons.used <= commons.limit
    for member, _ in members.values():
        member.end()
    assert (commons.used, len(commons)) == (0, 0)


def test_the_newest_entry_may_be_the_one_too_many() -> None:
    commons = Commons(25)
    fill(table(commons.join("a")), 2)
    shares: ShareTable[int, int] = ShareTable(10, 10)
    commons.join("b").keep([shares])
    for key in range(5):
        shares.put(key, key, "h")
    assert commons.used <= 25


def test_requests_leave_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespace_commons, "MAX_ASKING", 64)
    commons = Commons(1)
    greedy = [commons.join("198.51.100.7") for _ in range(20)]
    asked = [member for member in greedy for _ in range(10) if member.may_ask()]
    assert len(asked) == 32
    other = commons.join("192.0.2.1")
    assert sum(other.may_ask() for _ in range(64)) == 16
    for member in asked:
        member.answered()
    assert commons.asking == 16
    assert sum(other.may_ask() for _ in range(64)) == 16


# --- in a domain --------------------------------------------------------------------------------------


def enter(domain: Domain, key: bytes, peer: str, host: str = "h") -> Attachment:
    made = Attachment(domain.namespace(key), host, peer)
    domain.enter(made, 0.0)
    return made


def made_up(number: int) -> bytes:
    return b"made up %8d" % number


def cache_of(namespace: Namespace) -> PluginCache[Attachment]:
    assert isinstance(namespace.default, PluginCache)
    return namespace.default


def know(namespace: Namespace, count: int) -> None:
    for number in range(count):
        cache_of(namespace).store(number.to_bytes(4, "big"), Route(b"\x0a\0\0\0", 8, to("h")), 0.0)


def test_made_up_namespaces_share_and_the_others_have_their_own() -> None:
    named = b"n" * 16
    domain = Domain({named: Nobody()}, Nobody())
    domain.commons.limit = 400 * 100
    own = [enter(domain, key, "192.0.2.1:1").namespace for key in (named, NO_NAMESPACE)]
    for space in own:
        know(space, 200)
    victim = enter(domain, made_up(0), "192.0.2.2:1").namespace
    know(victim, 30)
    others = [enter(domain, made_up(n), f"198.51.100.7:{n}").namespace for n in range(1, 40)]
    for space in others:
        know(space, 50)
    assert domain.commons.used <= domain.commons.limit
    assert sum(len(cache_of(space)) for space in others) <= 70
    assert len(cache_of(victim)) == 30
    assert [len(cache_of(space)) for space in own] == [200, 200]


def test_a_namespace_that_ends_gives_back_what_it_held_and_may_be_entered_again() -> None:
    domain = Domain({}, Nobody())
    first = enter(domain, made_up(1), "192.0.2.2:1")
    late = Attachment(domain.namespace(made_up(1)), "late", "192.0.2.2:2")
    know(first.namespace, 10)
    assert domain.commons.used > 0
    domain.leave(first)
    assert (domain.commons.used, len(domain.commons)) == (0, 0)
    know(first.namespace, 20)  # replies that come late
    assert domain.commons.used == 0
    domain.enter(late, 0.0)
    know(late.namespace, 1)
    assert domain.commons.used >= 20 * 400
    domain.leave(late)
    assert domain.commons.used == 0


def test_a_router_of_its_own_makes_a_namespace_a_named_one() -> None:
    domain = Domain({}, Nobody())
    space = enter(domain, made_up(1), "192.0.2.2:1").namespace
    know(space, 10)
    domain.replace_tables({made_up(1): Nobody()}, domain.default, 1.0, True)
    assert domain.commons.used == 0
    assert len(cache_of(space)) == 10
    domain.replace_tables({}, domain.default, 1.0, True)
    assert domain.commons.used == 10 * 400


def test_questions_about_made_up_namespaces_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespace_commons, "MAX_ASKING", 100)
    domain = Domain({}, Nobody())
    spaces = [enter(domain, made_up(n), f"198.51.100.7:{n}").namespace for n in range(10)]
    asked = 0
    for space in spaces:
        for number in range(20):
            asked += space.route_to(number.to_bytes(4, "big"), 0.0) is Unresolved.ASKING
    assert asked == 50
    other = enter(domain, made_up(99), "192.0.2.1:1").namespace
    assert other.route_to(b"\x0a\0\0\1", 0.0) is Unresolved.ASKING
    for space in spaces:
        for number in range(20):
            cache_of(space).store(number.to_bytes(4, "big"), None, 0.0)
    assert domain.commons.asking == 1


def test_who_was_there_and_shared_flows_are_bounded_in_every_namespace() -> None:
    domain = Domain({})
    domain.commons.limit = 100 * 400
    for key in (NO_NAMESPACE, made_up(1), made_up(2)):
        stays = enter(domain, key, "198.51.100.7:1", "stays")
        for number in range(200):
            domain.leave(enter(domain, key, "198.51.100.7:2", f"h{number}"))
        assert stays.live
    assert domain.commons.used <= domain.commons.limit
    assert sum(len(space.gateways.away) for space in domain.namespaces.values()) <= 100
