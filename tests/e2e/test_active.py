"""Clients with sessions at two hubs of a cluster (`active: 2`): a hub dies, ends, or is farther than the other."""

from __future__ import annotations

import json
import signal
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_cluster import Cluster, Write
from tests.support import numbered
from tests.support.delayed import delayed
from tests.support.netns import Topology
from tests.support.program import OVERLAY_1, OVERLAY_2, reach, run, start_client, start_hub, wait_for
from tests.support.redis_server import needs_redis

pytestmark = [pytest.mark.usefixtures("no_traceback"), needs_redis]


class Active(Cluster):
    """Three hubs; clients may keep two sessions."""

    def both(self, number: int, *hubs: int) -> str:
        """A host with sessions at two of these hubs; returns where its process can be asked."""
        namespace = {1: self.topology.host_1, 2: self.topology.host_2}[number]
        control = str(self._directory / f"host-{number}.sock")
        listen, url, *way = self.words(number, *hubs)
        start_client(namespace, listen, url + "&active=2", *way, "--control", control)
        wait_for(lambda: [path["since_s"] is not None for path in paths(control)] == [True, True])
        wait_for(lambda: "begins" not in states(control))
        return control

    def wait_hosts(self, number: int, hub: int, hosts: int) -> None:
        """Wait until a hub knows so many hosts of another one."""
        wait_for(
            lambda: any(
                row["name"] == f"hub-{hub}" and row["live"] and row["hosts"] == hosts
                for row in self.status(number)["hubs"]
            )
        )


def port(hub: int) -> int:
    """Where clients dial a hub; 4 and 5 are relays before 1 and 2."""
    return 8443 + 1000 * (hub - 1)


def paths(control: str) -> list[dict[str, Any]]:
    status, said = run("status", "--json", "--control", control)
    found: list[dict[str, Any]] = json.loads(said)["clients"][0]["paths"] if status == 0 else []
    return found


def states(control: str) -> list[str]:
    return [path["state"] for path in paths(control)]


def begin_flows(stack: ExitStack, topology: Topology, back: int) -> list[numbered.Numbered]:
    """A flow of numbered packets from host-1 to host-2, and so many back, once some packets of each have come."""
    ends = topology.host_1, topology.host_2
    flows = [stack.enter_context(numbered.udp(*ends, OVERLAY_1, OVERLAY_2, 7001, 0.002))]
    flows += [
        stack.enter_context(numbered.udp(*ends[::-1], OVERLAY_2, OVERLAY_1, number, 0.004))
        for number in range(7002, 7002 + back)
    ]
    numbered.wait(flows, 50)
    for flow in flows:
        stack.callback(flow.end)
    return flows


@pytest.fixture
def active(topology: Topology, write: Write, tmp_path: Path) -> Active:
    made = Active(topology, write, tmp_path)
    for number in (1, 2):
        made.start_hub(number)
    return made


@pytest.mark.alone
def test_a_killed_hub_costs_a_flow_less_than_a_second(active: Active) -> None:
    """The other end is at a third hub: both directions have to find another way, one at the client, one at that hub."""
    topology = active.topology
    active.start_hub(3)
    control = active.both(1, 1, 2)
    active.host(2, 3)
    reach(topology.host_1, OVERLAY_2)
    for hub in (1, 2):
        active.wait_hosts(3, hub, 1)
    assert states(control) == ["new flows", "flows that it has"]
    home = 1 if paths(control)[0]["hub"].endswith("8443") else 2
    ends = topology.host_1, topology.host_2
    with (
        numbered.udp(*ends, OVERLAY_1, OVERLAY_2, 7001) as there,
        numbered.udp(*ends[::-1], OVERLAY_2, OVERLAY_1, 7002) as back,
        numbered.tcp(*ends, OVERLAY_2, 7003) as stream,
    ):
        flows = (there, back, stream)
        numbered.wait(flows, 30)
        active.hubs[home].stop(signal.SIGKILL)
        numbered.wait(flows, 150)
        for flow in flows:
            flow.end()
    assert max(flow.longest_gap for flow in flows) < 1.0
    assert len(set(there.numbers)) == len(there.numbers)
    assert stream.numbers == list(range(stream.sent)), "of a connection everything arrives"
    active.start_hub(home)
    wait_for(lambda: sorted(states(control)) == ["flows that it has", "new flows"])


@pytest.mark.parametrize("keeps", [2, 1], ids=["two sessions", "one session"])
def test_a_hub_that_ends_costs_no_packet(active: Active, keeps: int) -> None:
    """Of two sessions flows leave the one that ends, both at the client and at the third hub, where the other end is."""
    topology, home = active.topology, 1
    active.start_hub(3)
    if keeps == 2:
        home = 1 if paths(active.both(1, 1, 2))[0]["hub"].endswith("8443") else 2
        active.wait_hosts(3, 2, 1)
    else:
        active.host(1, 1, 2)
    active.host(2, 3)
    reach(topology.host_1, OVERLAY_2)
    active.wait_hosts(3, 1, 1)
    with ExitStack() as stack:
        flows = begin_flows(stack, topology, 8)  # by a hash they are spread over both hubs
        assert active.hubs[home].stop(signal.SIGTERM) == 0
        numbered.wait(flows, 50)
    for flow in flows:
        assert flow.lost == []
        assert len(flow.numbers) == flow.sent, "nothing twice"
        assert flow.longest_overtaken < 0.5, "nor much out of order"


def test_hubs_that_trust_each_other_and_have_no_secret_are_one_cluster(active: Active) -> None:
    """New flows go by one hub, others stay at the other one, and a hub that ends costs no packet."""
    topology = active.topology
    active.trust(1, 2, 3)
    control = active.both(1, 1, 2)
    wait_for(lambda: states(control) == ["new flows", "flows that it has"])
    home = 1 if paths(control)[0]["hub"].endswith("8443") else 2
    active.host(2, 3)
    reach(topology.host_1, OVERLAY_2)
    for hub in (1, 2):
        active.wait_hosts(3, hub, 1)
    with ExitStack() as stack:
        flows = begin_flows(stack, topology, 4)
        assert active.hubs[home].stop(signal.SIGTERM) == 0
        numbered.wait(flows, 50)
    assert [flow.lost for flow in flows] == [[]] * len(flows)


@pytest.mark.parametrize("other", [3, 1], ids=["other end elsewhere", "other end at the same hub"])
@pytest.mark.parametrize("keeps", [2, 1], ids=["two sessions", "one session"])
def test_a_host_that_is_drained_loses_no_packet(active: Active, keeps: int, other: int) -> None:
    """`tunrouter drain` of one host: with one session it goes to the other hub, and comes back a second later."""
    topology, home = active.topology, 1
    if keeps == 2:
        control = active.both(1, 1, 2)
        home = 1 if paths(control)[0]["hub"].endswith("8443") else 2
    else:
        client = active.host(1, 1, 2)
    end = home if other == 1 else 3
    if end == 3:
        active.start_hub(3)
        active.wait_hosts(3, home, 1)
    active.host(2, end)
    reach(topology.host_1, OVERLAY_2)
    with ExitStack() as stack:
        flows = begin_flows(stack, topology, 4)
        lines = active.hubs[home].line_count()
        seen = client.line_count() if keeps == 1 else 0
        assert run("drain", "host-1", "--control", active.control(home))[0] == 0
        if keeps == 1:
            client.wait_line("connected to .*:9443", after=seen)
            client.wait_line("connected to .*:8443", after=seen)
        active.hubs[home].wait_line("host-1. left: ", after=lines)
        numbered.wait(flows, 50)
    for flow in flows:
        assert flow.lost == []
        assert len(flow.numbers) == flow.sent, "nothing twice"


def test_the_nearest_hub_gets_new_flows(active: Active) -> None:
    """The one that is preferred moves away: 30 ms each way."""
    topology = active.topology
    with delayed(topology.hub, port(4), port(1)) as one, delayed(topology.hub, port(5), port(2)) as two:
        relays = {str(port(4)): one, str(port(5)): two}
        control = active.both(1, 4, 5)
        active.host(2, 2)
        reach(topology.host_1, OVERLAY_2)
        with numbered.udp(topology.host_1, topology.host_2, OVERLAY_1, OVERLAY_2, 7001) as flow:
            flow.wait(10)
            far = paths(control)[0]["hub"]
            relays[far.rpartition(":")[2]].seconds = 0.03

            def has_changed() -> bool:
                near, other = paths(control)
                return bool(near["hub"] != far and near["rtt_s"] < 0.75 * other["rtt_s"])

            wait_for(has_changed, 15)
            assert states(control) == ["new flows", "flows that it has"]
            flow.wait(10)
        assert flow.lost == [], "a flow stays where it is"


@pytest.mark.alone
def test_hubs_in_no_cluster_stand_by(active: Active, tmp_path: Path) -> None:
    """Each reaches its own hosts only: one carries everything, and when it dies the other one does."""
    topology = active.topology
    for number in (1, 2):
        active.hubs[number].stop()
        file = tmp_path / f"hub-{number}.yml"
        lines = file.read_text().splitlines()
        text = "\n".join(line for line in lines if not line.startswith(("sds:", "cluster:")))
        file.write_text(text.replace("sd: registry, ", ""))
        active.hubs[number] = start_hub(topology.hub, "-C", str(file), "--control", active.control(number))
    controls = [active.both(number, 1, 2) for number in (1, 2)]
    for control in controls:
        assert states(control) == ["all flows", "stands by: not in one cluster"]
    reach(topology.host_1, OVERLAY_2)
    with numbered.udp(topology.host_1, topology.host_2, OVERLAY_1, OVERLAY_2, 7001) as flow:
        flow.wait(20)
        active.hubs[1].stop(signal.SIGKILL)
        began = time.monotonic()
        flow.wait(50)
        assert time.monotonic() - began < 3
    assert flow.longest_gap < 1.0
