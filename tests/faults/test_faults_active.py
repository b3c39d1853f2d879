"""A hub of a cluster dies, ends or goes silent while a client has sessions with two: numbered packets, both ways."""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack

import pytest

from tests.e2e.test_active import Active, active, paths, states
from tests.e2e.test_active_cut import USED, begin, meet, rules
from tests.faults.conftest import Note
from tests.faults.test_faults import seconds
from tests.support import numbered
from tests.support.program import OVERLAY_1, OVERLAY_2, reach, wait_for
from tests.support.redis_server import needs_redis

__all__ = ["active"]

pytestmark = [pytest.mark.usefixtures("no_traceback"), needs_redis]


ONE_WAY = {"there": "the client's", "back": "the hub's"}


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "ended"])
def test_a_hub_of_two(active: Active, note: Note, how: signal.Signals) -> None:
    topology = active.topology
    active.start_hub(3)
    active.both(1, 1, 2)
    active.host(2, 3)
    reach(topology.host_1, OVERLAY_2)
    for hub in (1, 2):
        active.wait_hosts(3, hub, 1)
    ends = topology.host_1, topology.host_2
    with (
        numbered.udp(*ends, OVERLAY_1, OVERLAY_2, 7001) as there,
        numbered.udp(*ends[::-1], OVERLAY_2, OVERLAY_1, 7002) as back,
        numbered.tcp(*ends, OVERLAY_2, 7003) as stream,
    ):
        flows = {"to the other host": there, "from it": back, "a TCP connection": stream}
        for flow in flows.values():
            flow.wait(50)
        active.hubs[1].stop(how)
        for flow in flows.values():
            flow.wait(100)
    gaps = ", ".join(f"{name} {1000 * flow.longest_gap:.0f} ms" for name, flow in flows.items())
    lost = f"{len(there.lost)} of {there.sent} UDP packets there, {len(back.lost)} of {back.sent} back"
    fault = "killed (-9)" if how is signal.SIGKILL else "told to end"
    who = "its clients, and the hub at the other end" if how is signal.SIGKILL else "it tells them"
    note(f"hub of a cluster {fault}; the client has two sessions, the other end is at a third hub", who,
         f"the longest gap: {gaps}", lost)  # fmt: skip
    assert max(flow.longest_gap for flow in flows.values()) < 1.0
    if how is signal.SIGTERM:
        assert not there.lost
        assert not back.lost


@pytest.mark.parametrize("how", ["way", "there", "back", "machine"])
def test_the_way_to_a_hub_of_two_is_cut(active: Active, note: Note, how: str) -> None:
    """Nobody is told of it: packets are dropped, and of a machine without power nothing is heard any more."""
    topology = active.topology
    control, home = meet(active, "third")
    with ExitStack() as stack:
        flows = begin(stack, topology, 8)
        there, back, stream = flows[:1], flows[1:-1], flows[-1:]
        began = time.monotonic()
        with rules(topology, home, "drop", (how,) if how in ONE_WAY else tuple(ONE_WAY)):
            if how == "machine":
                active.hubs[home].send(signal.SIGSTOP)
            wait_for(lambda: states(control)[0] == "all flows")
            noticed = seconds(began)
            numbered.wait(flows, 150)
            gaps = [f"{max(flow.longest_gap for flow in some):.1f} s" for some in (there, back, stream)]
            active.hubs[home].send(signal.SIGCONT)
        began = time.monotonic()
        wait_for(lambda: sorted(states(control)) == sorted(USED), 60)
        again = seconds(began)
        numbered.wait(flows, 50)
    what = "the way between a client and one of its two hubs is cut (nft)"
    if how in ONE_WAY:
        what = f"of a client's packets and those of one of its two hubs only {ONE_WAY[how]} are dropped (nft)"
    if how == "machine":
        what = "machine of a hub of a cluster without power (nft, SIGSTOP); the client has two sessions"
    lost = [
        f"{sum(len(flow.lost) for flow in some)} of {sum(flow.sent for flow in some)}"
        for some in (there, back)
    ]
    note(f"{what}, the other end is at a third hub", "the client, and that hub: nothing is acknowledged",
         f"{noticed}; the longest gap: to the other host {gaps[0]}, from it {gaps[1]}, a TCP connection {gaps[2]};"
         f" used again {again} after it is back",
         f"{lost[0]} UDP packets there, {lost[1]} back; what was on its way still comes")  # fmt: skip
    assert max(flow.longest_gap for flow in (*there, *back)) < 1.5
    assert stream[0].longest_gap < 2.5, "TCP tries again after 0.2, 0.6 and 1.4 s"


def test_a_hub_of_two_stands_still(active: Active, note: Note) -> None:
    """It is not dead: no connection ends, and its host's sessions stay. Once it is heard again, it is used again."""
    topology = active.topology
    active.start_hub(3)
    control = active.both(1, 1, 2)
    active.host(2, 3)
    reach(topology.host_1, OVERLAY_2)
    for hub in (1, 2):
        active.wait_hosts(3, hub, 1)
    wait_for(lambda: states(control) == ["new flows", "flows that it has"])
    home = 1 if paths(control)[0]["hub"].endswith("8443") else 2
    ends = topology.host_1, topology.host_2
    with ExitStack() as stack:
        there = [
            stack.enter_context(numbered.udp(*ends, OVERLAY_1, OVERLAY_2, number))
            for number in range(7001, 7005)
        ]
        back = [
            stack.enter_context(numbered.udp(*ends[::-1], OVERLAY_2, OVERLAY_1, number))
            for number in range(7011, 7019)  # by a hash they are spread over both hubs
        ]
        stream = stack.enter_context(numbered.tcp(*ends, OVERLAY_2, 7020))
        flows = [*there, *back, stream]
        for flow in flows:
            flow.wait(50)
        began = time.monotonic()
        active.hubs[home].send(signal.SIGSTOP)
        wait_for(lambda: states(control)[0] == "all flows")
        noticed = seconds(began)
        for flow in flows:
            flow.wait(100)
        away = [len(flow.lost) for flow in (*there, *back)]
        active.hubs[home].send(signal.SIGCONT)
        began = time.monotonic()
        wait_for(lambda: sorted(states(control)) == ["flows that it has", "new flows"], 30)
        again = seconds(began)
        for flow in flows:
            flow.wait(300)
    gaps = [f"{max(flow.longest_gap for flow in some):.1f} s" for some in (there, back, [stream])]
    lost = [
        f"{sum(len(flow.lost) for flow in some)} of {sum(flow.sent for flow in some)}"
        for some in (there, back)
    ]
    note("hub of a cluster stands still (SIGSTOP); the client has two sessions, the other end is at a third hub",
         "its clients, and the hub at the other end: another hub answers, and this one does not",
         f"{noticed}; the longest gap: to the other host {gaps[0]}, from it {gaps[1]}, a TCP connection {gaps[2]};"
         f" used again {again} after it goes on",
         f"UDP packets meanwhile: {lost[0]} there, {lost[1]} back; none when it goes on")  # fmt: skip
    assert max(flow.longest_gap for flow in (*there, *back)) < 1.5
    assert stream.longest_gap < 4.0, "TCP tries again after 0.2, 0.6, 1.4 and 3 s"
    assert all(len(flow.lost) <= had for flow, had in zip((*there, *back), away, strict=True)), (
        "nothing is lost when it goes on; what it had still comes"
    )
    assert stream.numbers == list(range(stream.sent)), "of a connection everything arrives"
    assert all(len(set(flow.numbers)) == len(flow.numbers) for flow in flows), "nothing twice"
