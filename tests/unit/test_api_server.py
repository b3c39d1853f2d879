"""The HTTP server of the web API: bounds on what strangers send, over a real socket."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import socket as gsocket
from gevent import ssl

from lib import api_bodies, api_server
from tests.support.api import Api, process
from tests.support.netns import ROOT

REQUEST = b"GET /config HTTP/1.1\r\nHost: x\r\n%s\r\n"


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    monkeypatch.setattr(api_server, "HEAD_SECONDS", 0.5)
    monkeypatch.setattr(api_bodies, "BODY_SECONDS", 0.5)
    with process(
        tmp_path / "c.json", f'{{"api": {{"addr": "unix://{tmp_path}/api.sock", "accesslog": true}}}}'
    ) as made:
        yield made


def connect(api: Api) -> Any:
    sock = gsocket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(30)
    assert api.parts.api is not None
    sock.connect(api.parts.api.settings.socket)
    return sock


def answer(api: Api, data: bytes) -> bytes:
    """What is answered to these bytes, until the server closes."""
    with connect(api) as sock:
        sock.sendall(data)
        found = b""
        try:
            while piece := sock.recv(65536):
                found += piece
        except ConnectionResetError:
            pass
        return found


def test_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who says nothing in the handshake is cut off, and holds up nobody."""
    monkeypatch.setattr(api_server, "HEAD_SECONDS", 1.0)
    tls = f"tls: {{certFile: {ROOT}/tests/data/tls/cert.pem, keyFile: {ROOT}/tests/data/tls/key.pem}}"
    text = f"api: {{addr: '0.0.0.0:PORT', auth: {{username: u, password: p}}, {tls}}}\n"
    with process(tmp_path / "c.yml", text) as api:
        assert api.parts.api is not None
        address = ("127.0.0.1", api.parts.api.settings.port)
        silent = gsocket.create_connection(address, 5)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # gevent's: the other would hold up the server
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(gsocket.create_connection(address, 5)) as sock:
            login = b"Authorization: Basic dTpw\r\nConnection: close\r\n"
            sock.sendall((REQUEST % login).replace(b"Host: x", b"Host: 127.0.0.1"))
            found = b""
            while piece := sock.recv(65536):
                found += piece
        assert found.startswith(b"HTTP/1.1 200 OK")
        assert silent.recv(1) == b""
        silent.close()
        plain = gsocket.create_connection(address, 5)
        plain.sendall(REQUEST % b"")
        with suppress(ConnectionResetError):
            assert b"200" not in plain.recv(65536)
        plain.close()


def test_a_connection_has_a_place_from_its_first_byte_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in the handshake of TLS: as many as there are descriptors would keep clients from the hub."""
    tls = f"tls: {{certFile: {ROOT}/tests/data/tls/cert.pem, keyFile: {ROOT}/tests/data/tls/key.pem}}"
    text = f"api: {{addr: '127.0.0.1:PORT', auth: {{username: u, password: p}}, {tls}}}\n"
    with process(tmp_path / "c.yml", text) as api:
        assert api.parts.api is not None
        monkeypatch.setattr(api.parts.api._server.places, "_most", 2)
        address = ("127.0.0.1", api.parts.api.settings.port)
        silent = []
        for _ in range(3):
            silent.append(gsocket.create_connection(address, 5))
            gevent.sleep(0.01)
        began = time.monotonic()
        assert silent[0].recv(1) == b""
        assert time.monotonic() - began < api_server.HEAD_SECONDS / 2
        assert len(api.parts.api._server.places) == 2
        for sock in silent:
            sock.close()


def test_requests_on_one_connection(api: Api) -> None:
    found = answer(api, REQUEST % b"" + REQUEST % b"Connection: close\r\n")
    assert found.count(b"HTTP/1.1 200 OK") == 2


def test_requests_without_end_let_others_run(api: Api) -> None:
    count, loop = 300, gevent.get_hub().loop
    before = loop.iteration
    found = answer(api, REQUEST % b"" * count + REQUEST % b"Connection: close\r\n")
    assert found.count(b"HTTP/1.1 200 OK") == count + 1
    assert loop.iteration - before >= count / 2


def test_each_request_is_logged_where_that_is_wanted(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    """With its status, and without its query and login, which may be secrets."""
    caplog.set_level("INFO")
    asked = b"Authorization: Basic czNjcmV0OnMzY3JldA==\r\nConnection: close\r\n"
    request = (REQUEST % asked).replace(b"GET /config", b"POST /x/y?token=s3cret")
    assert b" 404 " in answer(api, request).split(b"\r\n")[0]
    logged = "api: POST /x/y from unix socket: 404"
    assert [text for text in caplog.messages if "/x/y" in text] == [logged]
    assert "s3cret" not in caplog.text
    server = api.parts.api
    assert server is not None
    assert server.takes(replace(server.settings, access_log=False))
    answer(api, request)
    assert caplog.messages.count(logged) == 1


def test_only_the_owner_may_connect(api: Api) -> None:
    assert api.parts.api is not None
    assert Path(api.parts.api.settings.socket).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("data", [b"", b"GET /config", b"GET /config HTTP/1.1\r\nHost: x\r\n"])
def test_who_sends_no_whole_head_in_time_is_cut_off(api: Api, data: bytes) -> None:
    began = time.monotonic()
    assert b"200 OK" not in answer(api, data)
    assert time.monotonic() - began < 15


def test_who_sends_a_byte_now_and_then_is_cut_off_too(api: Api) -> None:
    with connect(api) as sock:
        began = time.monotonic()
        with suppress(OSError):  # a broken pipe, or a reset
            while time.monotonic() - began < 30:
                sock.sendall(b"x")
                gevent.sleep(0.02)
        assert time.monotonic() - began < 15


@pytest.mark.parametrize(
    "head", [b"X: %s\r\n" % (b"a" * 40_000), b"X: a\r\n" * 99 + b"Y: %s\r\n" % (b"a" * 33_000)]
)
def test_a_head_that_is_too_long_is_refused(api: Api, head: bytes) -> None:
    assert b" 400 " in answer(api, REQUEST % head).split(b"\r\n")[0]


@pytest.mark.parametrize("head", [b"Content-Length: 99999999999\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_a_body_that_does_not_come_is_not_waited_for(api: Api, head: bytes) -> None:
    """Neither where it is wanted, nor where the answer is there without it."""
    for path in (b"/config/routers", b"/nope"):
        began = time.monotonic()
        found = answer(api, (REQUEST % head).replace(b"GET /config", b"POST " + path))
        assert found.split()[1] in (b"408", b"413", b"404", b"400")
        assert time.monotonic() - began < 15


def test_a_path_that_is_too_long_is_refused(api: Api) -> None:
    assert b" 414 " in answer(api, b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n").split(b"\r\n")[0]


def test_who_does_not_read_the_answer_holds_up_nobody(api: Api) -> None:
    with connect(api) as silent:
        silent.sendall(REQUEST % b"" * 50)
        assert b"200 OK" in answer(api, REQUEST % b"Connection: close\r\n")


def test_when_all_places_are_taken_an_idle_connection_goes(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    assert api.parts.api is not None
    monkeypatch.setattr(api.parts.api._server.places, "_most", 2)
    idle = [connect(api) for _ in range(2)]
    gevent.sleep(0)
    assert b"200 OK" in answer(api, REQUEST % b"Connection: close\r\n")
    for sock in idle:
        sock.close()


def test_who_has_closed_is_known_before_anything_is_sent(api: Api) -> None:
    """A page that is loaded again does not take two places."""
    assert api.parts.api is not None
    asked: list[Any] = []
    app = api.parts.api.app
    served = app._reply

    def reply(environ: Any) -> Any:
        asked.append(environ["tunrouter.gone"])
        return served(environ)

    app._reply = reply  # type: ignore[method-assign]
    with connect(api) as sock:
        sock.sendall(REQUEST % b"")
        assert sock.recv(65536).startswith(b"HTTP/1.1 200")
        assert asked[0]() is False
    with gevent.Timeout(5):
        while not asked[0]():
            gevent.sleep(0.01)
