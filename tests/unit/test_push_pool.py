"""A pool gives each host an address of its own, the same again, and never more than there are."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import push_pool
from lib.addresses import packed_prefix
from lib.prefixes import covers
from lib.push_pool import Pool


def pool(*prefixes: str, taken: tuple[str, ...] = ()) -> Pool:
    others = {ip_address(one).packed for one in taken}
    return Pool(map(packed_prefix, prefixes), lambda address: address not in others)


def nobody(host: str) -> bool:
    return False


def everybody(host: str) -> bool:
    return True


def test_a_host_has_the_same_address_again_and_in_a_new_hub() -> None:
    first = pool("10.20.0.0/16", "fd20::/64")
    assert first.sizes == (4, 16)
    four, six = (first.lease("host-1", size, nobody) for size in (4, 16))
    assert four is not None
    assert six is not None
    assert covers(*packed_prefix("10.20.0.0/16"), four)
    assert covers(*packed_prefix("fd20::/64"), six)
    assert first.lease("host-1", 4, nobody) == four
    assert pool("10.20.0.0/16", "fd20::/64").lease("host-1", 4, nobody) == four, "its name's hash leads there"
    assert first.lease("host-2", 4, nobody) != four


@given(st.lists(st.text(max_size=8), min_size=1, max_size=60, unique=True), st.integers(26, 29))
def test_no_two_hosts_have_one_address_and_none_is_an_end(hosts: list[str], length: int) -> None:
    prefix = packed_prefix(f"10.20.0.0/{length}")
    room = (1 << (32 - length)) - 2
    given_out = pool(f"10.20.0.0/{length}")
    found = [given_out.lease(host, 4, everybody) for host in hosts]
    there = [one for one in found if one is not None]
    assert len(there) == len(set(there)) == min(room, len(hosts))
    assert all(covers(*prefix, one) for one in there)
    ends = {ip_network(f"10.20.0.0/{length}")[number].packed for number in (0, -1)}
    assert not ends & set(there)


def test_an_address_of_somebody_else_is_never_given() -> None:
    given_out = pool("10.20.0.0/29", taken=("10.20.0.1", "10.20.0.3"))
    found = {given_out.lease(f"h{number}", 4, everybody) for number in range(8)}
    assert found == {None, *(ip_address(f"10.20.0.{last}").packed for last in (2, 4, 5, 6))}


def test_the_host_that_is_away_for_longest_gives_its_address_to_a_new_one() -> None:
    given_out = pool("10.20.0.0/29")
    first = {host: given_out.lease(host, 4, nobody) for host in "abcdef"}
    given_out.seen("a")
    assert given_out.lease("new", 4, lambda host: host in "bc") == first["d"]
    assert given_out.known("d", 4) is None
    assert given_out.given(4) == given_out.total(4) == 6
    assert given_out.known("a", 4) == first["a"]
    assert given_out.lease("more", 4, everybody) is None, "all others are here"


def test_leases_of_several_prefixes_and_of_one_version_only() -> None:
    given_out = pool("10.20.0.0/30", "10.20.8.0/30")
    found = {given_out.lease(f"h{number}", 4, everybody) for number in range(5)}
    assert found == {
        None,
        *(ip_address(one).packed for one in ("10.20.0.1", "10.20.0.2", "10.20.8.1", "10.20.8.2")),
    }
    assert given_out.lease("h0", 16, everybody) is None


def test_what_was_kept_is_taken_back_where_it_still_fits() -> None:
    given_out = pool("10.20.0.0/29", taken=("10.20.0.5",))
    one, two = (ip_address(f"10.20.0.{last}").packed for last in (1, 2))
    assert given_out.put("a", one)
    assert not given_out.put("b", one), "it is another host's"
    assert not given_out.put("a", two), "it has one"
    assert not given_out.put("c", ip_address("10.20.0.5").packed), "it is somebody else's"
    assert not given_out.put("c", ip_address("10.20.0.7").packed), "the last one"
    assert not given_out.put("c", ip_address("10.21.0.1").packed), "outside"
    assert given_out.lease("a", 4, nobody) == one
    given_out.check("a", one)
    assert given_out.known("a", 4) == one
    given_out.prefixes = (packed_prefix("10.21.0.0/29"),)
    given_out.check("a", one)
    assert given_out.known("a", 4) is None
    assert len(given_out) == given_out.given(4) == 0


def test_leases_are_bounded() -> None:
    given_out = pool("fd20::/64")
    try:
        most, push_pool.MAX_LEASES = push_pool.MAX_LEASES, 3
        for number in range(10):
            assert given_out.lease(f"h{number}", 16, nobody) is not None
            assert len(given_out) <= 3
        assert given_out.lease("one more", 16, everybody) is None
    finally:
        push_pool.MAX_LEASES = most
    assert [host for host, _ in given_out.leases()] == ["h7", "h8", "h9"]


def test_an_address_that_is_taken_back_is_the_one_that_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """However far from where the new host's begins to be looked for; else one host loses it and nobody has it."""
    monkeypatch.setattr(push_pool, "TRIES", 1)
    given_out = pool("10.20.0.0/24")
    there: set[str] = set()
    for number in range(300):
        before = len(given_out)
        assert given_out.lease(f"host-{number}", 4, lambda host: host == "host-0") is not None
        assert len(given_out) in (before, before + 1)
        there |= {host for host, _ in given_out.leases()}
    assert given_out.known("host-0", 4) is not None
    assert len(there) == 300
