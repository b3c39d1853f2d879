"""What running programs log: named events with their fields, no secret, and a file that others may move."""

from __future__ import annotations

import http.client
import json
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from lib.log_events import FOLDED, Entry
from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Process, Topology, in_namespace
from tests.support.program import OVERLAY_2, example, host, reach, run, start, start_client, start_hub

pytestmark = pytest.mark.usefixtures("no_traceback")

Write = Callable[[str, str], str]
SECRET = "s3cret"

HUB = """\
log: {{level: trace, format: {style}}}
services:
- name: service-0
  addr: ":8443"
  handler:
    type: router
    authers: [team, asked]
    metadata: {{router: router-0}}
  listener: {{type: tcp}}
authers:
- name: team
  auths: [{{username: one, password: s3cret-login}}]
  redis: {{addr: "127.0.0.1:1", username: me, password: s3cret-redis}}
- name: asked
  plugin: {{type: http, addr: "http://127.0.0.1:1/?token=s3cret-query", token: s3cret-plugin, timeout: 1s}}
routers:
- name: router-0
  routes:
  - {{net: 192.168.123.1/32, gateway: host-1}}
  - {{net: 192.168.123.2/32, gateway: host-2}}
  http: {{url: "http://me:s3cret-url@127.0.0.1:1/rows?key=s3cret-key"}}
- name: e87f56dd-fd57-4921-9ab8-a0847662daae
  plugin: {{type: grpc, addr: "127.0.0.1:1", token: s3cret-grpc, timeout: 1s}}
metrics: {{addr: "127.0.0.1:9100", auth: {{username: m, password: s3cret-metrics}}}}
"""

CLIENT = """\
log: {{level: trace, format: {style}}}
services:
- name: service-0
  handler: {{type: tun, chain: chain-0}}
  listener: {{type: tun, metadata: {{net: 192.168.123.1/24}}}}
  forwarder: {{nodes: [{{name: target-0, addr: host-1}}]}}
chains:
- name: chain-0
  hops:
  - name: hop-0
    nodes:
    - name: proxy
      addr: 10.77.1.1:1
      connector: {{type: socks5, auth: {{username: p, password: s3cret-proxy}}}}
      dialer: {{type: tcp}}
  - name: hop-1
    nodes:
    - name: node-0
      addr: 10.77.1.1:8443
      connector: {{type: router, auth: {{username: one, password: s3cret-login}}}}
      dialer: {{type: tcp}}
"""


@pytest.mark.parametrize("style", ["text", "json"])
def test_no_secret_is_in_any_log(topology: Topology, write: Write, style: str) -> None:
    """Every secret that a configuration can hold, and a failure of everything that has one."""
    config = write("hub.yml", HUB.format(style=style))
    hub = start_hub(topology.hub, "-D", "-C", config)
    behind = start(topology.host_1, "-D", "-C", write("client.yml", CLIENT.format(style=style)))
    behind.wait_line("trying again")
    wrong = start(topology.host_2, "-D", *_logged_in(2, HUB_TO_HOST_2, "one:s3cret-wrong"))
    wrong.wait_line("refused")
    wrong.stop()
    asking = "?router.id=e87f56dd-fd57-4921-9ab8-a0847662daae"
    right = start_client(topology.host_2, "-D", *_logged_in(2, HUB_TO_HOST_2, "one:s3cret-login", asking))
    topology.host_2.run("ping", "-c1", "-W1", "192.168.123.1", check=False)
    hub.wait_line("router plugin: ")
    with in_namespace(topology.hub.name):
        sock = socket.create_connection(("127.0.0.1", 9100))
    connection = http.client.HTTPConnection("hub")
    connection.sock = sock
    connection.request("GET", "/?key=s3cret-asked", headers={"Authorization": "Basic czNjcmV0OnMzY3JldA=="})
    assert connection.getresponse().status == 401
    hub.send(signal.SIGHUP)
    hub.wait_line("reload: nothing is different")
    write("hub.yml", HUB.format(style=style).replace("password: s3cret-metrics", "password: [s3cret-x"))
    hub.send(signal.SIGHUP)
    hub.wait_line("nothing was changed")
    programs = (right, behind, wrong, hub)
    for program in programs:
        if program is not wrong:
            program.stop()
    said = "".join(program.text() for program in programs)
    assert style == "text" or hub.text().startswith('{"time"')
    for failure in ("redis://127.0.0.1:1", "127.0.0.1:1/rows", "router plugin:", "trying again"):
        assert failure in said
    assert SECRET not in said
    assert "czNjcmV0" not in said
    for command in (("check", "-C"), ("check", "--json", "-C")):
        assert SECRET not in run(*command, write("hub.yml", HUB.format(style=style)))[1]


def _logged_in(number: int, hub: str, login: str, query: str = "") -> tuple[str, ...]:
    words = host(number, hub)
    return tuple(
        word.replace("router://", f"router://{login}@") + (query if word.startswith("router") else "")
        for word in words
    )


def lines_of(*programs: Process) -> list[dict[str, object]]:
    return [json.loads(line) for program in programs for line in program.text().splitlines()]


def test_json_lines_have_a_known_event_and_its_fields(topology: Topology, write: Write) -> None:
    style = "log: {format: json, level: debug}\n"
    hub = start(topology.hub, "-C", write("hub.yml", example("server.yml") + style))
    hub.wait_line('"event": "listening"')
    client = start(topology.host_1, "-C", write("log.yml", style + "services: []"), *host(1, HUB_TO_HOST_1))
    client.wait_line('"event": "connected"')
    second = start_client(topology.host_2, *host(2, HUB_TO_HOST_2))
    reach(topology.host_1, OVERLAY_2)
    topology.host_1.run("ping", "-c1", "-W1", "192.168.123.77", check=False)
    hub.wait_line('"event": "drops"')
    second.stop()
    hub.wait_line('"event": "session-closed"')
    hub.send(signal.SIGUSR1)
    hub.wait_line('"event": "drop-count"')
    hub.stop()
    client.wait_line('"event": "reconnecting"')
    client.stop()
    known = {entry.value: entry for entry in Entry}
    lines = lines_of(hub, client)
    for line in lines:
        entry = known[str(line["event"])]
        assert line["level"] == entry.level
        assert set(line) - set(FOLDED) == {"time", "level", "event", "msg", *entry.fields}
    opened = next(line for line in lines if line["event"] == "session-opened" and line["host"] == "host-1")
    assert str(opened["peer"]).startswith("10.77.1.2:")
    closed = next(line for line in lines if line["event"] == "session-closed")
    assert (closed["host"], closed["reason"]) == ("host-2", "closed by the client")
    assert closed["received_bytes"]


def test_a_hub_s_log_is_moved_by_logrotate(topology: Topology, write: Write, tmp_path: Path) -> None:
    path = tmp_path / "out" / "hub.log"
    path.parent.mkdir()
    more = f"log: {{output: {path}, rotation: {{maxSize: 1, compress: true}}}}\n"
    hub = start(topology.hub, "-C", write("hub.yml", example("server.yml") + more))
    start_client(topology.host_1, *host(1, HUB_TO_HOST_1))
    first = path.rename(tmp_path / "out" / "hub.log.1")
    second = start_client(topology.host_2, *host(2, HUB_TO_HOST_2))
    second.stop()
    hub.stop()
    assert "listening on" in first.read_text()
    assert "is host host-1" in first.read_text() + path.read_text()  # the client may know it first
    assert "is host host-2" in path.read_text()
    assert "host-2) left" in path.read_text()
