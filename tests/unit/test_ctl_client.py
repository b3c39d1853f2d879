"""Asking over a control socket: whose directory it is, what comes back, what is no reply."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from lib import ctl_client
from lib.errors import ConfigError, HostError


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "1.sock")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctl_client, "directory", lambda: str(tmp_path))


def answering(path: str, *pieces: bytes, times: int = 1) -> Thread:
    """A process that answers whatever it is asked, in these pieces."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()

    def serve() -> None:
        with server:
            for _ in range(times):
                with server.accept()[0] as sock:
                    sock.recv(65536)
                    for piece in pieces:
                        sock.sendall(piece)

    thread = Thread(target=serve, daemon=True)
    thread.start()
    return thread


def test_an_answer_comes_without_its_ok(path: str) -> None:
    answering(path, b'{"ok"', b': true, "a": [\r{"b"', b": 1}\r]}\n")
    assert ctl_client.ask(path, {"do": "x"}) == {"a": [{"b": 1}]}


@pytest.mark.parametrize(
    ("pieces", "error"),
    [
        ((b'{"ok": false, "error": "no', b' such"}\n'), "no such$"),
        ((b"HTTP/1.1 400 Bad Request\r\n\r\n",), "no tunrouter answers there"),
        ((b'{"ok": true, "a": [\r{"b": 1}',), "ends in the middle"),
        ((), "no reply"),
    ],
)
def test_what_is_no_answer(path: str, pieces: tuple[bytes, ...], error: str) -> None:
    answering(path, *pieces)
    with pytest.raises(HostError, match=error):
        ctl_client.ask(path, {"do": "x"})


def test_nobody_there(path: str) -> None:
    with pytest.raises(HostError, match="No such file"):
        ctl_client.ask(path, {})
    with pytest.raises(HostError, match="AF_UNIX path too long"):
        ctl_client.ask(f"/{'x' * 200}", {})
    with pytest.raises(HostError, match="no running tunrouter"):
        ctl_client.running()


HELLO = b'{"ok": true, "pid": 7, "hubs": [], "clients": ["c"], "files": []}\n'


def test_the_one_that_runs_is_found(path: str, tmp_path: Path) -> None:
    answering(path, HELLO, times=4)
    (tmp_path / "dead.sock").touch()
    assert ctl_client.running() == path
    with pytest.raises(HostError, match="no running hub"):
        ctl_client.running("hubs")
    answering(str(tmp_path / "2.sock"), HELLO)
    with pytest.raises(
        ConfigError, match=r"(?s)1\.sock: pid 7, c.*2\.sock: pid 7.*several tunrouters run here"
    ):
        ctl_client.running()


def test_somebody_elses_directory_is_not_looked_into(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(HostError, match="no running tunrouter"):
        ctl_client.running()


@pytest.mark.parametrize(("runtime", "where"), [("/run/user/7", "/run/user/7"), ("", "/tmp/tunrouter-7")])
def test_where_sockets_are(runtime: str, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(os, "geteuid", lambda: 7)
    monkeypatch.setattr(os, "getuid", lambda: 7)
    monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
    assert ctl_client.directory() == f"{where}/tunrouter"
    assert ctl_client.default_path() == f"{where}/tunrouter/{os.getpid()}.sock"


def test_the_answer_may_be_long(path: str) -> None:
    def pieces() -> Iterator[bytes]:
        yield b'{"ok": true, "rows": ['
        yield from (b'{"n": 1},\r' * 1000 for _ in range(100))
        yield b'{"n": 1}]}\n'

    answering(path, *pieces())
    assert len(ctl_client.ask(path, {})["rows"]) == 100_001
