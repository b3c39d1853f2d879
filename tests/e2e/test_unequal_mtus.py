"""Hosts whose devices have different MTUs: what is too long for one of them comes in fragments, or its sender is told."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lib.packet_fragment import fragments
from lib.tun import TunDevice
from tests.support import packets as p
from tests.support.devices import device, settings
from tests.support.load import transfer, udp
from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Namespace, Topology, connect
from tests.support.program import OVERLAY_2, drops, example, host, pings, reach, start_client, start_hub

pytestmark = pytest.mark.needs_root

Write = Callable[[str, str], str]
A, B = "10.88.0.2", "10.88.0.1"
IP_MTU_DISCOVER, IP_PMTUDISC_DONT = 10, 0  # linux/in.h
SECURITY = bytes((130, 11)) + bytes(9) + b"\0"
RECORD_ROUTE = bytes((7, 11, 4)) + bytes(9)


# --- the kernel puts together what we cut ---------------------------------------------------------------


@pytest.fixture
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TunDevice, socket.socket]]:
    """A device to write fragments to, and the socket that gets the datagrams."""
    with (
        Namespace("reassembles", tmp_path_factory.mktemp("reassembles")) as namespace,
        device(namespace, settings(f"{B}/24")) as tun,
        udp(namespace, B, 5000) as found,
    ):
        yield tun, found


def test_the_kernel_puts_every_datagram_together(receiver: tuple[TunDevice, socket.socket]) -> None:
    """Of any size, with options, cut once or twice, in order or not."""
    tun, found = receiver
    dice = random.Random(1)
    cases: list[tuple[int, int, bytes, int]] = [
        (size, mtu, options, again)
        for size in (1, 40, 553, 1400, 3000, 8972, 65000)
        for mtu, again in ((1400, 0), (576, 0), (68 if size < 9000 else 300, 0), (9000, 777))
        for options in (b"", SECURITY, RECORD_ROUTE, RECORD_ROUTE + SECURITY)
    ]
    for number, (size, mtu, options, again) in enumerate(cases):
        payload = dice.randbytes(size)
        plain = p.udp(A, B, payload)
        packet = p.ip(A, B, p.UDP, plain[20:], identity=number, options=options)
        parts = fragments(packet, mtu)
        if again:
            parts = [smaller for part in parts for smaller in fragments(part, again)]
        if number % 2:
            dice.shuffle(parts)
        for part in parts:
            os.write(tun.fd, p.headed(part))
        assert found.recv(70000) == payload, f"{size} bytes, MTU {mtu}, {len(options)} bytes of options"


# --- what a user sees -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_traceback")
@pytest.mark.parametrize("superpackets", ["", "\n        superpackets: off"], ids=["superpackets", "without"])
def test_a_host_of_mtu_9000_and_one_of_mtu_1400_reach_each_other(
    topology: Topology, write: Write, superpackets: str
) -> None:
    text = example("server.yml").replace("router: router-0", f"router: router-0{superpackets}")
    hub = start_hub(topology.hub, "-C", write("server.yml", text))
    one, two = topology.host_1, topology.host_2
    start_client(one, *host(1, HUB_TO_HOST_1, extra="&mtu=9000"))
    start_client(two, *host(2, HUB_TO_HOST_2, extra="&mtu=1400"))
    reach(one, OVERLAY_2)
    assert pings(one, OVERLAY_2, 3, "-M", "dont", "-s", "3000") == 3
    assert pings(one, OVERLAY_2, 1, "-M", "dont", "-s", "8972") == 1
    with udp(two, OVERLAY_2, 5000) as there, udp(one) as out:
        out.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT)
        for size in (1372, 1373, 8972, 30000):
            payload = random.Random(size).randbytes(size)
            out.sendto(payload, (OVERLAY_2, 5000))
            assert there.recv(70000) == payload
    drops(hub, lambda counts: not counts)
    said: Any = one.run("ping", "-c2", "-i0.2", "-W2", "-M", "do", "-s", "3000", OVERLAY_2, check=False)
    assert "mtu = 1400" in said.replace("mtu=", "mtu = ")


LAN, SERVER, TRANSIT = "192.168.200.0/24", "192.168.200.1", "10.99.0.2"


@pytest.fixture
def lan(topology: Topology, tmp_path: Path) -> Iterator[Namespace]:
    """Behind host-2: a router at TRANSIT, which no table of the hub lists, and SERVER beyond it, MTU 1200."""
    with Namespace("router", tmp_path) as router, Namespace("server", tmp_path) as server:
        connect(topology.host_2, "lan", "10.99.0.1/30", router, "wide", f"{TRANSIT}/30")
        connect(router, "narrow", "192.168.200.2/24", server, "wire", f"{SERVER}/24")
        router.run("ip", "link", "set", "narrow", "mtu", "1200")
        server.run("ip", "link", "set", "wire", "mtu", "1200")
        for namespace in (topology.host_2, router):
            namespace.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        topology.host_2.run("ip", "route", "add", LAN, "via", TRANSIT)
        router.run("ip", "route", "add", "default", "via", "10.99.0.1")
        server.run("ip", "route", "add", "default", "via", "192.168.200.2")
        yield server


@pytest.mark.usefixtures("no_traceback")
def test_a_router_behind_a_host_says_what_it_cannot_forward(
    topology: Topology, write: Write, lan: Namespace
) -> None:
    """A download through it works, and traceroute shows it. The tunnel's addresses are link-local ones here."""
    text = example("server.yml").replace("192.168.123.", "169.254.123.")
    hub = start_hub(topology.hub, "-C", write("server.yml", text))
    one, two = topology.host_1, topology.host_2
    device = ("tun:///host-{0}?net=169.254.123.{0}/24", f"&route={LAN}")
    start_client(one, "-L", device[0].format(1) + device[1], "-F", f"router://{HUB_TO_HOST_1}:8443")
    start_client(two, "-L", device[0].format(2), "-F", f"router://{HUB_TO_HOST_2}:8443")
    reach(one, SERVER)
    said = one.run("ping", "-c1", "-W2", "-t2", SERVER, check=False)
    assert f"From {TRANSIT}" in said
    assert "Time to live exceeded" in said
    transfer(one, lan, SERVER, 4)
    said = one.run("ping", "-c1", "-W2", "-M", "do", "-s", "1300", SERVER, check=False)
    assert "mtu = 1200" in said.replace("mtu=", "mtu = "), "the error of the router has arrived"
    drops(hub, lambda counts: not {reason for _, _, reason in counts} - {"multicast"})
