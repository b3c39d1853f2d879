"""A session's datagrams on wires that block or shape UDP: the stream takes over, and they are tried again."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lib.datagram_trust import FIRST_DELAY, JITTER
from tests.support.channels import channel_of
from tests.support.load import udp, waiting
from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Topology
from tests.support.program import (
    OVERLAY_2,
    example,
    host,
    pings,
    reach,
    start_client,
    start_hub,
    wait_for,
)

pytestmark = pytest.mark.usefixtures("no_traceback")
Write = Callable[[str, str], str]


def over_tls(arguments: tuple[str, ...]) -> list[str]:
    return [one.replace("router://", "router+tls://") for one in arguments]


def send(topology: Topology, count: int, pause: float) -> list[bool]:
    """Send a flow of UDP from host-1 to host-2, as a call does; which of its packets have arrived."""
    came = [False] * count
    with udp(topology.host_2, OVERLAY_2, 5000) as receiver, udp(topology.host_1) as sender:
        begin = time.monotonic()
        for number in range(count):
            time.sleep(max(0.0, begin + number * pause - time.monotonic()))
            sender.sendto(number.to_bytes(4, "big").ljust(200), (OVERLAY_2, 5000))
            _note(receiver, came)
        deadline = time.monotonic() + 1.0
        while time.monotonic() < deadline and not came[-1]:
            time.sleep(0.02)
            _note(receiver, came)
    return came


def _note(receiver: socket.socket, came: list[bool]) -> None:
    for data, _ in waiting(receiver):
        came[int.from_bytes(data[:4], "big")] = True


def test_udp_that_is_blocked_or_shaped(topology: Topology, write: Write, tmp_path: Path) -> None:
    hub, near = str(tmp_path / "hub.sock"), str(tmp_path / "near.sock")
    config = example("server.yml").replace("type: tcp", "type: tls")
    start_hub(topology.hub, "-C", write("hub.yml", config), "--control", hub)
    start_client(topology.host_1, *over_tls(host(1, HUB_TO_HOST_1)), "--control", near)
    start_client(topology.host_2, *over_tls(host(2, HUB_TO_HOST_2, extra="&channel=stream")))
    reach(topology.host_1, OVERLAY_2)

    def go_by_datagrams() -> bool:
        before = channel_of(near)
        assert pings(topology.host_1, OVERLAY_2, 10) == 10
        after = channel_of(near)
        counts = ("sent_datagrams", "received_datagrams")
        return all(after[count] - before[count] >= 10 for count in counts)

    # it is good by itself, and pings go by it
    for path in (hub, near):
        wait_for(lambda path=path: channel_of(path).get("path_mtu") == 1500)  # type: ignore[misc]
    wait_for(go_by_datagrams, 20)
    good = channel_of(near)
    assert (good["state"], good["reason"]) == ("good", "")
    assert 0 < good["rtt_s"] < 0.5
    assert good["loss"] < 0.1

    # UDP is blocked: within a second the stream carries all
    block = "table ip t { chain c { type filter hook input priority 0; udp dport 8443 RULE; }; }"
    topology.hub.run("nft", block.replace("RULE", "drop"))
    assert pings(topology.host_1, OVERLAY_2, 20) >= 8
    assert pings(topology.host_1, OVERLAY_2, 5) == 5
    wait_for(lambda: channel_of(near)["state"] == "bad")  # on a slow machine it is tried again just now
    assert channel_of(near)["reason"] in (
        "datagrams are not answered any more",
        "datagrams of 1,280 bytes do not pass",
    )
    topology.hub.run("nft", "delete table ip t")

    # it is tried again: the first time, or the second one where this machine is slow
    patience = 2.0 + 3 * (1 + JITTER) * FIRST_DELAY
    wait_for(lambda: pings(topology.host_1, OVERLAY_2, 2) and channel_of(near)["state"] == "good", patience)

    # UDP is shaped: 300 packets a second, of which 100 pass
    topology.hub.run("nft", block.replace("RULE", "limit rate over 100/second burst 10 packets drop"))
    came = send(topology, 900, 1 / 300)
    assert sum(came[:450]) < 450 or channel_of(near)["state"] != "good"
    assert sum(came[600:]) >= 290
    assert pings(topology.host_1, OVERLAY_2, 5) == 5
