"""Admissions: from which addresses somebody may connect, by lists, files and plugins, before any handshake."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import socket

from lib import (
    auth_addresses,
    config_from_urls,
    config_read,
    config_resolve,
    rule_parse,
    settings_summary,
    wire_relay,
)
from lib import plugin_protobuf as messages
from lib.errors import ConfigError, Problem
from lib.forward_drop_reasons import Refusal
from lib.hub import Hub
from lib.plugin_client import AdmissionPlugin
from lib.settings import Settings
from lib.settings_sources import PluginSettings
from lib.wire_relay import Request, Status
from tests.support.configs import checked
from tests.support.http_plugin import Plugin, replying
from tests.support.hubs import running

RECORDED = json.loads(
    (Path(__file__).parent.parent / "data" / "admission_and_observer_requests.json").read_text()
)
ONE, TWO, THREE = "127.0.0.1", "127.0.0.2", "127.0.0.3"
CONFIG = """\
services:
- name: service-0
  addr: 127.0.0.1:0
  %s
  handler: {type: router, metadata: {router: r}}
  listener: {type: tcp}
routers: [{name: r, routes: [{net: 10.0.0.0/8, gateway: host-1}]}]
admissions: [%s]
"""


def config(admissions: str, named: str = "admission: a") -> str:
    return CONFIG % (named, admissions)


def resolved(text: str) -> Settings:
    return config_resolve.resolve(config_read.read([("f", text)]))


def problem(text: str) -> str:
    with pytest.raises(ConfigError) as refused:
        resolved(text)
    (one,) = refused.value.problems
    assert one.where.line
    return str(one)


@contextmanager
def served(text: str) -> Iterator[Hub]:
    """A hub that reads its sources, and looks at its sessions again when they change."""
    with running(text) as (hub,):
        hub.tables.rules_changed = lambda: hub.recheck() and None  # type: ignore[assignment]
        hub.tables.start()
        assert hub.tables.wait_loaded(5)
        yield hub


def connect(hub: Hub, source: str) -> socket.socket:
    return socket.create_connection(hub._server.socket.getsockname(), 5, (source, 0))


def comes_in(hub: Hub, source: str = ONE, before: bytes = b"", host: str = "") -> socket.socket | None:
    """A session of a host that connects from this address; None where the connection is cut without a byte."""
    made = connect(hub, source)
    made.settimeout(5)
    try:
        made.sendall(before + wire_relay.encode_request(Request(host or f"host-{source[-1]}", "10.0.0.1")))
        found = wire_relay.decode_response(made.recv(4096))
    except OSError:  # a reset: it had not been read
        found = None
    if found is None:
        made.close()
        return None
    assert found[0].status == Status.OK
    return made


def is_cut(made: socket.socket) -> bool:
    """Whether the hub ends a connection that says nothing."""
    made.settimeout(5)
    try:
        return bool(made.recv(1) == b"")
    except ConnectionResetError:
        return True


def wait_hosts(hub: Hub, *hosts: str) -> None:
    """Wait until these hosts have sessions, and no others."""
    with gevent.Timeout(5):
        while {session.attachment.host for session in hub.sessions.values()} != set(hosts):
            gevent.sleep(0.01)


def change(hub: Hub, path: Path, text: str) -> None:
    path.write_text(text)
    live = dict(hub.tables.all())["admission", "a"]
    live.feed.refresh()
    assert live.feed.wait(5)


# --- lists


@pytest.mark.parametrize(
    ("admissions", "named", "let_in"),
    [
        ("{name: a, matchers: [127.0.0.2]}", "admission: a", {ONE, THREE}),
        ("{name: a, whitelist: true, matchers: [127.0.0.2]}", "admission: a", {TWO}),
        ("{name: a, whitelist: true, matchers: [127.0.0.2/31]}", "admissions: [a]", {TWO, THREE}),
        ("{name: a, whitelist: true, matchers: ['::ffff:127.0.0.2', '::ffff:127.0.0.3/128']}", "admission: a", {TWO, THREE}),
        ("{name: a, whitelist: true, matchers: ['::/0']}", "admission: a", set()),
        ("{name: a, whitelist: true}", "admission: a", set()),
        ("{name: a}", "admission: a", {ONE, TWO, THREE}),
        ("{name: a, whitelist: true, matchers: [127.0.0.0/30]}, {name: b, matchers: [127.0.0.3]}", "admission: a\n  admissions: [b]", {ONE, TWO}),
        ("{name: a, whitelist: true, matchers: [127.0.0.0/30]}, {name: b, matchers: [127.0.0.3]}", "admissions: [a, b]", {ONE, TWO}),
    ],
)  # fmt: skip
def test_who_may_connect(admissions: str, named: str, let_in: set[str]) -> None:
    """As a GOST 3.3 does, which was asked beside it, but for the prefix of mapped addresses."""
    with served(config(admissions, named)) as hub:
        for source in (ONE, TWO, THREE):
            made = comes_in(hub, source)
            assert (made is not None) == (source in let_in)
            if made is not None:
                made.close()
        refused = 3 - len(let_in)
        assert hub.refused[Refusal.ADMISSION] == refused
        if refused:
            assert "does not let 127.0.0." in hub.turned_away[Refusal.ADMISSION][2]


def test_nothing_is_read_of_who_is_not_let_in() -> None:
    with served(config("{name: a, matchers: [127.0.0.2]}")) as hub:
        assert is_cut(connect(hub, TWO)), "without waiting for a handshake"
        with connect(hub, ONE) as made:
            made.settimeout(0.05)
            with pytest.raises(TimeoutError):
                made.recv(1)


def test_a_file_that_changes_ends_sessions_and_lets_others_in(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text("# those of the office\n127.0.0.1 # one\n  127.0.0.2\nnonsense\n\n")
    with served(config(f"{{name: a, whitelist: true, file: {{path: {path}}}}}")) as hub:
        one, two = comes_in(hub, ONE), comes_in(hub, TWO)
        assert one is not None
        assert two is not None
        assert comes_in(hub, THREE) is None
        change(hub, path, "127.0.0.2\n127.0.0.3\n")
        assert is_cut(one), "who may not connect any more has to go"
        three = comes_in(hub, THREE)
        assert three is not None
        wait_hosts(hub, "host-2", "host-3")
        change(hub, path, "127.0.0.2\n127.0.0.3\n# the same\n")
        assert len(hub.sessions) == 2


def test_while_a_list_is_not_known_nobody_comes_in_but_who_is_in_a_known_one(tmp_path: Path) -> None:
    missing = f"file: {{path: {tmp_path / 'missing'}}}"
    with served(config(f"{{name: a, {missing}}}")) as hub:  # GOST lets everybody in
        assert comes_in(hub, ONE) is None
        assert "missing" in hub.turned_away[Refusal.ADMISSION][2]
        change(hub, tmp_path / "missing", "127.0.0.2\n")
        made = comes_in(hub, ONE)
        assert made is not None
        assert comes_in(hub, TWO) is None
    (tmp_path / "missing").unlink()
    with served(config(f"{{name: a, whitelist: true, matchers: [127.0.0.1], {missing}}}")) as hub:
        assert comes_in(hub, ONE) is not None
        assert comes_in(hub, TWO) is None


def test_a_reload_changes_the_list_and_who_is_here() -> None:
    with served(config("{name: a, matchers: [127.0.0.3]}")) as hub:
        one, two = comes_in(hub, ONE), comes_in(hub, TWO)
        assert one is not None
        assert two is not None
        settings = resolved(config("{name: a, matchers: [127.0.0.1]}"))
        assert hub.tables.apply(settings) == ["admission a: 1 row now"]
        (line,) = hub.apply(settings.hubs[0], hub.domain)
        assert "host-1" in line
        assert "admission a does not let 127.0.0.1 connect" in line
        assert is_cut(one)
        wait_hosts(hub, "host-2")
        assert comes_in(hub, THREE) is not None
        none = resolved(config("", ""))
        hub.tables.apply(none)
        hub.apply(none.hubs[0], hub.domain)
        assert comes_in(hub, ONE) is not None


# --- whose address it is


PROXIED = """\
services:
- name: s
  addr: 127.0.0.1:0
  admission: a
  %s
  handler: {type: router, metadata: {router: r, trustedProxies: 127.0.0.1}}
  listener: {type: %s}
routers: [{name: r, routes: [{net: 10.0.0.0/8, gateway: host-1}]}]
admissions: [{name: a, whitelist: true, matchers: [198.51.100.7, 127.0.0.2]}]
"""
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def header(source: str) -> bytes:
    return f"PROXY TCP4 {source} 192.0.2.1 4000 8443\r\n".encode()


def test_behind_a_proxy_the_client_s_own_address_counts() -> None:
    with served(PROXIED % ("metadata: {proxyProtocol: 1}", "tcp")) as hub:
        assert comes_in(hub, ONE, header("198.51.100.7"), "host-1") is not None
        assert comes_in(hub, ONE, header("198.51.100.8"), "host-1") is None
        assert hub.turned_away[Refusal.ADMISSION][1] == "198.51.100.8:4000"
        assert comes_in(hub, ONE, b"PROXY UNKNOWN\r\n", "host-1") is None, "then the proxy's counts"
        assert comes_in(hub, TWO) is not None, "who comes without the proxy has an own address"
        assert comes_in(hub, THREE) is None
        refused = hub.refused[Refusal.ADMISSION]
        with connect(hub, ONE) as check:  # a health check of the proxy's own
            check.sendall(SIGNATURE + struct.pack("!BBH", 0x20, 0, 0))
            assert is_cut(check)
        assert hub.refused[Refusal.ADMISSION] == refused


@pytest.mark.parametrize(
    ("source", "headers", "status"),
    [
        (ONE, "X-Forwarded-For: 198.51.100.7\r\n", b"101"),
        (ONE, "X-Forwarded-For: 198.51.100.8\r\n", b"403"),
        (ONE, "", b"403"),
        (TWO, "", b"101"),
        (THREE, "X-Forwarded-For: 198.51.100.7\r\n", b""),
    ],
)
def test_the_header_of_a_web_proxy(source: str, headers: str, status: bytes) -> None:
    with served(PROXIED % ("", "ws")) as hub, connect(hub, source) as made:
        made.settimeout(5)
        lines = f"Host: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{headers}"
        key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        try:
            made.sendall(f"GET /ws HTTP/1.1\r\n{lines}{key}".encode())
            reply = made.recv(4096)
        except ConnectionResetError:
            reply = b""
        assert reply[9:12] == status


# --- plugins


def asking(plugin: Plugin) -> str:
    return config(f"{{name: a, plugin: {{type: http, addr: '{plugin.url}', token: tok, timeout: 500ms}}}}")


def test_a_plugin_is_asked_once_and_as_gost_asks() -> None:
    with replying({"ok": True}) as plugin, served(asking(plugin)) as hub:
        made = comes_in(hub, TWO)
        assert made is not None
        peer = "{}:{}".format(*made.getsockname())
        assert plugin.asked == [json.loads(RECORDED[0]["body"]) | {"addr": peer}]
        assert plugin.headers[0].items() >= RECORDED[0]["headers"].items()
        plugin.reply = {"ok": False}
        assert comes_in(hub, TWO) is None
        hub.recheck()
        assert len(hub.sessions) == 1, "its yes holds"


@pytest.mark.parametrize(
    "reply", [500, 404, {}, {"ok": None}, {"ok": "true"}, {"ok": 1}, [True], b"", b"{\"ok\": tru", "ok"], ids=str
)  # fmt: skip
def test_a_plugin_that_fails_lets_nobody_in(reply: object) -> None:
    with replying(reply) as plugin, served(asking(plugin)) as hub:
        assert comes_in(hub, ONE) is None
        assert hub.refused[Refusal.ADMISSION] == 1


def test_a_plugin_that_does_not_reply_lets_nobody_in_and_holds_up_nobody_else() -> None:
    listening = socket.socket()
    listening.bind((ONE, 0))
    listening.listen()
    silent = Plugin(f"http://127.0.0.1:{listening.getsockname()[1]}/")
    with listening, served(asking(silent)) as hub:
        made = connect(hub, ONE)
        assert is_cut(made)
        assert "no reply within 0.5 s" in hub.turned_away[Refusal.ADMISSION][2]


def test_over_grpc_the_fields_have_gost_s_numbers() -> None:
    """The bytes are those that a GOST 3.3 has sent."""
    sent = bytes.fromhex("0a0f3132372e302e302e313a35303132341209736572766963652d301a03746370")
    fields = {"service": "service-0", "network": "tcp", "addr": "127.0.0.1:50124"}
    assert messages.encode("AdmitRequest", fields) == sent
    assert messages.decode("AdmitReply", b"\x08\x01") == {"ok": True}
    assert AdmissionPlugin(PluginSettings("grpc://127.0.0.1:1"))._grpc is not None


# --- what is written


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (config("{name: offfice}", "admission: office"), "there is no admission 'office'; did you mean 'offfice'?"),
        (config("{name: a}", "admissions: [a, b]"), "there is no admission 'b'"),
        (config("{name: a}", "admission: ''"), "'admission' names nothing"),
        (config("{name: a}", "admissions: ['', a]"), "'admissions' names nothing"),
        (config("{name: a, matchers: [127.0.0.0/33]}"), "'matchers': not an address or CIDR: '127.0.0.0/33'"),
        (config("{name: a, matchers: [localhost]}"), "names are not looked up"),
        (config("{name: a, matchers: [127.0.0.1-127.0.0.9]}"), "not an address or CIDR"),
        (config("{name: a, redis: {addr: h, type: hash}}"), "redis type 'hash' cannot hold this"),
        (config("{name: a, plugin: {type: http, addr: '::'}}"), "not the address of a http plugin"),
        (config("{name: a}, {name: a}"), "two of the admissions have the name 'a'"),
        (config("{name: a, whitlist: true}"), "did you mean 'whitelist'"),
    ],
)  # fmt: skip
def test_a_mistake_is_refused(text: str, said: str) -> None:
    assert said in problem(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (config("{name: a, whitelist: true}"), "a whitelist of nobody lets nobody in"),
        (config("{name: a}"), "everybody is let in"),
        (
            config("{name: a, matchers: [127.0.0.1/8]}"),
            "127.0.0.1/8 stands for the whole network 127.0.0.0/8",
        ),
        (config("{name: a, matchers: [127.0.0.1], plugin: {addr: 'h:1'}}"), "only its plugin is asked"),
    ],
)
def test_what_is_odd_is_a_warning(text: str, said: str) -> None:
    assert any(said in warning.message for warning in resolved(text).warnings)


def test_check_says_who_decides() -> None:
    settings = resolved(
        config("{name: a, matchers: [10.0.0.1]}, {name: b, plugin: {addr: 'h:1'}}", "admissions: [a, b]")
    )
    assert "    from where: admission a and admission b says" in settings_summary.words(settings)
    assert json.loads(settings_summary.as_json(settings))["services"][0]["admissions"] == ["a", "b"]


def test_of_a_url_as_in_gost() -> None:
    for text, whitelist in (("127.0.0.1,10.0.0.0/8", False), ("~127.0.0.1,10.0.0.0/8", True)):
        made = checked(config_from_urls.read([f"router://:1?admission={text}"]))
        (one,) = config_resolve.resolve(made).hubs[0].admissions
        assert (one.whitelist, len(one.matchers)) == (whitelist, 2)
    left_over = config("{name: a, whitelist: true, matchers: [127.0.0.1]}").replace(
        "admission: a", "admission: a\n  metadata: {admission: '~127.0.0.1'}"
    )
    assert resolved(left_over).hubs[0].admissions[0].whitelist
    assert "'admission' has no effect in service metadata" in problem(left_over.replace("'~127.", "'127."))


def test_a_client_is_connected_to_by_nobody() -> None:
    client = """\
services:
- {name: c, admission: a, handler: {type: tun, chain: x}, listener: {type: tun}, forwarder: {nodes: [{addr: host-1}]}}
chains: [{name: x, hops: [{name: h, nodes: [{name: n, addr: "h:1", connector: {type: router}, dialer: {type: tcp}}]}]}]
admissions: [{name: a, matchers: [10.0.0.1]}]
"""
    assert any("nobody connects to a client" in warning.message for warning in resolved(client).warnings)


def test_rows() -> None:
    text = b"192.0.2.7 # one\n\n# none\n\t2001:db8::/32\n192.0.2.1 192.0.2.2\n10.0.0.7/8\n"
    rows = list(rule_parse.rows(text, "f", auth_addresses.row))
    good = [row for row in rows if not isinstance(row, Problem)]
    assert good == list(map(auth_addresses.matcher, ("192.0.2.7", "2001:db8::/32", "10.0.0.0/8")))
    (bad,) = (row for row in rows if isinstance(row, Problem))
    assert bad.where.line == 5


@pytest.mark.parametrize("client", ["192.0.2.7:1", "[::ffff:192.0.2.7]:1"])
def test_ipv4_is_ipv4_however_it_is_written(client: str) -> None:
    assert auth_addresses.address_of(client) == bytes([192, 0, 2, 7])
    assert auth_addresses.address_of("[fe80::1%eth0]:7")[:2] == b"\xfe\x80"
    with pytest.raises(ValueError, match="does not appear"):
        auth_addresses.address_of("nobody:1")


def test_a_second_lane_from_an_address_that_may_not_connect_ends_the_session() -> None:
    with served(config("{name: a, matchers: [127.0.0.9]}")) as hub:
        made = comes_in(hub, ONE)
        assert made is not None
        (session,) = hub.sessions.values()
        lane: Any = session.sender.lanes[0].stream
        lane.peer, kept = "127.0.0.9:1", lane.peer
        hub.recheck()
        assert is_cut(made)
        assert kept != lane.peer
        wait_hosts(hub)
