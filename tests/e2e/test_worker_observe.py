"""A hub with workers tells a real observer its state once, and figures that are the sums of all workers."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_notify import web
from tests.e2e.test_workers import HUB, Hub, Write
from tests.support.netns import Process, Topology
from tests.support.program import OVERLAY_2, pings, reach, start_hub, wait_for

__all__ = ["web"]

pytestmark = pytest.mark.usefixtures("no_traceback")

REST = "observers: [{name: o, plugin: {type: http, addr: 'http://127.0.0.1:8080/observer'}}]\n"


def events(web: Process) -> list[dict[str, Any]]:
    lines = [json.loads(line[4:]) for line in web.text().splitlines() if line.startswith("got ")]
    return [event for line in lines for event in line["events"]]


def figures(web: Process, kind: str, client: str = "") -> list[dict[str, int]]:
    return [
        event["stats"]
        for event in events(web)
        if (event["type"], event["kind"]) == ("stats", kind)
        and event.get("client", "").partition("@")[0] == client
    ]


def test_states_are_told_once_and_figures_are_sums(
    topology: Topology, web: Process, write: Write, tmp_path: Path
) -> None:
    hub = Hub(topology, write, tmp_path)
    text = HUB.format(kind="tcp", more="", rest=REST)
    keys = "  observer: o\n  metadata: {enableStats: true, observer.period: 1s}\n  handler: {type: router, observer: o,"
    text = text.replace("  handler: {type: router,", keys, 1)
    text = text.replace("metadata: {router: r}", "metadata: {router: r, observer.period: 1s}", 1)
    hub.file = write("hub.yml", text)
    hub.process = start_hub(topology.hub, "-C", hub.file, "--control", hub.control)
    hub.both()
    reach(topology.host_1, OVERLAY_2)
    wait_for(lambda: [one for one in figures(web, "service") if one["currentConns"] == 2])
    assert [event["status"]["state"] for event in events(web) if event["type"] == "status"] == [
        "running",
        "ready",
    ]
    assert pings(topology.host_1, OVERLAY_2) == 5
    for host in ("host-1", "host-2"):
        wait_for(lambda host=host: figures(web, "handler", host)[-1]["inputBytes"] >= 5 * 84)  # type: ignore[misc]
        assert figures(web, "handler", host)[-1]["currentConns"] == 1
    wait_for(lambda: figures(web, "service")[-1]["inputBytes"] >= 10 * 84)
    os.kill(hub.worker(1)["pid"], signal.SIGKILL)
    reach(topology.host_1, OVERLAY_2)
    wait_for(
        lambda: (
            figures(web, "service")[-1]["currentConns"] == 2
            and figures(web, "service")[-1]["totalConns"] == 3
        )
    )
    told = figures(web, "service")
    for name in ("totalConns", "inputBytes", "outputBytes", "totalErrs"):
        values = [one[name] for one in told]
        assert values == sorted(values), f"{name} never goes backwards"
