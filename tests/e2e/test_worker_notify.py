"""A hub with workers tells a real web server who comes and goes, as a hub without workers does."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.e2e.test_metrics import get
from tests.e2e.test_notify import events, web
from tests.e2e.test_workers import Hub, Write
from tests.support.netns import Process, Topology
from tests.support.program import OVERLAY_2, reach, wait_for
from tests.unit.test_metrics import of

__all__ = ["web"]

pytestmark = pytest.mark.usefixtures("no_traceback")

METRICS = "metrics: {addr: '127.0.0.1:9100'}\n"
GOOD = 'notify: [{name: good, url: "http://127.0.0.1:8080/good", grace: 1s, timeout: 60s}]\n'


def test_each_event_is_told_once_whichever_worker_has_the_host(
    topology: Topology, web: Process, write: Write, tmp_path: Path
) -> None:
    hub = Hub(topology, write, tmp_path)
    hub.start("tcp", "", METRICS + GOOD)
    first, _ = hub.both()
    reach(topology.host_1, OVERLAY_2)
    wait_for(lambda: len(events(web)) == 2)
    assert sorted(events(web)) == [("join", "host-1"), ("join", "host-2")]
    first.send(signal.SIGKILL)
    wait_for(lambda: ("away", "host-1") in events(web))
    assert events(web)[2:] == [("leave", "host-1"), ("away", "host-1")]
    number = next(row["worker"] for row in hub.status()["workers"] if row["connections"])
    os.kill(hub.worker(number)["pid"], signal.SIGKILL)
    wait_for(lambda: events(web)[-1] == ("join", "host-2") and len(events(web)) > 4)
    assert ("leave", "host-2") in events(web)[4:], "its worker has ended, and it has come back to another one"

    def delivered() -> object:
        (row,) = hub.status()["notify"]
        assert (row["name"], row["failed"], row["dropped"], row["error"]) == ("good", 0, 0, "")
        return row["delivered"]

    wait_for(lambda: delivered() == len(events(web)))
    status, text = get(topology.hub)
    assert status == 200
    told = of(text, "tunrouter_notify_events_total", notify="good", result="delivered")
    assert told == delivered()


def test_a_reload_tells_nobody_of_those_who_were_here_before(
    topology: Topology, web: Process, write: Write, tmp_path: Path
) -> None:
    hub = Hub(topology, write, tmp_path)
    hub.start()
    hub.both()
    reach(topology.host_1, OVERLAY_2)
    hub.write("tcp", "", GOOD)
    hub.process.send(signal.SIGHUP)
    hub.process.wait_line("notify: good")
    hub.process.wait_line("reload: done")
    wait_for(lambda: hub.status()["notify"])
    hub.ask("kick", "host-1")
    wait_for(lambda: ("join", "host-1") in events(web))
    assert {host for _, host in events(web)} == {"host-1"}, "nothing of the one that has stayed"
    hub.write()
    hub.process.send(signal.SIGHUP)
    hub.process.wait_line("notify: nobody")
    wait_for(lambda: not hub.status()["notify"])
