"""The router plugin over HTTP, against a real server on loopback: the request, and what is an answer."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lib import plugin_client
from lib.auth_admission import Login
from lib.errors import PluginError
from lib.ids import parse_uuid
from lib.plugin_client import (
    AutherPlugin,
    HopPlugin,
    IngressPlugin,
    LimiterPlugin,
    RouterPlugin,
    SdPlugin,
    SdService,
)
from lib.plugin_http import MAX_REPLY, read_object
from lib.route_table import Route
from lib.settings_sources import PluginSettings
from tests.support import texts
from tests.support.routes import gateways

RECORDED = json.loads((Path(__file__).parent.parent / "data" / "plugin_requests.json").read_text())
PROJECT = Path(__file__).parents[2]
NAMESPACE = "e87f56dd-fd57-4921-9ab8-a0847662daae"
ADDRESS = bytes([192, 168, 50, 7])
ROUTE = "192.168.50.0/24", "host-2"
GOOD = b'{"dst":"192.168.50.0/24","gateway":"host-2"}'


Shown = tuple[str, ...] | None


def shown(route: Route | None) -> Shown:
    """A route as texts: its prefix and its gateways."""
    return (str(route), *(gateways(route.group) or ())) if route else None


def read_route(body: bytes) -> Shown:
    return shown(plugin_client.read_route(read_object(body)))


@dataclass
class Plugin:
    """A plugin that answers with `reply` (status, body, headers) and keeps the requests it got."""

    url: str = ""
    reply: tuple[int, bytes, dict[str, str]] = (200, GOOD, {})
    before_reply: Callable[[], object] = lambda: None
    requests: list[dict[str, Any]] = field(default_factory=list)

    def route(self, address: bytes = ADDRESS, **settings: Any) -> Shown:
        merged: dict[str, Any] = {"url": self.url, "timeout": 5.0} | settings
        return shown(RouterPlugin(PluginSettings(**merged)).route(address, parse_uuid(NAMESPACE)))


@pytest.fixture
def plugin() -> Iterator[Plugin]:
    plugin = Plugin()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self.answer({"body": body})

        do_PUT = do_DELETE = do_POST

        def do_GET(self) -> None:
            self.answer({})

        def answer(self, more_asked: dict[str, str]) -> None:
            headers = {key.lower(): value for key, value in self.headers.items()}
            plugin.requests.append(
                {"method": self.command, "target": self.path, "headers": headers} | more_asked
            )
            plugin.before_reply()
            status, body, more = plugin.reply
            self.send_response(status)
            for key, value in ({"Content-Length": str(len(body))} | more).items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        allow_reuse_address = (
            False  # else the kernel may give a port that another test's server is about to use
        )

        def handle_error(self, *arguments: Any) -> None:
            pass  # a client that no longer waits is what some tests are about

    server = Server(("127.0.0.1", 0), Handler)
    plugin.url = f"http://127.0.0.1:{server.server_port}/router"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield plugin
    server.shutdown()
    thread.join()
    server.server_close()


# --- the request -----------------------------------------------------------------------------------


def test_asks_as_gost_does(plugin: Plugin) -> None:
    (recorded,) = (request for request in RECORDED if request["target"].startswith("/router"))
    assert plugin.route(token="tok") == ROUTE
    (asked,) = plugin.requests
    assert (asked["method"], asked["target"]) == (recorded["method"], recorded["target"])
    assert asked["headers"] | recorded["headers"] == asked["headers"]


MORE = json.loads((Path(__file__).parent.parent / "data" / "limit_and_hop_requests.json").read_text())


def test_a_hop_and_a_limiter_ask_as_gost_does(plugin: Plugin) -> None:
    hop, *limits = MORE
    settings = PluginSettings(plugin.url.replace("/router", "/hop"), "tok", 5.0)
    plugin.reply = 200, b'{"Addr":"h:1","name":"n"}', {}
    assert json.loads(HopPlugin(settings).select("host-7", "192.168.123.7")) == {"addr": "h:1", "name": "n"}
    plugin.reply = 200, b'{"in":5,"OUT":7}', {}
    limiter = LimiterPlugin(PluginSettings(plugin.url.replace("/router", "/limit"), "tok", 5.0))
    for one in limits:
        question = {key: value for key, value in json.loads(one["body"]).items() if key != "addr"}
        assert limiter.limit(question) == (5.0, 7.0)
    for asked, recorded in zip(plugin.requests, (hop, *limits), strict=True):
        assert (asked["method"], asked["target"]) == (recorded["method"], recorded["target"])
        assert json.loads(asked["body"]) == json.loads(recorded["body"])
        assert asked["headers"] | recorded["headers"] == asked["headers"]


@pytest.mark.parametrize("reply", [b"{}", b"[]", b"null", b"{", b'{"in":1e3}'])
def test_what_is_no_reply_of_a_hop_or_a_limiter(plugin: Plugin, reply: bytes) -> None:
    plugin.reply = 200, reply, {}
    settings = PluginSettings(plugin.url, timeout=5.0)
    with pytest.raises(PluginError):
        LimiterPlugin(settings).limit({"scope": "conn"})
    if b"1e3" not in reply:
        with pytest.raises(PluginError):
            HopPlugin(settings).select("host-1", "")


def test_an_sd_is_told_and_asked_as_gost_does(plugin: Plugin) -> None:
    recorded = [request for request in RECORDED if request["target"].startswith("/sd")]
    sd = SdPlugin(PluginSettings(plugin.url.replace("/router", "/sd"), "tok", 5.0))
    service = SdService(**json.loads(recorded[0]["body"]))
    plugin.reply = 200, b'{"ok":true}', {}
    sd.register(service)
    plugin.reply = (
        200,
        b'{"services":[{"ID":"1","name":"n","node":"2","network":"udp","address":"h:1"},{}]}',
        {},
    )
    assert sd.get("host-far@e87f56dd-fd57-4921-9ab8-a0847662daae") == [
        SdService("1", "n", "2", "udp", "h:1"), SdService("", "", ""),
    ]  # fmt: skip
    plugin.reply = 200, b'{"ok":true}', {}
    sd.renew(service._replace(network="", address=""))
    sd.deregister(service._replace(network="", address=""))
    for asked, wanted in zip(plugin.requests, recorded, strict=True):
        assert (asked["method"], asked["target"]) == (wanted["method"], wanted["target"])
        assert json.loads(asked.get("body") or "{}") == json.loads(wanted["body"] or "{}")
        assert asked["headers"] | wanted["headers"] == asked["headers"]


@pytest.mark.parametrize("reply", [b"{}", b'{"ok":false}', b'{"ok":1}', b"[]", b""])
def test_an_sd_that_does_not_take_a_session(plugin: Plugin, reply: bytes) -> None:
    plugin.reply = 200, reply, {}
    sd, service = SdPlugin(PluginSettings(plugin.url, timeout=5.0)), SdService("1", "n", "2")
    with pytest.raises(PluginError):
        sd.register(service)
    if reply in (b"{}", b'{"ok":false}'):
        assert not sd.renew(service), "it does not know the session"
        sd.deregister(service)
        return
    for tell in (sd.renew, sd.deregister):
        with pytest.raises(PluginError):
            tell(service)


@pytest.mark.parametrize(
    "reply",
    [b'{"services":1}', b'{"services":[1]}', b'{"services":[{"address":1}]}', b'{"services":{}}x', b"["],
)
def test_what_is_no_reply_of_an_sd(plugin: Plugin, reply: bytes) -> None:
    plugin.reply = 200, reply, {}
    with pytest.raises(PluginError):
        SdPlugin(PluginSettings(plugin.url, timeout=5.0)).get("n")


def test_of_a_host_only_so_many_sessions_are_read(plugin: Plugin) -> None:
    plugin.reply = 200, json.dumps({"services": [{"id": str(n)} for n in range(100)]}).encode(), {}
    found = SdPlugin(PluginSettings(plugin.url, timeout=5.0)).get("n")
    assert len(found) == plugin_client.MAX_SERVICES
    for nothing in (b"{}", b'{"services":null}', b'{"services":[]}'):
        plugin.reply = 200, nothing, {}
        assert SdPlugin(PluginSettings(plugin.url, timeout=5.0)).get("n") == []


def test_without_a_token_there_is_no_authorization(plugin: Plugin) -> None:
    plugin.route()
    assert "authorization" not in plugin.requests[0]["headers"]


@pytest.mark.parametrize(
    ("address", "text"),
    [
        pytest.param(ADDRESS, "192.168.50.7", id="IPv4"),
        pytest.param(bytes.fromhex("fd000123000000000000000000000002"), "fd00%3A123%3A%3A2", id="IPv6"),
    ],
)
def test_addresses_go_as_text(plugin: Plugin, address: bytes, text: str) -> None:
    plugin.route(address)
    assert plugin.requests[0]["target"] == f"/router?dst={text}&id={NAMESPACE}"


def test_a_query_of_its_own_stays(plugin: Plugin) -> None:
    plugin.route(url=plugin.url + "?site=1")
    assert plugin.requests[0]["target"] == f"/router?site=1&dst=192.168.50.7&id={NAMESPACE}"


def test_one_plugin_is_asked_many_times(plugin: Plugin) -> None:
    asker = RouterPlugin(PluginSettings(plugin.url, timeout=5.0))
    assert [shown(asker.route(ADDRESS, parse_uuid(NAMESPACE))) for _ in range(5)] == [ROUTE] * 5
    assert len(plugin.requests) == 5


# --- the answer ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "route"),
    [
        pytest.param(GOOD, ROUTE, id="dst"),
        pytest.param(GOOD.replace(b"dst", b"net"), ROUTE, id="net, the older spelling"),
        pytest.param(
            b'{"dst":"","net":"192.168.50.0/24","gateway":"host-2"}', ROUTE, id="net beside an empty dst"
        ),
        pytest.param(
            b'{"Dst":"192.168.50.0/24","GATEWAY":"host-2"}', ROUTE, id="keys in any case, as Go reads them"
        ),
        pytest.param(b'{"dst":"192.168.50.9/24","gateway":"host-2"}', ROUTE, id="host bits set"),
        pytest.param(b'{"dst":"192.168.50.7","gateway":"h"}', ("192.168.50.7/32", "h"), id="an address"),
        pytest.param(b'{"dst":"10.0.0.0/8","gateway":"h"}', ("10.0.0.0/8", "h"), id="not what was asked"),
        pytest.param(b'{"dst":"fd00::/16","gateway":"h"}', ("fd00::/16", "h"), id="IPv6"),
        pytest.param(b'{"dst":"10.0.0.0/8","gateway":"h","more":[1]}', ("10.0.0.0/8", "h"), id="more"),
        pytest.param(b"{}", None, id="an empty answer is no route"),
        pytest.param(b'{"gateway":"host-2"}', None, id="no dst"),
        pytest.param(b'{"dst":"","gateway":""}', None, id="empty texts"),
        pytest.param(b'{"dst":"10.0.0.0/8"}', None, id="no gateway"),
    ],
)
def test_answers(plugin: Plugin, body: bytes, route: Shown) -> None:
    plugin.reply = 200, body, {}
    assert plugin.route() == route


NO_ANSWERS = {
    "no body": b"",
    "no JSON": b"<html>",
    "a list": b"[]",
    "null": b"null",
    "a text": b'"10.0.0.0/8"',
    "no prefix": b'{"dst":"somewhere","gateway":"h"}',
    "an impossible prefix": b'{"dst":"10.0.0.0/33","gateway":"h"}',
    "a number as dst": b'{"dst":167772160,"gateway":"h"}',
    "true as dst": b'{"dst":true,"gateway":"h"}',
    "a list as dst": b'{"dst":["10.0.0.0/8"],"gateway":"h"}',
    "a number as gateway": b'{"dst":"10.0.0.0/8","gateway":5}',
    "a list as gateway": b'{"dst":"10.0.0.0/8","gateway":["h"]}',
    "cut off": GOOD[:-1],
    "no UTF-8": b'{"dst":"\xff"}',
    "nested too deep": b"[" * 60000,
}


@pytest.mark.parametrize("body", NO_ANSWERS.values(), ids=NO_ANSWERS)
def test_what_is_no_answer_is_a_failure_not_an_empty_answer(body: bytes) -> None:
    with pytest.raises(PluginError):
        read_route(body)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts.from_json(9) | st.sampled_from(["10.0.0.0/8", "::/0"]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["dst", "x"]), inner, max_size=2)
    ),
    max_leaves=4,
)


@given(
    st.one_of(
        st.binary(max_size=60),
        st.dictionaries(st.sampled_from(["dst", "net", "gateway", "Dst"]), json_values).map(lambda d: json.dumps(d).encode()),
    )
)  # fmt: skip
@example(GOOD)
@example(rb'{"dst":"10.0.0.0/8","gateway":"\ud800"}')
def test_any_body_is_a_route_none_or_a_failure(body: bytes) -> None:
    try:
        route = read_route(body)
    except PluginError:
        return
    if route is not None:
        prefix, gateway = route
        assert gateway
        ip_network(prefix)


@pytest.mark.parametrize("status", [201, 204, 301, 302, 400, 404, 500, 503])
def test_only_status_200_is_an_answer(plugin: Plugin, status: int) -> None:
    plugin.reply = status, b"" if status == 204 else GOOD, {"Location": "/elsewhere"}
    with pytest.raises(PluginError, match=f"status {status}"):
        plugin.route()
    assert len(plugin.requests) == 1, "no redirect is followed, nothing is tried again"


def test_an_answer_without_end_is_a_failure(plugin: Plugin) -> None:
    plugin.reply = 200, b'{"gateway":"h","dst":"10.0.0.0/8","x":"' + b"x" * MAX_REPLY + b'"}', {}
    with pytest.raises(PluginError):
        plugin.route()


def test_an_answer_cut_short_is_a_failure(plugin: Plugin) -> None:
    plugin.reply = 200, GOOD, {"Content-Length": str(len(GOOD) + 1), "Connection": "close"}
    with pytest.raises(PluginError):
        plugin.route(timeout=0.5)


def test_nobody_there_is_a_failure() -> None:
    with pytest.raises(PluginError, match="http://127"):
        Plugin("http://127.0.0.1:1/").route()


def test_a_plugin_that_is_silent_is_a_failure(plugin: Plugin) -> None:
    let_go = threading.Event()
    plugin.before_reply = lambda: let_go.wait(10)
    with pytest.raises(PluginError):
        plugin.route(timeout=0.1)
    let_go.set()


DRIP = """
from gevent import monkey; monkey.patch_all()
import time, gevent
from gevent.server import StreamServer
from lib.plugin_client import PluginError, RouterPlugin
from lib.settings_sources import PluginSettings

def drip(sock, address):
    sock.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 60000\\r\\n\\r\\n")
    try:
        while True:
            sock.sendall(b" ")
            gevent.sleep(0.05)
    except OSError:
        pass

server = StreamServer(("127.0.0.1", 0), drip)
server.start()
plugin = RouterPlugin(PluginSettings(f"http://127.0.0.1:{server.server_port}/", timeout=0.3))
try:
    plugin.route(bytes(4), bytes(16))
except PluginError as error:
    print("failed:", error)
server.stop(timeout=0)
"""


def test_a_plugin_that_drips_is_a_failure_after_the_same_time() -> None:
    """In a process of its own, patched as the program is."""
    done = subprocess.run(
        [sys.executable, "-c", DRIP], cwd=PROJECT, capture_output=True, text=True, timeout=60
    )
    assert "no reply within 0.3 s" in done.stdout, done.stderr


# --- ingress rules and logins ----------------------------------------------------------------------


def recorded(target: str, method: str = "GET") -> dict[str, Any]:
    """What GOST sent there first."""
    every = [r for r in RECORDED if r["target"].startswith(target) and r["method"] == method]
    found: dict[str, Any] = every[0]
    return found


def test_asks_for_rules_as_gost_does(plugin: Plugin) -> None:
    plugin.reply = 200, b'{"endpoint":"e87f56dd-fd57-4921-9ab8-a0847662daae"}', {}
    url = plugin.url.replace("/router", "/ingress")
    assert IngressPlugin(PluginSettings(url, token="tok")).endpoint("host-1", "service-0") == NAMESPACE
    (asked,), gost = plugin.requests, recorded("/ingress")
    assert (asked["method"], asked["target"]) == (gost["method"], gost["target"])
    assert asked["headers"] | gost["headers"] == asked["headers"]


def test_asks_about_logins_as_gost_does(plugin: Plugin) -> None:
    plugin.reply = 200, b'{"ok":true,"id":"user"}', {}
    gost = recorded("/auth", "POST")
    login = Login("user", "secret", json.loads(gost["body"])["client"], "service-0")
    assert AutherPlugin(PluginSettings(plugin.url.replace("/router", "/auth"), token="tok")).authenticate(
        login
    )
    (asked,) = plugin.requests
    assert [asked[key] for key in ("method", "target", "body")] == [
        gost[key] for key in ("method", "target", "body")
    ]
    assert asked["headers"] | gost["headers"] == asked["headers"]


@pytest.mark.parametrize(
    ("body", "endpoint"),
    [(b"{}", ""), (b'{"endpoint":""}', ""), (b'{"ENDPOINT":"x"}', "x"), (b'{"endpoint":null}', "")],
)
def test_endpoints(plugin: Plugin, body: bytes, endpoint: str) -> None:
    plugin.reply = 200, body, {}
    assert IngressPlugin(PluginSettings(plugin.url)).endpoint("h", "s") == endpoint


@pytest.mark.parametrize(("body", "ok"), [(b"{}", False), (b'{"ok":false}', False), (b'{"OK":true}', True)])
def test_verdicts(plugin: Plugin, body: bytes, ok: bool) -> None:
    plugin.reply = 200, body, {}
    assert AutherPlugin(PluginSettings(plugin.url)).authenticate(Login("u", "p", "c", "s")) is ok


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"endpoint":5,"ok":"yes"}', b'{"endpoint":["x"],"ok":1}', b"<html>"]
)
def test_nonsense_is_a_failure_and_lets_nobody_in(plugin: Plugin, body: bytes) -> None:
    plugin.reply = 200, body, {}
    with pytest.raises(PluginError):
        IngressPlugin(PluginSettings(plugin.url)).endpoint("h", "s")
    with pytest.raises(PluginError):
        AutherPlugin(PluginSettings(plugin.url)).authenticate(Login("u", "p", "c", "s"))
