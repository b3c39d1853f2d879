"""A hub that listens in another network namespace, and a client that dials from one, as GOST does."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.netns import Topology
from tests.support.program import (
    GOST,
    OVERLAY_1,
    OVERLAY_2,
    needs_gost,
    pings,
    reach,
    run,
    start,
    start_client,
    start_gost,
    start_hub,
    wait_for,
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


def within(netns: str, number: int, **node: object) -> str:
    """A client whose device is in another namespace than the client."""
    config = json.loads(client(number, **node))
    config["services"][0]["metadata"] = {"netns": netns}
    config["services"][0]["listener"]["metadata"]["name"] = f"inner-{number}"
    return json.dumps(config)


def test_a_device_in_another_namespace_than_its_client(
    topology: Topology, write: Callable[[str, str], str], tmp_path: Path
) -> None:
    """The hub is reached from one namespace; addresses and routes are in the other, and no trace in the first."""
    start_hub(topology.hub, "-C", write("hub.yml", HUB.replace("NAME", topology.host_1.name)))
    control, inner = str(tmp_path / "one.sock"), topology.host_2
    before = [inner.run("ip", "addr"), inner.run("ip", "route")]
    path = write("one.yml", within(inner.name, 1))
    one = start_client(topology.host_1, "-C", path, "--control", control)
    start_client(topology.hub, "-C", write("two.yml", client(2)))
    assert pings(inner, OVERLAY_2) == 5
    assert pings(topology.hub, OVERLAY_1) == 5
    assert "inner-1" not in topology.host_1.run("ip", "link")
    (row,) = json.loads(run("status", "--json", "--control", control)[1])["clients"]
    assert (row["device"], row["netns"], row["differences"]) == ("inner-1", inner.name, [])
    inner.run("ip", "link", "set", "inner-1", "mtu", "1300")
    one.wait_line("device inner-1: was missing: the MTU")
    text = Path(path).read_text()
    Path(path).write_text(text.replace('"net"', '"route": "10.9.0.0/16", "net"'))
    one.send(signal.SIGHUP)
    one.wait_line("reload: done")
    assert "10.9.0.0/16 dev inner-1" in inner.run("ip", "route")
    one.send(signal.SIGKILL)
    one.wait(10)
    wait_for(lambda: [inner.run("ip", "addr"), inner.run("ip", "route")] == before)


@needs_gost
def test_gost_means_the_same_and_makes_the_device_beside_it(
    topology: Topology, write: Callable[[str, str], str]
) -> None:
    """GOST 3.3 enters the namespace in one thread and makes the device in another one."""
    topology.host_1.popen(GOST, "-C", write("one.yml", within(topology.host_2.name, 1)))
    wait_for(lambda: "inner-1" in topology.host_1.run("ip", "link"))
    assert "inner-1" not in topology.host_2.run("ip", "link")


def test_a_namespace_that_is_not_there_is_an_error_that_names_it(
    topology: Topology, write: Callable[[str, str], str]
) -> None:
    process = start(topology.hub, "-C", write("hub.yml", HUB.replace("NAME", "no-such")))
    assert process.wait(20) == 1
    assert "network namespace no-such: No such file or directory" in process.text()
    process = start(topology.host_1, "-C", write("one.yml", within("no-such", 1)))
    assert process.wait(20) == 1
    assert "service s: network namespace no-such: No such file or directory" in process.text()
    process = start(topology.host_2, "-C", write("two.yml", client(2, netns="no-such")))
    process.wait_line("network namespace no-such: No such file or directory; trying again")
