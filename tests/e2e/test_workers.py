"""A hub with workers: its sessions in several processes, which are one hub to all who look on."""

from __future__ import annotations

import json
import os
import pwd
import re
import select
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lib.settings_hooks import PHASES
from tests.e2e.test_metrics import get
from tests.support import load
from tests.support.netns import (
    HOST_1,
    HUB_TO_HOST_1,
    HUB_TO_HOST_2,
    Namespace,
    Process,
    Topology,
    in_namespace,
)
from tests.support.program import (
    BINARY,
    OVERLAY_1,
    OVERLAY_2,
    drops,
    pings,
    program_pid,
    reach,
    run,
    start,
    start_client,
    start_hub,
    wait_for,
)
from tests.unit.test_metrics import of, samples

pytestmark = pytest.mark.usefixtures("no_traceback")

Write = Callable[[str, str], str]
HUB = """\
workers: 2
services:
- name: hub
  addr: ":8443"
  handler: {{type: router, metadata: {{router: r{more}}}}}
  listener: {{type: {kind}}}
{rest}routers:
- name: r
  routes:
  - {{dst: 192.168.123.1/32, gateway: host-1}}
  - {{dst: 192.168.123.2/32, gateway: host-2}}
"""


class Hub:
    """A hub with two workers, and what is asked of it."""

    def __init__(self, topology: Topology, write: Write, directory: Path) -> None:
        self.topology, self._write = topology, write
        self.control = str(directory / "hub.sock")
        self.file = ""

    def start(self, kind: str = "tcp", more: str = "", rest: str = "", *arguments: str) -> Process:
        self.write(kind, more, rest)
        words = ("-C", self.file, "--control", self.control, *arguments)
        self.process = start_hub(self.topology.hub, *words)
        return self.process

    def write(self, kind: str = "tcp", more: str = "", rest: str = "") -> None:
        self.file = self._write("hub.yml", HUB.format(kind=kind, more=more, rest=rest))

    def host(
        self, number: int, kind: str = "tcp", name: int = 0, namespace: Namespace | None = None
    ) -> Process:
        address = {1: HUB_TO_HOST_1, 2: HUB_TO_HOST_2}[number]
        scheme = "router" if kind == "tcp" else f"router+{kind}"
        listen = f"tun:///host-{name or number}?net=192.168.123.{name or number}/24"
        here = namespace or {1: self.topology.host_1, 2: self.topology.host_2}[number]
        return start_client(here, "-L", listen, "-F", f"{scheme}://{address}:8443")

    def both(self, kind: str = "tcp") -> tuple[Process, Process]:
        return self.host(1, kind), self.host(2, kind)

    def ask(self, *words: str) -> str:
        status, said = run(*words, "--control", self.control)
        assert status == 0, said
        return said

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ask("status", "--json"))
        return found

    def worker(self, number: int) -> dict[str, Any]:
        found: dict[str, Any] = next(
            (row for row in self.status()["workers"] if row["worker"] == number), {"pid": 0, "ready": False}
        )
        return found

    def forker(self) -> int:
        """The process that workers are forked from: the parent of any."""
        status = Path(f"/proc/{self.worker(1)['pid']}/status").read_text()
        return int(re.findall(r"^PPid:\s+(\d+)", status, re.MULTILINE)[0])

    def kill(self, number: int) -> None:
        """Kill a worker, and wait until another one is in its place."""
        pid = self.worker(number)["pid"]
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: (one := self.worker(number))["ready"] and one["pid"] != pid)

    def session(self, host: str) -> dict[str, Any]:
        found: dict[str, Any] = next((row for row in self.status()["sessions"] if row["host"] == host), {})
        return found


@pytest.fixture
def hub(topology: Topology, write: Write, tmp_path: Path) -> Hub:
    return Hub(topology, write, tmp_path)


@pytest.mark.parametrize("kind", ["tcp", "tls", "wss"])
def test_hosts_in_two_workers_reach_each_other(hub: Hub, kind: str) -> None:
    topology = hub.topology
    hub.start(kind)
    hub.both(kind)
    reach(topology.host_1, OVERLAY_2)
    assert pings(topology.host_1, OVERLAY_2) == 5
    assert pings(topology.host_2, OVERLAY_1, 5, "-s", "1300") == 5
    load.transfer(topology.host_1, topology.host_2, OVERLAY_2, 8)
    load.transfer(topology.host_2, topology.host_1, OVERLAY_1, 8)
    assert [row["connections"] for row in hub.status()["workers"]] == [1, 1], "each has one of the two"
    page = hub.ask("drops")
    assert not re.search("foreign-source|no-link|no-namespace", page), page


def test_whoever_looks_on_sees_one_hub(hub: Hub) -> None:
    topology = hub.topology
    hub.start()
    first, _ = hub.both()
    reach(topology.host_1, OVERLAY_2)
    seen = hub.status()
    assert seen["pid"] == program_pid(hub.process)
    assert sorted(row["host"] for row in seen["sessions"]) == ["host-1", "host-2"]
    tasks = {row["task"] for row in seen["tasks"]}
    assert {"workers are watched", "the log is kept in order"} <= tasks, "of the main process, and of workers"
    (service,) = seen["hubs"]
    assert (service["sessions"], len({row["pid"] for row in seen["workers"]})) == (2, 2)
    page = hub.ask("status")
    assert "hub hub on :8443 over tcp, 2 sessions" in page
    assert re.search(r"2 workers, connections of each: 1 \(pid \d+\) 1, 2 \(pid \d+\) 1", page), page
    page = " ".join(hub.ask("explain", "--from", "host-1", OVERLAY_2).split())
    assert "goes to host-2 by hub at worker 2, link" in page, page
    page = " ".join(hub.ask("explain", "--from", "host-2", OVERLAY_1).split())
    assert "goes to host-1 by hub at worker 1, link" in page, page
    assert "192.168.123.2/32" in hub.ask("routes")
    assert json.loads(hub.ask("health", "--json"))["healthy"]
    before = first.line_count()
    assert "1 session ended" in hub.ask("kick", "host-1")
    first.wait_line("connected to", after=before)
    status, said = run("kick", "host-9", "--control", hub.control)
    assert status == 1
    assert "no live session of host 'host-9'" in said
    topology.host_1.run("ping", "-c1", "-W1", "192.168.123.77", check=False)
    assert "no-route" in hub.ask("drops")
    drops(hub.process, lambda counts: any(reason == "no-route" for _, _, reason in counts))


def test_a_capture_has_each_packet_once(hub: Hub, tmp_path: Path) -> None:
    topology = hub.topology
    hub.start()
    hub.both()
    reach(topology.host_1, OVERLAY_2)
    file = tmp_path / "seen.pcapng"
    words = ("capture", "--control", hub.control, "-w", str(file), "icmp")
    capture = start(topology.hub, *words)
    wait_for(lambda: file.exists() and file.stat().st_size)
    assert pings(topology.host_1, OVERLAY_2, 4) == 4
    capture.send(signal.SIGINT)
    capture.wait()
    assert "8 packets" in capture.text(), capture.text()


def test_a_worker_that_dies_is_replaced(hub: Hub) -> None:
    topology = hub.topology
    hub.start()
    _, second = hub.both()
    reach(topology.host_1, OVERLAY_2)
    before, pid = hub.session("host-1"), hub.worker(2)["pid"]
    lines = second.line_count()
    began = time.monotonic()
    hub.kill(2)
    took = time.monotonic() - began
    second.wait_line("connected to", after=lines)
    reach(topology.host_1, OVERLAY_2)
    after = hub.session("host-1")
    assert (after["peer"], after["since_s"] > before["since_s"]) == (before["peer"], True), (
        "nobody else noticed"
    )
    assert hub.status()["worker_deaths"] == 1
    second.stop()  # it was let in by the other worker where it was back before this one
    wait_for(lambda: not hub.session("host-2"))
    hub.host(2, "tcp")
    assert [row["connections"] for row in hub.status()["workers"]] == [1, 1]
    assert json.loads(hub.ask("health", "--json"))["healthy"]
    hub.process.wait_line(rf"worker 2 \(pid {pid}\): .*another one takes its place")
    assert took < 15, "asking takes a part of it; within a second on a quiet machine"


def test_a_reload_is_for_all_workers_or_for_none(hub: Hub) -> None:
    topology = hub.topology
    hub.start()
    hub.both()
    reach(topology.host_1, OVERLAY_2)
    text = Path(hub.file).read_text()

    def reload(new: str, line: str) -> None:
        Path(hub.file).write_text(new)
        before = hub.process.line_count()
        hub.process.send(signal.SIGHUP)
        hub.process.wait_line(line, after=before)

    reload(text.replace("gateway: host-2", "gateway: host-9"), "reload: done")
    for host in ("host-1", "host-2"):
        _, said = run("explain", "--from", host, OVERLAY_2, "--control", hub.control)
        assert "gateway host-9: no live session" in " ".join(said.split()), "the tables of both workers"
    assert "host-9" in hub.ask("routes")
    reload(text.replace("gateway: host-2", "gatewaz: host-2"), "nothing was changed")
    assert "host-9" in hub.ask("routes")
    reload(text.replace(":8443", ":8444"), "listens elsewhere")
    reload(text.replace("workers: 2", "workers: 3"), "'workers' is another number")
    reload(text, "reload: done")
    reach(topology.host_1, OVERLAY_2)
    assert len(hub.status()["sessions"]) == 2


def test_a_worker_that_is_made_after_a_reload_has_the_new_settings(hub: Hub) -> None:
    topology = hub.topology
    hub.start()
    text = Path(hub.file).read_text()
    Path(hub.file).write_text(text.replace("192.168.123.2/32", "192.168.123.2/31"))
    hub.process.send(signal.SIGHUP)
    hub.process.wait_line("reload: done")
    for number in (1, 2):
        hub.kill(number)
    assert "192.168.123.2/31" in hub.ask("routes")
    hub.both()
    reach(topology.host_1, OVERLAY_2)


def test_metrics_are_those_of_one_hub(hub: Hub) -> None:
    """Sums in which nothing goes backwards, whatever becomes of a worker."""
    topology = hub.topology
    auth = "auth: {username: u, password: s3cret}"
    hub.start("tcp", "", f"metrics: {{addr: '127.0.0.1:9100', {auth}}}\nuser: nobody\n")
    hub.process.wait_line("metrics on 127.0.0.1:9100/metrics")
    hub.both()
    reach(topology.host_1, OVERLAY_2)
    topology.host_1.run("ping", "-c1", "-W1", "192.168.123.77", check=False)

    def scrape() -> str:
        status, text = get(topology.hub, login="u:s3cret")
        assert status == 200
        return text

    def up(text: str) -> list[float]:
        return [of(text, "tunrouter_worker_up", worker=worker) for worker in "12"]

    assert [get(topology.hub, "/metrics", login)[0] for login in ("", "u:wrong")] == [401, 401]
    assert [get(topology.hub, path) for path in ("/healthz", "/readyz")] == [(200, "ok\n")] * 2
    first = scrape()
    assert up(first) == [1, 1]
    assert [of(first, "tunrouter_worker_connections", worker=worker) for worker in "12"] == [1, 1]
    for host in ("host-1", "host-2"):
        assert of(first, "tunrouter_sessions", host=host) == 1
        assert of(first, "tunrouter_received_packets_total", host=host) >= 1
    assert of(first, "tunrouter_dropped_packets_total", host="host-1", reason="no-route") >= 1
    assert (of(first, "gost_services"), of(first, "tunrouter_build_info")) == (1, 1)
    processes = [dict(labels) for name, labels in samples(first) if name == "process_open_fds"]
    assert processes == [{}, {"worker": "1"}, {"worker": "2"}]
    pid = hub.worker(2)["pid"]
    os.kill(pid, signal.SIGSTOP)
    stopped = scrape()
    assert up(stopped) == [1, 0], "the scrape comes all the same"
    os.kill(pid, signal.SIGCONT)
    hub.kill(2)
    wait_for(lambda: len(hub.status()["sessions"]) == 2)
    last = scrape()
    assert (up(last), of(last, "tunrouter_worker_deaths_total")) == ([1, 1], 1)
    for name in (
        "tunrouter_received_bytes_total",
        "tunrouter_sessions_opened_total",
        "gost_service_requests_total",
    ):
        assert 0 < of(first, name) <= of(stopped, name) <= of(last, name), name
    assert of(last, "tunrouter_sessions_opened_total", host="host-2") in (2, 3), (
        "before its worker died, and after"
    )


def test_a_reload_moves_metrics_of_workers(hub: Hub) -> None:
    space = hub.topology.hub
    hub.start()
    text = Path(hub.file).read_text()
    for rest, line in (
        (
            "metrics: {addr: '127.0.0.1:9100', auth: {username: u, password: p}}\n",
            "metrics: off -> 127.0.0.1:9100",
        ),
        ("metrics: {addr: '127.0.0.1:9100', path: /m}\n", "metrics: another path"),
        ("metrics: {addr: '127.0.0.1:9101', path: /m}\n", "metrics: 127.0.0.1:9100 -> 127.0.0.1:9101"),
        ("metrics: {addr: '127.0.0.1:8443'}\n", "reload: metrics: cannot listen on 127.0.0.1:8443"),
    ):
        Path(hub.file).write_text(text + rest)
        before = hub.process.line_count()
        hub.process.send(signal.SIGHUP)
        hub.process.wait_line(line, after=before)
        done = "nothing is different" if "8443" in rest else "done"
        hub.process.wait_line(f"reload: {done}", after=before)
        if "auth" in rest:
            assert [get(space, "/metrics", login)[0] for login in ("", "u:p")] == [401, 200]
    status, found = get(space, "/m", port=9101)
    assert (status, of(found, "tunrouter_worker_up")) == (200, 2)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_end_of_the_main_process_is_the_end_of_all(hub: Hub, number: int) -> None:
    hub.start()
    hub.both()
    assert len(hub.topology.hub.pids()) >= 4, "the main process, the one that forks, two workers"
    began = time.monotonic()
    if number == signal.SIGTERM:
        assert hub.process.stop() == 0
    else:
        os.kill(program_pid(hub.process), number)
    wait_for(lambda: not hub.topology.hub.pids())
    assert time.monotonic() - began < 15, "drainTimeout is 5 s"


def test_the_end_of_the_forking_process_is_the_end_of_all(hub: Hub) -> None:
    topology = hub.topology
    hub.start()
    first, second = hub.both()
    reach(topology.host_1, OVERLAY_2)
    os.kill(hub.forker(), signal.SIGKILL)
    began = time.monotonic()
    assert hub.process.wait() == 1, "a service manager starts it again"
    took = time.monotonic() - began
    wait_for(lambda: not topology.hub.pids())
    said = hub.process.text()
    (error,) = re.findall(r"^error: .*", said, re.MULTILINE)
    assert "the process that workers are forked from has ended: no worker could be replaced" in error
    assert "takes its place" not in said
    assert took < 5, "nothing is drained"
    lines = first.line_count(), second.line_count()
    hub.start()
    for process, after in zip((first, second), lines, strict=True):
        process.wait_line("connected to", after=after)
    reach(topology.host_1, OVERLAY_2)


def test_a_limit_by_address_holds_for_all_workers(hub: Hub) -> None:
    more = "  climiter: few\n"
    text = HUB.format(kind="tcp", more="", rest='climiters: [{name: few, limits: ["$$ 1"]}]\n')
    hub.file = hub._write("hub.yml", text.replace("  handler:", f"{more}  handler:", 1))
    words = ("-C", hub.file, "--control", hub.control)
    hub.process = start_hub(hub.topology.hub, *words)
    hub.host(1)
    listen, forward = "tun:///host-2?net=192.168.124.2/24", f"router://{HUB_TO_HOST_1}:8443"
    start(hub.topology.host_1, "-L", listen, "-F", forward)
    hub.process.wait_line("more connections than the climiter allows")
    assert "refused by hub: " in hub.ask("status")
    assert "connections" in hub.ask("drops")
    assert len(hub.status()["sessions"]) == 1


def test_a_limit_by_address_holds_for_clients_that_a_proxy_names(hub: Hub) -> None:
    """Whichever workers their connections are at."""
    text = HUB.format(
        kind="tcp",
        more=f", trustedProxies: {HOST_1}, handshakeTimeout: 60s",
        rest='climiters: [{name: few, limits: ["$$ 1"]}]\n',
    )
    more_lines = "  climiter: few\n  metadata: {proxyProtocol: 1}\n  handler:"
    hub.file = hub._write("hub.yml", text.replace("  handler:", more_lines, 1))
    hub.process = start_hub(hub.topology.hub, "-C", hub.file, "--control", hub.control)

    def connect(client: str) -> socket.socket:
        with in_namespace(hub.topology.host_1.name):
            made = socket.create_connection((HUB_TO_HOST_1, 8443), timeout=30)
        made.sendall(f"PROXY TCP4 {client} 192.0.2.99 50000 8443\r\n".encode())
        return made

    def closed(*some: socket.socket) -> socket.socket:
        """The first of these that the hub closes: it waits for the handshake of the others."""
        found, _, _ = select.select(some, [], [], 30)
        assert found
        assert found[0].recv(1) == b""
        return found[0]

    def stays(client: str) -> socket.socket:
        """One of two connections for a client, whichever was counted first."""
        both = {connect(client), connect(client)}
        (left,) = both - {closed(*both)}
        return left

    held = stays("198.51.100.7")
    hub.process.wait_line(r"198\.51\.100\.7.*more connections than the climiter allows")
    for _ in range(4):  # at both workers
        more = connect("198.51.100.7")
        assert closed(held, more) is more
    other = stays("198.51.100.8")
    held.close()
    wait_for(lambda: not select.select([stays("198.51.100.7")], [], [], 1)[0])
    other.close()


def test_a_newer_session_replaces_one_in_another_worker(hub: Hub) -> None:
    hub.start("tcp", ", onDuplicate: replace")
    hub.host(1)
    hub.host(2, name=1)
    hub.process.wait_line("replaced by a new session of the same host name at worker 2")


def test_a_live_session_keeps_its_name_at_another_worker(hub: Hub) -> None:
    hub.start("tcp", ", onDuplicate: refuse")
    first = hub.host(1)
    address, listen = HUB_TO_HOST_2, "tun:///host-1?net=192.168.123.1/24"
    second = start(hub.topology.host_2, "-L", listen, "-F", f"router://{address}:8443")
    hub.process.wait_line(r"another live session has this host name, of 10\.77\.1\.2")
    assert [row["connections"] for row in hub.status()["workers"]].count(1) >= 1
    assert hub.session("host-1")["peer"].startswith(HOST_1)
    first.send(signal.SIGKILL)
    second.wait_line("connected to")
    wait_for(lambda: hub.session("host-1")["peer"].startswith("10.77.2."))


def test_hooks_run_once_for_all_workers(hub: Hub, tmp_path: Path) -> None:
    """postDown once all processes but the main one have ended; a preUp that fails leaves nothing."""
    said, topology = tmp_path / "said", hub.topology
    script = (
        f"echo $TUNROUTER_HOOK $TUNROUTER_ADDRESS $(ss -Hlnt sport = 8443 | wc -l) >> {said}; "
        '[ "$TUNROUTER_HOOK" != "$0" ]'
    )

    def start_with(failing: str) -> Process:
        keys = json.dumps({phase: [f"sh -c '{script}' {failing}"] for phase in PHASES})
        text = HUB.format(kind="tcp", more="", rest="")
        hub.file = hub._write("hub.yml", text.replace("  handler:", f"  metadata: {keys}\n  handler:", 1))
        words = ("-C", hub.file, "--control", hub.control)
        return start(topology.hub, *words) if failing == "preUp" else start_hub(topology.hub, *words)

    hub.process = start_with("none")
    hub.both()
    reach(topology.host_1, OVERLAY_2)
    hub.kill(1)
    assert hub.process.stop() == 0
    lines = [line.split() for line in said.read_text().splitlines()]
    assert [line[0] for line in lines] == list(PHASES)
    assert [line[-1] for line in lines] == ["1", "1", "1", "0"], "whether it listens"
    assert all(line[1].endswith(":8443") for line in lines)
    said.unlink()
    process = start_with("preUp")
    assert process.wait(20) == 1
    assert "preUp: sh: ended with status 1" in process.text()
    assert [line.split()[0] for line in said.read_text().splitlines()] == ["preUp", "postDown"]
    wait_for(lambda: not topology.hub.pids())


def test_workers_of_another_user(hub: Hub) -> None:
    hub.start("tls", "", "user: nobody\n")
    hub.both("tls")
    reach(hub.topology.host_1, OVERLAY_2)
    unpacker = (
        {hub.process.pid} if BINARY else set()
    )  # the executable's first process stays: packaging/BUILDING.md
    pids = set(hub.topology.hub.pids()) - unpacker
    assert len(pids) >= 4
    for pid in pids:
        uids = Path(f"/proc/{pid}/status").read_text().partition("Uid:")[2].split()[:4]
        assert set(uids) == {str(pwd.getpwnam("nobody").pw_uid)}, "nothing of it is root's"
