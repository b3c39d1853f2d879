"""Every pairing of our program with a real GOST, on real devices."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.load import iperf3, transfer
from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Namespace, Process, Topology
from tests.support.program import (
    OVERLAY_1,
    OVERLAY_2,
    example,
    host,
    needs_gost,
    pings,
    reach,
    start_client,
    start_gost,
    start_hub,
)

pytestmark = pytest.mark.usefixtures("no_traceback")

Write = Callable[[str, str], str]
OURS, THEIRS = "tunrouter", "GOST"
FULL = ("-M", "do", "-s", "1392")
"""A ping that fills the MTU of 1420, not to be fragmented."""
ENOUGH = 1 << 20
"""Bytes that must have arrived of iperf3's 8 MB when it ends; the last of them may still be on their way."""

START_HUB = {OURS: start_hub, THEIRS: start_gost}
START_CLIENT = {OURS: start_client, THEIRS: start_gost}


def pairing(hub: str, left: str, right: str) -> object:
    marks = [needs_gost] if THEIRS in (hub, left, right) else []
    return pytest.param(hub, left, right, id=f"hub {hub}, {left} to {right}", marks=marks)


def bring_up(topology: Topology, config: str, hub: str, left: str, right: str) -> list[Process]:
    programs = [
        START_HUB[hub](topology.hub, "-C", config),
        START_CLIENT[left](topology.host_1, *host(1, HUB_TO_HOST_1)),
        START_CLIENT[right](topology.host_2, *host(2, HUB_TO_HOST_2)),
    ]
    reach(topology.host_1, OVERLAY_2)
    return programs


def exercise(topology: Topology, programs: list[Process]) -> None:
    left, right = topology.host_1, topology.host_2
    assert pings(left, OVERLAY_2, 2) == 2
    assert pings(left, OVERLAY_2, 3, *FULL) == 3
    assert pings(right, OVERLAY_1, 3, *FULL) == 3
    assert iperf3(left, right, OVERLAY_2) > ENOUGH
    assert iperf3(left, right, OVERLAY_2, "--reverse") > ENOUGH
    transfer(left, right, OVERLAY_2, 8)
    transfer(right, left, OVERLAY_1, 8)
    assert pings(left, OVERLAY_2, 2) == 2
    assert [program.returncode for program in programs] == [None, None, None]


@pytest.mark.parametrize(
    ("hub", "left", "right"),
    [
        pairing(OURS, THEIRS, THEIRS),
        pairing(THEIRS, OURS, OURS),
        pairing(OURS, OURS, THEIRS),
        pairing(OURS, THEIRS, OURS),
        pairing(THEIRS, OURS, THEIRS),
        pairing(THEIRS, THEIRS, OURS),
        pairing(OURS, OURS, OURS),
    ],
)
def test_pairing(topology: Topology, write: Write, hub: str, left: str, right: str) -> None:
    config = write("server.yml", example("server.yml"))
    exercise(topology, bring_up(topology, config, hub, left, right))
    if right == OURS and THEIRS in (hub, left):
        size, packets = received(topology.host_2)
        transfer(topology.host_1, topology.host_2, OVERLAY_2, 8)
        more_size, more_packets = received(topology.host_2)
        mean = (more_size - size) / (more_packets - packets)
        assert mean > 1500, "segments reach the device in superpackets"


def received(host: Namespace) -> tuple[int, int]:
    """(bytes, packets) that were written to its device; a superpacket counts once."""
    (link,) = host.ip("-s", "link", "show", "tun0")
    return link["stats64"]["rx"]["bytes"], link["stats64"]["rx"]["packets"]


def test_superpackets_off_at_the_hub(topology: Topology, write: Write) -> None:
    text = example("server.yml").replace("router: router-0", "router: router-0\n        superpackets: off")
    exercise(topology, bring_up(topology, write("server.yml", text), OURS, OURS, OURS))


def test_superpackets_off_at_one_client(topology: Topology, write: Write) -> None:
    programs = [
        start_hub(topology.hub, "-C", write("server.yml", example("server.yml"))),
        start_client(topology.host_1, *host(1, HUB_TO_HOST_1)),
        start_client(topology.host_2, *host(2, HUB_TO_HOST_2, extra="&superpackets=off")),
    ]
    reach(topology.host_1, OVERLAY_2)
    exercise(topology, programs)


@needs_gost
@pytest.mark.parametrize(
    ("hub", "right", "mtu", "limit"),
    [
        pytest.param(THEIRS, OURS, 9000, 4096, id="hub GOST"),
        pytest.param(OURS, THEIRS, 20000, 16384, id="hub tunrouter, to GOST"),
    ],
)
def test_whatever_the_mtu_gost_gets_no_frame_over_its_limit(
    topology: Topology, write: Write, hub: str, right: str, mtu: int, limit: int
) -> None:
    """It would truncate the packet, or end."""
    extra = f"&mtu={mtu}"
    programs = [
        START_HUB[hub](topology.hub, "-C", write("server.yml", example("server.yml"))),
        start_client(topology.host_1, *host(1, HUB_TO_HOST_1, extra=extra)),
        START_CLIENT[right](topology.host_2, *host(2, HUB_TO_HOST_2, extra=extra)),
    ]
    reach(topology.host_1, OVERLAY_2)
    fits, too_big = str(limit - 28), str(limit - 27)
    assert pings(topology.host_1, OVERLAY_2, 3, "-M", "do", "-s", fits) == 3
    said = topology.host_1.run("ping", "-c1", "-W2", "-M", "do", "-s", too_big, OVERLAY_2, check=False)
    assert f"mtu = {limit}" in said.replace("mtu=", "mtu = ")
    longer = str(limit + 1500)
    assert pings(topology.host_1, OVERLAY_2, 3, "-M", "dont", "-s", longer) == 3, "in fragments"
    transfer(topology.host_1, topology.host_2, OVERLAY_2, 4)
    assert [program.returncode for program in programs] == [None, None, None]
