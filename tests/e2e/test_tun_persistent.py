"""A persistent TUN device, made by `ip tuntap add`: a client uses it, and leaves it as it was."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Namespace, Topology
from tests.support.program import OVERLAY_1, TUNROUTER, example, host, reach, start, start_client, start_hub

pytestmark = pytest.mark.usefixtures("no_traceback")

Write = Callable[[str, str], str]

CLIENT = (
    "tun:///host-1?net=192.168.123.1/24,fd77::1/64&route=192.168.200.0/24,fd78::/64,10.5.0.0/16&name=tun7"
)


def state(namespace: Namespace) -> dict[str, Any]:
    """All that there is to the device, its queue's counters left out."""
    (link,) = namespace.ip("addr", "show", "dev", "tun7")
    (detail,) = namespace.ip("link", "show", "dev", "tun7")
    found = {
        **detail,
        "addresses": link["addr_info"],
        "qdisc": "",
    }  # the kernel makes one when it is up first
    found["routes"] = (
        namespace.ip("route", "show", "dev", "tun7"),
        namespace.ip("-6", "route", "show", "dev", "tun7"),
    )
    return found


def add(namespace: Namespace, *words: str) -> None:
    namespace.run("ip", "tuntap", "add", "dev", "tun7", "mode", "tun", *words)


@pytest.mark.parametrize(
    ("words", "commands"),
    [
        pytest.param((), [], id="as made"),
        pytest.param(
            ("user", "nobody", "multi_queue", "vnet_hdr", "pi"),
            [
                "link set tun7 mtu 1300 txqueuelen 77 up",
                "addr add 192.168.123.1/24 dev tun7",
                "addr add 10.5.5.5/32 dev tun7",
                "addr add fd99::1/64 dev tun7",
                "route add 192.168.200.0/24 dev tun7",
                "route add 10.6.0.0/16 dev tun7",
            ],
            id="in use before",
        ),
    ],
)
def test_it_is_used_and_left_as_found(
    topology: Topology, write: Write, words: tuple[str, ...], commands: list[str]
) -> None:
    start_hub(topology.hub, "-C", write("server.yml", example("server.yml")))
    add(topology.host_1, *words)
    for command in commands:
        topology.host_1.run("ip", *command.split())
    before = state(topology.host_1)
    client = start_client(topology.host_1, "-L", CLIENT, "-F", f"router://{HUB_TO_HOST_1}:8443")
    start_client(topology.host_2, *host(2, HUB_TO_HOST_2))
    reach(topology.host_2, OVERLAY_1)
    during = state(topology.host_1)
    assert during["mtu"] == 1420
    assert "UP" in during["flags"]
    assert {"10.5.0.0/16", "192.168.200.0/24"} <= {route["dst"] for route in during["routes"][0]}
    assert client.stop() == 0
    assert state(topology.host_1) == before

    again = start_client(topology.host_1, "-L", CLIENT, "-F", f"router://{HUB_TO_HOST_1}:8443")
    again.stop(signal.SIGKILL)
    third = start_client(topology.host_1, "-L", CLIENT, "-F", f"router://{HUB_TO_HOST_1}:8443")
    reach(topology.host_2, OVERLAY_1)
    assert third.stop() == 0


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user")
def test_nobody_can_use_what_root_has_prepared(namespace: Namespace, tmp_path: Path) -> None:
    """With `user`, and everything set before, a client needs no capability."""
    add(namespace, "user", "nobody")
    for command in (
        "link set tun7 addrgenmode none",
        "addr add 192.168.123.1/24 dev tun7",
        "link set tun7 mtu 1420 up",
        "route add 192.168.200.0/24 dev tun7",
    ):
        namespace.run("ip", *command.split())
    before = state(namespace)
    node = tmp_path / "tun"  # where /dev/net/tun is root's only, as in some containers
    os.mknod(node, stat.S_IFCHR | 0o666, os.makedev(10, 200))
    node.chmod(0o666)
    bound = ("sh", "-c", 'mount --bind "$0" /dev/net/tun && exec "$@"', str(node))
    as_nobody = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--inh-caps=-all")
    client = namespace.popen(
        *bound,
        *as_nobody,
        *TUNROUTER,
        *("--control", "none"),
        *("-L", "tun:///host-1?net=192.168.123.1/24&route=192.168.200.0/24&name=tun7"),
        *("-F", "router://127.0.0.1:8443"),
    )
    client.wait_line("host host-1, device tun7")
    client.wait_line("Connection refused")
    assert client.stop() == 0
    assert state(namespace) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [((), "TUN device tun7: another program uses it"), (("multi_queue",), "another program uses it")],
)
def test_one_that_is_in_use_is_refused(namespace: Namespace, words: tuple[str, ...], message: str) -> None:
    add(namespace, *words)
    first = start(namespace, "-L", CLIENT, "-F", "router://127.0.0.1:8443")
    first.wait_line("host host-1, device tun7")
    second = start(namespace, "-L", CLIENT, "-F", "router://127.0.0.1:8443")
    assert second.wait() == 1
    assert message in second.text()
    assert first.returncode is None


def test_a_tap_device_is_refused(namespace: Namespace) -> None:
    namespace.run("ip", "tuntap", "add", "dev", "tun7", "mode", "tap")
    client = start(namespace, "-L", CLIENT, "-F", "router://127.0.0.1:8443")
    assert client.wait() == 1
    assert "TUN device tun7: a device of that name exists already" in client.text()
