"""RouteTable: longest prefix, gateways by preference, equal prefixes, swaps."""

from __future__ import annotations

import pytest

from lib.route_table import Group, RouteTable, group
from lib.settings import Hop, RouteEntry
from tests.support.routes import entry, gateways, line, packed


def entries(*lines: str) -> list[RouteEntry]:
    return [line(text) for text in lines]


def table(*lines: str) -> RouteTable:
    return RouteTable(entries(*lines))


def found(routes: RouteTable, address: str) -> tuple[str, ...] | None:
    return gateways(routes.lookup(packed(address)))


def test_the_longest_prefix_wins() -> None:
    routes = table("10.0.0.0/8 b", "10.1.0.0/16 a", "fd00::/8 s")
    assert found(routes, "10.1.2.3") == ("a",)
    assert found(routes, "10.2.2.3") == ("b",)
    assert found(routes, "fd00::1") == ("s",)
    assert found(routes, "11.0.0.1") is None
    assert found(routes, "fe80::1") is None


def test_equal_prefixes_collect_their_gateways_in_order_and_once() -> None:
    routes = table("10.0.0.0/8 b", "10.0.0.0/8 a", "10.0.0.0/8 b", "::/0 z", "::/0 y")
    assert found(routes, "10.1.1.1") == ("b", "a")
    assert found(routes, "2001:db8::1") == ("z", "y")
    assert len(routes) == 2


def test_routes_with_the_same_gateways_share_one_group() -> None:
    routes = table("10.0.0.0/8 a", "10.0.0.0/8 b", "fd00::/8 a", "fd00::/8 b")
    assert routes.lookup(packed("10.0.0.1")) is routes.lookup(packed("fd00::1"))


def test_mapped_ipv6_stays_ipv6() -> None:
    assert found(table("10.0.0.0/8 a"), "::ffff:10.0.0.1") is None
    assert found(table("::ffff:10.0.0.0/104 a"), "::ffff:10.0.0.1") == ("a",)


def test_matches_are_longest_first() -> None:
    routes = table("0.0.0.0/0 c", "10.1.0.0/16 a", "10.0.0.0/8 b", "::/0 z")
    matches = routes.matches(packed("10.1.2.3"))
    assert list(map(str, matches)) == ["10.1.0.0/16", "10.0.0.0/8", "0.0.0.0/0"]
    assert [gateways(route.group) for route in matches] == [("a",), ("b",), ("c",)]


def test_iteration_is_by_address_ipv4_first() -> None:
    routes = table("fd00::/8 s", "10.1.0.0/16 a", "0.0.0.0/0 c", "10.0.0.0/8 b")
    assert list(map(str, routes)) == ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "fd00::/8"]


@pytest.mark.parametrize(
    ("rows", "has"),
    [
        pytest.param([("10.0.0.0/8", "a"), ("11.0.0.0/8", "b")], False, id="one gateway each"),
        pytest.param([("10.0.0.0/8", "a"), ("10.0.0.0/8", "b")], True, id="two"),
        pytest.param([("10.0.0.0/8", "a"), ("10.0.0.0/8", "a")], False, id="the same twice"),
        pytest.param([("10.0.0.0/8", "a", None, True)], True, id="one that falls through"),
    ],
)
def test_a_table_knows_whether_anything_could_come_otherwise(rows: list[tuple[str, str]], has: bool) -> None:
    assert RouteTable(entry(*row) for row in rows).has_alternatives == has


# --- groups


def tiers(*hops: Hop) -> tuple[tuple[str, ...], ...]:
    return group(hops).tiers


@pytest.mark.parametrize(
    ("hops", "wanted"),
    [
        pytest.param([Hop("b"), Hop("a")], (("b",), ("a",)), id="the order written"),
        pytest.param([Hop("b", 20), Hop("a", 10)], (("a",), ("b",)), id="by metric"),
        pytest.param([Hop("b", 10), Hop("a", 10)], (("b", "a"),), id="the same metric: one tier"),
        pytest.param([Hop("b", 10), Hop("a")], (("a",), ("b",)), id="none counts as 0"),
        pytest.param([Hop("b", 0), Hop("a"), Hop("c", 0)], (("b", "c"), ("a",)), id="but shares with nobody"),
        pytest.param([Hop("a"), Hop("a", 5), Hop("b", 5)], (("a",), ("b",)), id="twice: where it is first"),
    ],
)
def test_preference(hops: list[Hop], wanted: tuple[tuple[str, ...], ...]) -> None:
    assert tiers(*hops) == wanted
    assert group(hops).names == {hop.gateway for hop in hops}


def test_one_row_lets_the_whole_route_fall_through() -> None:
    assert group([Hop("a"), Hop("b", None, True)]).fall_through
    assert not group([Hop("a"), Hop("b")]).fall_through


def test_rows_of_sources_stand_in_the_order_of_the_sources() -> None:
    routes = RouteTable(entries("10.0.0.0/8 inline"))
    tries = routes.tries
    for rank, gateway in ((3, "http"), (1, "file-1"), (0, "inline-2"), (1, "file-2")):
        routes.add_row(tries, entry("10.0.0.0/8", gateway), rank)
    assert found(routes, "10.0.0.1") == ("inline", "inline-2", "file-1", "file-2", "http")


def test_a_swap_is_one_change_and_gives_the_old_back() -> None:
    routes, other = table("10.0.0.0/8 a"), table("10.0.0.0/8 b", "10.0.0.0/8 c")
    old: Group | None = routes.lookup(packed("10.0.0.1"))
    before = routes.swap(other.tries)
    assert (routes.changes, found(routes, "10.0.0.1")) == (1, ("b", "c"))
    assert before.four.lookup(packed("10.0.0.1")) is old
