"""Gateways: who of several carries a flow, who takes over, who comes back when, and who shares with whom."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import route_gateways
from lib.route_gateways import Gateway, Gateways, Settling
from lib.route_table import Group, group
from lib.settings import Hop

HOLD = 5.0


@dataclass(eq=False)
class Session:
    host: str
    live: bool = True


class Hosts:
    """Gateways whose sessions are known by their host's name."""

    def __init__(self, *here: str) -> None:
        self.gateways: Gateways[Session] = Gateways()
        self.sessions: dict[str, Session] = {}
        for host in here:
            self.join(host)

    def join(self, host: str, now: float = 0.0) -> None:
        self.sessions[host] = Session(host)
        self.gateways.join(self.sessions[host], now)

    def leave(self, host: str) -> None:
        self.sessions[host].live = False
        self.gateways.leave(self.sessions.pop(host))

    def carries(self, routes: Group, flow: bytes = b"flow", now: float = 0.0) -> str | None:
        attachment = self.gateways.choose(routes, flow, HOLD, now)
        return attachment.host if attachment else None


def in_order(*names: str) -> Group:
    return group(Hop(name) for name in names)


def sharing(*names: str) -> Group:
    return group(Hop(name, 1) for name in names)


@pytest.mark.parametrize(
    ("here", "carries"),
    [
        pytest.param("abc", "a", id="the first one written"),
        pytest.param("cb", "b", id="the next one while the first is away"),
        pytest.param("c", "c", id="the last one"),
        pytest.param("", None, id="nobody lives"),
        pytest.param("x", None, id="somebody else lives"),
    ],
)
def test_the_first_that_lives_carries(here: str, carries: str | None) -> None:
    assert Hosts(*here).carries(in_order("a", "b", "c")) == carries


def test_the_next_takes_over_at_once_and_the_first_comes_back_after_a_hold_down() -> None:
    hosts, routes = Hosts("a", "b"), in_order("a", "b")
    assert hosts.carries(routes) == "a"
    hosts.leave("a")
    assert hosts.carries(routes) == "b"
    hosts.join("a", now=100.0)
    assert hosts.carries(routes, now=100.0) == "b"
    assert hosts.carries(routes, now=104.9) == "b"
    assert hosts.carries(routes, now=105.0) == "a"


def test_who_comes_back_is_used_at_once_where_nobody_else_lives() -> None:
    hosts, routes = Hosts("a"), in_order("a", "b")
    hosts.leave("a")
    hosts.join("a", now=100.0)
    assert hosts.carries(routes, now=100.0) == "a"
    hosts.join("b", now=100.0)
    hosts.leave("b")
    hosts.join("b", now=101.0)
    assert hosts.carries(routes, now=101.0) == "a", "both held down: the order decides"


def test_who_was_never_away_is_not_held_down() -> None:
    hosts, routes = Hosts("b"), in_order("a", "b")
    hosts.join("a", now=100.0)
    assert hosts.carries(routes, now=100.0) == "a"


def test_a_second_session_of_a_host_is_no_return() -> None:
    hosts, routes = Hosts("a", "b"), in_order("a", "b")
    first = hosts.sessions["a"]
    hosts.join("a", now=100.0)
    hosts.gateways.leave(first)
    assert hosts.carries(routes, now=100.0) == "a"


def test_equal_metrics_share_flows_and_a_flow_stays() -> None:
    hosts, routes = Hosts("a", "b"), sharing("a", "b", "c")
    flows = [b"flow%d" % number for number in range(400)]
    first = {flow: hosts.carries(routes, flow) for flow in flows}
    assert min(Counter(first.values()).values()) > 120, "about half each"
    hosts.join("c")
    assert {flow: hosts.carries(routes, flow) for flow in flows} == first, "whoever joins"
    new = {b"new%d" % number: hosts.carries(routes, b"new%d" % number) for number in range(300)}
    assert set(new.values()) == {"a", "b", "c"}
    hosts.leave("b")
    after = {flow: hosts.carries(routes, flow) for flow in flows}
    assert all(after[flow] == first[flow] for flow in flows if first[flow] != "b"), "only b's flows move"
    assert {after[flow] for flow in flows if first[flow] == "b"} == {"a", "c"}
    hosts.join("b", now=100.0)
    assert {flow: hosts.carries(routes, flow, now=200.0) for flow in flows} == after, (
        "and stay where they are"
    )


def test_a_held_down_member_of_a_tier_gets_no_flow_yet() -> None:
    hosts, routes = Hosts("a", "b"), sharing("a", "b")
    hosts.leave("b")
    hosts.join("b", now=10.0)
    flows = [b"flow%d" % number for number in range(50)]
    assert {hosts.carries(routes, flow, now=11.0) for flow in flows} == {"a"}
    assert {hosts.carries(routes, b"x" + flow, now=20.0) for flow in flows} == {"a", "b"}


@given(st.lists(st.sampled_from("abcd"), unique=True, min_size=1), st.sets(st.sampled_from("abcd")))
def test_somebody_carries_exactly_while_one_of_the_gateways_lives(names: list[str], here: set[str]) -> None:
    hosts = Hosts(*sorted(here))
    for routes in (in_order(*names), sharing(*names)):
        assert (hosts.carries(routes) in here) == bool(here & set(names))


# --- sessions of one host ----------------------------------------------------------------------------


def test_new_flows_spread_over_a_hosts_sessions_and_stay() -> None:
    one, two = Session("a"), Session("a")
    gateway: Gateway[Session] = Gateway("a", attachments=[one, two])
    first = {flow: gateway.attachment_for(flow) for flow in (b"1", b"2", b"3", b"4")}
    assert Counter(map(id, first.values())) == {id(one): 2, id(two): 2}
    gateway.attachments.append(Session("a"))
    assert {flow: gateway.attachment_for(flow) for flow in first} == first


# --- bounds ----------------------------------------------------------------------------------------


def test_every_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    for bound in ("MAX_FLOWS", "MAX_SHARED", "MAX_AWAY"):
        monkeypatch.setattr(route_gateways, bound, 3)
    hosts = Hosts("a", "b", "c", "d", "e")
    for number in range(10):
        assert hosts.carries(sharing("a", "b"), b"flow%d" % number)
    for other in "bcde":
        assert hosts.carries(sharing("a", other))
    for host in "abcde":
        hosts.leave(host)
    assert len(hosts.gateways.shared) == 3
    assert list(hosts.gateways.away) == ["c", "d", "e"]


def test_hold_downs_are_bounded_however_often_hosts_come_and_go() -> None:
    settling = Settling()
    for number in range(10_000):
        settling.note(5 + number / 1000)
        settling.note(60 + number / 1000)
    assert len(settling._ends) <= 2 * 42
    assert not settling.ended(4.9)
    assert settling.ended(5.0)
    assert not settling.ended(5.1)
    assert settling.ended(16)
    assert not settling.ended(59)
    assert settling.ended(100)
    assert not settling._ends


def test_a_host_with_all_sessions_set_aside_is_looked_for_elsewhere_and_comes_back_without_a_hold_down() -> (
    None
):
    hosts, far = Hosts("a", "b"), Gateway[Session]("a")
    far.attachments.append(Session("a elsewhere"))
    routes, find = in_order("a", "b"), {"a": far}.get
    hosts.sessions["a"].live = False
    assert hosts.gateways.choose(routes, b"1", HOLD, 0.0, find) is far.attachments[0]
    assert hosts.carries(routes, b"2") == "b", "nobody knows of another way"
    assert hosts.gateways.carriers(routes, HOLD, 0.0, find) == ("a",)
    found = hosts.gateways.at_last("a")
    assert found is not None
    assert found.attachment_for(b"3") is hosts.sessions["a"], "what came from elsewhere has no other way"
    hosts.sessions["a"].live = True
    assert hosts.gateways.choose(routes, b"4", HOLD, 0.0, find) is hosts.sessions["a"]


def test_of_several_sessions_one_that_is_set_aside_gets_no_new_flows() -> None:
    gateway = Gateway[Session]("a", attachments=[Session("1"), Session("2", live=False), Session("3")])
    found = {gateway.attachment_for(bytes([number])).host for number in range(8)}  # type: ignore[union-attr]
    assert found == {"1", "3"}
