"""Letting clients in, several at the same moment: one place for a name, and the rules as they are now."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import socket

from lib import (
    framing,
    hub,
    hub_names,
    hub_session,
    service_supervisor,
    service_turn,
    stream_options,
    wire_control,
    wire_relay,
)
from lib.auth_admission import Login, stays
from lib.auth_logins import Grant
from lib.errors import HostError
from lib.forward_drop_reasons import Reason, Refusal
from lib.hub import Hub
from lib.session_cost import Cost
from lib.settings import AutherSettings
from lib.wire_relay import Request, Status
from tests.support.hubs import running
from tests.support.mptcp import needs_mptcp
from tests.support.tls import Authority

CONFIG = """\
services:
- name: s
  addr: 127.0.0.1:0
  handler: {type: router, auther: a, metadata: {router: r, onDuplicate: refuse, domain: d}}
  listener: {type: tcp}
- name: t
  addr: 127.0.0.1:0
  handler: {type: router, auther: a, metadata: {router: r, onDuplicate: refuse, domain: d}}
  listener: {type: tcp}
routers: [{name: r, routes: [{net: 10.0.0.0/8, gateway: host-1}]}]
authers: [{name: a, auths: [{username: u, password: p}]}]
"""


@pytest.fixture
def hubs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Hub]]:
    """Two services of one domain that listen on ports of their own."""
    monkeypatch.setattr(hub_names, "PROBE_SECONDS", 0.3)
    with running(CONFIG) as made:
        yield made


def knock(to: Hub, host: str = "host-1") -> Any:
    """A connection that has sent its request."""
    made = socket.create_connection(to._server.socket.getsockname(), 5)
    made.sendall(wire_relay.encode_request(Request(host, "10.0.0.1", login=("u", "p"))))
    return made


def status_of(made: Any) -> Status:
    found = wire_relay.decode_response(made.recv(4096))
    assert found is not None
    return Status(found[0].status)


def silent_session(to: Hub) -> Any:
    """One that says it answers PING, and does not."""
    made = knock(to)
    assert status_of(made) == Status.OK
    features = int(wire_control.Feature.KEEPALIVE)
    made.sendall(framing.encode(wire_control.encode_hello(wire_control.Hello(bytes(16), features=features))))
    assert made.recv(4096)
    return made


def test_one_of_several_newcomers_has_a_name_that_becomes_free(hubs: list[Hub]) -> None:
    """They come while it is looked whether the old session lives, to two services of one domain."""
    old = silent_session(hubs[0])
    newcomers = [knock(hubs[number % 2]) for number in range(6)]
    other = knock(hubs[0], "host-2")
    statuses = [status_of(made) for made in newcomers]
    assert sorted(statuses) == [Status.OK] + [Status.FORBIDDEN] * 5
    assert status_of(other) == Status.OK
    assert status_of(knock(hubs[1])) == Status.FORBIDDEN  # taken, and not only while it was being given
    old.close()


def test_a_name_that_nobody_takes_in_the_end_is_free_again(hubs: list[Hub]) -> None:
    old = silent_session(hubs[0])
    gone = knock(hubs[0])
    gevent.sleep(0.05)
    gone.close()
    old.close()
    with gevent.Timeout(5):
        while (status := status_of(knock(hubs[1]))) != Status.OK:
            gevent.sleep(0.05)
    assert status == Status.OK


def test_where_there_are_many_namespaces_each_remembers_fewer_drops(
    hubs: list[Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an auther anybody can make up namespaces."""
    session = knock(hubs[0])
    assert status_of(session) == Status.OK
    (namespace,) = hubs[0].domain.namespaces.values()
    for number in range(100):
        namespace.note_lost(number.to_bytes(4, "big"), Reason.NO_ROUTE, 1, 0.0)
    monkeypatch.setattr(hub, "ALL_LOST", 50)
    with gevent.Timeout(5):
        while len(namespace.lost) > 50:
            gevent.sleep(0.02)
    assert min(namespace.lost) == (50).to_bytes(4, "big"), "the newest stay"
    session.close()


def test_rules_that_change_while_somebody_waits_for_a_check_count(
    hubs: list[Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check that takes a while began by the old rules: the login has been taken away meanwhile."""
    to, grants = hubs[0], [Grant(), None]

    class Auther:
        plugin, unread = None, ""

        def has(self, username: str) -> bool:
            return True

        def grant(self, login: object) -> Grant | None:
            given = grants.pop(0)
            if grants:
                to.recheck()  # as when a source is read again
            return given

    monkeypatch.setattr(to.tables, "logins", lambda name: Auther())
    made = knock(to)
    assert status_of(made) == Status.OK
    assert made.recv(1) == b""
    assert to.refused == {Refusal.UNAUTHORIZED: 1}
    assert not to.sessions


def test_a_session_that_has_gone_ends_no_recheck(hubs: list[Hub], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its check waits for a turn and is not asked whether the client is there: the others come after it."""
    to, asked = hubs[0], []

    class Auther:
        plugin, unread = None, ""

        def has(self, username: str) -> bool:
            return True

        def grant(self, login: Login) -> Grant | None:
            asked.append(login.has_gone)
            return Grant()

    monkeypatch.setattr(to.tables, "logins", lambda name: Auther())
    made = knock(to)
    assert status_of(made) == Status.OK
    assert to.recheck() == []
    assert asked[0] is not stays
    assert asked[-1] is stays


def test_an_error_at_one_session_keeps_no_other_whose_login_is_gone(
    hubs: list[Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    to, wrong = hubs[0], [True]

    class Auther:
        plugin, unread, revoked = None, "", False

        def has(self, username: str) -> bool:
            return True

        def grant(self, login: Login) -> Grant | None:
            if self.revoked and wrong and wrong.pop():
                raise KeyError("the first one that is asked")
            return None if self.revoked else Grant()

    auther = Auther()
    monkeypatch.setattr(to.tables, "logins", lambda name: auther)
    made = [knock(to, host) for host in ("host-1", "host-2")]
    assert [status_of(one) for one in made] == [Status.OK] * 2
    auther.revoked = True
    assert len(to.recheck()) == 1
    assert made[1].recv(1) == b""
    assert to.unchecked == 1, "it is checked again"
    assert any(line.startswith("host host-1 (") for line in to.recheck())
    assert (made[0].recv(1), to.unchecked) == (b"", 0)


def test_the_yes_of_a_plugin_that_was_never_given_keeps_no_session(
    hubs: list[Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two authers, rows and a plugin: who came by a row that is gone now was no friend of the plugin's."""
    to = hubs[0]
    to.settings = replace(to.settings, authers=(AutherSettings("rows"), AutherSettings("plugin")))

    class Auther:
        unread = ""

        def __init__(self, name: str) -> None:
            self.plugin = object() if name == "plugin" else None
            self.users = {name, "both"}

        def has(self, username: str) -> bool:
            return username in self.users

        def grant(self, login: Login) -> Grant | None:
            return Grant() if self.has(login.username) else None

        def granted(self, login: Login) -> Grant:
            return Grant()

    authers = {name: Auther(name) for name in ("rows", "plugin")}
    monkeypatch.setattr(to.tables, "logins", authers.__getitem__)
    made = {}
    for number, user in enumerate(("rows", "plugin", "both")):
        made[user] = socket.create_connection(to._server.socket.getsockname(), 5)
        request = Request(f"host-{number}", "10.0.0.1", login=(user, "p"))
        made[user].sendall(wire_relay.encode_request(request))
        assert status_of(made[user]) == Status.OK
    authers["rows"].users.clear()
    authers["plugin"].users.clear()  # it is not asked again
    (line,) = to.recheck()
    assert line.startswith("host host-0 (")
    assert made["rows"].recv(1) == b""
    assert {one.attachment.host for one in to.sessions.values()} >= {"host-1", "host-2"}


def test_another_congestion_control_reaches_the_sessions_that_live_and_those_to_come(hubs: list[Hub]) -> None:
    to = hubs[0]
    made = knock(to)
    assert status_of(made) == Status.OK
    (session,) = to.sessions.values()
    usual = session.stream.congestion
    for wanted in ("reno", "system", "auto"):
        old = to.settings
        new = replace(old, transport=replace(old.transport, congestion=wanted))
        had = old.transport.congestion
        assert to.apply(new, to.domain) == [f"congestion control of 1 session: {had} -> {wanted}"]
        if wanted == "reno":
            other = knock(to, "host-2")
            assert status_of(other) == Status.OK
            assert {one.stream.congestion for one in to.sessions.values()} == {"reno"}
            other.close()
            with gevent.Timeout(5):
                while len(to.sessions) > 1:
                    gevent.sleep(0.001)
    assert list(to.sessions.values()) == [session]
    assert session.stream.congestion == usual
    made.close()


@needs_mptcp
def test_a_reload_to_mptcp_and_back_turns_nobody_away_and_ends_no_session(hubs: list[Hub]) -> None:
    to = hubs[0]
    address = to._server.socket.getsockname()
    made = [knock(to)]
    assert status_of(made[0]) == Status.OK
    for number, mptcp in enumerate((True, False)):
        new = replace(to.settings, transport=replace(to.settings.transport, mptcp=mptcp))
        assert "new sessions come over tcp" in to.apply(new, to.domain)
        assert to._server.socket.getsockname() == address
        assert stream_options.is_mptcp(to._server.socket) == mptcp
        made.append(knock(to, f"host-{number + 2}"))
        assert status_of(made[-1]) == Status.OK
    with gevent.Timeout(5):
        while len(to.sessions) < len(made):
            gevent.sleep(0.001)
    assert to.listens
    assert to.fault() == ""


def test_a_reload_to_mptcp_whose_port_somebody_else_has_leaves_the_hub_as_it_was(
    hubs: list[Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the hub has become another user meanwhile, who may not share the port with root."""
    to = hubs[0]

    def refused(*arguments: object, **more: object) -> None:
        raise HostError("taken")

    monkeypatch.setattr("lib.hub_listen.listen", refused)
    new = replace(to.settings, transport=replace(to.settings.transport, mptcp=True))
    with pytest.raises(HostError):
        to.apply(new, to.domain)
    assert not to.settings.transport.mptcp
    assert status_of(knock(to)) == Status.OK


@pytest.mark.parametrize(
    ("kind", "begins"),
    [
        ("tcp", wire_relay.encode_request(Request("host-1", "10.0.0.1"))),
        ("tls", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        ("ws", b"GET /ws HTTP/1.1\r\n"),
    ],
)
def test_a_handshake_of_any_layer_that_drips_meets_the_deadline(
    kind: str, begins: bytes, tmp_path: Path
) -> None:
    """A byte now and then is no reason to wait longer."""
    own = Authority(tmp_path).issue("hub.test")
    tls = f", tls: {{certFile: {own.cert}, keyFile: {own.key}}}" if kind == "tls" else ""
    text = (
        "services: [{name: s, addr: '127.0.0.1:0', handler: {type: router, metadata: {router: r,"
        f" handshakeTimeout: 300ms}}}}, listener: {{type: {kind}{tls}}}}}]\n"
        "routers: [{name: r, routes: [{net: 10.0.0.0/8, gateway: host-1}]}]\n"
    )
    with running(text) as (to,):
        made = socket.create_connection(to._server.socket.getsockname(), 5)

        def drip() -> None:
            with suppress(OSError):
                for byte in begins + bytes(500):
                    made.sendall(bytes([byte]))
                    gevent.sleep(0.04)

        dripping = gevent.spawn(drip)
        with gevent.Timeout(15), suppress(ConnectionResetError):
            assert made.recv(100) == b""
        dripping.kill()
        made.close()
        assert to.refused == {Refusal.LATE: 1}


HELLO = bytes.fromhex("1603010200010001fc0303")
UPGRADE = b"GET /ws HTTP/1.1\r\nHost: hub\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
RELAY = wire_relay.encode_request(Request("host-1", "10.0.0.1"))
STATUS_1, ALERT, STATUS_400 = b"\1\1\0\0", b"\x15\3\1\0\2\2\x46", b"HTTP/1.1 400 "
MISMATCHES = [
    ("tcp", HELLO, "the client speaks TLS to a tcp port: write router:// in its -F, or", STATUS_1),
    ("tcp", UPGRADE, "the client speaks WebSocket to a tcp port: write router:// in its -F, or", STATUS_1),
    ("tcp", b"GET / HTTP/1.0\r\n\r\n", "HTTP on a tcp port: ", STATUS_1),
    ("tcp", b"SSH-2.0-x\r\n", "SSH on a tcp port", STATUS_1),
    (
        "tcp",
        b"PROXY TCP4 1.2.3.4 ",
        "a PROXY protocol header on a tcp port: write proxyProtocol: 2 in",
        STATUS_1,
    ),
    ("tls", RELAY, "the client speaks plain relay to a tls port: write router+tls:// in its -F", ALERT),
    ("tls", UPGRADE, "the client speaks WebSocket to a tls port: write router+tls:// in its -F", ALERT),
    ("tls", b"GET / HTTP/1.0\r\n\r\n", "HTTP without TLS on a tls port: ", ALERT),
    ("tls", b"SSH-2.0-x\r\n", "SSH without TLS on a tls port", ALERT),
    ("wss", UPGRADE, "the client speaks WebSocket to a wss port: write router+wss:// in its -F", ALERT),
    ("ws", RELAY, "the client speaks plain relay to a ws port: write router+ws:// in its -F", STATUS_400),
    ("ws", HELLO, "the client speaks TLS to a ws port: write router+ws:// in its -F, or", STATUS_400),
    ("ws", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP without an upgrade to WebSocket on a ws", STATUS_400),
    ("ws", b"SSH-2.0-x\r\n", "SSH on a ws port", STATUS_400),
]


@pytest.mark.parametrize(("kind", "says", "why", "reply"), MISMATCHES)
def test_a_client_that_speaks_another_transport_is_told_as_what_it_is(
    kind: str, says: bytes, why: str, reply: bytes, tmp_path: Path
) -> None:
    """At once, not at the deadline; and the reply shows the client what this port speaks."""
    own = Authority(tmp_path).issue("hub.test")
    tls = f", tls: {{certFile: {own.cert}, keyFile: {own.key}}}" if kind in ("tls", "wss") else ""
    text = f"services: [{{name: s, addr: '127.0.0.1:0', handler: {{type: router}}, listener: {{type: {kind}{tls}}}}}]"
    with running(text) as (to,), gevent.Timeout(5):
        made = socket.create_connection(to._server.socket.getsockname(), 5)
        made.sendall(says)
        replied = b""
        while more := made.recv(100):
            replied += more
        made.close()
        ((refusal, (_, _, told)),) = to.turned_away.items()
    assert replied.startswith(reply)
    assert told.startswith(why)
    tunnel = told.startswith("the client speaks")
    assert refusal is (Refusal.MALFORMED if kind == "tcp" and not tunnel else Refusal.TRANSPORT)


def test_turns_go_by_address_before_the_login_and_by_session_after_it(
    hubs: list[Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keys that expensive streams have in the share, when everybody is expensive."""
    keys: list[object] = []

    class Asked:
        def enter(self, key: object) -> None:
            keys.append(key)

        def leave(self, seconds: float) -> None:
            pass

    monkeypatch.setattr(service_turn, "SHARE", Asked())
    monkeypatch.setattr(Cost, "expensive", property(lambda self: True, lambda self, value: None))
    made = [knock(hubs[0], f"host-{number}") for number in range(2)]
    assert [status_of(one) for one in made] == [Status.OK] * 2
    before = len(keys)
    assert set(keys) <= {"127.0.0.1"} | {session.stream for session in hubs[0].sessions.values()}
    assert keys.count("127.0.0.1") >= 2
    for one in made:
        one.sendall(framing.encode(bytes([0x45])))
    with gevent.Timeout(5):
        while len(set(keys[before:])) < 2:
            gevent.sleep(0.01)
    assert set(keys[before:]) == set(hubs[0].sessions)
    for one in made:
        one.close()


@pytest.mark.parametrize("where", ["act", "_meet"])
def test_an_unforeseen_error_ends_one_session_and_is_counted(
    hubs: list[Hub], monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """The others stay, and the name is free again."""
    noted: list[BaseException] = []
    hub_loop = gevent.get_hub()
    monkeypatch.setattr(service_supervisor, "note", noted.append)
    service_supervisor.watch_greenlets()
    real = getattr(hub_session.HubSession, where)

    def fails(self: hub_session.HubSession, *more: Any) -> Any:
        if self.attachment.host == "host-2":
            raise KeyError("x")
        return real(self, *more)

    monkeypatch.setattr(hub_session.HubSession, where, fails)
    good, bad = knock(hubs[0]), knock(hubs[0], "host-2")
    assert status_of(good) == status_of(bad) == Status.OK
    hello = framing.encode(wire_control.encode_hello(wire_control.Hello(bytes(16))))
    bad.sendall(hello)
    with gevent.Timeout(5), suppress(ConnectionResetError):
        assert bad.recv(100) == b""
    good.sendall(hello)
    assert good.recv(100), "it is still answered"
    assert [type(error) for error in noted] == [KeyError]
    assert [session.attachment.host for session in hubs[0].sessions.values()] == ["host-1"]
    assert status_of(knock(hubs[1], "host-2")) == Status.OK
    del hub_loop.print_exception
    next(task for task in service_supervisor.tasks() if task.name == service_supervisor.OTHERS).kill()
