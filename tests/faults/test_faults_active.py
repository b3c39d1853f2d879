"""A hub of a cluster dies or ends while a client has sessions with two: numbered packets, both ways."""

from __future__ import annotations

import signal

import pytest

from tests.e2e.test_active import Active, active
from tests.faults.conftest import Note
from tests.support import numbered
from tests.support.program import OVERLAY_1, OVERLAY_2, reach
from tests.support.redis_server import needs_redis

__all__ = ["active"]

pytestmark = [pytest.mark.usefixtures("no_traceback"), needs_redis]


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
