"""Hubs and a real Redis: it is restarted, its clock is wrong, it is failed over; trust, and a hub that lies."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import gevent
import pytest
from redis import RedisError

from lib import cluster_wire
from lib.cluster_registry import LEASE_SECONDS, Outcome
from lib.cluster_trust import Trust
from lib.settings_registry import TrustSettings
from lib.settings_sources import RedisSource, Sentinel
from lib.source_redis import redis_connection
from lib.stream_bounded import Bounds
from tests.support import packets as p
from tests.support.redis_local import ENGINES, free_port, sentinel, serving
from tests.support.registry_nodes import NAMESPACE, Node, wait_for
from tests.support.routes import table
from tests.unit.test_cluster_trust import World

OTHER = b"M" * 16
ROUTES = table(("10.0.0.1/32", "host-1"), ("10.0.0.2/32", "host-2"))
CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>
#define WRONG 900000
int gettimeofday(struct timeval *at, void *zone) {
    int (*real)(struct timeval *, void *) = dlsym(RTLD_NEXT, "gettimeofday");
    int got = real(at, zone);
    at->tv_sec += WRONG;
    return got;
}
int clock_gettime(clockid_t clock, struct timespec *at) {
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int got = real(clock, at);
    if (clock == CLOCK_REALTIME) at->tv_sec += WRONG;
    return got;
}
time_t time(time_t *at) {
    struct timeval now;
    gettimeofday(&now, 0);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
"""
"""Ten days ahead, of which a Redis knows nothing."""


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@contextmanager
def nodes(count: int, redis: str, **more: Any) -> Iterator[list[Node]]:
    made: list[Node] = []
    try:
        for number in range(1, count + 1):
            made.append(Node(f"hub-{number}", redis, ROUTES, **more))
            made[-1].start()
        yield made
    finally:
        for one in made:
            one.stop()


def all_know(hubs: list[Node]) -> bool:
    return all(
        sum(other.live for other in hub.cluster.registry.hubs.values()) == len(hubs) - 1 for hub in hubs
    )


def ask(address: str, *command: object) -> Any:
    connection = redis_connection(RedisSource(address), Bounds(10, 1 << 20))
    try:
        connection.send_command(*command)
        return connection.read_response()
    finally:
        connection.disconnect()


def told(port: int, *command: object) -> Any:
    """As ask; nothing where there is no reply: a server ends its connections when it becomes a master."""
    try:
        return ask(f"127.0.0.1:{port}", *command)
    except (RedisError, OSError):
        return b""


def lists_read(address: str) -> int:
    """How many lists of hubs a server has been asked for since it began."""
    found = re.search(r"cmdstat_hgetall:calls=(\d+)", ask(address, "INFO", "commandstats").decode())
    return int(found[1]) if found else 0


@pytest.mark.alone
def test_a_redis_that_is_back_is_right_again_within_two_seconds_without_a_storm(
    tmp_path: Path, engine: str
) -> None:
    """Ten hubs with hosts. All have changes of which nobody hears, and one host moves meanwhile."""
    port = free_port()
    address = f"127.0.0.1:{port}"
    with nodes(10, address) as hubs:
        with serving(tmp_path, "--port", str(port), engine=engine):
            for number, hub in enumerate(hubs):
                for host in range(20):
                    hub.join(f"host-{number}-{host}")
            moving = hubs[1].join("host-2")
            wait_for(lambda: all_know(hubs) and hubs[0].where("host-2") == ["hub-2"])
            wait_for(lambda: all(hub.cluster.registry.size == 181 - (hub is hubs[1]) for hub in hubs))
        for number, hub in enumerate(hubs):
            hub.join(f"late-{number}")  # is written before the hub has noticed
        wait_for(lambda: all(hub.cluster.redis.lost for hub in hubs))
        hubs[1].domain.leave(moving)
        hubs[2].join("host-2")
        gevent.sleep(LEASE_SECONDS / 4)
        assert hubs[0].where("host-2") == ["hub-2"], "what is known goes on"
        with serving(tmp_path, "--port", str(port), engine=engine):
            back = time.monotonic()
            others = [hub for hub in hubs if hub is not hubs[2]]
            wait_for(lambda: all(hub.where("host-2") == ["hub-3"] for hub in others))
            wait_for(lambda: all(hub.cluster.registry.size == 189 + (hub is not hubs[2]) for hub in hubs))
            assert time.monotonic() - back < 2.5
            gevent.sleep(1.0)
            processed = ask(address, "INFO", "stats").decode().partition("total_commands_processed:")[2]
            per_hub = int(processed.split()[0]) / len(hubs)
            # A list of 20 hosts is written once, and each beat has six commands.
            assert per_hub < 60
            assert lists_read(address) < 45, "what has changed is news: else each hub reads nine lists"


def test_a_redis_whose_clock_is_wrong_changes_nothing(tmp_path: Path, engine: str) -> None:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler (cc) to make a wrong clock with")
    source, library = tmp_path / "clock.c", tmp_path / "clock.so"
    source.write_text(CLOCK)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    port = free_port()
    address = f"127.0.0.1:{port}"
    with serving(tmp_path, "--port", str(port), engine=engine, env={"LD_PRELOAD": str(library)}):
        assert int(ask(address, "TIME")[0]) > time.time() + 800_000, "so that this test can fail"
        with nodes(2, address) as (one, two):
            session = two.join("host-2")
            wait_for(lambda: one.where("host-2") == ["hub-2"])
            gevent.sleep(LEASE_SECONDS + 1)
            assert one.where("host-2") == ["hub-2"]
            two.domain.leave(session)
            wait_for(lambda: one.where("host-2") == [])


def test_a_redis_that_is_failed_over_by_sentinel(tmp_path: Path, engine: str) -> None:
    ports = free_port(), free_port(), free_port()
    source = RedisSource("", key="cluster", sentinel=Sentinel((f"127.0.0.1:{ports[2]}",), "m"))
    with ExitStack() as running:
        fast = ("--repl-diskless-sync-delay", "0")
        master = running.enter_context(serving(tmp_path, "--port", str(ports[0]), *fast, engine=engine))
        follows = ("--port", str(ports[1]), "--replicaof", f"127.0.0.1 {ports[0]}", *fast)
        running.enter_context(serving(tmp_path, *follows, engine=engine))
        running.enter_context(sentinel(tmp_path, ports[2], "m", ports[0], engine=engine))
        one, two = running.enter_context(nodes(2, "", registry=source))
        session = two.join("host-2")
        wait_for(lambda: one.where("host-2") == ["hub-2"])
        wait_for(lambda: len(told(ports[2], "SENTINEL", "replicas", "m")) == 1)
        wait_for(lambda: b"master_link_status:up" in told(ports[1], "INFO", "replication"))
        master.kill()
        killed = time.monotonic()
        wait_for(lambda: told(ports[1], "ROLE")[:1] == [b"master"])
        failed_over = time.monotonic()
        assert one.where("host-2") == ["hub-2"], "what is known goes on"
        two.domain.leave(session)
        wait_for(lambda: one.where("host-2") == [])
        assert time.monotonic() - failed_over < 10, f"Sentinel took {failed_over - killed:.1f} s of its own"
        assert all_know([one, two])


# --- trust ----------------------------------------------------------------------------------------------


@pytest.fixture
def address(tmp_path: Path, engine: str) -> Iterator[str]:
    port = free_port()
    with serving(tmp_path, "--port", str(port), engine=engine):
        yield f"127.0.0.1:{port}"


Make = Callable[..., Node]


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    for name in ("hub-1", "hub-2", "hub-3"):
        made.made(name)
    return made


@pytest.fixture
def make(world: World, address: str) -> Iterator[Make]:
    """Start a hub that trusts others: make("hub-1", ("hub-2", {NAMESPACE}), …)."""
    made: list[Node] = []

    def start(name: str, *trusted: tuple[str, set[bytes]]) -> Node:
        trust = [TrustSettings(hub, (world.pin(hub),), "", frozenset(granted)) for hub, granted in trusted]
        file = str(world.directory / f"{name}.pem")
        made.append(Node(name, address, ROUTES, secret="", cert_file=file, trust=tuple(trust)))
        made[-1].start()
        return made[-1]

    yield start
    for one in made:
        one.stop()


def came(session: Any) -> int:
    return len(session.sender.came)


def test_hubs_that_trust_each_other_find_their_certificates_and_pass_packets(make: Make) -> None:
    one, two = make("hub-1", ("hub-2", {NAMESPACE})), make("hub-2", ("hub-1", {NAMESPACE}))
    here, there = one.join("host-1"), two.join("host-2")
    wait_for(lambda: one.where("host-2") == ["hub-2"] and two.where("host-1") == ["hub-1"])
    one.send(here, p.udp("10.0.0.1", "10.0.0.2"))
    wait_for(lambda: came(there) == 1)
    two.send(there, p.udp("10.0.0.2", "10.0.0.1"))
    wait_for(lambda: came(here) == 1)


def test_a_hub_that_begins_has_read_certificates_before_it_says_that_all_is_known(make: Make) -> None:
    two = make("hub-2", ("hub-1", {NAMESPACE}))
    two.join("host-2")
    wait_for(lambda: len(two.cluster.claims) == 1)
    one = make("hub-1", ("hub-2", {NAMESPACE}))
    one.cluster.wait_known()
    assert one.where("host-2") == ["hub-2"]


def test_a_hub_that_nobody_trusts_is_not_believed(make: Make) -> None:
    one, two = make("hub-1", ("hub-2", {NAMESPACE})), make("hub-2", ("hub-1", {NAMESPACE}))
    liar = make("hub-3", ("hub-1", {NAMESPACE}), ("hub-2", {NAMESPACE}))
    liar.join("host-2")
    two.join("host-2")
    wait_for(lambda: one.where("host-2") == ["hub-2"] and liar.where("host-2") == ["hub-2"])
    wait_for(lambda: one.cluster.registry.outcomes[Outcome.STRANGER])
    assert one.where("host-2") == ["hub-2"]


def test_a_hub_that_claims_hosts_of_a_namespace_that_it_may_not(make: Make) -> None:
    """Nothing is sent to it, and nothing that it sends arrives."""
    one = make("hub-1", ("hub-2", {OTHER}))
    liar = make("hub-2", ("hub-1", {NAMESPACE, OTHER}))
    here = one.join("host-1")
    one.domain.namespace(OTHER)
    false, true = liar.join("host-2"), liar.join("host-2", OTHER)
    wait_for(lambda: one.where("host-2", OTHER) == ["hub-2"] and liar.where("host-1") == ["hub-1"])
    assert one.where("host-2") == []
    assert one.cluster.registry.outcomes[Outcome.UNTRUSTED] >= 1
    one.send(here, p.udp("10.0.0.1", "10.0.0.2"))
    assert came(here) == 1, "the ICMP error: it goes nowhere"
    liar.send(false, p.udp("10.0.0.2", "10.0.0.1"))
    wait_for(lambda: one.cluster.hosts.counts("hub-2").drops)
    assert {reason.value: count for reason, count in one.cluster.hosts.counts("hub-2").drops.items()} == {
        "untrusted": 1
    }
    assert (came(here), came(false), came(true)) == (1, 0, 0)


def test_a_hub_that_sends_as_hosts_that_it_has_not(make: Make) -> None:
    one = make("hub-1", ("hub-2", {NAMESPACE}), ("hub-3", {NAMESPACE}))
    liar = make("hub-2", ("hub-1", {NAMESPACE}), ("hub-3", {NAMESPACE}))
    three = make("hub-3", ("hub-1", {NAMESPACE}), ("hub-2", {NAMESPACE}))
    here = one.join("host-1")
    three.join("host-2")
    wait_for(lambda: one.where("host-2") == ["hub-3"] and liar.where("host-1") == ["hub-1"])
    hosts: Any = liar.cluster.hosts
    far = hosts.attachment(liar.domain.namespace(NAMESPACE), "host-1", "hub-1")
    for source in ("10.0.0.2", "10.0.0.1", "10.9.9.9"):
        data = p.udp(source, "10.0.0.1")
        far.sender.send([len(data).to_bytes(2, "big") + data])
    drops = one.cluster.hosts.counts("hub-2").drops
    wait_for(lambda: sum(drops.values()) == 3)
    assert {reason.value for reason in drops} == {"foreign-source"}
    assert came(here) == 0


def test_news_that_are_replayed_or_copied_move_no_host(make: Make, address: str, world: World) -> None:
    one, two = make("hub-1", ("hub-2", {NAMESPACE})), make("hub-2", ("hub-1", {NAMESPACE}))
    listening = redis_connection(RedisSource(address), Bounds(60, 1 << 20))
    listening.send_command("SUBSCRIBE", "cluster:changes")
    session = two.join("host-2")
    wait_for(lambda: one.where("host-2") == ["hub-2"])
    old = dict(zip(*[iter(ask(address, "HGETALL", "cluster:hub:hub-2"))] * 2, strict=True))
    heard = []
    while True:
        reply = listening.read_response()
        if reply[0] == b"message":
            heard.append(reply[2])
            changes, last, _ = cluster_wire.opened(reply[2])
            if changes and cluster_wire.decode(last)[0].name == "hub-2":
                break
    listening.disconnect()
    two.domain.leave(session)
    wait_for(lambda: one.where("host-2") == [])
    taken = one.cluster.registry.outcomes[Outcome.TAKEN]
    for data in heard:
        ask(address, "PUBLISH", "cluster:changes", data)
    ask(address, "HSET", "cluster:hub:hub-2", *[one for pair in old.items() for one in pair])
    wait_for(lambda: one.cluster.registry.outcomes[Outcome.OLD] >= 1)
    wait_for(lambda: one.cluster.registry.outcomes[Outcome.TAKEN] > taken + 1)
    assert one.where("host-2") == []
    wait_for(
        lambda: ask(address, "HLEN", "cluster:hub:hub-2") == 2
    )  # its header and its certificate: it was mended


def test_a_certificate_that_is_changed_while_its_pin_is_known(make: Make, world: World) -> None:
    """Both pins are written, then the file is replaced: nothing is lost."""
    world.made("hub-2", file="next")
    one = make("hub-1", ("hub-2", {NAMESPACE}))
    seal: Any = one.cluster._trust
    assert isinstance(seal, Trust)
    row = seal._trusted["hub-2"]
    seal._trusted["hub-2"] = TrustSettings("hub-2", (*row.pins, world.pin("next")), "", row.namespaces)
    two = make("hub-2", ("hub-1", {NAMESPACE}))
    two.join("host-2")
    wait_for(lambda: one.where("host-2") == ["hub-2"])
    before = seal._known["hub-2"]
    (world.directory / "next.pem").replace(world.directory / "hub-2.pem")
    wait_for(lambda: seal._known["hub-2"] != before)
    two.join("host-9")
    wait_for(lambda: one.where("host-9") == ["hub-2"])
    assert one.where("host-2") == ["hub-2"]
