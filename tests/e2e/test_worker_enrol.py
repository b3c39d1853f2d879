"""Hosts that join a hub with workers by an invitation and get addresses of its pool, at whichever worker they are."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from lib.stream_certificates import state_directory
from tests.e2e import test_cluster_pool
from tests.e2e.test_enrol import invited
from tests.e2e.test_join import own
from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Namespace, Process, Topology, in_namespace
from tests.support.program import TUNROUTER, pings, reach, run, start, start_hub, wait_for
from tests.support.redis_server import PORT, Redis, needs_redis
from tests.support.tls import Authority

pytestmark = pytest.mark.usefixtures("no_traceback")

Write = Callable[[str, str], str]
HUB = """\
workers: 2
services:
- name: hub
  addr: ":8443"
  handler: {{type: router, metadata: {{router: {router}, enrol: {enrol}}}}}
  listener: {{type: tls, tls: {{certFile: {cert}, keyFile: {key}}}}}
routers: [{{name: {router}, address: 10.20.0.1/24, pool: 10.20.0.0/24}}]
"""


class Hub:
    """A hub with two workers, and hosts that join it."""

    def __init__(self, topology: Topology, write: Write, directory: Path) -> None:
        self.topology, self._write, self.directory = topology, write, directory
        self.router = f"test-{os.urandom(8).hex()}"  # of this run: its file is this machine's
        self.control = str(directory / "hub.sock")
        self._pair = Authority(directory).issue("hub.test")

    def start(self, enrol: str) -> Process:
        text = HUB.format(router=self.router, enrol=enrol, cert=self._pair.cert, key=self._pair.key)
        words = ("-C", self._write("hub.yml", text), "--control", self.control)
        self.process = start_hub(self.topology.hub, *words)
        return self.process

    def invite(self, number: int) -> str:
        address = {1: HUB_TO_HOST_1, 2: HUB_TO_HOST_2}[number]
        return invited(self.control, f"host-{number}", "--address", f"{address}:8443")

    def join(self, number: int, line: str) -> Process:
        etc = str(self.directory / f"etc-{number}")
        client = start(self.namespace(number), "join", "--into", etc, "--now", line)
        client.wait_line("connected to")
        return client

    def namespace(self, number: int) -> Namespace:
        return {1: self.topology.host_1, 2: self.topology.host_2}[number]

    def ask(self, *words: str) -> Any:
        status, said = run(*words, "--json", "--control", self.control)
        assert status == 0, said
        return json.loads(said)

    def workers(self) -> dict[int, dict[str, Any]]:
        return {row["worker"]: row for row in self.ask("status")["workers"] if row["ready"]}

    def wait_connections(self, least: int) -> None:
        """Wait until workers have so many connections together."""
        wait_for(lambda: sum(one["connections"] for one in self.workers().values()) >= least)

    def kill(self, number: int) -> None:
        pid = self.workers()[number]["pid"]
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: (one := self.workers().get(number)) is not None and one["pid"] != pid)


@pytest.fixture
def hub(topology: Topology, write: Write, tmp_path: Path) -> Iterator[Hub]:
    made = Hub(topology, write, tmp_path)
    yield made
    topology.hub.kill_all()  # so that none writes the file again
    (state_directory() / f"pool-{made.router}").unlink(missing_ok=True)


def address(namespace: Namespace) -> str:
    """The one address that a host has; waits for it."""
    wait_for(lambda: len(own(namespace)) == 1, 15)
    return own(namespace)[0].partition("/")[0]


@pytest.mark.parametrize("kept", ["file", pytest.param("redis", marks=needs_redis)])
def test_from_nothing_to_a_ping_at_two_workers_and_out_for_good(hub: Hub, kept: str) -> None:
    topology, listed = hub.topology, str(hub.directory / "state" / "hosts")
    if kept == "redis":
        Redis(topology.hub).start()
        listed = f"{{redis: {{addr: '127.0.0.1:{PORT}'}}}}"
    hub.start(listed)
    lines = {number: hub.invite(number) for number in (1, 2)}
    clients = {number: hub.join(number, line) for number, line in lines.items()}
    one, two = address(topology.host_1), address(topology.host_2)
    assert len({one, two, "10.20.0.1"}) == 3
    reach(topology.host_1, two)
    assert pings(topology.host_2, one) == 5
    assert [row["connections"] for row in hub.workers().values()] == [1, 1], "each has one of the two"
    rows = hub.ask("hosts")["hosts"]
    assert [(row["host"], row["connected"]) for row in rows] == [("host-1", True), ("host-2", True)]

    for number in (1, 2):
        hub.kill(number)
        reach(topology.host_1, two, 30)
        assert (address(topology.host_1), address(topology.host_2)) == (one, two)
        assert pings(topology.host_2, one) == 5

    said = run("revoke", "host-1", "--control", hub.control)
    assert said == (0, "1 host revoked, 1 session ended\n"), "wherever it is"
    clients[1].wait_line("refused: unauthorized")
    clients[1].stop()
    (row,) = hub.ask("hosts")["hosts"]
    assert row["host"] == "host-2"
    for count in range(3):  # connections that say nothing: the next one goes to the other worker
        with ExitStack() as idle:
            for _ in range(count):
                with in_namespace(topology.host_2.name):
                    idle.enter_context(socket.create_connection((HUB_TO_HOST_2, 8443), timeout=10))
            hub.wait_connections(1 + count)
            revoked = start(topology.host_1, "-C", str(hub.directory / "etc-1" / "host-1.yaml"))
            revoked.wait_line("refused: unauthorized")
            revoked.stop()
        again = topology.host_1.popen(*TUNROUTER, "join", "--into", str(hub.directory / "again"), lines[1])
        assert again.wait() == 1
        assert re.search("used already|not known|withdrawn", again.text()), again.text()
    assert pings(topology.host_2, one, 1) == 0

    line = hub.invite(1)
    hub.directory.joinpath("etc-1").rename(hub.directory / "before")
    hub.join(1, line)
    assert address(topology.host_1) == one, "the name has its address still"
    reach(topology.host_2, one)


def test_a_hub_that_starts_again_gives_the_same_addresses(hub: Hub) -> None:
    topology = hub.topology
    hub.start(str(hub.directory / "hosts"))
    for number in (1, 2):
        hub.join(number, hub.invite(number))
    one, two = address(topology.host_1), address(topology.host_2)
    hub.process.stop()
    hub.start(str(hub.directory / "hosts"))
    reach(topology.host_1, two, 30)
    assert (address(topology.host_1), address(topology.host_2)) == (one, two)


@needs_redis
def test_hubs_with_workers_share_a_pool_by_their_cluster(
    topology: Topology, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(test_cluster_pool, "HUB", f"workers: 2\n{test_cluster_pool.HUB}")
    hubs = test_cluster_pool.Hubs(topology, write, tmp_path)
    try:
        first, _ = hubs.start(1), hubs.start(2)
        moving = hubs.host(topology.host_1, "host-1", 1, 2)
        hubs.host(topology.host_2, "host-2", 2)
        one, two = address(topology.host_1), address(topology.host_2)
        assert len({one, two, "10.20.0.1", "10.20.0.2"}) == 4
        reach(topology.host_1, two)
        assert pings(topology.host_2, one) == 5
        lines = moving.line_count()
        first.stop(signal.SIGKILL)
        moving.wait_line("connected to", 15, lines)
        reach(topology.host_2, one)
        assert (address(topology.host_1), address(topology.host_2)) == (one, two)
        kept = hubs.redis.do("HGET", hubs.key, "list")
        assert f'["{one}", "host-1"' in kept
        assert f'["{two}", "host-2"' in kept
    finally:
        topology.hub.kill_all()
        (state_directory() / f"pool-{hubs.router}").unlink(missing_ok=True)
