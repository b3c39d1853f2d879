"""Mistaken identities: a host that no route leads to, a router.id that nobody knows, one name on two machines."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import gevent
import pytest
from gevent import socket

from lib import client_advice, ctl_status, framing, hub_identity, hub_log, wire_control, wire_relay
from lib.addresses import prefix
from lib.ctl_filter import Filter
from lib.hub_identity import ALIVE_SECONDS, CLAIM_SECONDS, MANY, NOTHING, Identities, Tables, Verdict
from lib.ids import NO_NAMESPACE, format_uuid
from lib.namespace import Attachment
from lib.namespace_domain import Domain
from lib.prefixes import packed
from lib.route_loader import RouteLoader
from lib.route_table import RouteTable
from lib.settings import AutherSettings, Hop, HubSettings, IngressSettings, LoginRow, RouteEntry
from lib.wire_control import Advice, Feature, Trouble
from tests.support.hubs import running
from tests.support.packets import udp

A, B, UNKNOWN = bytes(15) + b"\xa1", bytes(15) + b"\xb2", bytes(15) + b"\xa7"
HUB = HubSettings("s", "", 1)


def table(*gateways: str) -> RouteTable:
    return RouteTable(
        RouteEntry(*packed(prefix(f"10.0.{number}.0/24")), Hop(name)) for number, name in enumerate(gateways)
    )


@dataclass(eq=False)
class Session:
    """A session, and what its client was told."""

    attachment: Attachment
    verdict: Verdict = field(default_factory=Verdict)
    told: list[Advice] = field(default_factory=list)

    def tell(self) -> None:
        if self.verdict.advice != self.verdict.told:
            self.verdict.told = self.verdict.advice
            self.told.append(self.verdict.advice)


class Place:
    """A hub's identities, its domain and its sessions."""

    def __init__(self, domain: Domain, settings: HubSettings = HUB) -> None:
        self.domain, self.identities = domain, Identities(settings)
        self.sessions: list[Session] = []
        self.unread: list[RouteTable] = []

    def join(
        self, host: str, peer: str = "192.0.2.1:1", namespace: bytes = NO_NAMESPACE, at: float = 0.0
    ) -> Session:
        session = Session(Attachment(self.domain.namespace(namespace), host, peer))
        self.domain.enter(session.attachment, at)
        self.sessions.append(session)
        return session

    def leave(self, session: Session) -> None:
        self.domain.leave(session.attachment)
        self.sessions.remove(session)

    def look(self, now: float = 1.0) -> None:
        tables = Tables(self.domain, lambda: frozenset(map(id, self.unread)))
        for session in self.identities.due(self.sessions):
            self.identities.look(session, tables, now)

    def warnings(self, now: float = 1.0) -> list[str]:
        return [line for _, _, line in filter(None, self.identities.warnings(self.sessions, now))]


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """`event: line` of what is logged about identities."""
    lines: list[str] = []

    def say(entry: Any, prose: str, *values: Any, **fields: Any) -> None:
        lines.append(f"{fields['mistake']}: {fields['reason']}")

    monkeypatch.setattr(hub_log, "say", say)
    return lines


def test_a_host_with_a_misspelt_name_is_told_of_at_both_ends(logged: list[str]) -> None:
    place = Place(Domain({}, table("host-1", "host-2")))
    place.join("host-1")
    wrong = place.join("hots-2", "192.0.2.2:7")
    place.look()
    line = (
        "host hots-2 is gateway of nothing in the namespace of clients without a router.id: no route leads "
        "to it; did you mean 'host-2'?"
    )
    assert place.warnings() == [line]
    assert logged == [f"gateway-of-nothing: {line}"]
    assert wrong.told == [Advice(Trouble.NO_GATEWAY, "host-2")]
    assert client_advice.lines(wrong.told[0], "hots-2") == [
        "no route of the hub leads to host hots-2, so no packet will come; did you mean 'host-2'?"
    ]
    place.look(2.0)
    assert len(logged) == len(wrong.told) == 1, "it is said once"


def test_a_host_that_becomes_a_gateway_later_is_well() -> None:
    """Its route comes from a source; and when the route goes again, it is told of again."""
    routes = table("host-1")
    place = Place(Domain({}, routes))
    late = place.join("late-9")
    place.look()
    assert len(place.warnings()) == 1
    loader = RouteLoader(routes)
    for text, count in ((b"10.9.0.0/16 late-9\n", 0), (b"10.9.0.0/16 other\n", 1)):
        for _ in loader.source(1, text, "f"):
            pass
        place.look()
        assert len(place.warnings()) == count
    assert [advice.troubles for advice in late.told] == [1, 0, 1]


def test_nothing_is_said_while_the_routes_are_not_known(logged: list[str]) -> None:
    """A source that could not be read yet, or a plugin, may lead to any host."""
    routes = table("host-1")
    place = Place(Domain({}, routes))
    place.unread = [routes]
    place.join("host-2")
    place.look()
    assert (place.warnings(), logged) == ([], [])
    place.unread = []
    place.look()
    assert len(place.warnings()) == len(logged) == 1

    class Plugin:
        acl, own = None, ()

    asked = Place(Domain({}, Plugin()))  # type: ignore[arg-type]
    asked.join("host-2")
    asked.look()
    assert asked.warnings() == []


def test_a_router_id_that_is_misspelt_names_the_one_that_is_meant_at_the_hub_only(logged: list[str]) -> None:
    """A client that knew the namespace's UUID could join it."""
    place = Place(Domain({A: table("host-1"), B: table("host-9")}))
    wrong = place.join("host-1", namespace=UNKNOWN)
    place.look()
    line = (
        f"the router.id of host host-1, {format_uuid(UNKNOWN)}, names no router of this hub; "
        f"did you mean {format_uuid(A)}?"
    )
    assert place.warnings() == [line]
    assert logged == [f"unknown-namespace: {line}"]
    assert wrong.told == [Advice(Trouble.NO_GATEWAY | Trouble.UNKNOWN_NAMESPACE)]
    said = client_advice.lines(wrong.told[0], "host-1")
    assert said[0] == "this client's router.id names no router of the hub: is it misspelt?"


def test_a_router_id_far_from_any_is_found_by_the_host() -> None:
    place = Place(Domain({A: table("host-1"), B: table("host-9")}))
    place.join("host-9", namespace=bytes(range(16)))
    place.look()
    assert f"did you mean {format_uuid(B)}?" in place.warnings()[0]


def test_a_client_that_forgot_its_router_id_is_told_of(logged: list[str]) -> None:
    place = Place(Domain({A: table("host-1")}))
    forgot = place.join("host-1")
    place.look()
    where = f"it is a gateway in namespace {format_uuid(A)}: its client has another router.id, or none"
    assert where in logged[0]
    assert forgot.told == [Advice(Trouble.NO_GATEWAY)]


BOUND = AutherSettings("a", (LoginRow("u", "p", (), (UNKNOWN,)),))


@pytest.mark.parametrize(
    ("tables", "settings", "count"),
    [
        ({}, HUB, 0),
        ({A: table("host-1")}, HUB, 1),
        ({A: table("host-1")}, replace(HUB, ingress=IngressSettings("i")), 0),
        ({A: table("host-1")}, replace(HUB, authers=(BOUND,)), 0),
        ({UNKNOWN: table("x")}, HUB, 0),
    ],
    ids=["any will do", "the hub names others", "an ingress says", "a login says", "it is named"],
)
def test_a_router_id_may_be_any_where_the_handler_s_router_has_the_routes(
    tables: dict[bytes, RouteTable], settings: HubSettings, count: int
) -> None:
    """Unless the hub names namespaces, and this is none of them: then the client is alone in it."""
    place = Place(Domain(tables, table("host-1")), settings)
    place.join("host-1", namespace=UNKNOWN)
    place.look()
    assert len(place.warnings()) == count


# --- one name on two machines


def hear(*sessions: Session, at: float) -> None:
    for session in sessions:
        session.attachment.heard_at = at


def test_two_machines_of_one_name_are_told_of_while_both_are_alive(logged: list[str]) -> None:
    place = Place(Domain({}, table("host-1")))
    first, second = place.join("host-1", "192.0.2.1:1"), place.join("host-1", "192.0.2.2:2", at=10.0)
    hear(first, second, at=10.0 + ALIVE_SECONDS)
    place.look(13.0)
    assert place.warnings() == [], "it may be one machine that has moved"
    hear(first, second, at=16.0)
    place.look(16.0)
    (line,) = place.warnings()
    assert line.startswith(
        "host host-1 is connected from 192.0.2.1:1 and from 192.0.2.2:2, and both are alive"
    )
    assert logged == [f"name-twice: {line}"]
    assert first.told == second.told == [Advice(Trouble.NAME_TWICE)]
    (said,) = client_advice.lines(first.told[0], "host-1")
    assert said.startswith("another machine is connected to the hub as host-1 too")
    place.leave(second)
    place.look(17.0)
    assert (place.warnings(), first.told[-1]) == ([], NOTHING)


@pytest.mark.parametrize("case", ["one address", "one client that moved", "meant", "a half-open session"])
def test_two_sessions_that_are_no_mistake(case: str, logged: list[str]) -> None:
    settings = replace(HUB, shared_by_intent=case == "meant")
    place = Place(Domain({}, table("host-1")), settings)
    other = "192.0.2.1:2" if case == "one address" else "192.0.2.2:2"
    first, second = place.join("host-1", "192.0.2.1:1"), place.join("host-1", other, at=10.0)
    if case == "one client that moved":
        first.attachment.instance = second.attachment.instance = bytes(16)
    hear(second, at=20.0)
    hear(first, at=9.0 if case == "a half-open session" else 20.0)
    place.look(20.0)
    assert (place.warnings(), logged) == ([], [])


def test_two_machines_that_end_each_other_s_sessions_in_turn(logged: list[str]) -> None:
    """onDuplicate: replace. One that moves to another address once, and back, is no two."""
    place = Place(Domain({}, table("host-1")))
    one, other, again = (
        place.join("host-1", f"192.0.2.{peer}").attachment for peer in ("1:1", "2:1", "1:99")
    )
    place.identities.replaced(one, other, 0.0)
    place.identities.replaced(other, one, 1.0)
    place.identities.replaced(one, again, 2.0)  # it comes again from where it was
    assert (place.warnings(), logged) == ([], [])
    place.identities.replaced(again, other, 3.0)
    (line,) = place.warnings(4.0)
    assert line.startswith(
        "host host-1 is wanted by 192.0.2.1 and by 192.0.2.2, which end each other's sessions in turn"
    )
    assert logged == [f"name-twice: {line}"]
    assert place.warnings(4.0 + CLAIM_SECONDS) == []


def test_a_machine_that_is_refused_because_another_has_its_name(logged: list[str]) -> None:
    place = Place(Domain({}, table("host-1")))
    for now in (1.0, 100.0):
        place.identities.refused(NO_NAMESPACE, "host-1", "192.0.2.2:5", "192.0.2.1:1", now)
    place.identities.refused(NO_NAMESPACE, "host-2", "192.0.2.2:5", "192.0.2.2:4", 1.0)  # the same machine
    (line,) = place.warnings(100.0)
    assert line.startswith("host host-1 of 192.0.2.1 is wanted by 192.0.2.2 too (onDuplicate: refuse)")
    assert logged == [f"name-twice: {line}"]


def test_of_a_crowd_of_strangers_each_look_takes_some() -> None:
    """Each look searches for some names only, so that packets wait for none of it."""
    place = Place(Domain({}, table("host-1")))
    for number in range(40):
        place.join(f"nobody-{number}")
    counts = []
    for _ in range(4):
        place.look()
        counts.append(len(place.warnings()))
    assert counts == [16, 32, 40, 40]


# --- on the wire, and in status


CONFIG = """\
services:
- name: s
  addr: 127.0.0.1:0
  handler: {type: router, metadata: {router: r}}
  listener: {type: tcp}
routers: [{name: r, routes: [{net: 10.0.0.0/8, gateway: host-1}]}]
"""


@pytest.fixture
def client() -> Iterator[Any]:
    """(hub, connection) of a client called host-11, before its HELLO."""
    with running(CONFIG) as (hub,):
        made = socket.create_connection(hub._server.socket.getsockname(), 5)
        made.sendall(wire_relay.encode_request(wire_relay.Request("host-11", "10.0.0.1")))
        assert made.recv(4096)
        yield hub, made
        made.close()


def controls(made: Any) -> list[object]:
    data = made.recv(4096)
    edges = [0, *framing.split(data)]
    return [wire_control.decode(data[a + 2 : b]) for a, b in itertools.pairwise(edges)]


@pytest.mark.parametrize("features", [int(Feature.ADVICE), 0], ids=["it reads advice", "an older one"])
def test_a_client_is_told_when_it_has_said_that_it_understands(client: Any, features: int) -> None:
    hub, made = client
    hub._look_at_identities()
    hello = wire_control.Hello(bytes(16), features=features)
    made.sendall(framing.encode(wire_control.encode_hello(hello)))
    assert isinstance(controls(made)[0], wire_control.Hello)
    hub._look_at_identities()
    (session,) = hub.sessions.values()
    if features:
        with gevent.Timeout(5):
            assert controls(made) == [Advice(Trouble.NO_GATEWAY, "host-1")]
    assert (session.verdict.told == session.verdict.advice) is bool(features)


def test_status_shows_it(client: Any) -> None:
    hub, _ = client
    hub._look_at_identities()
    rows: list[Any] = [next(ctl_status._hubs([hub], Filter(host), 1.0)) for host in ("", "host-2")]
    (line,) = rows[0]["warnings"]
    assert "host host-11 is gateway of nothing" in line
    assert rows[1]["warnings"] == []


def connect(hub: Any, number: int) -> Any:
    """A GOST client called host-1, from 127.0.0.<number>, that has been answered."""
    made = socket.create_connection(hub._server.socket.getsockname(), 5, (f"127.0.0.{number}", 0))
    made.sendall(wire_relay.encode_request(wire_relay.Request("host-1", "10.0.0.1")))
    assert made.recv(4096)
    return made


def found_at(hub: Any) -> list[str]:
    """What status shows, in its first seven words."""
    row: Any = next(ctl_status._hubs([hub], Filter(), time.monotonic()))
    return [" ".join(line.split()[:7]) for line in row["warnings"]]


def until(true: Callable[[], object]) -> None:
    with gevent.Timeout(5):
        while not true():
            gevent.sleep(0.01)


@pytest.mark.parametrize("policy", ["share", "", "replace", "refuse"])
def test_two_machines_of_one_name_at_a_hub(policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """GOST clients, of which only packets show that they are alive."""
    monkeypatch.setattr(hub_identity, "ALIVE_SECONDS", 0.0)
    text = CONFIG.replace("router: r}", f"router: r, onDuplicate: {policy}}}" if policy else "router: r}")
    with running(text) as (hub,):
        made = [connect(hub, 1), connect(hub, 2)]
        if policy == "replace":
            until(lambda: len(hub.sessions) == 1)
            for number in (1, 2):
                made.append(connect(hub, number))
                until(lambda: len(hub.sessions) == 1)
            expected = ["host host-1 is wanted by 127.0.0.1 and"]
        elif policy == "refuse":
            expected = ["host host-1 of 127.0.0.1 is wanted by"]
        else:
            until(lambda: len(hub.sessions) == 2)
            for one in made:
                one.sendall(framing.encode(udp("10.0.0.1", "10.0.0.1", b"x")))
            until(lambda: all(one.traffic.received_packets for one in hub.sessions))
            for session in hub.sessions.values():
                session.beat(time.monotonic())
            hub._look_at_identities()
            expected = (
                []
                if policy
                else [
                    f"host host-1 is connected from {first.getsockname()[0]}:{first.getsockname()[1]} and"
                    for first in made[:1]
                ]
            )
        assert found_at(hub) == expected
        for one in made:
            one.close()


def test_of_many_sessions_each_look_takes_new_ones_and_some() -> None:
    place = Place(Domain({}, table("host-1")))
    for number in range(3 * MANY):
        place.join("host-1", f"192.0.2.1:{number}")
    assert len(place.identities.due(place.sessions)) == 3 * MANY
    for session in place.sessions:
        session.verdict.routes = 1
    looked_at = [place.identities.due(place.sessions) for _ in range(4)]
    assert {len(sessions) for sessions in looked_at} == {3 * MANY // 4}
    assert len({id(session) for sessions in looked_at for session in sessions}) == 3 * MANY


def test_what_was_perhaps_meant_is_sought_in_steps() -> None:
    """Of long names that are much alike it takes 40 ms, and anybody may come with another one."""
    namespace = Domain({}).namespace(bytes(16))
    names = frozenset(f"branch-office-berlin-west-{number:05d}" for number in range(3000))
    loop = gevent.get_hub().loop
    before = loop.iteration
    assert hub_identity._perhaps("branch-office-berlin-wets-01234", names, namespace)
    assert loop.iteration - before >= 3
