"""The metrics server ends a connection at its deadline, and when another one needs its place, whatever it does."""

from __future__ import annotations

import base64
import errno
import socket
import time
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from gevent import socket as gsocket
from gevent.event import Event
from gevent.server import StreamServer

from lib import metrics_server, service_supervisor
from lib.hub_tables import Tables
from lib.metrics_server import MetricsServer
from lib.settings import AutherSettings, BindingSettings, LoginRow, Settings
from lib.settings_sources import FileSource, SourceSettings
from lib.settings_telemetry import MetricsSettings

REQUEST = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[tuple[MetricsServer, str, Event]]:
    """A server that has not collected its values yet; the event says that it has begun to."""
    begun = Event()

    def collect() -> Iterator[bytes]:
        begun.set()
        Event().wait()
        yield b""

    path = str(tmp_path / "metrics")
    made = MetricsServer(MetricsSettings(socket=path), collect, lambda name: None)  # type: ignore[arg-type, return-value]
    made.start()
    yield made, path, begun
    made.stop()


def asked(path: str) -> Any:
    sock = gsocket.socket(socket.AF_UNIX)
    sock.settimeout(5)
    sock.connect(path)
    sock.sendall(REQUEST)
    return sock


def test_a_collection_that_takes_too_long_ends_with_its_connection(
    server: tuple[MetricsServer, str, Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    """pywsgi takes every exception for an error of the application, and would go on without a deadline."""
    monkeypatch.setattr(metrics_server, "SECONDS", 0.3)
    began = time.monotonic()
    sock = asked(server[1])
    assert sock.recv(1000) == b"", "closed, and no 500 after which more could be asked"
    assert time.monotonic() - began < 5


def test_requests_without_end_let_others_run(server: tuple[MetricsServer, str, Event]) -> None:
    """gevent's recv lets nobody run while there is data, nor a deadline fire."""
    count, loop = 500, gevent.get_hub().loop
    before = loop.iteration
    sock = gsocket.socket(socket.AF_UNIX)
    sock.settimeout(5)
    sock.connect(server[1])
    sock.sendall(REQUEST.replace(b"/metrics", b"/nope") * count)
    sock.shutdown(socket.SHUT_WR)
    found = b""
    while piece := sock.recv(65536):
        found += piece
    assert found.count(b" 404 ") == count
    assert loop.iteration - before >= count / 2


def test_no_name_is_looked_up_for_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """pywsgi wants the name of its address, and a name server that does not reply would hold up the start."""

    def look_up(name: str) -> str:
        raise AssertionError(f"{name} is looked up")

    monkeypatch.setattr("gevent.pywsgi.socket.getfqdn", look_up)
    made = MetricsServer(MetricsSettings(host="127.0.0.1", port=0), list, lambda name: None)  # type: ignore[arg-type, return-value]
    made.start()
    made.stop()


def test_without_descriptors_scrapes_wait_and_then_come(
    server: tuple[MetricsServer, str, Event],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """pywsgi printed a traceback for each."""
    tries: list[object] = []
    real = StreamServer.do_read

    def none_left(made: object) -> object:
        tries.append(made)
        if len(tries) == 1:
            raise OSError(errno.EMFILE, "Too many open files")
        return real(made)

    monkeypatch.setattr(StreamServer, "do_read", none_left)
    with gevent.Timeout(5):
        asked(server[1])
        server[2].wait()
    said = [text for text in caplog.messages if "accepted" in text]
    assert said == ["metrics: no connection is accepted: Too many open files"]
    assert capfd.readouterr().err == ""


def test_who_has_to_make_room_goes(server: tuple[MetricsServer, str, Event]) -> None:
    made, path, begun = server
    sock = asked(path)
    begun.wait()
    made._server.pool.kill(block=False)
    gevent.sleep(0)
    assert sock.recv(1000) == b""


def test_a_mistake_of_ours_is_a_failed_scrape_and_counted(
    server: tuple[MetricsServer, str, Event],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    made, path, _ = server

    def fails() -> Iterator[bytes]:
        yield b"half\n"
        raise KeyError("a mistake of ours")

    made._exposition = fails
    assert asked(path).recv(1000).startswith(b"HTTP/1.1 500 ")
    assert made._task in service_supervisor.tasks()
    assert (made._task.failures, made._task.error[:8]) == (1, "KeyError")
    assert made._task.fault(time.monotonic() + 1e6) == "", "packets go on"
    made._exposition = lambda: [b"whole\n"]
    assert asked(path).recv(1000).startswith(b"HTTP/1.1 200 ")
    assert "Traceback" not in capfd.readouterr().err


def test_probes_need_no_login_and_tell_strangers_nothing(
    tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A load balancer has none; what is wrong names hosts and addresses, so only who reads metrics is told."""
    path = str(tmp_path / "metrics")
    tables = Tables(Settings(authers=(AutherSettings("a", (LoginRow("u", "p"),)),)))
    problems = ["host \x1b[31m is away", *(f"problem {number}" for number in range(20))]
    probes = {"/readyz": lambda: problems, "/healthz": list, "/m": lambda: ["not this"]}
    settings = MetricsSettings(socket=path, auther="a", path="/m")
    made = MetricsServer(settings, list, tables.logins, probes)
    made.start()

    def ask(line: str, login: str = "") -> tuple[int, list[str]]:
        sock = gsocket.socket(socket.AF_UNIX)
        sock.settimeout(5)
        sock.connect(path)
        given = base64.b64encode(login.encode()).decode()
        head = f"{line} HTTP/1.0\r\n" + (f"Authorization: Basic {given}\r\n" if login else "")
        sock.sendall(head.encode() + b"\r\n")
        text = b"".join(iter(lambda: sock.recv(4096), b"")).decode()
        return int(text.split()[1]), text.partition("\r\n\r\n")[2].splitlines()

    try:
        assert ask("GET /healthz") == (200, ["ok"])
        assert ask("HEAD /healthz") == (200, [])
        assert ask("GET /readyz") == ask("GET /readyz", "u:wrong") == (503, ["not ok"])
        status, lines = ask("GET /readyz", "u:p")
        assert (status, len(lines)) == (503, 11)
        assert (lines[0], lines[-1]) == (r"host \x1b[31m is away", "and 11 more problems")
        assert ask("POST /readyz")[0] == 405
        assert ask("GET /m")[0] == 401, "the path of the metrics is theirs"
        assert ask("GET /metrics")[0] == 401
        assert ask("GET /m", "u:wrong")[0] == 401
        told = "metrics: a wrong login from the unix socket"
        assert [text for text in caplog.messages if "wrong login" in text] == [told], (
            "two, of which one is told"
        )
    finally:
        made.stop()
        tables.stop()


def test_a_right_login_without_a_binding_reads_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """And where the bindings cannot be read at all, nobody knows: come again."""
    rows, path = tmp_path / "bindings", str(tmp_path / "metrics")
    bindings = BindingSettings("a", SourceSettings((FileSource(str(rows)),)))
    logins = LoginRow("bound", "p"), LoginRow("free", "p"), LoginRow("own", "p", ("host-2",))
    tables = Tables(Settings(authers=(AutherSettings("a", logins, bindings=bindings),)))
    made = MetricsServer(MetricsSettings(socket=path, auther="a"), lambda: [b"values\n"], tables.logins)

    def status(login: str) -> int:
        sock = gsocket.socket(socket.AF_UNIX)
        sock.settimeout(5)
        sock.connect(path)
        given = base64.b64encode(login.encode()).decode()
        sock.sendall(REQUEST[:-2] + f"Authorization: Basic {given}\r\n\r\n".encode())
        return int(sock.recv(1000).split()[1])

    try:
        tables.start()
        made.start()
        assert tables.wait_loaded(5)
        assert [status(login) for login in ("bound:p", "free:p", "own:p")] == [503, 503, 200]
        rows.write_text("bound host-1\n")
        tables.refresh()
        assert tables.wait_loaded(5)
        wanted = [200, 401, 200, 401]
        assert [status(login) for login in ("bound:p", "free:p", "own:p", "bound:q")] == wanted
    finally:
        made.stop()
        tables.stop()
