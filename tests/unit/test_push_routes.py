"""The routes that hosts are told: no address more, none less, and nobody is told what is behind himself."""

from __future__ import annotations

from ipaddress import ip_address

from hypothesis import assume, given
from hypothesis import strategies as st

from lib import push_routes
from lib.addresses import packed_prefix
from lib.prefixes import Prefix, covers, network, text
from lib.push_routes import Row, Told


def row(prefix: str, *gateways: str) -> Row:
    return (*packed_prefix(prefix), frozenset(gateways))


def told(*rows: Row, most: int = 2048, fixed: dict[str, list[bytes]] | None = None) -> Told:
    steps = push_routes.told(rows, fixed or {}, most)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: Told = end.value
            return found


def texts(found: Told) -> list[str]:
    return [text(*route) for route in found.routes]


def test_prefixes_stay_as_they_are_while_there_is_room() -> None:
    """A host that refuses the wide one still takes the other."""
    rows = (row("10.1.0.0/24", "a"), row("10.1.1.0/24", "a"), row("10.0.0.0/8", "a"))
    assert texts(told(*rows)) == ["10.0.0.0/8", "10.1.0.0/24", "10.1.1.0/24"]


def test_where_there_is_no_room_halves_of_one_gateway_become_one_and_others_do_not() -> None:
    found = told(
        *(row("10.1.0.0/24", "a"), row("10.1.1.0/24", "a"), row("10.1.2.0/24", "b"), row("10.1.3.0/24", "c")),
        *(row("10.2.0.0/16", "a"), row("10.2.7.0/24", "a"), row("10.2.8.0/24", "b")),
        most=6,
    )
    assert texts(found) == ["10.1.0.0/23", "10.1.2.0/24", "10.1.3.0/24", "10.2.0.0/16", "10.2.8.0/24"]
    assert found.own["a"] == {0, 3}
    assert found.own["b"] == {1, 4}
    assert found.left_out == 0


def test_a_gateway_among_several_is_told_nothing_of_it() -> None:
    found = told(row("10.1.0.0/24", "a", "b"), row("10.1.1.0/24", "a"))
    assert found.own == {"a": {0, 1}, "b": {0}}


def test_addresses_of_hosts_become_one_and_are_known() -> None:
    found = told(*(row(f"10.3.0.{last}/32", f"h{last}") for last in range(4)), row("fd3::7/128", "h1"))
    assert texts(found) == ["10.3.0.0/30", "fd3::7/128"]
    assert found.addresses["h1"] == (ip_address("10.3.0.1").packed, ip_address("fd3::7").packed)
    assert found.own == {"h1": {1}}, "its own address, as that is one route by itself"


def test_the_hub_s_own_networks_hold_addresses() -> None:
    found = told(
        row("10.20.0.0/16"), row("10.20.0.7/32", "a"), row("10.20.9.0/24", "b"), row("10.21.0.7/32", "a")
    )
    assert texts(found) == ["10.20.0.0/16", "10.20.9.0/24", "10.21.0.7/32"]
    assert found.addresses["a"] == (ip_address("10.20.0.7").packed, ip_address("10.21.0.7").packed)
    assert found.own == {"b": {1}, "a": {2}}


def test_what_is_routed_to_a_host_with_fixed_addresses_is_behind_it() -> None:
    fixed = {"a": [ip_address("10.3.0.1").packed]}
    found = told(row("10.3.0.1/32", "a"), row("10.3.0.2/32", "a"), row("10.3.0.3/32", "b"), fixed=fixed)
    assert found.addresses == {"a": (ip_address("10.3.0.1").packed,), "b": (ip_address("10.3.0.3").packed,)}
    assert texts(found) == ["10.3.0.1/32", "10.3.0.2/32", "10.3.0.3/32"]
    assert found.own["a"] == {0, 1}


def test_what_has_no_room_are_the_narrowest() -> None:
    rows = [
        row("10.0.0.0/8", "a"),
        row("fd00::/16", "b"),
        row("192.168.7.0/24", "c"),
        row("10.9.0.0/16", "d"),
    ]
    found = told(*rows, most=3)
    assert texts(found) == ["10.0.0.0/8", "10.9.0.0/16", "fd00::/16"]
    assert found.left_out == 1


def test_the_widest_of_many_are_those_with_the_lowest_addresses() -> None:
    """They are sorted in steps: as many as there are rows in several of them."""
    count = 3 * push_routes.STEP + 7
    rows = [row(f"10.{n // 250}.{n % 250}.0/25", f"h-{n}") for n in (7 * k % count for k in range(count))]
    found = told(*rows, row("10.250.0.0/16", "a"), most=2 * push_routes.STEP)
    lowest = sorted(prefix for prefix, _, _ in rows)[: 2 * push_routes.STEP - 1]
    assert [prefix for prefix, length in found.routes if length == 25] == lowest
    assert (len(found.routes), found.left_out) == (2 * push_routes.STEP, count - len(lowest))


PREFIXES = st.builds(
    lambda number, bits: (network(bytes([10, 0, number >> 4, number << 4 & 255]), bits), bits),
    *(st.integers(0, 255), st.integers(20, 32)),
)
ROWS = st.lists(st.tuples(PREFIXES, st.sampled_from(["", "a", "b", "ab"])), max_size=30)


@given(ROWS, st.sampled_from([15, 2048]))
def test_a_host_reaches_what_is_behind_the_others_and_the_hub(
    rows: list[tuple[Prefix, str]], most: int
) -> None:
    """Judged address by address: 4,096 of them, in the /20 in which all prefixes of this test are."""
    found = told(*((*prefix, frozenset(names)) for prefix, names in dict(rows).items()), most=most)
    assume(not found.left_out)
    for host in "ab":
        mine = [route for number, route in enumerate(found.routes) if number not in found.own.get(host, ())]
        for number in range(0, 4096, 7):
            address = bytes([10, 0, number >> 8, number & 255])
            wanted = any(
                covers(*prefix, address) and host not in names for prefix, names in dict(rows).items()
            )
            if wanted:
                assert any(covers(*route, address) for route in mine)
        others = [prefix for prefix, names in dict(rows).items() if names != host or prefix[1] == 32]
        for prefix, length in mine:
            assert any(covers(*one, prefix) or covers(prefix, length, one[0]) for one in others)


def test_many_rows_take_many_short_steps() -> None:
    rows = [row(f"10.{number >> 8}.{number & 255}.0/24", f"h{number}") for number in range(4096)]
    steps = push_routes.told(rows)
    assert sum(1 for _ in steps) > 20
