"""A client that stays connected, or says why it is not; several of them; several sessions of one host."""

from __future__ import annotations

import json
import re
import select
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.support.load import PORT, udp, waiting
from tests.support.netns import (
    HOST_1,
    HUB_TO_HOST_1,
    HUB_TO_HOST_2,
    Namespace,
    Process,
    Topology,
)
from tests.support.numbered import SO_RCVBUFFORCE
from tests.support.program import (
    NAMESPACE_1,
    OVERLAY_1,
    OVERLAY_2,
    client_example,
    example,
    host,
    pings,
    reach,
    start,
    start_client,
    start_hub,
    stopped,
    wait_for,
)

pytestmark = pytest.mark.usefixtures("no_traceback")

Write = Callable[[str, str], str]


def server(write: Write) -> str:
    return write("server.yml", example("server.yml"))


def tun_of(namespace: Namespace) -> object:
    """The TUN device with its number, addresses and routes."""
    (name,) = [name for name in namespace.devices() if name.startswith("tun")]
    return namespace.ip("addr", "show", "dev", name)[0]["ifindex"], namespace.ip("route", "show", "dev", name)


def told(process: Process, pattern: str) -> int:
    """How many lines of its log match."""
    return sum(bool(re.search(pattern, line)) for line in process.text().splitlines())


# --- staying connected --------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda n: n.name)
def test_hub_restart_is_survived(topology: Topology, write: Write, number: signal.Signals) -> None:
    config = server(write)
    hub = start_hub(topology.hub, "-C", config)
    one = start_client(topology.host_1, "-C", write("c.yml", client_example("client.yml", 1, HUB_TO_HOST_1)))
    two = start_client(topology.host_2, *host(2, HUB_TO_HOST_2))
    reach(topology.host_1, OVERLAY_2)
    before = tun_of(topology.host_1)
    seen = one.line_count(), two.line_count()
    hub.stop(number)
    one.wait_line("trying again", after=seen[0])
    two.wait_line("trying again", after=seen[1])
    assert tun_of(topology.host_1) == before
    start_hub(topology.hub, "-C", config)
    one.wait_line("connected to", after=seen[0])
    two.wait_line("connected to", after=seen[1])
    assert pings(topology.host_1, OVERLAY_2) == 5
    assert tun_of(topology.host_1) == before


def test_no_hub_at_start(topology: Topology, write: Write) -> None:
    client = start(topology.host_1, *host(1, HUB_TO_HOST_1))
    client.wait_line(f"hub {HUB_TO_HOST_1}:8443: Connection refused; trying again")
    before = tun_of(topology.host_1)
    hub = start_hub(topology.hub, "-C", server(write))
    hub.wait_line("is host host-1")
    client.wait_line("connected to")
    assert told(client, "Connection refused") == 1
    assert tun_of(topology.host_1) == before


def test_refused_client_is_told_of_once_here_and_there_and_keeps_trying(
    topology: Topology, write: Write
) -> None:
    hub = start_hub(topology.hub, "-C", write("server.yml", example("ingress-server.yml")))
    client = start(topology.host_1, *host(1, HUB_TO_HOST_1, NAMESPACE_1))

    def has_tried_again() -> bool:
        hub.send(signal.SIGUSR1)
        return bool(told(hub, "refused 2 "))

    wait_for(has_tried_again)
    assert told(hub, "'host-1' refused") == 1
    assert client.returncode is None
    hub.stop()
    assert told(hub, r"'host-1' refused: .* \(once more in") == 1
    assert told(client, "refused: host unreachable") == 1


def test_hub_name_is_resolved_anew(topology: Topology, write: Write, hosts_file: Path) -> None:
    hosts_file.write_text(f"{HOST_1} the-hub.test\n")  # nobody listens there
    start_hub(topology.hub, "-C", server(write))
    client = start(topology.host_1, *host(1, "the-hub.test"))
    client.wait_line("hub the-hub.test:8443: Connection refused")
    hosts_file.write_text(f"{HUB_TO_HOST_1} the-hub.test\n")
    client.wait_line(f"connected to {HUB_TO_HOST_1}:8443")


def test_hub_name_without_an_address(topology: Topology, write: Write, hosts_file: Path) -> None:
    hosts_file.write_text("127.0.0.1 localhost\n")
    start_hub(topology.hub, "-C", server(write))
    client = start(topology.host_1, *host(1, "the-hub.test"))
    client.wait_line("hub the-hub.test:8443: .*; trying again", timeout=20)
    hosts_file.write_text(f"{HUB_TO_HOST_1} the-hub.test\n")
    client.wait_line(f"connected to {HUB_TO_HOST_1}:8443", timeout=20)


def test_second_hub_is_dialled_while_the_first_is_away(topology: Topology, write: Write) -> None:
    start_hub(topology.hub, "-C", server(write))
    url = f"router://{HUB_TO_HOST_1}:8444,{HUB_TO_HOST_1}:8443"
    client = start(topology.host_1, *host(1, HUB_TO_HOST_1)[:2], "-F", url)
    client.wait_line(f"connected to {HUB_TO_HOST_1}:8443")


def test_routes_into_the_tunnel_do_not_swallow_the_tunnel(topology: Topology, write: Write) -> None:
    """The hub is reached around a route of the client's own that covers it, on reconnects too."""
    far = "10.99.0.1"
    topology.hub.run("ip", "addr", "add", f"{far}/32", "dev", "lo")
    topology.host_1.run("ip", "route", "add", "default", "via", HUB_TO_HOST_1)
    hub = start_hub(topology.hub, "-C", server(write))
    one = start(topology.host_1, *host(1, far, extra="&route=0.0.0.0/1,128.0.0.0/1"))
    one.wait_line(f"connected to {far}:8443")
    start_client(topology.host_2, *host(2, HUB_TO_HOST_2))
    reach(topology.host_1, OVERLAY_2)
    seen = one.line_count()
    hub.stop(signal.SIGKILL)
    start_hub(topology.hub, "-C", server(write))
    one.wait_line(f"connected to {far}:8443", after=seen)
    reach(topology.host_1, OVERLAY_2)


# --- no packet is lost on the way ---------------------------------------------------------------


@pytest.mark.parametrize("superpackets", ["on", "off"])
def test_more_packets_at_once_than_a_batch_holds(topology: Topology, write: Write, superpackets: str) -> None:
    """All of them are in the device before the client reads the first one."""
    count = 400  # a TUN device holds 2,000
    start_hub(topology.hub, "-C", server(write))
    one = start_client(topology.host_1, *host(1, HUB_TO_HOST_1, extra=f"&superpackets={superpackets}"))
    start_client(topology.host_2, *host(2, HUB_TO_HOST_2))
    reach(topology.host_1, OVERLAY_2)
    with udp(topology.host_2, OVERLAY_2, PORT) as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20)
        with stopped(one):
            for number in range(count):  # each a flow of its own
                with udp(topology.host_1, OVERLAY_1) as out:
                    out.sendto(b"%03d" % number, (OVERLAY_2, PORT))
        arrived = [int(receiver.recv(64)) for _ in range(count)]
    assert sorted(arrived) == list(range(count)), "none is lost; flows may overtake each other"


# --- several in one process ---------------------------------------------------------------------


def test_several_hosts_in_one_process(topology: Topology, write: Write) -> None:
    """Each with a network of its own; host-2 is in both."""
    routes = {OVERLAY_1: "host-1", "192.168.124.3": "host-3", OVERLAY_2: "host-2", "192.168.124.2": "host-2"}
    config = {
        "services": [
            {
                "name": "hub",
                "addr": ":8443",
                "handler": {"type": "router", "metadata": {"router": "r"}},
                "listener": {"type": "tcp"},
            }
        ],
        "routers": [{"name": "r", "routes": [{"dst": k, "gateway": v} for k, v in routes.items()]}],
    }
    hub = start_hub(topology.hub, "-C", json.dumps(config))
    client = start(
        *(
            topology.host_1,
            "-L",
            "tun:///host-1?net=192.168.123.1/24",
            "-L",
            "tun:///host-3?net=192.168.124.3/24",
        ),
        *("-F", f"router://{HUB_TO_HOST_1}:8443"),
    )
    client.wait_line("connected to .* as host-1")
    client.wait_line("connected to .* as host-3")
    net = "192.168.123.2/24,192.168.124.2/24"
    start_client(topology.host_2, "-L", f"tun:///host-2?net={net}", "-F", f"router://{HUB_TO_HOST_2}:8443")
    assert pings(topology.host_2, OVERLAY_1) == 5
    assert pings(topology.host_2, "192.168.124.3") == 5
    assert told(hub, "is host host-[13] ") == 2
    assert client.stop() == 0
    assert topology.host_1.devices() == {"lo", "uplink"}


def test_hub_and_client_in_one_file_and_process(topology: Topology, write: Write) -> None:
    """server.yml and client.yml in one, the services told apart by name."""
    both = yaml.safe_load(example("server.yml"))
    client = yaml.safe_load(client_example("client.yml", 1, "127.0.0.1"))
    client["services"][0]["name"] = "service-1"
    both["services"] += client["services"]
    process = start_client(
        topology.hub, "-C", write("both.yml", yaml.safe_dump(both | {"chains": client["chains"]}))
    )
    process.wait_line("listening on")
    start_client(topology.host_2, *host(2, HUB_TO_HOST_2))
    assert pings(topology.host_2, OVERLAY_1) == 5
    assert pings(topology.hub, OVERLAY_2) == 5
    assert process.stop() == 0
    assert topology.hub.devices() == {"lo", "to-host-1", "to-host-2"}


def test_hub_and_client_on_one_command_line(topology: Topology, write: Write) -> None:
    process = start_client(
        topology.hub,
        "-C",
        server(write),
        "-L",
        "tun:///host-1?net=192.168.123.1/24",
        "-F",
        "router://127.0.0.1:8443",
    )
    start_client(topology.host_2, *host(2, HUB_TO_HOST_2))
    assert pings(topology.host_2, OVERLAY_1) == 5
    assert process.stop() == 0


# --- several sessions of one host ---------------------------------------------------------------


class Flows:
    """UDP flows from host-1 to host-2, whichever session of host-2 they come out of."""

    def __init__(self, sender: Namespace) -> None:
        self.sender = sender
        self.senders: dict[int, socket.socket] = {}
        self.receivers: dict[str, socket.socket] = {}

    def add(self, count: int) -> set[int]:
        """Begin so many flows; returns their source ports."""
        made = [udp(self.sender, OVERLAY_1) for _ in range(count)]
        ports = {int(out.getsockname()[1]): out for out in made}
        self.senders.update(ports)
        return set(ports)

    def where(self) -> dict[int, str]:
        """Send a packet on every flow; returns the receiver of each."""
        found: dict[int, str] = {}
        for out in self.senders.values():
            out.sendto(b"flow", (OVERLAY_2, PORT))
        poll = select.poll()
        for receiver in self.receivers.values():
            poll.register(receiver, select.POLLIN)
        while len(found) < len(self.senders):
            assert poll.poll(5000), f"{len(found)} of {len(self.senders)} flows arrived"
            for name, receiver in self.receivers.items():
                for _, port in waiting(receiver):
                    assert port not in found, "one packet came twice"
                    found[port] = name
        return found

    def close(self) -> None:
        for one in (*self.senders.values(), *self.receivers.values()):
            one.close()


def test_flows_stay_on_their_session(
    topology: Topology, more_hosts: list[Namespace], write: Write, flows: Flows
) -> None:
    start_hub(topology.hub, "-C", server(write))
    sender = start_client(topology.host_1, *host(1, HUB_TO_HOST_1))
    homes = {
        "a": (topology.host_2, HUB_TO_HOST_2),
        "b": (more_hosts[0], "10.77.3.1"),
        "c": (more_hosts[1], "10.77.4.1"),
    }
    clients = {}

    def join(name: str) -> None:
        namespace, hub = homes[name]
        clients[name] = start_client(namespace, *host(2, hub))
        flows.receivers[name] = udp(namespace, OVERLAY_2, PORT)

    join("a")
    join("b")
    flows.add(24)
    first = flows.where()
    assert set(first.values()) == {"a", "b"}, "new flows spread over the sessions"
    join("c")
    assert flows.where() == first, "who joins takes no flow from anybody"
    sender.stop(signal.SIGKILL)
    start_client(topology.host_1, *host(1, HUB_TO_HOST_1))
    assert flows.where() == first, "nor does a new session of the sender"
    new = flows.add(24)
    second = flows.where()
    assert {port: second[port] for port in first} == first
    assert {second[port] for port in new} == {"a", "b", "c"}
    clients["b"].stop()
    flows.receivers.pop("b").close()
    third = flows.where()
    assert {port: name for port, name in third.items() if second[port] != "b"} == {
        port: name for port, name in second.items() if name != "b"
    }, "who leaves moves only its own"
    assert set(third.values()) == {"a", "c"}


@pytest.fixture
def flows(topology: Topology) -> Iterator[Flows]:
    made = Flows(topology.host_1)
    yield made
    made.close()


def test_new_session_replaces_its_half_open_one(topology: Topology, write: Write) -> None:
    """The path dies without the hub hearing of it; the client comes back by another connection."""
    hub = start_hub(topology.hub, "-C", server(write))
    one = start_client(topology.host_1, *host(1, HUB_TO_HOST_1, extra="&lanes=1"))
    start_client(topology.host_2, *host(2, HUB_TO_HOST_2))
    reach(topology.host_1, OVERLAY_2)
    port = hub.wait_line(rf"{HOST_1}:(\d+) is host host-1")[1]
    seen = one.line_count()
    cut_off(topology.host_1, port)
    topology.host_1.run("ping", "-c1", "-W0.2", OVERLAY_2, check=False)  # runs into the cut
    one.wait_line("connected to", after=seen)
    hub.wait_line(rf"{HOST_1}:{port} \(host-1\) left: replaced by a new session")
    assert pings(topology.host_2, OVERLAY_1) == 5


def cut_off(namespace: Namespace, port: str) -> None:
    """One connection is reset at this end and never heard of at the other."""
    rules = f"""
        table inet cut {{
            chain out {{ type filter hook output priority 0; tcp sport {port} reject with tcp reset; }}
            chain in {{ type filter hook input priority 0; iif != "lo" tcp dport {port} drop; }}
        }}"""
    namespace.run("nft", rules)


def test_two_processes_of_one_host_do_not_replace_each_other(
    topology: Topology, more_hosts: list[Namespace], write: Write
) -> None:
    hub = start_hub(topology.hub, "-C", server(write))
    first = start_client(topology.host_2, *host(2, HUB_TO_HOST_2))
    second = start_client(more_hosts[0], *host(2, "10.77.3.1"))
    start_client(topology.host_1, *host(1, HUB_TO_HOST_1))
    assert pings(topology.host_1, OVERLAY_2) == 5
    assert (told(first, "connected to"), told(second, "connected to"), told(hub, "replaced")) == (1, 1, 0)
