"""Names of hosts, as the C library's resolver asks the hub for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Topology
from tests.support.program import OVERLAY_1, OVERLAY_2, example, host, reach, start_client, start_hub

pytestmark = pytest.mark.usefixtures("no_traceback")

HUB, DOMAIN = "192.168.123.254", "tun.example"
NAMES = f"""    address: {HUB}/24
    dnsDomain: {DOMAIN}
    names: {{printer.host-2: 192.168.200.9}}
    routes:
"""


def test_the_c_library_finds_hosts_by_name_and_back(
    topology: Topology, write: Callable[[str, str], str], hosts_file: Path
) -> None:
    text = example("server.yml").replace("    routes:\n", NAMES)
    start_hub(topology.hub, "-C", write("hub.yml", text))
    start_client(topology.host_1, *host(1, HUB_TO_HOST_1))
    start_client(topology.host_2, *host(2, HUB_TO_HOST_2))
    one = topology.host_1
    reach(one, OVERLAY_2)
    (hosts_file.parent / "resolv.conf").write_text(
        f"nameserver {HUB}\nsearch {DOMAIN}\noptions timeout:2 attempts:2\n"
    )
    for name, address in (
        (f"host-2.{DOMAIN}", OVERLAY_2),
        ("host-2", OVERLAY_2),
        (f"HOST-1.{DOMAIN}.", OVERLAY_1),
        ("printer.host-2", "192.168.200.9"),
        (DOMAIN, HUB),
    ):
        assert one.run("getent", "ahostsv4", name).split()[0] == address
    assert one.run("getent", "hosts", OVERLAY_2).split() == [OVERLAY_2, f"host-2.{DOMAIN}"]
    for name in (f"host-9.{DOMAIN}", "www.example.com"):
        assert one.run("getent", "ahostsv4", name, check=False) == ""
    assert "1 received" in one.run("ping", "-c1", "-W2", "host-2")
