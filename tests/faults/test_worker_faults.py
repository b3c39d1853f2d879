"""A worker of a hub dies under load: the hosts of other workers lose nothing, and another one takes its place."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import Note
from tests.support import numbered
from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Namespace, Topology
from tests.support.program import OVERLAY_1, OVERLAY_2, reach, start_client, start_hub, wait_for

pytestmark = pytest.mark.usefixtures("no_traceback")

OVERLAY_3 = "192.168.123.3"
HUB = """\
workers: 3
services:
- name: hub
  addr: ":8443"
  handler: {type: router, metadata: {router: r}}
  listener: {type: tls}
routers:
- name: r
  routes:
  - {dst: 192.168.123.1/32, gateway: host-1}
  - {dst: 192.168.123.2/32, gateway: host-2}
  - {dst: 192.168.123.3/32, gateway: host-3}
"""


def workers(control: Path) -> dict[int, dict[str, Any]]:
    """The workers by number. Asked without a program, whose start would take longer than what is measured."""
    with socket.socket(socket.AF_UNIX) as sock, sock.makefile("rb") as reply:
        sock.settimeout(10)
        sock.connect(str(control))
        sock.sendall(b'{"do": "status"}\n')
        return {row["worker"]: row for row in json.loads(reply.readline())["workers"]}


def has_given(control: Path, connections: int) -> bool:
    """Whether the workers have so many connections, all together."""
    return sum(int(one["connections"]) for one in workers(control).values()) == connections


def test_a_worker_killed_under_load(
    topology: Topology,
    more_hosts: list[Namespace],
    write: Callable[[str, str], str],
    tmp_path: Path,
    note: Note,
) -> None:
    control = tmp_path / "hub.sock"
    start_hub(topology.hub, "-C", write("hub.yml", HUB), "--control", str(control))
    places = (
        (topology.host_1, HUB_TO_HOST_1),
        (topology.host_2, HUB_TO_HOST_2),
        (more_hosts[0], "10.77.3.1"),
    )
    third = None
    for number, (namespace, address) in enumerate(places, 1):
        listen = f"tun:///host-{number}?net=192.168.123.{number}/24"
        third = start_client(namespace, "-L", listen, "-F", f"router+tls://{address}:8443")
        wait_for(partial(has_given, control, number))
    assert third is not None
    reach(topology.host_1, OVERLAY_2)
    reach(topology.host_1, OVERLAY_3)
    before = workers(control)
    assert [before[number]["connections"] for number in (1, 2, 3)] == [1, 1, 1]
    ends = topology.host_1, topology.host_2
    with (
        numbered.udp(*ends, OVERLAY_1, OVERLAY_2, 7001, 0.005) as there,
        numbered.udp(*ends[::-1], OVERLAY_2, OVERLAY_1, 7002, 0.005) as back,
        numbered.udp(topology.host_1, more_hosts[0], OVERLAY_1, OVERLAY_3, 7003, 0.005) as dying,
    ):
        for flow in (there, back, dying):
            flow.wait(100)
        lines = third.line_count()
        began = time.monotonic()
        os.kill(before[3]["pid"], signal.SIGKILL)
        wait_for(lambda: (one := workers(control).get(3)) and one["ready"] and one["pid"] != before[3]["pid"])
        took = time.monotonic() - began
        third.wait_line("connected to", after=lines)
        for flow in (there, back, dying):
            flow.wait(100)
    lost = f"its own clients' packets meanwhile: {len(dying.lost)} of {dying.sent}, the longest gap {1000 * dying.longest_gap:.0f} ms"
    note(
        "worker of a hub killed (-9) under load, one of three",
        "the main process, and its own clients",
        f"another one takes its place after {took:.2f} s",
        f"{lost}; others: {len(there.lost)} of {there.sent} UDP packets there, {len(back.lost)} of {back.sent} back",
    )
    assert (there.lost, back.lost) == ([], []), "nobody else notices"
    assert dying.lost, "it did carry packets"
    assert took < 1.0
    after = workers(control)
    assert [after[number]["pid"] for number in (1, 2)] == [before[number]["pid"] for number in (1, 2)]
