"""Where hosts are, as an sd says: what is asked when, what counts for how long, what ends."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from lib.cluster_directory import AGAIN_SECONDS, Directory
from lib.namespace import Attachment, Namespace
from lib.plugin_cache import RETRY_SECONDS, Unresolved
from lib.route_gateways import Gateway
from lib.route_table import RouteTable
from tests.support.routes import table

MOST = 8
A, B = "192.0.2.1:8420", "192.0.2.2:8420"


@dataclass
class World:
    """A directory, and what it has asked for."""

    space: Namespace = field(default_factory=lambda: Namespace(b"k" * 16, table(), RouteTable(())))
    asked: list[str] = field(default_factory=list)
    found: list[str] = field(default_factory=list)
    directory: Directory = field(init=False)

    def __post_init__(self) -> None:
        self.directory = Directory(
            self.space, 1.0, MOST, self.make, lambda one: self.asked.extend(one.wanted()), self.find
        )

    def make(self, namespace: Namespace, host: str, hub: str) -> Attachment:
        return Attachment(namespace, host, hub, by="entrypoint")

    def find(self, directory: Directory, host: str) -> None:
        self.found.append(host)

    def hubs(self, host: str, now: float) -> list[str] | Unresolved | None:
        found = self.directory.gateway(host, now)
        return [one.peer for one in found.attachments] if isinstance(found, Gateway) else found


@pytest.fixture
def world() -> World:
    return World()


def test_a_host_is_asked_for_once_and_again_when_the_answer_is_old(world: World) -> None:
    assert world.hubs("h", 0) is Unresolved.ASKING
    assert world.hubs("h", 0) is Unresolved.ASKING
    assert world.asked == ["h"]
    world.directory.learn("h", [A], 10)
    assert world.hubs("h", 10.9) == [A]
    assert world.asked == ["h"]
    assert world.hubs("h", 11) == [A], "an old answer counts until there is another one"
    assert world.asked == ["h", "h"]


def test_nobody_s_host_is_remembered_too(world: World) -> None:
    world.hubs("h", 0)
    world.directory.learn("h", [], 0)
    assert world.hubs("h", 0.9) is None
    assert world.asked == ["h"]


def test_a_hub_that_a_host_stays_at_keeps_its_attachment_and_flows(world: World) -> None:
    world.directory.learn("h", [A, B], 0)
    before = world.directory.gateway("h", 0)
    assert isinstance(before, Gateway)
    kept = before.attachment_for(b"flow")
    assert kept is not None
    world.directory.learn("h", [kept.peer, "192.0.2.9:1"], 1)
    after = world.directory.gateway("h", 1)
    assert isinstance(after, Gateway)
    assert after.attachment_for(b"flow") is kept
    assert [one.live for one in before.attachments] == [True, True]


def test_a_host_that_moves_ends_where_it_was(world: World) -> None:
    world.directory.learn("h", [A], 0)
    old = world.directory.at("h", A, 0)
    assert isinstance(old, Attachment)
    world.directory.learn("h", [B], 1)
    assert not old.live
    assert world.hubs("h", 1) == [B]
    world.directory.learn("h", [], 2)
    assert world.hubs("h", 2) is None


def test_a_host_that_appears_makes_flows_on_a_stand_in_come_back() -> None:
    world = World(
        Namespace(b"k" * 16, table(("10.0.0.0/8", "h"), ("10.0.0.0/8", "stand-in")), RouteTable(()))
    )
    before = world.space.generation(0)
    world.directory.learn("h", [A], 0)
    assert world.space.generation(0) != before
    before = world.space.generation(0)
    world.directory.learn("h", [A], 1)
    assert world.space.generation(0) == before, "nothing is different"


def test_a_failing_sd_leaves_what_is_known(world: World) -> None:
    world.directory.learn("h", [A], 0)
    world.hubs("h", 5)
    world.directory.fail("h", 5)
    assert world.hubs("h", 5) == [A]
    world.asked.clear()
    assert world.hubs("h", 5 + RETRY_SECONDS / 2) == [A]
    assert not world.asked, "it is left alone for a while"
    assert world.hubs("h", 5 + RETRY_SECONDS) == [A]
    assert world.asked == ["h"]
    world.hubs("other", 5)
    world.directory.fail("other", 5)
    assert world.hubs("other", 5) is Unresolved.FAILED


def test_a_packet_from_where_a_host_is_not_has_it_asked_for_again_and_not_too_often(world: World) -> None:
    world.directory.learn("h", [A], 0)
    assert isinstance(world.directory.at("h", A, 0), Attachment)
    assert world.directory.at("h", B, AGAIN_SECONDS / 2) is None
    assert not world.asked
    assert world.directory.at("h", B, AGAIN_SECONDS) is Unresolved.ASKING
    assert world.directory.at("h", B, AGAIN_SECONDS) is Unresolved.ASKING
    assert world.asked == ["h"]
    assert world.directory.park("h", Attachment(world.space, "", B), b"frame")
    (waited,) = world.directory.learn("h", [B], AGAIN_SECONDS)
    assert waited[1] == b"frame"
    assert isinstance(world.directory.at("h", B, AGAIN_SECONDS), Attachment)
    assert world.directory.at("h", A, AGAIN_SECONDS) is None


def test_a_host_that_comes_here_is_nowhere_else(world: World) -> None:
    world.directory.learn("h", [A], 0)
    old = world.directory.at("h", A, 0)
    assert isinstance(old, Attachment)
    world.directory.forget("h")
    assert not old.live
    assert world.directory.known("h") is None
    world.directory.forget("nobody")


def test_everything_ends_with_the_registry(world: World) -> None:
    world.directory.learn("h", [A], 0)
    world.directory.learn("nobody", [], 0)
    old = world.directory.at("h", A, 0)
    assert isinstance(old, Attachment)
    world.directory.end()
    assert not old.live


def test_who_explains_may_wait(world: World) -> None:
    world.directory.find("h")
    assert world.found == ["h"]


def test_a_bounded_number_of_hosts_is_remembered(world: World) -> None:
    for number in range(MOST + 2):
        world.directory.learn(f"h{number}", [A], 0)
    assert len(world.directory) == MOST
    assert world.directory.known("h1") is None
    assert world.directory.known(f"h{MOST + 1}") is not None
