"""Which links are passed over as silent, under a played clock: links, the registry and who is told."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from lib.cluster_pulse import CUT_OFF, HOLD_SECONDS, LinkPulses
from lib.session_pulse import SILENT_SECONDS, TICK
from lib.session_silence import HEARD_TIMES, NO_FLIGHT, QUIET_SECONDS, Flight
from lib.wire_control import Feature


class Link:
    """A link whose far hub answers, or does not; `used` as often as it is looked at."""

    def __init__(self, name: str, used: bool = False, rtt: float = 0.001) -> None:
        self.name, self.used, self.answers, self.asked = name, used, True, 0
        self.is_ready, self.is_leaving = True, False
        self.flight = NO_FLIGHT
        self.sender = SimpleNamespace(closed_because="", flight=lambda: self.flight)
        self.traffic = SimpleNamespace(sent_packets=0, received_packets=0)
        self.control = SimpleNamespace(
            ask=self._ask,
            can=lambda feature: feature is Feature.KEEPALIVE,
            liveness=SimpleNamespace(rtt=rtt),
        )

    def _ask(self, now: float) -> None:
        self.asked += 1
        self.traffic.received_packets += self.answers


class World:
    """Links of one hub, and time."""

    def __init__(self, *links: Link) -> None:
        self.links, self.now, self.heard = list(links), 100.0, float("-inf")
        self.told: list[tuple[str, bool]] = []
        in_use: Any = lambda: self.links  # noqa: E731
        self.pulses = LinkPulses(in_use, lambda: self.heard, lambda *what: self.told.append(what))

    def pass_(self, seconds: float) -> None:
        for _ in range(round(seconds / TICK)):
            self.now += TICK
            for link in self.links:
                link.traffic.sent_packets += link.used
            self.pulses.look(self.now)


def test_a_hub_that_is_silent_while_another_one_answers_is_passed_over_until_it_is_heard() -> None:
    one, other = Link("hub-1", used=True), Link("hub-2")
    world = World(one, other)
    world.pass_(2.0)
    assert world.told == []
    assert other.asked == 0, "nobody sends by it"
    one.answers = False
    world.pass_(SILENT_SECONDS + 0.5)
    assert world.told == [("hub-1", True)]
    assert world.pulses.why("hub-1")
    assert world.pulses.why("hub-2") == ""
    one.answers = True
    world.pass_(1.0)
    assert world.told == [("hub-1", True)], "not so soon: flows shall not go to and fro"
    world.pass_(HOLD_SECONDS)
    assert world.told == [("hub-1", True), ("hub-1", False)]
    assert world.pulses.why("hub-1") == ""


def test_where_nobody_answers_nobody_is_passed_over_but_the_registry_is_a_witness() -> None:
    one, other = Link("hub-1", used=True), Link("hub-2", used=True)
    one.answers = other.answers = False
    world = World(one, other)
    world.pass_(3.0)
    assert world.told == []
    world.heard = world.now
    world.pass_(TICK)
    assert sorted(world.told) == [("hub-1", True), ("hub-2", True)]


def test_a_link_that_has_ended_is_forgotten_without_a_word() -> None:
    one, other = Link("hub-1", used=True), Link("hub-2", used=True)
    world = World(one, other)
    world.pass_(1.0)
    one.answers = False
    world.pass_(1.5)
    world.links = [Link("hub-1", used=True), other]
    world.pass_(5.0)
    assert world.told == [("hub-1", True)], "whoever has the links says that there is another one"
    assert world.pulses.why("hub-1") == ""


def test_a_hub_that_is_far_away_is_left_to_its_keepalive() -> None:
    far, near = Link("hub-1", used=True, rtt=0.3), Link("hub-2", used=True)
    far.answers = False
    world = World(far, near)
    world.pass_(5.0)
    assert (far.asked, world.told) == (0, [])


def test_a_hub_that_is_heard_and_acknowledges_nothing_is_passed_over() -> None:
    """The way to it is cut, the way from it is not: no other witness is needed."""
    world = World(one := Link("hub-1", used=True))
    one.answers, one.flight = False, Flight(True, 7, 0.0, 0.001)
    for _ in range(round((HEARD_TIMES * QUIET_SECONDS + 0.4) / TICK)):
        one.traffic.received_packets += 1
        world.pass_(TICK)
    assert world.told == [("hub-1", True)]
    assert world.pulses.why("hub-1") == CUT_OFF
    one.answers, one.flight = True, NO_FLIGHT
    world.pass_(2 * HOLD_SECONDS)
    assert world.told == [("hub-1", True), ("hub-1", False)]


def test_a_hub_that_acknowledges_nothing_while_nobody_is_heard_is_not_passed_over() -> None:
    world = World(one := Link("hub-1", used=True))
    one.answers, one.flight = False, Flight(True, 7, 9.0, 0.001)
    world.pass_(3.0)
    assert world.told == []
