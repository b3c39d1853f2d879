"""Sources of a hub with workers: each is read once, by the main process, and all workers have the same tables."""

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

from tests.e2e.test_metrics import get
from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Process, Topology
from tests.support.program import (
    OVERLAY_1,
    OVERLAY_2,
    host,
    pings,
    program_pid,
    reach,
    run,
    start,
    start_client,
    start_hub,
    wait_for,
)
from tests.support.redis_server import Redis, needs_redis
from tests.unit.test_metrics import of

pytestmark = pytest.mark.usefixtures("no_traceback")

Write = Callable[[str, str], str]
HUB = """\
{workers}services:
- name: hub
  addr: ":8443"
  handler: {{type: router{more}, metadata: {{router: r}}}}
  listener: {{type: tcp}}
routers:
- name: r
{rest}"""
BOTH = f"{OVERLAY_1} host-1\n{OVERLAY_2} host-2\n"
WORKERS = "workers: 3\n"


class Hub:
    """A hub, and what is asked of it."""

    def __init__(self, topology: Topology, write: Write, directory: Path) -> None:
        self.topology, self._write = topology, write
        self.control = str(directory / "hub.sock")

    def start(self, rest: str, workers: str = WORKERS, more: str = "") -> Process:
        words = ("-C", self.write(rest, workers, more), "--control", self.control)
        self.process = start_hub(self.topology.hub, *words)
        return self.process

    def write(self, rest: str, workers: str = WORKERS, more: str = "") -> str:
        return self._write("hub.yml", HUB.format(workers=workers, more=more, rest=rest))

    def reload(self) -> None:
        os.kill(program_pid(self.process), signal.SIGHUP)

    def status(self) -> dict[str, Any]:
        status, said = run("status", "--json", "--control", self.control)
        assert status == 0, said
        found: dict[str, Any] = json.loads(said)
        return found

    def table(self, kind: str = "router") -> dict[str, Any]:
        (row,) = (row for row in self.status()["tables"] if row["kind"] == kind)
        return dict(row)

    def workers(self) -> dict[int, int]:
        return {row["worker"]: row["pid"] for row in self.status()["workers"] if row["ready"]}

    def kill(self, number: int) -> None:
        pid = self.workers()[number]
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: self.workers().get(number, pid) != pid)


@pytest.fixture
def hub(topology: Topology, write: Write, tmp_path: Path) -> Hub:
    return Hub(topology, write, tmp_path)


def replace(path: Path, text: str) -> None:
    """As editors do it: nobody reads a half of it."""
    Path(f"{path}~").write_text(text)
    os.replace(f"{path}~", path)


class Web:
    """A real HTTP server; each request is a line of it."""

    def __init__(self, topology: Topology, directory: Path, text: str = BOTH) -> None:
        self._topology = topology
        self.file = directory / "web" / "routes"
        self.file.parent.mkdir()
        self.file.write_text(text)
        self.source = "  http: {url: 'http://127.0.0.1:8088/routes'}\n"
        self.start()

    def start(self) -> None:
        words = ("-m", "http.server", "8088", "--bind", "127.0.0.1", "-d", str(self.file.parent))
        self.process = self._topology.hub.popen(sys.executable, *words)
        self.process.wait_line("Serving HTTP")

    def asked(self) -> int:
        return len(re.findall(r"\"GET /routes", self.process.text()))


def both(topology: Topology) -> None:
    start_client(topology.host_1, *host(1, HUB_TO_HOST_1))
    start_client(topology.host_2, *host(2, HUB_TO_HOST_2))
    reach(topology.host_1, OVERLAY_2)


@pytest.mark.parametrize("workers", ["", WORKERS])
def test_http_is_asked_as_often_as_without_workers(hub: Hub, tmp_path: Path, workers: str) -> None:
    """Once at the start, once for each reload; and not for a worker that takes the place of another."""
    web = Web(hub.topology, tmp_path)
    hub.start(web.source, workers)
    both(hub.topology)
    for count in (2, 3, 4):
        web.file.write_text(BOTH + "".join(f"10.{n}.0.0/16 host-9\n" for n in range(count)))
        hub.reload()
        hub.process.wait_line(rf"router r: {2 + count} routes")
        assert hub.table()["rows"] == 2 + count
    if workers:
        hub.kill(1)
        assert hub.table()["rows"] == 6, "the new one tells, and has all rows as soon as it serves"
    assert web.asked() == 4
    assert (
        pings(hub.topology.host_1, OVERLAY_2) or workers
    )  # a host of the worker that was killed connects anew
    reach(hub.topology.host_1, OVERLAY_2)


@needs_redis
@pytest.mark.parametrize("workers", ["", WORKERS])
def test_redis_is_asked_as_often_as_without_workers(hub: Hub, workers: str) -> None:
    redis = Redis(hub.topology.hub)
    redis.start()
    redis.do("HSET", "gost", OVERLAY_1, "host-1", OVERLAY_2, "host-2")
    hub.start(f"  redis: {{addr: '{redis.addr}'}}\n", workers)
    both(hub.topology)
    for count in (1, 2, 3):
        redis.do("HSET", "gost", f"10.{count}.0.0/16", "host-9")
        hub.reload()
        hub.process.wait_line(rf"router r: {2 + count} routes")
    if workers:
        hub.kill(2)
    calls = re.search(r"cmdstat_hscan:calls=(\d+)", redis.do("INFO", "commandstats"))
    assert calls is not None
    assert int(calls[1]) == 4
    connected = re.search(r"total_connections_received:(\d+)", redis.do("INFO", "stats"))
    assert connected is not None
    assert int(connected[1]) == 4 + 4 + 2, "four of the hub; redis-cli has one for each command"
    assert hub.table()["rows"] == 5


def test_a_file_is_followed_and_a_bad_line_is_told_once(hub: Hub, write: Write) -> None:
    path = Path(write("routes.txt", BOTH))
    hub.start(f"  file: {{path: {path}}}\n")
    both(hub.topology)
    replace(path, f"{OVERLAY_1} host-1\n{OVERLAY_2} host-9\nnonsense\n")
    hub.process.wait_line("routes.txt:3:1: a route without a gateway")
    wait_for(lambda: pings(hub.topology.host_1, OVERLAY_2, 1) == 0)
    replace(path, BOTH)
    reach(hub.topology.host_1, OVERLAY_2)
    assert len(re.findall("routes.txt:3", hub.process.text())) == 1
    replace(path, "<!doctype html>\n")
    hub.process.wait_line("an HTML page, not a table; its last good rows stay")
    (source,) = hub.table()["sources"]
    assert "HTML page" in source["error"]
    assert source["failing_s"] is not None
    hub.kill(3)
    assert hub.table()["rows"] == 2
    hub.kill(1)
    assert hub.table()["rows"] == 2, "one that is made while the source fails has its last good rows"
    replace(path, BOTH)
    hub.process.wait_line("routes.txt is read again")
    wait_for(lambda: not hub.table()["sources"][0]["error"])
    told = re.findall(r"last good rows stay$", hub.process.text(), re.MULTILINE)  # a sum of more tries aside
    assert len(told) == 1, "not one for each worker"


def test_a_failing_source_is_told_of_as_one_whole(hub: Hub, tmp_path: Path) -> None:
    web = Web(hub.topology, tmp_path)
    hub.start(web.source + "metrics: {addr: '127.0.0.1:9100'}\n")
    both(hub.topology)
    web.process.stop()
    hub.reload()
    hub.process.wait_line("router r: http://.*its last good rows stay")
    assert hub.table()["sources"][0]["error"]
    _, text = get(hub.topology.hub)
    assert of(text, "tunrouter_source_up") == 0.0
    failures = of(text, "tunrouter_source_failures_total")
    assert failures in (1.0, 2.0, 3.0), "after 0, 1 and 3 s: not one for each worker too"
    assert text.count("\ntunrouter_source_up{") == text.count("\ntunrouter_source_failures_total{") == 1
    assert hub.table()["rows"] == 2
    assert pings(hub.topology.host_1, OVERLAY_2) == 5
    web.start()
    hub.process.wait_line("router r: http://.* is read again", timeout=20)
    assert not hub.table()["sources"][0]["error"]
    assert of(get(hub.topology.hub)[1], "tunrouter_source_up") == 1.0


def test_a_reload_with_other_sources(hub: Hub, write: Write, tmp_path: Path) -> None:
    web = Web(hub.topology, tmp_path)
    path = Path(write("routes.txt", f"{OVERLAY_1} host-1\n"))
    hub.start(f"  file: {{path: {path}}}\n")
    assert hub.table()["rows"] == 1
    hub.write(f"  file: {{path: {path}}}\n" + web.source)
    hub.reload()
    hub.process.wait_line("reload: done")
    assert hub.table()["rows"] == 2, "a reload waits for its sources"
    assert [row["kind"] for row in hub.table()["sources"]] == ["file", "http"]
    both(hub.topology)
    before = hub.process.line_count()
    hub.write(f"  file: {{path: {path}}}\n")
    hub.reload()
    hub.process.wait_line("reload: done", after=before)
    assert hub.table()["rows"] == 1
    replace(path, BOTH)
    reach(hub.topology.host_1, OVERLAY_2)
    assert web.asked() == 1


def test_logins_of_hosts_and_of_metrics_are_read_once(hub: Hub, tmp_path: Path) -> None:
    web = Web(hub.topology, tmp_path, "user pass\n")
    inline = "".join(
        f"  - {{dst: {overlay}/32, gateway: host-{n}}}\n" for n, overlay in ((1, OVERLAY_1), (2, OVERLAY_2))
    )
    rest = f"  routes:\n{inline}authers:\n- name: a\n{web.source}metrics: {{addr: '127.0.0.1:9100', auther: a}}\n"
    hub.start(rest, more=", auther: a")
    refused = start(hub.topology.host_1, *host(1, HUB_TO_HOST_1))
    refused.wait_line("refused: unauthorized")
    refused.stop()
    for n, address in ((1, HUB_TO_HOST_1), (2, HUB_TO_HOST_2)):
        here = {1: hub.topology.host_1, 2: hub.topology.host_2}[n]
        listen = f"tun:///host-{n}?net=192.168.123.{n}/24"
        start_client(here, "-L", listen, "-F", f"router://user:pass@{address}:8443")
    reach(hub.topology.host_1, OVERLAY_2)  # each worker is told a moment later who is at the other one
    assert get(hub.topology.hub, login="user:wrong")[0] == 401
    assert get(hub.topology.hub, login="user:pass")[0] == 200
    assert web.asked() == 1
    assert hub.table("auther")["rows"] == 1
