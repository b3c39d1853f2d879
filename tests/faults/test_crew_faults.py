"""Two hubs of a cluster, each with two workers: each kind of process dies under load, and their Redis goes away.

    hub-1: worker 1 has host-1, worker 2 has host-3      hub-2: host-2 and host-4, a worker each

Flows of numbered packets go between all that may notice something: in a hub, across the workers of a hub, and
between hubs. What is lost has to be of the time that the fault lasts. A host of the same name and address in
another namespace receives nothing.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lib.cluster_registry import LEASE_SECONDS
from tests.e2e.test_cluster import REDIS, SECRET, Write
from tests.e2e.test_cluster_workers import THIRD, Crews
from tests.faults.conftest import Note
from tests.faults.test_cluster_faults import Faulty, nothing_twice, summary
from tests.faults.test_faults import seconds
from tests.support import numbered
from tests.support.netns import Namespace, Process, Topology
from tests.support.numbered import Numbered
from tests.support.program import OVERLAY_1, OVERLAY_2, program_pid, reach, start_client, wait_for
from tests.support.redis_server import needs_redis

pytestmark = [pytest.mark.usefixtures("no_traceback"), needs_redis]

FOURTH = "192.168.123.4"


class FaultyCrews(Faulty, Crews):
    """The hubs of the picture, and another tenant's host-2."""

    def __init__(self, topology: Topology, write: Write, directory: Path, more: list[Namespace]) -> None:
        super().__init__(topology, write, directory, more[0])
        self.host_3 = more[1]
        self.clients: dict[int, Process] = {}

    def hub_words(
        self, number: int, known_by: str = f'secret: "{SECRET}"', more: str = "", redis: str = REDIS
    ) -> tuple[str, ...]:
        words = super().hub_words(number, known_by, more, redis)
        file, route = Path(words[1]), f"  routes:\n  - {{dst: {FOURTH}/32, gateway: host-4}}\n"
        file.write_text(file.read_text().replace("  routes:\n", route, 1))
        return words

    def begin(self) -> None:
        """Hubs and hosts; those of hub-1 may also go to hub-2."""
        for hub in (1, 2):
            self.start_hub(hub)
        self.clients[1] = self.host(1, 1, 2)
        wait_for(partial(self.has_given, 1, 1))
        self.clients[3] = self._client(self.host_3, 3, "10.77.4.1", 1, 2)
        wait_for(partial(self.has_given, 1, 2))
        self.clients[2] = self.host(2, 2)
        wait_for(partial(self.has_given, 2, 1))
        self.clients[4] = self._client(self.topology.hub, 4, "127.0.0.1", 2)
        wait_for(partial(self.has_given, 2, 2))
        self.tenant(2)
        for hub in (1, 2):
            assert [row["connections"] for row in self.asked(hub)["workers"]] in ([1, 1], [2, 1])
        reach(self.topology.host_1, OVERLAY_2)
        reach(self.topology.host_1, THIRD)
        reach(self.topology.host_2, FOURTH)
        reach(self.topology.host_2, THIRD)

    @staticmethod
    def _client(namespace: Namespace, number: int, address: str, *hubs: int) -> Process:
        ways = ",".join(f"{address}:{8443 + 1000 * (hub - 1)}" for hub in hubs)
        listen = f"tun:///host-{number}?net=192.168.123.{number}/24"
        return start_client(namespace, "-L", listen, "-F", f"router://{ways}?strategy=fifo&failTimeout=1s")

    def late(self, hub: int) -> Process:
        """One host more comes to a hub; nobody sends to it."""
        listen = "tun:///host-5?net=192.168.123.5/32"  # the network is host-4's
        way = f"router://127.0.0.1:{8443 + 1000 * (hub - 1)}"
        return start_client(self.topology.hub, "-L", listen, "-F", way)

    def asked(self, hub: int) -> dict[str, Any]:
        """A hub's status, asked without a program, whose start would take longer than what is measured."""
        with socket.socket(socket.AF_UNIX) as sock, sock.makefile("rb") as reply:
            sock.settimeout(10)
            sock.connect(self.control(hub))
            sock.sendall(b'{"do": "status"}\n')
            found: dict[str, Any] = json.loads(reply.readline())
            return found

    def has_given(self, hub: int, connections: int) -> bool:
        """Whether the workers of a hub have so many connections, all together."""
        return sum(int(one["connections"]) for one in self.asked(hub)["workers"]) == connections

    def pid(self, number: int) -> int:
        """A process of hub-1, by the number of its worker, 0 for the cluster's; 0 where it is not there."""
        seen = self.asked(1)
        rows = [{"worker": 0, **seen.get("cluster_process", {"ready": False})}, *seen["workers"]]
        return next((row["pid"] for row in rows if row["worker"] == number and row["ready"]), 0)

    def replaced(self, number: int) -> float:
        """Kill a process of hub-1; the seconds until another one is in its place."""
        pid, began = self.pid(number), time.monotonic()
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: self.pid(number) not in (0, pid))
        return time.monotonic() - began

    def forker(self) -> int:
        """The process that those of hub-1 are forked from: the parent of any."""
        status = Path(f"/proc/{self.pid(1)}/status").read_text()
        return int(re.findall(r"^PPid:\s+(\d+)", status, re.MULTILINE)[0])

    @contextmanager
    def load(self) -> Iterator[dict[str, Numbered]]:
        """A TCP transfer between the hubs, and flows by who sends and who receives."""
        one, two, three = self.topology.host_1, self.topology.host_2, self.host_3
        ends = {
            "1>2": (one, two, OVERLAY_1, OVERLAY_2),
            "2>1": (two, one, OVERLAY_2, OVERLAY_1),
            "3>2": (three, two, THIRD, OVERLAY_2),
            "2>3": (two, three, OVERLAY_2, THIRD),
            "1>3": (one, three, OVERLAY_1, THIRD),
            "4>2": (self.topology.hub, two, FOURTH, OVERLAY_2),
        }
        self.topology.host_2.popen("iperf3", "-s", "--forceflush").wait_line("Server listening")
        load = one.popen("iperf3", "-c", OVERLAY_2, "-b", "50M", "-t", "90", "--forceflush")
        load.wait_line("connected to")
        with ExitStack() as stack:
            flows = {
                name: stack.enter_context(numbered.udp(*each, port))
                for port, (name, each) in enumerate(ends.items(), 7001)
            }
            wait_all(flows, 30)
            yield flows
        load.stop(signal.SIGKILL)


class Window:
    """Which packets of flows were sent while something was broken."""

    def __init__(self, flows: dict[str, Numbered]) -> None:
        self._flows = flows
        self._from = {name: min(flow.sent, flow.arrived[-1][0]) for name, flow in flows.items()}
        self._until: dict[str, int] = {}

    def end(self, more: int = 60) -> None:
        """All is right again, and so many more packets of each flow arrive."""
        wait_all(self._flows, 1)
        self._until = {name: flow.sent for name, flow in self._flows.items()}
        wait_all(self._flows, more)

    def outside(self) -> dict[str, tuple[list[int], str]]:
        """Lost packets that were sent before or after; to be asked once flows are over."""
        found = {
            name: [one for one in flow.lost if not self._from[name] <= one <= self._until[name]]
            for name, flow in self._flows.items()
        }
        return {
            name: (lost, f"not {self._from[name]} to {self._until[name]}")
            for name, lost in found.items()
            if lost
        }


def wait_all(flows: dict[str, Numbered], more: int) -> None:
    for name, flow in flows.items():
        try:
            flow.wait(more)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from None


def lost(flows: dict[str, Numbered], *names: str) -> str:
    return ", ".join(summary(flows[name]) for name in names)


def longest_ms(flows: dict[str, Numbered], *names: str) -> str:
    return f"{1000 * max(flows[name].longest_gap for name in names):.0f} ms"


def nothing_lost(flows: dict[str, Numbered], *names: str) -> bool:
    found = {name: flows[name].lost for name in names if flows[name].lost}
    assert not found, found
    return True


@pytest.fixture
def crews(topology: Topology, write: Write, tmp_path: Path, more_hosts: list[Namespace]) -> FaultyCrews:
    made = FaultyCrews(topology, write, tmp_path, more_hosts)
    made.begin()
    return made


def test_a_worker_is_killed(crews: FaultyCrews, note: Note) -> None:
    """Its host connects again. Hosts of the other worker, and of the other hub, lose nothing."""
    lines = crews.clients[3].line_count()
    with crews.load() as flows:
        window = Window(flows)
        took = crews.replaced(2)
        crews.clients[3].wait_line("connected to", after=lines)
        window.end()
    note("worker of a hub of a cluster killed (-9) under load; two hubs with two workers each",
         "its hub, its own clients, and the other hub by the registry", f"another one takes its place after {took:.2f} s",
         f"its own host's packets meanwhile: {lost(flows, '3>2', '2>3', '1>3')}, the longest gap"
         f" {longest_ms(flows, '3>2', '2>3', '1>3')}; others: {lost(flows, '1>2', '2>1', '4>2')}")  # fmt: skip
    assert nothing_lost(flows, "1>2", "2>1", "4>2")
    assert flows["3>2"].lost, "it did carry packets"
    assert took < 1.0
    assert nothing_twice(*flows.values())
    assert not window.outside()
    assert crews.nothing_came()


def test_the_process_of_the_cluster_is_killed(crews: FaultyCrews, note: Note) -> None:
    """Packets between the hubs wait or are lost until another one has its place; all within a hub go on."""
    with crews.load() as flows:
        window = Window(flows)
        took = crews.replaced(0)
        window.end()
    far = "1>2", "2>1", "3>2", "2>3"
    note("the cluster's process of a hub with workers killed (-9) under load", "its hub, and the other hub by the link",
         f"another one takes its place after {took:.2f} s; the longest gap between the hubs: {longest_ms(flows, *far)}",
         f"packets between the hubs meanwhile: {lost(flows, *far)}; within a hub: {lost(flows, '1>3', '4>2')}")  # fmt: skip
    assert nothing_lost(flows, "1>3", "4>2")
    assert took < 1.0
    assert max(flows[name].longest_gap for name in far) < 2.0
    assert nothing_twice(*flows.values())
    assert not window.outside()
    assert crews.nothing_came()
    assert "says nothing" not in crews.hubs[2].text(), "its lease has not ended"


@pytest.mark.parametrize("which", ["main", "forker"])
def test_a_process_is_killed_that_all_others_need(crews: FaultyCrews, note: Note, which: str) -> None:
    """The whole hub ends, and its hosts go to the other one; once it is started again, they come home."""
    dying = crews.hubs[1]
    with crews.load() as flows:
        window = Window(flows)
        began, lines = time.monotonic(), {number: crews.clients[number].line_count() for number in (1, 3)}
        os.kill(program_pid(dying) if which == "main" else crews.forker(), signal.SIGKILL)
        dying.wait()
        ended = time.monotonic() - began
        for number, after in lines.items():
            crews.clients[number].wait_line("connected to", after=after)
        moved = time.monotonic() - began
        wait_all(flows, 60)
        gaps = longest_ms(flows, "1>2", "2>1", "3>2", "2>3", "1>3")
        away = {name: len(flow.lost) for name, flow in flows.items()}
        crews.start_hub(1)
        wait_for(lambda: crews.other(1).get("live"))
        wait_for(partial(crews.has_given, 1, 2), 30)
        wait_for(partial(crews.has_given, 2, 3), 30)
        window.end()
    assert which == "main" or dying.returncode == 1, "a service manager starts it again"
    home = {name: max(0, len(flow.lost) - away[name]) for name, flow in flows.items()}
    name = "main process of a hub" if which == "main" else "process that a hub's workers are forked from"
    note(f"{name} of a cluster killed (-9) under load; two hubs with two workers each", "its clients, and the other hub",
         f"the hub has ended after {ended:.2f} s, its hosts are at the other one after {moved:.2f} s; the longest gap {gaps}",
         f"its hosts' packets meanwhile: {lost(flows, '1>2', '2>1', '3>2', '2>3', '1>3')}; {sum(home.values())} of them when they went home;"
         f" within the other hub: {lost(flows, '4>2')}")  # fmt: skip
    assert nothing_lost(flows, "4>2")
    assert max(flow.longest_gap for flow in flows.values()) < LEASE_SECONDS
    assert nothing_twice(*flows.values())
    assert not window.outside()
    assert crews.nothing_came()


@pytest.mark.parametrize("how", ["down", "paused"])
def test_their_redis_goes_away_and_comes_back(crews: FaultyCrews, note: Note, how: str, short: bool) -> None:
    """A host that comes meanwhile is known at the other hub soon after. Nobody loses anything."""
    assert crews.redis._process is not None
    with crews.load() as flows:
        began, lines = time.monotonic(), {number: one.line_count() for number, one in crews.hubs.items()}
        if how == "down":
            crews.redis.stop()
        else:
            crews.redis._process.send(signal.SIGSTOP)
        for number, after in lines.items():
            crews.hubs[number].wait_line("what is known of other hubs goes on", 20, after)
        noticed = seconds(began)
        late = crews.late(1)
        while time.monotonic() < began + (0.0 if short else LEASE_SECONDS + 3):
            wait_all(flows, 50)
        assert all(crews.other(hub)["live"] for hub in (1, 2)), "leases go on by the link"
        if how == "down":
            crews.redis.start()
        else:
            crews.redis._process.send(signal.SIGCONT)
        began = time.monotonic()
        crews.wait_known(2, 3)
        known = seconds(began)
        assert time.monotonic() - began < 3.0
        wait_all(flows, 60)
        assert late.returncode is None
    note(f"Redis of a cluster {how} under load; two hubs with two workers each", "every hub, and the log",
         f"{noticed}; right again {known} after it is back",
         f"nothing: {lost(flows, *flows)}; what is known goes on")  # fmt: skip
    assert nothing_lost(flows, *flows)
    assert nothing_twice(*flows.values())
    assert crews.nothing_came()
