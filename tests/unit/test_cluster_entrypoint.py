"""GOST's entrypoint on loopback, beside an sd that is played: datagrams as recorded, and everything that is none."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import socket
from gevent.event import Event
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lib import cluster_entrypoint_port, cluster_far_hubs, cluster_sd, hub_turn, stream_resolve
from lib.addresses import prefix
from lib.capture_taps import Taps
from lib.cluster_entrypoint import Entrypoint
from lib.cluster_sd_hosts import BUFFER
from lib.datagram_socket import Address, Run
from lib.errors import HostError, PluginError
from lib.forward_drop_reasons import Reason
from lib.hub_far_host import FarHost
from lib.ids import parse_uuid
from lib.namespace import Attachment
from lib.namespace_domain import Domain
from lib.packet import Buffer
from lib.plugin_client import SdService
from lib.prefixes import PrefixSet, packed
from lib.service_scheduling import Share
from lib.settings import HubSettings
from lib.settings_cluster import EntrypointSettings, SdSettings
from lib.settings_sources import PluginSettings
from tests.support import packets as p
from tests.support.routes import table

RECORDED = json.loads((Path(__file__).parent.parent / "data" / "entrypoint.json").read_text())
OUT, BACK = RECORDED["hub_to_hub"], RECORDED["from_another_hub"]
KEY = parse_uuid(OUT["namespace"])
HOLDS = 30.0
ROUTES = table(("192.168.123.0/24", "host-1"), ("192.168.50.0/24", "host-far"))


@dataclass
class Plugin:
    """An sd that knows what a test says."""

    where: dict[str, list[str]] = field(default_factory=dict)
    """HOST@NAMESPACE -> addresses of entrypoints."""
    asked: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    fails: bool = False
    node: str = "another node"
    network: str = "udp"
    url: str = "http://played"
    error: str = ""

    def get(self, name: str) -> list[SdService]:
        self.asked.append(name)
        if self.fails:
            raise PluginError("out of order")
        return [SdService("1", name, self.node, self.network, one) for one in self.where.get(name, ())]

    def register(self, service: SdService) -> None:
        self.told.append(f"register {service.name} {service.address}")

    def renew(self, service: SdService) -> bool:
        return True

    def deregister(self, service: SdService) -> None:
        self.told.append(f"deregister {service.name}")

    def close(self) -> None: ...


@dataclass
class Session:
    """A session here, which keeps what it gets."""

    attachment: Attachment
    got: list[bytes] = field(default_factory=list)
    queued: int = 0

    def send(self, buffers: Sequence[Buffer], /) -> None:
        self.got += p.contents(b"".join(map(bytes, buffers)))

    def close(self, because: str, /) -> None: ...

    def is_alive(self, seconds: float, /) -> bool:
        return True


class World:
    """A hub's entrypoint, another hub as a plain socket, and host-1 here."""

    def __init__(self, plugin: Plugin, allow: Sequence[str] = (), cache: float = 0.05) -> None:
        self.plugin = plugin
        self.far = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.far.bind(("127.0.0.1", 0))
        self.far.settimeout(HOLDS)
        self.where = f"127.0.0.1:{self.far.getsockname()[1]}"
        port = free_port()
        self.address = "127.0.0.1", port
        sd = SdSettings("sd0", PluginSettings("http://127.0.0.1:1", timeout=1.0))
        prefixes = PrefixSet(packed(prefix(one)) for one in allow)
        entry = EntrypointSettings(sd, "127.0.0.1", port, f"127.0.0.1:{port}", prefixes, cache)
        self.domain = Domain({KEY: ROUTES})
        self.entrypoint = Entrypoint(HubSettings("s", "", 1, entrypoint=entry), entry, self.domain, Taps())
        self.entrypoint.start()
        self.session = self.join("host-1")

    def join(self, host: str) -> Session:
        session = Session(Attachment(self.domain.namespace(KEY), host, "test", mtu=1500))
        session.attachment.sender = session
        FarHost(self.entrypoint, session.attachment)  # forwards as a session's turns do
        self.domain.enter(session.attachment, 0.0)
        return session

    def send(self, packet: bytes) -> None:
        assert self.session.attachment.again is not None
        self.session.attachment.again(p.frame(packet))

    def comes(self, datagram: bytes, sock: Any = None) -> None:
        (sock or self.far).sendto(datagram, self.address)

    def drops(self) -> dict[Reason, int]:
        one = self.entrypoint
        every = (one.hubs.traffic, *(hub.traffic for hub in one.hubs.all()))
        return {reason: count for traffic in every for reason, count in traffic.drops.items()}

    def close(self) -> None:
        self.entrypoint.stop()
        self.far.close()


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait(right: Callable[[], object]) -> None:
    with gevent.Timeout(HOLDS):
        while not right():
            gevent.sleep(0.005)


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Plugin:
    played = Plugin()
    monkeypatch.setattr(cluster_sd, "SdPlugin", lambda settings: played)
    return played


@pytest.fixture
def world(plugin: Plugin) -> Iterator[World]:
    made = World(plugin)
    plugin.where[f"host-far@{OUT['namespace']}"] = [made.where]
    yield made
    made.close()


@pytest.fixture
def patient(plugin: Plugin) -> Iterator[World]:
    """One whose answers of the SD do not become old in a test."""
    made = World(plugin, cache=600.0)
    plugin.where[f"host-far@{OUT['namespace']}"] = [made.where]
    yield made
    made.close()


def test_a_packet_leaves_as_gost_s_do_after_the_sd_was_asked_once(patient: World, plugin: Plugin) -> None:
    world = patient
    packet = bytes.fromhex(OUT["packet"])
    world.send(packet)
    world.send(packet)
    assert world.far.recv(9000).hex() == OUT["datagram"]
    assert world.far.recv(9000).hex() == OUT["datagram"]
    assert plugin.asked == [f"host-far@{OUT['namespace']}"]
    (hub,) = world.entrypoint.hubs.all()
    assert (hub.address, hub.traffic.sent_packets) == (world.where, 2)


def test_a_superpacket_leaves_packet_by_packet(world: World) -> None:
    world.session.attachment.is_tunrouter = True
    world.send(p.superpacket(p.tcp("192.168.123.1", "192.168.50.7", bytes(4000), partial=True), 1000))
    received = [world.far.recv(9000) for _ in range(4)]
    assert len({datagram[: 4 + int.from_bytes(datagram[2:4], "big")] for datagram in received}) == 1
    for datagram in received:
        p.assert_right(datagram[4 + int.from_bytes(datagram[2:4], "big") :])


def test_nothing_is_sent_that_a_gost_hub_would_cut_off(world: World) -> None:
    world.session.attachment.mtu = 9000
    world.send(p.udp("192.168.123.1", "192.168.50.7", bytes(5000), fragment=p.DONT_FRAGMENT))
    wait(lambda: world.session.got)
    (error,) = world.session.got
    assert (error[9], error[20], error[21]) == (p.ICMP, 3, 4)
    assert int.from_bytes(error[26:28], "big") == BUFFER - (len(bytes.fromhex(OUT["datagram"])) - 28)


def test_a_datagram_of_gost_s_goes_to_the_session_it_is_for(world: World, plugin: Plugin) -> None:
    world.comes(bytes.fromhex(BACK["datagram"]))
    wait(lambda: world.session.got)
    assert world.session.got == [bytes.fromhex(BACK["received_by_host_1"])[2:]]
    assert plugin.asked == [f"host-far@{OUT['namespace']}"], "whether it is the hub of that host"
    (hub,) = world.entrypoint.hubs.all()
    assert hub.traffic.received_packets == 1


def test_many_datagrams_at_once_keep_their_order(world: World) -> None:
    head = bytes.fromhex(BACK["datagram"])[:-28]
    packets = [p.udp("192.168.50.7", "192.168.123.1", b"%04d" % number) for number in range(300)]
    world.comes(head + packets[0])
    wait(lambda: world.session.got)
    for packet in packets[1:]:
        world.comes(head + packet)
    wait(lambda: len(world.session.got) == 300)
    assert world.session.got == packets


def test_the_sd_is_told_who_is_here(world: World, plugin: Plugin) -> None:
    name = f"host-1@{OUT['namespace']}"
    wait(lambda: plugin.told == [f"register {name} 127.0.0.1:{world.address[1]}"])
    world.domain.leave(world.session.attachment)
    wait(lambda: plugin.told[1:] == [f"deregister {name}"])


@pytest.mark.parametrize(
    ("told", "address"),
    [
        ("[2001:DB8:0:0::1]:8420", "[2001:db8::1]:8420"),
        ("[::ffff:192.0.2.7]:8420", "192.0.2.7:8420"),
        ("[FE80::1%lo]:8420", "[fe80::1%lo]:8420"),
    ],
)
def test_a_hub_is_known_by_its_address_however_the_sd_writes_it(
    plugin: Plugin, told: str, address: str
) -> None:
    plugin.where[f"host-far@{OUT['namespace']}"] = [told]
    entry = EntrypointSettings(
        SdSettings("sd0", PluginSettings("http://127.0.0.1:1")), "", 8420, "192.0.2.1:8420"
    )
    sd = cluster_sd.Sd("s", entry, "our node")
    assert sd.hubs(KEY, "host-far", lambda host, port: None) == [address]


# --- what is dropped


def head() -> bytes:
    return bytes.fromhex(BACK["datagram"])[:-28]


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        pytest.param(b"", Reason.BAD_DATAGRAM, id="nothing"),
        pytest.param(b"\x01\x03", Reason.BAD_DATAGRAM, id="cut off in the request"),
        pytest.param(head()[:-3], Reason.BAD_DATAGRAM, id="cut off in an address"),
        pytest.param(b"\x02" + head()[1:], Reason.BAD_DATAGRAM, id="another version"),
        pytest.param(b"\x01\x01" + head()[2:], Reason.BAD_DATAGRAM, id="another command"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", Reason.BAD_DATAGRAM, id="no request"),
        pytest.param(head(), Reason.EMPTY_FRAME, id="no packet"),
        pytest.param(head() + b"\x20junk", Reason.NOT_IP, id="junk behind it"),
        pytest.param(head() + p.udp("192.168.50.7", "192.168.123.1")[:-1], Reason.TRUNCATED, id="cut off"),
        pytest.param(head() + p.udp("192.168.9.9", "192.168.123.1"), Reason.FOREIGN_SOURCE, id="of nobody"),
        pytest.param(head() + p.udp("192.168.123.1", "192.168.123.1"), Reason.FOREIGN_SOURCE, id="of ours"),
        pytest.param(
            head().replace(KEY, b"x" * 16) + p.udp("192.168.50.7", "192.168.123.1"), Reason.NO_NAMESPACE,
            id="of another namespace",
        ),
        pytest.param(head() + p.udp("192.168.50.7", "192.168.50.8"), Reason.NO_SESSION, id="back to a hub"),
        pytest.param(head() + p.udp("192.168.50.7", "10.9.9.9"), Reason.NO_ROUTE, id="to nowhere"),
    ],
)  # fmt: skip
def test_a_datagram_that_is_dropped_is_counted_by_its_reason(
    world: World, datagram: bytes, reason: Reason
) -> None:
    world.comes(datagram)
    wait(lambda: world.drops() == {reason: 1})
    assert not world.session.got


def test_from_another_address_nothing_comes_in(world: World) -> None:
    world.comes(bytes.fromhex(BACK["datagram"]))
    wait(lambda: len(world.session.got) == 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        world.comes(bytes.fromhex(BACK["datagram"]), other)
        wait(lambda: world.drops() == {Reason.FOREIGN_SOURCE: 1})
    assert len(world.session.got) == 1


def test_a_flood_from_nobody_asks_the_sd_seldom(world: World, plugin: Plugin) -> None:
    began = time.monotonic()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        for number in range(2000):
            source = f"192.168.50.{number % 200}"
            world.comes(head() + p.udp(source, "192.168.123.1"), other)
            if not number % 50:
                gevent.sleep(0.002)
        wait(lambda: world.drops().get(Reason.FOREIGN_HUB))
    passed = time.monotonic() - began
    assert len(plugin.asked) <= 3 + passed / 0.05, "one host, so seldom at that"


def test_a_flood_from_nobody_pays_though_some_of_it_is_looked_at(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """100 datagrams a second of unknown hubs are, and what came with one of these cost nobody anything."""
    charged, batches = list[float](), list[int]()

    class Noted(Share):
        def charge(self, key: object, seconds: float) -> None:
            charged.append(seconds)

    class Full:
        def recv_runs(self) -> list[Run]:
            if len(batches) == 20:
                raise EOFError
            batches.append(len(batches))
            return [Run(Address(("192.0.2.1", number)), one * 60, len(one)) for number in range(32)]

    one = head() + p.udp("192.168.50.9", "192.168.123.1")
    seen = iter(range(1 << 30))
    monkeypatch.setattr(cluster_entrypoint_port, "SHARE", Noted())
    monkeypatch.setattr(cluster_entrypoint_port, "BURST_SECONDS", 0.0)
    monkeypatch.setattr(world.entrypoint, "_may_send", lambda hub, now: next(seen) % (32 * 60) == 0)
    monkeypatch.setattr(world.entrypoint, "_sock", Full())
    with pytest.raises(EOFError):
        world.entrypoint._read()
    monkeypatch.undo()
    assert len(charged) == len(batches)


def test_the_allow_list_counts_whatever_the_sd_says(plugin: Plugin) -> None:
    made = World(plugin, ["192.0.2.0/24"])
    try:
        plugin.where[f"host-far@{OUT['namespace']}"] = [made.where]
        made.comes(bytes.fromhex(BACK["datagram"]))
        wait(lambda: made.drops() == {Reason.FOREIGN_HUB: 1})
        assert not plugin.asked
        made.send(bytes.fromhex(OUT["packet"]))
        wait(lambda: made.session.attachment.traffic.drops == {Reason.NO_SESSION: 1})
        assert not made.entrypoint.hubs.all()
    finally:
        made.close()


def test_a_hub_in_the_allow_list_may_send(plugin: Plugin) -> None:
    made = World(plugin, ["127.0.0.0/8"])
    try:
        plugin.where[f"host-far@{OUT['namespace']}"] = [made.where]
        made.comes(bytes.fromhex(BACK["datagram"]))
        wait(lambda: made.session.got)
    finally:
        made.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=80), st.binary(max_size=60).map(lambda tail: head() + tail)))
def test_whatever_comes_is_a_frame_or_has_a_reason(world: World, datagram: bytes) -> None:
    found = world.entrypoint._opened("127.0.0.1:1", datagram, float("inf"))
    if isinstance(found, Reason):
        assert found in (Reason.BAD_DATAGRAM, Reason.EMPTY_FRAME, Reason.FOREIGN_HUB)
    else:
        world.entrypoint._enter(found[0], "127.0.0.1:1", [found[1]], 0.0)
    assert not world.session.got


# --- the sd


@pytest.mark.parametrize(
    "address",
    ["", "x", "127.0.0.1", "127.0.0.1:0", ":9", "0.0.0.0:9", "[::]:9", "224.0.0.1:9", "255.255.255.255:9", "[::1]:9",
     "999.1.1.1:9", "no such name:9", "[fe80::1]:9"],
)  # fmt: skip
def test_an_address_that_nobody_has_is_not_sent_to(
    world: World, plugin: Plugin, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look_up(*_: object) -> list[object]:
        raise OSError("no such name")

    monkeypatch.setattr(stream_resolve, "look_up", look_up)
    plugin.where[f"host-far@{OUT['namespace']}"] = [address]
    world.send(bytes.fromhex(OUT["packet"]))
    wait(lambda: world.session.attachment.traffic.drops == {Reason.NO_SESSION: 1})
    plugin.where[f"host-far@{OUT['namespace']}"] = [address, world.where]
    gevent.sleep(0.06)
    world.send(bytes.fromhex(OUT["packet"]))
    gevent.sleep(0.02)
    world.send(bytes.fromhex(OUT["packet"]))
    assert world.far.recv(9000), "the others count"


def test_a_name_is_looked_up_and_remembered(
    world: World, plugin: Plugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []

    def look_up(host: str, port: int, seconds: float) -> list[Any]:
        looked.append(host)
        return stream_resolve.numeric("127.0.0.1", port)

    monkeypatch.setattr(stream_resolve, "look_up", look_up)
    port = world.where.rpartition(":")[2]
    plugin.where[f"host-far@{OUT['namespace']}"] = [f"hub-2.example:{port}"]
    world.send(bytes.fromhex(OUT["packet"]))
    assert world.far.recv(9000).hex() == OUT["datagram"]
    gevent.sleep(0.06)
    world.send(bytes.fromhex(OUT["packet"]))
    assert world.far.recv(9000).hex() == OUT["datagram"]
    wait(lambda: len(plugin.asked) > 1)
    assert looked == ["hub-2.example"]


def test_what_is_our_own_is_not_elsewhere(world: World, plugin: Plugin) -> None:
    name = f"host-far@{OUT['namespace']}"
    plugin.where[name] = [f"127.0.0.1:{world.address[1]}"]
    world.send(bytes.fromhex(OUT["packet"]))
    wait(lambda: world.session.attachment.traffic.drops == {Reason.NO_SESSION: 1})
    plugin.where[name], plugin.network = [world.where], "tcp"
    gevent.sleep(0.06)
    world.send(bytes.fromhex(OUT["packet"]))
    wait(lambda: len(plugin.asked) == 2)
    assert world.session.attachment.traffic.drops == {Reason.NO_SESSION: 2}


def test_a_failing_sd_costs_new_flows_only(world: World, plugin: Plugin) -> None:
    world.send(bytes.fromhex(OUT["packet"]))
    assert world.far.recv(9000)
    plugin.fails = True
    gevent.sleep(0.06)
    for _ in range(3):
        world.send(bytes.fromhex(OUT["packet"]))
        assert world.far.recv(9000), "where it was"
    wait(lambda: len(plugin.asked) > 1)
    other = World(plugin)
    try:
        other.send(bytes.fromhex(OUT["packet"]))
        wait(lambda: other.session.attachment.traffic.drops == {Reason.SD_FAILED: 1})
    finally:
        other.close()


def test_a_host_that_moves_is_followed(world: World, plugin: Plugin) -> None:
    world.send(bytes.fromhex(OUT["packet"]))
    assert world.far.recv(9000)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as second:
        second.bind(("127.0.0.1", 0))
        second.settimeout(0.05)
        plugin.where[f"host-far@{OUT['namespace']}"] = [f"127.0.0.1:{second.getsockname()[1]}"]
        got = b""
        with gevent.Timeout(HOLDS):
            while not got:
                world.send(bytes.fromhex(OUT["packet"]))
                try:
                    got = second.recv(9000)
                except OSError:
                    continue
        assert got.hex() == OUT["datagram"]


def test_a_host_that_comes_here_gets_its_packets_here(world: World) -> None:
    world.send(bytes.fromhex(OUT["packet"]))
    assert world.far.recv(9000)
    session = world.join("host-far")
    world.send(bytes.fromhex(OUT["packet"]))
    wait(lambda: session.got == [bytes.fromhex(OUT["packet"])])
    world.domain.leave(session.attachment)
    world.send(bytes.fromhex(OUT["packet"]))
    assert world.far.recv(9000).hex() == OUT["datagram"], "and elsewhere again"


def test_very_many_hubs_are_counted_together(
    world: World, plugin: Plugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_far_hubs, "MAX_FAR_HUBS", 2)
    for number in range(4):
        plugin.where[f"host-far@{OUT['namespace']}"] = [f"127.0.0.{number + 2}:9"]
        gevent.sleep(0.06)
        world.send(bytes.fromhex(OUT["packet"]))
        wait(lambda: len(plugin.asked) == number + 1)  # noqa: B023  it is called before the next round
        gevent.sleep(0.01)
    assert len(world.entrypoint.hubs.all()) == 2


def test_the_port_is_taken(world: World) -> None:
    entry = world.entrypoint.entry
    with pytest.raises(HostError, match=r"cannot listen on UDP 127\.0\.0\.1:\d+ \(entrypoint\): .*ss -lunp"):
        Entrypoint(HubSettings("t", "", 1, entrypoint=entry), entry, Domain({}), Taps())


def test_the_end_leaves_nothing(world: World, plugin: Plugin) -> None:
    world.send(bytes.fromhex(OUT["packet"]))
    assert world.far.recv(9000)
    wait(lambda: plugin.told)
    world.entrypoint.stop()
    assert world.session.attachment.namespace.elsewhere is None
    world.send(bytes.fromhex(OUT["packet"]))
    assert world.session.attachment.traffic.drops == {Reason.NO_SESSION: 1}
    assert plugin.told[-1] == f"deregister host-1@{OUT['namespace']}"


def test_a_turn_ends_though_much_comes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_turn, "TURN_SECONDS", 0.0)
    assert world.session.attachment.again is not None
    frames = b"".join(p.frame(p.udp("192.168.123.1", f"192.168.123.{n}")) for n in range(2, 200))
    world.session.attachment.again(frames)
    assert len(world.session.got) == 198, "all of it, in several turns"


def test_frames_that_wait_for_the_sd_have_a_bound_in_bytes(world: World, plugin: Plugin) -> None:
    said, find = Event(), plugin.get
    plugin.get = lambda name: find(name) if said.wait() else []  # type: ignore[method-assign]
    budget = world.entrypoint.hosts.budget
    budget.limit = 8 * 5000
    for _ in range(10):
        world.comes(head() + p.udp("192.168.50.7", "192.168.123.1", bytes(1000)))
    wait(lambda: world.drops().get(Reason.RESOLVE_QUEUE, 0) >= 6)
    assert 1000 < budget.parked <= 5000
    said.set()
    wait(lambda: len(world.session.got) + world.drops()[Reason.RESOLVE_QUEUE] == 10)
    assert (budget.parked, budget.used) == (0, 0)
