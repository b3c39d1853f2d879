"""What breaks in a cluster of hubs, and what becomes of it: a hub that lies, beside two that do not."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from lib.ids import NO_NAMESPACE, format_uuid
from tests.e2e.test_cluster import Cluster, Write
from tests.faults.conftest import Note
from tests.faults.test_faults import pinging, seconds
from tests.support.netns import Topology
from tests.support.program import OVERLAY_2, reach, run, wait_for
from tests.support.redis_server import PORT, needs_redis
from tests.support.tls import self_signed

pytestmark = [pytest.mark.usefixtures("no_traceback"), needs_redis]


def test_a_hub_that_lies(topology: Topology, write: Write, note: Note, tmp_path: Path) -> None:
    """It is a member by its certificate, and trusted for another namespace than that of the hosts."""
    cluster = Cluster(topology, write, tmp_path)
    names = ("hub-1", "hub-2", "hub-3")
    for name in names:
        self_signed(tmp_path / f"{name}.pem", name, ed25519.Ed25519PrivateKey.generate())
    for number, name in enumerate(names[:2], 1):
        granted = {other: NO_NAMESPACE for other in names[:2] if other != name} | {"hub-3": b"N" * 16}
        rows = ", ".join(
            f"{{hub: {other}, certFile: {tmp_path}/{other}.pem, namespaces: {format_uuid(namespace)}}}"
            for other, namespace in granted.items()
        )
        cluster.start_hub(number, f"tls: {{certFile: {tmp_path}/{name}.pem}}", f", trust: [{rows}]")
    cluster.host(1, 1)
    cluster.host(2, 2)
    reach(topology.host_1, OVERLAY_2)
    arguments = (f"127.0.0.1:{PORT}", "hub-3", str(tmp_path / "hub-3.pem"))
    others = (f"{name}={tmp_path}/{name}.pem" for name in names[:2])
    with pinging(topology.host_1, OVERLAY_2) as result:
        began = time.monotonic()
        liar = topology.hub.popen(sys.executable, "-m", "tests.support.lying_hub", *arguments, *others)
        liar.wait_line("lying", 30)
        cluster.hubs[1].wait_line("trust does not grant to it .'hub-3'")
        noticed = seconds(began)
        wait_for(lambda: dropped(cluster) > 100)
        wait_for(lambda: cluster.status(1)["messages"].get("old", 0) > 20)
    assert result[1] == 0
    assert cluster.status(1)["hubs"][0]["hosts"] + cluster.status(1)["hubs"][1]["hosts"] == 1
    note("a hub of a cluster lies: claims a host, forges sources, replays the registry",
         "the other hubs: untrusted packets are counted, and the log names it", f"at once ({noticed} with its start)",
         f"nothing: 0 of {result[0]:.0f} pings to the host that it claims")  # fmt: skip


def dropped(cluster: Cluster) -> int:
    """Packets of the lying hub that hub-1 has dropped."""
    _, said = run("drops", "--json", "--control", cluster.control(1))
    found = json.loads(said)["drops"]
    return sum(one["count"] for one in found if one["reason"] == "untrusted")
