"""A network behind a host whose kernel does not forward: the host says so, whoever made its hub."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Topology
from tests.support.program import (
    OVERLAY_1,
    drops,
    example,
    host,
    needs_gost,
    pings,
    reach,
    run,
    start_client,
    start_gost,
    start_hub,
    total,
)

pytestmark = pytest.mark.usefixtures("no_traceback")

Write = Callable[[str, str], str]

LAN_HOST = "192.168.200.7"


@pytest.mark.parametrize("hub", ["ours", pytest.param("GOST's", marks=needs_gost)])
def test_packets_for_a_network_behind_are_counted_while_forwarding_is_off(
    topology: Topology, write: Write, tmp_path: object, hub: str
) -> None:
    control = f"{tmp_path}/control"
    path = write("server.yml", example("server.yml"))
    (start_hub if hub == "ours" else start_gost)(topology.hub, "-C", path)
    start_client(topology.host_1, *host(1, HUB_TO_HOST_1, extra="&route=192.168.200.0/24"))
    topology.host_2.run("sysctl", "-qw", "net.ipv4.ip_forward=0")
    client = start_client(topology.host_2, "--control", control, *host(2, HUB_TO_HOST_2))
    if hub == "ours":
        said = client.wait_line("the hub routes .* to this host, which does not forward: sysctl").group()
        assert "192.168.200.0/24" in said
        assert said in run("status", "--control", control)[1]
    topology.host_2.run("ip", "addr", "add", "192.168.200.1/24", "dev", "uplink")
    topology.hub.run("ip", "addr", "add", f"{LAN_HOST}/24", "dev", "to-host-2")
    topology.hub.run("ip", "route", "add", "192.168.123.0/24", "via", "192.168.200.1")
    reach(topology.host_2, OVERLAY_1)

    assert pings(topology.host_1, LAN_HOST, 3, "-W0.3") == 0
    client.wait_line(f"packets are dropped: not-forwarded {OVERLAY_1} to {LAN_HOST}: .*does not forward")
    drops(client, lambda counts: total(counts, "not-forwarded") == 3)
    assert f"not-forwarded {OVERLAY_1} to {LAN_HOST}" in run("status", "--control", control)[1]
    assert "sysctl -w net.ipv4.ip_forward=1" in run("drops", "--control", control)[1]

    topology.host_2.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    assert pings(topology.host_1, LAN_HOST, 3) == 3, "what the remedy says is right"
    assert "the hub routes" not in run("status", "--control", control)[1]

    topology.host_1.run("ip", "addr", "add", "192.168.100.1/32", "dev", "lo")
    topology.host_2.run("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=1")
    assert pings(topology.host_1, "192.168.123.2", 2, "-W0.3", "-I", "192.168.100.1") == 0
    client.wait_line("packets are dropped: reverse-path 192.168.100.1 to 192.168.123.2: ")


def test_an_unreachable_does_not_seem_to_come_from_the_address_that_is_unreachable(
    topology: Topology, write: Write
) -> None:
    """Two hosts, one with a strict reverse path filter, which lets in nothing but addresses of the tunnel."""
    nowhere = "10.99.1.1"
    start_hub(topology.hub, "-C", write("server.yml", example("server.yml")))
    topology.host_2.run("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=1")
    start_client(topology.host_1, *host(1, HUB_TO_HOST_1, extra="&route=10.99.0.0/16"))
    start_client(topology.host_2, *host(2, HUB_TO_HOST_2, extra="&route=10.99.0.0/16"))
    for namespace, speaker in ((topology.host_1, "192.0.0.8"), (topology.host_2, nowhere)):
        said = namespace.run("ping", "-c1", "-W2", nowhere, check=False)
        assert f"From {speaker} icmp_seq=1 Destination Net Unreachable" in said
