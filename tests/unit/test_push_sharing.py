"""Hubs that share a pool by a real Redis: they give at once, and Redis stands still, is emptied, killed or lies."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import gevent
import pytest

from lib import log_setup, push_leases, push_shared, push_shared_redis, push_sharing
from lib.addresses import interface, packed_prefix
from lib.cluster_seal import SharedSeal
from lib.prefixes import Prefix
from lib.push_leases import Leases
from lib.push_shared_redis import PoolStore
from lib.push_sharing import Sharing
from lib.route_table import RouteTable
from lib.settings import Hop, TableSettings
from lib.settings_sources import RedisSource
from tests.support.redis_local import ENGINES, free_port, serving
from tests.support.registry_nodes import wait_for

SECRET = b"a secret of thirty-two letters, or more"
QUICK: dict[str, object] = {
    "LOOK_SECONDS": 0.05,
    "BACK_SECONDS": (0.05, 0.1),
    "QUIET_SECONDS": 0.2,
    "AGAIN_SECONDS": 0.1,
    "HOLD_SECONDS": 30.0,
}
SETTLE_SECONDS = 0.2


def soon(true: Callable[[], object]) -> None:
    """Wait for something that takes no second here, and longer beside other tests."""
    wait_for(true, 30.0)


class Router:
    """What leases ask of a router (route_live.LiveRoutes)."""

    def __init__(self, directory: Path, pool: str, own: str, name: str) -> None:
        self.directory, self.table = directory, RouteTable()
        self.settings = TableSettings(
            name=name, pool=(packed_prefix(pool),), own=(interface(own),) if own else ()
        )
        self.routed: Mapping[Prefix, Hop] = {}

    def lend(self, wanted: Mapping[Prefix, Hop]) -> None:
        self.routed = wanted


class Hub:
    """One hub: a router with a pool, and the hosts that it has."""

    def __init__(self, world: World, name: str, pool: str, own: str, router: str) -> None:
        self.world, self.name = world, name
        self.router = Router(world.directory / name, pool, own, router)
        self.leases = Leases(self.router)  # type: ignore[arg-type]
        source = RedisSource(world.addr, key="cluster")
        self.store = PoolStore(source, SECRET)
        self.sharing = Sharing(
            self.store,
            SharedSeal(SECRET, "cluster"),
            name,
            lambda: [self.leases],
            lambda: world.is_here,
            lambda: world.is_whole,
            settle_seconds=SETTLE_SECONDS,
        )
        self.share = self.leases.share = self.sharing.of(self.leases)
        self.hosts: set[str] = set()

    def join(self, host: str) -> str:
        """A host comes, and is told its address; empty where it is told of none."""
        self.hosts.add(host)
        return self.told(host)

    def told(self, host: str) -> str:
        with gevent.Timeout(30):
            while (found := self.leases.give(host, frozenset(), lambda host: True)) is None:
                gevent.sleep(0.01)
        return ",".join(str(ip_address(one)) for one in found)

    def leave(self, host: str) -> None:
        self.hosts.discard(host)
        self.leases.left(host)

    def stop(self) -> None:
        """It is killed: nothing is told, and its file is as it was."""
        self.sharing._task.kill()

    @property
    def known(self) -> dict[str, str]:
        """Host -> its address, as this hub routes it."""
        return {hop.gateway: str(ip_address(prefix)) for (prefix, _), hop in self.router.routed.items()}


class World:
    """A Redis and hubs."""

    def __init__(self, directory: Path, engine: str) -> None:
        self.directory, self._engine, self.port = directory, engine, free_port()
        self.addr = f"127.0.0.1:{self.port}"
        self.is_whole = True
        self.hubs: list[Hub] = []
        self._servers = ExitStack()
        self.server: Any = None
        self.start_redis()

    def start_redis(self) -> None:
        self.server = self._servers.enter_context(
            serving(self.directory, "--port", str(self.port), engine=self._engine)
        )

    def kill_redis(self) -> None:
        self.server.kill()
        self.server.wait()

    def do(self, *command: str) -> str:
        words = ("redis-cli", "-p", str(self.port), *command)
        return subprocess.run(words, check=True, capture_output=True, text=True, timeout=20).stdout

    def hub(self, name: str, pool: str = "10.20.0.0/24", own: str = "", router: str = "r") -> Hub:
        made = Hub(self, name, pool, own, router)
        self.hubs.append(made)
        made.sharing.start()
        return made

    def is_here(self, host: str) -> bool:
        return any(host in hub.hosts for hub in self.hubs)

    def close(self) -> None:
        for hub in self.hubs:
            hub.stop()
        if self.server.poll() is None:
            self.server.send_signal(signal.SIGCONT)
        self._servers.close()


@pytest.fixture(params=ENGINES[:1])
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: Any) -> Iterator[World]:
    for name, seconds in QUICK.items():
        monkeypatch.setattr(push_sharing, name, seconds)
    monkeypatch.setattr(push_leases, "SAVE_SECONDS", 0.01)
    monkeypatch.setattr(Leases, "file", property(lambda leases: leases._live.directory / "pool"))
    made = World(tmp_path, request.param)
    yield made
    made.close()


def all_know_the_same(*hubs: Hub) -> bool:
    """Whether these hubs route alike, each address to one host."""
    first = hubs[0].known
    return len(set(first.values())) == len(first) and all(hub.known == first for hub in hubs)


def test_two_hubs_give_at_once(world: World) -> None:
    hubs = world.hub("hub-1"), world.hub("hub-2")
    asking = {
        f"host-{hub.name}-{number}": gevent.spawn(hub.join, f"host-{hub.name}-{number}")
        for number in range(40)
        for hub in hubs
    }
    gevent.joinall(list(asking.values()), raise_error=True)
    told = {host: one.value for host, one in asking.items()}
    assert len(set(told.values())) == 80
    assert "" not in told.values()
    soon(lambda: hubs[0].known == hubs[1].known == told)
    hubs[0].leave("host-hub-1-1")
    assert hubs[1].join("host-hub-1-1") == told["host-hub-1-1"], "wherever it joins"


def test_a_hub_that_asks_little_changes_nothing(world: World) -> None:
    one, two = world.hub("hub-1"), world.hub("hub-2")
    one.join("a")
    soon(lambda: two.known == one.known)
    stamp = world.do("HGET", one.store.key_of("r"), "stamp")
    for hub in (one, two):
        hub.join("a")
    before, began = one.store._talk.commands, time.monotonic()
    gevent.sleep(0.5)
    looks = (time.monotonic() - began) / 0.05 / 0.75
    assert one.store._talk.commands - before <= looks + 2, "one command a look"
    assert world.do("HGET", one.store.key_of("r"), "stamp") == stamp


def pool_troubles() -> list[str]:
    return [one.event for one in log_setup.troubles() if one.event.startswith("pool")]


@pytest.mark.parametrize("how", ["paused", "killed"])
def test_without_redis_hosts_keep_their_addresses_and_new_ones_wait(
    world: World, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    one, two = world.hub("hub-1"), world.hub("hub-2")
    address = one.join("a")
    soon(lambda: two.known == {"a": address})
    monkeypatch.setattr(push_sharing, "HOLD_SECONDS", 0.5)
    monkeypatch.setattr(push_shared_redis, "SECONDS", 0.5)
    world.server.send_signal(signal.SIGSTOP) if how == "paused" else world.kill_redis()
    assert two.join("a") == address
    assert (one.join("b"), two.join("c")) == ("", "")
    soon(lambda: pool_troubles() == ["pool-not-shared"])
    assert two.join("a") == address
    world.server.send_signal(signal.SIGCONT) if how == "paused" else world.start_redis()
    soon(lambda: one.known.keys() == {"a", "b", "c"} and all_know_the_same(one, two))
    assert one.known["a"] == address
    assert min(one.leases.moved["b"], two.leases.moved["c"]) > 0, "they are told now"
    soon(lambda: pool_troubles() == [])


def test_redis_is_emptied(world: World) -> None:
    """One of the two hubs alone knows the host that came last."""
    one, two = world.hub("hub-1"), world.hub("hub-2")
    given = {host: one.join(host) for host in ("a", "b")}
    soon(lambda: two.known == given)
    two.stop()
    given["c"] = one.join("c")
    world.do("FLUSHALL")
    two.sharing._task._greenlet = None
    two.sharing.start()
    new = {host: two.join(host) for host in ("d", "e")} | {"f": one.join("f")}
    soon(lambda: one.known == two.known == given | new)
    assert all_know_the_same(one, two)


def test_redis_is_older_than_what_hubs_know(world: World) -> None:
    """As one that was killed and has read its file: the last seconds are lost."""
    one, two = world.hub("hub-1"), world.hub("hub-2")
    given = {"a": one.join("a")}
    key = one.store.key_of("r")
    world.do("COPY", key, "old")
    given["b"] = two.join("b")
    soon(lambda: one.known == two.known == given)
    number = one.share.known.number
    world.do("COPY", "old", key, "REPLACE")
    world.do("INCR", "cluster:pools")
    given["c"] = one.join("c")
    soon(lambda: one.known == two.known == given)
    assert one.share.known.number > number


def test_a_hub_begins_with_its_file(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """All hubs and Redis have ended; then one is there, and Redis a moment later, empty."""
    address = world.hub("hub-1").join("a")
    file = world.directory / "hub-1" / "pool"
    soon(lambda: file.exists() and address in (text := file.read_text()) and "# list" in text)
    world.hubs.pop().stop()
    world.kill_redis()
    monkeypatch.setattr(push_sharing, "HOLD_SECONDS", 0.3)
    again = world.hub("hub-1")
    assert (again.join("a"), again.join("b")) == (address, "")
    world.start_redis()
    soon(lambda: again.known.keys() == {"a", "b"})
    assert again.known["a"] == address


def test_a_hub_that_stood_alone_brings_its_addresses(world: World) -> None:
    (world.directory / "hub-2").mkdir()
    (world.directory / "hub-2" / "pool").write_text('["10.20.0.77", "old"]\n["10.20.0.78", "b"]\n')
    one = world.hub("hub-1")
    one.join("a")
    two = world.hub("hub-2")
    soon(lambda: one.known.items() >= {"old": "10.20.0.77", "b": "10.20.0.78"}.items())
    assert two.join("b") == "10.20.0.78"


def test_a_full_pool_takes_from_who_has_gone_and_from_nobody_else(world: World) -> None:
    one = world.hub("hub-1", "10.20.0.0/29", "10.20.0.1/24")
    two = world.hub("hub-2", "10.20.0.0/29", "10.20.0.2/24")
    world.is_whole = False
    soon(lambda: len(one.share.known.hubs) == 2)
    given = {host: one.join(host) for host in "abcd"}
    assert sorted(given.values()) == [f"10.20.0.{last}" for last in (3, 4, 5, 6)], "no hub's own"
    soon(lambda: two.known == given)
    joining = gevent.spawn(two.join, "e")
    gevent.sleep(0.6)
    world.is_whole = True
    assert joining.get(timeout=10) == "", "all are here"
    assert [*two.leases.without] == ["e"]
    one.leave("b")
    soon(lambda: two.known.get("e") == given["b"] and one.known == two.known)
    assert two.leases.moved["e"] > 0
    assert two.told("e") == given["b"]
    assert one.known.keys() == {"a", "c", "d", "e"}


@pytest.mark.parametrize("what", ["nonsense", "another router's", "another secret's"])
def test_what_no_hub_has_signed_is_written_anew(world: World, what: str) -> None:
    one, two = world.hub("hub-1"), world.hub("hub-2")
    given = {"a": one.join("a")}
    key = one.store.key_of("r")
    soon(lambda: two.known == given)
    if what == "nonsense":
        world.do("HSET", key, "list", "x", "stamp", "y")
    elif what == "another router's":
        world.hub("hub-3", router="other").join("b")
        script = (
            "return redis.call('HSET', KEYS[2], 'list', redis.call('HGET', KEYS[1], 'list'), 'stamp', 'y')"
        )
        world.do("EVAL", script, "2", one.store.key_of("other"), key)
    else:
        seal = SharedSeal(32 * b"x", "cluster")
        text = push_shared.dump(push_shared.SharedList(99, "f" * 16), seal.sign).decode()
        world.do("HSET", key, "list", text, "stamp", "y")
    world.do("INCR", "cluster:pools")
    given["c"] = two.join("c")
    soon(lambda: one.known == two.known == given)


@pytest.mark.parametrize("value", ["text", "list"])
def test_a_key_of_another_kind_is_a_trouble_until_it_goes(
    world: World, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setattr(push_sharing, "HOLD_SECONDS", 0.3)
    key = PoolStore(RedisSource(world.addr, key="cluster"), SECRET).key_of("r")
    world.do(*{"text": ("SET", key, "x"), "list": ("LPUSH", key, "x")}[value])
    one = world.hub("hub-1")
    router = Router(world.directory / "other", "10.30.0.0/24", "", "s")
    other = Leases(router)  # type: ignore[arg-type]
    other.share = one.sharing.of(other)
    one.sharing._pools = lambda: [one.leases, other]
    assert one.join("a") == ""
    soon(lambda: pool_troubles() == ["pool-not-shared"])
    soon(lambda: other.give("a", frozenset(), world.is_here) not in (None, []))
    world.do("DEL", key)
    soon(lambda: "a" in one.known and pool_troubles() == [])


def test_another_pool_by_a_reload(world: World) -> None:
    one, two = world.hub("hub-1"), world.hub("hub-2")
    assert one.join("a").startswith("10.20.0.")
    for hub in (one, two):
        hub.router.settings = TableSettings(name="r", pool=(packed_prefix("10.30.0.0/24"),))
        hub.leases.follow()
    new = one.join("a")
    assert new.startswith("10.30.0.")
    soon(lambda: one.known == two.known == {"a": new})


def test_a_list_is_changed_by_compare_and_set(world: World) -> None:
    stores = [PoolStore(RedisSource(world.addr, key="k"), SECRET) for _ in range(5)]

    def count(text: bytes) -> bytes:
        gevent.sleep(0.001)
        return str(int(text or b"0") + 1).encode()

    def work(store: PoolStore) -> None:
        with store.open() as connection:
            for _ in range(6):
                store.change(connection, "r", count)

    gevent.joinall([gevent.spawn(work, one) for one in stores], raise_error=True)
    assert world.do("HGET", stores[0].key_of("r"), "list").strip() == "30"
    assert world.do("GET", "k:pools").strip() == "30"
