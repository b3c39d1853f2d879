"""A router plugin over HTTP: asked off the packet path, once, and never in anybody's way."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import pytest

from tests.support.load import PORT, collect, udp, waiting
from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Process, Topology
from tests.support.program import (
    NAMESPACE_1,
    NAMESPACE_2,
    OVERLAY_1,
    OVERLAY_2,
    drops,
    host,
    pings,
    start_client,
    start_hub,
    start_plugin,
    total,
)

pytestmark = pytest.mark.usefixtures("no_traceback")

Write = Callable[[str, str], str]

SLOW = "192.168.123.22"
"""Another address of host-2; what the plugin says of it, and when, is up to the test."""
ROUTES = {OVERLAY_1: "host-1", OVERLAY_2: "host-2", SLOW: "host-2"}
BURST = 20
"""Packets that may wait for one destination."""
MANY = 120
"""Packets of which not all may wait."""

HUB = """\
services:
  - name: service-0
    addr: :8443
    handler: {type: router, metadata: {router: router-0, router.cache: true, router.cache.expiration: EXPIRATION}}
    listener: {type: tcp}
routers:
  - name: router-0
    plugin: {type: http, addr: "127.0.0.1:8000", timeout: 5s}
"""


def bring_up(topology: Topology, write: Write, expiration: str = "60s", namespace: str = "") -> Process:
    """A hub that asks the plugin for everything, host-1, and host-2 with two addresses."""
    hub = start_hub(topology.hub, "-C", write("server.yml", HUB.replace("EXPIRATION", expiration)))
    start_client(topology.host_1, *host(1, HUB_TO_HOST_1, namespace))
    start_client(topology.host_2, *host(2, HUB_TO_HOST_2, namespace))
    topology.host_2.run("ip", "addr", "add", f"{SLOW}/32", "dev", "lo")
    return hub


def asked(plugin: Process, destination: str) -> int:
    return sum(line.startswith(f"asked {destination} ") for line in plugin.text().splitlines())


def test_one_request_while_many_packets_wait(topology: Topology, write: Write) -> None:
    plugin = start_plugin(topology.hub, routes={"*": ROUTES}, held=[SLOW])
    hub = bring_up(topology, write)
    with udp(topology.host_1, OVERLAY_1) as out, udp(topology.host_2, SLOW, PORT) as receiver:
        for number in range(BURST):
            out.sendto(b"%d" % number, (SLOW, PORT))
        plugin.wait_line(f"^asked {SLOW} ")
        # all of them have reached the hub when a later packet of host-1 has been answered
        assert pings(topology.host_1, OVERLAY_2) == 5
        assert waiting(receiver) == []
        plugin.send(signal.SIGUSR1)
        out.sendto(b"end", (SLOW, PORT))
        received = [receiver.recv(2048) for _ in range(BURST)]
        assert received == [b"%d" % number for number in range(BURST)], "in order, none lost"
        assert receiver.recv(2048) == b"end"
    assert asked(plugin, SLOW) == 1
    drops(hub, lambda counts: not counts)


def test_too_many_packets_wait(topology: Topology, write: Write) -> None:
    plugin = start_plugin(topology.hub, routes={"*": ROUTES}, held=[SLOW])
    hub = bring_up(topology, write)
    with udp(topology.host_2, SLOW, PORT) as receiver:
        for _ in range(MANY):  # each a flow of its own, so that no two share a frame
            with udp(topology.host_1, OVERLAY_1) as out:
                out.sendto(b"many", (SLOW, PORT))
        plugin.wait_line(f"^asked {SLOW} ")
        drops(hub, lambda counts: total(counts, "resolve-queue") > 0)
        assert pings(topology.host_1, OVERLAY_2) == 5
        plugin.send(signal.SIGUSR1)
        assert receiver.recv(2048) == b"many"
        with udp(topology.host_1, OVERLAY_1) as out:
            out.sendto(b"end", (SLOW, PORT))
        arrived = 1 + len(collect(receiver, b"end"))
    drops(hub, lambda counts: total(counts, "resolve-queue") + arrived == MANY)
    assert asked(plugin, SLOW) == 1


def test_slow_plugin_delays_no_other_destination(topology: Topology, write: Write) -> None:
    plugin = start_plugin(topology.hub, routes={"*": ROUTES}, held=[SLOW])
    bring_up(topology, write)
    waits = topology.host_1.popen("ping", "-c1", "-W10", SLOW)
    plugin.wait_line(f"^asked {SLOW} ")
    assert pings(topology.host_1, OVERLAY_2) == 5
    assert pings(topology.host_2, OVERLAY_1) == 5
    assert waits.returncode is None
    plugin.send(signal.SIGUSR1)
    waits.wait_line(" 1 received")


def test_answer_is_kept_as_long_as_configured(topology: Topology, write: Write) -> None:
    plugin = start_plugin(topology.hub, routes={"*": ROUTES})
    bring_up(topology, write, "60s")
    assert pings(topology.host_1, OVERLAY_2, 20) == 20
    assert (asked(plugin, OVERLAY_1), asked(plugin, OVERLAY_2)) == (1, 1)


def test_answer_is_asked_for_again_after_its_time(topology: Topology, write: Write) -> None:
    plugin = start_plugin(topology.hub, routes={"*": ROUTES})
    bring_up(topology, write, "300ms")
    began = time.monotonic()
    assert pings(topology.host_1, OVERLAY_2, 20) == 20  # over 1.9 s
    assert 3 <= asked(plugin, OVERLAY_2) <= 2 + (time.monotonic() - began) / 0.3


def test_answers_are_kept_by_namespace(topology: Topology, write: Write) -> None:
    """What the plugin says for one namespace never counts in another."""
    plugin = start_plugin(topology.hub, routes={NAMESPACE_1: ROUTES, NAMESPACE_2: {OVERLAY_2: "host-2"}})
    hub = bring_up(topology, write, namespace=NAMESPACE_1)
    start_client(topology.host_1, "-L", "tun:///host-1?net=192.168.124.1/24&route=192.168.123.99/32", "-F",
                 f"router://{HUB_TO_HOST_1}:8443?router.id={NAMESPACE_2}")  # fmt: skip
    assert pings(topology.host_1, OVERLAY_2) == 5
    assert pings(topology.host_1, "192.168.123.99") == 0  # by the other device: its source has no route there
    drops(hub, lambda counts: counts == {(NAMESPACE_2, "host-1", "wrong-source"): 5})
    plugin.wait_line(f"^asked 192.168.124.1 {NAMESPACE_2}$")


def test_no_route_is_an_answer(topology: Topology, write: Write) -> None:
    plugin = start_plugin(topology.hub, routes={"*": {OVERLAY_1: "host-1", OVERLAY_2: "host-2"}})
    hub = bring_up(topology, write)
    assert pings(topology.host_1, SLOW) == 0
    drops(hub, lambda counts: total(counts, "no-route") == 5)
    assert asked(plugin, SLOW) == 1


@pytest.mark.parametrize("how", ["status 500", "not there"])
def test_failing_plugin_costs_only_its_packets(topology: Topology, write: Write, how: str) -> None:
    plugin = start_plugin(topology.hub, routes={"*": ROUTES}, failing=[SLOW])
    hub = bring_up(topology, write)
    assert pings(topology.host_1, OVERLAY_2) == 5
    if how == "not there":
        plugin.stop(signal.SIGKILL)
    assert pings(topology.host_1, SLOW) == 0
    drops(hub, lambda counts: total(counts, "router-failed") == 5)
    assert pings(topology.host_1, OVERLAY_2) == 5, "its answers of before still count"
    hub.wait_line(f"router plugin: {SLOW}: ")
