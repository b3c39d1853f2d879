"""A hub that tells a real web server who comes and goes; one that never answers costs nothing else."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Process, Topology
from tests.support.program import OVERLAY_2, example, host, pings, run, start_client, start_hub, wait_for

pytestmark = pytest.mark.usefixtures("no_traceback")

SERVER = """
import http.server, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/hangs":
            time.sleep(3600)
        is_good = self.path in ("/good", "/observer")
        if is_good:
            print("got", body.decode(), flush=True)
        reply = b'{"ok": true}' if is_good else b""
        self.send_response(200 if is_good else 500)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)
    def log_message(self, *_): pass
class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
server = Server(("127.0.0.1", 8080), Handler)
print("web ready", flush=True)
server.serve_forever()
"""
NOTIFY = """
notify:
- {name: good, url: "http://127.0.0.1:8080/good", grace: 1s}
- {name: bad, url: "http://127.0.0.1:8080/bad?token=t0ken", retries: 1}
- {name: hangs, url: "http://127.0.0.1:8080/hangs", timeout: 300s, queue: 1}
"""


@pytest.fixture
def web(topology: Topology) -> Iterator[Process]:
    process = topology.hub.popen("python3", "-c", SERVER)
    process.wait_line("web ready")
    yield process
    process.stop()


def events(web: Process) -> list[tuple[str, str]]:
    lines = [json.loads(line[4:]) for line in web.text().splitlines() if line.startswith("got ")]
    return [(line["event"], line["host"]) for line in lines]


def test_a_webhook_gets_what_happens_and_bad_ones_cost_nothing(
    topology: Topology, web: Process, write: Callable[[str, str], str], tmp_path: Path
) -> None:
    control = str(tmp_path / "control.sock")
    hub = start_hub(
        topology.hub, "-C", write("hub.yml", example("server.yml") + NOTIFY), "--control", control
    )
    one = start_client(topology.host_1, *host(1, HUB_TO_HOST_1))
    start_client(topology.host_2, *host(2, HUB_TO_HOST_2))
    wait_for(lambda: len(events(web)) == 2)
    assert events(web) == [("join", "host-1"), ("join", "host-2")]
    assert pings(topology.host_1, OVERLAY_2) == 5
    one.send(signal.SIGKILL)
    wait_for(lambda: ("away", "host-1") in events(web))
    assert events(web)[2:] == [("leave", "host-1"), ("away", "host-1")]

    def found() -> dict[str, dict[str, object]]:
        status, said = run("status", "--json", "--control", control, namespace=topology.hub)
        assert status == 0, said
        return {row["name"]: row for row in json.loads(said)["notify"]}

    wait_for(lambda: found()["bad"]["failed"])
    rows = found()
    assert rows["good"]["delivered"] == 4
    assert rows["bad"]["error"] == "HTTP status 500"
    assert (rows["hangs"]["delivered"], rows["hangs"]["dropped"], rows["hangs"]["waiting"]) == (0, 2, 1)
    start_client(topology.host_1, *host(1, HUB_TO_HOST_1))
    assert pings(topology.host_1, OVERLAY_2) == 5
    hub.send(signal.SIGTERM)
    assert hub.wait(20) == 0
    assert "t0ken" not in hub.text()
    assert "notify bad: given up: HTTP status 500" in hub.text()
