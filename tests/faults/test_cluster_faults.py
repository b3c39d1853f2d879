"""What breaks in a cluster of hubs, and what becomes of it: hubs that die, lie, are cut off or older, and their Redis.

While something breaks, a host of the same name and address in another namespace receives nothing.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from lib.cluster_registry import LEASE_SECONDS
from lib.ids import NO_NAMESPACE, format_uuid
from tests.e2e.test_cluster import Cluster, Write
from tests.faults.conftest import Note
from tests.faults.test_faults import pinging, seconds
from tests.support import numbered, releases
from tests.support.delayed import delayed
from tests.support.netns import Namespace, Process, Topology
from tests.support.numbered import Numbered
from tests.support.program import OVERLAY_1, OVERLAY_2, pings, reach, run, start_client, wait_for
from tests.support.redis_server import PORT, needs_redis
from tests.support.tls import self_signed

pytestmark = [pytest.mark.usefixtures("no_traceback"), needs_redis]

OTHER = "e87f56dd-fd57-4921-9ab8-a0847662daae"
"""Another namespace of the hubs."""
BEFORE = "7ed3da6"
"""The release before this one."""
LINKS = "7001, 7002"
"""The ports of both hubs for links."""
NO_LINKS = (
    "table inet t { chain i { type filter hook input priority 0;"
    f" tcp dport {{ {LINKS} }} drop; tcp sport {{ {LINKS} }} drop; }}; }}"
)
REDIS_CUT_OFF = (
    "table inet t { chain i { type filter hook input priority 0; ip saddr 127.0.0.2 drop; };"
    " chain o { type filter hook output priority 0; ip daddr 127.0.0.2 drop; }; }"
)
SLOW_PORT, REPLICA_PORT, SENTINEL_PORT = 6390, 6381, 26380


class Faulty(Cluster):
    """A cluster, and in a namespace of its own `more` a host-2 of another tenant."""

    def __init__(self, topology: Topology, write: Write, directory: Path, more: Namespace) -> None:
        super().__init__(topology, write, directory)
        self.more = more

    def tenant(self, *hubs: int) -> Process:
        """The other tenant's host-2 comes, with the address that host-2 has."""
        ways = ",".join(f"10.77.3.1:{8443 + 1000 * (hub - 1)}" for hub in hubs)
        way = f"router://{ways}?router.id={OTHER}&strategy=fifo&failTimeout=1s"
        return start_client(self.more, "-L", "tun:///host-2?net=192.168.123.2/24", "-F", way)

    def twin(self, hub: int) -> Process:
        """Another machine there says that it is host-2, in the same namespace."""
        way = f"router://10.77.3.1:{8443 + 1000 * (hub - 1)}"
        return start_client(self.more, "-L", "tun:///host-2?net=192.168.123.2/24", "-F", way)

    def nothing_came(self) -> bool:
        """Whether the other tenant's host has received no packet."""
        (device,) = self.more.ip("-s", "link", "show", "tun0")
        return bool(device["stats64"]["rx"]["packets"] == 0)

    def knows(self, number: int, hub: int, hosts: int) -> bool:
        """Whether a hub knows so many hosts of another one."""
        rows = [row for row in self.status(number)["hubs"] if row["name"] == f"hub-{hub}"]
        return any(row["live"] and row["hosts"] == hosts for row in rows)

    def dropped(self, number: int, reason: str) -> int:
        """Packets that a hub has dropped for this reason."""
        _, said = run("drops", "--json", "--control", self.control(number))
        return sum(one["count"] for one in json.loads(said)["drops"] if one["reason"] == reason)


@pytest.fixture
def faulty(topology: Topology, write: Write, tmp_path: Path, more_hosts: list[Namespace]) -> Faulty:
    return Faulty(topology, write, tmp_path, more_hosts[0])


@contextmanager
def both_ways(topology: Topology) -> Iterator[tuple[Numbered, Numbered]]:
    """Numbered UDP packets of both hosts to each other."""
    one, two = topology.host_1, topology.host_2
    with (
        numbered.udp(one, two, OVERLAY_1, OVERLAY_2, 7001) as there,
        numbered.udp(two, one, OVERLAY_2, OVERLAY_1, 7002) as back,
    ):
        yield there, back


def gaps(flow: Numbered) -> list[int]:
    """How many packets were lost one after the other, each time; the longest first."""
    found: list[int] = []
    before = -2
    for number in flow.lost:
        if number != before + 1:
            found.append(0)
        found[-1] += 1
        before = number
    return sorted(found, reverse=True)


def summary(flow: Numbered) -> str:
    return f"{len(flow.lost)} of {flow.sent}"


def nothing_twice(*flows: Numbered) -> bool:
    """Whether each packet has arrived once at most: none went in a circle."""
    return all(len(set(flow.numbers)) == len(flow.numbers) for flow in flows)


# --- hubs ------------------------------------------------------------------------------------------


def test_each_hub_is_killed_in_turn_under_load(faulty: Faulty, note: Note) -> None:
    """Clients have both hubs as nodes, one session each, and a TCP transfer beside numbered packets."""
    topology = faulty.topology
    for hub in (1, 2):
        faulty.start_hub(hub)
    faulty.host(1, 1, 2)
    faulty.host(2, 2, 1)
    faulty.tenant(2, 1)
    reach(topology.host_1, OVERLAY_2)
    topology.host_2.popen("iperf3", "-s", "--forceflush").wait_line("Server listening")
    load = topology.host_1.popen("iperf3", "-c", OVERLAY_2, "-b", "50M", "-t", "60", "--forceflush")
    load.wait_line("connected to")
    with both_ways(topology) as flows:
        for dead, other in ((2, 1), (1, 2)):
            for flow in flows:
                flow.wait(30)
            faulty.hubs[dead].stop(signal.SIGKILL)
            for flow in flows:
                flow.wait(60)
            faulty.start_hub(dead)
            wait_for(lambda other=other: faulty.other(other).get("live"))  # type: ignore[misc]
    load.stop(signal.SIGKILL)
    there, back = flows
    assert nothing_twice(*flows)
    assert faulty.nothing_came()
    assert max(flow.longest_gap for flow in flows) < LEASE_SECONDS
    moved = max(sum(gaps(flow)[2:]) for flow in flows)
    assert moved * numbered.EVERY < 0.5, "a client that goes home, to the hub that is back, is followed"
    note("each hub of a cluster killed (-9) in turn under load; clients have one session", "their clients, and the other hub",
         f"the longest gap: {1000 * max(flow.longest_gap for flow in flows):.0f} ms",
         f"{summary(there)} UDP packets there, {summary(back)} back, in both deaths; {moved} of them when a client went home")  # fmt: skip


def test_two_hubs_that_do_not_reach_each_other(faulty: Faulty, note: Note, short: bool) -> None:
    """Both have Redis, and the link between them is cut (nft)."""
    topology = faulty.topology
    for hub in (1, 2):
        faulty.start_hub(hub)
    faulty.host(1, 1)
    faulty.host(2, 2)
    faulty.tenant(2)
    reach(topology.host_1, OVERLAY_2)
    with both_ways(topology) as flows:
        for flow in flows:
            flow.wait(30)
        began = time.monotonic()
        topology.hub.run("nft", NO_LINKS)
        for hub in (1, 2):
            faulty.hubs[hub].wait_line("link with hub .* ended")
        noticed = seconds(began)
        assert faulty.other(1)["live"], "its hosts are where they are, says the registry"
        if not short:  # a dial takes 5 s to fail
            wait_for(lambda: all(faulty.dropped(hub, "no-link") for hub in (1, 2)), 20)
            _, said = run("status", "--cluster", "--json", "--control", faulty.control(1))
            assert [row["state"] for row in json.loads(said)["hubs"]] == ["good", "unreachable"]
        topology.hub.run("nft", "flush", "ruleset")
        healed = time.monotonic()
        for flow in flows:
            flow.wait(30)
        back = seconds(healed)
    assert nothing_twice(*flows)
    assert faulty.nothing_came()
    assert max(len(gaps(flow)) for flow in flows) == 1, "nothing but what was on the way meanwhile"
    note("two hubs of a cluster cut off from each other (nft)", "both, by keepalive: `unreachable`",
         f"{noticed}; back {back} after the link", "packets between them meanwhile: `no-link` once a dial has failed")  # fmt: skip


def test_one_name_at_two_hubs(faulty: Faulty, note: Note) -> None:
    """Two machines say that they are host-2; a third hub sends to the newer one, and then to the one that is left."""
    topology = faulty.topology
    for hub in (1, 2, 3):
        faulty.start_hub(hub)
    older = faulty.twin(1)
    newer = faulty.host(2, 2)
    faulty.host(1, 3)
    wait_for(lambda: faulty.knows(3, 1, 1) and faulty.knows(3, 2, 1))
    reach(topology.host_1, OVERLAY_2)
    assert faulty.nothing_came(), "the newer one gets everything"
    with numbered.udp(topology.host_1, topology.host_2, OVERLAY_1, OVERLAY_2, 7001) as flow:
        flow.wait(50)
    assert nothing_twice(flow)
    assert not flow.lost
    assert faulty.nothing_came()
    for hub, other in ((1, 2), (2, 1)):
        rows = [row for row in faulty.status(hub)["hubs"] if row["name"] == f"hub-{other}"]
        assert rows[0]["link"] is None, "what came by a link goes by no other one"
    began = time.monotonic()
    newer.stop(signal.SIGKILL)
    reach(topology.host_1, OVERLAY_2)
    assert not faulty.nothing_came(), "the other machine has them now"
    note("one host name on two machines, at two hubs of a cluster", "each hub, by the registry",
         f"the newer session gets all packets; once it ends the other one does after {seconds(began)}",
         f"{summary(flow)} UDP packets, none twice, none at the other machine")  # fmt: skip
    assert older.returncode is None


def _upgraded(faulty: Faulty, hub: int) -> tuple[Numbered, Numbered]:
    """What becomes of packets both ways while this release takes the place of an older one at a hub."""
    with both_ways(faulty.topology) as flows:
        for flow in flows:
            flow.wait(30)
        assert faulty.hubs[hub].stop() == 0
        for flow in flows:
            flow.wait(30)
        faulty.start_hub(hub)
        wait_for(lambda: faulty.other(hub).get("live"))
    return flows


def test_a_rolling_upgrade_from_the_release_before(faulty: Faulty, note: Note, tmp_path: Path) -> None:
    """Hub by hub; in between an older one and a new one are one cluster."""
    topology, release = faulty.topology, releases.checkout(BEFORE, tmp_path)
    for hub in (1, 2):
        words = (sys.executable, "tunrouter.py", *faulty.hub_words(hub))
        faulty.hubs[hub] = topology.hub.popen(*words, cwd=release)
    for old in faulty.hubs.values():
        old.wait_line("listening on")
    faulty.host(1, 1, 2)
    host = faulty.host(2, 2, 1)
    faulty.tenant(1, 2)
    reach(topology.host_1, OVERLAY_2)
    flows = _upgraded(faulty, 2)
    there, back = flows
    host.stop()
    faulty.host(2, 2, 1)
    wait_for(lambda: faulty.other(2)["hosts"] == 2)
    reach(topology.host_1, OVERLAY_2)
    assert pings(topology.host_2, OVERLAY_1) == 5
    later = _upgraded(faulty, 1)
    assert nothing_twice(*flows, *later)
    assert faulty.nothing_came()
    longest = max(flow.longest_gap for flow in (*flows, *later))
    assert longest < LEASE_SECONDS
    assert all(sum(gaps(flow)) * numbered.EVERY < 1.0 for flow in (*flows, *later))
    note("a cluster is upgraded from the release before, hub by hub", "clients are told to move",
         f"the longest gap: {1000 * longest:.0f} ms",
         f"{summary(there)} UDP packets there, {summary(back)} back; then {summary(later[0])} and {summary(later[1])}")  # fmt: skip


def test_a_hub_that_lies(faulty: Faulty, note: Note, tmp_path: Path) -> None:
    """It is a member by its certificate, and trusted for another namespace than that of the hosts."""
    topology = faulty.topology
    names = ("hub-1", "hub-2", "hub-3")
    for name in names:
        self_signed(tmp_path / f"{name}.pem", name, ed25519.Ed25519PrivateKey.generate())
    for number, name in enumerate(names[:2], 1):
        granted = {other: NO_NAMESPACE for other in names[:2] if other != name} | {"hub-3": b"N" * 16}
        rows = ", ".join(
            f"{{hub: {other}, certFile: {tmp_path}/{other}.pem, namespaces: {format_uuid(namespace)}}}"
            for other, namespace in granted.items()
        )
        faulty.start_hub(number, f"tls: {{certFile: {tmp_path}/{name}.pem}}", f", trust: [{rows}]")
    faulty.host(1, 1)
    faulty.host(2, 2)
    faulty.tenant(1)
    reach(topology.host_1, OVERLAY_2)
    arguments = (f"127.0.0.1:{PORT}", "hub-3", str(tmp_path / "hub-3.pem"))
    others = (f"{name}={tmp_path}/{name}.pem" for name in names[:2])
    with pinging(topology.host_1, OVERLAY_2) as result:
        began = time.monotonic()
        liar = topology.hub.popen(sys.executable, "-m", "tests.support.lying_hub", *arguments, *others)
        liar.wait_line("lying", 30)
        faulty.hubs[1].wait_line("trust does not grant to it .'hub-3'")
        noticed = seconds(began)
        wait_for(lambda: faulty.dropped(1, "untrusted") > 100)
        wait_for(lambda: faulty.status(1)["messages"].get("old", 0) > 20)
    assert result[1] == 0
    assert faulty.nothing_came()
    assert faulty.status(1)["hubs"][0]["hosts"] + faulty.status(1)["hubs"][1]["hosts"] == 1
    note("a hub of a cluster lies: claims a host, forges sources, replays the registry",
         "the other hubs: untrusted packets are counted, and the log names it", f"at once ({noticed} with its start)",
         f"nothing: 0 of {result[0]:.0f} pings to the host that it claims")  # fmt: skip


# --- their Redis -----------------------------------------------------------------------------------


def test_a_redis_that_is_slow_cut_off_and_down(faulty: Faulty, note: Note, short: bool) -> None:
    """Hub 2 has a way of its own to it. Meanwhile a host comes there or goes, which hub 1 learns as soon as it can."""
    topology, hub_2 = faulty.topology, "the other hub, and the log"
    with delayed(topology.hub, SLOW_PORT, PORT) as way:
        faulty.start_hub(1)
        faulty.start_hub(2, redis=f"addr: 127.0.0.2:{SLOW_PORT}")
        faulty.host(1, 1)
        faulty.host(2, 2)
        reach(topology.host_1, OVERLAY_2)
        faulty.wait_known(1, 1)

        with pinging(topology.host_1, OVERLAY_2) as result:
            way.seconds = 0.5
            began = time.monotonic()
            late = faulty.tenant(2)
            faulty.wait_known(1, 2)
            known = seconds(began)
        assert result[1] == 0
        note("Redis of a cluster slow for one hub: a second for each reply", "nobody",
             f"a host that comes there is known {known} after its client's start", f"nothing: 0 of {result[0]:.0f} pings")  # fmt: skip

        with pinging(topology.host_1, OVERLAY_2) as result:
            way.seconds, after, began = 0.0, faulty.hubs[2].line_count(), time.monotonic()
            topology.hub.run("nft", REDIS_CUT_OFF)
            faulty.hubs[2].wait_line("what is known of other hubs goes on", 20, after)
            noticed = seconds(began)
            late.stop()
            time.sleep(max(0.0, began + LEASE_SECONDS + 1 - time.monotonic()))
            assert faulty.other(1)["live"], "its lease goes on by the link"
            assert faulty.other(1)["hosts"] == 2
            topology.hub.run("nft", "flush", "ruleset")
            began = time.monotonic()
            faulty.wait_known(1, 1)
            known = seconds(began)
        assert result[1] == 0
        note("one hub of a cluster cut off from Redis (nft)", hub_2, f"{noticed}; right again {known} after it is back",
             f"nothing: 0 of {result[0]:.0f} pings")  # fmt: skip

        with pinging(topology.host_1, OVERLAY_2) as result:
            lines, began = {hub: one.line_count() for hub, one in faulty.hubs.items()}, time.monotonic()
            faulty.redis.stop()
            for hub, after in lines.items():
                faulty.hubs[hub].wait_line("what is known of other hubs goes on", 20, after)
            noticed = seconds(began)
            faulty.tenant(2)
            time.sleep(0.0 if short else max(0.0, began + LEASE_SECONDS + 1 - time.monotonic()))
            faulty.redis.start()
            began = time.monotonic()
            faulty.wait_known(1, 2)
            known = seconds(began)
            assert time.monotonic() - began < 2.5
        assert result[1] == 0
        note("Redis of a cluster down", "every hub, and the log", f"{noticed}; right again {known} after it is back",
             f"nothing: 0 of {result[0]:.0f} pings; what is known goes on")  # fmt: skip
    assert faulty.nothing_came()


def test_a_redis_that_sentinel_fails_over(faulty: Faulty, note: Note, tmp_path: Path) -> None:
    topology = faulty.topology
    faulty.redis.do("CONFIG", "SET", "repl-diskless-sync-delay", "0")  # else a replica waits for 5 s
    follows = ("--replicaof", f"127.0.0.1 {PORT}")
    options = ("--port", str(REPLICA_PORT), "--save", "", "--appendonly", "no", *follows)
    replica = topology.hub.popen("redis-server", *options, cwd=str(tmp_path))
    replica.wait_line("REPLICA sync: Finished with success")
    file = tmp_path / "sentinel.conf"
    file.write_text(
        f"port {SENTINEL_PORT}\nbind 127.0.0.1\nsentinel monitor m 127.0.0.1 {PORT} 1\n"
        "sentinel down-after-milliseconds m 500\nsentinel failover-timeout m 2000\n"
    )
    sentinel = topology.hub.popen("redis-server", str(file), "--sentinel", cwd=str(tmp_path))
    sentinel.wait_line(r"\+slave slave", 20)
    for hub in (1, 2):
        faulty.start_hub(hub, redis=f"sentinel: {{addrs: ['127.0.0.1:{SENTINEL_PORT}'], master: m}}")
    faulty.host(1, 1)
    faulty.host(2, 2)
    reach(topology.host_1, OVERLAY_2)
    faulty.wait_known(1, 1)
    with pinging(topology.host_1, OVERLAY_2) as result:
        began = time.monotonic()
        faulty.redis.stop()
        faulty.tenant(2)
        sentinel.wait_line(r"\+switch-master", 20)
        named, decided = time.monotonic(), seconds(began)
        faulty.wait_known(1, 2)
        known = seconds(named)
    assert result[1] == 0
    assert faulty.nothing_came()
    note("Redis of a cluster killed, and failed over by Sentinel", "Sentinel, then every hub",
         f"Sentinel {decided}; a host that came meanwhile is known {known} after that",
         f"nothing: 0 of {result[0]:.0f} pings; what is known goes on")  # fmt: skip
