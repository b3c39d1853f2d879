"""Joining with nothing but a name: a hub tells its hosts their addresses and routes, over real devices."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from lib import stream_certificates
from tests.support import releases
from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, ROOT, Namespace, Process, Topology
from tests.support.program import (
    GOST,
    TUNROUTER,
    needs_gost,
    pings,
    reach,
    run,
    start,
    start_client,
    wait_for,
)

pytestmark = pytest.mark.usefixtures("no_traceback")

Write = Callable[[str, str], str]

HUB = """
services:
- {{name: hub, addr: ":8443", handler: {{type: router, metadata: {{router: {name}}}}}, listener: {{type: tls}}}}
routers:
- name: {name}
  {router}
"""


def hub_text(name: str, router: str) -> str:
    return HUB.format(name=name, router=router)


def joins(number: int, pin: str, *more: str, extra: str = "") -> tuple[str, ...]:
    """The command line of a host that has nothing but a name."""
    hub = (HUB_TO_HOST_1, HUB_TO_HOST_2)[number - 1]
    trust = f"?pin={pin}" if pin else ""
    return (*more, "-L", f"tun:///host-{number}{extra}", "-F", f"router+tls://{hub}:8443{trust}")


def started(topology: Topology, path: str, *more: str) -> tuple[Process, str]:
    """A hub, and the pin of its certificate."""
    hub = start(topology.hub, *more, "-C", path)
    pin = hub.wait_line(r"(sha256:[0-9a-f]{64})").group(1)
    hub.wait_line("listening on")
    return hub, pin


def own(namespace: Namespace) -> list[str]:
    """The addresses of a host's TUN devices, without the length of a single one's prefix."""
    found = [
        f"{one['local']}/{one['prefixlen']}"
        for link in namespace.ip("addr", "show")
        for one in link["addr_info"]
        if link["ifname"].startswith("tun") and one["scope"] != "link"
    ]
    return sorted(found)


def routes(namespace: Namespace) -> set[str]:
    """The destinations of a host's routes through its TUN device, but those of the kernel itself."""
    every = [*namespace.ip("-4", "route", "show"), *namespace.ip("-6", "route", "show")]
    return {
        one["dst"]
        for one in every
        if one.get("dev", "").startswith("tun") and one.get("protocol") != "kernel"
    }


def has_routes(namespace: Namespace, wanted: set[str]) -> bool:
    return routes(namespace) == wanted


@pytest.fixture
def name() -> Iterator[str]:
    """The name of a router that no other test has, in no run: what is kept of its pool goes with the test."""
    made = f"test-{os.urandom(8).hex()}"
    yield made
    (stream_certificates.state_directory() / f"pool-{made}").unlink(missing_ok=True)


def test_a_host_with_a_name_joins_and_follows(
    topology: Topology, write: Write, tmp_path: Path, name: str
) -> None:
    router = (
        "{address: [10.20.0.1/16, 'fd20::1/64'], pool: [10.20.0.0/16, 'fd20::/64'], mtu: 1380,\n"
        "   hosts: {host-2: [10.20.0.7, 'fd20::7']},\n"
        "   routes: [{dst: 192.168.200.0/24, gateway: host-2}, {dst: 192.168.100.0/24, gateway: host-1}]}"
    )
    path = write("hub.yml", hub_text(name, "<<: " + router))
    control = f"{tmp_path}/hub.sock"
    hub, pin = started(topology, path, "--control", control)
    before = topology.host_1.devices(), topology.host_1.run("ip", "route")
    client = start_client(topology.host_1, *joins(1, pin, "--control", f"{tmp_path}/client.sock"))
    start_client(topology.host_2, *joins(2, pin))
    wait_for(lambda: len(own(topology.host_1)) == 2 and len(own(topology.host_2)) == 2)

    assert own(topology.host_2) == ["10.20.0.7/32", "fd20::7/128"]
    mine, mine6 = own(topology.host_1)
    assert mine.startswith("10.20.")
    assert mine6.startswith("fd20::")
    wait_for(lambda: routes(topology.host_1) == {"10.20.0.0/16", "fd20::/64", "192.168.200.0/24"})
    assert routes(topology.host_2) == {"10.20.0.0/16", "fd20::/64", "192.168.100.0/24"}, "not its own network"
    (device,) = [one for one in topology.host_1.ip("link", "show") if one["ifname"].startswith("tun")]
    assert device["mtu"] == 1380
    reach(topology.host_1, "10.20.0.7")
    reach(topology.host_1, "fd20::7")
    reach(topology.host_2, mine.partition("/")[0])
    status = json.loads(run("status", "--json", "--control", f"{tmp_path}/client.sock")[1])
    assert status["clients"][0]["from_hub"]["routes"] == 3
    said = run("explain", "--from", "host-2", mine.partition("/")[0], "--control", control)[1]
    assert "host-1" in said, "a route to a leased address is one of the table"

    changed = router.replace("192.168.200.0/24", "192.168.201.0/24").replace("10.20.0.7", "10.20.0.8")
    Path(path).write_text(hub_text(name, "<<: " + changed))
    began = client.line_count()
    hub.send(signal.SIGHUP)
    wait_for(lambda: "192.168.201.0/24" in routes(topology.host_1))
    wait_for(lambda: own(topology.host_2) == ["10.20.0.8/32", "fd20::7/128"])
    assert "192.168.200.0/24" not in routes(topology.host_1)
    assert sorted(own(topology.host_1)) == [mine, mine6], "what has not changed stays"
    reach(topology.host_1, "10.20.0.8")
    assert "connected to" not in "\n".join(client.text().splitlines()[began:]), "the session goes on"

    hub.stop(signal.SIGKILL)
    started(topology, path)
    client.wait_line("connected to", after=began)
    wait_for(lambda: own(topology.host_1) == [mine, mine6])
    reach(topology.host_2, mine.partition("/")[0])

    client.stop()
    assert (topology.host_1.devices(), topology.host_1.run("ip", "route")) == before


def test_what_a_client_does_not_take(topology: Topology, write: Write, name: str) -> None:
    """Nothing of a hub that nobody has verified; of a verified one nothing over the client's own networks."""
    topology.host_1.run("ip", "link", "add", "lan", "type", "veth", "peer", "name", "lan-end")
    topology.host_1.run("ip", "addr", "add", "192.168.200.9/24", "dev", "lan")
    topology.host_1.run("ip", "link", "set", "lan", "up")
    gone = ("0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "10.0.0.0/8", "192.168.200.0/24", "192.168.200.128/25")
    taken = ("10.99.0.0/16", "192.168.201.0/24")
    every = ", ".join(f"{{dst: {dst}, gateway: host-2}}" for dst in (*gone, *taken))
    path = write("hub.yml", hub_text(name, f"hosts: {{host-1: 10.20.0.6}}\n  routes: [{every}]"))
    _, pin = started(topology, path)

    client = start_client(topology.host_1, *joins(1, ""))
    client.wait_line("nothing that it tells this host is set, for nobody has verified it: .* wants pin")
    assert not own(topology.host_1)
    assert not routes(topology.host_1)
    client.stop()

    for extra, wanted in (
        ("", set(taken)),
        ("?acceptRoutes=off", set()),
        ("?acceptRoutes=192.168.201.0/24", {"192.168.201.0/24"}),
        ("?net=10.9.9.9/32", set()),
        ("?net=10.9.9.9/32&acceptRoutes=auto", set(taken)),
    ):
        client = start_client(topology.host_1, *joins(1, pin, extra=extra))
        if "acceptRoutes" in extra or not extra:
            client.wait_line("hub 10.77.1.1:8443: ")
        expected = [] if extra.startswith("?net") else ["10.20.0.6/32"]
        wait_for(partial(has_routes, topology.host_1, wanted))
        assert own(topology.host_1) == (expected or ["10.9.9.9/32"])
        if not extra:
            client.wait_line(r"not set: 0.0.0.0/0, 0.0.0.0/1, 128.0.0.0/1: a default route, or half of one")
            client.wait_line(r"not set: 10.0.0.0/8: it .*10.77.1.0/24, a network of uplink")
            client.wait_line(
                r"not set: 192.168.200.0/24, 192.168.200.128/25: it lies over 192.168.200.0/24, a network of lan"
            )
            topology.host_1.run("ip", "addr", "add", "192.168.201.9/24", "dev", "lan")
            client.wait_line("route 192.168.201.0/24 removed")
            client.wait_line("not set: 192.168.201.0/24: it lies over")
            topology.host_1.run("ip", "addr", "del", "192.168.201.9/24", "dev", "lan")
        client.stop()

    client = start_client(topology.host_1, *joins(1, pin, extra="?acceptRoutes=force"))
    wait_for(lambda: {"0.0.0.0/1", "128.0.0.0/1", "10.0.0.0/8"} <= routes(topology.host_1))
    assert pings(topology.host_1, HUB_TO_HOST_1) == 5, "the hub is reached around the tunnel"


def test_the_dead_leave_nothing(topology: Topology, write: Write, name: str) -> None:
    """kill -9, and the next start: with a device of its own, and with one that was there before."""
    path = write("hub.yml", hub_text(name, "pool: 10.20.0.0/16"))
    _, pin = started(topology, path)
    host_1 = topology.host_1
    host_1.run("ip", "tuntap", "add", "tun7", "mode", "tun")
    host_1.run("ip", "addr", "add", "10.8.0.1/24", "dev", "tun7")
    host_1.run("ip", "link", "set", "tun7", "mtu", "1300")

    def state() -> object:
        links = [
            (
                link["ifname"],
                link["mtu"],
                link["txqlen"],
                link.get("ifalias"),
                [one["local"] for one in link["addr_info"]],
            )
            for link in host_1.ip("addr", "show")
            if link["ifname"] != "uplink"
        ]
        return links, host_1.run("ip", "route"), host_1.run("ip", "rule")

    before = state()
    for extra in ("", "?name=tun7"):
        client = start_client(host_1, *joins(1, pin, extra=extra))
        wait_for(lambda: "10.20.0.0/16" in routes(host_1))
        client.send(signal.SIGKILL)
        client.wait()
        client = start_client(host_1, *joins(1, pin, extra=extra))
        wait_for(lambda: "10.20.0.0/16" in routes(host_1))
        assert len([one for one in own(host_1) if one.startswith("10.20.")]) == 1
        client.stop()
        assert state() == before, extra


BEFORE = "9b9eab7"
"""The release before this one knew no settings of a hub."""


@pytest.mark.parametrize(
    "role", ["hub before", "client before", pytest.param("GOST's client", marks=needs_gost)]
)
def test_who_knows_no_settings_is_told_none(
    topology: Topology, write: Write, tmp_path: Path, name: str, role: str
) -> None:
    router = "pool: 10.20.0.0/16\n  routes: [{dst: 192.168.123.1, gateway: host-1}, {dst: 192.168.123.2, gateway: host-2}]"
    text, old = hub_text(name, router), (sys.executable, "tunrouter.py")
    if role == "hub before":
        text = text.replace("pool: 10.20.0.0/16\n  ", "")
    path = write("hub.yml", text)
    if role == "GOST's client":
        hub, pin = started(topology, path)
        listen = "tun:///host-1?net=192.168.123.1/24"
        topology.host_1.popen(GOST, "-L", listen, "-F", f"router+tls://{HUB_TO_HOST_1}:8443")
        hub.wait_line("is host host-1")
    else:
        release = releases.checkout(BEFORE, tmp_path)
        hub = topology.hub.popen(
            *(old if role == "hub before" else TUNROUTER),
            "-C",
            path,
            cwd=release if role == "hub before" else ROOT,
        )
        pin = hub.wait_line(r"(sha256:[0-9a-f]{64})").group(1)
        words = joins(1, pin, extra="?net=192.168.123.1/24" if role == "client before" else "")
        if role == "client before":
            topology.host_1.popen(*old, *words, cwd=release).wait_line("connected to")
        else:
            start_client(topology.host_1, *words)
    start_client(topology.host_2, *joins(2, pin, extra="?net=192.168.123.2/24"))
    if role == "hub before":
        topology.host_1.run("ip", "addr", "add", "192.168.123.1/24", "dev", "tun0")
    reach(topology.host_1, "192.168.123.2")
    assert own(topology.host_1) == ["192.168.123.1/24"]
    assert not routes(topology.host_1)
