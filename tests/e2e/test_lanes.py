"""Two lanes of a session over real wires: what takes which, what is lost with one, and who sees nothing of it."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import releases, schema
from tests.support.load import transfer
from tests.support.netns import HOST_1, HUB_TO_HOST_1, HUB_TO_HOST_2, Process, Topology
from tests.support.program import (
    OVERLAY_1,
    OVERLAY_2,
    example,
    host,
    pings,
    reach,
    run,
    start_client,
    start_hub,
    wait_for,
)

pytestmark = pytest.mark.usefixtures("no_traceback")
Write = Callable[[str, str], str]


def hub_config(kind: str = "tcp", metadata: str = "") -> str:
    text = example("server.yml").replace("type: tcp", f"type: {kind}")
    return text.replace("router: router-0", f"router: router-0{metadata}", 1)


def lanes_of(path: str) -> list[dict[str, Any]]:
    """The lanes of the one session of host-1 that a running process has; none while it has no session."""
    code, said = run("status", "--json", "--host", "host-1", "--control", path)
    assert code == 0, said
    reply = json.loads(said)
    schema.check(reply, "status")
    rows = reply["sessions"] or reply["clients"]
    assert len(rows) <= 1
    return [lane for row in rows for lane in row["lanes"]]


def wait_lanes(path: str, count: int) -> list[dict[str, Any]]:
    wait_for(lambda: len(lanes_of(path)) == count)
    return lanes_of(path)


def cut(topology: Topology, lane: dict[str, Any]) -> None:
    """End the TCP connection of a lane from outside: a RST in both directions."""
    port = lane["peer"].rpartition(":")[2]
    topology.hub.run("ss", "-K", "dst", HOST_1, "dport", "=", port)


@pytest.fixture
def both(topology: Topology, write: Write, tmp_path: Path) -> tuple[Process, Process, str]:
    """A hub, host-1 with two lanes, host-2; (hub, client of host-1, the hub's control socket)."""
    path = str(tmp_path / "hub.sock")
    hub = start_hub(topology.hub, "-D", "-C", write("hub.yml", hub_config()), "--control", path)
    client = start_client(topology.host_1, "-D", *host(1, HUB_TO_HOST_1))
    start_client(topology.host_2, *host(2, HUB_TO_HOST_2))
    reach(topology.host_1, OVERLAY_2)
    wait_lanes(path, 2)
    return hub, client, path


def test_what_takes_which_lane_and_what_is_lost_with_one(
    topology: Topology, both: tuple[Process, Process, str]
) -> None:
    hub, client, path = both
    bulk, sparse = lanes_of(path)
    assert [bulk["carries"], sparse["carries"]] == ["bulk", "sparse"]
    transfer(topology.host_1, topology.host_2, OVERLAY_2, 20)
    assert pings(topology.host_1, OVERLAY_2) == 5
    moved, few = lanes_of(path)
    assert moved["received_bytes"] - bulk["received_bytes"] > 20 << 20
    assert few["received_bytes"] - sparse["received_bytes"] < 500, "near and fast: one lane for everything"
    for number in (1, 0):  # either may go, and comes back
        lanes, before = wait_lanes(path, 2), hub.line_count()
        cut(topology, lanes[number])
        hub.wait_line("goes on without its lane", after=before)
        assert pings(topology.host_1, OVERLAY_2) == 5
    wait_lanes(path, 2)
    transfer(topology.host_2, topology.host_1, OVERLAY_1, 5)
    assert "trying again" not in client.text()
    assert hub.text().count("is host host-1") == 1
    assert run("kick", "host-1", "--control", path)[0] == 0
    client.wait_line("trying again")
    wait_lanes(path, 2)
    assert client.stop(signal.SIGTERM) == 0
    wait_for(
        lambda: not json.loads(run("status", "--json", "--host", "host-1", "--control", path)[1])["sessions"]
    )


def test_a_lane_that_reaches_another_hub_changes_nothing(
    topology: Topology, write: Write, both: tuple[Process, Process, str]
) -> None:
    """As behind a load balancer: connections made from now on lead elsewhere."""
    hub, client, path = both
    other = start_hub(topology.hub, "-C", write("other.yml", hub_config().replace(":8443", ":8444")))
    topology.hub.run(
        "nft",
        "table ip t { chain c { type nat hook prerouting priority -100; "
        f"ip saddr {HOST_1} tcp dport 8443 tcp flags & (syn | ack) == syn redirect to :8444; }}; }}",
    )
    cut(topology, lanes_of(path)[1])
    other.wait_line("the session of this lane is not here")
    client.wait_line("has one lane: refused: network unreachable")
    assert len(lanes_of(path)) == 1
    assert pings(topology.host_1, OVERLAY_2) == 5
    assert "is host" not in other.text()
    assert "trying again" not in client.text()
    assert hub.text().count("is host host-1") == 1


BEFORE = "e513679"
"""The release before this one had lanes."""


@pytest.fixture(scope="module")
def release_before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of it."""
    return releases.checkout(BEFORE, tmp_path_factory.mktemp("before"))


@pytest.mark.parametrize("role", ["hub", "client"])
def test_the_release_before_has_one_lane(
    topology: Topology, write: Write, tmp_path: Path, release_before: Path, role: str
) -> None:
    path, old = str(tmp_path / "one.sock"), (sys.executable, "tunrouter.py")
    words = ("-C", write("hub.yml", hub_config()))
    if role == "hub":
        topology.hub.popen(*old, *words, cwd=release_before).wait_line("listening on")
        client = start_client(topology.host_1, *host(1, HUB_TO_HOST_1), "--control", path)
    else:
        start_hub(topology.hub, *words, "--control", path)
        client = topology.host_1.popen(*old, *host(1, HUB_TO_HOST_1), cwd=release_before)
        client.wait_line("connected to")
    start_client(topology.host_2, *host(2, HUB_TO_HOST_2))
    reach(topology.host_1, OVERLAY_2)
    transfer(topology.host_1, topology.host_2, OVERLAY_2, 5)
    (lane,) = lanes_of(path)
    assert lane["carries"] == "all"
    assert "trying again" not in client.text()
