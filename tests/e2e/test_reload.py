"""Reload by the difference: what the new configuration still allows is not touched, not a packet lost."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.echo import unanswered
from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Namespace, Process, Topology
from tests.support.program import (
    NAMESPACE_1,
    OVERLAY_1,
    OVERLAY_2,
    client_example,
    example,
    host,
    pings,
    reach,
    start_client,
    start_hub,
)

pytestmark = pytest.mark.usefixtures("no_traceback")

Write = Callable[[str, str], str]

MORE = """      - {dst: 10.9.0.0/16, gateway: host-2}
ingresses:
  - name: doors
    rules: [{hostname: host-1, endpoint: ''}, {hostname: host-9, endpoint: %s}]
""".replace("%s", NAMESPACE_1)
SECOND = """  - name: service-1
    addr: :8444
    handler: {type: router, metadata: {router: router-0}}
    listener: {type: tcp}
"""


def reload(process: Process, path: str, text: str) -> str:
    """Write a configuration and have it read; returns what is logged of it."""
    Path(path).write_text(text)
    before = process.line_count()
    process.send(signal.SIGHUP)
    process.wait_line("reload: (done|nothing is different|nothing was changed)", after=before)
    return "".join(process.text().splitlines(keepends=True)[before:])


def both(topology: Topology) -> tuple[Process, Process]:
    return (
        start_client(topology.host_1, *host(1, HUB_TO_HOST_1)),
        start_client(topology.host_2, *host(2, HUB_TO_HOST_2)),
    )


def flood(namespace: Namespace, address: str) -> Process:
    """Fifty pings a second until it is told to end."""
    process = namespace.popen("ping", "-i0.02", address)
    process.wait_line("icmp_seq=5 ")
    return process


def lost(process: Process) -> int:
    """End a flood; returns how many pings had no answer, the last ones on the way left out."""
    process.wait_line("icmp_seq=50 ")
    process.stop(signal.SIGINT)
    return len(unanswered(process.text()))


@pytest.mark.alone
def test_nothing_is_lost_while_a_hub_reloads(topology: Topology, write: Write) -> None:
    text = example("server.yml")
    path = write("hub.yml", text)
    hub = start_hub(topology.hub, "-C", path)
    clients = both(topology)
    server = topology.host_2.popen("iperf3", "-s", "-1", "--forceflush")
    server.wait_line("Server listening")
    pinging = flood(topology.host_1, OVERLAY_2)
    stream = topology.host_1.popen("iperf3", "-c", OVERLAY_2, "-t2", "-b", "50M", "--forceflush")
    stream.wait_line(r"0\.00-1\.00")
    said = reload(hub, path, text.replace("routers:", SECOND + "routers:") + MORE)
    assert "reload: router router-0: +1 ~0 -0 routes" in said
    assert "reload: service service-1: added" in said
    assert "reload: done, services +1 ~0 -0" in said
    said = reload(hub, path, text)
    assert "reload: router router-0: +0 ~0 -1 routes" in said
    assert "reload: service service-1: removed" in said
    assert "nothing is different" in reload(hub, path, text)
    assert stream.wait(15) == 0, "the stream went on"
    # a big one takes seconds, which was too long for sessions once
    many = "".join(f"      - {{dst: 10.9.{n >> 8}.{n & 255}/32, gateway: host-2}}\n" for n in range(20_000))
    assert "reload: router router-0: +20000 ~0 -0 routes" in reload(hub, path, text + many)
    assert lost(pinging) == 0
    assert max(map(float, re.findall(r"time=([\d.]+) ms", pinging.text()))) < 500
    assert [client.text().count("connected to") for client in clients] == [1, 1]


def test_a_file_that_does_not_check_changes_nothing(topology: Topology, write: Write) -> None:
    text = example("server.yml")
    path = write("hub.yml", text)
    hub = start_hub(topology.hub, "-C", path)
    both(topology)
    said = reload(hub, path, text.replace("gateway: host-2", "gatway: host-2").replace(":8443", ":8444"))
    assert re.search(r"reload: .*hub.yml:\d+:\d+: unknown key 'gatway'.*did you mean 'gateway'", said)
    assert pings(topology.host_1, OVERLAY_2) == 5
    assert "nothing is different" in reload(hub, path, text)


def test_whom_the_ingress_no_longer_lets_in_is_put_out_and_nobody_else(
    topology: Topology, write: Write
) -> None:
    rules = "ingresses:\n  - name: doors\n    rules:\n      - {hostname: other, endpoint: %s}\n".replace(
        "%s", NAMESPACE_1
    )
    text = (
        example("server.yml").replace("router: router-0\n", "router: router-0\n        ingress: doors\n", 1)
        + rules
    )
    path = write("hub.yml", text)
    hub = start_hub(topology.hub, "-C", path)
    clients = both(topology)
    said = reload(hub, path, text + f"      - {{hostname: host-2, endpoint: {NAMESPACE_1}}}\n")
    assert re.search(r"host host-2 \(.*\) is no longer let in: the ingress", said)
    clients[1].wait_line("refused: host unreachable")
    assert clients[0].text().count("connected to") == 1
    assert "trying again" not in clients[0].text()


def test_a_hub_moves_to_another_port_and_keeps_its_sessions(topology: Topology, write: Write) -> None:
    text = example("server.yml")
    path = write("hub.yml", text)
    hub = start_hub(topology.hub, "-C", path)
    both(topology)
    said = reload(hub, path, text.replace(":8443", ":8444"))
    assert "service service-0: port 8443 -> 8444" in said
    assert pings(topology.host_1, OVERLAY_2) == 5
    taken = topology.hub.popen(
        "python3", "-c", "import socket;s=socket.create_server(('',8445));print('up',flush=True);s.accept()"
    )
    taken.wait_line("up")
    said = reload(hub, path, text.replace(":8443", ":8445"))
    assert "cannot listen on" in said
    assert "it stays as it was" in said
    assert pings(topology.host_1, OVERLAY_2) == 5


def test_every_so_often(topology: Topology, write: Write) -> None:
    text = example("server.yml")
    path = write("hub.yml", text.replace("gateway: host-2", "gateway: host-9"))
    hub = start_hub(topology.hub, "-C", path, "-R", "500ms")
    both(topology)
    assert pings(topology.host_1, OVERLAY_2, 2) == 0
    Path(path).write_text(text)
    hub.wait_line(r"reload: router router-0: \+0 ~2 -0 routes", timeout=20)
    assert pings(topology.host_1, OVERLAY_2) == 5


def test_a_client_takes_routes_and_addresses_without_connecting_anew(
    topology: Topology, write: Write
) -> None:
    start_hub(topology.hub, "-C", write("hub.yml", example("server.yml")))
    text = client_example("client.yml", 1, HUB_TO_HOST_1)
    path = write("client.yml", text)
    client = start_client(topology.host_1, "-C", path)
    start_client(topology.host_2, *host(2, HUB_TO_HOST_2))
    pinging = flood(topology.host_1, OVERLAY_2)
    changed = text.replace("route: 192.168.200.0/24", "route: 192.168.201.0/24").replace(
        f"net: {OVERLAY_1}/24", f"net: {OVERLAY_1}/24,192.168.9.1/32"
    )
    said = reload(client, path, changed)
    for line in (
        "route 192.168.201.0/24 added",
        "route 192.168.200.0/24 removed",
        "address 192.168.9.1/32 added",
    ):
        assert line in said
    routes = {route["dst"] for route in topology.host_1.ip("route", "show")}
    assert "192.168.201.0/24" in routes
    assert "192.168.200.0/24" not in routes
    assert lost(pinging) == 0
    assert client.text().count("connected to") == 1
    said = reload(client, path, changed.replace("addr: host-1", "addr: host-2"))
    client.wait_line("connected to .* as host-2", timeout=20)
    before = client.line_count()
    reload(client, path, changed)
    client.wait_line("connected to .* as host-1", after=before, timeout=20)
    reach(topology.host_1, OVERLAY_2)


MIXED = """services:
  - name: hub
    addr: :8443
    handler: {type: router, metadata: {router: r}}
    listener: {type: tcp}
  - {name: socks, addr: ':1080', handler: {type: socks5, chain: up}, listener: {type: tcp}}
routers: [{name: r, routes: [{dst: 10.0.0.0/8, gateway: host-1}]}]
api: {addr: ':18080'}
chains:
  - {name: up, hops: [{name: up, nodes: [{name: up, addr: 'up:1', connector: {type: relay}, dialer: {type: quic}}]}]}
"""


def test_a_mixed_file_runs_and_is_read_again_and_what_is_left_to_gost_is_named_once(
    topology: Topology, write: Write
) -> None:
    config = write("gost.yml", MIXED)
    hub = start_hub(topology.hub, "--only-tunnel", "-C", config)
    for what in ("service socks (handler socks5)", "chains up, which", "api: it starts GOST's web API"):
        assert f"left to GOST: {what}" in hub.text()
    more = "  - {name: more, addr: ':8080', handler: {type: http}}\nrouters:"
    said = reload(hub, config, MIXED.replace("routers:", more, 1))
    assert "left to GOST: service more (handler http)" in said
    assert "service socks" not in said
    assert "reload: nothing is different" in said
    said = reload(hub, config, MIXED.replace("router: r}", "router: s}"))
    assert "there is no router 's'" in said
    assert "nothing was changed: the last good configuration stays in use" in said
    assert "left to GOST" not in said


def test_policy_tests_warn_at_a_start_and_refuse_a_reload(topology: Topology, write: Write) -> None:
    text = example("server.yml")
    allow, deny = (
        f"tests:\n- {{from: host-1, to: 192.168.200.7, expect: {word}}}\n" for word in ("allow", "deny")
    )
    path = write("hub.yml", text + deny)
    hub = start_hub(topology.hub, "-C", path)
    line = text.count("\n") + 2
    hub.wait_line(rf"hub\.yml:{line}:\d+: policy test host-1 to 192\.168\.200\.7: it expects deny")
    assert "nothing is different" in reload(hub, path, text + allow)
    refused = reload(hub, path, text.replace("192.168.200.0/24", "192.168.201.0/24") + allow)
    assert "it expects allow, but the packet from " in refused
    assert " is dropped: no-route" in refused
    assert "nothing was changed" in refused
    assert "nothing is different" in reload(hub, path, text), "the routes are those of before"
