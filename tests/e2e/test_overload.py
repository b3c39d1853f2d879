"""A host that sends more than can be carried: others' pings pass all the same."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable

import pytest

from tests.support.load import udp
from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Topology
from tests.support.program import OVERLAY_2, host, pings, reach, start_client, start_hub

pytestmark = pytest.mark.usefixtures("no_traceback")
OF_HUB = "192.168.123.254"
CONFIG = f"""\
services:
- {{name: s, addr: ":8443", handler: {{type: router, metadata: {{router: r}}}}, listener: {{type: tls}}}}
routers:
- name: r
  address: {OF_HUB}/24
  routes: [{{net: 192.168.123.1/32, gateway: host-1}}, {{net: 192.168.123.2/32, gateway: host-2}}]
"""
SECONDS = 1.5


@pytest.mark.alone
def test_pings_of_another_host_pass_beside_a_flood(
    topology: Topology, write: Callable[[str, str], str]
) -> None:
    start_hub(topology.hub, "-C", write("hub.yml", CONFIG))
    for number, namespace, hub in (
        (1, topology.host_1, HUB_TO_HOST_1),
        (2, topology.host_2, HUB_TO_HOST_2),
    ):
        arguments = host(number, hub)
        start_client(namespace, *(one.replace("router://", "router+tls://") for one in arguments))
    reach(topology.host_1, OVERLAY_2)
    reach(topology.host_2, OF_HUB)
    until = time.monotonic() + SECONDS

    def flood() -> None:
        with udp(topology.host_1) as sender:
            while time.monotonic() < until:
                for _ in range(64):
                    try:
                        sender.sendto(bytes(1200), (OVERLAY_2, 5000))
                    except BlockingIOError:
                        break

    sending = threading.Thread(target=flood)
    sending.start()
    said = topology.host_2.run("ping", "-c25", "-i0.05", "-W1", OF_HUB, check=False)
    sending.join()
    times = sorted(float(one) for one in re.findall(r"time=([0-9.]+)", said))
    assert len(times) >= 20, said
    assert times[len(times) // 2] < 100, said
    reach(topology.host_1, OVERLAY_2)  # what the flood has left in its own host's device and queue goes first
    assert pings(topology.host_1, OVERLAY_2, 3) == 3
