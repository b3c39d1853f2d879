"""A way is bad, or cut without a word: of a client and one of its two hubs, of a hub and Redis.

tests/faults/test_cut_faults has more of the kind, and waits until each cut was noticed and is over.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.e2e.test_active import Active, active, paths, port, states
from tests.e2e.test_cluster import REDIS
from tests.support import numbered
from tests.support.netns import HOST_1, HUB_TO_HOST_1, Topology
from tests.support.program import OVERLAY_1, OVERLAY_2, reach, wait_for
from tests.support.redis_server import needs_redis

__all__ = ["active"]

pytestmark = [pytest.mark.usefixtures("no_traceback"), needs_redis]

CHAIN = "add table ip cut; add chain ip cut wire { type filter hook prerouting priority -300; }; add rule ip cut wire "
EVERY = 0.02
USED = ["new flows", "flows that it has"]


@contextmanager
def rules(
    topology: Topology, hub: int, verdict: str, ways: tuple[str, ...] = ("there", "back")
) -> Iterator[None]:
    """Give what goes from host-1 to a hub (there) and what comes from it (back) this verdict as it arrives."""
    ends = {
        "there": (topology.hub, f"ip saddr {HOST_1} th dport {port(hub)}"),
        "back": (topology.host_1, f"ip saddr {HUB_TO_HOST_1} th sport {port(hub)}"),
    }
    for way in ways:
        namespace, words = ends[way]
        namespace.run("nft", f"{CHAIN} meta l4proto {{ tcp, udp }} {words} {verdict}")
    try:
        yield
    finally:
        for way in ways:
            ends[way][0].run("nft", "delete table ip cut")


def home_of(control: str) -> int:
    """The hub that new flows of a host go by."""
    return 1 if paths(control)[0]["hub"].endswith(str(port(1))) else 2


def begin(stack: ExitStack, topology: Topology, back: int) -> list[numbered.Numbered]:
    """Flows from host-1, so many that only go to it, and last a connection."""
    one, two = topology.host_1, topology.host_2
    flows = [
        stack.enter_context(numbered.udp(one, two, OVERLAY_1, OVERLAY_2, 7001, EVERY)),
        *(  # by a hash they are spread over both hubs
            stack.enter_context(numbered.udp(two, one, OVERLAY_2, OVERLAY_1, number, EVERY))
            for number in range(7011, 7011 + back)
        ),
        stack.enter_context(numbered.tcp(one, two, OVERLAY_2, 7020)),
    ]
    numbered.wait(flows, 25)
    return flows


def meet(active: Active, other: str) -> tuple[str, int]:
    """host-1 with two hubs, host-2 at a third one, at host-1's home or at its second one; (where to ask host-1, home)."""
    topology = active.topology
    active.start_hub(3)
    control = active.both(1, 1, 2)
    wait_for(lambda: states(control) == USED)
    home = home_of(control)
    end = {"third": 3, "home": home, "second": 3 - home}[other]
    active.host(2, end)
    reach(topology.host_1, OVERLAY_2)
    for hub in {1, 2} - {end}:
        active.wait_hosts(end, hub, 1)
    return control, home


def test_a_way_that_is_bad_but_lives_moves_nothing(active: Active) -> None:
    """It loses 5 % each way; then the hub stands still for 0.3 s, again and again."""
    topology = active.topology
    control, home = meet(active, "third")
    lines = {number: hub.line_count() for number, hub in active.hubs.items()}
    with ExitStack() as stack:
        flows = begin(stack, topology, 4)
        with rules(topology, home, "numgen random mod 100 < 5 drop"):
            for _ in range(8):
                numbered.wait(flows, 25)
                assert states(control) == USED
        for _ in range(4):
            active.hubs[home].send(signal.SIGSTOP)
            time.sleep(0.3)
            active.hubs[home].send(signal.SIGCONT)
            numbered.wait(flows, 25)
            assert states(control) == USED
    for number, hub in active.hubs.items():
        said = [line for line in hub.text().splitlines()[lines[number] :] if "host-1" in line]
        assert said == [], "no hub takes it for silent"


@pytest.mark.parametrize("way", ["saddr", "daddr"], ids=["its replies are lost", "what is asked is lost"])
def test_one_direction_of_a_hub_and_redis(active: Active, way: str) -> None:
    """It is as where both directions are cut: what is known goes on, and all is right again soon after."""
    topology = active.topology
    active.hubs.pop(2).stop(signal.SIGTERM)
    active.start_hub(2, redis=REDIS.replace("127.0.0.1", "127.0.0.2"))
    active.host(1, 1)
    active.host(2, 2)
    reach(topology.host_1, OVERLAY_2)
    active.wait_known(1, 1)
    lines = active.hubs[2].line_count()
    with numbered.udp(topology.host_1, topology.host_2, OVERLAY_1, OVERLAY_2, 7001) as flow:
        flow.wait(20)
        hook = {"saddr": "input", "daddr": "output"}[way]
        topology.hub.run(
            "nft",
            f"table inet cut {{ chain wire {{ type filter hook {hook} priority 0; ip {way} 127.0.0.2 drop; }}; }}",
        )
        active.hubs[2].wait_line("what is known of other hubs goes on", 20, lines)
        flow.wait(50)
        assert active.other(1)["live"], "its lease goes on by the link"
        topology.hub.run("nft", "delete table inet cut")
        wait_for(lambda: not active.status(2)["error"], 10)
        flow.wait(20)
    assert flow.lost == []
