"""Several gateways: who carries, who takes over and when, who shares, what falls through, GOST's order."""

from __future__ import annotations

import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.support.load import PORT, udp
from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Namespace, Process, Topology
from tests.support.program import OVERLAY_1, drops, host, start_client, start_hub, total

pytestmark = pytest.mark.usefixtures("no_traceback")

Write = Callable[[str, str], str]
HUB_TO_HOST_3 = "10.77.3.1"
LAN, SERVER = "192.168.200.0/24", "192.168.200.7"
FLOWS = 40
PROBE = b"probe"

HUB = """\
services:
  - name: service-0
    addr: :8443
    handler: {type: router, metadata: {router: router-0}}
    listener: {type: tcp}
routers:
  - name: router-0
"""


def config(*routes: str, router: str = "") -> str:
    """A hub whose one table has host-1's own address and these routes; router are further keys of it."""
    lines = [f"      - {{{route}}}\n" for route in (f"dst: {OVERLAY_1}, gateway: host-1", *routes)]
    return f"{HUB}{router}    routes:\n{''.join(lines)}"


def route(gateway: str, more: str = "", prefix: str = LAN) -> str:
    return f"dst: {prefix}, gateway: {gateway}{more}"


class Lan:
    """host-1 sends to a server that stands behind host-2 and behind host-3."""

    def __init__(self, topology: Topology, third: Namespace) -> None:
        self.topology, self.third = topology, third
        self._stack = ExitStack()
        self.servers: dict[str, socket.socket] = {}
        for name, namespace in (("host-2", topology.host_2), ("host-3", third)):
            namespace.run("ip", "addr", "add", f"{SERVER}/32", "dev", "lo")
            self.servers[name] = self._stack.enter_context(udp(namespace, SERVER, PORT))
        start_client(topology.host_1, *host(1, HUB_TO_HOST_1, extra=f"&route={LAN}"))
        self.flows = [self._stack.enter_context(udp(topology.host_1, OVERLAY_1)) for _ in range(FLOWS)]

    def start(self, number: int) -> Process:
        """A client for host-2 or host-3."""
        namespace, hub = {2: (self.topology.host_2, HUB_TO_HOST_2), 3: (self.third, HUB_TO_HOST_3)}[number]
        return start_client(namespace, *host(number, hub))

    def carriers(self) -> dict[int, str]:
        """One packet a flow: who got each."""
        for number, flow in enumerate(self.flows):
            flow.sendto(str(number).encode(), (SERVER, PORT))
        got: dict[int, str] = {}
        while len(got) < FLOWS:
            ready = select.select(list(self.servers.values()), [], [], 5.0)[0]
            assert ready, f"only {len(got)} of {FLOWS} packets arrived"
            for name, server in self.servers.items():
                if server in ready and (datum := server.recv(100)) != PROBE:
                    got[int(datum)] = name
        return got

    @contextmanager
    def probes(self) -> Iterator[None]:
        """A packet of one flow every 20 ms."""
        ended = threading.Event()

        def send() -> None:
            while not ended.wait(0.02):
                self.flows[0].sendto(PROBE, (SERVER, PORT))

        sender = threading.Thread(target=send)
        sender.start()
        try:
            yield
        finally:
            ended.set()
            sender.join()

    def await_probe(self, name: str, seconds: float) -> float:
        """When the next probe comes out behind a host; what had come before is thrown away."""
        server = self.servers[name]
        while select.select([server], [], [], 0)[0]:
            server.recv(100)
        assert select.select([server], [], [], seconds)[0], f"nothing behind {name} for {seconds} s"
        return time.monotonic()

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def lan(topology: Topology, more_hosts: list[Namespace]) -> Iterator[Callable[[], Lan]]:
    """Make the Lan once the hub runs."""
    with ExitStack() as stack:

        def make() -> Lan:
            made = Lan(topology, more_hosts[0])
            stack.callback(made.close)
            return made

        yield make


@pytest.mark.alone
def test_the_next_gateway_takes_over_within_a_second_and_the_first_comes_back(
    topology: Topology, lan: Callable[[], Lan], write: Write
) -> None:
    text = config(route("host-2"), route("host-3"), router="    holdDown: 2s\n")
    hub = start_hub(topology.hub, "-C", write("hub.yml", text))
    there = lan()
    second = there.start(2)
    there.start(3)
    with there.probes():
        there.await_probe("host-2", 5.0)
        killed = time.monotonic()
        second.stop(signal.SIGKILL)
        assert there.await_probe("host-3", 1.0) - killed < 1.0
        lines = hub.line_count()
        there.start(2)
        hub.wait_line("is host host-2", after=lines)
        back = time.monotonic()
        there.await_probe("host-3", 1.0)  # held down: its stand-in goes on
        assert 1.5 < there.await_probe("host-2", 4.0) - back < 3.5
    assert set(there.carriers().values()) == {"host-2"}


def test_gateways_of_one_metric_share_flows_and_a_flow_stays(
    topology: Topology, lan: Callable[[], Lan], write: Write
) -> None:
    routes = [
        route("host-2", ", metric: 10"),
        route("host-3", ", metric: 10"),
        route("host-4", ", metric: 5"),
    ]
    start_hub(topology.hub, "-C", write("hub.yml", config(*routes)))
    there = lan()
    there.start(2)
    third = there.start(3)
    first = there.carriers()
    assert set(first.values()) == {"host-2", "host-3"}
    assert there.carriers() == first
    third.stop()
    assert set(there.carriers().values()) == {"host-2"}


def test_a_lower_metric_goes_first(topology: Topology, lan: Callable[[], Lan], write: Write) -> None:
    routes = [route("host-2", ", metric: 20"), route("host-3", ", metric: 10")]
    start_hub(topology.hub, "-C", write("hub.yml", config(*routes)))
    there = lan()
    there.start(2)
    third = there.start(3)
    assert set(there.carriers().values()) == {"host-3"}
    third.stop()
    assert set(there.carriers().values()) == {"host-2"}


def test_fall_through_lets_a_shorter_prefix_carry_while_the_gateway_is_away(
    topology: Topology, lan: Callable[[], Lan], write: Write
) -> None:
    routes = [route("host-2", ", fallThrough: true"), route("host-3", prefix="192.168.0.0/16")]
    start_hub(topology.hub, "-C", write("hub.yml", config(*routes)))
    there = lan()
    there.start(3)
    assert set(there.carriers().values()) == {"host-3"}
    second = there.start(2)
    assert set(there.carriers().values()) == {"host-2"}
    second.stop()
    assert set(there.carriers().values()) == {"host-3"}


def test_without_it_nothing_leaves_by_a_shorter_prefix(
    topology: Topology, lan: Callable[[], Lan], write: Write
) -> None:
    routes = [route("host-2"), route("host-3", prefix="192.168.0.0/16")]
    hub = start_hub(topology.hub, "-C", write("hub.yml", config(*routes)))
    there = lan()
    there.start(3)
    for flow in there.flows:
        flow.sendto(b"", (SERVER, PORT))
    drops(hub, lambda counts: total(counts, "no-session") == FLOWS)
    assert not select.select([there.servers["host-3"]], [], [], 0)[0]


@pytest.mark.parametrize(
    ("router", "carrier"),
    [
        pytest.param("    compat: first-match\n", "host-3", id="GOST's order"),
        pytest.param("", "host-2", id="the longest prefix"),
    ],
)
def test_first_match(
    topology: Topology, lan: Callable[[], Lan], write: Write, router: str, carrier: str
) -> None:
    routes = [route("host-3", prefix="192.168.0.0/16"), route("host-2")]
    start_hub(topology.hub, "-C", write("hub.yml", config(*routes, router=router)))
    there = lan()
    there.start(2)
    there.start(3)
    assert set(there.carriers().values()) == {carrier}
