"""Hosts at two hubs with one sd: by datagrams from hub to hub, of ours and of a real GOST."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.test_metrics import get
from tests.e2e.test_plugins_grpc import start_plugin
from tests.support.load import transfer
from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Namespace, Process, Topology
from tests.support.program import (
    NAMESPACE_1,
    OVERLAY_1,
    OVERLAY_2,
    needs_gost,
    pings,
    reach,
    run,
    start_client,
    start_gost,
    start_hub,
    wait_for,
)

pytestmark = pytest.mark.usefixtures("no_traceback")

Write = Callable[[str, str], str]
OURS, THEIRS = "tunrouter", "GOST"
START = {OURS: start_hub, THEIRS: start_gost}
ENTRYPOINTS = {1: "127.0.0.1:8421", 2: "127.0.0.1:8422"}
HUB = """\
services:
  - name: hub-%(number)d
    addr: :%(port)d
    handler:
      type: router
      metadata: {router: r, sd: sd0, entrypoint: '%(entrypoint)s'%(more)s}
    listener: {type: tcp}
routers:
  - name: r
    routes: [{net: 192.168.123.1/32, gateway: host-1}, {net: 192.168.123.2/32, gateway: host-2}]
sds:
  - name: sd0
    plugin: %(plugin)s
"""
HTTP = "{type: http, addr: 'http://127.0.0.1:8002', token: geheim, timeout: 2s}"
GRPC = "{type: grpc, addr: '127.0.0.1:8001', token: geheim, timeout: 2s}"


def config(number: int, plugin: str = HTTP, more: str = "") -> str:
    """The configuration of one of two hubs; GOST reads it too."""
    fields = {"number": number, "port": 8442 + number, "entrypoint": ENTRYPOINTS[number]}
    return HUB % {**fields, "plugin": plugin, "more": more}


def start_sd(namespace: Namespace, **script: object) -> Process:
    sd = namespace.popen(sys.executable, "-m", "tests.support.http_sd", json.dumps(script))
    sd.wait_line("sd ready")
    return sd


def start_grpc_sd(namespace: Namespace) -> Process:
    return start_plugin(namespace, port=8001, token="geheim")


def host(number: int, hub: int, namespace: str = NAMESPACE_1) -> tuple[str, ...]:
    """A client that is a host at one of the hubs."""
    there = {1: HUB_TO_HOST_1, 2: HUB_TO_HOST_2}[number]
    listen = f"tun:///host-{number}?net=192.168.123.{number}/24"
    router_id = f"?router.id={namespace}" if namespace else ""
    return ("-L", listen, "-F", f"router://{there}:{8442 + hub}{router_id}")


def both_ways(topology: Topology) -> None:
    left, right = topology.host_1, topology.host_2
    reach(left, OVERLAY_2)
    assert pings(left, OVERLAY_2, 3) == 3
    assert pings(right, OVERLAY_1, 3) == 3
    assert pings(left, OVERLAY_2, 2, "-M", "do", "-s", "1392") == 2
    transfer(left, right, OVERLAY_2, 2)
    transfer(right, left, OVERLAY_1, 2)


@pytest.mark.parametrize(
    ("first", "second", "namespace"),
    [
        pytest.param(OURS, THEIRS, NAMESPACE_1, id="ours and GOST", marks=needs_gost),
        pytest.param(THEIRS, OURS, "", id="GOST and ours, no namespace", marks=needs_gost),
    ],
)
def test_a_mixed_pair_passes_packets_both_ways(
    topology: Topology, write: Write, first: str, second: str, namespace: str
) -> None:
    start_sd(topology.hub)
    hubs = [
        START[kind](topology.hub, "-C", write(f"hub-{number}.yml", config(number)))
        for number, kind in ((1, first), (2, second))
    ]
    start_client(topology.host_1, *host(1, 1, namespace))
    start_client(topology.host_2, *host(2, 2, namespace))
    both_ways(topology)
    assert [hub.returncode for hub in hubs] == [None, None]


@pytest.mark.parametrize(("plugin", "start"), [(HTTP, start_sd), (GRPC, start_grpc_sd)], ids=["HTTP", "gRPC"])
def test_two_hubs_and_what_is_seen_of_them(
    topology: Topology, write: Write, tmp_path: Path, plugin: str, start: Callable[[Namespace], Process]
) -> None:
    sd = start(topology.hub)
    controls = {number: str(tmp_path / f"{number}.sock") for number in (1, 2)}
    for number in (1, 2):
        text = config(number, plugin, ", entrypoint.allow: 127.0.0.1" if number == 1 else "")
        more = ("--metrics", "127.0.0.1:9100") if number == 1 else ()
        write_to = write(f"h{number}.yml", text)
        hub = start_hub(topology.hub, "-C", write_to, "--control", controls[number], *more)
        hub.wait_line("neither authenticated nor encrypted")
        start_client(getattr(topology, f"host_{number}"), *host(number, number))
    both_ways(topology)
    assert sd.text().count("Register" if plugin is GRPC else "asked POST") == 2
    status, said = run(
        "explain", "--control", controls[1], "--from", "host-1", "--ns", NAMESPACE_1, OVERLAY_2
    )
    assert f"goes to host-2 by hub at {ENTRYPOINTS[2]}, entrypoint" in said
    assert status == 0
    (row,) = json.loads(run("status", "--json", "--control", controls[1])[1])["entrypoints"]
    assert (row["sd"], row["address"], row["registered"], row["sessions"]) == ("sd0", ENTRYPOINTS[1], 1, 1)
    (far,) = row["hubs"]
    assert far["hub"] == ENTRYPOINTS[2]
    assert min(far["received_packets"], far["sent_packets"]) > 100
    assert not far["drops"]
    shown = run("status", "--control", controls[1])[1]
    assert f"entrypoint of hub-1 at {ENTRYPOINTS[1]}: sd sd0 knows 1 of 1 session" in shown
    assert ENTRYPOINTS[2] in shown
    assert f"(at hub {ENTRYPOINTS[2]})" in run("routes", "--control", controls[1])[1]
    metrics = get(topology.hub)[1]
    assert f'tunrouter_hub_sent_packets_total{{service="hub-1",hub="{ENTRYPOINTS[2]}"}} ' in metrics
    assert 'tunrouter_sd_sessions{service="hub-1",sd="sd0"} 1.0' in metrics
    junk = "import socket; socket.socket(2, 2).sendto(b'junk', ('127.0.0.1', 8421))"
    topology.hub.run(sys.executable, "-c", junk)
    wait_for(lambda: "bad-datagram" in run("drops", "--control", controls[1])[1])


def test_an_sd_that_is_away_slow_back_and_lies(topology: Topology, write: Write, tmp_path: Path) -> None:
    mode = tmp_path / "mode.json"
    control = str(tmp_path / "1.sock")
    hubs: list[Process] = []
    for number in (1, 2):
        more = ("--control", control) if number == 1 else ()
        hubs.append(start_hub(topology.hub, "-C", write(f"h{number}.yml", config(number)), *more))
        start_client(getattr(topology, f"host_{number}"), *host(number, number))
    assert not pings(topology.host_1, OVERLAY_2, 1, "-W0.5")
    wait_for(lambda: "sd-failed" in run("drops", "--control", control)[1])
    sd = start_sd(topology.hub, ttl=60, mode=str(mode))
    reach(topology.host_1, OVERLAY_2)
    mode.write_text('{"slow": 1.5}')
    assert pings(topology.host_1, OVERLAY_2, 12) == 12, "a slow answer costs nothing that is known"
    sd.stop(signal.SIGKILL)
    assert pings(topology.host_1, OVERLAY_2, 12) == 12, "nor does none"
    lie = {"id": "1", "name": "x", "node": "n", "network": "udp"}
    mode.write_text(
        json.dumps({"lies": [{**lie, "address": one} for one in ("224.0.0.1:9", "0.0.0.0:9", "x")]})
    )
    start_sd(topology.hub, ttl=60, mode=str(mode))
    wait_for(
        lambda: (
            not pings(topology.host_1, OVERLAY_2, 1, "-W0.5")
            and "no-session" in run("drops", "--control", control)[1]
        )
    )
    hubs[0].wait_line("is nowhere where it could be reached: .*224.0.0.1")
    mode.write_text(json.dumps({"body": "x" * 1_000_000}))
    assert not pings(topology.host_1, OVERLAY_2, 1, "-W0.5")
    mode.unlink()
    reach(topology.host_1, OVERLAY_2)
    assert pings(topology.host_2, OVERLAY_1, 3) == 3


def test_a_host_that_moves_to_the_other_hub_is_followed(topology: Topology, write: Write) -> None:
    start_sd(topology.hub)
    for number in (1, 2):
        start_hub(topology.hub, "-C", write(f"h{number}.yml", config(number)))
    start_client(topology.host_1, *host(1, 1))
    moving = start_client(topology.host_2, *host(2, 2))
    reach(topology.host_1, OVERLAY_2)
    moving.stop()
    moving = start_client(topology.host_2, *host(2, 1))
    reach(topology.host_1, OVERLAY_2)
    assert pings(topology.host_1, OVERLAY_2, 3) == 3, "both are at one hub"
    moving.stop()
    start_client(topology.host_2, *host(2, 2))
    reach(topology.host_1, OVERLAY_2)
    assert pings(topology.host_2, OVERLAY_1, 3) == 3
