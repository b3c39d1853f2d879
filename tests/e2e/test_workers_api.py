"""The web API of a hub with workers: what it shows is of all of them, what it changes is in all or in none."""

from __future__ import annotations

import json
import os
import signal
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_api_x import Api
from tests.e2e.test_workers import Hub
from tests.support.netns import Topology
from tests.support.program import OVERLAY_1, OVERLAY_2, pings, reach, run, wait_for

pytestmark = pytest.mark.usefixtures("no_traceback")

Write = Callable[[str, str], str]
LOGINS = """\
authers: [{name: api, auths: [{username: ada, password: s3cret}]}]
api: {addr: '127.0.0.1:18080', auther: api}
"""


@pytest.fixture
def hub(topology: Topology, write: Write, tmp_path: Path) -> Hub:
    made = Hub(topology, write, tmp_path)
    made.start("tcp", ", domain: all", LOGINS)
    made.process.wait_line("web API on 127.0.0.1:18080")
    return made


@pytest.fixture
def api(hub: Hub) -> Api:
    return Api(hub.topology.hub)


def hosts(api: Api) -> dict[str, dict[str, Any]]:
    whole = api.ask("/x/hosts")
    rows = (dict(zip(whole["columns"], row, strict=True)) for row in whole["rows"])
    return {row["host"]: row for row in rows}


def test_what_is_shown_is_of_all_workers(topology: Topology, write: Write, tmp_path: Path) -> None:
    hub, api = Hub(topology, write, tmp_path), Api(topology.hub)
    hub.start("tcp", "", f"{LOGINS}user: nobody\n")
    hub.process.wait_line("web API on 127.0.0.1:18080")
    first, _ = hub.both()
    reach(topology.host_1, OVERLAY_2)
    assert [row["connections"] for row in hub.status()["workers"]] == [1, 1]
    assert api.open("GET", "/x/hosts", login=False).status == 401
    wait_for(lambda: len(hosts(api)) == 2)  # a list is made each two seconds
    shown = hosts(api)
    assert {name: row["state"] for name, row in shown.items()} == {"host-1": "up", "host-2": "up"}
    one, two = shown["host-1"]["id"], shown["host-2"]["id"]
    trace, capture = api.events("/x/trace?filter=icmp"), api.open("GET", "/x/capture?filter=icmp")
    assert pings(topology.host_1, OVERLAY_2, 2) == 2
    assert sorted(seen(trace, 4)) == ["host-1 host-2"] * 2 + ["host-2 host-1"] * 2
    topology.host_1.run("ping", "-c1", "-W1", "192.168.123.77", check=False)
    file = b""
    while bytes((192, 168, 123, 77)) not in file:
        file += capture.read1()
    capture.close()
    assert packets(file) == 4 + 1, "each once, and the one without a route"
    for host, name in ((one, "host-1"), (two, "host-2")):
        page = api.ask(f"/x/hosts/{host}")
        assert [row["host"] for row in page["sessions"]] == [name]
        assert page["prefixes"] == [f"192.168.123.{name[-1]}/32"]
    assert "no-route" in [row["reason"] for row in api.ask(f"/x/hosts/{one}")["drops"]]
    assert "no-route" in [row["reason"] for row in api.ask("/x/drops")["drops"]]
    assert {row["host"] for row in api.ask("/x/routes")["rows"][0]["gateways"]} == {"host-1"}
    assert sorted(row["host"] for row in api.ask("/x/gateways")["gateways"]) == ["host-1", "host-2"]
    assert sorted(row["host"] for row in api.ask("/x/sessions")["sessions"]) == ["host-1", "host-2"]
    for host, to, worker in (("host-1", OVERLAY_2, 2), ("host-2", OVERLAY_1, 1)):
        verdict = json.dumps(api.ask(f"/x/explain?from={host}&to={to}"))
        assert f"by hub at worker {worker}, link" in verdict, verdict
    status = api.ask("/x/status")
    assert (len(status["sessions"]), len(status["workers"])) == (2, 2)
    [service] = api.ask("/config/services")["data"]["list"]
    assert service["status"]["state"] == "ready"
    assert api.open("GET", "/x/enrolled").status == 409
    before = first.line_count()
    assert api.ask(f"/x/hosts/{one}/kick", "POST", {}) == {"sessions": 1}
    hub.process.wait_line("web API: ada .*kick host host-1")
    first.wait_line("connected to", after=before)
    hub.kill(2)
    wait_for(lambda: [row["state"] for row in hosts(api).values()] == ["up", "up"])
    assert (hosts(api)["host-1"]["id"], hosts(api)["host-2"]["id"]) == (one, two)
    assert "s3cret" not in hub.process.text()


def packets(pcapng: bytes) -> int:
    """How many packets a pcapng file has (blocks of type 6)."""
    count = at = 0
    while at + 8 <= len(pcapng):
        kind, size = struct.unpack_from("<II", pcapng, at)
        count += kind == 6
        at += size
    return count


def seen(trace: Iterator[tuple[str, Any]], count: int) -> list[str]:
    """The senders and receivers of so many packets."""
    found: list[str] = []
    while len(found) < count:
        event, data = next(trace)
        assert event == "packets"
        found += [f"{row[2]} {row[3]}" for row in data["packets"]]
    return found


def reroute(api: Api, gateway: str, query: str = "") -> tuple[int, Any]:
    """Let the route to host-2 lead to another gateway; returns (status, reply)."""
    [router] = api.ask("/config/routers")["data"]["list"]
    routes = [
        {**one, "gateway": gateway} if one["dst"].startswith("192.168.123.2/") else one
        for one in router["routes"]
    ]
    response = api.open("PUT", f"/config/routers/{router['name']}{query}", {**router, "routes": routes})
    return response.status, json.loads(response.read())


def test_a_change_is_in_all_workers_and_in_those_that_come_later(hub: Hub, api: Api) -> None:
    topology = hub.topology
    hub.both()
    reach(topology.host_1, OVERLAY_2)
    assert reroute(api, "host-9") == (200, {"msg": "OK"})
    for host in ("host-1", "host-2"):
        _, said = run("explain", "--from", host, OVERLAY_2, "--control", hub.control)
        assert "gateway host-9: no live session" in " ".join(said.split())
    assert not pings(topology.host_1, OVERLAY_2, 1)
    for number in (1, 2):
        hub.kill(number)
        assert "host-9" in json.dumps(api.ask("/x/routes")["rows"])
    wait_for(lambda: len(hub.status()["sessions"]) == 2)
    for host in ("host-1", "host-2"):
        _, said = run("explain", "--from", host, OVERLAY_2, "--control", hub.control)
        assert "gateway host-9: no live session" in " ".join(said.split()), "also in workers that are new"
    # a file that says nothing of it undoes it, and what waits to be confirmed undoes itself
    assert api.ask("/config/reload", "POST", {}) == {"msg": "OK"}
    reach(topology.host_1, OVERLAY_2)
    status, waiting = reroute(api, "host-9", "?confirm=5s")
    assert (status, api.open("POST", "/config", {}).status) == (200, 409)
    assert not pings(topology.host_1, OVERLAY_2, 1)
    assert api.ask("/x/undo", "POST", {"id": waiting["confirm"]}) == {"msg": "OK"}
    reach(topology.host_1, OVERLAY_2)


def test_what_takes_a_restart_is_refused_and_what_is_changed_is_saved(hub: Hub, api: Api) -> None:
    [service] = api.ask("/config/services")["data"]["list"]
    for method, path, body, why in (
        ("POST", "/config/services", {**service, "name": "second", "addr": ":8555"}, "service second is new"),
        ("DELETE", "/config/services/hub", None, "'workers' without a hub"),
        ("PUT", "/config/services/hub", {**service, "addr": ":8555"}, "listens elsewhere"),
    ):
        response = api.open(method, path, body)
        said = json.loads(response.read())
        assert (response.status, why in said["msg"]) == (500, True), said
    assert [one["name"] for one in api.ask("/config/services")["data"]["list"]] == ["hub"]
    assert reroute(api, "host-9") == (200, {"msg": "OK"})
    assert api.ask("/config", "POST", {}) == {"msg": "OK"}
    assert "host-9" in Path(hub.file).read_text()
    before = hub.process.line_count()
    hub.process.send(signal.SIGHUP)
    hub.process.wait_line("reload: ", after=before)
    assert "host-9" in hub.ask("routes")


def test_a_reload_adds_the_web_api_and_moves_it(topology: Topology, write: Write, tmp_path: Path) -> None:
    hub, api = Hub(topology, write, tmp_path), Api(topology.hub)
    hub.start()
    text = Path(hub.file).read_text()
    for rest, line in ((LOGINS, "api: off -> 127.0.0.1:18080"), ("", "api: 127.0.0.1:18080 -> off")) * 2:
        Path(hub.file).write_text(text + rest)
        before = hub.process.line_count()
        hub.process.send(signal.SIGHUP)
        hub.process.wait_line(f"reload: {line}", after=before)
        hub.process.wait_line("reload: done", after=before)
        if rest:
            assert len(api.ask("/x/status")["workers"]) == 2
            assert reroute(api, "host-9")[0] == 200


def test_a_worker_that_stands_still_is_told_of_and_loses_no_host(hub: Hub, api: Api) -> None:
    hub.both()
    reach(hub.topology.host_1, OVERLAY_2)
    wait_for(lambda: len(hosts(api)) == 2)
    one = hosts(api)["host-1"]["id"]
    pid = hub.worker(2)["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        assert {row["state"] for row in hosts(api).values()} == {"up"}
        refused = api.open("GET", f"/x/hosts/{one}")
        assert (refused.status, "a worker does not answer" in refused.read().decode()) == (503, True)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert api.ask(f"/x/hosts/{one}")["state"] == "up"
