"""A client whose hubs come from a file: it starts without one, finds one, stays with it, and leaves it when it goes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.netns import HUB_TO_HOST_1, Topology
from tests.support.program import GOST, example, needs_gost, start, start_hub, wait_for

pytestmark = pytest.mark.usefixtures("no_traceback")

CLIENT = """
services:
- name: s
  handler: {type: tun, chain: c}
  listener: {type: tun, metadata: {net: 192.168.123.1/24}}
  forwarder: {nodes: [{name: t, addr: host-1}]}
chains: [{name: c, hops: [{name: h}]}]
hops: [{name: h, reload: 1s, file: {path: FILE}}]
"""


def nodes(*ports: int) -> str:
    connector, dialer = {"type": "router"}, {"type": "tcp"}
    return json.dumps(
        [
            {"name": f"n-{port}", "addr": f"{HUB_TO_HOST_1}:{port}", "connector": connector, "dialer": dialer}
            for port in ports
        ]
    )


@pytest.mark.parametrize("program", ["tunrouter", pytest.param("gost", marks=needs_gost)])
def test_a_client_follows_the_file_of_its_hop(
    topology: Topology, write: Callable[[str, str], str], tmp_path: Path, program: str
) -> None:
    file = tmp_path / "nodes.json"
    file.write_text("[]" if program == "tunrouter" else nodes(8443))
    one = start_hub(topology.hub, "-C", write("one.yml", example("server.yml")))
    config = write("host.yml", CLIENT.replace("FILE", str(file)))
    if program == "gost":  # the same file means the same there
        topology.host_1.popen(GOST, "-C", config)
        one.wait_line("is host host-1 in namespace")
        return
    two = start_hub(topology.hub, "-C", write("two.yml", example("server.yml").replace(":8443", ":8444")))
    process = start(topology.host_1, "-C", config)
    process.wait_line("no node of hop h is known yet")
    file.write_text(nodes(8443))
    process.wait_line(f"connected to {HUB_TO_HOST_1}:8443")
    file.write_text(nodes(8444, 8443))
    process.wait_line("hop h of s: 2 nodes with")
    file.write_text(nodes(8444))
    process.wait_line(f"connected to {HUB_TO_HOST_1}:8444")
    assert process.text().count("connected to") == 2
    wait_for(lambda: "is host host-1" in two.text())
