"""Seeing in: status, drops, kick and drain of a running hub and client."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Topology
from tests.support.program import (
    OVERLAY_2,
    example,
    host,
    needs_gost,
    pings,
    reach,
    run,
    start_client,
    start_gost,
    start_hub,
)

pytestmark = pytest.mark.usefixtures("no_traceback")

Write = Callable[[str, str], str]
FIELDS = {
    "service", "host", "namespace", "peer", "transport", "software", "since_s", "rtt_s", "queue_bytes", "superpackets",
    "received_packets", "received_bytes", "sent_packets", "sent_bytes", "drops",
}  # fmt: skip


@pytest.fixture
def sockets(tmp_path: Path) -> tuple[str, str]:
    return str(tmp_path / "hub.sock"), str(tmp_path / "client.sock")


def test_status_and_drops(topology: Topology, write: Write, sockets: tuple[str, str]) -> None:
    start_hub(topology.hub, "-C", write("hub.yml", example("server.yml")), "--control", sockets[0])
    start_client(topology.host_1, "--control", sockets[1], *host(1, HUB_TO_HOST_1))
    start_client(topology.host_2, *host(2, HUB_TO_HOST_2))
    reach(topology.host_1, OVERLAY_2)
    assert pings(topology.host_1, OVERLAY_2) == 5
    pings(topology.host_1, "192.168.123.77", 2)
    found = json.loads(run("status", "--json", "--control", sockets[0])[1])
    assert found["clients"] == []
    by_host = {row["host"]: row for row in found["sessions"]}
    assert set(by_host) == {"host-1", "host-2"}
    assert all(set(row) == FIELDS for row in found["sessions"])
    one = by_host["host-1"]
    assert one["received_packets"] >= 6
    assert one["superpackets"] is True
    assert one["software"].startswith("tunrouter ")
    assert one["drops"]["no-route"] >= 2
    (client,) = json.loads(run("status", "--json", "--control", sockets[1])[1])["clients"]
    assert (client["host"], client["device"], client["hub"]) == ("host-1", "tun0", "10.77.1.1:8443")
    status, text = run("status", "--control", sockets[0])
    assert status == 0
    assert "host-1  00000000  10.77.1.2:" in text
    assert max(map(len, text.splitlines())) <= 100
    text = run("drops", "--control", sockets[0])[1]
    assert "no-route, host-1 in" in text
    assert "to 192.168.123.77 in" in text
    late = json.loads(run("drops", "--json", "--control", sockets[0])[1])["destinations"]
    reasons = next(row["reasons"] for row in late if row["destination"] == "192.168.123.77")
    assert reasons["no-route"] >= 2


def test_kick_and_drain(topology: Topology, write: Write, sockets: tuple[str, str]) -> None:
    hub = start_hub(topology.hub, "-C", write("hub.yml", example("server.yml")), "--control", sockets[0])
    client = start_client(topology.host_1, *host(1, HUB_TO_HOST_1))
    assert run("kick", "host-1", "--control", sockets[0]) == (0, "1 sessions\n")
    hub.wait_line("left: kicked by the operator")
    client.wait_line("connected to", after=3)
    lines = client.line_count()
    assert run("drain", "host-1", "--control", sockets[0]) == (0, "1 sessions\n")
    client.wait_line("is about to end", after=lines)
    client.wait_line("connected to", after=lines)
    assert "trying again" not in "".join(client.text().splitlines(True)[lines:])
    status, said = run("kick", "host-9", "--control", sockets[0])
    assert (status, "no live session of host 'host-9'" in said) == (1, True)


@needs_gost
def test_a_gost_client_is_told_apart(topology: Topology, write: Write, sockets: tuple[str, str]) -> None:
    hub = start_hub(topology.hub, "-C", write("hub.yml", example("server.yml")), "--control", sockets[0])
    start_gost(topology.host_1, *host(1, HUB_TO_HOST_1))
    hub.wait_line("is host host-1")
    (row,) = json.loads(run("status", "--json", "--control", sockets[0])[1])["sessions"]
    assert (row["software"], row["superpackets"], row["rtt_s"]) == ("", False, 0)
