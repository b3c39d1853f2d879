"""A client of ours beside a real GOST with the same file: a proxy of a hop that fails, the plugin of another hop."""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Callable

import pytest

from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Process, Topology
from tests.support.program import OVERLAY_2, needs_gost, reach, start_client, start_gost, start_hub

pytestmark = [pytest.mark.usefixtures("no_traceback"), needs_gost]

PROXIES = (1080, 1081)
PLUGIN = """
import http.server, json
NODE = {"name": "n", "addr": "127.0.0.1:8443", "connector": {"type": "router"}, "dialer": {"type": "tcp"}}
class Asked(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        print("asked", json.dumps(asked, sort_keys=True), flush=True)
        body = json.dumps({"in": 1 << 30, "out": 1 << 30} if "scope" in asked else NODE).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments): pass
server = http.server.ThreadingHTTPServer(("", 8000), Asked)
print("plugin ready", flush=True)
server.serve_forever()
"""
"""Names the hub, as the proxies see it, to whoever asks for a node; and a rate that is none to whoever asks for one."""
HUB = """\
services:
- name: hub
  addr: ":8443"
  handler: {type: router, limiter: rates, metadata: {router: r}}
  listener: {type: tcp}
limiters: [{name: rates, plugin: {type: http, addr: "http://127.0.0.1:8000"}}]
routers:
- name: r
  routes: [{net: 192.168.123.1/32, gateway: host-1}, {net: 192.168.123.2/32, gateway: host-2}]
"""


def client(number: int, hub: str) -> str:
    """A client that goes by the first of two proxies, and asks a plugin which hub there is behind them."""
    proxies = ", ".join(
        f"{{name: p-{port}, addr: '{hub}:{port}', connector: {{type: socks5}}, dialer: {{type: tcp}}}}"
        for port in PROXIES
    )
    return f"""\
services:
- name: s
  handler: {{type: tun, chain: c}}
  listener: {{type: tun, metadata: {{net: 192.168.123.{number}/24}}}}
  forwarder: {{nodes: [{{name: t, addr: host-{number}}}]}}
chains:
- name: c
  hops:
  - {{name: proxies, selector: {{strategy: fifo, maxFails: 1, failTimeout: 60s}}, nodes: [{proxies}]}}
  - {{name: hubs, plugin: {{type: http, addr: "http://{hub}:8000"}}}}
"""


def asked(plugin: Process, what: str) -> set[str]:
    """The questions so far that have this field, without what differs by chance: where a client comes from."""
    found = (json.loads(text) for text in re.findall(r"^asked (.*)$", plugin.text(), re.MULTILINE))
    said = (json.dumps(one, sort_keys=True) for one in found if what in one)
    return {re.sub(r"[0-9.]+:\d+\b", "ADDRESS", one) for one in said}


def test_the_same_file_means_the_same(topology: Topology, write: Callable[[str, str], str]) -> None:
    plugin = topology.hub.popen(sys.executable, "-c", PLUGIN)
    plugin.wait_line("plugin ready")
    first, _ = [start_gost(topology.hub, "-L", f"socks5://:{port}") for port in PROXIES]
    config = write("hub.yml", HUB)
    hub = start_hub(topology.hub, "-C", config)
    start_gost(topology.host_1, "-C", write("1.yml", client(1, HUB_TO_HOST_1)))
    hub.wait_line("is host host-1")
    theirs = asked(plugin, "path")
    ours = start_client(topology.host_2, "-C", write("2.yml", client(2, HUB_TO_HOST_2)))
    reach(topology.host_1, OVERLAY_2)
    expected = {one.replace("host-1", "host-2").replace("123.1", "123.2") for one in theirs}
    assert asked(plugin, "path") - theirs == expected

    seen, lines = hub.line_count(), ours.line_count()
    first.stop(signal.SIGKILL)
    for number in (1, 2):
        hub.wait_line(f"is host host-{number}", 20, after=seen)
    ours.wait_line("connected to", after=lines)
    assert asked(plugin, "scope"), "the hub has asked for rates"
