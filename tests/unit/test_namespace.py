"""Namespaces: gateways, their sessions and flows, the order of the tables."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from lib import namespace
from lib.answers import Answers, Unresolved
from lib.drops import Reason
from lib.namespace import ANSWER_BURST, ANSWERS_PER_SECOND, Gateway, Namespace, Port
from lib.routes import Route, RouteTable
from lib.settings import RouteEntry

IN_BOTH, IN_DEFAULT, IN_NONE = b"\x0a\0\0\1", b"\x0b\0\0\1", b"\x0c\0\0\1"


def table(*routes: tuple[str, str]) -> RouteTable:
    return RouteTable(RouteEntry(ip_network(prefix), gateway) for prefix, gateway in routes)


NAMED = table(("10.0.0.0/8", "named"))
DEFAULT = table(("10.0.0.0/24", "default"), ("11.0.0.0/8", "default"))


def make(named: RouteTable = NAMED, default: RouteTable | Answers[Port] = DEFAULT) -> Namespace:
    return Namespace(b"n" * 16, named, default)


def join(space: Namespace, host: str, instance: bytes = b"") -> Port:
    port = Port(space, host, "test", instance=instance)
    space.join(port)
    return port


# --- tables ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "gateways"),
    [
        pytest.param(IN_BOTH, ("named",), id="the named table first, however short its prefix"),
        pytest.param(IN_DEFAULT, ("default",), id="then the default table"),
        pytest.param(IN_NONE, None, id="neither"),
    ],
)
def test_the_named_table_is_asked_before_the_default(
    address: bytes, gateways: tuple[str, ...] | None
) -> None:
    space = make()
    assert space.gateways_to(address, 0) == gateways
    assert space.fresh_until(0) == float("inf")
    assert not space.park(address, Port(space, "h", "test"), b"")


def test_a_plugin_is_asked_where_the_named_table_has_no_route() -> None:
    cache: Answers[Port] = Answers(2.0)
    space = make(default=cache)
    assert space.gateways_to(IN_BOTH, 0) == ("named",)
    assert space.gateways_to(IN_DEFAULT, 0) is Unresolved.ASKING
    assert list(cache.take_wanted()) == [IN_DEFAULT]
    assert space.park(IN_DEFAULT, Port(space, "h", "test"), b"frame")
    cache.store(IN_DEFAULT, Route(IN_DEFAULT, 32, ("asked",)), 0)
    assert space.gateways_to(IN_DEFAULT, 0) == ("asked",)
    cache.store(IN_NONE, None, 0)
    assert space.gateways_to(IN_NONE, 0) is None
    assert space.fresh_until(5) == 7


def test_the_first_live_gateway_of_a_route_is_taken() -> None:
    space = make()
    join(space, "b")
    assert space.live_gateway(("a", "b")) is space.gateways["b"]
    join(space, "a")
    assert space.live_gateway(("a", "b")) is space.gateways["a"]
    assert space.live_gateway(("c",)) is None


# --- sessions --------------------------------------------------------------------------------------


def test_a_gateway_lives_as_long_as_its_sessions() -> None:
    space = make()
    first, second = join(space, "h"), join(space, "h")
    assert space.ports() == [first, second]
    space.leave(first)
    assert (first.live, second.live, space.ports()) == (False, True, [second])
    space.leave(second)
    assert (space.ports(), space.gateways) == ([], {})


def test_what_a_session_counted_stays() -> None:
    space = make()
    port = join(space, "h")
    port.traffic.received_packets = 3
    port.drop(Reason.NO_ROUTE)
    port.drop(Reason.NO_ROUTE, 2)
    space.leave(port)
    assert space.gone.received_packets == 3
    assert space.gone.drops == {Reason.NO_ROUTE: 3}


def test_a_new_session_of_the_same_instance_replaces_the_old() -> None:
    space = make()
    old, other, gost = join(space, "h", b"i"), join(space, "h", b"j"), join(space, "h")
    join(space, "another host", b"i")
    new = join(space, "h", b"i")
    assert space.rivals(new) == [old]
    assert space.rivals(gost) == [], "GOST's clients show no instance"
    assert space.rivals(other) == []
    assert space.rivals(Port(space, "nobody", "test", instance=b"i")) == []


@pytest.mark.parametrize(
    ("named", "default", "moves"),
    [
        pytest.param(NAMED, DEFAULT, False, id="one gateway a route"),
        pytest.param(
            table(("10.0.0.0/8", "a"), ("10.0.0.0/8", "b")), DEFAULT, True, id="two in the named table"
        ),
        pytest.param(
            NAMED, table(("10.0.0.0/8", "a"), ("10.0.0.0/8", "b")), True, id="two in the default table"
        ),
        pytest.param(NAMED, Answers(1.0), False, id="a plugin"),
    ],
)
def test_a_host_that_comes_back_is_looked_for_again(
    named: RouteTable, default: RouteTable | Answers[Port], moves: bool
) -> None:
    space = make(named, default)
    join(space, "b")
    before = space.generation
    join(space, "b")
    assert space.generation == before, "sessions of a host that is there disturb nobody"
    join(space, "a")
    assert (space.generation > before) == moves


# --- flows -----------------------------------------------------------------------------------------


def gateway(count: int) -> Gateway:
    space = make()
    return Gateway("h", [Port(space, "h", str(n)) for n in range(count)])


def test_flows_spread_over_the_sessions_and_stay() -> None:
    there = gateway(3)
    chosen = [there.port_for(bytes([n])) for n in range(30)]
    assert [chosen.count(port) for port in there.ports] == [10, 10, 10]
    assert [there.port_for(bytes([n])) for n in reversed(range(30))] == chosen[::-1]


def test_a_flow_whose_session_died_goes_elsewhere() -> None:
    there = gateway(2)
    first = there.port_for(b"flow")
    assert first is not None
    first.live = False
    there.ports.remove(first)
    assert there.port_for(b"flow") is there.ports[0]
    there.ports.clear()
    there.flows.clear()
    assert there.port_for(b"flow") is None


def test_a_gateway_remembers_a_bounded_number_of_flows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespace, "MAX_GATEWAY_FLOWS", 4)
    there = gateway(2)
    chosen = [there.port_for(bytes([n])) for n in range(6)]
    assert list(there.flows) == [bytes([n]) for n in range(2, 6)]
    assert [there.port_for(bytes([n])) for n in (5, 3, 4, 2)] == [chosen[n] for n in (5, 3, 4, 2)]


def test_a_session_that_leaves_takes_only_its_own_flows() -> None:
    space = make()
    ports = [join(space, "h") for _ in range(2)]
    there = space.gateways["h"]
    chosen = {flow: there.port_for(flow) for flow in (b"1", b"2", b"3", b"4")}
    space.leave(ports[0])
    assert there.flows == {flow: port for flow, port in chosen.items() if port is ports[1]}


# --- the rate of answers ---------------------------------------------------------------------------


def test_answers_come_from_a_bucket_of_tokens() -> None:
    port = Port(make(), "h", "test")
    now = 1000.0
    assert sum(port.may_answer(now) for _ in range(200)) == ANSWER_BURST
    assert not port.may_answer(now + 0.5 / ANSWERS_PER_SECOND)
    assert port.may_answer(now + 1.5 / ANSWERS_PER_SECOND)
    assert sum(port.may_answer(now + 3600) for _ in range(200)) == ANSWER_BURST, (
        "no more than a burst is saved"
    )
    assert not port.may_answer(now), "a clock that steps back gives nothing and breaks nothing"
