"""MPTCP: a client with two uplinks, of which one goes; and kernels that have none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.mptcp import needs_mptcp
from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Namespace, Process, Topology, connect
from tests.support.program import OVERLAY_2, example, pings, reach, run, start_client, start_hub, wait_for
from tests.support.tls import Authority

pytestmark = [pytest.mark.usefixtures("no_traceback"), needs_mptcp]

Write = Callable[[str, str], str]
SECOND = "10.77.3.1"


def status(control: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("status", "--json", "--control", control)[1])
    return found


def paths(control: str) -> list[int]:
    """Of each session of a hub, or client, with host-1: how many paths it has."""
    found = status(control)
    rows = [*found["sessions"], *found["clients"]]
    return [row["mptcp_paths"] for row in rows if row["host"] == "host-1"]


def switch(namespace: Namespace, enabled: int) -> None:
    namespace.run("sysctl", "-qw", f"net.mptcp.enabled={enabled}")


def dialling(number: int, hub: str, transport: str) -> tuple[str, ...]:
    """The command line of a client that wants MPTCP."""
    listen = f"tun:///host-{number}?net=192.168.123.{number}/24"
    return ("-L", listen, "-F", f"router+{transport}://{hub}:8443?mptcp=true")


def hub_of(topology: Topology, write: Write, control: str, listener: str) -> Process:
    text = example("server.yml")
    assert text.count("      type: tcp\n") == 1
    config = write("hub.yml", text.replace("      type: tcp\n", f"      {listener}\n"))
    return start_hub(topology.hub, "-C", config, "--control", control)


def test_a_client_with_two_uplinks_loses_one_and_no_flow(
    topology: Topology, write: Write, tmp_path: Path
) -> None:
    """The hub tells its second address (`ip mptcp endpoint … signal`). Over TLS, as it is below all layers."""
    controls = [str(tmp_path / name) for name in ("hub.sock", "client.sock")]
    own = Authority(tmp_path).issue("hub.test")
    connect(topology.hub, "second", f"{SECOND}/24", topology.host_1, "uplink-2", "10.77.3.2/24")
    for namespace in (topology.hub, topology.host_1):
        namespace.run("ip", "mptcp", "limits", "set", "subflows", "2", "add_addr_accepted", "2")
    topology.hub.run("ip", "mptcp", "endpoint", "add", SECOND, "signal")
    tls = f"tls: {{certFile: {own.cert}, keyFile: {own.key}}}"
    hub_of(topology, write, controls[0], f"type: tls\n      {tls}\n      metadata: {{mptcp: true}}")
    client = start_client(topology.host_1, "--control", controls[1], *dialling(1, HUB_TO_HOST_1, "tls"))
    start_client(topology.host_2, *dialling(2, HUB_TO_HOST_2, "tls"))
    reach(topology.host_1, OVERLAY_2)
    wait_for(lambda: [paths(control) for control in controls] == [[2], [2]])

    server = topology.host_2.popen("iperf3", "-s", "-1", "--forceflush")
    server.wait_line("Server listening")
    flow = topology.host_1.popen("iperf3", "-c", OVERLAY_2, "-t5", "-b", "20M", "--forceflush")
    flow.wait_line(r"1\.00-2\.00")
    topology.host_1.run("ip", "link", "set", "uplink", "down")
    assert flow.wait(20) == 0
    assert "receiver" in flow.text()
    assert pings(topology.host_1, OVERLAY_2) == 5
    assert client.text().count("connected to") == 1, "the same session all the time"


def test_where_one_end_has_no_mptcp_the_tunnel_is_plain_tcp(
    topology: Topology, write: Write, tmp_path: Path
) -> None:
    controls = [str(tmp_path / name) for name in ("hub.sock", "client.sock")]
    switch(topology.hub, 0)
    hub = hub_of(topology, write, controls[0], "type: tcp\n      metadata: {mptcp: true}")
    hub.wait_line("mptcp: it is switched off: let root run `sysctl -w net.mptcp.enabled=1`; connections are")
    client = start_client(topology.host_1, "--control", controls[1], *dialling(1, HUB_TO_HOST_1, "tcp"))
    switch(topology.host_2, 0)
    other = start_client(topology.host_2, *dialling(2, HUB_TO_HOST_2, "tcp"))
    other.wait_line("mptcp: it is switched off")
    reach(topology.host_1, OVERLAY_2)
    assert [paths(control) for control in controls] == [[0], [0]]
    assert "mptcp" not in client.text(), "its own kernel has it"
