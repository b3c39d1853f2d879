"""Namespaces: the same addresses twice, and which table is asked."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.load import PORT, collect, udp
from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Namespace, Topology
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
    stopped,
    total,
)

pytestmark = pytest.mark.usefixtures("no_traceback")

Write = Callable[[str, str], str]
HUB_TO_HOST_3, HUB_TO_HOST_4 = "10.77.3.1", "10.77.4.1"
COUNT = 200

HUB = """\
services:
  - name: service-0
    addr: :8443
    handler: {type: router, metadata: {router: router-0}}
    listener: {type: tcp}
routers:
"""


def table(name: str, **routes: str) -> str:
    """One router; routes by gateway, as host_1="192.168.123.1 10.0.0.0/8"."""
    lines = [f"  - name: {name}\n    routes:\n"]
    for gateway, prefixes in routes.items():
        name = gateway.replace("_", "-")
        lines += [f"      - {{dst: {prefix}, gateway: {name}}}\n" for prefix in prefixes.split()]
    return "".join(lines)


BOTH = {"host_1": OVERLAY_1, "host_2": OVERLAY_2}


def send(sender: Namespace, source: str, destination: str, content: bytes) -> None:
    """COUNT packets of that content, then one that says `end`."""
    with udp(sender, source) as out:
        for _ in range(COUNT):
            out.sendto(content, (destination, PORT))
        out.sendto(b"end", (destination, PORT))


def test_same_addresses_never_meet(topology: Topology, more_hosts: list[Namespace], write: Write) -> None:
    text = (
        HUB + table("router-0", host_1="10.0.0.0/8") + table(NAMESPACE_1, **BOTH) + table(NAMESPACE_2, **BOTH)
    )
    hub = start_hub(topology.hub, "-C", write("server.yml", text))
    third, fourth = more_hosts
    start_client(topology.host_1, *host(1, HUB_TO_HOST_1, NAMESPACE_1))
    start_client(topology.host_2, *host(2, HUB_TO_HOST_2, NAMESPACE_1))
    start_client(third, *host(1, HUB_TO_HOST_3, NAMESPACE_2))
    start_client(fourth, *host(2, HUB_TO_HOST_4, NAMESPACE_2))
    pairs = [(topology.host_1, topology.host_2, b"first"), (third, fourth, b"second")]
    for left, right, name in pairs:
        with udp(left, OVERLAY_1, PORT) as on_left, udp(right, OVERLAY_2, PORT) as on_right:
            send(left, OVERLAY_1, OVERLAY_2, name + b" rightward")
            assert collect(on_right, b"end") == [name + b" rightward"] * COUNT
            send(right, OVERLAY_2, OVERLAY_1, name + b" leftward")
            assert collect(on_left, b"end") == [name + b" leftward"] * COUNT
    receivers = [udp(namespace, address, PORT) for namespace, address in zip(
        (topology.host_1, topology.host_2, third, fourth), (OVERLAY_1, OVERLAY_2) * 2, strict=True
    )]  # fmt: skip
    for left, right, name in pairs:  # all four listening at once, traffic both ways in both namespaces
        send(left, OVERLAY_1, OVERLAY_2, name + b" rightward")
        send(right, OVERLAY_2, OVERLAY_1, name + b" leftward")
    received = [collect(receiver, b"end") for receiver in receivers]
    assert received == [
        [b"first leftward"] * COUNT,
        [b"first rightward"] * COUNT,
        [b"second leftward"] * COUNT,
        [b"second rightward"] * COUNT,
    ]
    for receiver in receivers:
        receiver.close()
    drops(hub, lambda counts: not counts)


def test_a_lone_host_reaches_nobody_of_another_namespace(topology: Topology, write: Write) -> None:
    text = (
        HUB + table("router-0", host_1="10.0.0.0/8") + table(NAMESPACE_1, **BOTH) + table(NAMESPACE_2, **BOTH)
    )
    hub = start_hub(topology.hub, "-C", write("server.yml", text))
    start_client(topology.host_1, *host(1, HUB_TO_HOST_1, NAMESPACE_1))
    start_client(topology.host_2, *host(2, HUB_TO_HOST_2, NAMESPACE_2))
    assert pings(topology.host_1, OVERLAY_2) == 0
    drops(hub, lambda counts: counts == {(NAMESPACE_1, "host-1", "no-session"): 5})


@pytest.mark.parametrize(
    "named",
    [
        pytest.param("", id="no table of that name"),
        pytest.param(table(NAMESPACE_1, host_1="172.16.0.0/12"), id="the named one has no route"),
        pytest.param(table(NAMESPACE_1, host_1=OVERLAY_1), id="the named one has one of two"),
    ],
)
def test_default_table_is_asked(topology: Topology, write: Write, named: str) -> None:
    text = HUB + table("router-0", **BOTH) + named
    start_hub(topology.hub, "-C", write("server.yml", text))
    start_client(topology.host_1, *host(1, HUB_TO_HOST_1, NAMESPACE_1))
    start_client(topology.host_2, *host(2, HUB_TO_HOST_2, NAMESPACE_1))
    assert pings(topology.host_1, OVERLAY_2) == 5


def test_named_table_goes_before_the_default(topology: Topology, write: Write) -> None:
    """The default's route to host-2 is longer, and wrong: a route of the named table is enough."""
    text = HUB + table("router-0", host_1=f"{OVERLAY_1} {OVERLAY_2}")
    text += table(NAMESPACE_1, host_1=OVERLAY_1, host_2="192.168.123.0/24")
    start_hub(topology.hub, "-C", write("server.yml", text))
    start_client(topology.host_1, *host(1, HUB_TO_HOST_1, NAMESPACE_1))
    start_client(topology.host_2, *host(2, HUB_TO_HOST_2, NAMESPACE_1))
    assert pings(topology.host_1, OVERLAY_2) == 5


def test_no_falling_to_a_shorter_prefix_or_the_default(topology: Topology, write: Write) -> None:
    """The gateway of the longest prefix is away: no other route takes its packets."""
    text = HUB + table("router-0", host_2=OVERLAY_2, host_1=OVERLAY_1)
    text += table(NAMESPACE_1, host_9=OVERLAY_2, host_2="192.168.123.0/24", host_1=OVERLAY_1)
    hub = start_hub(topology.hub, "-C", write("server.yml", text))
    start_client(topology.host_1, *host(1, HUB_TO_HOST_1, NAMESPACE_1))
    start_client(topology.host_2, *host(2, HUB_TO_HOST_2, NAMESPACE_1))
    assert pings(topology.host_1, OVERLAY_2) == 0
    drops(hub, lambda counts: counts == {(NAMESPACE_1, "host-1", "no-session"): 5})


def test_wrong_source_is_dropped_and_explained_once(topology: Topology, write: Write) -> None:
    text = HUB + table("router-0", **BOTH)
    hub = start_hub(topology.hub, "-C", write("server.yml", text))
    start_client(topology.host_1, *host(1, HUB_TO_HOST_1))
    start_client(topology.host_2, *host(2, HUB_TO_HOST_2))
    topology.host_1.run("ip", "addr", "add", "192.168.66.1/32", "dev", "lo")
    assert pings(topology.host_1, OVERLAY_2, 5, "-I", "192.168.66.1") == 0
    drops(hub, lambda counts: total(counts, "wrong-source") == 5)
    assert hub.text().count("dst: 192.168.66.1, gateway: host-1") == 1


def test_source_check_off(topology: Topology, write: Write) -> None:
    text = HUB.replace("router: router-0", "router: router-0, sourceCheck: off") + table("router-0", **BOTH)
    start_hub(topology.hub, "-C", write("server.yml", text))
    start_client(topology.host_1, *host(1, HUB_TO_HOST_1))
    start_client(topology.host_2, *host(2, HUB_TO_HOST_2))
    topology.host_1.run("ip", "addr", "add", "192.168.66.1/32", "dev", "lo")
    with udp(topology.host_2, OVERLAY_2, PORT) as receiver:
        send(topology.host_1, "192.168.66.1", OVERLAY_2, b"from elsewhere")
        assert collect(receiver, b"end") == [b"from elsewhere"] * COUNT


def test_drops_are_counted_in_packets_not_superpackets(topology: Topology, write: Write) -> None:
    """A flow whose packets are all in the device before the client reads them comes as superpackets."""
    hub = start_hub(topology.hub, "-C", write("server.yml", HUB + table("router-0", **BOTH)))
    client = start_client(topology.host_1, *host(1, HUB_TO_HOST_1))
    with stopped(client), udp(topology.host_1, OVERLAY_1) as out:
        for _ in range(COUNT):
            out.sendto(bytes(1000), ("192.168.123.77", PORT))
    drops(hub, lambda counts: total(counts, "no-route") == COUNT)
