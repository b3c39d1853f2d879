"""A client whose routes cover its own hub: the hub is reached around the tunnel, whatever the host's routes are."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.netns import HUB_TO_HOST_1, Namespace, Process, Topology, connect
from tests.support.program import example, host, start, start_hub, wait_for

pytestmark = pytest.mark.usefixtures("no_traceback")

NAME_SERVER = "203.0.113.53"
Write = Callable[[str, str], str]
FAR = "203.0.113.10"
"""The hub's address: on its loopback device, so that only a route leads there."""
FULL = "&route=0.0.0.0/1,128.0.0.0/1"


@pytest.fixture
def hub(topology: Topology, write: Write) -> Process:
    topology.hub.run("ip", "addr", "add", f"{FAR}/32", "dev", "lo")
    return start_hub(topology.hub, "-C", write("server.yml", example("server.yml")))


def host_routes(namespace: Namespace) -> list[tuple[str, str]]:
    """(address, gateway) of the host routes around tunnels."""
    return [(one["dst"], one.get("gateway", "")) for one in namespace.ip("route", "show", "proto", "116")]


def strict(namespace: Namespace, value: int) -> None:
    """rp_filter of the device towards the hub."""
    namespace.run("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0", f"net.ipv4.conf.uplink.rp_filter={value}")


def test_hub_behind_the_default_route_for_every_rp_filter(topology: Topology, hub: Process) -> None:
    one = topology.host_1
    one.run("ip", "route", "add", "default", "via", HUB_TO_HOST_1)
    runs = ((0, signal.SIGTERM, ()), (2, signal.SIGTERM, ()), (1, signal.SIGKILL, ()))
    for value, end, more in (*runs, (1, signal.SIGTERM, ("--user", "nobody"))):
        strict(one, value)
        client = start(one, *host(1, FAR, extra=FULL), *more)
        client.wait_line(f"connected to {FAR}:8443")
        assert host_routes(one) == [(FAR, HUB_TO_HOST_1)]
        client.stop(end)
        assert host_routes(one) == ([(FAR, HUB_TO_HOST_1)] if end == signal.SIGKILL else [])


def test_default_route_with_several_next_hops_or_in_another_table(
    topology: Topology, write: Write, hub: Process
) -> None:
    one = topology.host_1
    hops = ("nexthop", "via", HUB_TO_HOST_1, "dev", "uplink", "nexthop", "via", "10.77.1.9", "dev", "uplink")
    one.run("ip", "route", "add", "default", *hops)
    strict(one, 1)
    client = start(one, *host(1, FAR, extra=FULL))
    client.wait_line(f"connected to {FAR}:8443")

    seen = client.line_count()
    one.run("ip", "route", "del", "default")
    one.run("ip", "route", "add", "default", "via", HUB_TO_HOST_1, "table", "100")
    one.run("ip", "rule", "add", "pref", "32767", "lookup", "100")  # main is asked first, and has our routes
    hub.stop(signal.SIGKILL)
    again = start_hub(topology.hub, "-C", write("server.yml", example("server.yml")))
    client.wait_line(f"connected to {FAR}:8443", after=seen)

    one.run("ip", "route", "flush", "table", "100")
    again.stop(signal.SIGKILL)
    client.wait_line(
        f"hub {FAR}:8443: the routes of tun0 cover {FAR}, and no other device leads there; trying"
    )


def test_a_host_route_that_was_lost_comes_back_while_the_session_lives(
    topology: Topology, hub: Process
) -> None:
    one = topology.host_1
    one.run("ip", "route", "add", "default", "via", HUB_TO_HOST_1)
    strict(one, 1)
    client = start(one, *host(1, FAR, extra=FULL))
    client.wait_line(f"connected to {FAR}:8443")
    for change in (("route", "del", FAR, "proto", "116"), ("link", "set", "uplink", "down")):
        one.run("ip", *change)
        one.run("ip", "link", "set", "uplink", "up")
        wait_for(lambda: host_routes(one) == [(FAR, HUB_TO_HOST_1)])
    client.wait_line(f"was missing: route {FAR} via {HUB_TO_HOST_1} dev uplink; put back")
    assert client.text().count("connected to") == 1


@pytest.fixture
def resolv_conf(topology: Topology) -> Iterator[Path]:
    """What `ip netns exec` shows programs of host-1 as /etc/resolv.conf."""
    directory = Path("/etc/netns") / topology.host_1.name
    parent_was_there = directory.parent.exists()
    directory.mkdir(parents=True)
    path = directory / "resolv.conf"
    yield path
    path.unlink()
    directory.rmdir()
    if not parent_was_there and not any(directory.parent.iterdir()):
        directory.parent.rmdir()


def test_name_server_that_the_routes_cover(
    topology: Topology, write: Write, hub: Process, resolv_conf: Path
) -> None:
    """Its replies are needed before the tunnel is there, and again when the hub has moved."""
    other = "203.0.113.11"
    one = topology.host_1
    for address in (NAME_SERVER, other):
        topology.hub.run("ip", "addr", "add", f"{address}/32", "dev", "lo")
    one.run("ip", "route", "add", "default", "via", HUB_TO_HOST_1)
    strict(one, 1)
    resolv_conf.write_text(f"nameserver {NAME_SERVER}\noptions timeout:1 attempts:1\n")

    def name_server(reply: str) -> Process:
        argv = (sys.executable, "-m", "tests.support.name_server", NAME_SERVER, "53", reply)
        started = topology.hub.popen(*argv)
        started.wait_line("name server ready")
        return started

    names = name_server(FAR)
    client = start(one, *host(1, "the-hub.test", extra=FULL))
    client.wait_line(f"connected to {FAR}:8443")
    assert host_routes(one) == [(FAR, HUB_TO_HOST_1)], "none to the name server any more"

    seen = client.line_count()  # the hub moves
    hub.stop(signal.SIGKILL)
    topology.hub.run("ip", "addr", "del", f"{FAR}/32", "dev", "lo")
    names.stop(signal.SIGKILL)
    names = name_server(other)
    hub = start_hub(topology.hub, "-C", write("server.yml", example("server.yml")))
    client.wait_line(f"connected to {other}:8443", after=seen)
    assert host_routes(one) == [(other, HUB_TO_HOST_1)], "none to where the hub was"

    seen = client.line_count()  # the name server is away: the last good addresses are tried
    names.stop(signal.SIGKILL)
    hub.stop(signal.SIGKILL)
    start_hub(topology.hub, "-C", write("server.yml", example("server.yml")))
    client.wait_line(f"connected to {other}:8443", after=seen)


def test_default_route_that_moves_to_another_device(topology: Topology, hub: Process) -> None:
    """As from eth0 to wlan0: the session over the old device ends, and the next one takes the new one."""
    one = topology.host_1
    connect(topology.hub, "to-wlan", "10.77.3.1/24", one, "wlan0", "10.77.3.2/24")
    one.run("ip", "route", "add", "default", "via", "10.77.3.1", "metric", "600")
    one.run("ip", "route", "add", "default", "via", HUB_TO_HOST_1, "metric", "100")
    strict(one, 1)
    one.run("sysctl", "-qw", "net.ipv4.conf.wlan0.rp_filter=1")
    client = start(one, *host(1, FAR, extra=f"{FULL}&keepalive.timeout=2s"))
    client.wait_line(f"connected to {FAR}:8443")
    assert host_routes(one) == [(FAR, HUB_TO_HOST_1)]
    seen = client.line_count()
    one.run("ip", "link", "set", "uplink", "down")
    client.wait_line(f"connected to {FAR}:8443", after=seen)
    assert host_routes(one) == [(FAR, "10.77.3.1")]


def test_a_device_a_mark_and_hosts_of_the_settings_decide_how_the_hub_is_dialled(
    topology: Topology, hub: Process
) -> None:
    """With two ways to the hub, a default route into the tunnel, and the strict check of the reverse path."""
    one, mobile = topology.host_1, "10.77.3.1"
    connect(topology.hub, "to-lte", f"{mobile}/24", one, "lte0", "10.77.3.2/24")
    one.run("ip", "route", "add", "default", "via", HUB_TO_HOST_1, "metric", "100")
    one.run("ip", "route", "add", "default", "via", mobile, "metric", "600")
    one.run("ip", "route", "add", "default", "via", mobile, "dev", "lte0", "table", "100")
    one.run("ip", "rule", "add", "fwmark", "0x64", "lookup", "100")
    strict(one, 1)
    one.run("sysctl", "-qw", "net.ipv4.conf.lte0.rp_filter=1")
    listen = f"tun:///host-1?net=192.168.123.1/24{FULL}"
    runs = (
        (FAR, "", HUB_TO_HOST_1),
        (FAR, "?interface=lte0", mobile),
        (FAR, "?interface=10.77.3.2&so_mark=100", mobile),
        (FAR, "?so_mark=100", mobile),
        ("no.such.name", f"?hosts=.such.name:{FAR}", HUB_TO_HOST_1),
    )
    for name, query, gateway in runs:
        client = start(one, "-L", listen, "-F", f"router://{name}:8443{query}")
        client.wait_line(f"connected to {FAR}:8443")
        assert host_routes(one) == [(FAR, gateway)]
        assert (" 10.77.3.2" in one.run("ss", "-Htn", "dst", FAR)) == (gateway == mobile)
        client.stop(signal.SIGTERM)
    for device in ("wlan7", "tun0"):
        client = start(one, "-L", listen, "-F", f"router://{FAR}:8443?interface={device}")
        client.wait_line(f"the routes of tun0 cover {FAR}, and {device} does not lead there")
        assert host_routes(one) == []
        client.stop(signal.SIGTERM)
