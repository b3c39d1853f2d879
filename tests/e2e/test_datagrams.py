"""The datagram channel of a session over real wires: what goes by it, who is followed, who gets no answer."""

from __future__ import annotations

import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from lib import datagram_wire
from tests.support import releases
from tests.support.channels import channel_of
from tests.support.netns import (
    HOST_1,
    HUB_TO_HOST_1,
    HUB_TO_HOST_2,
    Namespace,
    Process,
    Topology,
    in_namespace,
)
from tests.support.program import (
    OVERLAY_2,
    example,
    host,
    needs_gost,
    pings,
    reach,
    start_client,
    start_gost,
    start_hub,
    wait_for,
)

pytestmark = pytest.mark.usefixtures("no_traceback")
Write = Callable[[str, str], str]
PORT = 8443
COUNTED = (
    f"table ip count {{ chain in {{ type filter hook input priority -10; ip saddr {HOST_1} udp dport 8443 counter; }}; "
    f"chain out {{ type filter hook output priority -10; ip daddr {HOST_1} udp sport 8443 counter; }}; }}"
)
BLOCKED = (
    "table ip block { chain in { type filter hook input priority 0; udp dport 8443 drop; }; "
    "chain out { type filter hook output priority 0; udp sport 8443 drop; }; }"
)
"""UDP of the hub's port goes nowhere, and nobody is told."""
REBOUND = (
    "table ip nat { chain out { type nat hook postrouting priority 100; udp dport 8443 snat to :40000; }; }"
)
"""As a NAT does that has forgotten a binding: the next datagram comes from another port."""


def hub_config(kind: str = "tls") -> str:
    return example("server.yml").replace("type: tcp", f"type: {kind}")


def client(number: int, hub: str, kind: str = "tls") -> tuple[str, ...]:
    *words, node = host(number, hub)
    return (*words, node.replace("router://", f"router+{kind}://"))


def datagrams(topology: Topology) -> tuple[int, int]:
    """How many datagrams the hub has got from host-1, and has sent there."""
    said = topology.hub.run("nft", "list", "table", "ip", "count")
    into, out = (int(found) for found in re.findall(r"packets (\d+)", said))
    return into, out


def both_ways(topology: Topology, count: int = 6) -> bool:
    """Whether pings go and come by datagrams, each of them: but for two before, which wake a channel that rests.

    A busy machine makes datagrams late, and then the stream carries all: a test that asks is marked alone.
    """
    pings(topology.host_1, OVERLAY_2, 2)
    before = datagrams(topology)
    if pings(topology.host_1, OVERLAY_2, count) < count:
        return False
    return all(now - then >= count for now, then in zip(datagrams(topology), before, strict=True))


class Tunnel(NamedTuple):
    """A hub and two clients with datagrams, and their control sockets by who is asked about whom."""

    topology: Topology
    config: Path
    hub: Process
    one: Process
    """The client of host-1."""
    ends: tuple[tuple[str, str], ...]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tunnel]:
    """Every test leaves it as it was, but for the last one that takes it."""
    path = tmp_path_factory.mktemp("tunnel")
    with Topology(path) as topology:
        topology.hub.run("nft", COUNTED)
        hub_socket, near, far = (str(path / name) for name in ("hub.sock", "near.sock", "far.sock"))
        config = path / "hub.yml"
        config.write_text(hub_config())
        hub = start_hub(topology.hub, "-D", "-C", str(config), "--control", hub_socket)
        one = start_client(topology.host_1, "-D", *client(1, HUB_TO_HOST_1), "--control", near)
        start_client(topology.host_2, *client(2, HUB_TO_HOST_2), "--control", far)
        reach(topology.host_1, OVERLAY_2)
        ends = ((hub_socket, "host-1"), (near, "host-1"), (hub_socket, "host-2"), (far, "host-2"))
        yield Tunnel(topology, config, hub, one, ends)
    for log in path.glob("*.log"):
        assert "Traceback" not in log.read_text(errors="replace"), log


@pytest.fixture
def tunnel(shared: Tunnel) -> Tunnel:
    """It, once both channels are good. Its test is alone on the machine by now, which `shared` may not have been."""
    for end in shared.ends:
        wait_for(lambda: channel_of(*end).get("path_mtu") == 1500)  # noqa: B023
    assert any(both_ways(shared.topology) for _ in range(3))
    return shared


def udp(topology: Topology, count: int, size: int, pause: float = 0.0) -> int:
    """Send datagrams within the tunnel from host-1 to host-2, one after the other; returns how many came."""
    with in_namespace(topology.host_2.name):
        there = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with in_namespace(topology.host_1.name):
        here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with there, here:
        there.bind((OVERLAY_2, 0))
        there.settimeout(2)
        came = 0
        for number in range(count):
            time.sleep(pause)
            here.sendto(bytes([number % 256]) * size, there.getsockname())
            with suppress(TimeoutError):
                came += there.recv(65536) == bytes([number % 256]) * size
    return came


@pytest.mark.alone
def test_what_goes_by_datagrams_and_what_does_not(tunnel: Tunnel) -> None:
    topology = tunnel.topology
    for size in (100, 1200):  # for 5 s any flow may still have packets on the stream, until it has paused
        before = datagrams(topology)[0]
        assert udp(topology, 20, size, 0.02) == 20
        assert datagrams(topology)[0] - before >= 19
    # nothing within the tunnel is longer than its MTU, so what does not fit are fragments of an own device's
    assert udp(topology, 20, 8000) == 20
    code = "import socket,sys; s=socket.create_connection(sys.argv[1:3]); s.sendall(bytes(1<<20)); s.close()"
    with in_namespace(topology.host_2.name):
        listener = socket.create_server((OVERLAY_2, 0))
    with listener:
        port = str(listener.getsockname()[1])
        sender = topology.host_1.popen(sys.executable, "-c", code, OVERLAY_2, port)
        listener.settimeout(10)
        stream, _ = listener.accept()
        with stream:
            before, size = datagrams(topology)[0], 0
            while data := stream.recv(1 << 16):
                size += len(data)
    assert size == 1 << 20
    assert sender.wait(10) == 0
    assert datagrams(topology)[0] - before < 100, "TCP goes by the stream"


@pytest.mark.alone
def test_a_client_behind_a_nat_that_forgets_is_followed(tunnel: Tunnel) -> None:
    topology = tunnel.topology
    topology.host_1.run("nft", REBOUND)
    assert pings(topology.host_1, OVERLAY_2, 20) == 20
    assert both_ways(topology)
    topology.host_1.run("nft", "delete", "table", "ip", "nat")
    assert "trying again" not in tunnel.one.text()
    assert tunnel.hub.text().count("is host host-1") == 1


@pytest.mark.alone
def test_strangers_get_no_answer(tunnel: Tunnel) -> None:
    topology = tunnel.topology
    with in_namespace(topology.host_2.name):
        stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with stranger:
        stranger.settimeout(0.3)
        for datagram in (
            *(b"", b"\0", b"\x54", bytes(1400), b"\x54" * 100),
            *(
                datagram_wire.header(datagram_wire.label_of(bytes([0, 0, number])), 0) + bytes(40)
                for number in range(200)
            ),
        ):
            stranger.sendto(datagram, (HUB_TO_HOST_2, PORT))
        with pytest.raises(TimeoutError):
            stranger.recv(2000)
    assert both_ways(topology)


@pytest.mark.alone
def test_a_reload_takes_the_port_along(tunnel: Tunnel) -> None:
    topology, config, hub, one, _ = tunnel
    config.write_text(hub_config().replace(":8443", ":8444"))
    hub.send(signal.SIGHUP)
    hub.wait_line("listens on")
    wait_for(lambda: ":8444" in topology.hub.run("ss", "-lunH"))
    assert not _listens(topology.hub)
    assert pings(topology.host_1, OVERLAY_2) == 5
    config.write_text(hub_config())
    hub.send(signal.SIGHUP)
    wait_for(lambda: _listens(topology.hub))
    assert pings(topology.host_1, OVERLAY_2, 5) == 5
    assert both_ways(topology)
    assert "trying again" not in one.text()


@pytest.mark.alone
def test_where_udp_is_blocked_the_stream_carries_all(tunnel: Tunnel) -> None:
    topology = tunnel.topology
    topology.hub.run("nft", BLOCKED)
    lost = 30 - pings(topology.host_1, OVERLAY_2, 30, "-i0.05")
    assert lost <= 20, "it took longer than a second"
    assert pings(topology.host_1, OVERLAY_2, 10, "-i0.05") == 10


def test_a_busy_port_is_one_warning(topology: Topology, write: Write) -> None:
    with in_namespace(topology.hub.name):
        other = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    with other:
        other.bind(("::", PORT))
        hub = start_hub(topology.hub, "-C", write("hub.yml", hub_config()))
        start_client(topology.host_1, *client(1, HUB_TO_HOST_1))
        start_client(topology.host_2, *client(2, HUB_TO_HOST_2))
        reach(topology.host_1, OVERLAY_2)
    (line,) = [line for line in hub.text().splitlines() if "UDP" in line]
    assert "cannot listen on UDP" in line
    assert "ss -lunp" in line


def test_over_tcp_there_are_none(topology: Topology, write: Write) -> None:
    hub = start_hub(topology.hub, "-C", write("hub.yml", hub_config("tcp")))
    start_client(topology.host_1, *client(1, HUB_TO_HOST_1, "tcp"))
    assert not _listens(topology.hub)
    assert "UDP" not in hub.text()


def _listens(namespace: Namespace) -> bool:
    return f":{PORT}" in namespace.run("ss", "-lunH")


PROXIED = f"""\
services:
- name: client
  handler: {{type: tun, chain: past-a-proxy, metadata: {{channel: WORD}}}}
  listener: {{type: tun, metadata: {{net: 192.168.123.1/24, route: 192.168.123.0/24}}}}
  forwarder: {{nodes: [{{name: target, addr: host-1}}]}}
chains:
- name: past-a-proxy
  hops:
  - {{name: a, nodes: [{{name: proxy, addr: "{HUB_TO_HOST_1}:1080", connector: {{type: socks5}}, dialer: {{type: tcp}}}}]}}
  - {{name: b, nodes: [{{name: hub, addr: "127.0.0.1:{PORT}", connector: {{type: router}}, dialer: {{type: tls}}}}]}}
"""


@pytest.mark.alone
@needs_gost
def test_a_reload_brings_a_channel_to_the_sessions_there_are(
    topology: Topology, write: Write, tmp_path: Path
) -> None:
    """It was there from the next session on. Past a proxy it has to be asked for, and both ends say why there is none."""
    far, near = str(tmp_path / "hub.sock"), str(tmp_path / "near.sock")
    text = hub_config().replace("        router: router-0\n", "        router: router-0\n        MORE\n")
    hub = start_hub(
        topology.hub, "-C", write("hub.yml", text.replace("MORE", "channel: stream")), "--control", far
    )
    start_gost(topology.hub, "-L", "socks5://:1080")
    topology.host_2.run("ip", "route", "add", HUB_TO_HOST_1, "via", HUB_TO_HOST_2)
    one = start_client(
        topology.host_1, "-C", write("near.yml", PROXIED.replace("WORD", "auto")), "--control", near
    )
    two = start_client(topology.host_2, *client(2, HUB_TO_HOST_2))
    reach(topology.host_1, OVERLAY_2)
    assert channel_of(near) == {"none": "past a proxy"}
    assert channel_of(far) == {"none": "channel: stream"}

    write("hub.yml", text.replace("MORE", f"datagram: {HUB_TO_HOST_1}:{PORT}"))
    hub.send(signal.SIGHUP)
    wait_for(lambda: channel_of(far, "host-2").get("state") == "good")
    assert channel_of(far) == {"none": "the client has none"}

    write("near.yml", PROXIED.replace("WORD", "datagram"))
    one.send(signal.SIGHUP)
    wait_for(lambda: channel_of(near).get("path_mtu") == 1500)
    topology.hub.run("nft", COUNTED)
    assert both_ways(topology)
    assert "again" not in one.text() + two.text()
    assert hub.text().count("is host host-1") == hub.text().count("is host host-2") == 1


BEFORE = "9b9eab7"
"""The release before this one had no datagrams."""


@pytest.fixture(scope="module")
def release_before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of it."""
    return releases.checkout(BEFORE, tmp_path_factory.mktemp("before"))


@pytest.mark.parametrize("role", ["hub", "client"])
def test_the_release_before_goes_on_without(
    topology: Topology, write: Write, release_before: Path, role: str
) -> None:
    topology.hub.run("nft", COUNTED)
    old, words = (sys.executable, "tunrouter.py"), ("-C", write("hub.yml", hub_config()))
    if role == "hub":
        topology.hub.popen(*old, *words, cwd=release_before).wait_line("listening on")
        one = start_client(topology.host_1, *client(1, HUB_TO_HOST_1))
    else:
        start_hub(topology.hub, *words)
        one = topology.host_1.popen(*old, *client(1, HUB_TO_HOST_1), cwd=release_before)
        one.wait_line("connected to")
    start_client(topology.host_2, *client(2, HUB_TO_HOST_2))
    reach(topology.host_1, OVERLAY_2)
    assert pings(topology.host_1, OVERLAY_2) == 5
    assert udp(topology, 20, 1000) == 20
    assert datagrams(topology) == (0, 0)
    assert "trying again" not in one.text()
