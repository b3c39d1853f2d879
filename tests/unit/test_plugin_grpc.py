"""Plugins over gRPC: asked of a real server, and of ones that answer anything."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lib.plugin_grpc import _reply
from lib.plugin_protobuf import decode, encode
from tests.support.program import killed_after

STATE = (
    "0a410a07736572766963651209736572766963652d30220673746174757332230a057265616479121a73657276"
    "69636520736572766963652d30206973207265616479"
)
"""ObserveRequest of a service that is ready, as a GOST 3.3 has sent it."""
PROJECT = Path(__file__).parents[2]
NS1 = "e87f56dd-fd57-4921-9ab8-a0847662daae"
TIMEOUT = 5.0

ASK = """
from gevent import monkey; monkey.patch_all()
import json, sys, gevent, time
from lib.auth_admission import Login
from lib.errors import PluginError
from lib.ids import parse_uuid
from lib.packet import ip_address
from lib.plugin_client import AutherPlugin, HopPlugin, IngressPlugin, LimiterPlugin, RouterPlugin
from lib.plugin_client import SdPlugin, SdService
from lib.settings_sources import PluginSettings

settings = PluginSettings(**json.loads(sys.argv[1]))
router, ingress, auther = RouterPlugin(settings), IngressPlugin(settings), AutherPlugin(settings)
NS = parse_uuid("e87f56dd-fd57-4921-9ab8-a0847662daae")

def route(dst):
    try:
        found = router.route(ip_address(dst).packed, NS)
        return [str(found), *found.group.names] if found else None
    except PluginError as error:
        return f"failed: {error}"

def endpoint(host):
    try:
        return ingress.endpoint(host, "service-0")
    except PluginError as error:
        return f"failed: {error}"

def select(host):
    try:
        return json.loads(HopPlugin(settings).select(host, "10.0.0.1"))
    except PluginError as error:
        return f"failed: {error}"

def limit(scope):
    try:
        return LimiterPlugin(settings).limit({"service": "s", "scope": scope, "network": "tcp", "client": "", "src": ""})
    except PluginError as error:
        return f"failed: {error}"

def login(name, password):
    try:
        return auther.authenticate(Login(name, password, "192.0.2.1:7", "service-0"))
    except PluginError as error:
        return f"failed: {error}"
"""


def ask(script: str, **fields: Any) -> Any:
    """Run a script after ASK in a process of its own (patched as the program is); what it prints as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", ASK + script, json.dumps({"timeout": TIMEOUT} | fields)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return json.loads(done.stdout)


@contextmanager
def server(**script: Any) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A real gRPC server; its address, and itself."""
    argv = [sys.executable, "-m", "tests.support.grpc_plugin", json.dumps({"port": 0} | script)]
    with killed_after(subprocess.Popen(argv, cwd=PROJECT, stdout=subprocess.PIPE, text=True)) as process:
        assert process.stdout is not None
        port = process.stdout.readline().split()[-1]
        yield f"grpc://127.0.0.1:{port}", process


def test_a_hop_and_a_limiter_ask_a_real_server() -> None:
    limits = {"conn": [100_000, 1 << 40], "client": [-5, 0]}
    with server(nodes={"host-1": {"addr": "h:1"}}, limits=limits) as (url, _):
        answers = ask(
            'print(json.dumps([select("host-1"), select("x"), limit("conn"), limit("client"), limit("service")]))',
            url=url,
        )
    assert answers == [
        {"addr": "h:1"}, f"failed: {url}: it names no node", [1e5, float(1 << 40)], [0, 0], [0, 0],
    ]  # fmt: skip


def test_an_admission_and_an_observer_ask_a_real_server() -> None:
    """It is told a state in the very bytes that a GOST has sent."""
    with server(admitted=["192.0.2.1:7"], untaken=["other"]) as (url, process):
        answers = ask(
            """
from lib import observe_events
from lib.plugin_client import AdmissionPlugin, ObserverPlugin
admission, observer = AdmissionPlugin(settings), ObserverPlugin(settings)
states = [observe_events.status(service, "ready") for service in ("service-0", "other")]
print(json.dumps([admission.admits(f"192.0.2.{n}:7", "service-0") for n in (1, 2)] + [observer.observe([one]) for one in states]))""",
            url=url,
        )
        process.kill()
        assert process.stdout is not None
        asked = process.stdout.read()
    assert answers == [True, False, True, False]
    assert 'asked Admit {"addr": "192.0.2.1:7", "service": "service-0", "network": "tcp"}' in asked
    event = bytes.fromhex(STATE).removeprefix(b"\n\x41").decode()
    assert f"asked Observe {json.dumps({'events': event})}" in asked


def test_an_sd_is_told_and_asked_by_a_real_server() -> None:
    with server() as (url, _process):
        answers = ask(
            """
one, other = (SdService(str(n), "h@n", "node", "udp", f"192.0.2.{n}:8420") for n in (1, 2))
sd = SdPlugin(settings)
def renewed(service):
    return sd.renew(service._replace(network="", address=""))
sd.register(one), sd.register(other)
found = sd.get("h@n")
sd.deregister(one._replace(network="", address=""))
print(json.dumps([found, sd.get("h@n"), sd.get("x"), renewed(one), renewed(other)]))""",
            url=url,
        )
    one, other = (["h@n", "node", "udp", f"192.0.2.{n}:8420"] for n in (1, 2))
    left = [["2", *other]]
    assert answers == [
        [["1", *one], *left],
        left,
        [],
        False,
        True,
    ]


ROUTES = {"*": {"10.0.0.1": "host-1"}, NS1: {"10.0.0.2": "host-2", "fd00::2": "host-6"}}


def test_a_real_server_is_asked_and_understood() -> None:
    with server(routes=ROUTES, rules={"host-1": NS1}, logins={"user": "geheim"}) as (url, process):
        answers = ask(
            """print(json.dumps([route("10.0.0.1"), route("10.0.0.2"), route("fd00::2"), route("10.0.0.3"),
               endpoint("host-1"), endpoint("host-2"), login("user", "geheim"), login("user", ""), login("ü", "x")]))""",
            url=url,
        )
        assert answers == [
            ["10.0.0.1/32", "host-1"],
            ["10.0.0.2/32", "host-2"],
            ["fd00::2/128", "host-6"],
            None,
            NS1,
            "",
            True,
            False,
            False,
        ]
        process.kill()
        assert process.stdout is not None
        asked = process.stdout.read()
    assert 'asked GetRoute {"dst": "10.0.0.1", "id": "' + NS1 in asked
    assert 'asked GetRule {"host": "host-1", "service": "service-0"}' in asked
    wanted = {"username": "user", "password": "geheim", "client": "192.0.2.1:7", "service": "service-0"}
    assert f"asked Authenticate {json.dumps(wanted)}" in asked


def test_many_calls_at_once_on_one_connection_and_a_held_one_holds_up_nobody() -> None:
    routes = {"*": {f"10.0.{n >> 8}.{n & 255}": f"host-{n}" for n in range(500)}}
    with server(routes=routes, held=["10.0.0.7"]) as (url, _):
        answers = ask(
            """
held = gevent.spawn(route, "10.0.0.7")
others = [gevent.spawn(route, f"10.0.{n >> 8}.{n & 255}") for n in range(500) if n != 7]
gevent.joinall(others)
print(json.dumps([sum(g.value is not None and not isinstance(g.value, str) for g in others), held.get()]))
""",
            url=url,
            timeout=8.0,
        )
    assert answers == [499, f"failed: {url}: no reply within 8 s"]


def test_a_status_that_is_not_ok_is_a_failure_and_the_connection_goes_on() -> None:
    with server(routes=ROUTES, failing=["10.9.9.9"]) as (url, _):
        answers = ask('print(json.dumps([route("10.9.9.9"), route("10.0.0.1")]))', url=url)
    assert answers == [f"failed: {url}: gRPC status 14: out of order", ["10.0.0.1/32", "host-1"]]


@pytest.mark.parametrize(("token", "works"), [("tok", True), ("kot", False), ("", False)])
def test_the_token(token: str, works: bool) -> None:
    with server(routes=ROUTES, token="tok") as (url, _):
        answer = ask('print(json.dumps(route("10.0.0.1")))', url=url, token=token)
    assert answer == (
        ["10.0.0.1/32", "host-1"] if works else f"failed: {url}: gRPC status 16: wrong token: é"
    )


@pytest.mark.parametrize(
    ("verify", "trusted", "server_name", "works"),
    [
        pytest.param(False, False, "", True, id="any certificate"),
        pytest.param(True, False, "", False, id="verified: nobody known has signed it"),
        pytest.param(True, True, "", True, id="verified, for the address"),
        pytest.param(True, True, "plugin.test", True, id="verified, for the server name"),
        pytest.param(True, True, "other.test", False, id="verified, for another name"),
    ],
)
def test_tls(
    verify: bool, trusted: bool, server_name: str, works: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if trusted:  # what OpenSSL's default context looks at
        monkeypatch.setenv("SSL_CERT_FILE", str(PROJECT / "tests" / "data" / "tls" / "cert.pem"))
    with server(routes=ROUTES, tls=True) as (plain, _):
        url = plain.replace("grpc:", "grpcs:")
        settings = {"url": url, "verify": verify, "server_name": server_name}
        answer = ask('print(json.dumps([route("10.0.0.1"), route("10.0.0.2")]))', **settings)
    if works:
        assert answer == [["10.0.0.1/32", "host-1"], ["10.0.0.2/32", "host-2"]]
    else:
        assert all("certificate verify failed" in text for text in answer), answer


def test_tls_to_a_server_that_has_none() -> None:
    with server(routes=ROUTES) as (plain, _):
        url = plain.replace("grpc:", "grpcs:")
        answer = ask('print(json.dumps(route("10.0.0.1")))', url=url, verify=False)
    assert answer.startswith(f"failed: {url}: ")


def test_a_server_that_comes_back_is_asked_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"grpc://127.0.0.1:{port}"
    first = ask('print(json.dumps(route("10.0.0.1")))', url=url)
    assert first == f"failed: {url}: Connection refused"
    with server(routes=ROUTES, port=port) as (_, process):
        asking = subprocess.Popen(
            [sys.executable, "-c", ASK + "for line in sys.stdin: print(json.dumps(route('10.0.0.1')), flush=True)",
             json.dumps({"timeout": TIMEOUT, "url": url})],
            cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert asking.stdin is not None
        assert asking.stdout is not None

        def again() -> Any:
            asking.stdin.write("\n")  # type: ignore[union-attr]
            asking.stdin.flush()  # type: ignore[union-attr]
            return json.loads(asking.stdout.readline())  # type: ignore[union-attr]

        assert again() == ["10.0.0.1/32", "host-1"]
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert "failed" in str(again())
        with server(routes=ROUTES, port=port):
            assert again() == ["10.0.0.1/32", "host-1"]
        asking.kill()
        asking.wait()


@contextmanager
def answering(*answers: bytes) -> Iterator[str]:
    """A server that sends each connection the next of some bytes, and closes when it has been read."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for answer in answers:
            try:
                connection, _ = listener.accept()
                with connection:
                    connection.sendall(answer)
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(4096):
                        pass
            except OSError:
                return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"grpc://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.close()


SETTINGS = bytes.fromhex("000000040000000000")
GOAWAY = bytes.fromhex("0000080700000000000000000000000000")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="closes at once"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", id="HTTP/1.1"),
        pytest.param(SETTINGS, id="settings and no more"),
        pytest.param(SETTINGS + GOAWAY, id="goes away"),
        pytest.param(SETTINGS + bytes.fromhex("00000403000000000100000008"), id="resets the stream"),
        pytest.param(SETTINGS + b"\xff" * 100, id="a frame that is too long"),
        pytest.param(SETTINGS + bytes.fromhex("000001010500000001ff"), id="headers that do not unpack"),
        pytest.param(SETTINGS + bytes.fromhex("00000101050000000188"), id="HTTP 200 and nothing of gRPC"),
        pytest.param(SETTINGS + bytes.fromhex("0000010105000000018d"), id="HTTP 404"),
    ],
)
def test_whatever_is_no_answer_is_a_failure_and_nothing_else(answer: bytes) -> None:
    with answering(answer, answer) as url:
        said = ask('print(json.dumps([route("10.0.0.1"), endpoint("h")]))', url=url)
    assert all(text.startswith(f"failed: {url}: ") for text in said), said


def test_a_server_that_says_nothing_is_a_failure_after_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"grpc://127.0.0.1:{silent.getsockname()[1]}"
        said = ask(
            't = time.monotonic(); print(json.dumps([route("10.0.0.1"), time.monotonic() - t]))',
            url=url,
            timeout=0.5,
        )
    assert said[0] == f"failed: {url}: no reply within 0.5 s"
    assert 0.4 < said[1] < 10


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.binary(max_size=40), min_size=8, max_size=12))  # each example is a process
def test_any_bytes_are_a_failure_and_nothing_else(pieces: list[bytes]) -> None:
    answers = [SETTINGS + piece for piece in pieces]
    with answering(*answers) as url:
        said = ask(f'print(json.dumps([route("10.0.0.1") for _ in range({len(answers)})]))', url=url)
    assert all(text.startswith("failed: ") for text in said), said


# --- messages


@given(st.dictionaries(st.sampled_from(["dst", "id"]), st.text(max_size=20)))
def test_messages_come_back(fields: dict[str, str]) -> None:
    assert decode("GetRouteRequest", encode("GetRouteRequest", fields)) == {"dst": "", "id": ""} | fields


@given(st.binary(max_size=40))
def test_any_bytes_are_a_message_or_none(data: bytes) -> None:
    try:
        answer = decode("AuthenticateReply", data)
    except ValueError:
        return
    assert isinstance(answer["ok"], bool)
    assert isinstance(answer["id"], str)


@pytest.mark.parametrize(
    ("headers", "data", "why"),
    [
        ({":status": "503"}, b"", "HTTP status 503"),
        ({":status": "200"}, b"", r"gRPC status \(none\)"),
        ({":status": "200", "grpc-status": "5", "grpc-message": "no%20such"}, b"", "gRPC status 5: no such"),
        ({":status": "200", "grpc-status": "0"}, b"", "without a message"),
        ({":status": "200", "grpc-status": "0"}, b"\1\0\0\0\0", "compressed"),
        ({":status": "200", "grpc-status": "0"}, b"\0\0\0\0\2x", "not of the length"),
        ({":status": "200", "grpc-status": "0"}, b"\0\0\0\0\1xx", "not of the length"),
    ],
)
def test_replies_that_are_none(headers: dict[str, str], data: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        _reply(headers, data)


def test_a_reply() -> None:
    assert _reply({":status": "200", "grpc-status": "0"}, b"\0\0\0\0\2hi") == b"hi"
