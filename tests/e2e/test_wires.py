"""A wire as users have it: a slow uplink stays usable for others while one stream fills it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Namespace
from tests.support.program import OVERLAY_2, example, host, reach, start_client, start_hub
from tests.support.wires import WireTopology, build, no_wire, wire_of

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.alone,
    pytest.mark.skipif(bool(no_wire()), reason=no_wire()),
    pytest.mark.usefixtures("no_traceback"),
]

BOUND = 120.0
"""Milliseconds over the idle ping. It takes 20 where the machine is quiet; the wire's queue holds 50 each way."""


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[WireTopology]:
    """A hub and two hosts, each 10 ms away by a wire of 20 Mbit/s, with a tunnel between the hosts."""
    with WireTopology(tmp_path, build(tmp_path), wire_of("20")) as topology:
        for namespace in (topology.hub, topology.host_1, topology.host_2):
            namespace.run("sysctl", "-qw", "net.ipv4.tcp_congestion_control=reno")
        config = tmp_path / "hub.yml"
        config.write_text(example("server.yml"))
        start_hub(topology.hub, "-C", str(config))
        start_client(topology.host_1, *host(1, HUB_TO_HOST_1))
        start_client(topology.host_2, *host(2, HUB_TO_HOST_2))
        reach(topology.host_1, OVERLAY_2)
        yield topology


def pinged(namespace: Namespace, count: int) -> list[float]:
    """Milliseconds of pings, 20 a second."""
    said = namespace.run("ping", "-c", str(count), "-i0.05", "-W2", OVERLAY_2, check=False)
    return [float(text) for text in re.findall(r"time=([0-9.]+)", said)]


def test_a_ping_does_not_wait_behind_an_upload(slow: WireTopology) -> None:
    """It took half a second instead of 42 ms when the client let packets wait in its device and its socket."""
    idle = median(pinged(slow.host_1, 12))
    assert idle >= 40  # the wires delay what they carry
    server = slow.host_2.popen("iperf3", "-s", "-1", "--forceflush")
    server.wait_line("Server listening")
    upload = slow.host_1.popen("iperf3", "-c", OVERLAY_2, "-t4", "-Ccubic", "--forceflush", "-J")
    server.wait_line(r"-1\.\d+ +sec")  # the stream has found its rate
    busy = pinged(slow.host_1, 40)
    upload.wait(20)
    assert len(busy) >= 38
    assert median(busy) < idle + BOUND
    assert json.loads(upload.text())["end"]["sum_received"]["bits_per_second"] > 5e6
