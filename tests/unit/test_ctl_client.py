"""Asking over a control socket: what comes back, what is no reply, and what commands make of a wrong one."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from gevent import socket as gsocket
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from lib import (
    capture_fate,
    capture_records,
    cli_main,
    cli_top,
    ctl_client,
    ctl_encode,
    ctl_handlers,
    wire_relay,
)
from lib.ctl_client import Silent
from lib.ctl_server import Relayed, Streamed
from lib.errors import HostError
from lib.wire_relay import Request
from tests.support import texts
from tests.support.hubs import running


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


STOPS = """
import os, signal, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.bind(sys.argv[1])
    server.listen()
    os.kill(os.getpid(), signal.SIGSTOP)
"""


def test_a_process_that_is_stopped_is_told_of_at_once(path: str) -> None:
    stopped = subprocess.Popen([sys.executable, "-S", "-c", STOPS, path])
    try:
        os.waitpid(stopped.pid, os.WUNTRACED)
        said = f"process {stopped.pid} is stopped: `kill -CONT {stopped.pid}` lets it go on"
        began = time.monotonic()
        with pytest.raises(Silent, match=said):
            ctl_client.ask(path, {"do": "status"})
        with pytest.raises(Silent, match=said):
            ctl_client.hello(path, 5.0, frozenset({os.geteuid()}))
        with pytest.raises(Silent, match=said):
            ctl_client.ask_on(path, {"do": "trace"})
        assert time.monotonic() - began < 4, "each of them would be waited for longer"
    finally:
        stopped.kill()
        stopped.wait()


def test_nobody_waits_long_for_a_process_that_asks_nobody_else() -> None:
    assert ctl_client.HELLO_SECONDS < ctl_client.SECONDS <= 5 < ctl_client.ASKING_SECONDS


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


# --- replies of another shape: another version, something else, or another user's process that lies

HUB = """
services: [{name: s, addr: '127.0.0.1:0', handler: {type: router, metadata: {router: r}}, listener: {type: tcp}}]
routers: [{name: r, routes: [{net: 10.0.0.0/8, gateway: host-1}, {net: 10.9.0.0/16, gateway: host-2}]}]
"""
ASKED: dict[str, dict[str, Any]] = {
    "status": {},
    "drops": {},
    "routes": {"service": "", "ns": "", "prefix": "", "most": 500},
    "explain": {
        "to": "10.9.0.1",
        "from": "host-1",
        "ns": "",
        "service": "",
        "source": "10.0.0.1",
        "port": "",
    },
    "health": {},
    "kick": {"host": "host-1", "ns": "", "service": "", "all": False},
}
COMMANDS = {
    "status": ["status"],
    "drops": ["drops"],
    "routes": ["routes"],
    "explain": ["explain", "10.9.0.1", "--from", "host-1"],
    "health": ["health"],
    "kick": ["kick", "host-1"],
    "drain": ["drain", "host-1"],
}


@pytest.fixture(scope="module")
def replies() -> dict[str, Any]:
    """What a hub with one session replies."""
    with running(HUB) as (hub,), gsocket.create_connection(hub._server.socket.getsockname(), 5) as made:
        made.sendall(wire_relay.encode_request(Request("host-1", "10.0.0.1")))
        assert made.recv(4096)
        handlers = ctl_handlers.handlers({"s": hub}, {}, hub.tables, lambda: ("f",), "/control")
        found: dict[str, Any] = {}
        for name, request in ASKED.items():
            reply = handlers[name]({"do": name, **request})
            assert not isinstance(reply, Streamed | Relayed)
            found[name] = json.loads(b"".join(ctl_encode.pieces({"ok": True, **reply})))
        return {**found, "drain": found["kick"]}


def places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key or index) of every value in a reply."""
    keys = tree if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    for key in list(keys):
        yield tree, key
        yield from places(tree[key])


def lie(reply: Any, data: st.DataObject) -> Any:
    """A reply of which one value is missing, or another one."""
    made = copy.deepcopy(reply)
    every = list(places(made))
    container, key = every[data.draw(st.integers(0, len(every) - 1), "place")]
    wrong = [None, -1, 1e308, "", "x\x1b[2J", [], {}, [1], {"host": 1}, True, 10**30]
    value = data.draw(st.one_of(st.none(), st.sampled_from(wrong), texts.from_json()), "value")
    if value is None and isinstance(container, dict):
        del container[key]
    else:
        container[key] = value
    return made


def say(command: list[str], reply: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str, str]:
    """(exit status, standard output, standard error) of a command that gets this reply."""
    out, err = io.StringIO(), io.StringIO()
    with monkeypatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(ctl_client, "ask", lambda *_: reply)
        status = cli_main.main([*command, "--control", "/control"])
    return status, out.getvalue(), err.getvalue()


@pytest.mark.parametrize("name", COMMANDS)
def test_the_right_reply_is_understood(
    name: str, replies: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    status, out, err = say(COMMANDS[name], replies[name], monkeypatch)
    assert (status, err) == (3 if name == "explain" else 0, "")
    assert out


@pytest.mark.parametrize("name", COMMANDS)
@settings(max_examples=60)
@given(data=st.data())
def test_a_wrong_reply_is_one_line_and_exit_status_1(
    name: str, replies: dict[str, Any], data: st.DataObject
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        status, out, err = say(COMMANDS[name], lie(replies[name], data), monkeypatch)
    assert status in (0, 1, 3)
    assert "Traceback" not in err
    assert "\x1b" not in out + err
    if name != "health":
        assert err.count("\n") == (status == 1)


@settings(max_examples=60)
@given(data=st.data())
def test_the_live_screen_is_drawn_or_ends_in_one_line(replies: dict[str, Any], data: st.DataObject) -> None:
    reply = lie(replies["status"], data)
    console = Console(file=io.StringIO(), width=200)
    try:
        with ctl_client.understood("/control"):
            screen = cli_top.Screen(reply)
            console.print(cli_top._drawn(screen, 200))
            for key in ("down", "right", "page down"):
                screen.press(key)
    except HostError as error:
        assert "not one of a tunrouter of this version" in str(error)
        assert "\n" not in str(error)


def test_top_ends_with_one_line_where_the_reply_is_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ctl_client, "ask", lambda *_: {"ok": True, "sessions": 7})
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(cli_top, "_raw", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(cli_top, "_signals", lambda: contextlib.nullcontext(0))
    monkeypatch.setattr(sys.stdin, "fileno", lambda: 0, raising=False)
    assert cli_main.main(["top", "--control", "/control"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: control socket /control: the reply is not one of a tunrouter")
    assert said.count("\n") == 1


RIGHT_LABEL = capture_fate.Fate("forwarded", "0" * 32, "host-1", "host-2").encode()


def record(body: bytes, snap: int, label: bytes = b"") -> bytes:
    return capture_records.packets(1 << 63, label, body, snap)


@settings(max_examples=100)
@given(
    body=st.binary(max_size=40),
    snap=st.sampled_from([0, 1, 9, 0xFFFF]),
    label=st.one_of(st.just(RIGHT_LABEL), st.binary(max_size=30)),
    counts=st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)),
)
def test_a_capture_of_wrong_records_ends_in_one_line_and_a_valid_file(
    tmp_path_factory: pytest.TempPathFactory, body: bytes, snap: int, label: bytes, counts: tuple[int, int]
) -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall(capture_records.counts(1, *counts) + record(body, snap, label))
    theirs.close()
    file = tmp_path_factory.mktemp("c") / "x.pcapng"
    with pytest.MonkeyPatch.context() as monkeypatch, ours:
        monkeypatch.setattr(ctl_client, "ask_on", lambda *_: ours)
        err = io.StringIO()
        with contextlib.redirect_stderr(err):
            status = cli_main.main(["capture", "-w", str(file), "--control", "/control"])
    assert status in (0, 1)
    assert "Traceback" not in err.getvalue()
    assert ("error: " in err.getvalue()) == (status == 1)


def test_whoever_never_ends_a_line_is_not_listened_to_for_ever(path: str) -> None:
    answering(path, b"x" * (ctl_client.MAX_FIRST + 10), times=2)
    with pytest.raises(HostError, match="no tunrouter answers there"):
        ctl_client.ask_on(path, {"do": "trace"})
    with pytest.raises(HostError, match="no tunrouter answers there"):
        ctl_client.ask(path, {"do": "status"})
