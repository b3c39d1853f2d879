"""Clients that come through a trusted proxy: their own address is what is limited, logged and shown."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace

import gevent
import pytest
from gevent import socket

from lib import ctl_session, hub_log, limits, wire_relay
from lib.errors import ProtocolError
from lib.forward_drop_reasons import Refusal
from lib.hub import Hub
from lib.log_events import Entry
from lib.prefixes import PrefixSet
from lib.stream_layer import AnyStream, Layered
from lib.stream_tcp import Stream
from lib.stream_websocket import WebSocketCodec
from lib.wire_relay import Request, Status
from tests.support.hubs import running

CONFIG = """\
services:
- name: s
  addr: 127.0.0.1:0
  climiter: c
  rlimiter: c
  handler: {type: router, metadata: {router: r, %s}}
  listener: {type: %s}
climiters: [{name: c, limits: [%s]}]
rlimiters: [{name: c, limits: ["$ 1000"]}]
routers: [{name: r, routes: [{net: 10.0.0.0/8, gateway: host-1}]}]
"""
TRUST = "trustedProxies: 127.0.0.0/8"
CLIENT, OTHER = "198.51.100.7", "198.51.100.8"


@pytest.fixture
def log_of(monkeypatch: pytest.MonkeyPatch) -> list[Entry]:
    """The events that are logged of refused and lost connections."""
    said: list[Entry] = []
    monkeypatch.setattr(hub_log, "say", lambda event, *_, **__: said.append(event))
    return said


def configured(metadata: str = TRUST, kind: str = "ws", limit: str = '"$ 1000"') -> str:
    return CONFIG % (metadata, kind, limit)


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running(configured()) as (one,):
        yield one


def connect(to: Hub) -> Stream:
    return Stream(socket.create_connection(to._server.socket.getsockname(), 5), "hub")


def come(to: Hub, *headers: tuple[str, str], host: str = "host-1") -> AnyStream:
    """A client's session through a proxy that sends these headers. Raises ProtocolError where it is refused."""
    below = connect(to)
    with gevent.Timeout(5):
        try:
            stream: AnyStream = below
            if to.settings.transport.kind == "ws":
                layered = Layered(below, WebSocketCodec("/ws", headers, "hub.test"))
                layered.open()
                stream = layered
            stream.send_all(wire_relay.encode_request(Request(host, "10.0.0.1")))
            answer = memoryview(bytearray(1000))
            found = wire_relay.decode_response(bytes(answer[: stream.receive_into(answer)]))
            assert found is not None
            if found[0].status != Status.OK:
                raise ProtocolError(f"status {found[0].status}")
        except ProtocolError:
            below.close()
            raise
    return stream


def forwarded(value: str) -> tuple[str, str]:
    return "X-Forwarded-For", value


def ended(to: Hub) -> None:
    """Wait until every connection has been counted out."""
    with gevent.Timeout(5):
        while to.sessions or to.gate._connections:
            gevent.sleep(0.01)


def test_status_and_counters_have_the_client_s_address_and_the_proxy_s(hub: Hub) -> None:
    with closing(come(hub, forwarded(f"203.0.113.9, {CLIENT}"))):
        (session,) = hub.sessions.values()
        row = ctl_session.session_row(session, [], 0.0)
        assert row["peer"] == f"{CLIENT}:0"
        assert str(row["via"]).startswith("127.0.0.1:")
        assert list(hub.by_address.books) == [CLIENT]
        book = hub.by_address.books[CLIENT]
        assert (book.opened, book.in_flight, len(book.live)) == (1, 1, 1)
    ended(hub)
    assert (book.opened, book.in_flight, book.failed) == (1, 0, 0)
    assert hub.unnamed == 0


def test_limits_are_the_client_s_and_not_the_proxy_s() -> None:
    with running(configured(limit='"$$ 1"')) as (hub,):
        with closing(come(hub, forwarded(CLIENT))), closing(come(hub, forwarded(OTHER), host="host-2")):
            with pytest.raises(ProtocolError, match="refused with HTTP status 429"):
                come(hub, forwarded(f"{OTHER}, {CLIENT}"), host="host-3")
            assert hub.refused == {Refusal.CONNECTIONS: 1}
            assert hub.turned_away[Refusal.CONNECTIONS][1] == f"{CLIENT}:0"
            assert hub.by_address.books[CLIENT].failed == 1
            proxy_s_own = [come(hub, host=f"host-{number}") for number in (4, 5, 6)]
            assert len(hub.sessions) == 5
            for stream in proxy_s_own:
                stream.close()
        ended(hub)
        come(hub, forwarded(CLIENT)).close()


@pytest.mark.parametrize(
    ("header", "named", "unnamed"),
    [
        (("X-Real-IP", CLIENT), False, 1),
        (("Forwarded", f"for={CLIENT}"), False, 1),
        (("X-Forwarded-For", "unknown"), False, 1),
        (("X-Forwarded-For", f"{CLIENT}, <script>"), False, 1),
        (("x-forwarded-for", CLIENT), True, 0),
    ],
)
def test_only_one_header_is_believed_and_what_cannot_be_read_is_counted(
    hub: Hub, header: tuple[str, str], named: bool, unnamed: int
) -> None:
    with closing(come(hub, header)):
        (session,) = hub.sessions.values()
        assert (session.attachment.peer == f"{CLIENT}:0") is named
        assert session.attachment.peer.startswith(CLIENT if named else "127.0.0.1:")
        assert bool(session.stream.via) is named
    assert hub.unnamed == unnamed


def test_another_header_that_is_named() -> None:
    with running(configured(f"{TRUST}, trustedProxies.header: CF-Connecting-IP")) as (hub,):
        with closing(come(hub, forwarded(OTHER), ("CF-Connecting-IP", CLIENT))):
            (session,) = hub.sessions.values()
            assert session.attachment.peer == f"{CLIENT}:0"


@pytest.mark.parametrize("metadata", ["trustedProxies: 10.0.0.0/8", "domain: d"])
def test_nobody_else_is_believed(metadata: str) -> None:
    with running(configured(metadata, limit='"$$ 1"')) as (hub,):
        with closing(come(hub, forwarded(CLIENT))):
            (session,) = hub.sessions.values()
            assert session.attachment.peer.startswith("127.0.0.1:")
            with suppress(OSError), pytest.raises(ProtocolError, match="closed in the middle"):
                come(hub, forwarded(OTHER), host="host-2")
            assert hub.refused == {Refusal.CONNECTIONS: 1}
        assert hub.unnamed == 0


@pytest.mark.parametrize("kind", ["ws", "tcp"])
def test_connections_that_say_nothing_are_bounded_also_through_a_proxy(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(limits, "MAX_UNNAMED", 2)
    with running(configured(kind=kind)) as (hub,):
        sessions = [
            come(hub, forwarded(f"192.0.2.{number}"), host=f"host-{number}") for number in range(1, 5)
        ]
        assert len(hub.sessions) == 4, "who is let in does not count"
        silent = [connect(hub) for _ in range(3)]
        with gevent.Timeout(5):
            while not hub.refused:
                gevent.sleep(0.01)
        assert hub.refused == {Refusal.CONNECTIONS: 1}
        assert hub.gate._connections["unnamed 127.0.0.1"] == 2
        for stream in (*silent, *sessions):
            stream.close()
        ended(hub)
        come(hub, forwarded(CLIENT)).close()


def test_who_has_a_name_already_is_told_by_the_client_s_address() -> None:
    with running(configured(f"{TRUST}, onDuplicate: refuse")) as (hub,):
        with closing(come(hub, forwarded(CLIENT))):
            with pytest.raises(ProtocolError, match="status 3"):
                come(hub, forwarded(OTHER))
            _, peer, why = hub.turned_away[Refusal.NAME]
            assert peer == f"{OTHER}:0"
            assert f"another live session has this host name, of {CLIENT}:0" in why


def test_a_reload_changes_whom_new_connections_trust(hub: Hub) -> None:
    with closing(come(hub, forwarded(CLIENT))):
        hub.apply(replace(hub.settings, trusted_proxies=PrefixSet()), hub.domain)
        with closing(come(hub, forwarded(OTHER), host="host-2")):
            peers = [session.attachment.peer for session in hub.sessions.values()]
    assert peers[0] == f"{CLIENT}:0"
    assert peers[1].startswith("127.0.0.1:")
    ended(hub)


@pytest.mark.parametrize("kind", ["ws", "tcp"])
@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize(("trusted", "refused"), [(True, 0), (False, 1)])
def test_a_proxy_s_look_whether_the_hub_is_there_is_no_refusal(
    kind: str, reset: bool, trusted: bool, refused: int, log_of: list[Entry]
) -> None:
    """HAProxy's `check` connects every two seconds and closes, or resets, without a byte."""
    with running(configured(TRUST if trusted else "domain: d", kind=kind)) as (hub,):
        for _ in range(2):
            made = socket.create_connection(hub._server.socket.getsockname(), 5)
            if reset:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            made.close()
            with gevent.Timeout(5):
                while not hub.by_address.books or hub.gate._connections:
                    gevent.sleep(0.01)
        said = {Entry.REFUSED, Entry.CONNECTION_LOST} & set(log_of)
        assert bool(said) == bool(refused)
        assert bool(hub.refused) == bool(refused and Entry.REFUSED in said)
