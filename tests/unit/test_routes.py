"""RouteTable: longest prefix, gateways in order, and where GOST's first match decides otherwise."""

from __future__ import annotations

import json
import random
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from lib.routes import Route, RouteTable, first_match_differences
from lib.settings import Network, RouteEntry

RECORDED = json.loads(
    (Path(__file__).parent.parent / "data" / "route_decisions_first_match.json").read_text()
)


def entry(text: str) -> RouteEntry:
    prefix, gateway = text.split()
    return RouteEntry(ip_network(prefix), gateway)


def table(*lines: str) -> RouteTable:
    return RouteTable(map(entry, lines))


def packed(text: str) -> bytes:
    return ip_address(text).packed


def first_match(entries: list[RouteEntry], address: bytes) -> str | None:
    """GOST's answer: the first entry in file order that holds the address."""
    family = [e for e in entries if len(e.prefix.network_address.packed) == len(address)]
    return next((e.gateway for e in family if ip_address(address) in e.prefix), None)


# --- what a real GOST did

LONGEST = {
    "10.1.2.3": "host-a",
    "10.9.9.9": "host-b",
    "10.2.0.1": "host-c",
    "10.3.1.1": "host-a",
    "172.16.5.5": "host-c",
    "8.8.8.8": "host-c",
}
CASES = [pytest.param(case, id=case["dst"]) for case in RECORDED["cases"]]


@pytest.fixture(scope="module")
def gost_entries() -> list[RouteEntry]:
    named = next(c for c in RECORDED["config"] if c["name"] == RECORDED["namespace"])
    return [entry(f"{r.get('dst') or r['net']} {r['gateway']}") for r in named["routes"]]


@pytest.mark.parametrize("case", CASES)
def test_first_match_is_what_gost_does(case: dict[str, Any], gost_entries: list[RouteEntry]) -> None:
    assert [first_match(gost_entries, packed(case["dst"]))] == case["reached"]


@pytest.mark.parametrize("case", CASES)
def test_differs_on_purpose_longest_prefix_wins(case: dict[str, Any], gost_entries: list[RouteEntry]) -> None:
    route = RouteTable(gost_entries).lookup(packed(case["dst"]))
    assert route is not None
    assert route.gateways == (LONGEST[case["dst"]],)
    differs = {"10.1.2.3", "10.2.0.1", "10.3.1.1"}
    assert (list(route.gateways) != case["reached"]) == (case["dst"] in differs)


def test_the_differences_of_the_recorded_table(gost_entries: list[RouteEntry]) -> None:
    first, *_ = gost_entries
    assert first_match_differences(gost_entries) == [(first, gost_entries[n]) for n in (1, 2, 3)]


# --- the table


def test_a_route_says_prefix_length_and_gateways() -> None:
    routes = table("10.0.0.0/8 b", "10.1.0.0/16 a", "fd00::/8 s")
    assert routes.lookup(packed("10.1.2.3")) == Route(packed("10.1.0.0"), 16, ("a",))
    assert routes.lookup(packed("fd00::1")) == Route(packed("fd00::"), 8, ("s",))
    assert routes.lookup(packed("11.0.0.1")) is None
    assert routes.lookup(packed("fe80::1")) is None


def test_equal_prefixes_collect_their_gateways_in_order_and_once() -> None:
    routes = table("10.0.0.0/8 b", "10.0.0.0/8 a", "10.0.0.0/8 b", "::/0 z", "::/0 y")
    assert routes.gateways(packed("10.1.1.1")) == ("b", "a")
    assert routes.gateways(packed("2001:db8::1")) == ("z", "y")
    assert len(routes) == 2


def test_routes_with_the_same_gateways_share_one_tuple() -> None:
    routes = table("10.0.0.0/8 a", "10.0.0.0/8 b", "fd00::/8 a", "fd00::/8 b")
    assert routes.gateways(packed("10.0.0.1")) is routes.gateways(packed("fd00::1"))


def test_mapped_ipv6_stays_ipv6() -> None:
    assert table("10.0.0.0/8 a").lookup(packed("::ffff:10.0.0.1")) is None
    assert table("::ffff:10.0.0.0/104 a").gateways(packed("::ffff:10.0.0.1")) == ("a",)


def test_matches_are_longest_first() -> None:
    routes = table("0.0.0.0/0 c", "10.1.0.0/16 a", "10.0.0.0/8 b", "::/0 z")
    assert routes.matches(packed("10.1.2.3")) == [
        Route(packed("10.1.0.0"), 16, ("a",)),
        Route(packed("10.0.0.0"), 8, ("b",)),
        Route(packed("0.0.0.0"), 0, ("c",)),
    ]


def test_iteration_is_by_address_ipv4_first() -> None:
    routes = table("fd00::/8 s", "10.1.0.0/16 a", "0.0.0.0/0 c", "10.0.0.0/8 b")
    assert [(r.length, r.gateways) for r in routes] == [(0, ("c",)), (8, ("b",)), (16, ("a",)), (8, ("s",))]


# --- where GOST decides otherwise


@pytest.mark.parametrize(
    ("lines", "pairs"),
    [
        pytest.param(["10.1.0.0/16 a", "10.0.0.0/8 b"], [], id="longer first: no difference"),
        pytest.param(["10.0.0.0/8 b", "10.1.0.0/16 a"], [(0, 1)], id="shorter first"),
        pytest.param(["10.0.0.0/8 b", "10.1.0.0/16 b"], [], id="the same gateway"),
        pytest.param(["10.0.0.0/8 b", "10.0.0.0/8 a"], [(0, 1)], id="equal prefixes"),
        pytest.param(["10.0.0.0/8 b", "11.0.0.0/8 a"], [], id="side by side"),
        pytest.param(["::/0 b", "10.0.0.0/8 a"], [], id="families are apart"),
        pytest.param(["::/0 b", "fd00::/8 a"], [(0, 1)], id="IPv6"),
        pytest.param(
            ["0.0.0.0/0 c", "10.0.0.0/8 b", "10.1.0.0/16 a"],
            [(0, 1), (0, 2)],
            id="the first cover, not the next",
        ),
        pytest.param(
            ["10.0.0.0/8 b", "0.0.0.0/0 c", "10.1.0.0/16 a"],
            [(0, 2)],
            id="a shorter one written later is not it",
        ),
        pytest.param(
            ["0.0.0.0/0 a", "10.0.0.0/8 b", "10.1.0.0/16 a"], [(0, 1)], id="right for the wrong reason"
        ),
        pytest.param(["10.0.0.0/24 x", "10.0.0.0/8 b"], [], id="a longer one at the same address"),
        pytest.param(["0.0.0.0/0 a", "10.0.0.0/8 b", "10.0.0.0/8 b"], [(0, 1)], id="each pair once"),
    ],
)
def test_first_match_differences(lines: list[str], pairs: list[tuple[int, int]]) -> None:
    entries = [entry(line) for line in lines]
    assert first_match_differences(entries) == [(entries[a], entries[b]) for a, b in pairs]


def test_first_match_differences_against_comparing_each_with_all_before_it() -> None:
    rng = random.Random(3)
    for _ in range(200):
        entries = [entry(f"{random_net(rng)} {rng.choice('abc')}") for _ in range(25)]
        expected: dict[tuple[RouteEntry, RouteEntry], None] = {}
        for n, later in enumerate(entries):
            first = next((e for e in entries[:n] if inside(later.prefix, e.prefix)), later)
            if first.gateway != later.gateway:
                expected[first, later] = None
        assert first_match_differences(entries) == list(expected)


def inside(inner: Network, outer: Network) -> bool:
    return inner.prefixlen >= outer.prefixlen and inner.network_address in outer


def random_net(rng: random.Random) -> str:
    length = rng.randrange(0, 9)
    return f"{ip_address(rng.getrandbits(length) << (32 - length))}/{length}"
