"""A hub with workers beside GOST's entrypoint and sd: one hub to all others, whichever worker has a host."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_entrypoint import (
    ENTRYPOINTS,
    GRPC,
    HTTP,
    both_ways,
    config,
    host,
    start_grpc_sd,
    start_sd,
)
from tests.e2e.test_metrics import get
from tests.support.netns import Namespace, Process, Topology
from tests.support.program import (
    NAMESPACE_1,
    OVERLAY_1,
    OVERLAY_2,
    needs_gost,
    pings,
    reach,
    run,
    start_client,
    start_gost,
    start_hub,
    wait_for,
)
from tests.unit.test_metrics import of

pytestmark = pytest.mark.usefixtures("no_traceback")

Write = Callable[[str, str], str]
THIRD = "192.168.123.3"
ROUTE = f"    routes: [{{net: {THIRD}/32, gateway: host-3}}, "


def text(number: int, plugin: str = HTTP, more: str = "", rest: str = "workers: 2\n") -> str:
    """A hub's configuration; host-3 is in the hubs' network too."""
    return rest + config(number, plugin, more).replace("    routes: [", ROUTE)


def third(topology: Topology, hub: int = 1) -> Process:
    """host-3, a client of a hub, in the hubs' namespace."""
    forward = f"router://127.0.0.1:{8442 + hub}?router.id={NAMESPACE_1}"
    return start_client(topology.hub, "-L", f"tun:///host-3?net={THIRD}/24", "-F", forward)


class Crew:
    """hub-1, with workers."""

    def __init__(self, topology: Topology, file: str, control: str, *more: str) -> None:
        self.topology, self.file, self.control = topology, Path(file), control
        self.hub = start_hub(topology.hub, "-C", file, "--control", control, *more)

    def status(self) -> dict[str, Any]:
        code, said = run("status", "--json", "--control", self.control)
        assert code == 0, said
        found: dict[str, Any] = json.loads(said)
        return found

    def entrypoint(self) -> dict[str, Any]:
        (row,) = self.status()["entrypoints"]
        found: dict[str, Any] = row
        return found

    def sums(self) -> tuple[int, int]:
        row = self.entrypoint()
        return row["registered"], row["sessions"]

    def pid(self, worker: int = 0) -> int:
        """The process of a worker, or the one that has the entrypoint (0); 0 where it is not there."""
        seen = self.status()
        rows = [*seen["workers"], {"worker": 0, **seen.get("cluster_process", {"ready": False})}]
        return next((row["pid"] for row in rows if row["worker"] == worker and row["ready"]), 0)

    def kill(self, worker: int = 0) -> None:
        """Kill a process, and wait until another one is in its place."""
        before = self.pid(worker)
        os.kill(before, signal.SIGKILL)
        wait_for(lambda: self.pid(worker) not in (0, before))

    def explain(self, source: str, address: str) -> str:
        _, said = run("explain", "--control", self.control, "--from", source, "--ns", NAMESPACE_1, address)
        return " ".join(said.split())

    def drops(self) -> str:
        return run("drops", "--control", self.control)[1]

    def reload(self, old: str, new: str, line: str) -> None:
        lines = self.hub.line_count()
        self.file.write_text(self.file.read_text().replace(old, new))
        self.hub.send(signal.SIGHUP)
        self.hub.wait_line(line, after=lines)


@pytest.mark.parametrize(("plugin", "start"), [(HTTP, start_sd), (GRPC, start_grpc_sd)], ids=["HTTP", "gRPC"])
def test_a_hub_with_workers_is_one_hub(
    topology: Topology, write: Write, tmp_path: Path, plugin: str, start: Callable[[Namespace], Process]
) -> None:
    """host-1 and host-3 are in two workers of hub-1, host-2 at hub-2, which is one process."""
    sd = start(topology.hub)
    file = write("h1.yml", text(1, plugin, ", entrypoint.allow: 127.0.0.1"))
    crew = Crew(topology, file, str(tmp_path / "1.sock"), "--metrics", "127.0.0.1:9100")
    crew.hub.wait_line("neither authenticated nor encrypted")
    start_hub(topology.hub, "-C", write("h2.yml", text(2, plugin, rest="")))
    start_client(topology.host_1, *host(1, 1))
    start_client(topology.host_2, *host(2, 2))
    third(topology)
    reach(topology.host_1, OVERLAY_2)
    reach(topology.hub, OVERLAY_2)
    assert sorted(row["connections"] for row in crew.status()["workers"]) == [1, 1]
    both_ways(topology)
    assert pings(topology.host_2, THIRD, 3) == 3
    assert pings(topology.hub, OVERLAY_1, 3) == 3, "from worker to worker"
    assert crew.sums() == (2, 2), "one process tells the sd of the hosts of all"
    assert sd.text().count("Register" if plugin is GRPC else "asked POST") == 3
    for source in ("host-1", "host-3"):
        said = crew.explain(source, OVERLAY_2)
        assert f"goes to host-2 by hub at {ENTRYPOINTS[2]}, entrypoint" in said, said
    assert re.search(r"goes to host-3 by hub at worker \d, link", crew.explain("host-1", THIRD))
    row = crew.entrypoint()
    assert (row["sd"], row["address"], row["hosts_asked_for"]) == ("sd0", ENTRYPOINTS[1], 1)
    (far,) = row["hubs"]
    assert far["hub"] == ENTRYPOINTS[2]
    assert min(far["received_packets"], far["sent_packets"]) > 100
    assert not far["drops"]
    shown = run("status", "--control", crew.control)[1]
    assert f"entrypoint of hub-1 at {ENTRYPOINTS[1]}: sd sd0 knows 2 of 2 sessions" in shown
    assert f"(at hub {ENTRYPOINTS[2]})" in run("routes", "--control", crew.control)[1], "in every worker"
    (table,) = [one for one in crew.status()["tables"] if one["kind"] == "sd"]
    assert (table["name"], table["rows"]) == ("sd0", 2)
    metrics = get(topology.hub)[1]
    assert of(metrics, "tunrouter_hub_sent_packets_total", service="hub-1", hub=ENTRYPOINTS[2]) > 100
    assert of(metrics, "tunrouter_sd_sessions", service="hub-1", sd="sd0") == 2
    for address, reason in (("127.0.0.1", "bad-datagram"), ("127.0.0.9", "foreign-hub")):
        junk = f"s = socket.socket(2, 2); s.bind(({address!r}, 0)); s.sendto(b'junk', ('127.0.0.1', 8421))"
        topology.hub.run(sys.executable, "-c", f"import socket; {junk}")
        wait_for(lambda: reason in crew.drops())  # noqa: B023  it is called in this round
    assert not re.search("foreign-source|no-link|untrusted", crew.drops())


@needs_gost
def test_a_hub_with_workers_and_gost(topology: Topology, write: Write, tmp_path: Path) -> None:
    start_sd(topology.hub)
    crew = Crew(topology, write("h1.yml", text(1)), str(tmp_path / "1.sock"))
    gost = start_gost(topology.hub, "-C", write("h2.yml", text(2, rest="")))
    start_client(topology.host_1, *host(1, 1))
    third(topology)
    start_client(topology.host_2, *host(2, 2))
    both_ways(topology)
    reach(topology.hub, OVERLAY_2)
    assert pings(topology.host_2, THIRD, 3) == 3
    assert (gost.returncode, crew.hub.returncode) == (None, None)


def test_processes_that_die_hosts_that_move_and_an_sd_that_is_away(
    topology: Topology, write: Write, tmp_path: Path
) -> None:
    """The processes are another user's: also those that take the place of others have the port."""
    mode = tmp_path / "mode.json"
    file = write("h1.yml", text(1, rest="workers: 2\nuser: nobody\n"))
    crew = Crew(topology, file, str(tmp_path / "1.sock"))
    start_hub(topology.hub, "-C", write("h2.yml", text(2, rest="")))
    start_client(topology.host_1, *host(1, 1))
    moving = start_client(topology.host_2, *host(2, 2))
    assert not pings(topology.host_1, OVERLAY_2, 1, "-W0.5")
    wait_for(lambda: "sd-failed" in crew.drops())
    sd = start_sd(topology.hub, ttl=60, mode=str(mode))
    reach(topology.host_1, OVERLAY_2)
    for worker in (0, 1, 2):
        crew.kill(worker)
        reach(topology.host_1, OVERLAY_2)
        reach(topology.host_2, OVERLAY_1)
        wait_for(lambda: crew.sums() == (1, 1))
    assert crew.status()["worker_deaths"] == 3
    sd.stop(signal.SIGKILL)
    assert pings(topology.host_1, OVERLAY_2, 6) == 6, "what is known goes on"
    start_sd(topology.hub, ttl=60, mode=str(mode))
    wait_for(lambda: crew.sums() == (1, 1))
    for hub in (1, 2):
        moving.stop()
        moving = start_client(topology.host_2, *host(2, hub))
        reach(topology.host_1, OVERLAY_2)
        assert pings(topology.host_2, OVERLAY_1, 3) == 3
        wait_for(lambda: crew.sums() == ((2, 2) if hub == 1 else (1, 1)))  # noqa: B023


def test_a_reload_uses_another_entrypoint_or_says_why_not(
    topology: Topology, write: Write, tmp_path: Path
) -> None:
    start_sd(topology.hub)
    crew = Crew(topology, write("h1.yml", text(1)), str(tmp_path / "1.sock"))
    start_hub(topology.hub, "-C", write("h2.yml", text(2, rest="")))
    start_client(topology.host_1, *host(1, 1))
    start_client(topology.host_2, *host(2, 2))
    both_ways(topology)
    crew.reload(":8421'", ":8431'", "with workers: the entrypoint is new or gone, or listens elsewhere")
    assert pings(topology.host_1, OVERLAY_2, 3) == 3, "all is as before"
    crew.reload(":8431'", ":8421', entrypoint.allow: 192.0.2.1", f"entrypoint {ENTRYPOINTS[1]}")
    wait_for(lambda: not pings(topology.host_2, OVERLAY_1, 1, "-W0.5") and "foreign-hub" in crew.drops())
    crew.reload("192.0.2.1", "127.0.0.1", f"entrypoint {ENTRYPOINTS[1]}")
    reach(topology.host_2, OVERLAY_1)
    reach(topology.host_1, OVERLAY_2)
    assert crew.status()["worker_deaths"] == 0
    crew.hub.stop()
