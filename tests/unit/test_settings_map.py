"""Prefix maps: which address stands for which, the rules of nftables, and what a hub has to route for them."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import netfilter_map
from lib.addresses import packed_prefix
from lib.prefixes import Prefix, covers, network
from lib.settings_map import PrefixMap, misrouted, texts, to_inside

MAPS = (
    PrefixMap(packed_prefix("10.71.0.0/24"), packed_prefix("192.168.1.0/24")),
    PrefixMap(packed_prefix("10.71.1.5"), packed_prefix("192.168.2.9")),
    PrefixMap(packed_prefix("fd71::/64"), packed_prefix("fd00:0:0:1::/64")),
)


@pytest.mark.parametrize(
    ("outside", "inside"),
    [
        ("10.71.0.0", "192.168.1.0"),
        ("10.71.0.5", "192.168.1.5"),
        ("10.71.0.255", "192.168.1.255"),
        ("10.71.1.5", "192.168.2.9"),
        ("10.71.1.6", "10.71.1.6"),
        ("192.168.1.5", "192.168.1.5"),
        ("fd71::5:6", "fd00:0:0:1::5:6"),
        ("fd71:0:0:1::5", "fd71:0:0:1::5"),
    ],
)
def test_what_an_address_stands_for(outside: str, inside: str) -> None:
    assert to_inside(MAPS, ip_address(outside).packed) == ip_address(inside).packed


@given(st.integers(1, 32), st.binary(min_size=4, max_size=4), st.binary(min_size=4, max_size=4), st.data())
def test_every_address_stands_for_one_of_its_own(
    length: int, one: bytes, other: bytes, data: st.DataObject
) -> None:
    maps = (PrefixMap((network(one, length), length), (network(other, length), length)),)
    address = data.draw(st.binary(min_size=4, max_size=4))
    found = to_inside(maps, address)
    if covers(*maps[0].outside, address):
        assert covers(*maps[0].inside, found)
        assert to_inside((PrefixMap(maps[0].inside, maps[0].outside),), found) == address
    else:
        assert found == address


def test_the_rules() -> None:
    assert netfilter_map.rules(7, MAPS[:1]).splitlines() == [
        "chain from_tunnel {",
        "type nat hook prerouting priority dstnat - 1;",
        "iif 7 ip daddr 10.71.0.0/24 dnat ip prefix to 192.168.1.0/24",
        "}",
        "chain into_tunnel {",
        "type nat hook postrouting priority srcnat - 1;",
        "oif 7 ip saddr 192.168.1.0/24 snat ip prefix to 10.71.0.0/24",
        "}",
        "chain not_translated_in {",
        "type filter hook forward priority filter - 1;",
        "iif 7 ip daddr 10.71.0.0/24 counter drop",
        "}",
        "chain not_translated_out {",
        "type filter hook postrouting priority 300;",
        "oif 7 ip saddr 192.168.1.0/24 counter drop",
        "}",
    ]
    assert "iif 7 ip6 daddr fd71::/64 dnat ip6 prefix to fd00:0:0:1::/64" in netfilter_map.rules(7, MAPS)
    assert netfilter_map.rules(7, ()) == ""
    assert texts(MAPS[:1]) == {"10.71.0.0/24": "192.168.1.0/24"}


NO_ROUTE = "the hub does not route 10.71.0.0/24 to this host, so nobody reaches 192.168.1.0/24 behind it"
BARE = (
    "to this host, which shows 192.168.1.0/24 as 10.71.0.0/24: give the hub a route for 10.71.0.0/24 in place"
)


@pytest.mark.parametrize(
    ("routed", "is_all", "said"),
    [
        (["10.71.0.0/24"], True, []),
        (["10.71.0.0/16", "10.0.0.7"], True, []),
        (["0.0.0.0/0"], True, []),
        ([], True, [NO_ROUTE]),
        (["10.0.0.7", "::/0"], True, [NO_ROUTE]),
        (["10.71.0.0/25"], True, [NO_ROUTE]),
        ([], False, []),
        (["10.0.0.7"], False, []),
        (["192.168.1.0/24"], True, [f"the hub routes 192.168.1.0/24 {BARE}"]),
        (["192.168.0.0/16"], False, [f"the hub routes 192.168.0.0/16 {BARE}"]),
        (["192.168.1.7"], False, [f"the hub routes 192.168.1.7/32 {BARE}"]),
    ],
)
def test_what_the_hub_has_to_route(routed: list[str], is_all: bool, said: list[str]) -> None:
    prefixes: list[Prefix] = [packed_prefix(text) for text in routed]
    found = list(misrouted(MAPS[:1], prefixes, is_all))
    assert len(found) == len(said)
    assert all(line.startswith(wanted) for line, wanted in zip(found, said, strict=True))
