"""Two sites with the same addresses: each appears to the other under a prefix of its own (`map`)."""

from __future__ import annotations

import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.load import iperf3, udp
from tests.support.netns import (
    HUB_TO_HOST_1,
    HUB_TO_HOST_2,
    Namespace,
    Topology,
    connect,
    in_namespace,
)
from tests.support.program import (
    client_example,
    example,
    host,
    pings,
    reach,
    start_client,
    start_hub,
    wait_for,
)

pytestmark = [pytest.mark.needs_root, pytest.mark.usefixtures("no_traceback")]

Write = Callable[[str, str], str]
PRINTER = "192.168.1.5"
OVER_1, OVER_2 = "10.71.0.5", "10.72.0.5"
SIX_1, SIX_2 = "fd71::5", "fd72::5"
ROUTES = "".join(
    f"      - {{dst: '{prefix}', gateway: host-{number}}}\n"
    for number in (1, 2)
    for prefix in (f"192.168.123.{number}", f"10.7{number}.0.0/24", f"fd7{number}::/64")
)
ETH_P_ALL = 3


@pytest.fixture
def printers(topology: Topology, tmp_path: Path) -> Iterator[tuple[Namespace, Namespace]]:
    """Behind each host the same LAN with the same printer; that of site 2 has an MTU of 1300."""
    with Namespace("printer-1", tmp_path) as one, Namespace("printer-2", tmp_path) as two:
        for gateway, printer, mtu in ((topology.host_1, one, 1500), (topology.host_2, two, 1300)):
            connect(gateway, "lan", "192.168.1.1/24", printer, "wire", f"{PRINTER}/24")
            gateway.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
            for namespace, wire, last in ((gateway, "lan", 1), (printer, "wire", 5)):
                for prefix in ("fd00:1::", "fe80::"):  # without the latter it asks for no neighbour
                    namespace.run("ip", "addr", "add", f"{prefix}{last}/64", "dev", wire, "nodad")
            gateway.run("ip", "link", "set", "lan", "mtu", str(mtu))
            printer.run("ip", "link", "set", "wire", "mtu", str(mtu))
            printer.run("ip", "route", "add", "default", "via", "192.168.1.1")
            printer.run("ip", "route", "add", "default", "via", "fd00:1::1")
        yield one, two


def site(number: int, hub: str, more: str = "") -> tuple[str, ...]:
    """The command line of a site's gateway."""
    other = 3 - number
    maps = f"10.7{number}.0.0/24:192.168.1.0/24,fd7{number}::/64:fd00:1::/64{more}"
    return host(number, hub, extra=f"&name=tun{number}&map={maps}&route=10.7{other}.0.0/24,fd7{other}::/64")


@contextmanager
def longest(namespace: Namespace, device: str) -> Iterator[list[int]]:
    """The sizes of the packets that a device sends or receives while the block runs, on its network layer."""
    with in_namespace(namespace.name):
        sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
    sniffer.bind((device, ETH_P_ALL))
    sniffer.settimeout(0.2)
    sizes: list[int] = []
    ended = threading.Event()

    def sniff() -> None:
        while not ended.is_set():
            try:
                sizes.append(len(sniffer.recv(1 << 17)))
            except TimeoutError:
                continue

    thread = threading.Thread(target=sniff)
    thread.start()
    try:
        yield sizes
    finally:
        ended.set()
        thread.join()
        sniffer.close()


def rules(namespace: Namespace) -> str:
    return namespace.run("nft", "list", "ruleset")


def test_two_sites_with_the_same_addresses_reach_each_others_printers(
    topology: Topology, write: Write, printers: tuple[Namespace, Namespace]
) -> None:
    one, two = printers
    text = re.sub(r"    routes:\n(.|\n)*", f"    routes:\n{ROUTES}", example("server.yml"))
    start_hub(topology.hub, "-C", write("hub.yml", text))
    topology.host_1.run("nft", "add table inet somebody")
    before = rules(topology.host_1)
    first = start_client(topology.host_1, *site(1, HUB_TO_HOST_1))
    second = start_client(topology.host_2, *site(2, HUB_TO_HOST_2, ",10.73.0.0/24:192.168.3.0/24"))
    second.wait_line(
        "map: the hub does not route 10.73.0.0/24 to this host, so nobody reaches 192.168.3.0/24"
    )

    for printer, other, other6 in ((one, OVER_2, SIX_2), (two, OVER_1, SIX_1)):
        reach(printer, other)
        reach(printer, other6)
    with udp(two, PRINTER, 5000) as there, udp(one) as here:
        here.sendto(b"a page", (OVER_2, 5000))
        content, source = there.recvfrom(100)
        assert (content, source[0]) == (b"a page", OVER_1)
        there.sendto(b"printed", source)
        assert here.recvfrom(100) == (b"printed", (OVER_2, 5000))

    # ICMP errors: what they quote is translated, or ping, tracepath and the kernel would not know it
    said = one.run("ping", "-c1", "-W2", "-M", "do", "-s", "1350", OVER_2, check=False)
    assert re.search(r"From 10.72.0.\d+ icmp_seq=1 Frag needed and DF set \(mtu = 1300\)", said), said
    said = one.run("ping", "-c1", "-W2", "-M", "do", "-s", "1350", SIX_2, check=False)
    assert re.search(r"From fd72::\d+ icmp_seq=1 Packet too big: mtu=1300", said), said
    said = one.run("tracepath", "-n", OVER_2)
    assert re.search(r"^ 1: +192.168.1.1 ", said, re.MULTILINE), said
    assert re.search(rf"^ 3: +{re.escape(OVER_2)} .*reached", said, re.MULTILINE), said
    assert "pmtu 1300" in said

    # superpackets stay
    with longest(one, "wire") as sizes:
        assert iperf3(two, one, OVER_1) > 1_000_000
    assert max(sizes) > 20_000

    # somebody else's firewall is loaded anew
    topology.host_1.run("nft", "flush", "ruleset")
    first.wait_line("somebody has removed the table tunrouter_map_tun1 of nftables; it is set again")
    assert pings(two, OVER_1, 2) == 2
    topology.host_1.run("nft", "add table inet somebody")

    # a killed process leaves its table, which the next start removes, with or without a map of its own
    for again in (site(1, HUB_TO_HOST_1), host(1, HUB_TO_HOST_1, extra="&name=other")):
        first.send(signal.SIGKILL)
        first.wait()
        assert "tunrouter_map_tun1" in rules(topology.host_1)
        first = start_client(topology.host_1, *again)
        first.wait_line("table tunrouter_map_tun1 of nftables deleted, which a killed process has left")
    assert rules(topology.host_1) == before
    first.stop()

    # a process that has given up its rights deletes it all the same
    first = start_client(topology.host_1, "--user", "nobody", *site(1, HUB_TO_HOST_1))
    wait_for(lambda: pings(two, OVER_1, 1) == 1)
    first.stop()
    assert rules(topology.host_1) == before


def test_a_reload_changes_the_map_also_of_connections_that_there_are(
    topology: Topology, write: Write
) -> None:
    text = client_example("client.yml", 1, HUB_TO_HOST_1)
    start_hub(topology.hub, "-C", write("hub.yml", example("server.yml")))
    inside, other, none = (f"{{192.168.100.0/24: 192.168.{n}.0/24}}" if n else "{}" for n in (1, 2, 0))
    mapped = text.replace("type: tun\n", f"type: tun\n    metadata: {{map: {inside}}}\n", 1)
    assert mapped != text
    path = write("client.yml", mapped)
    client = start_client(topology.host_1, "-C", path)
    start_client(topology.host_2, "-C", write("client-2.yml", client_example("client.yml", 2, HUB_TO_HOST_2)))
    assert "dnat ip prefix to 192.168.1.0/24" in rules(topology.host_1)
    for number in (1, 2):
        topology.host_1.run("ip", "addr", "add", f"192.168.{number}.5/32", "dev", "lo")
    with (
        udp(topology.host_2) as asking,
        udp(topology.host_1, "192.168.1.5", 5000) as before,
        udp(topology.host_1, "192.168.2.5", 5000) as now,
    ):
        asking.sendto(b"first", ("192.168.100.5", 5000))
        _, source = before.recvfrom(100)
        before.sendto(b"there", source)
        assert asking.recvfrom(100) == (b"there", ("192.168.100.5", 5000))
        for map_, found in ((other, True), (none, False)):
            after = client.line_count()
            write("client.yml", mapped.replace(inside, map_))
            client.send(signal.SIGHUP)
            client.wait_line(r"reload: service .*: maps .* -> ", after=after)
            client.wait_line("reload: done", after=after)
            assert ('iif "tun' in rules(topology.host_1)) is found
            assert "192.168.1.0/24" not in rules(topology.host_1)
            if found:
                asking.sendto(b"second", ("192.168.100.5", 5000))
                assert now.recvfrom(100)[0] == b"second"
    client.stop()
