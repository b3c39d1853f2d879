"""At the limit of open files packets pass, and whoever looks in finds out why nobody new is let in."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Topology, in_namespace
from tests.support.program import OVERLAY_2, TUNROUTER, example, host, pings, reach, run, start_client

pytestmark = pytest.mark.usefixtures("no_traceback", "real_starts")

Write = Callable[[str, str], str]


def connection(topology: Topology, port: int) -> socket.socket:
    with in_namespace(topology.host_1.name):
        sock = socket.socket()
    sock.settimeout(5)
    sock.connect((HUB_TO_HOST_1, port))
    return sock


def test_status_and_metrics_are_reached(topology: Topology, write: Write, tmp_path: Path) -> None:
    """`ulimit -n 64`, 200 connections to the hub that say nothing, and 30 to the metrics."""
    control = str(tmp_path / "control")
    metrics = f"metrics: {{addr: '{HUB_TO_HOST_1}:9100'}}\n"
    config = write("hub.yml", example("server.yml") + metrics)
    hub = topology.hub.popen("prlimit", "--nofile=64:64", *TUNROUTER, "--control", control, "-C", config)
    hub.wait_line("listening on")
    start_client(topology.host_1, *host(1, HUB_TO_HOST_1))
    start_client(topology.host_2, *host(2, HUB_TO_HOST_2))
    reach(topology.host_1, OVERLAY_2)
    with ExitStack() as stack:
        for port in [8443] * 200 + [9100] * 30:
            stack.callback(connection(topology, port).close)
        hub.wait_line("service-0: no connection is accepted: Too many open files: the limit is 64")
        status, said = run("status", "--control", control)
        assert status == 0, said
        assert {"host-1", "host-2"} <= set(said.split())
        scrape = http.client.HTTPConnection("hub")
        scrape.sock = connection(topology, 9100)
        scrape.request("GET", "/metrics")
        reply = scrape.getresponse()
        assert (reply.status, b"tunrouter_sessions" in reply.read()) == (200, True)
        scrape.close()
        assert pings(topology.host_1, OVERLAY_2) == 5
    assert hub.text().count("no connection is accepted") <= 3, hub.text()
