"""GOST's order: what a real GOST did, tables painted in that order, and where longest prefix differs."""

from __future__ import annotations

import json
import random
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from lib.route_first_match import differences, never_used, painted
from lib.route_table import RouteTable
from lib.settings import RouteEntry
from tests.support.routes import drain, entry, gateways, line, packed

RECORDED = json.loads(
    (Path(__file__).parent.parent / "data" / "route_decisions_first_match.json").read_text()
)


def holds(route: RouteEntry, address: bytes) -> bool:
    return ip_address(address) in ip_network((route.prefix, route.length))


def first_match(entries: list[RouteEntry], address: bytes) -> str | None:
    """GOST's answer: the first entry in file order that holds the address."""
    return next((e.hop.gateway for e in entries if len(e.prefix) == len(address) and holds(e, address)), None)


def paint(entries: list[RouteEntry]) -> RouteTable:
    """A table in GOST's order."""
    table = RouteTable(entries)
    first: dict[tuple[bytes, int], int] = {}
    for number, row in enumerate(entries):
        first.setdefault((row.prefix, row.length), number)
    table.swap(drain(painted(table.tries, first)))
    return table


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
    return [entry(r.get("dst") or r["net"], r["gateway"]) for r in named["routes"]]


@pytest.mark.parametrize("case", CASES)
def test_first_match_is_what_gost_does(case: dict[str, Any], gost_entries: list[RouteEntry]) -> None:
    assert [first_match(gost_entries, packed(case["dst"]))] == case["reached"]


@pytest.mark.parametrize("case", CASES)
def test_differs_on_purpose_longest_prefix_wins(case: dict[str, Any], gost_entries: list[RouteEntry]) -> None:
    found = gateways(RouteTable(gost_entries).lookup(packed(case["dst"])))
    assert found == (LONGEST[case["dst"]],)
    differs = {"10.1.2.3", "10.2.0.1", "10.3.1.1"}
    assert (list(found) != case["reached"]) == (case["dst"] in differs)


@pytest.mark.parametrize("case", CASES)
def test_a_table_painted_in_gosts_order_does_as_gost(
    case: dict[str, Any], gost_entries: list[RouteEntry]
) -> None:
    assert list(gateways(paint(gost_entries).lookup(packed(case["dst"]))) or ()) == case["reached"]


def test_the_differences_of_the_recorded_table(gost_entries: list[RouteEntry]) -> None:
    first, *_ = gost_entries
    assert differences(gost_entries) == [(first, gost_entries[n]) for n in (1, 2, 3)]


# --- painted


def test_painted_is_what_a_walk_through_the_list_finds() -> None:
    rng = random.Random(5)
    for _ in range(100):
        entries = [entry(random_net(rng), f"host-{n}") for n in range(30)]
        table = paint(entries)
        for _ in range(100):
            address = rng.getrandbits(8) << 24
            packed_address = address.to_bytes(4, "big")
            found = gateways(table.lookup(packed_address))
            assert (found[0] if found else None) == first_match(entries, packed_address)


# --- where GOST decides otherwise


@pytest.mark.parametrize(
    ("lines", "pairs"),
    [
        pytest.param(["10.1.0.0/16 a", "10.0.0.0/8 b"], [], id="longer first: no difference"),
        pytest.param(["10.0.0.0/8 b", "10.1.0.0/16 a"], [(0, 1)], id="shorter first"),
        pytest.param(["10.0.0.0/8 b", "10.1.0.0/16 b"], [], id="the same gateway"),
        pytest.param(["10.0.0.0/8 b", "10.0.0.0/8 a"], [], id="equal prefixes: never_used tells"),
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
def test_the_differences(lines: list[str], pairs: list[tuple[int, int]]) -> None:
    entries = [line(text) for text in lines]
    assert differences(entries) == [(entries[a], entries[b]) for a, b in pairs]


def test_differences_against_comparing_each_with_all_before_it() -> None:
    rng = random.Random(3)
    for _ in range(200):
        entries = [entry(random_net(rng), rng.choice("abc")) for _ in range(25)]
        expected: dict[tuple[RouteEntry, RouteEntry], None] = {}
        for n, later in enumerate(entries):
            first = next((e for e in entries[:n] if inside(later, e)), later)
            if first.length < later.length and first.hop.gateway != later.hop.gateway:
                expected[first, later] = None
        assert differences(entries) == list(expected)


def inside(inner: RouteEntry, outer: RouteEntry) -> bool:
    return inner.length >= outer.length and holds(outer, inner.prefix)


def test_what_gost_never_uses() -> None:
    lines = ["10.0.0.0/8 a", "11.0.0.0/8 a", "10.0.0.0/8 b", "10.0.0.0/8 c"]
    rows = [line(text) for text in lines]
    assert never_used(rows) == [(rows[0], rows[2]), (rows[0], rows[3])]


def random_net(rng: random.Random) -> str:
    length = rng.randrange(0, 9)
    return f"{ip_address(rng.getrandbits(length) << (32 - length))}/{length}"
