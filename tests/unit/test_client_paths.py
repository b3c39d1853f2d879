"""A client with two sessions at once: with which hubs, what goes by which, and what the end of a hub moves."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import gevent
import pytest

from lib import (
    client_backoff,
    client_dial,
    client_paths,
    client_reconnect,
    client_tries,
    framing,
    session_pulse,
)
from lib.client_paths import Paths
from lib.client_preference import HOLD_SECONDS
from lib.client_pulses import LOSSY_SECONDS, SOON_SECONDS, STILL_SECONDS
from lib.client_session import ClientSession
from lib.session_control import SessionControl
from lib.session_lane_sender import LaneSender
from lib.session_silence import Flight
from lib.wire_control import Feature, Hello
from tests.support import packets as p
from tests.unit.test_client_reconnect import THREE, Nodes

CLUSTER = b"c" * 16


class World(Nodes):
    """A client that keeps two sessions with hubs of which a test says who they are."""

    def __init__(self) -> None:
        super().__init__()
        self.settings = replace(self.settings, active=2)
        self.admits = {node.name for node in THREE}
        self.instance = b"i" * 16
        self.push = SimpleNamespace(asks=lambda session: False)
        self.sent: dict[str, bytes] = {}
        self.paths = Paths(self)  # type: ignore[arg-type]

    @property
    def session(self) -> ClientSession | None:
        return self.paths.session

    def met(self, session: Any) -> None:
        self.paths.met(session)

    def start(self) -> None:  # type: ignore[override]
        self.running = gevent.spawn(self.paths.run)
        self.until(lambda: len(self.paths.sessions) == 2)

    def by(self, name: str) -> ClientSession:
        (found,) = [path.session for path in self.paths.sessions if path.session.node.name == name]
        return found

    def says(self, name: str, cluster: bytes = CLUSTER, hub: str = "") -> ClientSession:
        """The hub of a node says HELLO; what is sent to it is noted from now on."""
        session = self.by(name)
        session.is_kin = True
        session.hub = Hello((hub or name).encode().ljust(16), cluster=cluster)
        session.control.features = int(Feature.KEEPALIVE)
        session.takes = 1, 65535
        sender: Any = session.sender
        sender.send = lambda buffers: self.sent.__setitem__(
            name, self.sent.get(name, b"") + b"".join(map(bytes, buffers))
        )
        self.paths.met(session)
        return session

    def goes(self, port: int) -> str:
        """By which node's hub a packet goes."""
        self.sent.clear()
        assert self.paths.sender is not None
        self.paths.sender.send([memoryview(framing.encode(p.udp("10.0.0.1", "10.0.0.2", ports=(port, 9))))])
        (name,) = self.sent
        return name


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = World()
    monkeypatch.setattr(client_dial, "let_in", made.let_in)
    monkeypatch.setattr(client_backoff.Backoff, "next", lambda *arguments: 0.001)
    monkeypatch.setattr(client_reconnect, "NO_HUB_SECONDS", 0.001)
    for module in (client_reconnect, client_tries, client_paths):
        monkeypatch.setattr(module, "say", lambda *a, **fields: made.said.append(fields))
    monkeypatch.setattr(SessionControl, "ask", lambda *arguments: None)
    yield made
    made.running.kill()
    made.paths.stop()


def test_the_two_are_with_two_hubs(world: World) -> None:
    world.start()
    assert sorted(world.asked) == ["node-0", "node-1"]
    assert [path.session.instance[15] for path in world.paths.sessions] == [1, 2]
    world.by("node-0").sender.close("it has ended")
    world.until(lambda: len(world.asked) == 3 and len(world.paths.sessions) == 2)
    assert world.asked[2] != "node-1"


def test_a_hub_behind_two_nodes_gets_one_session(world: World) -> None:
    world.settings = replace(world.settings, nodes=THREE[:2])
    world.start()
    world.says("node-0", hub="the same")
    world.says("node-1", hub="the same")
    world.until(lambda: len(world.paths.sessions) == 1)
    asked = len(world.asked)
    gevent.sleep(0.02)
    assert len(world.asked) == asked, "it is not dialled again while the other one lives"
    assert world.paths.all[1].away.reason == "another session of this client has the only other hub"


def test_in_a_cluster_flows_stay_and_new_ones_go_to_the_nearest(world: World) -> None:
    world.start()
    far, near = world.says("node-0"), world.says("node-1")
    assert world.paths.takes == (1, 65535)
    assert world.goes(1) == "node-0"
    far.control.liveness.rtt, near.control.liveness.rtt = 0.05, 0.005
    now = time.monotonic()
    world.paths._settle(now)
    world.paths._settle(now + HOLD_SECONDS)
    assert [world.goes(1), world.goes(2)] == ["node-0", "node-1"]
    assert [path.state for path in world.paths.sessions] == ["new flows", "flows that it has"]
    near.sender.close("it has ended")
    world.until(lambda: world.paths.session is far)
    assert world.goes(2) == "node-0"


def test_a_flow_that_came_by_a_hub_goes_back_by_it(world: World) -> None:
    world.start()
    world.says("node-0")
    watch = world.says("node-1").watch
    frame = framing.encode(p.udp("10.0.0.2", "10.0.0.1", ports=(9, 5)))
    assert watch is not None
    watch(memoryview(bytearray(frame)), 0, len(frame))
    assert [world.goes(5), world.goes(6)] == ["node-1", "node-0"]


@pytest.mark.parametrize("clusters", [(b"", b""), (CLUSTER, b""), (CLUSTER, b"d" * 16)], ids=str)
def test_hubs_that_are_in_no_cluster_together_stand_by(world: World, clusters: tuple[bytes, bytes]) -> None:
    world.start()
    first, second = world.says("node-0", clusters[0]), world.says("node-1", clusters[1])
    second.control.liveness.rtt = 0.0001
    assert {world.goes(port) for port in range(20)} == {"node-0"}
    assert [path.state for path in world.paths.sessions] == ["all flows", "stands by: not in one cluster"]
    first.sender.close("it has ended")
    world.until(lambda: world.paths.session is second)
    assert world.goes(1) == "node-1"
    world.until(lambda: len(world.paths.sessions) == 2)
    world.says(
        next(path.session.node.name for path in world.paths.sessions if path.session is not second), b""
    )
    assert world.goes(2) == "node-1", "nothing is dragged back"


@pytest.mark.parametrize("cluster", [CLUSTER, b""], ids=["one cluster", "none"])
def test_a_hub_that_ends_loses_its_flows_and_is_read_on(world: World, cluster: bytes) -> None:
    world.start()
    ends = world.says("node-0", cluster)
    world.says("node-1", cluster)
    assert world.goes(1) == "node-0"
    world.paths.leave(ends, hold=True)
    gevent.sleep(0)
    world.until(lambda: ends in world.paths._aside)
    assert world.goes(1) == ("node-1" if cluster else "node-0"), "who has not moved is reached by it alone"
    ends.hold.switch(ends.control)
    world.until(lambda: world.paths._aside.get(ends))
    assert world.goes(1) == "node-1"
    assert not ends.sender.closed_because
    assert "its hub ends" in [path.state for path in world.paths.sessions]


def test_a_hub_that_acknowledges_nothing_is_passed_over_while_another_one_answers(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits to send by it waits no longer: flows of other hubs are behind what is for this one."""
    world.start()
    cut, other = world.says("node-0"), world.says("node-1")
    flights = {cut: Flight(True, 5, 9.0, 0.001), other: Flight(True, 5, 9.0, 0.001)}
    senders = {session.sender: session for session in flights}
    monkeypatch.setattr(LaneSender, "flight", lambda sender: flights[senders[sender]])
    now = time.monotonic()

    def looks(seconds: float, answers: bool) -> list[str]:
        nonlocal now
        for _ in range(round(seconds / SOON_SECONDS)):
            now += SOON_SECONDS
            other.received.received_packets += answers
            cut.received.received_packets += not flights[cut].is_out
            flights[other] = Flight(True, now if answers else 5, 0.0 if answers else 9.0, 0.001)  # type: ignore[arg-type]
            world.paths._look(now)
        return [path.state for path in world.paths.sessions]

    assert "silent" not in looks(1.0, False), "it is the way to all of them that is bad"
    assert looks(0.2, True) == ["all flows", "silent"]
    assert world.paths.session is other
    assert now - 1.0 < cut.sender.silent_at <= now
    assert not other.sender.silent_at
    flights[cut] = Flight(False, 6, 0.0, 0.001)
    assert looks(1.5, True) == ["all flows", "silent"], "flows do not go to and fro"
    assert "silent" not in looks(2.0, True)
    assert not cut.sender.silent_at


@pytest.mark.parametrize("loses", [False, True])
def test_a_hub_has_more_time_where_packets_are_lost(
    world: World, monkeypatch: pytest.MonkeyPatch, loses: bool
) -> None:
    """Its kernel acknowledges, and what it says may be held up behind a segment that is lost twice."""
    world.start()
    still, other = world.says("node-0"), world.says("node-1")
    acked = itertools.count()
    gaps = itertools.count() if loses else itertools.repeat(0)
    monkeypatch.setattr(
        LaneSender, "flight", lambda sender: Flight(True, next(acked), 0.0, 0.001, next(gaps))
    )
    now = began = time.monotonic()
    while "silent" not in [path.state for path in world.paths.sessions]:
        now += SOON_SECONDS
        other.received.received_packets += 1
        world.paths._used.add(world.paths._sessions[still])
        world.paths._look(now)
    assert now - began == pytest.approx(LOSSY_SECONDS if loses else STILL_SECONDS, abs=3 * SOON_SECONDS)


def test_a_silent_hub_is_passed_over_until_it_is_heard(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.start()
    silent, other = world.says("node-0"), world.says("node-1")
    assert world.goes(1) == "node-0"
    now = time.monotonic()
    for step in range(12):
        world.paths._used.add(world.paths._sessions[silent])
        other.received.received_packets += 1
        world.paths._look(now + step * session_pulse.TICK)
    assert world.goes(1) == "node-1"
    assert "silent" in [path.state for path in world.paths.sessions]
    silent.received.received_packets += 1
    world.paths._look(now + 2)
    assert "silent" not in [path.state for path in world.paths.sessions]


def test_a_reload_changes_how_many_there_are(world: World) -> None:
    world.start()
    world.settings = replace(world.settings, active=1)
    world.paths.follow(world.settings)
    world.until(lambda: len(world.paths.sessions) == 1)
    session = world.paths.sessions[0].session
    assert (world.paths.sender, session.watch) == (session.sender, None)
    world.settings = replace(world.settings, active=2)
    world.paths.follow(world.settings)
    world.until(lambda: len(world.paths.sessions) == 2)
    assert session.watch is not None


def test_a_hub_is_told_whether_there_are_several(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.start()
    world.says("node-0")
    greeted: list[str] = []
    monkeypatch.setattr(ClientSession, "greet", lambda session: greeted.append(session.node.name))
    world.paths.follow(world.settings)
    assert greeted == [], "nothing has changed"
    world.settings = replace(world.settings, active=1)
    world.paths.follow(world.settings)
    assert greeted == ["node-0"], "the other one has not said HELLO yet"


def test_what_a_hub_has_no_way_to_goes_by_the_other_one(world: World) -> None:
    world.start()
    world.says("node-0")
    world.says("node-1")
    home = world.goes(1)
    other = {"node-0": "node-1", "node-1": "node-0"}[home]
    far = bytes([10, 0, 0, 2])
    world.paths.unreached(world.by(home), (far,))
    assert [fields["address"] for fields in world.said if "address" in fields] == ["10.0.0.2"]
    assert (world.goes(1), world.goes(2)) == (other, other)
    world.paths.unreached(world.by(home), ())
    assert (world.goes(1), world.goes(3)) == (home, home)
    world.by(home).sender.close("it has ended")
    world.until(lambda: home not in [path.session.node.name for path in world.paths.sessions])
    world.paths.unreached(world.by(other), (far,))
    assert world.goes(1) == other, "there is no other one"
