"""Second lanes at a hub: who may join a session, what it costs under limits, and what is left of it with one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import socket

from lib import client_dial, framing, hub_lane, stream_dial, wire_control, wire_relay
from lib.client_dial import Refused
from lib.forward_drop_reasons import Refusal
from lib.hub import Hub
from lib.hub_session import HubSession
from lib.settings import ClientSettings, DeviceSettings, NodeSettings
from lib.settings_transport import NO_TLS, TlsSettings, TransportSettings
from lib.stream_layer import AnyStream
from lib.stream_tcp import Stream
from lib.wire_control import Feature, Hello, Lane, Ping, Pong
from lib.wire_relay import JOIN, Request, Status
from tests.support import packets as p
from tests.support.hubs import running
from tests.support.tls import Authority, Pair

CONFIG = """\
services:
- name: s
  addr: 127.0.0.1:0
  climiter: c
  rlimiter: r
  handler: {type: router, auther: a, metadata: {router: r, onDuplicate: %s}}
  listener: {type: tcp}
climiters: [{name: c, limits: ['%s']}]
rlimiters: [{name: r, limits: ['$$ %s']}]
routers: [{name: r, routes: [{net: 10.0.0.1/32, gateway: host-1}, {net: 10.0.0.2/32, gateway: host-2}]}]
authers: [{name: a, auths: [{username: u, password: p}, {username: v, password: p}]}]
"""
REQUEST = Request("host-1", "10.0.0.1", login=("u", "p"))
PING = wire_control.encode_ping(bytes(8))


class Peer:
    """A client's end of one connection."""

    def __init__(self, hub: Hub, request: Request) -> None:
        self.sock = socket.create_connection(hub._server.socket.getsockname(), 5)
        self.sock.settimeout(5)
        self.sock.sendall(wire_relay.encode_request(request))
        self._data = b""
        self.status: int | None = None
        while self.status is None and self._more():
            if found := wire_relay.decode_response(self._data):
                self.status, self._data = found[0].status, self._data[found[1] :]

    def _more(self) -> bool:
        try:
            data = self.sock.recv(65536)
        except ConnectionError:
            return False
        self._data += data
        return bool(data)

    def send(self, *contents: bytes) -> None:
        self.sock.sendall(p.stream(contents))

    def read(self) -> bytes | None:
        """The content of the next frame; None at the end."""
        while not framing.is_whole(self._data):
            if not self._more():
                return None
        size = 2 + int.from_bytes(self._data[:2], "big")
        content, self._data = self._data[2:size], self._data[size:]
        return content

    def message(self) -> wire_control.Message | None:
        content = self.read()
        assert content is not None
        return wire_control.decode(content)

    def greet(self, features: int = int(Feature.LANES | Feature.KEEPALIVE)) -> Hello:
        self.send(wire_control.encode_hello(Hello(bytes(16), 0x6F, 1420, features=features)))
        hello = self.message()
        assert isinstance(hello, Hello)
        return hello


@pytest.fixture
def hub(request: pytest.FixtureRequest) -> Iterator[Hub]:
    given = getattr(request, "param", ("share", "$ 100", "100"))
    with running(CONFIG % given) as (made,):
        yield made


def given(duplicate: str = "share", connections: str = "$ 100", rate: str = "100") -> pytest.MarkDecorator:
    return pytest.mark.parametrize("hub", [(duplicate, connections, rate)], indirect=True)


def session_of_host(hub: Hub, host: str) -> HubSession:
    (session,) = (one for one in hub.sessions.values() if one.attachment.host == host)
    return session


def session_of(hub: Hub) -> HubSession:
    (session,) = hub.sessions.values()
    return session


def lane_request(token: bytes, **other: Any) -> Request:
    return replace(REQUEST, command=JOIN, token=token, **other)


def joined(hub: Hub) -> tuple[Peer, Peer]:
    """A session with two lanes."""
    first = Peer(hub, REQUEST)
    lane = Peer(hub, lane_request(first.greet().lane))
    assert (first.status, lane.status) == (Status.OK, Status.OK)
    wait(lambda: len(session_of(hub).sender.lanes) == 2)
    return first, lane


def wait(true: Any) -> None:
    with gevent.Timeout(5):
        while not true():
            gevent.sleep(0.01)


@pytest.mark.parametrize(
    "hub",
    [(word, "$ 100", "100") for word in ("share", "replace", "refuse")] + [("share", "$ 1", "100"), ("share", "$$ 1", "100"), ("refuse", "$$ 1", "1")],
    indirect=True,
)  # fmt: skip
def test_a_lane_is_let_in_wherever_its_session_was(hub: Hub) -> None:
    """It counts in no limit beside its session, and is no second session of its name."""
    first, _ = joined(hub)
    first.send(PING)
    assert isinstance(first.message(), Pong)
    assert not hub.refused
    assert session_of(hub).attachment.live


@given(connections="$$ 2")
def test_a_lane_takes_the_place_of_no_session(hub: Hub) -> None:
    kept = joined(hub)
    second = Peer(hub, replace(REQUEST, host="host-2"))
    assert second.status == Status.OK
    assert Peer(hub, replace(REQUEST, host="host-3")).status is None
    assert len(kept) == len(session_of_host(hub, "host-1").sender.lanes)


@given(connections="$$ 1")
def test_room_for_a_lane_is_no_room_for_a_session(hub: Hub) -> None:
    """A token is out, so one more connection is listened to; as it is no lane, it is turned away."""
    first = Peer(hub, REQUEST)
    hello = first.greet()
    assert Peer(hub, replace(REQUEST, host="host-2")).status is None
    assert hub.refused == {Refusal.CONNECTIONS: 1}
    assert Peer(hub, lane_request(hello.lane)).status == Status.OK


@pytest.mark.parametrize(
    ("other", "status", "refusal"),
    [
        ({"token": b"x" * 16}, Status.NETWORK_UNREACHABLE, Refusal.LANE),
        ({"token": b""}, Status.NETWORK_UNREACHABLE, Refusal.LANE),
        ({"login": ("v", "p")}, Status.NETWORK_UNREACHABLE, Refusal.LANE),
        ({"host": "host-2"}, Status.NETWORK_UNREACHABLE, Refusal.LANE),
        ({"namespace": b"n" * 16}, Status.NETWORK_UNREACHABLE, Refusal.LANE),
        ({"login": ("u", "wrong")}, Status.UNAUTHORIZED, Refusal.UNAUTHORIZED),
        ({"login": None}, Status.UNAUTHORIZED, Refusal.UNAUTHORIZED),
    ],
)
def test_who_may_not_join(hub: Hub, other: dict[str, Any], status: Status, refusal: Refusal) -> None:
    first = Peer(hub, REQUEST)
    token = first.greet().lane
    assert Peer(hub, replace(lane_request(token), **other)).status == status
    assert hub.refused == {refusal: 1}
    first.send(PING)
    assert isinstance(first.message(), Pong)
    assert len(session_of(hub).sender.lanes) == 1


def test_a_token_is_good_once(hub: Hub) -> None:
    first = Peer(hub, REQUEST)
    token = first.greet().lane
    assert Peer(hub, lane_request(token)).status == Status.OK
    assert Peer(hub, lane_request(token)).status == Status.NETWORK_UNREACHABLE


def test_a_token_is_only_good_for_a_time(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Peer(hub, REQUEST)
    monkeypatch.setattr("lib.session_lane_tokens.TOKEN_SECONDS", 0.0)
    token = first.greet().lane
    assert Peer(hub, lane_request(token)).status == Status.NETWORK_UNREACHABLE


def test_only_who_knows_lanes_is_given_a_token(hub: Hub) -> None:
    assert Peer(hub, REQUEST).greet(int(Feature.KEEPALIVE)).lane == b""


def test_sparse_packets_come_by_the_lane(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a peer that is not near; a near one is sent all by one lane (session_lane_sender)."""
    monkeypatch.setattr(Stream, "is_near", False)
    _, lane = joined(hub)
    other = Peer(hub, replace(REQUEST, host="host-2"))
    ping = p.icmp("10.0.0.2", "10.0.0.1")
    other.send(ping)
    assert lane.read() == ping


@pytest.mark.parametrize("number", [0, 1])
def test_one_lane_lost_is_not_the_session_lost(hub: Hub, number: int) -> None:
    lanes = joined(hub)
    lanes[number].sock.close()
    wait(lambda: len(session_of(hub).sender.lanes) == 1)
    left = lanes[1 - number]
    left.send(PING)
    assert isinstance(left.message(), Pong)
    other = Peer(hub, replace(REQUEST, host="host-2"))
    packets = [p.udp("10.0.0.2", "10.0.0.1"), p.icmp("10.0.0.2", "10.0.0.1")]
    other.send(*packets)
    assert [left.read(), left.read()] == packets


@pytest.mark.parametrize("number", [0, 1])
def test_a_lost_lane_comes_back_by_another_token(hub: Hub, number: int) -> None:
    lanes = joined(hub)
    lanes[number].sock.close()
    wait(lambda: len(session_of(hub).sender.lanes) == 1)
    left = lanes[1 - number]
    left.send(wire_control.encode_lane(Lane()))
    reply = left.message()
    assert isinstance(reply, Lane)
    assert Peer(hub, lane_request(reply.token)).status == Status.OK
    wait(lambda: len(session_of(hub).sender.lanes) == 2)


def test_a_session_with_two_lanes_is_given_no_token(hub: Hub) -> None:
    first, _ = joined(hub)
    first.send(wire_control.encode_lane(Lane()), PING)
    assert isinstance(first.message(), Pong)


def test_a_session_that_ends_ends_its_lanes(hub: Hub) -> None:
    first, lane = joined(hub)
    session_of(hub).sender.close("kicked by the operator")
    assert first.read() is None
    assert lane.read() is None
    wait(lambda: not hub.sessions)
    assert not len(hub._clients)


def test_a_session_lives_as_long_as_any_of_its_lanes(hub: Hub) -> None:
    first, lane = joined(hub)
    first.sock.close()
    lane.sock.close()
    wait(lambda: not hub.sessions)


def test_pings_go_by_both_lanes(hub: Hub) -> None:
    first, lane = joined(hub)
    session = session_of(hub)
    session.control.ask(1.0)
    session.control.ask(2.0)
    assert isinstance(first.message(), Ping)
    assert isinstance(lane.message(), Ping)


def test_a_pong_takes_the_lane_of_its_ping(hub: Hub) -> None:
    for peer in joined(hub):
        peer.send(PING)
        assert isinstance(peer.message(), Pong)


def test_lanes_are_one_share_of_the_loop(hub: Hub) -> None:
    """Whatever one owes, both do; and they take turns at one place among long turns."""
    kept = joined(hub)
    first, second = (lane.stream.cost for lane in session_of(hub).sender.lanes)
    assert first is not None
    assert second is not None
    first.end(1.0, 100.0)
    assert second.expensive
    assert (first.has_rival, second.has_rival) == (False, True)
    second.end(1.0, 100.02)
    assert [cost.has_rival for cost in (first, second)] == [True, True]
    kept[1].sock.close()
    wait(lambda: first.beside is None)


def test_no_lanes_where_connections_are_scarce(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lib.hub.MAX_CLIENTS", 1)
    assert Peer(hub, REQUEST).greet().lane == b""


class KernelsWays:
    """Stands for client_around.Around: nothing is covered by routes of a tunnel."""

    @contextmanager
    def dialling(self, node: NodeSettings) -> Iterator[stream_dial.Ways]:
        yield stream_dial.PLAIN

    dialling_again = dialling


@pytest.mark.parametrize("kind", ["tcp", "tls", "ws", "wss"])
def test_a_lane_takes_the_way_of_its_session(kind: str, tmp_path: Path) -> None:
    """Every layer again, with the same client certificate; one of another client may not join."""
    own, two = Authority(tmp_path), Authority(tmp_path, "others")
    server = own.issue("hub.test")
    clients = [two.issue("host-1", file=f"client-{number}") for number in range(2)]
    secured = kind in ("tls", "wss")
    tls = f", tls: {{certFile: {server.cert}, keyFile: {server.key}, caFile: {two.ca.cert}}}"
    text = CONFIG % ("refuse", "$$ 1", "1")
    with running(text.replace("{type: tcp}", f"{{type: {kind}{tls if secured else ''}}}")) as (hub,):
        port = hub._server.socket.getsockname()[1]

        def dial(client: Pair, token: bytes = b"") -> AnyStream:
            pair = TlsSettings(client.cert, client.key) if secured else NO_TLS
            transport = TransportSettings(kind, pair)
            node = NodeSettings("n", "127.0.0.1", port, transport=transport, username="u", password="p")
            settings = ClientSettings("c", "host-1", DeviceSettings(), (node,))
            around: Any = KernelsWays()
            return client_dial.let_in(settings, node, around, token)[0]

        def hello(stream: AnyStream) -> bytes:
            features = int(Feature.LANES)
            stream.send_all(p.stream([wire_control.encode_hello(Hello(bytes(16), features=features))]))
            buffer = memoryview(bytearray(4096))
            reply = wire_control.decode(bytes(buffer[2 : stream.receive_into(buffer)]))
            assert isinstance(reply, Hello)
            return reply.lane

        first = dial(clients[0])
        if secured:
            with pytest.raises(Refused):
                dial(clients[1], hello(first))
        lane = dial(clients[0], hello(first))
        wait(lambda: len(session_of(hub).sender.lanes) == 2)
        lane.close()
        first.close()


def test_lanes_make_room_where_descriptors_run_out(hub: Hub) -> None:
    first, lane = joined(hub)
    assert hub._server.make_room()
    assert lane.read() is None
    wait(lambda: len(session_of(hub).sender.lanes) == 1)
    assert not hub._server.make_room()
    first.send(wire_control.encode_lane(Lane()), PING)
    assert isinstance(first.message(), Pong)


def test_a_rule_that_ends_a_session_ends_its_lanes(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    first, lane = joined(hub)
    monkeypatch.setattr(hub, "admit", lambda *given, **asked: (Status.UNAUTHORIZED, "gone"))
    assert len(hub.recheck()) == 1
    assert first.read() is None
    assert lane.read() is None


def test_new_settings_end_a_lane_and_no_session(hub: Hub) -> None:
    _, lane = joined(hub)
    hub.settings = replace(hub.settings, lanes=1)
    session = session_of(hub)
    session.beat(1.0)
    while lane.read() is not None:
        pass
    wait(lambda: len(session.sender.lanes) == 1)
    assert hub_lane.new_token(session) == b""
    assert hub.sessions
