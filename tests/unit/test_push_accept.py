"""What a client takes of what its hub tells: tables of cases, and what `auto` never takes whatever is told."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import push_accept
from lib.addresses import packed_prefix
from lib.prefixes import Prefix, covers, network, text
from lib.push_accept import Accepted, Local, LocalNetwork
from lib.push_settings import Pushed
from lib.settings_push import FORCE, LISTED, OFF, AcceptSettings

LOCAL = Local(
    hubs=(ip_address("203.0.113.1").packed, ip_address("2001:db8:1::1").packed),
    resolvers=(ip_address("198.51.100.53").packed, ip_address("2001:db8:53::1").packed),
    networks=(
        LocalNetwork("eth0", packed_prefix("192.168.1.0/24")),
        LocalNetwork("eth0", packed_prefix("2001:db8:2::/64")),
    ),
)
AUTO = AcceptSettings()


def accepted(
    *routes: str, how: AcceptSettings = AUTO, addresses: tuple[str, ...] = (), **more: object
) -> Accepted:
    pushed = Pushed(
        tuple(ip_address(one).packed for one in addresses),
        tuple(map(packed_prefix, routes)),
        **more,  # type: ignore[arg-type]
    )
    return push_accept.accept(pushed, how, LOCAL)


def taken(*routes: str, how: AcceptSettings = AUTO) -> list[str]:
    return [text(*route) for route in accepted(*routes, how=how).routes]


@pytest.mark.parametrize(
    ("route", "why"),
    [
        ("0.0.0.0/0", "a default route, or half of one"),
        ("128.0.0.0/1", "a default route, or half of one"),
        ("0.0.0.0/1", "a default route, or half of one"),
        ("::/0", "a default route, or half of one"),
        ("8000::/1", "a default route, or half of one"),
        ("::/1", "a default route, or half of one"),
        ("203.0.113.0/24", "it holds 203.0.113.1, the hub"),
        ("203.0.113.1", "it holds 203.0.113.1, the hub"),
        ("2001:db8:1::/48", "it holds 2001:db8:1::1, the hub"),
        ("2001:db8:1::1", "it holds 2001:db8:1::1, the hub"),
        ("198.51.100.0/24", "it holds 198.51.100.53, a name server"),
        ("198.51.100.53", "it holds 198.51.100.53, a name server"),
        ("2001:db8:53::/48", "it holds 2001:db8:53::1, a name server"),
        ("2001:db8:53::1", "it holds 2001:db8:53::1, a name server"),
        ("192.168.1.0/24", "it lies over 192.168.1.0/24, a network of eth0"),
        ("192.168.0.0/16", "it lies over 192.168.1.0/24"),
        ("192.168.1.128/25", "it lies over 192.168.1.0/24"),
        ("192.168.1.7", "it lies over 192.168.1.0/24"),
        ("2001:db8::/32", "it lies over 2001:db8:2::/64"),
        ("2001:db8:2::/64", "it lies over 2001:db8:2::/64"),
        ("2001:db8:2:0:8000::/65", "it lies over 2001:db8:2::/64"),
        ("2001:db8:2::7", "it lies over 2001:db8:2::/64"),
        ("127.0.0.0/8", "no route leads there"),
        ("127.0.0.1", "no route leads there"),
        ("224.0.0.0/4", "no route leads there"),
        ("169.254.1.0/24", "no route leads there"),
        ("fe80::/64", "no route leads there"),
        ("ff02::/16", "no route leads there"),
        ("::ffff:0:0/96", "no route leads there"),
    ],
)
def test_what_auto_refuses(route: str, why: str) -> None:
    found = accepted(route, "10.9.0.0/16")
    assert [text(*one) for one in found.routes] == ["10.9.0.0/16"]
    (refused,) = found.refused
    assert refused.what == text(*packed_prefix(route))
    assert why in refused.why


@pytest.mark.parametrize(
    "pieces",
    [
        ("0.0.0.0/2", "64.0.0.0/2"),
        ("64.0.0.0/3", "96.0.0.0/3"),
        ("64.0.0.0/2",),
        tuple(f"{first}.0.0.0/8" for first in range(20, 90)),
        ("2000::/3",),
        ("4000::/2",),
        tuple(f"3{digit:x}00::/8" for digit in range(16)),
    ],
)
def test_a_default_route_in_pieces_is_one(pieces: tuple[str, ...]) -> None:
    found = accepted(*pieces, "10.9.0.0/16", "fd00:9::/32")
    assert [text(*one) for one in found.routes] == ["10.9.0.0/16", "fd00:9::/32"]
    assert len(found.refused) == len(pieces)


@pytest.mark.parametrize("route", ["10.0.0.0/8", "172.16.0.0/12", "100.64.0.0/10", "8.8.8.0/24", "fd00::/8"])
def test_what_auto_takes(route: str) -> None:
    assert taken(route) == [route]


def test_force_takes_all_that_can_lead_somewhere() -> None:
    every = ["0.0.0.0/0", "128.0.0.0/1", "192.168.1.0/24", "203.0.113.0/24", "::/0"]
    assert taken(*every, "127.0.0.0/8", how=AcceptSettings(FORCE)) == every


def test_off_takes_addresses_and_no_route() -> None:
    found = accepted("10.9.0.0/16", how=AcceptSettings(OFF), addresses=("10.9.0.7",), left_out=7)
    assert found == Accepted((ip_address("10.9.0.7").packed,))


def test_a_list_takes_what_lies_within_and_nothing_over_a_local_network() -> None:
    how = AcceptSettings(
        LISTED, (packed_prefix("10.0.0.0/8"), packed_prefix("0.0.0.0/1"), packed_prefix("::/0"))
    )
    assert taken("10.9.0.0/16", "0.0.0.0/1", "0.0.0.0/0", "172.16.0.0/12", "::/0", how=how) == [
        *("10.9.0.0/16", "0.0.0.0/1", "::/0"),
    ]
    only = AcceptSettings(LISTED, (packed_prefix("192.168.0.0/16"),))
    assert taken("192.168.1.0/24", "192.168.1.7", "192.168.2.0/24", how=only) == ["192.168.2.0/24"]
    named = AcceptSettings(LISTED, (packed_prefix("192.168.1.7"),))
    assert taken("192.168.1.7", how=named) == ["192.168.1.7/32"], "what is named itself is meant"


def test_what_leads_to_the_host_itself_is_no_route() -> None:
    found = accepted("10.1.0.0/24", "10.2.0.0/24", own=frozenset({0}))
    assert [text(*one) for one in found.routes] == ["10.2.0.0/24"]
    assert not found.refused


def test_addresses() -> None:
    found = accepted(addresses=("10.9.0.7", "192.168.1.7", "224.0.0.7", "::1", "fd00::7", "10.9.0.7"))
    assert found.addresses == (ip_address("10.9.0.7").packed, ip_address("fd00::7").packed)
    assert [one.what for one in found.refused] == [
        *("address 192.168.1.7/32", "address 224.0.0.7/32", "address ::1/128"),
    ]
    assert accepted(addresses=("10.9.0.7",), how=AcceptSettings(addresses=False)).addresses == ()


@pytest.mark.parametrize(
    ("mtu", "addresses", "mtu_taken"),
    [(1380, (), 1380), (576, ("10.9.0.7",), 576), (576, ("fd00::7",), 0), (100, (), 0), (1 << 20, (), 0)],
)
def test_an_mtu_that_can_be(mtu: int, addresses: tuple[str, ...], mtu_taken: int) -> None:
    found = accepted(addresses=addresses, mtu=mtu)
    assert found.mtu == mtu_taken
    assert bool(found.refused) == (mtu != mtu_taken)
    assert accepted(mtu=mtu, how=AcceptSettings(mtu=False)).mtu == 0


def test_lines_name_the_first_few_of_a_kind() -> None:
    found = accepted(*(f"192.168.1.{last}" for last in range(7)), "0.0.0.0/1")
    assert push_accept.summed_up(found.refused) == [
        (
            "192.168.1.0/32, 192.168.1.1/32, 192.168.1.2/32, 192.168.1.3/32 and 3 more: it lies over "
            "192.168.1.0/24, a network of eth0, which this host is connected to (acceptRoutes: force takes it)"
        ),
        "0.0.0.0/1: a default route, or half of one (acceptRoutes: force takes it)",
    ]


def prefixes(size: int) -> st.SearchStrategy[Prefix]:
    address, length = st.binary(min_size=size, max_size=size), st.integers(0, 8 * size)
    return st.builds(lambda one, bits: (network(one, bits), bits), address, length)


@given(st.lists(prefixes(4) | prefixes(16), max_size=40))
def test_auto_never_takes_what_it_must_not(routes: list[Prefix]) -> None:
    found = push_accept.accept(Pushed(routes=tuple(routes)), AUTO, LOCAL)
    assert set(found.routes) <= set(routes)
    for route in found.routes:
        assert route[1] > 1
        for address in (*LOCAL.hubs, *LOCAL.resolvers):
            assert not covers(*route, address)
        for one in LOCAL.networks:
            assert not covers(*route, one.prefix[0])
            assert not covers(*one.prefix, route[0])
