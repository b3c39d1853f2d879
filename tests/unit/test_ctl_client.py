"""Asking over a control socket: what comes back, what is no reply."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from lib import ctl_client
from lib.errors import HostError


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "1.sock")


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
        ((b'{"ok": false, "error": "no', b' such"}\n'), "^no such$"),  # which is no fault of the socket
        ((b"HTTP/1.1 400 Bad Request\r\n\r\n",), "no tunrouter answers there"),
        ((b'{"ok": true, "a": [\r{"b": 1}',), "ends in the middle"),
        ((b'{"ok": true, "a": "', b'\x1b]0;gone\x07"}\n'), "letters that no tunrouter sends"),
        ((), "no reply"),
        ((b'{"ok": true, "a": ' + b"[" * 100_000 + b"\n",), "no tunrouter answers there"),
        ((b'{"ok": true, "a": }\n',), "no tunrouter answers there"),
    ],
)
def test_what_is_no_answer(path: str, pieces: tuple[bytes, ...], error: str) -> None:
    answering(path, *pieces)
    with pytest.raises(HostError, match=error):
        ctl_client.ask(path, {"do": "x"})


@pytest.mark.parametrize(
    "line", [b"[" * 100_000, b"[]", b"1", b'{"ok": false}', b'{"ok": false, "error": ' + b"[" * 9999]
)
def test_what_is_no_answer_to_a_request_for_a_stream(path: str, line: bytes) -> None:
    answering(path, line + b"\n")
    with pytest.raises(HostError, match="no tunrouter answers there"):
        ctl_client.ask_on(path, {"do": "trace"})


def test_nobody_there(path: str) -> None:
    with pytest.raises(HostError, match="No such file"):
        ctl_client.ask(path, {})
    with pytest.raises(HostError, match="AF_UNIX path too long"):
        ctl_client.ask(f"/{'x' * 200}", {})


def test_the_answer_may_be_long(path: str) -> None:
    def pieces() -> Iterator[bytes]:
        yield b'{"ok": true, "rows": ['
        yield from (b'{"n": 1},\r' * 1000 for _ in range(100))
        yield b'{"n": 1}]}\n'

    answering(path, *pieces())
    assert len(ctl_client.ask(path, {})["rows"]) == 100_001


def test_a_process_that_hangs_is_waited_for_no_longer_than_said(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        with pytest.raises(HostError, match=r"no reply within 0\.05 s"):
            ctl_client.ask(path, {}, seconds=0.05)


@pytest.mark.parametrize(
    "lie",
    [
        b'{"hubs": [], "clients": [], "files": [], "pid": 1e999}',
        b'{"hubs": [], "clients": [], "files": [], "pid": "7"}',
        b'{"hubs": [], "clients": [], "files": [], "pid": true}',
        b'{"hubs": [], "clients": [], "files": []}',
        b'{"hubs": [1], "clients": [], "files": [], "pid": 7}',
        b'{"pid": 7}',
        b"[" * 100_000,
        b"7",
    ],
    ids=lambda lie: lie[-20:].decode(),
)
def test_a_lie_about_who_one_is(path: str, lie: bytes) -> None:
    answering(path, lie + b"\n")
    with pytest.raises(ValueError, match=r"tunrouter|pid|nested"):
        ctl_client.hello(path, 5.0, frozenset({os.geteuid()}))
