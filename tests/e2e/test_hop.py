"""A hub with an address of its own, as ping, traceroute, tracepath, curl and iperf3 see it."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lib.service_slice import LONG_SECONDS, SHORT_SECONDS
from tests.support.load import iperf3, transfer, udp
from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Namespace, Process, Topology, connect
from tests.support.program import (
    OVERLAY_1,
    OVERLAY_2,
    drops,
    example,
    pings,
    program_pid,
    reach,
    start_client,
    start_hub,
    wait_for,
)

pytestmark = [pytest.mark.needs_root, pytest.mark.usefixtures("no_traceback")]

Write = Callable[[str, str], str]
HUB, HUB6 = "192.168.123.254", "fd00:123::ff"
SIX_1, SIX_2 = "fd00:123::1", "fd00:123::2"
LAN, SERVER = "192.168.200.0/24", "192.168.200.1"


def hub_text() -> str:
    """The example with addresses of the hub, and IPv6 addresses of the hosts."""
    routes = f"""    address: [{HUB}/24, "{HUB6}/64"]
    routes:
      - {{dst: {SIX_1}, gateway: host-1}}
      - {{dst: {SIX_2}, gateway: host-2}}
"""
    return example("server.yml").replace("    routes:\n", routes)


def client(namespace: Namespace, number: int, mtu: int = 1420) -> Process:
    hub, lan = ((HUB_TO_HOST_1, f"&route={LAN}"), (HUB_TO_HOST_2, ""))[number - 1]
    net = f"192.168.123.{number}/24,fd00:123::{number}/64"
    return start_client(
        namespace, "-L", f"tun:///host-{number}?net={net}&mtu={mtu}{lan}", "-F", f"router://{hub}:8443"
    )


def hops(said: str) -> list[str]:
    """Who a traceroute names at each hop: one address where all probes had their reply from it."""
    found = [line.split() for line in said.splitlines()[1:]]
    return [words[1] if "*" not in words and "ms" in words else " ".join(words) for words in found]


def test_it_is_a_hop_and_answers_for_itself(topology: Topology, write: Write) -> None:
    hub = start_hub(topology.hub, "-C", write("hub.yml", hub_text()))
    one, two = topology.host_1, topology.host_2
    client(one, 1)
    client(two, 2, 1400)
    reach(one, OVERLAY_2)
    reach(one, SIX_2)

    for address in (HUB, HUB6):
        assert pings(one, address, 3) == 3
        assert pings(one, address, 1, "-s", "9000") == 1, "in fragments"
    for address, speaker in ((OVERLAY_2, HUB), (SIX_2, HUB6)):
        said = one.run("ping", "-c1", "-W2", "-t1", address, check=False)
        assert re.search(rf"From {speaker}:? icmp_seq=1 Time (to live )?exceeded", said), said

    for how in ("-I", "-U", "-T"):
        said = one.run("traceroute", "-n", "-w2", how, OVERLAY_2)
        assert hops(said) == [HUB, OVERLAY_2], said
    said = one.run("traceroute", "-6", "-n", "-w2", "-U", SIX_2)
    assert hops(said) == [HUB6, SIX_2], said
    for how in ("-I", "-U", "-T"):
        said = one.run("traceroute", "-n", "-w2", how, HUB)
        assert hops(said) == [HUB], said
    said = one.run("tracepath", "-n", OVERLAY_2)
    assert re.search(rf"^ 1: +{re.escape(HUB)} ", said, re.MULTILINE), said
    assert re.search(rf"^ 2: +{re.escape(OVERLAY_2)} .*reached", said, re.MULTILINE), said
    assert "pmtu 1400" in said, "the hub has said it"

    began = time.monotonic()
    said = one.run("curl", "-s", "-m25", "-w", "%{exitcode}", f"http://{HUB}/", check=False)
    assert said == "7", "refused"
    assert time.monotonic() - began < 15
    with udp(one, "") as asking:
        asking.connect((HUB, 53))
        asking.send(b"x")
        with pytest.raises(ConnectionRefusedError):
            asking.recv(100)

    assert iperf3(one, two, OVERLAY_2) > 1 << 20
    assert iperf3(two, one, OVERLAY_1) > 1 << 20
    said = two.run("ping", "-c1", "-W2", OVERLAY_1)
    assert "ttl=63" in said
    seen = {"for-hub", "hop-limit", "too-big", "multicast"}
    drops(hub, lambda counts: {"for-hub", "hop-limit"} <= {reason for _, _, reason in counts} <= seen)


def time_slice(process: Process) -> float:
    """What a process has asked the scheduler for, in seconds."""
    said = Path(f"/proc/{program_pid(process)}/sched").read_text()
    found = re.search(r"se\.slice\s*:\s*(\d+)", said)
    return int(found[1]) / 1e9 if found else 0.0


@pytest.mark.skipif(
    tuple(map(int, re.findall(r"\d+", os.uname().release)[:2])) < (6, 12)
    or not Path("/proc/self/sched").exists(),
    reason="this kernel has no slices of single processes, or does not show them",
)
def test_who_replies_and_who_asks_do_not_wait_long_for_a_processor(topology: Topology, write: Write) -> None:
    hub = start_hub(topology.hub, "-C", write("hub.yml", hub_text()))
    host = client(topology.host_1, 1)
    wait_for(lambda: time_slice(hub) == pytest.approx(LONG_SECONDS))
    assert pings(topology.host_1, HUB, 1) == 1
    assert time_slice(hub) == pytest.approx(LONG_SECONDS), "a ping is nobody who waits"
    asking = topology.host_1.popen("ping", "-n", "-i", "0.002", "-c", "600", HUB)
    wait_for(lambda: time_slice(hub) < LONG_SECONDS)
    assert time_slice(host) == pytest.approx(SHORT_SECONDS)
    asking.stop()
    wait_for(lambda: time_slice(hub) == pytest.approx(LONG_SECONDS))


@pytest.fixture
def server(topology: Topology, tmp_path: Path) -> Iterator[Namespace]:
    """A computer behind host-2, on a network with an MTU of 1500; ICMP errors reach nobody."""
    with Namespace("server", tmp_path) as server:
        connect(topology.host_2, "lan", "192.168.200.2/24", server, "wire", f"{SERVER}/24")
        topology.host_2.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        server.run("ip", "route", "add", "default", "via", "192.168.200.2")
        for namespace in (topology.host_1, topology.host_2, server):
            namespace.run("nft", "add table inet deaf")
            for hook in ("input", "forward"):
                chain = f"{{ type filter hook {hook} priority 0; }}"
                namespace.run("nft", f"add chain inet deaf {hook} {chain}")
                rule = "icmp type { destination-unreachable, time-exceeded, parameter-problem } drop"
                namespace.run("nft", f"add rule inet deaf {hook} {rule}")
        yield server


MTUS = [(1420, 1420), (9000, 1400), (1280, 9000), (9000, 576), (65521, 1420)]


def test_no_connection_hangs_whatever_the_mtus_are(
    topology: Topology, write: Write, server: Namespace
) -> None:
    """Nobody hears that a packet was too big, so only the MSS can keep them small enough."""
    hub = start_hub(topology.hub, "-C", write("hub.yml", hub_text()))
    one, two = topology.host_1, topology.host_2
    for here, there in MTUS:
        clients = [
            start_client(
                namespace, "-L", f"tun:///host-{number}?net=192.168.123.{number}/24&mtu={mtu}{more}",
                "-F", f"router://{address}:8443",
            )
            for namespace, number, mtu, more, address in (
                (one, 1, here, f"&route={LAN}", HUB_TO_HOST_1),
                (two, 2, there, "", HUB_TO_HOST_2),
            )
        ]  # fmt: skip
        reach(one, SERVER)
        transfer(one, server, SERVER, 2)
        transfer(server, one, OVERLAY_1, 2)
        transfer(two, one, OVERLAY_1, 2)
        for process in clients:
            process.stop()
    drops(hub, lambda counts: not {reason for _, _, reason in counts} - {"multicast", "no-session"})
