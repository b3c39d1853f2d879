"""The same file for a real GOST and for us means the same: which node of a hop is dialled, and what limiters say."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from tests.e2e.test_gost_plugins import PLUGIN
from tests.e2e.test_limits import closed, connections
from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Process, Topology
from tests.support.program import example, needs_gost, start, start_client, start_gost, start_hub, wait_for

pytestmark = [pytest.mark.usefixtures("no_traceback"), needs_gost]

Write = Callable[[str, str], str]
NODE = "addr: '%s:%d', connector: {type: router}, dialer: {type: tcp}, metadata: {%s}"
CLIENT = """\
services:
- name: s
  handler: {type: tun, chain: c, retries: 2}
  listener: {type: tun, metadata: {net: 192.168.123.1/24}}
  forwarder: {selector: {strategy: fifo}, nodes: [{name: t, addr: host-1}]}
chains:
- name: c
  hops: [{name: h, selector: {strategy: rand, maxFails: 1, failTimeout: 60s}, nodes: [NODES]}]
"""
NODES = ((8441, "backup: true, weight: 1000000"), (8442, "weight: 1"), (8443, "weight: 1000000"))
"""(port, what the node says of itself): the heaviest one that is no backup is dialled, and the backup after all others."""


def client() -> str:
    nodes = (f"{{name: n-{port}, {NODE % (HUB_TO_HOST_1, port, more)}}}" for port, more in NODES)
    return CLIENT.replace("NODES", ", ".join(nodes))


def start_one(topology: Topology, program: str, config: str) -> Process:
    """The client of host-1, which has no session yet where it is GOST's."""
    if program == "gost":
        return start_gost(topology.host_1, "-C", config)
    return start_client(topology.host_1, "-C", config)


@pytest.mark.parametrize("program", ["tunrouter", "gost"])
def test_weights_and_backups_of_nodes(topology: Topology, write: Write, program: str) -> None:
    """Nobody listens at the second node: it is passed over at once, and the backup comes when the heavy one has gone."""
    text = example("server.yml")
    backup, heavy = (
        start_hub(topology.hub, "-C", write(f"{port}.yml", text.replace(":8443", f":{port}")))
        for port in (8441, 8443)
    )
    start_one(topology, program, write("client.yml", client()))
    heavy.wait_line("is host host-1")
    assert "is host host-1" not in backup.text()
    heavy.stop()
    backup.wait_line("is host host-1", 20)


NAMES = """\
services:
- name: s
  handler: {type: tun, chain: c}
  listener: {type: tun, metadata: {name: tun7, net: 192.168.123.1/24}}
  forwarder: {%s}
chains:
- name: c
  hops: [{name: h, nodes: [{name: n, addr: "%s:8443", connector: {type: router}, dialer: {type: tcp}}]}]
"""
"""A client with several host names."""


@pytest.mark.parametrize("program", ["tunrouter", "gost"])
def test_of_several_host_names_one_is_chosen_for_each_device(
    topology: Topology, write: Write, program: str
) -> None:
    """Each time it is made: when somebody has removed it, but not when the hub was away."""
    config = write("hub.yml", example("server.yml"))
    hub = start_hub(topology.hub, "-C", config)
    names = "nodes: [{name: a, addr: name-a}, {name: b, addr: name-b}, {name: c, addr: name-c}]"
    start_one(topology, program, write("client.yml", NAMES % (names, HUB_TO_HOST_1)))
    hub.wait_line("is host name-a")
    hub.stop()
    hub = start_hub(topology.hub, "-C", config)
    hub.wait_line("is host name-a", 20)
    topology.host_1.ip("link", "del", "tun7")
    hub.wait_line("is host name-b", 20)
    assert "name-c" not in hub.text()


@pytest.mark.parametrize("program", ["tunrouter", "gost"])
@pytest.mark.parametrize(
    "how",
    [
        "nodes: [{addr: name-a, metadata: {backup: true}}, {addr: name-b}]",
        "selector: {strategy: rand}, nodes: [{addr: name-a}, {addr: name-b, metadata: {weight: 1000000}}]",
        "selector: {strategy: fifo}, nodes: [{addr: name-b}, {addr: name-a}]",
        # crc32 of 192.168.123.1, of seven names, is 4
        f"selector: {{strategy: hash}}, nodes: [{', '.join(f'{{addr: name-{one}}}' for one in 'aaaabaa')}]",
    ],
)
def test_weights_and_backups_of_host_names(topology: Topology, write: Write, program: str, how: str) -> None:
    hub = start_hub(topology.hub, "-C", write("hub.yml", example("server.yml")))
    start_one(topology, program, write("client.yml", NAMES % (how, HUB_TO_HOST_1)))
    hub.wait_line("is host name-b", 20)
    assert "name-a" not in hub.text()


BROKEN = """
import socket, sys, time
with socket.create_server(("", int(sys.argv[1]))) as listening:
    print("broken hub ready", flush=True)
    while True:
        listening.accept()[0].close()
        print("tried", time.monotonic(), flush=True)
"""
"""A hub that is down for everybody who connects."""


@pytest.mark.alone
def test_retries_follow_each_other_at_once(topology: Topology, write: Write) -> None:
    """Three tries, then a delay, then three again; and once the hub is back both are."""
    ports = {
        "gost": (topology.host_1, HUB_TO_HOST_1, 8441),
        "tunrouter": (topology.host_2, HUB_TO_HOST_2, 8442),
    }
    broken = {}
    for program, (host, address, port) in ports.items():
        broken[program] = topology.hub.popen(sys.executable, "-c", BROKEN, str(port))
        broken[program].wait_line("broken hub ready")
        node = f"{{name: n, {NODE % (address, port, '')}}}"
        config = write(f"{program}.yml", CLIENT.replace("NODES", node))
        if program == "gost":
            start_gost(host, "-C", config)
        else:
            start(host, "-C", config)
    for program, process in broken.items():
        wait_for(lambda: process.text().count("tried") >= 7, 15)  # noqa: B023  # it is called in this turn
        tries = [float(line.split()[1]) for line in process.text().splitlines() if line.startswith("tried")]
        gaps = [later - earlier > 0.4 for earlier, later in pairwise(tries[:7])]
        assert gaps == [False, False, True] * 2, program
        process.stop()
        text = example("server.yml").replace(":8443", f":{ports[program][2]}")
        hub = start_hub(topology.hub, "-C", write(f"hub-{program}.yml", text))
        hub.wait_line("is host host-1", 20)


HUB = """\
services:
- name: hub
  addr: ":8443"
  limiter: rates
  handler: {type: router, limiter: rates, auther: a, metadata: {router: r}}
  listener: {type: tcp}
authers: [{name: a, auths: [{username: user, password: word}]}]
limiters: [{name: rates, plugin: {type: http, addr: "http://127.0.0.1:8000"}}]
routers: [{name: r, routes: [{net: 192.168.123.1/32, gateway: host-1}]}]
"""


def questions(plugin: Process, after: int) -> set[str]:
    """What was asked about rates from a line on, without the number of a port, which differs by chance."""
    lines = plugin.text().splitlines()[after:]
    found = (json.loads(line.removeprefix("asked ")) for line in lines if line.startswith("asked "))
    return {
        re.sub(r"([0-9.]+):\d+\b", r"\1:PORT", json.dumps(one, sort_keys=True))
        for one in found
        if "scope" in one
    }


def test_a_gost_hub_asks_the_plugin_of_its_limiter_the_same(topology: Topology, write: Write) -> None:
    plugin = topology.hub.popen(sys.executable, "-c", PLUGIN)
    plugin.wait_line("plugin ready")
    path, asked = write("hub.yml", HUB), []
    for begin in (start_gost, start_hub):
        seen = plugin.line_count()
        hub = begin(topology.hub, "-C", path)
        client = start_client(
            topology.host_1,
            *("-L", "tun:///host-1?net=192.168.123.1/24", "-F", f"router://user:word@{HUB_TO_HOST_1}:8443"),
        )
        wait_for(lambda: len(questions(plugin, seen)) >= 3)  # noqa: B023  # it is called in this turn
        client.stop()
        hub.stop()
        asked.append(questions(plugin, seen))
    assert asked[0] == asked[1]
    assert {json.loads(one)["scope"] for one in asked[0]} == {"conn", "client", "service"}


@pytest.mark.parametrize("program", ["tunrouter", "gost"])
@pytest.mark.parametrize("most", [1, 2])
def test_connections_are_limited_by_the_rows_of_a_file(
    topology: Topology, tmp_path: Path, write: Write, program: str, most: int
) -> None:
    rows = tmp_path / "rows"
    rows.write_text(f"# of each address\n$$ {most}\n")
    text = example("server.yml").replace("    handler:\n", "    climiter: c\n    handler:\n", 1)
    config = write("hub.yml", f"{text}climiters: [{{name: c, file: {{path: {rows}}}}}]\n")
    begin = start_gost if program == "gost" else start_hub
    begin(topology.hub, "-C", config)
    made = connections(topology.host_1, 2)
    assert closed(made, 2, 0.5) == 2 - most
    for one in made:
        one.close()
