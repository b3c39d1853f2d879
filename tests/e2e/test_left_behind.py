"""What a client leaves: nothing that the next start does not mend, however it has ended; addresses, routes, rules,
nftables, settings of the kernel, resolv.conf and hosts are as they were before the first start.

A feature that sets something on a host gets a row here: the client's URL, and what shows that it is set.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.netns import HUB_TO_HOST_1, Namespace, Process, Topology
from tests.support.program import run, start, start_client, wait_for
from tests.support.restored import picture

pytestmark = pytest.mark.usefixtures("no_traceback")

HUB = """
services: [{name: hub, addr: ":8443", handler: {type: router, metadata: {router: r}}, listener: {type: tls}}]
routers:
- name: r
  address: [10.20.0.1/16, "fd20::1/64"]
  hosts: {host-1: [10.20.0.7, "fd20::7"]}
  mtu: 1380
  dnsDomain: tun.example
  routes: [{dst: 192.168.200.0/24, gateway: host-2}]
"""


class Row(NamedTuple):
    """Features of a client."""

    listen: str
    """Its -L; the device tun7 is a persistent one where it is set up."""
    shown: dict[str, str]
    """Part of the picture -> what it shows while the client runs."""
    set_up: str = "true"
    """A command that prepares the host."""
    outlives: bool = False
    """Whether it outlives its process, until a clean end of one that wants it too, or `tunrouter unlock`."""


PERSISTENT = "ip tuntap add tun7 mode tun"
ROWS = {
    "what the hub tells, on a device that stays": Row(
        "tun:///host-1?name=tun7",
        {
            "addresses": "10.20.0.7/32",
            "routes": "192.168.200.0/24 dev tun7",
            "IPv6 routes": "fd20::/64 dev tun7",
        },
        PERSISTENT,
    ),
    "what the hub tells": Row(
        "tun:///host-1", {"addresses": "fd20::7/128", "routes": "192.168.200.0/24 dev tun"}
    ),
    "default routes, and the way around the tunnel": Row(
        "tun:///host-1?name=tun7&net=10.0.0.1/24,fd00::1/64&route=0.0.0.0/0,::/0",
        {"routes": f"{HUB_TO_HOST_1} dev uplink proto 116", "IPv6 routes": "8000::/1 dev tun7"},
        PERSISTENT,
    ),
    "an exit": Row(
        "tun:///host-1?name=tun7&net=10.0.0.1/24,fd00::1/64&nat=on",
        {"nftables": "masquerade", "settings": "net.ipv6.conf.uplink.accept_ra = 2"},
        PERSISTENT,
    ),
    "a killswitch": Row(
        "tun:///host-1?net=10.0.0.1/24&killswitch=on", {"nftables": "policy drop"}, outlives=True
    ),
    "a map": Row(
        "tun:///host-1?name=tun7&net=10.0.0.1/24&map=10.71.0.0/24:192.168.1.0/24",
        {"nftables": "dnat ip prefix to 192.168.1.0/24"},
        PERSISTENT,
    ),
    "names by a server of its own": Row("tun:///host-1?namesBy=stub", {"names": "nameserver 127.0.117."}),
    "names in the hosts file": Row("tun:///host-1?namesBy=hosts", {"names": "10.20.0.7 host-1.tun.example"}),
    "name servers for all names": Row(
        "tun:///host-1?net=10.0.0.1/24&dns=10.20.0.1&namesBy=stub", {"names": "nameserver 127.0.117."}
    ),
}
PLAIN = "tun:///host-1?name=tun7&net=10.0.0.9/24&namesBy=off"
"""A client with none of them."""
TOO_EARLY = (0.12, 0.3)
"""Seconds after which a start is killed, which takes half of one: whatever it is just doing."""


def is_shown(namespace: Namespace, row: Row) -> bool:
    now = picture(namespace)
    return all(text in "\n".join(now[kind]) for kind, text in row.shown.items())


def test_after_any_end_the_next_start_mends_it(
    topology: Topology, write: Callable[[str, str], str], hosts_file: Path
) -> None:
    """kill -9 while it runs, while it starts and while it ends, then the same client again or a plain one; a start that fails."""
    one = topology.host_1
    one.run(
        "sysctl",
        "-qw",
        "net.ipv4.ip_forward=0",
        "net.ipv6.conf.all.forwarding=0",
        "net.ipv6.conf.uplink.accept_ra=1",
    )
    hub = start(topology.hub, "-C", write("hub.yml", HUB))
    pin = hub.wait_line(r"(sha256:[0-9a-f]{64})").group(1)
    hub.wait_line("listening on")
    forward = f"router+tls://{HUB_TO_HOST_1}:8443?pin={pin}"

    def set_by(row: Row) -> Process:
        client = start_client(one, "-L", row.listen, "-F", forward)
        wait_for(partial(is_shown, one, row))
        return client

    for name, row in ROWS.items():
        one.run("sh", "-c", row.set_up)
        before = picture(one)
        assert not any(text in "\n".join(before[kind]) for kind, text in row.shown.items()), name
        set_by(row).stop(signal.SIGKILL)
        for seconds in TOO_EARLY:
            client = start(one, "-L", row.listen, "-F", forward)
            time.sleep(seconds)
            client.stop(signal.SIGKILL)
        client = set_by(row)
        client.send(signal.SIGTERM)
        client.stop(signal.SIGKILL)
        set_by(row).stop(signal.SIGINT)
        assert picture(one) == before, f"{name}: the same again"
        failed = run("-L", row.listen, "-F", forward, "--control", "/proc/no-such.sock", namespace=one)
        assert failed[0] == 1, failed[1]
        assert picture(one) == before, f"{name}: a start that fails"

        set_by(row).stop(signal.SIGKILL)
        start_client(one, "-L", PLAIN, "-F", forward).stop()
        if row.outlives:
            assert is_shown(one, row)
            assert run("unlock", namespace=one)[0] == 0
        assert picture(one) == before, f"{name}: then a plain client"
        one.run("sh", "-c", "ip tuntap del tun7 mode tun; true")
