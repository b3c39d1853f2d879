"""Hundreds of clients in one process: what each of them costs, and how soon all are gone."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lib import netlink_watch
from lib.tun import open_tun
from tests.support.netns import Namespace, Process, Topology, in_namespace
from tests.support.program import program_pid, start, wait_for

pytestmark = pytest.mark.usefixtures("no_traceback", "real_starts")

Write = Callable[[str, str], str]
CLIENT = """\
- name: client-{0}
  handler: {{type: tun, chain: to-hub}}
  listener: {{type: tun, metadata: {{name: many{0}, net: 10.5.{0}.1/24, route: 172.16.{0}.0/24}}}}
  forwarder: {{nodes: [{{name: target, addr: host-{0}}}]}}
"""
CHAIN = """\
chains:
- name: to-hub
  hops: [{name: hop, nodes: [{name: hub, addr: "127.0.0.1:1", connector: {type: router}, dialer: {type: tcp}}]}]
"""


def started(namespace: Namespace, write: Write, count: int) -> Process:
    """A process with so many clients, whose devices many0, many1 and so on are all there."""
    services = "".join(map(CLIENT.format, range(count)))
    process = start(
        namespace, "-C", write(f"{count}.yml", f"services:\n{services}{CHAIN}"), "--control", "none"
    )
    wait_for(lambda: process.text().count(", device many") == count, 60)
    return process


def resident_kb(process: Process) -> int:
    found = re.search(r"VmRSS:\s*(\d+)", Path(f"/proc/{program_pid(process)}/status").read_text())
    assert found
    return int(found[1])


def test_each_device_of_a_process_costs_a_tenth_of_a_megabyte(namespace: Namespace, write: Write) -> None:
    """It was half a megabyte: each had a buffer of its own for what it reads."""
    few = started(namespace, write, 2)
    before = resident_kb(few)
    assert few.stop() == 0
    many = started(namespace, write, 62)
    assert (resident_kb(many) - before) / 60 < 200
    assert many.stop() == 0
    assert namespace.devices() == {"lo"}


def test_sixty_devices_go_in_the_time_of_a_few(namespace: Namespace) -> None:
    """500 devices took 11.8 s, one after the other; the kernel waits for its readers each time."""
    with in_namespace(namespace.name):
        devices = [open_tun() for _ in range(66)]
        try:
            began = time.monotonic()
            for one in devices[:6]:
                one.close()
            each = (time.monotonic() - began) / 6
            others = [netlink_watch.index_of(one.name) for one in devices[6:]]
            namespace.run("ip", "tuntap", "add", "mode", "tun", "name", "stays")
            began = time.monotonic()
            assert netlink_watch.remove_together(others, 1 << 31 | os.getpid()) == 0
            together = time.monotonic() - began
            assert not any(one.exists for one in devices[6:])
        finally:
            for one in devices:
                one.close()
        assert namespace.devices() == {"lo", "stays"}
    assert together < 60 * each / 3


def test_all_devices_of_a_process_go_whatever_has_been_done_to_them(topology: Topology, write: Write) -> None:
    here, elsewhere = topology.host_1, topology.host_2
    before = here.devices(), elsewhere.devices()
    here.run("ip", "tuntap", "add", "mode", "tun", "name", "many4")
    process = started(here, write, 6)
    here.run("ip", "link", "set", "many0", "netns", elsewhere.name)
    here.run("ip", "link", "set", "many1", "name", "renamed")
    here.run("ip", "link", "set", "many2", "group", "7")
    here.run("ip", "tuntap", "add", "mode", "tun", "name", "stays")
    here.run("ip", "link", "set", "stays", "group", "7")
    assert elsewhere.devices() == {*before[1], "many0"}
    assert process.stop() == 0
    assert here.devices() == {*before[0], "many4", "stays"}
    assert elsewhere.devices() == before[1]


def test_a_device_that_has_gone_does_not_keep_the_others(namespace: Namespace) -> None:
    with in_namespace(namespace.name):
        first, second = open_tun(), open_tun()
        indices = [netlink_watch.index_of(one.name) for one in (first, second)]
        first.close()
        assert netlink_watch.remove_together(indices, 1 << 31 | 5) == 0
        assert socket.if_nameindex() == [(1, "lo")]
        second.close()
