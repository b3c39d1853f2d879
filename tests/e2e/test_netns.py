"""A hub that listens in another network namespace, and a client that dials from one, as GOST does."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.support.netns import Topology
from tests.support.program import (
    GOST,
    OVERLAY_1,
    OVERLAY_2,
    needs_gost,
    pings,
    reach,
    start,
    start_client,
    start_gost,
    start_hub,
)

pytestmark = pytest.mark.usefixtures("no_traceback")

HUB = """
services:
- name: here
  addr: 127.0.0.1:8443
  handler: {type: router, metadata: {router: r, domain: d}}
  listener: {type: tcp}
- name: there
  addr: 127.0.0.1:8443
  metadata: {netns: NAME}
  handler: {type: router, metadata: {router: r, domain: d}}
  listener: {type: tcp}
routers:
- name: r
  routes: [{dst: 192.168.123.1, gateway: host-1}, {dst: 192.168.123.2, gateway: host-2}]
"""


def client(number: int, **node: object) -> str:
    target = {
        "name": "n",
        "addr": "127.0.0.1:8443",
        "connector": {"type": "router"},
        "dialer": {"type": "tcp"},
    }
    service = {
        "name": "s",
        "handler": {"type": "tun", "chain": "c"},
        "listener": {"type": "tun", "metadata": {"net": f"192.168.123.{number}/24"}},
        "forwarder": {"nodes": [{"name": "t", "addr": f"host-{number}"}]},
    }
    chain = {"name": "c", "hops": [{"name": "h", "nodes": [{**target, **node}]}]}
    return json.dumps({"services": [service], "chains": [chain]})


@pytest.mark.parametrize("program", ["tunrouter", pytest.param("gost", marks=needs_gost)])
def test_a_hub_in_two_namespaces_and_a_client_that_dials_from_a_third(
    topology: Topology, write: Callable[[str, str], str], program: str
) -> None:
    assert GOST or program == "tunrouter"
    hub = start_hub(topology.hub, "-C", write("hub.yml", HUB.replace("NAME", topology.host_1.name)))
    hub.wait_line("service there: listening on 127.0.0.1:8443")
    start_client(topology.host_1, "-C", write("one.yml", client(1)))
    way = {"netns": f"/run/netns/{topology.hub.name}", "interface": "no-such,lo"}  # the second one is there
    inside = write("two.yml", client(2, metadata=way))
    if program == "gost":
        start_gost(topology.host_2, "-C", inside)
        reach(topology.host_1, OVERLAY_2)
    else:
        start_client(topology.host_2, "-C", inside)
        assert pings(topology.host_1, OVERLAY_2) == 5
    assert pings(topology.host_2, OVERLAY_1) == 5
    assert "service there: 127.0.0.1" in hub.text()
    assert "service here: 127.0.0.1" in hub.text()


def test_a_namespace_that_is_not_there_is_an_error_that_names_it(
    topology: Topology, write: Callable[[str, str], str]
) -> None:
    process = start(topology.hub, "-C", write("hub.yml", HUB.replace("NAME", "no-such")))
    assert process.wait(20) == 1
    assert "network namespace no-such: No such file or directory" in process.text()
    process = start(topology.host_2, "-C", write("two.yml", client(2, netns="no-such")))
    process.wait_line("network namespace no-such: No such file or directory; trying again")
