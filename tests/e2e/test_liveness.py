"""Dead paths, failover and home again, drains: who notices, how fast, and what is lost."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable

import pytest

from tests.support.load import iperf3
from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Namespace, Process, Topology
from tests.support.program import (
    OVERLAY_1,
    OVERLAY_2,
    example,
    host,
    needs_gost,
    pings,
    reach,
    start_client,
    start_gost,
    start_hub,
)

pytestmark = pytest.mark.usefixtures("no_traceback")

Write = Callable[[str, str], str]
BOTH_WAYS = (
    "table inet t { chain i { type filter hook prerouting priority 0; iifname to-host-1 drop; };"
    " chain o { type filter hook output priority 0; oifname to-host-1 drop; }; }"
)


def hub_config(port: int = 8443, metadata: str = "") -> str:
    text = example("server.yml").replace(":8443", f":{port}")
    return text.replace("router: router-0", f"router: router-0{metadata}", 1)


def keepalive(seconds: int) -> str:
    return f"\n        keepalive.timeout: {seconds}s"


def silence(topology: Topology) -> float:
    """No packet passes between hub and host-1 any more; nobody is told."""
    topology.hub.run("nft", BOTH_WAYS)
    return time.monotonic()


def test_a_dead_path_is_noticed_by_both_sides(topology: Topology, write: Write) -> None:
    hub = start_hub(topology.hub, "-C", write("hub.yml", hub_config(metadata=keepalive(3))))
    client = start_client(topology.host_1, *host(1, HUB_TO_HOST_1, extra="&keepalive.timeout=3s"))
    since = silence(topology)
    hub.wait_line("left: (nothing heard for 3 s|Connection timed out)", timeout=10)
    client.wait_line("(nothing heard for 3 s|Connection timed out); trying again", timeout=10)
    assert time.monotonic() - since < 10
    topology.hub.run("nft", "flush ruleset")
    client.wait_line("connected to", after=3)


def test_keepalive_over_wss_too(topology: Topology, write: Write) -> None:
    text = hub_config(metadata=keepalive(3)).replace("type: tcp", "type: wss")
    hub = start_hub(topology.hub, "-C", write("hub.yml", text))
    words = [word.replace("router://", "router+wss://") for word in host(1, HUB_TO_HOST_1)]
    start_client(topology.host_1, *words)
    silence(topology)
    hub.wait_line("left: (nothing heard for 3 s|Connection timed out)", timeout=10)


@needs_gost
def test_a_gost_client_that_is_cut_off_is_noticed(topology: Topology, write: Write) -> None:
    hub = start_hub(topology.hub, "-C", write("hub.yml", hub_config(metadata=keepalive(3))))
    start_gost(topology.host_1, *host(1, HUB_TO_HOST_1))
    hub.wait_line("is host host-1")
    since = silence(topology)
    hub.wait_line("left: Connection timed out", timeout=12)
    assert time.monotonic() - since < 10


@needs_gost
def test_a_gost_hub_that_is_cut_off_is_noticed(topology: Topology, write: Write) -> None:
    start_gost(topology.hub, "-C", write("hub.yml", example("server.yml")))
    client = start_client(topology.host_1, *host(1, HUB_TO_HOST_1, extra="&keepalive.timeout=3s"))
    silence(topology)
    client.wait_line("Connection timed out; trying again", timeout=12)


@needs_gost
def test_websocket_pings_to_a_gost_hub(topology: Topology, write: Write) -> None:
    start_gost(topology.hub, "-C", write("hub.yml", hub_config().replace("type: tcp", "type: ws")))
    words = [word.replace("router://", "router+ws://") for word in host(1, HUB_TO_HOST_1)]
    words[-1] += "?keepalive=true&ttl=1s"
    client = start_client(topology.host_1, *words)
    time.sleep(4)  # pings are answered meanwhile, or it would have ended
    assert "trying again" not in client.text()
    silence(topology)
    client.wait_line("no pong within 2 s; trying again", timeout=12)


# --- several hubs ---------------------------------------------------------------------------------


def two_nodes(number: int, hub: str, strategy: str) -> tuple[str, ...]:
    words = [word.replace(":8443", f":8443,{hub}:8444") for word in host(number, hub)]
    return (*words[:-1], f"{words[-1]}?strategy={strategy}&failTimeout=2s")


@pytest.fixture
def hubs(topology: Topology, write: Write) -> Callable[[int], Process]:
    def start(port: int) -> Process:
        return start_hub(topology.hub, "-C", write(f"hub-{port}.yml", hub_config(port)))

    return start


def test_fail_over_and_home_again(topology: Topology, hubs: Callable[[int], Process]) -> None:
    home, other = hubs(8443), hubs(8444)
    client = start_client(topology.host_1, *two_nodes(1, HUB_TO_HOST_1, "fifo"))
    client.wait_line("connected to 10.77.1.1:8443")
    home.stop(signal.SIGKILL)
    client.wait_line("connected to 10.77.1.1:8444")
    before = client.line_count()
    hubs(8443)
    client.wait_line("connected to 10.77.1.1:8443", timeout=10, after=before)
    other.wait_line("left: closed by the client")
    assert "asks for another session" not in client.text()


@pytest.mark.alone
def test_the_next_session_is_up_before_a_drained_hub_goes(
    topology: Topology, hubs: Callable[[int], Process]
) -> None:
    """Both hosts move to the other hub; not one ping in a hundred a second is lost."""
    home, other = hubs(8443), hubs(8444)
    clients = [
        start_client(topology.host_1, *two_nodes(1, HUB_TO_HOST_1, "fifo")),
        start_client(topology.host_2, *two_nodes(2, HUB_TO_HOST_2, "fifo")),
    ]
    reach(topology.host_1, OVERLAY_2)
    ended = time.monotonic()
    assert home.stop(signal.SIGTERM) == 0
    assert time.monotonic() - ended < 3
    for number, client in enumerate(clients, 1):
        client.wait_line("asks for another session")
        client.wait_line(f"connected to 10.77.{number}.1:8444")
        assert "trying again" not in client.text()
    reach(topology.host_1, OVERLAY_2)
    for name in ("host-1", "host-2"):
        other.wait_line(f"is host {name}")
    when = {
        what: min(re.findall(rf"(\S+ \S+) .*{what}", process.text()))
        for process, what in ((other, "is host host-1"), (home, "host-1\\) left"))
    }
    assert when["is host host-1"] <= when["host-1\\) left"]


def test_a_hub_whose_clients_have_nowhere_to_go_ends_at_once(
    topology: Topology, hubs: Callable[[int], Process]
) -> None:
    home = hubs(8443)
    client = start_client(topology.host_1, *host(1, HUB_TO_HOST_1))
    reach(topology.host_1, OVERLAY_1)
    started = time.monotonic()
    home.stop(signal.SIGTERM)
    assert time.monotonic() - started < 2
    client.wait_line("closed by the hub; trying again")


def test_a_drain_flushes_queues(topology: Topology, hubs: Callable[[int], Process]) -> None:
    """Under full load a hub that is told to end does so within its drain timeout."""
    home = hubs(8443)
    for number, namespace, hub in ((1, topology.host_1, HUB_TO_HOST_1), (2, topology.host_2, HUB_TO_HOST_2)):
        start_client(namespace, *host(number, hub))
    reach(topology.host_1, OVERLAY_2)
    assert iperf3(topology.host_1, topology.host_2, OVERLAY_2) > 1 << 20
    assert home.stop(signal.SIGTERM, timeout=7) == 0


def test_hash_sends_each_host_to_its_own_hub(
    topology: Topology, hubs: Callable[[int], Process], more_hosts: list[Namespace]
) -> None:
    first, second = hubs(8443), hubs(8444)
    for number in (1, 2, 3, 4):
        namespace = {1: topology.host_1, 2: topology.host_2}.get(number) or more_hosts[number - 3]
        start_client(namespace, *two_nodes(number, f"10.77.{number}.1", "hash"))
    until = time.monotonic() + 30
    while sum(counts := [len(re.findall("is host", hub.text())) for hub in (first, second)]) < 4:
        assert time.monotonic() < until
    assert all(counts)


def test_pings_go_on_with_superpackets_off(topology: Topology, write: Write) -> None:
    """Keepalive does not hang on superpackets."""
    text = hub_config(metadata=keepalive(3) + "\n        superpackets: off")
    hub = start_hub(topology.hub, "-C", write("hub.yml", text))
    start_client(topology.host_1, *host(1, HUB_TO_HOST_1))
    start_client(topology.host_2, *host(2, HUB_TO_HOST_2))
    reach(topology.host_1, OVERLAY_2)
    assert pings(topology.host_1, OVERLAY_2, 40) == 40, "for longer than the hub waits"
    silence(topology)
    hub.wait_line("left: (nothing heard for 3 s|Connection timed out)", timeout=10)
