"""A client's second lane: when it is dialled and asked for, by which way, and what ends it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import gevent
import pytest

from lib import client_dial
from lib.client_lane import FIRST_DELAY, LONGEST_DELAY, STEADY_SECONDS, SecondLane, same_way
from lib.counters import Traffic
from lib.session_lane_sender import LaneSender
from lib.settings import ClientSettings, DeviceSettings, NodeSettings, ProxySettings
from lib.settings_dial import DialSettings
from lib.wire_control import Feature
from lib.wire_relay import Response
from tests.support.streams import stream_pair

NODE = NodeSettings("n", "hub.example", 8443)
SETTINGS = ClientSettings("c", "host-1", DeviceSettings(), (NODE,))
TOKEN = b"t" * 16


@dataclass
class Control:
    features: int = int(Feature.LANES)
    asked: int = 0

    def can(self, feature: Feature) -> bool:
        return bool(self.features & feature)

    def ask_lane(self) -> None:
        self.asked += 1


@dataclass
class Session:
    """Stands for a client's session, and for the client."""

    sender: LaneSender
    node: NodeSettings = NODE
    control: Control = field(default_factory=Control)
    settings: ClientSettings = SETTINGS
    around: Any = field(default_factory=lambda: SimpleNamespace(used=lambda node: node.dial))
    read: list[bytes] = field(default_factory=list)

    def read_lane(self, stream: Any, tail: bytes) -> None:
        self.read.append(tail)


@pytest.fixture
def session() -> Iterator[Session]:
    with stream_pair() as (stream, _):
        yield Session(LaneSender(stream, Traffic(), 1 << 20, float("inf")))


@pytest.fixture
def dialled(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """(node, token) of each dialling; an exception in `results` is raised by it."""
    seen: list[Any] = []

    def let_in(settings: Any, node: NodeSettings, around: Any, token: bytes) -> Any:
        seen.append((node, token))
        return None, Response(0), b"tail"

    monkeypatch.setattr(client_dial, "let_in", let_in)
    return seen


def lane(session: Session) -> SecondLane:
    return SecondLane(session, session)  # type: ignore[arg-type]


def test_a_token_is_used_at_once_and_by_the_address_of_the_session(
    session: Session, dialled: list[Any]
) -> None:
    lane(session).given(TOKEN)
    gevent.sleep(0)
    ((node, token),) = dialled
    assert (node.first.dial.addresses, node.host, token) == (("127.0.0.1",), "hub.example", TOKEN)
    assert node.connect_timeout <= 10
    assert session.read == [b"tail"]


def test_the_first_hop_is_reached_again_and_the_rest_is_left_to_it() -> None:
    proxies = (ProxySettings("socks5", "p", 1080), ProxySettings("http", "q", 3128))
    node = same_way(replace(NODE, proxies=proxies), "192.0.2.9", DialSettings("eth1"))
    assert node.proxies[0].dial == DialSettings("eth1", addresses=("192.0.2.9",))
    assert (node.proxies[1], node.dial) == (proxies[1], NODE.dial)
    assert same_way(NODE, "", NODE.dial) == NODE


@pytest.mark.parametrize("why", ["lanes: 1", "no token", "two already", "closed"])
def test_when_nothing_is_dialled(session: Session, dialled: list[Any], why: str) -> None:
    with stream_pair() as (other, _):
        if why == "lanes: 1":
            session.settings = replace(SETTINGS, lanes=1)
        elif why == "two already":
            session.sender.add(other, 0.0)
        elif why == "closed":
            session.sender.close("moved")
        lane(session).given(b"" if why == "no token" else TOKEN)
        gevent.sleep(0)
        assert dialled == []


def test_a_lane_is_asked_for_ever_less_often(session: Session) -> None:
    second, at = lane(session), 0.0
    times: list[float] = []
    while len(times) < 12:
        before = session.control.asked
        second.beat(at)
        times += [at] if session.control.asked > before else []
        at += 1.0
    steps = [later - one for one, later in pairwise(times)]
    assert times[0] == 0
    assert steps[:3] == [FIRST_DELAY, 2 * FIRST_DELAY, 4 * FIRST_DELAY]
    assert max(steps) == LONGEST_DELAY


def test_a_hub_without_lanes_is_asked_for_none(session: Session) -> None:
    session.control.features = int(Feature.KEEPALIVE)
    lane(session).beat(1.0)
    assert not session.control.asked


def test_new_settings_end_a_lane(session: Session) -> None:
    with stream_pair() as (other, far):
        session.sender.add(other, 0.0)
        session.settings = replace(SETTINGS, lanes=1)
        lane(session).beat(1.0)
        assert far.recv(1) == b""


def test_a_lane_that_lives_on_alone_gets_another_one(session: Session, dialled: list[Any]) -> None:
    """The first lane has ended; the greenlet that reads the second one is no reason to dial none."""
    second = lane(session)

    def reads(stream: Any, tail: bytes) -> None:
        gevent.sleep(10)

    session.read_lane = reads  # type: ignore[method-assign]
    second.given(TOKEN)
    gevent.sleep(0)
    second.given(TOKEN)
    gevent.sleep(0)
    assert len(dialled) == 2


@pytest.mark.parametrize(("lived", "asked"), [(STEADY_SECONDS, 1), (0.5, 0)])
def test_after_one_that_lasted_the_next_is_asked_for_at_once(
    session: Session, lived: float, asked: int
) -> None:
    second = lane(session)
    second.lost(lived, 100.0)
    second.beat(100.1)
    assert session.control.asked == asked
    second.beat(100.0 + FIRST_DELAY)
    assert session.control.asked == 1


@pytest.mark.parametrize("error", [OSError(111, "refused"), RuntimeError("a mistake")])
def test_a_try_that_fails_ends_nothing(
    session: Session, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def let_in(*given: Any) -> Any:
        raise error

    monkeypatch.setattr(client_dial, "let_in", let_in)
    second = lane(session)
    second.given(TOKEN)
    gevent.sleep(0)
    assert len(session.sender.lanes) == 1
    second.beat(time.monotonic())
    assert not session.control.asked, "not at once"
