"""Hubs with workers in a cluster: each is one hub to all others, whichever of its processes has a host."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_cluster import REDIS, SECRET, Cluster, await_reply, pinging
from tests.e2e.test_metrics import get
from tests.support import load
from tests.support.echo import unanswered
from tests.support.netns import Process, Topology
from tests.support.program import (
    OVERLAY_1,
    OVERLAY_2,
    pings,
    reach,
    run,
    start_client,
    wait_for,
)
from tests.support.redis_server import needs_redis
from tests.unit.test_metrics import of

pytestmark = [pytest.mark.usefixtures("no_traceback"), needs_redis]

Write = Callable[[str, str], str]
THIRD = "192.168.123.3"


class Crews(Cluster):
    """Two hubs with two workers each; a host-3 is in the hubs' namespace."""

    rest = "workers: 2\n"

    def hub_words(
        self, number: int, known_by: str = f'secret: "{SECRET}"', more: str = "", redis: str = REDIS
    ) -> tuple[str, ...]:
        words = super().hub_words(number, known_by, more, redis)
        file, route = Path(words[1]), f"  routes:\n  - {{dst: {THIRD}/32, gateway: host-3}}\n"
        file.write_text(self.rest + file.read_text().replace("  routes:\n", route, 1))
        return words

    def third(self) -> Process:
        """host-3, a client of the first hub."""
        listen, forward = f"tun:///host-3?net={THIRD}/24", "router://127.0.0.1:8443"
        return start_client(self.topology.hub, "-L", listen, "-F", forward)

    def whole(self, number: int) -> dict[str, Any]:
        """What a hub's status says."""
        status, said = run("status", "--json", "--control", self.control(number))
        assert status == 0, said
        found: dict[str, Any] = json.loads(said)
        return found

    def status(self, number: int) -> dict[str, Any]:
        found: dict[str, Any] = next(iter(self.whole(number)["clusters"]), {"hubs": [], "own_hosts": 0})
        return found

    def pid_of(self, number: int, worker: int = 0) -> int:
        """The process of a worker, or of the cluster (0); 0 where it is not there."""
        seen = self.whole(number)
        rows = seen["workers"] if worker else [{"worker": 0, **seen.get("cluster_process", {"ready": False})}]
        return next((row["pid"] for row in rows if row["worker"] == worker and row["ready"]), 0)

    def kill(self, number: int, worker: int = 0) -> None:
        """Kill a process of a hub, and wait until another one is in its place."""
        pid = self.pid_of(number, worker)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: self.pid_of(number, worker) not in (0, pid))

    def explain(self, hub: int, host: str, address: str) -> str:
        _, page = run("explain", "--from", host, address, "--control", self.control(hub))
        return " ".join(page.split())


@pytest.fixture
def crews(topology: Topology, write: Write, tmp_path: Path) -> Crews:
    made = Crews(topology, write, tmp_path)
    made.start_hub(1)
    made.start_hub(2)
    return made


def test_two_hubs_with_workers_are_two_hubs(crews: Crews) -> None:
    """host-1 and host-3 are in two workers of hub-1, host-2 in one of hub-2."""
    topology = crews.topology
    crews.host(1, 1)
    crews.host(2, 2)
    crews.third()
    crews.wait_known(1, 1)
    crews.wait_known(2, 2)
    reach(topology.host_1, OVERLAY_2)
    reach(topology.hub, OVERLAY_2)
    assert pings(topology.host_1, OVERLAY_2) == 5
    assert pings(topology.host_2, OVERLAY_1, 5, "-s", "1300") == 5
    assert pings(topology.hub, OVERLAY_2) == 5
    assert pings(topology.hub, OVERLAY_1) == 5
    load.transfer(topology.host_1, topology.host_2, OVERLAY_2, 8)
    load.transfer(topology.host_2, topology.host_1, OVERLAY_1, 8)
    assert [row["connections"] for row in crews.whole(1)["workers"]] == [1, 1]
    seen = crews.status(1)
    (other,) = seen["hubs"]
    assert (seen["name"], seen["own_hosts"], other["name"], other["hosts"]) == ("hub-1", 2, "hub-2", 1)
    assert other["link"]["sent_packets"] > 8 << 20 >> 11, "superpackets count as their segments"
    lists = sorted(crews.redis.do("KEYS", "tunrouter:cluster:hub:*").split())
    assert lists == ["tunrouter:cluster:hub:hub-1", "tunrouter:cluster:hub:hub-2"]
    _, page = run("status", "--cluster", "--control", crews.control(2))
    assert "cluster, as hub hub-2 sees it: 2 of 2 hubs live, 3 hosts, 3 sessions" in page
    page = crews.explain(1, "host-1", OVERLAY_2)
    assert "goes to host-2 by hub at hub-2, link of the cluster process" in page, page
    page = crews.explain(1, "host-1", THIRD)
    assert re.search(r"goes to host-3 by hub at worker \d, link$", page.partition(" drops: ")[0]), page
    _, page = run("routes", "--control", crews.control(1))
    gateways = re.findall(r"host-\d(?: \(.*?\))?(?= +r )", page)
    assert gateways == ["host-1", "host-2 (at hub hub-2)", "host-3"], page
    status, said = run("kick", "host-2", "--control", crews.control(1))
    assert (status, "the cluster has it at hub 'hub-2': ask there" in said) == (1, True), said
    for number in (1, 2):
        _, page = run("drops", "--control", crews.control(number))
        assert not re.search("foreign-source|no-link|untrusted", page), page


def test_a_hub_that_begins_lets_nobody_in_before_its_workers_know_the_others(
    topology: Topology, write: Write, tmp_path: Path
) -> None:
    Crews(topology, write, tmp_path).begins_knowing()


def test_a_process_that_dies_is_replaced_and_the_hub_stays(crews: Crews) -> None:
    """The cluster's process: nobody notices but far packets. A worker: its hosts leave the registry at once."""
    topology = crews.topology
    crews.host(1, 1)
    crews.host(2, 2)
    third = crews.third()
    reach(topology.host_1, OVERLAY_2)
    reach(topology.hub, OVERLAY_1)
    with pinging(topology.host_1, OVERLAY_2) as far, pinging(topology.host_1, THIRD) as near:
        near.wait_line("bytes from")
        crews.kill(1)
        took = await_reply(far, 20.0)
    assert took < 8, "some of it is the time to ask; within a second on a quiet machine"
    assert len(unanswered(near.text())) <= 1, "nobody else has noticed"
    assert "says nothing" not in crews.hubs[2].text(), "its lease has not ended"
    assert crews.whole(1)["worker_deaths"] == 1
    crews.hubs[1].wait_line(r"cluster process \(pid \d+\): .*another one takes its place")
    wait_for(lambda: crews.other(2).get("hosts") == 2)
    (number,) = set(re.findall(r"by hub at worker (\d), link", crews.explain(1, "host-1", THIRD)))
    lines, pid = third.line_count(), crews.pid_of(1, int(number))
    os.kill(pid, signal.SIGSTOP)
    os.kill(pid, signal.SIGKILL)
    third.wait_line("connected to", after=lines)
    wait_for(lambda: crews.other(2).get("hosts") == 2)
    reach(topology.hub, OVERLAY_2)
    assert pings(topology.host_1, OVERLAY_2) == 5


def test_a_host_moves_between_hubs_and_a_hub_ends(crews: Crews) -> None:
    topology = crews.topology
    crews.host(1, 1)
    old = crews.host(2, 2)
    reach(topology.host_1, OVERLAY_2)
    old.stop(signal.SIGKILL)
    with pinging(topology.host_1, OVERLAY_2) as ping:
        for hub in (1, 2):
            moved = crews.host(2, hub)
            assert await_reply(ping, 20.0) < 3.0
            if hub == 1:
                moved.stop(signal.SIGKILL)
        crews.hubs[2].stop()
    wait_for(lambda: not crews.other(1)["live"])
    assert "says nothing" not in crews.hubs[1].text(), "it has said goodbye"


def test_metrics_health_and_a_reload(topology: Topology, write: Write, tmp_path: Path) -> None:
    crews = Crews(topology, write, tmp_path)
    crews.rest = (
        "workers: 2\nmetrics: {addr: '127.0.0.1:9100'}\napi: {addr: '127.0.0.1:9200', hosts: [hub]}\n"
    )
    crews.start_hub(1)
    crews.rest = "workers: 2\n"
    crews.start_hub(2)
    crews.host(1, 1)
    crews.host(2, 2)
    reach(topology.host_1, OVERLAY_2)
    _, text = get(topology.hub)
    assert of(text, "tunrouter_cluster_hub_hosts", hub="hub-1") == 1
    assert of(text, "tunrouter_cluster_hub_live", hub="hub-2") == 1
    assert of(text, "tunrouter_sessions") == 1
    status, text = get(topology.hub, "/x/cluster", port=9200)
    assert status == 200, text
    assert [row["name"] for row in json.loads(text)["hubs"]] == ["hub-1", "hub-2"]
    assert json.loads(get(topology.hub, "/x/me", port=9200)[1])["cluster"] is True
    assert [get(topology.hub, path) for path in ("/healthz", "/readyz")] == [(200, "ok\n")] * 2
    file = tmp_path / "hub-1.yml"
    before = file.read_text()
    for old, new, line in (
        ("name: hub-1,", "name: hub-7,", "cluster: joined as hub-7"),
        ("127.0.0.1:7001", "127.0.0.1:7009", "links listen elsewhere"),
    ):
        lines = crews.hubs[1].line_count()
        file.write_text(before.replace(old, new))
        crews.hubs[1].send(signal.SIGHUP)
        crews.hubs[1].wait_line(line, after=lines)
    wait_for(
        lambda: (
            {one["name"]: one["live"] for one in crews.status(2)["hubs"]} == {"hub-1": False, "hub-7": True}
        )
    )
    reach(topology.host_1, OVERLAY_2)
    assert crews.whole(1)["worker_deaths"] == 0
    assert len(crews.whole(1)["sessions"]) == 1


def test_hubs_with_workers_that_trust_each_other_by_files_that_only_root_may_read(
    topology: Topology, write: Write, tmp_path: Path
) -> None:
    """The cluster's process is another user's when it is made, also after it has died."""
    crews = Crews(topology, write, tmp_path)
    crews.rest = "workers: 2\nuser: nobody\n"
    crews.trust(1, 2)
    for number in (1, 2):
        (tmp_path / f"{number}.pem").chmod(0o600)
    crews.host(1, 1)
    crews.host(2, 2)
    reach(topology.host_1, OVERLAY_2)
    crews.kill(1)
    reach(topology.host_1, OVERLAY_2)
    assert pings(topology.host_2, OVERLAY_1) == 5
