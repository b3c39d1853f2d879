"""Ways to a real Redis: by TLS, and to the master that Sentinels name, also after a failover."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lib import source_read, source_redis
from lib.settings_sources import RedisSource, Sentinel
from lib.settings_transport import TlsSettings
from lib.stream_bounded import Bounds
from tests.support.redis_local import ENGINES, free_port, sentinel, serving
from tests.support.tls import Authority


def ask(source: RedisSource, *command: str) -> object:
    connection = source_redis.redis_connection(source, Bounds(10, 1 << 16))
    try:
        with source_redis.redis_failing(source.name), source_redis.redis_in_use(connection):
            connection.send_command(*command)
            return connection.read_response()
    finally:
        connection.disconnect()


def answer(source: RedisSource, *command: str) -> object:
    """As ask; None where there is none: a server that begins to follow another one loads what that has."""
    try:
        return ask(source, *command)
    except OSError:
        return None


class Tls:
    """A Redis that wants a certificate of its clients, and Sentinels over TLS beside it."""

    def __init__(self, directory: Path, authority: Authority, addr: str) -> None:
        self.addr, self._directory, self._authority = addr, directory, authority
        self.client = authority.issue("client.test")

    def settings(self, **more: object) -> TlsSettings:
        whole = {
            "ca_file": self._authority.ca.cert,
            "verify": True,
            "server_name": "redis.test",
            "cert_file": self.client.cert,
            "key_file": self.client.key,
        }
        return TlsSettings(**(whole | more))  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=ENGINES)
def over_tls(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tls]:
    directory = tmp_path_factory.mktemp("redis-tls")
    authority, port = Authority(directory), free_port()
    own = authority.issue("redis.test")
    options = ("--port", "0", "--tls-port", str(port), "--tls-cert-file", own.cert, "--tls-key-file", own.key)
    with ExitStack() as running:
        try:
            more = "--tls-ca-cert-file", authority.ca.cert
            running.enter_context(serving(directory, *options, *more, engine=request.param))
        except AssertionError as error:
            if "Failed finding TLS support" in str(error):
                pytest.skip(f"this {request.param} was built without TLS")
            raise
        yield Tls(directory, authority, f"127.0.0.1:{port}")


def test_a_redis_over_tls_with_a_certificate_of_ours(over_tls: Tls) -> None:
    source = RedisSource(over_tls.addr, key="routes", tls=over_tls.settings())
    ask(source, "HSET", "routes", *(f"10.{n}.0.0/16 host-{n}".split()[k] for n in range(200) for k in (0, 1)))
    assert source.name == f"rediss://{over_tls.addr}/0/routes"
    read = source_read.read(source)
    assert read.text.count(b"\n") == 200
    assert b"10.7.0.0/16 host-7\n" in read.text


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"server_name": "other.test"}, "Hostname mismatch|not valid for 'other.test'"),
        ({"ca_file": ""}, "certificate verify failed|self-signed"),
        ({"cert_file": "", "key_file": ""}, "certificate required|closed|EOF|alert|reset"),
        ({"ca_file": "/none"}, "/none: No such file"),
    ],
    ids=["another name", "another authority", "no certificate of ours", "a file that is missing"],
)
def test_what_is_checked_of_each_other(over_tls: Tls, more: dict[str, object], why: str) -> None:
    with pytest.raises(OSError, match=why) as raised:
        ask(RedisSource(over_tls.addr, tls=over_tls.settings(**more)), "PING")
    assert "rediss://" in str(raised.value)


def test_without_tls_it_says_nothing(over_tls: Tls) -> None:
    with pytest.raises(OSError, match="redis://"):
        ask(RedisSource(over_tls.addr), "PING")


class Group:
    """A master, its replica and a Sentinel."""

    def __init__(self, ports: tuple[int, int, int], servers: list[subprocess.Popen[str]]) -> None:
        self.ports, self.servers = ports, servers

    def source(self, *addrs: int, master: str = "m") -> RedisSource:
        sentinels = tuple(f"127.0.0.1:{port}" for port in addrs or (self.ports[2],))
        return RedisSource("", key="routes", sentinel=Sentinel(sentinels, master, password="s"))


@pytest.fixture(params=ENGINES)
def group(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Group]:
    engine = request.param
    ports = free_port(), free_port(), free_port()
    fast = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")
    with ExitStack() as running:
        master = running.enter_context(serving(tmp_path, "--port", str(ports[0]), *fast, engine=engine))
        follows = ("--port", str(ports[1]), "--replicaof", f"127.0.0.1 {ports[0]}", *fast)
        replica = running.enter_context(serving(tmp_path, *follows, engine=engine))
        lines = ("requirepass s", "sentinel resolve-hostnames no")
        running.enter_context(sentinel(tmp_path, ports[2], "m", ports[0], *lines, engine=engine))
        yield Group(ports, [master, replica])


def test_the_master_is_followed_through_a_failover(group: Group) -> None:
    source = group.source(free_port(), group.ports[2])  # the first one is away
    assert source_redis.master_of(source) == ("127.0.0.1", group.ports[0])
    ask(source, "SET", "key", "before")
    replica = RedisSource(f"127.0.0.1:{group.ports[1]}")
    until = time.monotonic() + 20
    while answer(replica, "GET", "key") != b"before" or not knows_replica(group):
        assert time.monotonic() < until, "the replica has not followed"
        time.sleep(0.05)
    group.servers[0].kill()
    while True:
        assert time.monotonic() < until + 20, "no other master was named"
        try:
            ask(source, "SET", "key", "after")
        except OSError:
            time.sleep(0.1)
        else:
            break
    assert source_redis.master_of(source) == ("127.0.0.1", group.ports[1])
    assert ask(replica, "GET", "key") == b"after"


def knows_replica(group: Group) -> bool:
    there = RedisSource(f"127.0.0.1:{group.ports[2]}", password="s")
    found = answer(there, "SENTINEL", "replicas", "m")
    return isinstance(found, list) and len(found) == 1


def test_what_sentinels_do_not_know_and_a_master_that_is_none(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(OSError, match="knows no master 'other'"):
        ask(group.source(master="other"), "PING")
    with pytest.raises(OSError, match=r"sentinel 127.0.0.1:\d+"):
        ask(group.source(free_port()), "PING")
    monkeypatch.setattr(source_redis, "master_of", lambda source: ("127.0.0.1", group.ports[1]))
    with pytest.raises(OSError, match=f"127.0.0.1:{group.ports[1]} is no master"):
        ask(group.source(), "PING")
