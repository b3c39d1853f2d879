"""Limits on real traffic and real connections."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.load import iperf3_rate, transfer
from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Namespace, Topology, in_namespace
from tests.support.program import (
    OVERLAY_1,
    OVERLAY_2,
    example,
    host,
    pings,
    reach,
    start_client,
    start_gost,
    start_hub,
)
from tests.support.program import needs_gost as gost_needed

pytestmark = pytest.mark.usefixtures("no_traceback")

Write = Callable[[str, str], str]


def config(service: str = "", handler: str = "", more: str = "") -> str:
    text = example("server.yml")
    if service:
        text = text.replace("    handler:\n", f"    {service}\n    handler:\n", 1)
    if handler:
        text = text.replace("      type: router\n", f"      type: router\n      {handler}\n", 1)
    return text + more


def both(topology: Topology) -> None:
    start_client(topology.host_1, *host(1, HUB_TO_HOST_1))
    start_client(topology.host_2, *host(2, HUB_TO_HOST_2))
    reach(topology.host_1, OVERLAY_2)


def bandwidth(topology: Topology) -> float:
    """MB a second of one TCP stream from host-1 to host-2, over a second; a limiter's burst is a tenth of that."""
    return iperf3_rate(topology.host_1, topology.host_2, OVERLAY_2, "-t", "1") / (1 << 20)


LIMITERS = "limiters: [{name: l, limits: [%s]}]\n"
LIMITED = (
    ("handler", "host-1 4MB 100MB", 4),  # in from a host
    ("handler", "host-2 100MB 4MB", 4),  # out to a host
    ("handler", "$ 4MB", 4),  # a namespace
    ("service", "$$ 4MB", 4),  # each connection
    ("handler", "$$ 4000pps", 5.4),  # packets a second: those before the reload are no debt
)
"""Where a limiter is named, its line, and the rate that it means in MB/s."""


@pytest.mark.alone
def test_traffic_keeps_its_limit_and_is_whole(topology: Topology, write: Write) -> None:
    """Each limit comes by a reload, and holds for the sessions that there are."""
    path = write("hub.yml", config())
    hub = start_hub(topology.hub, "-C", path)
    both(topology)

    def limited(where: str, line: str) -> float:
        after = hub.line_count()
        Path(path).write_text(config(**{where: "limiter: l"}, more=LIMITERS % f"'{line}'"))
        hub.send(signal.SIGHUP)
        hub.wait_line("reload: done", after=after)
        return bandwidth(topology)

    for where, line, rate in LIMITED:
        got = limited(where, line)
        assert 0.5 * rate < got < 1.25 * rate, line
        assert pings(topology.host_1, OVERLAY_2, 3) == 3, line
        transfer(topology.host_1, topology.host_2, OVERLAY_2, 2)
    assert limited("handler", "$$ 100MB") > 6
    assert hub.text().count("is host host-1") == 1


def test_a_very_low_limit_does_not_look_like_death(topology: Topology, write: Write) -> None:
    """What waits for its turn, on the way in or out, holds up signs of life for less than the time that means death."""
    text = config(handler="limiter: l", more=LIMITERS % "'host-1 80KB 80KB'")
    text = text.replace("router: router-0", "router: router-0\n        keepalive.timeout: 4s", 1)
    hub = start_hub(topology.hub, "-C", write("hub.yml", text))
    clients = [
        start_client(topology.host_1, *host(1, HUB_TO_HOST_1, extra="&keepalive.timeout=4s")),
        start_client(topology.host_2, *host(2, HUB_TO_HOST_2, extra="&keepalive.timeout=4s")),
    ]
    reach(topology.host_1, OVERLAY_2)
    floods = [
        namespace.popen("ping", "-f", "-q", "-w", "6", "-s", "1300", address)
        for namespace, address in ((topology.host_1, OVERLAY_2), (topology.host_2, OVERLAY_1))
    ]
    for flood in floods:
        flood.wait(20)
    assert "left: " not in hub.text()
    assert all("trying again" not in client.text() for client in clients)


@pytest.mark.alone
@gost_needed
def test_gost_s_clients_are_limited_too(topology: Topology, write: Write) -> None:
    text = config(handler="limiter: l", more=LIMITERS % "'$$ 4MB'")
    start_hub(topology.hub, "-C", write("hub.yml", text))
    start_gost(topology.host_1, *host(1, HUB_TO_HOST_1))
    start_gost(topology.host_2, *host(2, HUB_TO_HOST_2))
    reach(topology.host_1, OVERLAY_2)
    assert 2 < bandwidth(topology) < 5


# --- connections ----------------------------------------------------------------------------------


def connections(namespace: Namespace, count: int) -> list[socket.socket]:
    """Connections to the hub that say nothing."""
    made = []
    for _ in range(count):
        with in_namespace(namespace.name):
            sock = socket.socket()
        sock.settimeout(3)
        sock.connect((HUB_TO_HOST_1 if namespace.role == "host-1" else HUB_TO_HOST_2, 8443))
        made.append(sock)
    return made


def closed(sockets: list[socket.socket], expected: int, seconds: float = 3.0) -> int:
    """How many the hub has closed, once it is as many as expected."""
    until = time.monotonic() + seconds
    ended: set[socket.socket] = set()
    while time.monotonic() < until and len(ended) < expected:
        for sock in sockets:
            sock.settimeout(0.01)
            try:
                if sock not in ended and not sock.recv(1):
                    ended.add(sock)
            except TimeoutError:
                pass
            except OSError:
                ended.add(sock)
    return len(ended)


def test_connections_in_all_and_of_each_address(topology: Topology, write: Write) -> None:
    text = config(service="climiter: c", more="climiters: [{name: c, limits: ['$ 6', '$$ 4']}]\n")
    hub = start_hub(topology.hub, "-C", write("hub.yml", text))
    first = connections(topology.host_1, 6)
    assert closed(first, 2) == 2
    second = connections(topology.host_2, 3)
    assert closed(second, 1) == 1
    hub.wait_line("more connections than the climiter allows")
    for sock in (*first, *second):
        sock.close()
    both(topology)
    assert pings(topology.host_1, OVERLAY_2) == 5
    hub.send(signal.SIGUSR1)
    hub.wait_line("refused 3 connections")


def test_connections_of_each_address_where_nothing_is_said(topology: Topology, write: Write) -> None:
    """One address cannot keep others out, and there is no need to say so."""
    text = config(service="rlimiter: r", more="rlimiters: [{name: r, limits: ['$ 60000']}]\n")
    hub = start_hub(topology.hub, "-C", write("hub.yml", text))
    first = connections(topology.host_1, 300)
    assert closed(first, 44) == 44, "256 stay"
    hub.wait_line("more connections than the climiter allows")
    start_client(topology.host_2, *host(2, HUB_TO_HOST_2))
    for sock in first:
        sock.close()


def test_handshakes_a_second(topology: Topology, write: Write) -> None:
    text = config(service="rlimiter: r", more="rlimiters: [{name: r, limits: ['$$ 5']}]\n")
    hub = start_hub(topology.hub, "-C", write("hub.yml", text))
    start_client(topology.host_2, *host(2, HUB_TO_HOST_2))
    made = connections(topology.host_1, 40)
    assert closed(made, 25) >= 25
    hub.wait_line("more handshakes a second than the rlimiter allows")
    assert hub.text().count("more handshakes") < 12
    assert pings(topology.host_2, OVERLAY_1, 1) == 0  # nobody is there, and nobody suffers
    for sock in made:
        sock.close()


# --- one slow receiver ----------------------------------------------------------------------------

WIRE = 10
"""Mbit/s of the slow wire. At this rate the bounds below are far from what a busy machine needs."""
TBF = f"tc qdisc add dev to-host-2 root tbf rate {WIRE}mbit burst 8kb latency 50ms".split()


def ping_times(namespace: Namespace, address: str, count: int) -> list[float]:
    """Milliseconds of pings, 20 a second, sorted."""
    said = namespace.run("ping", "-c", str(count), "-i", "0.05", "-W", "2", address, check=False, timeout=60)
    return sorted(
        float(line.partition("time=")[2].split()[0]) for line in said.splitlines() if "time=" in line
    )


@pytest.mark.alone
def test_a_ping_does_not_wait_behind_a_download(topology: Topology, write: Write) -> None:
    """The hub's link to host-2, filled by one stream: flows are served in turn.

    Before a ping are 4 ms of what the kernel holds, 3 ms of another flow's turn and two packets in the qdisc: 10 ms
    in all. Where the kernel held as much as for a fast peer, at any rate, it was 26 ms at 20 Mbit/s. A busy machine
    delays some pings by as much as it likes, but not half of them by 15 ms.
    """
    start_hub(topology.hub, "-C", write("hub.yml", config()))
    both(topology)
    topology.hub.run(*TBF)
    idle = ping_times(topology.host_1, OVERLAY_2, 20)
    server = topology.host_2.popen("iperf3", "-s", "-1", "--forceflush")
    server.wait_line("Server listening")
    stream = topology.host_1.popen("iperf3", "-c", OVERLAY_2, "-t", "4", "-J")
    server.wait_line(r"-1\.\d+ +sec")  # the stream has found its rate
    busy = ping_times(topology.host_1, OVERLAY_2, 50)
    stream.wait(30)
    rate = json.loads(stream.text())["end"]["sum_received"]["bits_per_second"] / 1e6
    added = [time - idle[len(idle) // 2] for time in busy]
    middle, most = added[len(added) // 2], added[len(added) * 3 // 4]
    print(f"added p50 {middle:.1f} p75 {most:.1f} ms by {len(busy)} pings; {rate:.1f} Mbit/s")
    assert len(busy) > 40
    assert middle < 25
    assert most < 50
    assert rate > 0.85 * WIRE
