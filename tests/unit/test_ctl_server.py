"""The control socket: who may ask, what is answered, and that garbage costs nobody anything."""

from __future__ import annotations

import ast
import errno
import json
import os
import select
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import gevent
import gevent.socket as gsocket
import pytest
from gevent.server import StreamServer

from lib import ctl_server, service_socket, service_supervisor
from lib.ctl_server import MAX_LINE, ControlSocket, Streamed
from tests.support.lib_trees import lib_trees
from tests.support.netns import ROOT


def double(request: object) -> dict[str, object]:
    assert isinstance(request, dict)
    if "what" not in request:
        raise ValueError("what?")
    return {"twice": request["what"] * 2}


def count(request: object) -> Streamed:
    """Counts to three, then waits for the other end."""

    def run(sock: Any) -> None:
        sock.sendall(b"1\n2\n3\n")
        while sock.recv(10):
            pass
        sock.sendall(b"end\n")

    return Streamed({"from": 1}, run)


def fail(request: object) -> dict[str, object]:
    raise AssertionError("a mistake of ours")


def cut(request: object) -> dict[str, object]:
    return {"rows": (1 // n for n in (1, 0))}


@pytest.fixture
def served(tmp_path: Path) -> Iterator[ControlSocket]:
    made = ControlSocket(
        str(tmp_path / "run" / "a.sock"), {"double": double, "count": count, "fail": fail, "cut": cut}
    )
    yield made
    made.close()


def exchange(path: str, *data: bytes) -> list[bytes]:
    """Send something and wait for everything that comes until the end; in a thread, the server is in this one."""
    got = bytearray()

    def talk() -> None:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(5)
            sock.connect(path)
            try:
                for piece in data:
                    sock.sendall(piece)
                sock.shutdown(socket.SHUT_WR)
                while more := sock.recv(4096):
                    got.extend(more)
            except OSError:
                pass  # cut off

    thread = Thread(target=talk)
    thread.start()
    while thread.is_alive():
        gevent.sleep(0.01)
    return bytes(got).splitlines()


def test_nobody_else_may_ask(served: ControlSocket) -> None:
    assert stat.S_IMODE(os.stat(served.path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(os.path.dirname(served.path)).st_mode) == 0o700


def test_questions_and_answers(served: ControlSocket) -> None:
    lines = exchange(served.path, b'{"do":"double","what":4}\n{"do":"dou', b'ble","what":"x"}\n')
    assert [json.loads(line) for line in lines] == [{"ok": True, "twice": 8}, {"ok": True, "twice": "xx"}]


def test_a_stream_follows_its_answer_and_ends_the_questions(served: ControlSocket) -> None:
    asked = b'{"do":"double","what":1}\n{"do":"count"}\n{"do":"double","what":2}\n'
    first, second, *rest = exchange(served.path, asked)
    assert [json.loads(first), json.loads(second)] == [{"ok": True, "twice": 2}, {"ok": True, "from": 1}]
    assert rest == [b"1", b"2", b"3", b"end"]


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (b"nonsense\n", "not a proper request"),
        (b"[]\n", "not a proper request"),
        (b"{}\n", "not a proper request: 'do'"),
        (b'{"do":"triple"}\n', "cannot do 'triple'; there is double, count"),
        (b'{"do":["double"]}\n', "not a proper request"),
        (b'{"do":"double"}\n', "what?"),
        (b"[" * 60000 + b"\n", "not a proper request"),
        (b"\xff\xfe\n", "not a proper request"),
    ],
)
def test_what_is_no_question(served: ControlSocket, request_: bytes, error: str) -> None:
    (line,) = exchange(served.path, request_)
    answer = json.loads(line)
    assert answer["ok"] is False
    assert answer["error"].startswith(error)
    assert exchange(served.path, b'{"do":"double","what":1}\n') == [b'{"ok": true, "twice": 2}']


def test_a_line_without_end_is_cut_off(served: ControlSocket) -> None:
    assert exchange(served.path, b"x" * (2 * MAX_LINE)) == []
    assert exchange(served.path, b'{"do":"double","what":1}\n') == [b'{"ok": true, "twice": 2}']


def test_who_says_nothing_is_cut_off(served: ControlSocket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctl_server, "SECONDS", 0.1)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(served.path)
        sock.setblocking(False)
        for _ in range(200):
            gevent.sleep(0.01)
            try:
                assert sock.recv(1) == b""
                return
            except BlockingIOError:
                continue
        raise AssertionError("still connected")


def test_what_killed_processes_left_is_swept_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctl_server, "directory", lambda: str(tmp_path))
    for name in (f"{os.getpid()}.sock", "999999999.sock", "mine.sock"):
        (tmp_path / name).touch()
    ctl_server.sweep()
    assert {path.name for path in tmp_path.iterdir()} == {f"{os.getpid()}.sock", "mine.sock"}


def test_a_path_in_use_is_not_stolen_and_one_left_behind_is_replaced(
    served: ControlSocket, tmp_path: Path
) -> None:
    with pytest.raises(FileExistsError, match="somebody listens"):
        ControlSocket(served.path, {})
    left = str(tmp_path / "left.sock")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(left)
    made = ControlSocket(left, {"double": double})
    assert exchange(left, b'{"do":"double","what":1}\n')
    made.close()
    assert not os.path.exists(left)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileExistsError, match="no socket"):
        ControlSocket(str(tmp_path / "file"), {})
    assert (tmp_path / "file").read_text() == "mine"


def test_a_path_that_is_too_long_is_told(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="at most 107 bytes"):
        ControlSocket(str(tmp_path / ("x" * 120)), {})


def test_a_directory_of_somebody_else_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_socket, "directory", lambda: str(tmp_path))
    monkeypatch.setattr(service_socket, "is_ours", lambda path: False)
    with pytest.raises(PermissionError, match="belongs to somebody else"):
        ControlSocket(str(tmp_path / "1.sock"), {})


def test_a_directory_further_up_counts_as_well(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(0o700)
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(PermissionError, match=r"others may write to .*/open \(mode 0777\)"):
        ControlSocket(str(tmp_path / "open" / "below" / "1.sock"), {})
    assert not (tmp_path / "open" / "below").exists()


@pytest.mark.parametrize(("own", "mode"), [(True, 0o755), (False, 0o700)], ids=["ours", "of its own"])
def test_another_user_s_socket_can_be_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: bool, mode: int
) -> None:
    """Its directory is opened for passing through where it is the usual one; the socket's mode stays."""
    monkeypatch.setattr(service_socket, "directory", lambda: str(tmp_path / ("run" if own else "elsewhere")))
    made = ControlSocket(str(tmp_path / "run" / "1.sock"), {})
    try:
        made.give_to(os.getuid())
        assert stat.S_IMODE(os.stat(tmp_path / "run").st_mode) == mode
        assert stat.S_IMODE(os.stat(made.path).st_mode) == 0o600
    finally:
        made.close()


def held(path: str, count: int) -> list[Any]:
    """Connections that say nothing; they let the server run while they wait."""
    made = []
    for _ in range(count):
        made.append(gsocket.socket(socket.AF_UNIX))
        made[-1].settimeout(5)
        made[-1].connect(path)
        gevent.sleep(0.001)
    return made


def test_who_says_nothing_holds_up_nobody(served: ControlSocket) -> None:
    """The oldest of them makes room: long before its time is up."""
    silent = held(served.path, ctl_server.MAX_CLIENTS)
    began = time.monotonic()
    assert exchange(served.path, b'{"do":"double","what":1}\n') == [b'{"ok": true, "twice": 2}']
    assert time.monotonic() - began < ctl_server.SECONDS / 2
    assert silent[0].recv(1) == b""
    silent[1].setblocking(False)
    with pytest.raises(BlockingIOError):
        silent[1].recv(1)
    for sock in silent:
        sock.close()


def test_who_is_being_answered_stays_and_one_more_is_told(served: ControlSocket) -> None:
    streams = held(served.path, ctl_server.MAX_CLIENTS)
    for sock in streams:
        sock.sendall(b'{"do":"count"}\n')
        while sock.recv(1) != b"\n":  # the reply, after which it streams
            pass
    (line,) = exchange(served.path, b'{"do":"double","what":1}\n')
    assert json.loads(line) == ctl_server.FULL
    streams.pop().close()
    with gevent.Timeout(5):
        while exchange(served.path, b'{"do":"double","what":1}\n') != [b'{"ok": true, "twice": 2}']:
            gevent.sleep(0.01)
    for sock in streams:
        sock.close()


def rows(request: object) -> dict[str, object]:
    """More than any socket's buffer holds."""
    return {"rows": ({"n": number, "x": "x" * 100} for number in range(100_000))}


def test_a_long_answer_comes_whole_while_others_run(tmp_path: Path) -> None:
    made = ControlSocket(str(tmp_path / "a.sock"), {"rows": rows})
    turns, ended = 0, False

    def others() -> None:
        nonlocal turns
        while not ended:
            gevent.sleep(0.001)
            turns += 1

    running = gevent.spawn(others)
    answer = exchange(made.path, b'{"do":"rows"}\n')
    ended = True
    running.join()
    made.close()
    assert len(json.loads(b"".join(answer))["rows"]) == 100_000
    assert turns > 50  # how long each of them waits, tests/bench/seeing.py measures


def test_who_does_not_read_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctl_server, "SECONDS", 0.5)
    made = ControlSocket(str(tmp_path / "a.sock"), {"rows": rows, "double": double})
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(made.path)
        sock.sendall(b'{"do":"rows"}\n')
        assert exchange(made.path, b'{"do":"double","what":1}\n') == [b'{"ok": true, "twice": 2}']
        closed = select.poll()
        closed.register(sock, 0)  # an end of the other side alone, not bytes
        with gevent.Timeout(30):
            while not closed.poll(0):
                gevent.sleep(0.01)
        sock.setblocking(False)
        size = 0
        while more := sock.recv(1 << 20):
            size += len(more)
    made.close()
    assert 0 < size < 5_000_000


def test_a_long_answer_may_take_longer_than_a_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(number: int) -> int:
        if number % 5000 == 0:
            gevent.sleep(0.05)
        return number

    monkeypatch.setattr(ctl_server, "SECONDS", 0.6)
    slowly = {"rows": ({"n": slow(number), "x": "x" * 100} for number in range(100_000))}
    made = ControlSocket(str(tmp_path / "a.sock"), {"slow": lambda request: slowly, "rows": rows})
    began = time.monotonic()
    answer = exchange(made.path, b'{"do":"slow"}\n', b'{"do":"rows"}\n')
    made.close()
    assert time.monotonic() - began > ctl_server.SECONDS
    assert [line[:12] for line in answer].count(b'{"ok": true,') == 2
    assert answer[-1] == b"]}"


@pytest.mark.parametrize(
    ("do", "reply"),
    [
        pytest.param("fail", [b'{"ok": false, "error": "AssertionError: a mistake of ours"}'], id="at once"),
        pytest.param("cut", [], id="in the middle of its rows"),
    ],
)
def test_a_mistake_of_ours_is_a_failed_reply_and_counted(
    served: ControlSocket, do: str, reply: list[bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    before = served._answers.task.failures
    assert exchange(served.path, b'{"do": "%s"}\n' % do.encode()) == reply
    assert served._answers.task.failures == before + 1
    assert served._answers.task in service_supervisor.tasks()
    assert served._answers.task.fault(time.monotonic() + 1e6) == "", (
        "packets go on: no reason to start the process again"
    )
    assert "Traceback" not in capfd.readouterr().err
    assert json.loads(exchange(served.path, b'{"do": "double", "what": 4}\n')[0])["ok"]


def test_descriptors_that_run_out_are_said(
    served: ControlSocket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Accepting goes on once there are some again."""
    tries = []

    def none_left(self: object) -> object:
        tries.append(self)
        if len(tries) == 1:
            raise OSError(errno.EMFILE, "Too many open files")
        return real(self)

    real = StreamServer.do_read
    monkeypatch.setattr(StreamServer, "do_read", none_left)
    assert json.loads(exchange(served.path, b'{"do": "double", "what": 4}\n')[0])["ok"]
    said = [text for text in caplog.messages if text.startswith("control socket")]
    assert said == ["control socket: no connection is accepted: Too many open files"]
    assert not served._answers.task.failures


def test_captures_are_given_to_the_control_socket_and_the_web_api_alone() -> None:
    """All of lib/: who has to do with captures. The requests of the former are handlers of that socket."""
    uses = []
    for path, tree in lib_trees("tapping", "capture_service"):
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr == "handlers" and "tapping" in ast.unparse(node):
                uses.append((path.name, ast.unparse(node)))
            if isinstance(node, ast.ImportFrom) and node.module == "lib.capture_service":
                uses.append((path.name, "import"))
    assert uses == [
        ("api_x_trace.py", "import"),
        ("service.py", "parts.tapping.handlers"),
        ("service_parts.py", "import"),
        ("worker_process.py", "parts.tapping.handlers"),
    ]
    (line,) = [
        line
        for line in (ROOT / "lib/service.py").read_text().splitlines()
        if "parts.tapping.handlers()" in line
    ]
    assert "ControlSocket(" in line


def test_a_process_that_stands_still_holds_up_no_start(tmp_path: Path) -> None:
    """Ctrl-Z, or a core dump under way: it accepts nobody, and whoever connects would wait for ever."""
    path = str(tmp_path / "control.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stopped, socket.socket(socket.AF_UNIX) as first:
        stopped.bind(path)
        stopped.listen(0)
        first.connect(path)  # the queue is full
        with gevent.Timeout(5), pytest.raises(FileExistsError, match="somebody listens"):
            service_socket.take_path(path)
    service_socket.take_path(path)
    assert not Path(path).exists()
