"""Hosts get addresses of a pool that two hubs share, and the Redis of that pool dies and is failed over by Sentinel.

Meanwhile hosts come to both hubs. What the dead master had told nobody is lost there, but not by the hubs.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest

from lib import framing, wire_control
from lib.push_settings import Pushed
from lib.push_shared import parse
from lib.push_shared_redis import PoolStore
from lib.settings_sources import RedisSource
from lib.stream_certificates import state_directory
from lib.wire_control import Feature, Ping
from lib.wire_relay import Request
from tests.e2e.test_cluster import SECRET, Write
from tests.faults.conftest import Note
from tests.faults.test_faults import seconds
from tests.support.netns import Process, Topology, in_namespace
from tests.support.program import start_hub, wait_for
from tests.support.redis_server import PORT, Redis, needs_redis
from tests.support.sessions import joined

pytestmark = [pytest.mark.usefixtures("no_traceback"), needs_redis]

REPLICA_PORT, SENTINEL_PORT = 6381, 26380
HUB = """\
services:
- name: hub
  addr: ":{port}"
  climiter: many
  rlimiter: many
  handler: {{type: router, metadata: {{router: {router}, sd: registry, keepalive.timeout: 60s}}}}
  listener: {{type: tcp}}
climiters: [{{name: many, limits: ["$ 1000"]}}]
rlimiters: [{{name: many, limits: ["$ 1000"]}}]
sds: [{{name: registry, redis: {{sentinel: {{addrs: ['127.0.0.1:{sentinel}'], master: m}}}}}}]
cluster:
  name: hub-{number}
  link: {{listen: "127.0.0.1:{link}", address: "127.0.0.1:{link}", secret: {secret}}}
routers: [{{name: {router}, address: 10.20.0.{number}/24, pool: 10.20.0.0/24}}]
"""


class Host:
    """A host that has nothing but a name, and what its hub has told it last."""

    def __init__(self, name: str, hub: int) -> None:
        """To be called in the hub's network namespace."""
        self.name = name
        self.address = ""
        features = wire_control.ALL_FEATURES | Feature.SETTINGS
        self.sock, self._rest = joined(("127.0.0.1", 8442 + hub), Request(name, "0.0.0.0"), features)

    def read(self) -> None:
        """Take what has come."""
        data = self.sock.recv(65536)
        assert data, f"the hub has closed on {self.name}"
        self._rest += data
        while len(self._rest) > 1 and len(self._rest) >= (end := 2 + int.from_bytes(self._rest[:2], "big")):
            content, self._rest = self._rest[2:end], self._rest[end:]
            message = wire_control.decode(content) if content[:1] == bytes([wire_control.MARK]) else None
            if isinstance(message, Pushed):
                self.address = ", ".join(str(ip_address(one)) for one in message.addresses)
            elif isinstance(message, Ping):
                self.sock.sendall(framing.encode(wire_control.encode_pong(message.token)))


class Pool:
    """Two hubs, a master with a replica, a Sentinel that alone decides, and hosts."""

    def __init__(self, topology: Topology, write: Write, directory: Path) -> None:
        self.topology = topology
        self.router = f"test-{os.urandom(8).hex()}"  # of this run: its file is this machine's
        self.redis = Redis(topology.hub)
        self.redis.start()
        self.redis.do("CONFIG", "SET", "repl-diskless-sync-delay", "0")  # else a replica waits for 5 s
        follows = ("--replicaof", f"127.0.0.1 {PORT}")
        options = ("--port", str(REPLICA_PORT), "--save", "", "--appendonly", "no", *follows)
        self.replica = topology.hub.popen("redis-server", *options, cwd=str(directory))
        self.replica.wait_line("REPLICA sync: Finished with success")
        file = directory / "sentinel.conf"
        file.write_text(
            f"port {SENTINEL_PORT}\nbind 127.0.0.1\nsentinel monitor m 127.0.0.1 {PORT} 1\n"
            "sentinel down-after-milliseconds m 500\nsentinel failover-timeout m 2000\n"
        )
        self.sentinel = topology.hub.popen("redis-server", str(file), "--sentinel", cwd=str(directory))
        self.sentinel.wait_line(r"\+slave slave", 20)
        self.hubs = {number: self._start(number, write) for number in (1, 2)}
        self.hosts: dict[str, Host] = {}

    def _start(self, number: int, write: Write) -> Process:
        text = HUB.format(
            port=8442 + number,
            link=7000 + number,
            number=number,
            sentinel=SENTINEL_PORT,
            secret=f'"{SECRET}"',
            router=self.router,
        )
        return start_hub(self.topology.hub, "-C", write(f"hub-{number}.yml", text))

    def come(self, *names: str, at: int = 0) -> None:
        """Hosts come, in turn to one hub and to the other one, or all to one; earlier sessions of them end."""
        with in_namespace(self.topology.hub.name):
            for number, name in enumerate(names):
                if name in self.hosts:
                    self.hosts[name].sock.close()
                self.hosts[name] = Host(name, at or 1 + number % 2)

    def have(self, *names: str) -> bool:
        """Whether all of these have addresses; what has come is read."""
        hosts = {one.sock: one for one in self.hosts.values()}
        while found := select.select(list(hosts), [], [], 0)[0]:
            for sock in found:
                hosts[sock].read()
        return all(self.hosts[name].address for name in names)

    def addresses(self) -> dict[str, str]:
        return {name: one.address for name, one in self.hosts.items()}

    def listed(self, port: int) -> dict[str, str]:
        """The addresses in the list that a Redis has; of whom."""
        key = PoolStore(RedisSource("", key="tunrouter:cluster"), SECRET.encode()).key_of(self.router)
        with in_namespace(self.topology.hub.name), socket.create_connection(("127.0.0.1", port)) as sock:
            sock.settimeout(10)
            sock.sendall(f"HGET {key} list\r\n".encode())
            with sock.makefile("rb") as reply:
                text = reply.read(int(reply.readline()[1:]))
        leases = parse(text, lambda body, signature: True).leases
        return {host: str(ip_address(lease.address)) for (host, _), lease in leases.items()}


@contextmanager
def pool_of(topology: Topology, write: Write, directory: Path) -> Iterator[Pool]:
    pool = Pool(topology, write, directory)
    try:
        yield pool
    finally:
        topology.hub.kill_all()  # so that none writes the file again
        (state_directory() / f"pool-{pool.router}").unlink(missing_ok=True)


@pytest.fixture
def pool(topology: Topology, write: Write, tmp_path: Path) -> Iterator[Pool]:
    with pool_of(topology, write, tmp_path) as made:
        yield made


@pytest.mark.parametrize("how", ["killed", "stands still"])
def test_addresses_outlive_a_failover(pool: Pool, note: Note, how: str) -> None:
    """Some are given just before the master goes, of which its replica has heard nothing."""
    early, last, late = ([f"{name}-{number}" for number in range(10)] for name in ("early", "last", "late"))
    pool.come(*early)
    wait_for(lambda: pool.have(*early), 20)
    wait_for(lambda: len(pool.listed(REPLICA_PORT)) == len(early), 20)
    pool.replica.send(signal.SIGSTOP)
    pool.come(*last)
    wait_for(lambda: pool.have(*last), 20)
    known = pool.addresses()
    master = pool.redis._process
    assert master is not None
    began = time.monotonic()
    master.send(signal.SIGKILL if how == "killed" else signal.SIGSTOP)
    pool.replica.send(signal.SIGCONT)
    pool.come(*late)
    pool.sentinel.wait_line(r"\+switch-master", 40)
    decided, named = seconds(began), time.monotonic()
    if how == "killed":
        assert len(pool.listed(REPLICA_PORT)) >= len(early)
    wait_for(lambda: pool.have(*late), 30)
    given = seconds(named)
    if how == "stands still":  # it is a master for a moment, until Sentinel tells it otherwise
        master.send(signal.SIGCONT)
    newest = [f"newest-{number}" for number in range(10)]
    pool.come(*newest)
    wait_for(lambda: pool.have(*newest), 30)
    found = pool.addresses()
    assert {name: found[name] for name in known} == known, "nobody has another address"
    assert len({*found.values(), "10.20.0.1", "10.20.0.2"}) == 42, "none was given twice"
    wait_for(lambda: pool.listed(REPLICA_PORT) == found, 20)
    pool.come(*found, at=1)
    wait_for(lambda: pool.have(*found), 30)
    assert pool.addresses() == found, "each is known at the other hub too"
    assert pool.listed(REPLICA_PORT) == found
    note(f"Redis of a pool of addresses {how}, and failed over by Sentinel to a replica that lacks the last 10 addresses",
         "Sentinel, then both hubs", f"Sentinel {decided}; hosts that came meanwhile have addresses {given} after that",
         "nothing: of 40 hosts at two hubs each has an address of its own, and keeps it")  # fmt: skip
