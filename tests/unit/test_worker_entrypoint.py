"""GOST's entrypoint of a hub with workers, in one process: who asks the sd, which worker gets a datagram."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import gevent
import gevent.socket
import pytest

from lib import cluster_sd_hosts, datagram_open, worker_channel
from lib.addresses import prefix
from lib.cluster_entrypoint_port import STRANGERS_PER_SECOND
from lib.cluster_far_hubs import opened
from lib.counters import Traffic
from lib.datagram_socket import DatagramSocket
from lib.forward_drop_reasons import Reason
from lib.hub_far_host import FarHost
from lib.namespace import Attachment
from lib.namespace_domain import Domain
from lib.prefixes import PrefixSet, packed
from lib.settings import HubSettings
from lib.settings_cluster import EntrypointSettings, SdSettings
from lib.settings_sources import PluginSettings
from lib.worker_entrypoint import EntrypointRelay
from lib.worker_links import CLUSTER, WorkerLinks
from tests.support import packets as p
from tests.support.routes import table
from tests.unit.test_cluster_entrypoint import (
    BACK,
    HOLDS,
    KEY,
    OUT,
    Plugin,
    Session,
    free_port,
    head,
    plugin,
    wait,
)
from tests.unit.test_worker_relay import owner

__all__ = ["plugin"]

ROUTES = table(
    ("192.168.123.0/24", "host-1"), ("192.168.124.0/24", "host-2"), ("192.168.50.0/24", "host-far")
)
HERE, THERE, FAR = "192.168.123.1", "192.168.124.1", "192.168.50.7"
"""host-1 at worker 1, host-2 at worker 2, host-far at another hub."""
NAME = f"host-far@{OUT['namespace']}"


class World:
    """A hub with two workers and the process that has the entrypoint; another hub as a plain socket."""

    def __init__(self, plugin: Plugin, allow: Sequence[str] = (), cache: float = 600.0) -> None:
        self.plugin = plugin
        self.far = gevent.socket.socket(gevent.socket.AF_INET, gevent.socket.SOCK_DGRAM)
        self.far.bind(("127.0.0.1", 0))
        self.far.settimeout(HOLDS)
        self.where = f"127.0.0.1:{self.far.getsockname()[1]}"
        port = free_port()
        self.address = "127.0.0.1", port
        sd = SdSettings("sd0", PluginSettings("http://127.0.0.1:1", timeout=1.0))
        prefixes = PrefixSet(packed(prefix(one)) for one in allow)
        self.entry = EntrypointSettings(sd, "127.0.0.1", port, f"127.0.0.1:{port}", prefixes, cache)
        self.sock = opened(self.entry)
        self.owners = {name: self._owner() for name in ("worker 1", "worker 2")}
        self.links: dict[str, WorkerLinks] = {}
        self.shared: list[DatagramSocket] = []
        for name, one in self.owners.items():
            others, sock = {*self.owners, CLUSTER} - {name}, self._shared()
            self.links[name] = WorkerLinks(name, {"s": one}, others, self.entry, sock)
            self.links[name].start()
            self.shared.append(sock)
        self.begin()
        self._link("worker 1", "worker 2")
        self.sessions = {host: self.join(f"worker {host[-1]}", host) for host in ("host-1", "host-2")}
        wait(lambda: self.relay.sessions == 2 and all(self._knows_other(name) for name in self.owners))

    def _owner(self) -> Any:
        made = owner(Domain({KEY: ROUTES}))
        made.settings = HubSettings("s", "", 1, entrypoint=self.entry)
        return made

    def _shared(self) -> DatagramSocket:
        return datagram_open.shared(self.sock.sock.dup().detach())

    def begin(self) -> None:
        """Make the process that has the entrypoint, and link all workers with it."""
        self.relay = EntrypointRelay(self._owner(), self.entry, self._shared())
        self.relay.start()
        for name, links in self.links.items():
            ours, theirs = worker_channel.stream_pair()
            self.relay.add(name, gevent.socket.socket(fileno=ours))
            links.add(CLUSTER, gevent.socket.socket(fileno=theirs))
        wait(lambda: self.relay.has_heard_all and all(CLUSTER in one.links for one in self.links.values()))
        self.relay.begin()

    def end(self) -> None:
        """It dies."""
        self.relay.end()
        self.relay.stop()
        for link in list(self.relay.links.values()):
            link._sock.shutdown(2)
        wait(lambda: not any(CLUSTER in one.links for one in self.links.values()))

    def _link(self, one: str, other: str) -> None:
        ours, theirs = worker_channel.stream_pair()
        self.links[one].add(other, gevent.socket.socket(fileno=ours))
        self.links[other].add(one, gevent.socket.socket(fileno=theirs))

    def _knows_other(self, name: str) -> bool:
        return any(other.claims for other in self.links[name].others.hubs.values())

    def join(self, worker: str, host: str) -> Session:
        one = self.owners[worker]
        session = Session(Attachment(one.domain.namespace(KEY), host, "test", mtu=1500))
        session.attachment.sender = session
        FarHost(one, session.attachment)  # forwards as a session's turns do
        one.domain.enter(session.attachment, time.monotonic())
        return session

    def send(self, host: str, packet: bytes) -> None:
        again = self.sessions[host].attachment.again
        assert again is not None
        again(p.frame(packet))

    def comes(self, packet: bytes, sock: Any = None) -> None:
        (sock or self.far).sendto(head() + packet, self.address)

    def drops(self) -> dict[Reason, int]:
        """What the process with the entrypoint and both workers have dropped of other hubs."""
        tables = [self.relay.port.hubs, *(links.sd.hosts.hubs for links in self.links.values() if links.sd)]
        every: list[Traffic] = [one.traffic for one in tables]
        every += [hub.traffic for one in tables for hub in one.all()]
        whole = Traffic()
        for traffic in every:
            whole.add(traffic)
        return dict(whole.drops)

    def close(self) -> None:
        self.relay.end()
        self.relay.stop()
        for links in self.links.values():
            links.stop()
            for link in list(links.links.values()):
                link._sock.shutdown(2)
        wait(lambda: not self.relay.links and not any(one.links for one in self.links.values()))
        for sock in (self.sock, *self.shared):
            sock.close()
        self.far.close()


def inside(datagram: bytes) -> bytes:
    """The packet in a datagram of ours."""
    return datagram[4 + int.from_bytes(datagram[2:4], "big") :]


@pytest.fixture
def world(plugin: Plugin) -> Iterator[World]:
    made = World(plugin)
    plugin.where[NAME] = [made.where]
    yield made
    made.close()


def test_the_sd_is_asked_once_for_all_workers(world: World, plugin: Plugin) -> None:
    packet = bytes.fromhex(OUT["packet"])
    world.send("host-1", packet)
    assert world.far.recv(9000).hex() == OUT["datagram"]
    sd = world.links["worker 2"].sd
    assert sd is not None
    wait(lambda: sd.hosts.count() == 1)
    world.send("host-2", p.udp(THERE, FAR))
    assert inside(world.far.recv(9000)) == p.udp(THERE, FAR)
    assert plugin.asked == [NAME]
    assert not world.sessions["host-1"].attachment.traffic.drops


def test_workers_that_ask_at_once_share_one_question(world: World, plugin: Plugin) -> None:
    world.send("host-1", p.udp(HERE, FAR))
    world.send("host-2", p.udp(THERE, FAR))
    assert {inside(world.far.recv(9000)) for _ in range(2)} == {p.udp(HERE, FAR), p.udp(THERE, FAR)}
    assert plugin.asked == [NAME]


@pytest.mark.parametrize(("host", "address"), [("host-1", HERE), ("host-2", THERE)])
def test_a_datagram_goes_to_the_worker_that_has_its_receiver(world: World, host: str, address: str) -> None:
    packets = [p.udp(FAR, address, b"%03d" % number) for number in range(100)]
    for packet in packets:
        world.comes(packet)
    got = world.sessions[host].got
    wait(lambda: len(got) + sum(world.drops().values()) == len(packets))
    assert got == packets[: len(got)], "in their order; what came before the answer may be too much to wait"
    assert set(world.drops()) <= {Reason.RESOLVE_QUEUE}
    assert len(got) >= 8


def test_a_recorded_datagram_of_gost_s(world: World) -> None:
    world.far.sendto(bytes.fromhex(BACK["datagram"]), world.address)
    wait(lambda: world.sessions["host-1"].got)
    assert world.sessions["host-1"].got == [bytes.fromhex(BACK["received_by_host_1"])[2:]]
    assert world.drops() == {}


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", Reason.BAD_DATAGRAM, id="no request"),
        pytest.param(head(), Reason.EMPTY_FRAME, id="no packet"),
        pytest.param(head() + b"\x20junk", Reason.NOT_IP, id="junk behind it"),
        pytest.param(
            head() + bytes(10) + p.udp(FAR, HERE), Reason.NOT_IP, id="what only links between tunrouters have"
        ),
        pytest.param(
            head() + b"\xd0\x01" + KEY + bytes(9) + b"host-1", Reason.NOT_IP, id="a claim of a worker's"
        ),
        pytest.param(head() + p.udp(FAR, HERE)[:-1], Reason.TRUNCATED, id="cut off"),
        pytest.param(head() + p.udp("10.9.9.9", HERE), Reason.FOREIGN_SOURCE, id="of no route"),
        pytest.param(head() + p.udp(HERE, HERE), Reason.FOREIGN_SOURCE, id="of a host here"),
        pytest.param(head() + p.udp(THERE, HERE), Reason.FOREIGN_SOURCE, id="of a host at another worker"),
        pytest.param(
            head().replace(KEY, b"x" * 16) + p.udp(FAR, HERE), Reason.NO_NAMESPACE, id="of another namespace"
        ),
        pytest.param(head() + p.udp(FAR, "192.168.50.8"), Reason.NO_SESSION, id="back to a hub"),
        pytest.param(head() + p.udp(FAR, "10.9.9.9"), Reason.NO_ROUTE, id="to nowhere"),
    ],
)
def test_a_datagram_that_is_dropped_is_counted_as_with_one_process(
    world: World, datagram: bytes, reason: Reason
) -> None:
    world.far.sendto(datagram, world.address)
    wait(lambda: world.drops() == {reason: 1})
    assert not any(session.got for session in world.sessions.values())


def test_what_the_sd_has_just_denied_goes_to_no_worker(world: World, plugin: Plugin) -> None:
    world.comes(p.udp(FAR, HERE))
    wait(lambda: world.sessions["host-1"].got)
    place = KEY, "host-far"
    world.relay._said[place] = time.monotonic() + HOLDS, world.relay._said[place][1]
    with gevent.socket.socket(gevent.socket.AF_INET, gevent.socket.SOCK_DGRAM) as other:
        for _ in range(20):
            world.comes(p.udp(FAR, HERE), other)
        wait(lambda: world.drops() == {Reason.FOREIGN_SOURCE: 20})
    assert world.relay.port.hubs.traffic.drops == {Reason.FOREIGN_SOURCE: 20}
    assert plugin.asked == [NAME]


def test_a_host_that_has_moved_to_another_hub_is_asked_for_again(world: World, plugin: Plugin) -> None:
    world.comes(p.udp(FAR, HERE))
    wait(lambda: world.sessions["host-1"].got)
    with gevent.socket.socket(gevent.socket.AF_INET, gevent.socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        plugin.where[NAME] = [f"127.0.0.1:{other.getsockname()[1]}"]

        def has_come() -> bool:
            world.comes(p.udp(FAR, HERE, b"new"), other)
            return p.udp(FAR, HERE, b"new") in world.sessions["host-1"].got

        wait(has_come)
        world.send("host-2", p.udp(THERE, FAR))
        other.settimeout(HOLDS)
        assert inside(other.recv(9000)) == p.udp(THERE, FAR), "every worker knows"


def test_the_allow_list_counts(plugin: Plugin) -> None:
    made = World(plugin, ["192.0.2.0/24"])
    try:
        plugin.where[NAME] = [made.where]
        made.comes(p.udp(FAR, HERE))
        wait(lambda: made.drops() == {Reason.FOREIGN_HUB: 1})
        assert not plugin.asked
        made.send("host-1", p.udp(HERE, FAR))
        wait(lambda: made.sessions["host-1"].attachment.traffic.drops == {Reason.NO_SESSION: 1})
    finally:
        made.close()


def test_addresses_that_are_made_up_are_told_to_workers_slowly(plugin: Plugin) -> None:
    made = World(plugin, ["127.0.0.0/8"])
    try:
        plugin.where[NAME] = [made.where]
        began = time.monotonic()
        for number in range(400):
            found = made.relay.port._opened(f"127.0.0.9:{number + 1}", head() + p.udp(FAR, HERE), began)
            if not isinstance(found, Reason):
                made.relay.port._enter(found[0], f"127.0.0.9:{number + 1}", [found[1]], began)
        assert len(made.relay._numbers) == STRANGERS_PER_SECOND
        made.comes(p.udp(FAR, HERE, b"asked"))
        made.send("host-1", p.udp(HERE, FAR))
        assert made.far.recv(9000)
        for number in range(200):
            made.comes(p.udp(FAR, HERE, b"%03d" % number))
            gevent.sleep(0)
        wait(
            lambda: made.sessions["host-1"].got[-200:] == [p.udp(FAR, HERE, b"%03d" % n) for n in range(200)]
        )
    finally:
        made.close()


def test_the_sd_is_told_of_each_host_once_whichever_worker_has_it(world: World, plugin: Plugin) -> None:
    names = {host: f"{host}@{OUT['namespace']}" for host in ("host-1", "host-2")}
    where = f"127.0.0.1:{world.address[1]}"
    wait(lambda: sorted(plugin.told) == [f"register {name} {where}" for name in names.values()])
    old = world.sessions["host-1"].attachment
    world.join("worker 2", "host-1")
    wait(lambda: len(world.relay.others.where((KEY, "host-1"))) == 2)
    world.owners["worker 1"].domain.leave(old)
    wait(lambda: len(world.relay.others.where((KEY, "host-1"))) == 1)
    assert len(plugin.told) == 2, "it is at the same hub"
    world.owners["worker 2"].domain.leave(world.sessions["host-2"].attachment)
    wait(lambda: plugin.told[2:] == [f"deregister {names['host-2']}"])
    assert len(world.relay.port.registration) == 1


def test_a_host_that_comes_to_any_worker_is_at_no_hub(world: World, plugin: Plugin) -> None:
    world.send("host-1", p.udp(HERE, FAR))
    assert world.far.recv(9000)
    session = world.join("worker 2", "host-far")

    def has_come() -> bool:
        world.send("host-1", p.udp(HERE, FAR))
        return bool(session.got)

    wait(has_come)
    assert plugin.asked == [NAME]


def test_an_sd_that_fails_and_a_process_that_ends(world: World, plugin: Plugin) -> None:
    plugin.fails = True
    world.send("host-1", p.udp(HERE, FAR))
    wait(lambda: world.sessions["host-1"].attachment.traffic.drops == {Reason.SD_FAILED: 1})
    plugin.fails = False

    def passes(host: str, source: str) -> bool:
        world.send(host, p.udp(source, FAR))
        world.far.settimeout(0.1)
        try:
            return bool(world.far.recv(9000))
        except TimeoutError:
            return False

    wait(lambda: passes("host-1", HERE))
    world.end()
    assert passes("host-1", HERE), "what is known goes on"
    drops = world.sessions["host-1"].attachment.traffic.drops
    before = drops[Reason.SD_FAILED]
    world.send("host-1", p.udp(HERE, "192.168.50.9"))  # the same host: known
    assert drops[Reason.SD_FAILED] == before
    world.begin()
    world.comes(p.udp(FAR, THERE))
    wait(lambda: world.sessions["host-2"].got)


def test_a_question_that_nobody_answers_any_more_fails(
    world: World, plugin: Plugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = gevent.event.Event()

    def never(name: str) -> list[Any]:
        asked.set()
        gevent.sleep(HOLDS)
        return []

    monkeypatch.setattr(plugin, "get", never)
    world.send("host-1", p.udp(HERE, FAR))
    assert asked.wait(HOLDS)
    world.end()
    wait(lambda: world.sessions["host-1"].attachment.traffic.drops == {Reason.SD_FAILED: 1})


def test_a_reload_with_other_settings_forgets_what_was_known(world: World, plugin: Plugin) -> None:
    world.send("host-1", p.udp(HERE, FAR))
    assert world.far.recv(9000)
    links = world.links["worker 1"]
    before = links.hosts
    links.follow(world.entry)
    assert links.hosts is before
    links.follow(replace(world.entry, cache=2.0))
    assert links.sd is not None
    assert (links.sd.hosts.count(), links.sd.hosts.hubs.entry.cache) == (0, 2.0)
    world.send("host-1", p.udp(HERE, FAR))
    assert world.far.recv(9000)
    assert plugin.asked == [NAME, NAME]


def test_nothing_is_sent_that_a_gost_hub_would_cut_off(world: World) -> None:
    session = world.sessions["host-1"]
    session.attachment.mtu = 9000
    world.send("host-1", p.udp(HERE, FAR, bytes(5000), fragment=p.DONT_FRAGMENT))
    wait(lambda: session.got)
    (error,) = session.got
    assert (error[9], error[20], error[21]) == (p.ICMP, 3, 4)
    assert int.from_bytes(error[26:28], "big") < cluster_sd_hosts.BUFFER
