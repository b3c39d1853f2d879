"""Datagrams of a hub with workers: each comes to the worker that has the session, whatever becomes of workers."""

from __future__ import annotations

import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_datagrams import COUNTED, PORT, REBOUND, both_ways
from tests.e2e.test_workers import Hub, hub
from tests.support.channels import channel_of
from tests.support.netns import Topology, in_namespace
from tests.support.program import OVERLAY_1, OVERLAY_2, pings, reach, wait_for

__all__ = ["hub"]
pytestmark = pytest.mark.usefixtures("no_traceback")
HOSTS = "host-1", "host-2"


def are_good(hub: Hub) -> bool:
    return all(hub.session(host) and channel_of(hub.control, host).get("path_mtu") == 1500 for host in HOSTS)


def are_in_both(hub: Hub) -> bool:
    return [row["connections"] for row in hub.status()["workers"]] == [1, 1]


def received(hub: Hub) -> list[int]:
    return [channel_of(hub.control, host)["received_datagrams"] for host in HOSTS]


def own_sockets(topology: Topology) -> int:
    """How many sockets of the hub's UDP port are for one address alone."""
    return len(topology.hub.run("ss", "-Hun", "state", "established", f"sport = :{PORT}").splitlines())


def ports(topology: Topology) -> int:
    """How many sockets of the port are for all others."""
    return len(topology.hub.run("ss", "-Hun", "state", "unconnected", f"sport = :{PORT}").splitlines())


@pytest.mark.alone
def test_they_go_to_the_worker_that_has_the_session(hub: Hub) -> None:
    topology = hub.topology
    topology.hub.run("nft", COUNTED)
    hub.start("tls", "", "user: nobody\n")
    hub.both("tls")
    reach(topology.host_1, OVERLAY_2)
    wait_for(lambda: are_good(hub))
    assert are_in_both(hub)
    wait_for(lambda: ports(topology) == own_sockets(topology) == 2)
    before = received(hub)
    assert any(both_ways(topology) for _ in range(3))
    assert all(now > then for now, then in zip(received(hub), before, strict=True))

    for number in (1, 2):  # and the keys of all its sessions with it
        hub.kill(number)
        reach(topology.host_1, OVERLAY_2)
        wait_for(lambda: are_good(hub))
        assert ports(topology) == 2
        assert any(both_ways(topology) for _ in range(3))
    assert pings(topology.host_2, OVERLAY_1) == 5


@pytest.mark.alone
def test_a_client_behind_a_nat_that_forgets_is_followed(hub: Hub) -> None:
    """What comes from another address than before comes to the same worker: the label says which."""
    topology = hub.topology
    topology.hub.run("nft", COUNTED)
    hub.start("tls")
    one, _ = hub.both("tls")
    reach(topology.host_1, OVERLAY_2)
    wait_for(lambda: are_good(hub))
    topology.host_1.run("nft", REBOUND)
    assert pings(topology.host_1, OVERLAY_2, 20) == 20
    wait_for(lambda: channel_of(hub.control)["peer"].endswith(":40000"))
    assert any(both_ways(topology) for _ in range(3))
    assert are_in_both(hub)
    assert "again" not in one.text()


def reload(hub: Hub, more: str) -> None:
    hub.write("tls", more)
    before = hub.process.line_count()
    hub.process.send(signal.SIGHUP)
    hub.process.wait_line("reload: done", after=before)


def test_a_reload_opens_and_closes_their_port(hub: Hub) -> None:
    topology = hub.topology
    hub.start("tls", ", channel: stream")
    hub.both("tls")
    reach(topology.host_1, OVERLAY_2)
    assert ports(topology) == 0
    assert [channel_of(hub.control, host) for host in HOSTS] == [{"none": "channel: stream"}] * 2
    for told in ("", f", datagram: 'unused.example:{PORT}'", ""):
        reload(hub, told)
        assert ports(topology) == 2
        if not told:
            wait_for(lambda: are_good(hub))
    hub.kill(1)  # the next one is handed what the reload has opened
    reach(topology.host_1, OVERLAY_2)
    wait_for(lambda: are_good(hub))
    reload(hub, ", channel: stream")
    assert ports(topology) == own_sockets(topology) == 0
    assert {hub.session(host)["no_channel"] for host in HOSTS} == {"channel: stream"}
    assert pings(topology.host_1, OVERLAY_2) == 5


def test_a_busy_port_is_one_warning(hub: Hub) -> None:
    topology = hub.topology
    with in_namespace(topology.hub.name):
        other = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    with other:
        other.bind(("::", PORT))
        hub.start("tls")
        hub.both("tls")
        reach(topology.host_1, OVERLAY_2)
        assert [channel_of(hub.control, host) for host in HOSTS] == [{"none": "no UDP port"}] * 2
        (line,) = [line for line in hub.process.text().splitlines() if "UDP" in line]
        assert "cannot listen on UDP" in line
        troubles: list[dict[str, Any]] = hub.status()["troubles"]
        assert [one["event"] for one in troubles] == ["no-datagrams"]
    hub.kill(1)
    assert hub.process.text().count("cannot listen on UDP") == 1
    assert Path(f"/proc/{hub.worker(2)['pid']}").exists()
