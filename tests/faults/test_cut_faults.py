"""A way of a client with two hubs, or of a link, is cut without a word: all that `make test` has no time for."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from tests.e2e.test_active import Active, active, states
from tests.e2e.test_active_cut import begin, cut_both_ways, meet, rules
from tests.e2e.test_cut_one_way import Hubs, cut_a_link, cut_client, started
from tests.support import numbered
from tests.support.redis_server import needs_redis

__all__ = ["active", "started"]

pytestmark = [pytest.mark.usefixtures("no_traceback"), needs_redis]

CLIENTS = [
    ("tls with workers", "back", "home"),
    ("tcp", "back", "home"),
    ("tls", "back", "third"),
    ("tls with datagrams", "there", "third"),
    ("tls with workers", "there", "third"),
]
LINKS = [("tcp", "to the hub of two"), ("tcp", "from it"), ("tcp with datagrams", "to the hub of two")]
if os.environ.get("FAULTS_SHORT"):
    CLIENTS, LINKS = CLIENTS[:1], LINKS[:1]


@pytest.mark.parametrize(("kind", "way", "other"), CLIENTS)
def test_one_direction_of_a_client_and_one_of_its_two_hubs(
    started: Callable[[str], Hubs], kind: str, way: str, other: str
) -> None:
    cut_client(started(kind), way, other)


@pytest.mark.parametrize(("kind", "way"), LINKS)
def test_one_direction_of_a_link(started: Callable[[str], Hubs], kind: str, way: str) -> None:
    cut_a_link(started(kind), way)


def test_both_directions_where_the_other_end_is_at_the_hub_that_is_cut_off(active: Active) -> None:
    cut_both_ways(active, "home")


def test_a_hub_that_is_silent_as_a_whole_costs_a_flow_little_more(active: Active) -> None:
    """Its machine has no power any more: its kernel says nothing either, to nobody."""
    topology = active.topology
    control, home = meet(active, "third")
    with ExitStack() as stack:
        flows = begin(stack, topology, 8)
        with rules(topology, home, "drop"):
            active.hubs[home].send(signal.SIGSTOP)
            numbered.wait(flows, 150)
            gaps = [flow.longest_gap for flow in flows]
            assert sorted(states(control)) == ["all flows", "silent"]
            active.hubs[home].send(signal.SIGCONT)
    assert max(gaps) < 2.5
