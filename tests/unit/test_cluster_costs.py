"""Accounts of the hosts behind a link: who is dear, for how long, and what all of them may owe together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.cluster_costs import MAX_HOSTS, MOST_SECONDS, SEVERAL, SWEEP_SECONDS, HostCosts
from lib.cluster_places import Place
from lib.session_cost import ACCIDENT_SECONDS, BURST_SECONDS, FORGIVEN

NAMESPACE, OTHER = b"N" * 16, b"M" * 16
DEAR, INNOCENT = (NAMESPACE, "dear"), (NAMESPACE, "innocent")


def others(count: int) -> list[Place]:
    return [(NAMESPACE, f"host-{number}") for number in range(count)]


def test_a_host_is_dear_beyond_its_burst_and_nobody_else_for_it() -> None:
    costs = HostCosts()
    assert not costs.is_dear(DEAR, 0.0)
    assert costs.charge(DEAR, BURST_SECONDS, 0.0)
    assert (costs.is_dear(DEAR, 0.0), costs.may_be_dear) == (False, False), "as much as a session may"
    costs.charge(DEAR, 1e-6, 0.0)
    assert (costs.is_dear(DEAR, 0.0), costs.may_be_dear) == (True, True)
    assert not costs.is_dear(INNOCENT, 0.0)
    assert not costs.is_dear((OTHER, "dear"), 0.0), "the host of that name in another namespace"


def test_what_is_owed_fades_and_has_a_bound() -> None:
    costs = HostCosts()
    for _ in range(1000):
        costs.charge(DEAR, 0.001, 0.0)
    assert costs.owed(DEAR, 0.0) == MOST_SECONDS
    until = (MOST_SECONDS - BURST_SECONDS) / FORGIVEN
    assert costs.is_dear(DEAR, until - 0.01)
    assert not costs.is_dear(DEAR, until + 0.01)
    costs.sweep(until + 0.01)
    assert len(costs) == 1, "it owes something still"
    costs.sweep(until + SWEEP_SECONDS + BURST_SECONDS / FORGIVEN)
    assert not len(costs)
    assert not costs.may_be_dear


@pytest.mark.parametrize("count", [SEVERAL, 16, MAX_HOSTS])
def test_many_who_owe_have_together_what_a_few_may(count: int) -> None:
    costs = HostCosts()
    allowed = max(ACCIDENT_SECONDS, BURST_SECONDS * SEVERAL / count)
    for host in others(count):
        costs.charge(host, allowed, 0.0)
    assert not any(costs.is_dear(host, 0.0) for host in others(count))
    for host in others(count):
        costs.charge(host, 1e-5, 0.0)
    assert all(costs.is_dear(host, 0.0) for host in others(count))
    before = sum(costs.owed(host, 0.0) for host in others(count))
    faded = before - sum(costs.owed(host, 0.01) for host in others(count))
    assert faded <= 0.01 * FORGIVEN * SEVERAL * 1.001


def test_where_there_is_no_room_the_link_pays_and_nobody_is_forgotten() -> None:
    costs = HostCosts()
    for host in others(MAX_HOSTS):
        assert costs.charge(host, BURST_SECONDS, 0.0)
    assert not costs.charge(DEAR, BURST_SECONDS, 0.0)
    assert not costs.is_dear(DEAR, 0.0)
    assert costs.charge(others(1)[0], 0.001, 0.0), "one that has an account already"
    assert len(costs) == MAX_HOSTS
    later = 2 * BURST_SECONDS / FORGIVEN * MAX_HOSTS
    costs.sweep(later)
    assert costs.charge(DEAR, BURST_SECONDS, later)


@given(st.lists(st.tuples(st.integers(0, 40), st.floats(0, 0.01), st.floats(0, 5)), max_size=60))
def test_however_it_is_charged_what_is_owed_stays_within_its_bounds(
    charges: list[tuple[int, float, float]],
) -> None:
    costs, now = HostCosts(), 0.0
    hosts = others(41)
    for number, seconds, pause in charges:
        now += pause
        costs.sweep(now)
        costs.charge(hosts[number], seconds, now)
        assert 0 <= costs.owed(hosts[number], now) <= MOST_SECONDS
        assert costs.owed(hosts[number], now) >= min(seconds, MOST_SECONDS)
        assert costs.may_be_dear or not any(costs.is_dear(host, now) for host in hosts)
    assert len(costs) <= len({number for number, _, _ in charges})
