"""Sessions that an sd is told of: when they begin, again and again, when they end; with an sd that fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import gevent
import pytest
from gevent.event import Event

from lib import cluster_registration
from lib.cluster_registration import Registration
from lib.errors import PluginError
from lib.namespace import Attachment, Namespace
from lib.plugin_client import SdService
from lib.route_table import RouteTable

NS = bytes.fromhex("e87f56ddfd5749219ab8a0847662daae")
SPACE = Namespace(NS, RouteTable(()), RouteTable(()))
HOLDS = 5.0
"""Seconds after which a test fails that waits."""


def enter(registration: Registration, one: Attachment) -> None:
    registration.entered(one, one.namespace.id, one.host)


@dataclass
class Sd:
    """An sd that keeps what it is told, or fails."""

    fails: bool = False
    calls: list[tuple[str, SdService]] = field(default_factory=list)
    known: set[str] = field(default_factory=set)
    errors: list[PluginError | None] = field(default_factory=list)
    held: Event = field(default_factory=Event)
    told: Event = field(default_factory=Event)

    def __post_init__(self) -> None:
        self.held.set()

    def register(self, service: SdService) -> None:
        self._call("register", service)
        self.known.add(service.id)

    def renew(self, service: SdService) -> bool:
        self._call("renew", service)
        return service.id in self.known

    def deregister(self, service: SdService) -> None:
        self._call("deregister", service)

    def _call(self, what: str, service: SdService) -> None:
        self.held.wait()
        self.calls.append((what, service))
        self.told.set()
        if self.fails:
            raise PluginError("out of order")

    def wait(self, right: Callable[[], bool]) -> None:
        with gevent.Timeout(HOLDS):
            while not right():
                self.told.clear()
                self.told.wait(0.05)

    def names(self) -> list[str]:
        return [what for what, _ in self.calls]


@pytest.fixture
def sd() -> Sd:
    return Sd()


@pytest.fixture
def registration(sd: Sd, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registration]:
    monkeypatch.setattr(cluster_registration, "PAUSE", (0.02, 0.04))
    monkeypatch.setattr(cluster_registration, "SPREAD_SECONDS", 0.02)
    made = Registration("s", sd, "node", "192.0.2.1:8420", 0.05, sd.errors.append)  # type: ignore[arg-type]
    made.start()
    yield made
    sd.held.set()
    made.stop()


def attachment(host: str = "host-1") -> Attachment:
    return Attachment(SPACE, host, "test")


def test_a_session_is_told_of_renewed_and_its_end_too(sd: Sd, registration: Registration) -> None:
    one = attachment()
    enter(registration, one)
    sd.wait(lambda: sd.names().count("renew") > 1)
    (_, service), (_, renewed), *_ = sd.calls
    assert service[1:] == (
        "host-1@e87f56dd-fd57-4921-9ab8-a0847662daae", "node", "udp", "192.0.2.1:8420",
    )  # fmt: skip
    assert renewed == service._replace(network="", address=""), "as GOST renews"
    assert (len(registration), registration.known) == (1, 1)
    registration.left(one)
    sd.wait(lambda: sd.names()[-1] == "deregister")
    assert sd.calls[-1][1] == renewed
    calls = len(sd.calls)
    gevent.sleep(0.12)
    assert len(sd.calls) == calls, "it is renewed no more"
    assert (len(registration), registration.known) == (0, 0)
    assert set(sd.errors) == {None}


def test_two_sessions_of_a_host_are_two(sd: Sd, registration: Registration) -> None:
    enter(registration, attachment())
    enter(registration, attachment())
    sd.wait(lambda: registration.known == 2)
    assert len({service.id for what, service in sd.calls if what == "register"}) == 2


def test_an_sd_that_fails_is_left_alone_and_told_anew(sd: Sd, registration: Registration) -> None:
    enter(registration, attachment())
    sd.wait(lambda: "renew" in sd.names())
    sd.fails = True
    for number in range(100):
        enter(registration, attachment(f"host-{number}"))
    begun = len(sd.calls)
    gevent.sleep(0.3)
    assert registration.known < 100
    assert len(sd.calls) - begun < 100, "at each try only a few calls, and pauses between"
    sd.fails = False
    sd.wait(lambda: registration.known == 101)
    registers = [service.name for what, service in sd.calls if what == "register"]
    assert len([name for name in registers if name.startswith("host-1@")]) > 1, "what it may have forgotten"
    assert any(isinstance(error, PluginError) for error in sd.errors)


def test_sessions_that_come_and_go_leave_nothing_behind(sd: Sd, registration: Registration) -> None:
    """Each was to be renewed one day, and until then its place was kept."""
    registration._renew = 3600.0
    for begin in range(0, 300, 50):
        some = [attachment(f"host-{number}") for number in range(begin, begin + 50)]
        for one in some:
            enter(registration, one)
        sd.wait(lambda: registration.known == 50)
        for one in some:
            registration.left(one)
    assert len(registration._due) <= 64 + 2 * 50


def test_an_sd_that_has_forgotten_everybody_is_told_of_everybody(sd: Sd, registration: Registration) -> None:
    for number in range(20):
        enter(registration, attachment(f"host-{number}"))
    sd.wait(lambda: registration.known == 20)
    sd.known.clear()
    sd.wait(lambda: len(sd.known) == 20)
    assert len(registration._due) < 100, "each session has one place that counts"
    assert set(sd.errors) == {None}, "that is no failure"


def test_an_sd_that_replies_to_others_is_told_at_once(
    sd: Sd, registration: Registration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_registration, "PAUSE", (0.02, 1000.0))
    registration._pause = 500.0
    sd.fails = True
    enter(registration, attachment())
    sd.wait(lambda: sd.errors != [])
    sd.fails = False
    registration.resume()
    assert not registration.known, "just after a failure it is left alone"
    gevent.sleep(0.03)
    registration.resume()
    sd.wait(lambda: registration.known == 1)


def test_an_sd_that_missed_a_question_is_asked_whether_it_knows_anybody(
    sd: Sd, registration: Registration
) -> None:
    registration._renew = 1000.0
    for number in range(20):
        enter(registration, attachment(f"host-{number}"))
    sd.wait(lambda: registration.known == 20)
    registration.resume()
    gevent.sleep(0.02)
    assert "renew" not in sd.names()
    registration.missed()
    registration.resume()
    sd.wait(lambda: sd.names().count("renew") == 1)
    assert sd.names().count("register") == 20, "it knows them"
    sd.known.clear()
    registration.missed()
    registration.resume()
    sd.wait(lambda: len(sd.known) == 20)
    assert sd.names().count("renew") == 2, "the first one tells that it knows nobody"


def test_who_leaves_while_it_is_told_of_is_taken_back(sd: Sd, registration: Registration) -> None:
    one = attachment()
    sd.held.clear()
    enter(registration, one)
    gevent.sleep(0.02)
    registration.left(one)
    sd.held.set()
    sd.wait(lambda: sd.names() == ["register", "deregister"])


def test_a_slow_sd_holds_nobody_up_and_is_asked_so_much_at_once(sd: Sd, registration: Registration) -> None:
    sd.held.clear()
    for number in range(50):
        enter(registration, attachment(f"host-{number}"))
    gevent.sleep(0.05)
    assert not sd.calls
    sd.held.set()
    sd.wait(lambda: registration.known == 50)


def test_the_end_says_that_nobody_is_here(sd: Sd, registration: Registration) -> None:
    for number in range(20):
        enter(registration, attachment(f"host-{number}"))
    sd.wait(lambda: registration.known == 20)
    registration.stop()
    assert sd.names().count("deregister") == 20
    calls = len(sd.calls)
    gevent.sleep(0.1)
    assert len(sd.calls) == calls


def test_the_end_waits_for_no_sd(sd: Sd, registration: Registration, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_registration, "LEAVE_SECONDS", 0.1)
    enter(registration, attachment())
    sd.wait(lambda: registration.known == 1)
    sd.held.clear()
    with gevent.Timeout(HOLDS):
        registration.stop()
