"""A cluster: hosts at two hubs reach each other by a registry in a real Redis and a link; what breaks, and what then."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from lib.cluster_registry import LEASE_SECONDS
from lib.ids import NO_NAMESPACE, format_uuid
from tests.support import load, schema
from tests.support.delayed import delayed
from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Namespace, Process, Topology
from tests.support.program import OVERLAY_1, OVERLAY_2, pings, reach, run, start_client, start_hub, wait_for
from tests.support.redis_server import PORT, Redis, needs_redis
from tests.support.tls import self_signed

pytestmark = [pytest.mark.usefixtures("no_traceback"), needs_redis]

Write = Callable[[str, str], str]
SECRET = "a secret of thirty-two letters, or more"
REDIS = f"addr: 127.0.0.1:{PORT}"
SLOW_PORT = 6390

HUB = """\
services:
- name: hub
  addr: ":{port}"
  handler: {{type: router, metadata: {{router: r, sd: registry, keepalive.timeout: 60s}}}}
  listener: {{type: tcp}}
sds: [{{name: registry, redis: {{{redis}}}}}]
cluster: {{name: hub-{number}, link: {{listen: "127.0.0.1:{link}", address: "127.0.0.1:{link}", {known_by}}}{more}}}
routers:
- name: r
  routes:
  - {{dst: 192.168.123.1/32, gateway: host-1}}
  - {{dst: 192.168.123.2/32, gateway: host-2}}
- {{name: e87f56dd-fd57-4921-9ab8-a0847662daae, routes: [{{dst: 192.168.123.2/32, gateway: host-2}}]}}
"""


class Cluster:
    """Two hubs and a Redis in the hub's namespace; host-1 is a client of the first hub, host-2 of the second."""

    def __init__(self, topology: Topology, write: Write, directory: Path) -> None:
        self.topology, self._write, self._directory = topology, write, directory
        self.redis = Redis(topology.hub)
        self.redis.start()
        self.hubs: dict[int, Process] = {}

    def start_hub(
        self, number: int, known_by: str = f'secret: "{SECRET}"', more: str = "", redis: str = REDIS
    ) -> Process:
        words = self.hub_words(number, known_by, more, redis)
        self.hubs[number] = made = start_hub(self.topology.hub, *words)
        return made

    def hub_words(
        self, number: int, known_by: str = f'secret: "{SECRET}"', more: str = "", redis: str = REDIS
    ) -> tuple[str, ...]:
        """The command line of a hub, whose file is written."""
        text = HUB.format(
            port=8443 + 1000 * (number - 1),
            link=7000 + number,
            number=number,
            redis=redis,
            known_by=known_by,
            more=more,
        )
        return ("-C", self._write(f"hub-{number}.yml", text), "--control", self.control(number))

    def trust(self, *numbers: int, namespaces: str = "'*'") -> dict[int, str]:
        """Start these hubs, each with a certificate that the others trust; returns their pins."""
        pins, files = {}, {number: self._directory / f"{number}.pem" for number in numbers}
        for number, file in files.items():
            if number in self.hubs:
                self.hubs[number].stop()
            self_signed(file, f"hub-{number}", ed25519.Ed25519PrivateKey.generate())
            der = ssl.PEM_cert_to_DER_cert(file.read_text().partition("-----BEGIN PRIV")[0])
            pins[number] = f"sha256:{hashlib.sha256(der).hexdigest()}"
        for number, file in files.items():
            rows = [
                f"{{hub: hub-{other}, pin: '{pin}', namespaces: {namespaces}}}"
                for other, pin in pins.items()
                if other != number
            ]
            self.start_hub(number, f"tls: {{certFile: {file}}}", f", trust: [{', '.join(rows)}]")
        return pins

    def control(self, number: int) -> str:
        return str(self._directory / f"hub-{number}.sock")

    def words(self, number: int, *hubs: int) -> tuple[str, ...]:
        """The command line of a host that dials these hubs, the first one first."""
        address = {1: HUB_TO_HOST_1, 2: HUB_TO_HOST_2}[number]
        ways = ",".join(f"{address}:{8443 + 1000 * (hub - 1)}" for hub in hubs)
        listen = f"tun:///host-{number}?net=192.168.123.{number}/24"
        return ("-L", listen, "-F", f"router://{ways}?strategy=fifo&failTimeout=1s")

    def host(self, number: int, *hubs: int) -> Process:
        namespace = {1: self.topology.host_1, 2: self.topology.host_2}[number]
        return start_client(namespace, *self.words(number, *hubs))

    def status(self, number: int) -> dict[str, Any]:
        status, said = run("status", "--json", "--control", self.control(number))
        assert status == 0, said
        found: dict[str, Any] = json.loads(said)["clusters"][0]
        return found

    def other(self, number: int) -> dict[str, Any]:
        """What a hub says of the other one; empty where it knows none."""
        found: dict[str, Any] = next(iter(self.status(number)["hubs"]), {})
        return found

    def begins_knowing(self) -> None:
        """hub-1 begins, by a slow way to Redis: whoever comes to it finds that it knows host-2, which is at hub-2."""
        host_1 = self.topology.host_1
        with delayed(self.topology.hub, SLOW_PORT, PORT) as way:
            way.seconds = 0.2
            self.start_hub(2)
            self.host(2, 2)
            began = time.monotonic()
            self.start_hub(1, redis=f"addr: 127.0.0.1:{SLOW_PORT}")
            took = time.monotonic() - began
            other = self.other(1)
            assert (other.get("name"), other.get("live"), other.get("hosts")) == ("hub-2", True, 1)
            assert took > 4 * way.seconds, "Redis was asked before"
            self.host(1, 1)
            reach(host_1, OVERLAY_2)
            _, page = run("drops", "--control", self.control(1))
            assert not re.search("foreign-source|no-session", page), page

    def wait_known(self, number: int, hosts: int, seconds: float = 30.0) -> None:
        """Wait until a hub knows so many hosts of the other one."""
        wait_for(lambda: (one := self.other(number)) and one["live"] and one["hosts"] == hosts, seconds)


@pytest.fixture
def cluster(topology: Topology, write: Write, tmp_path: Path) -> Cluster:
    made = Cluster(topology, write, tmp_path)
    made.start_hub(1)
    made.start_hub(2)
    return made


def test_a_hub_that_begins_lets_nobody_in_before_it_knows_the_others(
    topology: Topology, write: Write, tmp_path: Path
) -> None:
    Cluster(topology, write, tmp_path).begins_knowing()


@contextmanager
def pinging(namespace: Namespace, address: str) -> Iterator[Process]:
    """A ping each 20 ms."""
    process = namespace.popen("ping", "-D", "-O", "-i0.02", address)
    try:
        yield process
    finally:
        process.stop(signal.SIGINT)


def await_reply(process: Process, seconds: float) -> float:
    """Wait for a new reply; returns how long it took."""
    began, lines = time.monotonic(), process.line_count()
    process.wait_line(r"bytes from", seconds, lines)
    return time.monotonic() - began


def test_hosts_at_two_hubs_reach_each_other(cluster: Cluster) -> None:
    topology = cluster.topology
    cluster.host(1, 1)
    cluster.host(2, 2)
    reach(topology.host_1, OVERLAY_2)
    assert pings(topology.host_1, OVERLAY_2) == 5
    assert pings(topology.host_2, OVERLAY_1, 5, "-s", "1300") == 5
    load.transfer(topology.host_1, topology.host_2, OVERLAY_2, 8)
    load.transfer(topology.host_2, topology.host_1, OVERLAY_1, 8)
    seen = cluster.status(1)
    (other,) = seen["hubs"]
    assert (seen["name"], seen["own_hosts"], other["name"], other["hosts"]) == ("hub-1", 1, "hub-2", 1)
    assert other["live"]
    assert (other["behind"], other["error"], seen["error"]) == (False, "", "")
    assert min(other["link"]["received_bytes"], other["link"]["sent_bytes"]) > 8 << 20
    assert other["link"]["sent_packets"] > 8 << 20 >> 11, "superpackets count as their segments"
    _, page = run("status", "--control", cluster.control(1))
    assert "cluster hub hub-1, links on 127.0.0.1:7001: 1 host here, 1 other hub with 1 host" in page
    assert re.search("hub-2 .*good", page), page
    _, page = run("status", "--cluster", "--control", cluster.control(1))
    assert "cluster, as hub hub-1 sees it: 2 of 2 hubs live, 2 hosts, 2 sessions" in page
    assert re.search(r"hub-2 .* ms .*good", page), page
    _, page = run("explain", "--from", "host-1", OVERLAY_2, "--control", cluster.control(1))
    assert "no live session here; by hub at hub-2, link, superpackets" in " ".join(page.split()), page
    assert "goes to host-2 by hub at hub-2, link" in " ".join(page.split()), page
    status, said = run("kick", "host-2", "--control", cluster.control(1))
    assert (status, "the cluster has it at hub 'hub-2': ask there" in said) == (1, True), said
    _, page = run("drops", "--control", cluster.control(1))
    assert not re.search("foreign-source|no-link", page), page


def test_a_host_that_moves_is_followed(cluster: Cluster) -> None:
    """It comes to the other hub; what is the case meanwhile is in tests/unit/test_cluster_hosts.py."""
    topology = cluster.topology
    cluster.host(1, 1)
    old = cluster.host(2, 2)
    reach(topology.host_1, OVERLAY_2)
    old.stop(signal.SIGKILL)
    with pinging(topology.host_1, OVERLAY_2) as ping:
        for hub in (1, 2):
            moved = cluster.host(2, hub)
            assert await_reply(ping, 20.0) < 3.0
            moved.stop(signal.SIGKILL)


def test_a_killed_hub_loses_its_hosts_and_a_host_that_goes_on_is_reached(cluster: Cluster) -> None:
    topology = cluster.topology
    cluster.host(1, 1)
    client = cluster.host(2, 2, 1)
    reach(topology.host_1, OVERLAY_2)
    lines = cluster.hubs[1].line_count()
    killed = time.monotonic()
    cluster.hubs[2].stop(signal.SIGKILL)
    client.wait_line("connected to", after=client.line_count() - 1)
    reach(topology.host_1, OVERLAY_2, LEASE_SECONDS)
    assert time.monotonic() - killed < LEASE_SECONDS
    cluster.hubs[1].wait_line("hub-2 says nothing: its hosts are gone", LEASE_SECONDS + 3, lines)
    assert time.monotonic() - killed < LEASE_SECONDS + 2
    assert not cluster.other(1)["live"]
    status, said = run("status", "--cluster", "--json", "--control", cluster.control(1))
    seen = json.loads(said)
    schema.check(seen, "cluster")
    assert (status, seen["total"]["live"]) == (0, 1)
    assert [row["state"] for row in seen["hubs"]] == ["good", "gone"]
    cluster.start_hub(2)
    wait_for(lambda: cluster.other(1)["live"])
    reach(topology.host_1, OVERLAY_2)  # the client may have gone home by now


def test_a_hub_that_ends_says_goodbye(cluster: Cluster) -> None:
    cluster.host(2, 2)
    cluster.wait_known(1, 1)
    cluster.hubs[2].stop()
    wait_for(lambda: not cluster.other(1)["live"])
    assert "says nothing" not in cluster.hubs[1].text(), "it has said goodbye"


def test_redis_away_and_back(cluster: Cluster) -> None:
    topology = cluster.topology
    cluster.host(1, 1)
    reach_from_hub_2 = cluster.host(2, 2)
    reach(topology.host_1, OVERLAY_2)
    cluster.redis.stop()
    cluster.hubs[1].wait_line("what is known of other hubs goes on")
    time.sleep(LEASE_SECONDS + 1)  # what goes on, does so for longer than a lease
    assert pings(topology.host_1, OVERLAY_2, 2) == 2
    reach_from_hub_2.stop()
    wait_for(lambda: cluster.status(2)["own_hosts"] == 1)
    cluster.redis.start()
    back = time.monotonic()
    cluster.wait_known(1, 0, 20.0)
    assert time.monotonic() - back < 8, (
        "two seconds on a quiet machine (tests/unit/test_cluster_registry_redis.py)"
    )
    cluster.host(2, 2)
    cluster.wait_known(1, 1)
    assert pings(topology.host_1, OVERLAY_2) == 5
    assert cluster.status(1)["error"] == ""


def test_hubs_that_trust_each_other_by_certificates(cluster: Cluster, tmp_path: Path) -> None:
    """hub-2 is granted the namespace of all hosts, then by a reload another one alone."""
    topology = cluster.topology
    pins = cluster.trust(1, 2, namespaces=format_uuid(NO_NAMESPACE))
    status, said = run("check", "-C", str(tmp_path / "hub-2.yml"))
    assert status == 0, said
    assert f"this hub is known by pin {pins[2]}" in said
    assert "hub hub-1 may claim any host of 1 namespace" in said
    cluster.host(1, 1)
    cluster.host(2, 2)
    reach(topology.host_1, OVERLAY_2)
    assert pings(topology.host_2, OVERLAY_1) == 5
    file = tmp_path / "hub-1.yml"
    file.write_text(file.read_text().replace(format_uuid(NO_NAMESPACE), format_uuid(b"N" * 16)))
    cluster.hubs[1].send(signal.SIGHUP)
    cluster.hubs[1].wait_line("trust does not grant to it .'hub-2'")
    assert pings(topology.host_1, OVERLAY_2, 2) == 0
    assert pings(topology.host_2, OVERLAY_1, 2) == 0
    _, page = run("drops", "--control", cluster.control(1))
    assert re.search("untrusted|no-session", page), page


@pytest.mark.parametrize("how", ["flushed", "paused"])
def test_redis_is_flushed_or_stands_still(cluster: Cluster, how: str) -> None:
    topology = cluster.topology
    cluster.host(1, 1)
    cluster.host(2, 2)
    reach(topology.host_1, OVERLAY_2)
    if how == "flushed":
        cluster.redis.do("FLUSHALL")
        wait_for(lambda: cluster.redis.do("HLEN", "tunrouter:cluster:hub:hub-2").strip() == "2")
    else:
        assert cluster.redis._process is not None
        cluster.redis._process.send(signal.SIGSTOP)
        cluster.hubs[1].wait_line("what is known of other hubs goes on")
        assert pings(topology.host_1, OVERLAY_2) == 5
        cluster.redis._process.send(signal.SIGCONT)
    late = cluster.host(2, 2)
    cluster.wait_known(1, 1)
    reach(topology.host_1, OVERLAY_2)
    late.send(0)


def test_who_writes_to_redis_moves_no_host(cluster: Cluster) -> None:
    """Somebody with Redis and without the secret writes a list for a hub of its own, and another hub's anew."""
    topology = cluster.topology
    cluster.host(1, 1)
    cluster.host(2, 2)
    reach(topology.host_1, OVERLAY_2)
    cluster.redis.do("HSET", "tunrouter:cluster:hub:hub-2", "0123456789abcdefhost-1", "forged")
    cluster.redis.do("PUBLISH", "tunrouter:cluster:changes", "nonsense")
    cluster.hubs[1].wait_line("a message is not used: .*not signed by a hub of this cluster")
    assert pings(topology.host_1, OVERLAY_2) == 5
    wait_for(lambda: cluster.status(1)["messages"].get("foreign", 0) >= 1)


def test_a_forged_source_is_dropped(cluster: Cluster, write: Write) -> None:
    """hub-2 checks no sources; what host-2 sends as host-1 hub-1 does not take from that hub."""
    topology = cluster.topology
    cluster.hubs[2].stop()
    file = cluster._directory / "hub-2.yml"
    file.write_text(file.read_text().replace("sd: registry", "sd: registry, sourceCheck: off"))
    cluster.hubs[2] = start_hub(topology.hub, "-C", str(file), "--control", cluster.control(2))
    cluster.host(1, 1)
    cluster.host(2, 2)
    reach(topology.host_2, OVERLAY_1)
    topology.host_2.run("ip", "addr", "add", "192.168.123.9/32", "dev", "lo")
    assert pings(topology.host_2, OVERLAY_1, 3, "-I", "192.168.123.9") == 0
    _, page = run("drops", "--control", cluster.control(1))
    assert "foreign-source" in page, page


def test_a_hub_with_another_secret_is_in_no_cluster(cluster: Cluster) -> None:
    cluster.hubs[2].stop()
    cluster.start_hub(2, "secret: another secret of thirty-two letters")
    cluster.host(1, 1)
    cluster.host(2, 2)
    cluster.hubs[1].wait_line("not signed by a hub of this cluster")
    assert cluster.other(1).get("live", False) is False
    assert pings(cluster.topology.host_1, OVERLAY_2, 2) == 0


def test_a_reload_leaves_and_joins(cluster: Cluster, tmp_path: Path) -> None:
    cluster.host(2, 2)
    cluster.wait_known(1, 1)
    file = tmp_path / "hub-2.yml"
    text = file.read_text()
    file.write_text(text.replace("name: hub-2,", "name: hub-7,"))
    cluster.hubs[2].send(signal.SIGHUP)
    cluster.hubs[2].wait_line("cluster: joined as hub-7")
    wait_for(
        lambda: (
            {hub["name"]: hub["live"] for hub in cluster.status(1)["hubs"]} == {"hub-2": False, "hub-7": True}
        )
    )
    wait_for(lambda: [hub["hosts"] for hub in cluster.status(1)["hubs"] if hub["live"]] == [1])


def test_check_says_what_a_cluster_wants(write: Write) -> None:
    text = HUB.format(port=8443, link=7001, number=1, redis=REDIS, known_by="secret: short", more="")
    file = write("hub.yml", text)
    status, said = run("check", "-C", file)
    assert status == 2
    assert "'secret' is too short" in said
    assert ":7:" in said
