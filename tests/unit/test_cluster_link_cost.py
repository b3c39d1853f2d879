"""What a far hub sends costs it: its link has turns as a session has, and one that floods waits for its own.

Nothing here depends on how quick the machine is: turns are counted by passes of the event loop, and what they
are worth is compared with this thread's own processor time (session_cost).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

import gevent
import pytest

from lib import framing
from lib.cluster_link import Receiver
from lib.cluster_links import Links
from lib.forward_drop_reasons import Reason
from lib.session_control import SessionControl
from lib.session_cost import BURST_SECONDS, Cost
from lib.session_window import LEAST
from tests.support import packets as p
from tests.unit.test_cluster_hosts import World
from tests.unit.test_cluster_links import Hub, packet, wait_for

pytestmark = pytest.mark.alone

FLOODERS = 6
WORK_SECONDS = 0.0005
"""Processor time that one envelope takes which comes to nothing."""


class Busy:
    """What takes the frames of one hub: it works for each, and they are of use or not."""

    has_rest = False

    def __init__(self, name: str, turns: Counter[tuple[int, str]], are_of_use: bool) -> None:
        self._name, self._turns, self._are_of_use = name, turns, are_of_use

    def take(
        self,
        namespace: bytes,
        data: bytearray,
        view: memoryview,
        start: int,
        end: int,
        cost: Cost | None = None,
        /,
    ) -> int:
        until = time.thread_time() + WORK_SECONDS
        while time.thread_time() < until:
            pass
        return 1

    def send(self, cost: Cost | None = None, /) -> None:
        self._turns[gevent.get_hub().loop.iteration, self._name] += 1
        if cost is not None and self._are_of_use:
            cost.forward(1000, 0, 0)

    def go_on(self, cost: Cost | None = None, /) -> None: ...


class Flooded(Hub):
    """A hub that counts the turns of each link by passes of the event loop."""

    def __init__(self, name: str, are_of_use: bool) -> None:
        self.turns: Counter[tuple[int, str]] = Counter()
        self._are_of_use = are_of_use
        super().__init__(name)

    def _receiver(self, name: str) -> Receiver:
        return Busy(name, self.turns, self._are_of_use)


def cost_of(links: Links, name: str) -> Cost:
    link = links.link_with(name)
    assert link is not None
    assert link.stream.cost is not None
    return link.stream.cost


@pytest.fixture
def flooders() -> Iterator[list[Hub]]:
    made = [Hub(f"hub-{number}") for number in range(2, 2 + FLOODERS)]
    yield made
    for hub in made:
        hub.links.stop()


@pytest.mark.parametrize("are_of_use", [False, True])
def test_links_that_flood_have_turns_in_the_share_of_all_that_is_expensive(
    flooders: list[Hub], are_of_use: bool
) -> None:
    """However many of them there are: in no pass of the loop do two have one. Others have the time between.

    Where frames are of use each link may have a turn in each pass, and no more.
    """
    target = Flooded("hub-1", are_of_use)
    for hub in flooders:
        hub.knows(target)
    names = [hub.name for hub in flooders]
    over = False

    def flood(hub: Hub) -> None:
        while not over:
            for number in range(20):
                hub.send("hub-1", packet(number))
            gevent.sleep(0.001)

    running = [gevent.spawn(flood, hub) for hub in flooders]
    try:
        wait_for(lambda: all(target.links.link_with(name) is not None for name in names))
        for name in names:
            cost = cost_of(target.links, name)
            wait_for(lambda: cost.long if are_of_use else cost.expensive)  # noqa: B023
        gevent.sleep(0.05)  # turns that had begun before
        target.turns.clear()
        wait_for(lambda: sum(target.turns.values()) > 50)
        assert max(target.turns.values()) == 1
        if not are_of_use:
            assert len({at for at, _ in target.turns}) == len(target.turns), "two in a pass"
        assert any(cost_of(target.links, name).expensive for name in names) != are_of_use
    finally:
        over = True
        gevent.joinall(running)
        target.links.stop()


@pytest.mark.parametrize("keeps", [True, False])
def test_a_far_hub_keeps_what_a_hub_that_reads_slowly_has_no_time_for(
    monkeypatch: pytest.MonkeyPatch, keeps: bool
) -> None:
    """There hosts take turns; on its way, and in our kernel, a ping waits behind all that is dear."""
    if not keeps:  # as the release before
        monkeypatch.setattr(SessionControl, "allow", lambda control, upto: None)
    target, other = Flooded("hub-1", True), Hub("hub-2")
    other.knows(target)
    on_the_way = list[int]()
    try:
        other.send("hub-1", packet(0))
        wait_for(lambda: (link := other.links.link_with("hub-1")) is not None and link.is_ready)
        wait_for(lambda: target.links.link_with("hub-2") is not None)
        there, here = other.links.link_with("hub-1"), target.links.link_with("hub-2")
        assert there is not None
        assert here is not None
        for number in range(2000):
            other.send("hub-1", packet(number % 500))

        def looked() -> int:
            on_the_way.append(there.stream.written - here.stream.received)
            return len(on_the_way)

        wait_for(lambda: looked() > 100)
        assert (sorted(on_the_way)[75] < 8 * LEAST) == keeps
        assert bool(there._allowed.upto) == keeps
    finally:
        other.links.stop()
        target.links.stop()


class Served(Hub):
    """A hub that forwards what comes to the sessions of a world."""

    def __init__(self, name: str, world: World) -> None:
        self.world = world
        super().__init__(name)

    def _receiver(self, name: str) -> Receiver:
        return self.world.hosts.receiver(name)


def test_a_link_that_forwards_is_never_expensive_and_one_with_packets_of_nobody_is() -> None:
    world = World()
    one = world.join("host-1")
    world.at("hub-2", "host-2")
    here, there = Served("hub-1", world), Hub("hub-2")
    there.knows(here)
    frames = one.sender.frames  # type: ignore[attr-defined]

    def come() -> int:
        return sum(len(list(framing.split(run))) for run in frames)

    def send(count: int, source: str) -> None:
        for first in range(0, count, 50):
            for number in range(first, first + 50):
                address = f"{source}{number % 250}" if source.endswith(".") else source
                there.send("hub-1", p.udp(address, "10.0.0.1", b"x" * 100, ports=(1000 + number, 9)))
            gevent.sleep(0.001)

    try:
        for round_ in range(1, 6):  # the flows of the first are new, and of all others known
            send(500, "10.0.0.2")
            wait_for(lambda: come() == 500 * round_)  # noqa: B023
        assert cost_of(here.links, "hub-2").debt < BURST_SECONDS
        sent = 0
        while not cost_of(here.links, "hub-2").expensive:
            assert sent < 100_000
            for number in range(10):  # looked up one by one, as each is another one
                send(50, f"10.9.{number}.")
            sent += 500
        wait_for(lambda: world.hosts.traffic["hub-2"].drops[Reason.FOREIGN_SOURCE] == sent)
        before = come()
        send(500, "10.0.0.2")
        wait_for(lambda: come() == before + 500)
        assert sorted(_ports(b"".join(frames))[-500:]) == list(range(1000, 1500)), "each is a flow of its own"
    finally:
        there.links.stop()
        here.links.stop()


def _ports(frames: bytes) -> list[int]:
    found, at = [], 0
    for end in framing.split(frames):
        found.append(int.from_bytes(frames[at + 22 : at + 24], "big"))
        at = end
    return found
