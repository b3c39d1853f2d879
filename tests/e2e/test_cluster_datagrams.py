"""Datagrams between the hubs of a cluster: what goes by them on a lossy way, and what goes on without them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_cluster import SECRET, Cluster, Write
from tests.support import load, releases, schema
from tests.support.netns import Topology
from tests.support.program import OVERLAY_1, OVERLAY_2, pings, reach, run, start_hub, wait_for
from tests.support.redis_server import needs_redis

pytestmark = [pytest.mark.usefixtures("no_traceback"), needs_redis]

PORTS = "{ 7001, 7002 }"
LOSSY = (
    "table ip lossy { chain in { type filter hook input priority 0; "
    f"udp dport {PORTS} numgen inc mod 20 0 drop; tcp dport {PORTS} numgen inc mod 20 0 drop; "
    f"tcp sport {PORTS} numgen inc mod 20 0 drop; }}; }}"
)
"""Each twentieth packet of a link is lost, either way."""
BLOCKED = f"table ip block {{ chain in {{ type filter hook input priority 0; udp dport {PORTS} drop; }}; }}"
AUTO = f'secret: "{SECRET}", channel: auto'
BEFORE = "3a8f910"
"""The version before this one had none between hubs."""


@pytest.fixture
def cluster(topology: Topology, write: Write, tmp_path: Path) -> Cluster:
    return Cluster(topology, write, tmp_path)


def started(cluster: Cluster) -> Cluster:
    """Two hubs with a host each, whose link has a good channel."""
    cluster.start_hub(1, AUTO)
    cluster.start_hub(2, AUTO)
    cluster.host(1, 1)
    cluster.host(2, 2)
    reach(cluster.topology.host_1, OVERLAY_2)
    wait_until_good(cluster)
    return cluster


def wait_until_good(cluster: Cluster) -> None:
    def are_good() -> bool:
        pings(cluster.topology.host_1, OVERLAY_2, 1)  # what nobody uses rests
        both = [channel(cluster, number) for number in (1, 2)]
        return all(one.get("state") == "good" and one["path_mtu"] > 8000 for one in both)

    wait_for(are_good, 15.0)


def link(cluster: Cluster, number: int) -> dict[str, Any]:
    found: dict[str, Any] = cluster.other(number)["link"]
    return found


def channel(cluster: Cluster, number: int) -> dict[str, Any]:
    """The channel that a hub has with the other one; where there is none, why under "none"."""
    found = link(cluster, number)
    return found["channel"] or {"none": found["no_channel"]}


def counts(cluster: Cluster) -> list[int]:
    """Datagrams that each hub has sent, and those that it has received."""
    both = [channel(cluster, number) for number in (1, 2)]
    return [found[name] for found in both for name in ("sent_datagrams", "received_datagrams")]


def grew(cluster: Cluster, does: Callable[[], None]) -> list[int]:
    """By how much counts() are more after something was done."""
    before = counts(cluster)
    does()
    return [now - then for now, then in zip(counts(cluster), before, strict=True)]


@pytest.mark.alone
def test_by_a_lossy_way_pings_go_by_datagrams_and_tcp_by_the_stream(cluster: Cluster) -> None:
    topology = started(cluster).topology
    topology.hub.run("nft", LOSSY)

    def ping() -> None:
        came = pings(topology.host_1, OVERLAY_2, 100, "-i0.01")
        assert 80 <= came < 100, "nothing sends a lost one again"

    assert min(grew(cluster, ping)) >= 80
    more = grew(cluster, lambda: load.transfer(topology.host_2, topology.host_1, OVERLAY_1, 4))
    assert max(more) < 200, "TCP goes by the stream"
    found = channel(cluster, 1)
    assert (found["state"], found["reason"]) == ("good", "")

    def is_told() -> bool:
        pings(topology.host_1, OVERLAY_2, 40, "-i0.01")  # a report of what came may be lost as well
        return 0.0 < float(channel(cluster, 1)["loss"]) < 0.2

    wait_for(is_told, 15.0)
    _, page = run("status", "--cluster", "--control", cluster.control(1))
    assert " good " in " ".join(page.split()), page


@pytest.mark.alone
def test_where_udp_is_blocked_the_stream_of_a_link_carries_all(cluster: Cluster) -> None:
    topology = started(cluster).topology
    topology.hub.run("nft", BLOCKED)
    lost = 30 - pings(topology.host_1, OVERLAY_2, 30, "-i0.05")
    assert lost <= 20, "it took longer than a second"
    assert pings(topology.host_1, OVERLAY_2, 10, "-i0.05") == 10
    found = channel(cluster, 1)
    assert found["state"] == "bad"
    assert "not answered" in found["reason"]


@pytest.mark.alone
def test_a_forged_source_by_datagrams_is_dropped(cluster: Cluster) -> None:
    """hub-2 checks no sources; what host-2 sends as somebody else hub-1 does not take from that hub."""
    topology = cluster.topology
    cluster.start_hub(1, AUTO)
    file = Path(cluster.hub_words(2, AUTO)[1])
    file.write_text(file.read_text().replace("sd: registry", "sd: registry, sourceCheck: off"))
    cluster.hubs[2] = start_hub(topology.hub, "-C", str(file), "--control", cluster.control(2))
    cluster.host(1, 1)
    cluster.host(2, 2)
    reach(topology.host_2, OVERLAY_1)
    topology.host_2.run("ip", "addr", "add", "192.168.123.9/32", "dev", "lo")
    wait_until_good(cluster)

    def forge() -> None:
        assert pings(topology.host_2, OVERLAY_1, 10, "-i0.02", "-I", "192.168.123.9") == 0

    assert grew(cluster, forge)[1] >= 10, "they have come by datagrams"
    _, page = run("drops", "--control", cluster.control(1))
    assert "foreign-source" in page, page


def test_a_hub_of_the_version_before_or_with_streams_only_goes_on_without(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> None:
    topology = cluster.topology
    before = releases.checkout(BEFORE, tmp_path_factory.mktemp("before"))
    cluster.start_hub(1, AUTO)
    old = topology.hub.popen(sys.executable, "tunrouter.py", *cluster.hub_words(2), cwd=before)
    old.wait_line("listening on")
    cluster.host(1, 1)
    cluster.host(2, 2)
    reach(topology.host_1, OVERLAY_2)
    assert pings(topology.host_1, OVERLAY_2, 5, "-s", "1300") == 5
    assert channel(cluster, 1) == {"none": "the far hub has none"}
    old.stop()
    cluster.start_hub(2)
    reach(topology.host_1, OVERLAY_2)
    assert channel(cluster, 1) == {"none": "the far hub has none"}
    assert channel(cluster, 2) == {"none": "channel: stream"}
    assert ":7002" not in topology.hub.run("ss", "-lunH")
    assert ":7001" in topology.hub.run("ss", "-lunH")
    code, said = run("status", "--cluster", "--json", "--control", cluster.control(2))
    assert code == 0
    schema.check(json.loads(said), "cluster")
