"""A pool of two hubs: hosts that have nothing but a name get addresses by Redis, and keep them whatever goes away."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lib.push_shared_redis import PoolStore
from lib.settings_sources import RedisSource
from lib.stream_certificates import state_directory
from tests.e2e.test_join import own
from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Namespace, Process, Topology
from tests.support.program import pings, reach, run, start, start_hub, wait_for
from tests.support.redis_server import PORT, Redis, needs_redis
from tests.support.tls import Authority, Pair

pytestmark = [pytest.mark.usefixtures("no_traceback"), needs_redis]

SECRET = "a secret of thirty-two letters or more"
HUB = """\
services:
- name: hub
  addr: ":{port}"
  handler: {{type: router, metadata: {{router: {router}, sd: registry}}}}
  listener: {{type: tls, tls: {{certFile: {cert}, keyFile: {key}}}}}
sds: [{{name: registry, redis: {{addr: "127.0.0.1:{redis}"}}}}]
cluster:
  name: hub-{number}
  link: {{listen: "127.0.0.1:{link}", address: "127.0.0.1:{link}", secret: {secret}}}
routers: [{{name: {router}, address: 10.20.0.{number}/24, pool: 10.20.0.0/24}}]
"""


class Hubs:
    """Two hubs with one pool, and hosts that dial them."""

    def __init__(self, topology: Topology, write: Callable[[str, str], str], directory: Path) -> None:
        self.topology, self._write, self._directory = topology, write, directory
        self.router = f"test-{os.urandom(8).hex()}"  # of this run: its file is this machine's
        self._pair: Pair = Authority(directory).issue("hub.example")
        self.redis = Redis(topology.hub)
        self.redis.start()

    @property
    def key(self) -> str:
        """The key of the pool's list."""
        return PoolStore(RedisSource("", key="tunrouter:cluster"), SECRET.encode()).key_of(self.router)

    def start(self, number: int) -> Process:
        text = HUB.format(
            port=8442 + number,
            link=7000 + number,
            number=number,
            redis=PORT,
            secret=SECRET,
            router=self.router,
            cert=self._pair.cert,
            key=self._pair.key,
        )
        return start_hub(
            self.topology.hub, "-C", self._write(f"hub-{number}.yml", text), "--control", self.control(number)
        )

    def control(self, number: int) -> str:
        return f"{self._directory}/hub-{number}.sock"

    def host(self, namespace: Namespace, name: str, *hubs: int) -> Process:
        """A host that dials these hubs, the first one first; nothing is awaited."""
        address = HUB_TO_HOST_1 if namespace is self.topology.host_1 else HUB_TO_HOST_2
        ways = ",".join(f"{address}:{8442 + hub}" for hub in hubs)
        mark = f"pin=sha256:{self._pair.fingerprint}&strategy=fifo&failTimeout=1s"
        return start(namespace, "-L", f"tun:///{name}", "-F", f"router+tls://{ways}?{mark}")


@contextmanager
def stopped_redis(redis: Redis) -> Iterator[None]:
    """Let Redis stand still meanwhile: it takes connections and says nothing."""
    assert redis._process is not None
    redis._process.send(signal.SIGSTOP)
    try:
        yield
    finally:
        redis._process.send(signal.SIGCONT)


def address(namespace: Namespace) -> str:
    """The one address that a host has; waits for it."""
    wait_for(lambda: len(own(namespace)) == 1, 15)
    return own(namespace)[0].partition("/")[0]


def test_two_hubs_give_addresses_of_one_pool(
    topology: Topology, write: Callable[[str, str], str], tmp_path: Path
) -> None:
    hubs = Hubs(topology, write, tmp_path)
    try:
        first, _ = hubs.start(1), hubs.start(2)
        moving = hubs.host(topology.host_1, "host-1", 1, 2)
        staying = hubs.host(topology.host_2, "host-2", 2)
        one, two = address(topology.host_1), address(topology.host_2)
        assert len({one, two, "10.20.0.1", "10.20.0.2"}) == 4
        reach(topology.host_1, two)
        assert pings(topology.host_2, one, 3) == 3
        said = run("explain", "--from", "host-2", one, "--control", hubs.control(2))[1]
        assert "goes to host-1" in said, "a lease of another hub is routed here"

        lines = moving.line_count()
        first.stop(signal.SIGKILL)
        moving.wait_line("connected to", 15, lines)
        reach(topology.host_2, one)
        assert (address(topology.host_1), address(topology.host_2)) == (one, two)

        hubs.redis.stop()
        wait_for(lambda: "pool-not-shared" in troubles(hubs.control(2)), 15)
        said = run("status", "--control", hubs.control(2))[1]
        assert re.search("its pool cannot be shared: .*new ones get none", " ".join(said.split())), said
        staying.stop()
        wait_for(lambda: own(topology.host_2) == [])
        hubs.host(topology.host_2, "host-2", 2)
        assert address(topology.host_2) == two, "it was known"
        reach(topology.host_1, two)
        moving.stop()
        late = hubs.host(topology.host_1, "host-3", 2)
        late.wait_line("connected to", 15)
        wait_for(lambda: "10.20.0.0/24" in topology.host_1.run("ip", "route"), 15)
        assert own(topology.host_1) == [], "it was told everything but an address"

        hubs.redis.start()
        three = address(topology.host_1)
        assert len({one, two, three}) == 3
        reach(topology.host_2, three)
        wait_for(lambda: "pool-not-shared" not in troubles(hubs.control(2)))

        hubs.start(1)
        hubs.redis.do("FLUSHALL")
        wait_for(lambda: hubs.redis.do("EXISTS", hubs.key).strip() == "1", 15)
        wait_for(lambda: three in run("routes", "--control", hubs.control(1))[1], 15)
        late.stop()
        wait_for(lambda: own(topology.host_1) == [])
        with stopped_redis(hubs.redis):
            late = hubs.host(topology.host_1, "host-3", 1)
            assert address(topology.host_1) == three, "a hub that was started anew has read the list"
        late.stop()
        wait_for(lambda: own(topology.host_1) == [])
        hubs.host(topology.host_1, "host-1", 1)
        assert address(topology.host_1) == one, "nothing was lost"
        reach(topology.host_2, one)
    finally:
        topology.hub.kill_all()  # so that none writes the file again
        (state_directory() / f"pool-{hubs.router}").unlink(missing_ok=True)


def troubles(control: str) -> list[str]:
    """The events that began the troubles of a hub."""
    status, said = run("status", "--json", "--control", control)
    assert status == 0, said
    return [row["event"] for row in json.loads(said)["troubles"]]
