"""Whom `tunrouter status` finds: our own process, as root those of all users, and nobody's fake."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest

from lib import cli_process, ctl_client, ctl_find
from lib.errors import ConfigError, HostError

ALICE, BOB = 61001, 61002
NONE: Mapping[str, Any] = {"--control": None}

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine of its own, with /run and /tmp in a directory whose path is short enough for sockets."""
    tmp_path = Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))
    for name in ("run/tunrouter", "run/user"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp").chmod(0o1777)
    for name in ("OURS", "OF_ALL"):
        monkeypatch.setattr(ctl_find, name, tuple(f"{tmp_path}{one}" for one in getattr(ctl_find, name)))
    for name in ("RUN", "RUN_OF_ROOT"):
        monkeypatch.setattr(ctl_find, name, f"{tmp_path}{getattr(ctl_find, name)}")
    monkeypatch.setattr(ctl_find, "OTHERS_SECONDS", 0.5)
    yield tmp_path
    shutil.rmtree(tmp_path)


def hello(pid: int, *hubs: str) -> bytes:
    names = ", ".join(f'"{name}"' for name in hubs)
    return f'{{"ok": true, "pid": {pid}, "hubs": [{names}], "clients": ["c"], "files": []}}\n'.encode()


def runs(path: Path, reply: bytes, owner: int = 0, of_directory: int | None = None) -> Path:
    """A process that replies to whatever it is asked, with a socket of this owner."""
    path.parent.mkdir(parents=True, exist_ok=True)
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    if owner or of_directory:
        os.chown(path, owner, -1)
        os.chown(path.parent, owner if of_directory is None else of_directory, -1)
    server.listen()

    def serve() -> None:
        with server:
            while True:
                with server.accept()[0] as sock, suppress(OSError):
                    sock.recv(65536)
                    sock.sendall(reply)

    Thread(target=serve, daemon=True).start()
    return path


@pytest.fixture
def as_the_owner_of_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel names this test's own user for every process; here a process is its socket's owner's."""
    real: Any = socket.socket.getsockopt

    def named(sock: socket.socket, level: int, option: int, *size: int) -> Any:
        found = real(sock, level, option, *size)
        return found[:4] + os.lstat(sock.getpeername()).st_uid.to_bytes(4, "little") + found[8:]

    monkeypatch.setattr(socket.socket, "getsockopt", named)


def test_the_one_that_runs_is_found(machine: Path) -> None:
    ours = runs(machine / "run/tunrouter/1.sock", hello(7))
    (machine / "run/tunrouter/dead.sock").touch()
    assert cli_process.path(NONE) == str(ours)
    with pytest.raises(HostError, match=r"no running hub has a control socket in .*/run/tunrouter,"):
        cli_process.path(NONE, "hubs")
    runs(machine / "run/tunrouter/2.sock", hello(8, "a-hub"))
    assert cli_process.path(NONE, "hubs").endswith("/2.sock")
    with pytest.raises(
        ConfigError,
        match=r"(?s)1\.sock: pid 7 of user \S+: c.*2\.sock: pid 8 .*a-hub.*several tunrouters run",
    ):
        cli_process.path(NONE)
    assert cli_process.path({"--control": "/x"}) == "/x"


@needs_root
@pytest.mark.usefixtures("as_the_owner_of_sockets")
@pytest.mark.parametrize(
    "place",
    [
        "run/tunrouter/hub.sock",
        "run/tunrouter-paris/hub.sock",
        f"run/user/{ALICE}/tunrouter/5.sock",
        f"tmp/tunrouter-{ALICE}/tunrouter/5.sock",
        f"tmp/systemd-private-0-hub.service-1/tmp/tunrouter-{ALICE}/tunrouter/5.sock",
    ],
)
def test_sudo_status_finds_a_hub_that_runs_as_another_user_and_says_whose(
    machine: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = runs(machine / place, hello(5, "hub"), ALICE)
    if "private" not in place and "tmp" in place:
        os.chown(path.parent.parent, ALICE, -1)
    assert cli_process.path(NONE) == str(path)
    said = capsys.readouterr()
    assert said.err == f"asking pid 5 of user {ALICE}, control socket {path}\n"
    assert said.out == ""


@needs_root
@pytest.mark.usefixtures("as_the_owner_of_sockets")
def test_several_of_other_users_are_listed_and_never_hide_our_own(machine: Path) -> None:
    alice = runs(machine / f"run/user/{ALICE}/tunrouter/5.sock", hello(5, "hub"), ALICE)
    bob = runs(machine / f"tmp/tunrouter-{BOB}/tunrouter/6.sock", hello(6, "hub"), BOB)
    with pytest.raises(ConfigError) as caught:
        cli_process.path(NONE)
    assert {f"{alice}: pid 5 of user {ALICE}: hub, c", f"{bob}: pid 6 of user {BOB}: hub, c"} < {
        str(one) for one in caught.value.problems
    }
    ours = runs(machine / "run/tunrouter/1.sock", hello(7))
    assert cli_process.path(NONE) == str(ours)
    assert [line.split(" runs")[0] for line in cli_process.others(str(ours))] == [
        f"pid 5 of user {ALICE}",
        f"pid 6 of user {BOB}",
    ]


def put_by_another(machine: Path) -> None:
    """Bob's socket in a directory of Alice's that others may write to."""
    path = runs(machine / f"run/user/{ALICE}/tunrouter/5.sock", hello(5), BOB, of_directory=ALICE)
    path.parent.chmod(0o777)


def beside_hers(machine: Path) -> None:
    runs(machine / f"run/user/{ALICE}/tunrouter/5.sock", hello(5), BOB, of_directory=ALICE)


def way_of_another(machine: Path) -> None:
    path = runs(machine / f"tmp/tunrouter-{ALICE}/tunrouter/5.sock", hello(5), ALICE)
    os.chown(path.parent.parent, BOB, -1)


def link_of_hers(machine: Path) -> None:
    """Alice's link to a socket of Bob's, in a directory that is hers."""
    bob = runs(machine / "bob/6.sock", hello(6), BOB)
    place = machine / f"run/user/{ALICE}/tunrouter"
    place.mkdir(parents=True)
    (place / "5.sock").symlink_to(bob)
    for path in (place, place / "5.sock"):
        os.chown(path, ALICE, -1, follow_symlinks=False)


def no_tunrouter(machine: Path) -> None:
    runs(machine / f"run/user/{ALICE}/tunrouter/5.sock", b'["HTTP/1.1 400"]\n', ALICE)


def half_a_hello(machine: Path) -> None:
    runs(machine / f"run/user/{ALICE}/tunrouter/5.sock", b'{"ok": true, "pid": 7, "hubs": 1}\n', ALICE)


@needs_root
@pytest.mark.usefixtures("as_the_owner_of_sockets")
@pytest.mark.parametrize(
    "fake", [put_by_another, beside_hers, way_of_another, link_of_hers, no_tunrouter, half_a_hello]
)
def test_root_asks_nobody_whose_socket_somebody_else_may_have_put_there(
    machine: Path, fake: Callable[[Path], None]
) -> None:
    fake(machine)
    with pytest.raises(HostError, match="no running tunrouter has a control socket"):
        cli_process.path(NONE)


def test_a_socket_beside_the_directory_is_found(machine: Path) -> None:
    path = runs(machine / "run/tunrouter-hub.sock", hello(7))
    assert cli_process.path(NONE) == str(path)


@needs_root
def test_the_listener_must_be_the_owner_of_its_directory(machine: Path) -> None:
    """The socket and the directory are Alice's, the process that listens is root's: a link that was swapped."""
    runs(machine / f"run/user/{ALICE}/tunrouter/5.sock", hello(5), ALICE)
    with pytest.raises(HostError, match="no running tunrouter"):
        cli_process.path(NONE)


def test_a_process_that_does_not_reply_is_named(machine: Path) -> None:
    path = machine / "run/tunrouter/1.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        with pytest.raises(HostError, match=f"control socket {path}: no reply within "):
            cli_process.path(NONE, seconds=0.1)


@needs_root
def test_a_user_sees_only_what_is_theirs(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: BOB)
    runs(machine / "run/tunrouter/1.sock", hello(7), ALICE)
    with pytest.raises(
        HostError, match=rf"nor elsewhere as user {BOB}; root \(sudo\) finds those of all users"
    ):
        cli_process.path(NONE)
    assert cli_process.others("") == []


@pytest.mark.parametrize(("runtime", "where"), [("/run/user/7", "/run/user/7"), ("", "/tmp/tunrouter-7")])
def test_where_sockets_are(runtime: str, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 7)
    monkeypatch.setattr(os, "getuid", lambda: 7)
    monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
    assert ctl_find.directory() == f"{where}/tunrouter"
    assert ctl_find.default_path() == f"{where}/tunrouter/{os.getpid()}.sock"


@needs_root
def test_root_has_a_directory_where_a_unit_has_left_run_tunrouter_to_its_user(machine: Path) -> None:
    assert ctl_find.directory() == f"{machine}/run/tunrouter"
    os.chown(machine / "run/tunrouter", ALICE, -1)
    assert ctl_find.directory() == f"{machine}/run/tunrouter-root"
    (machine / "run/tunrouter").rmdir()
    assert ctl_find.directory() == f"{machine}/run/tunrouter"


def test_silent_sockets_take_no_longer_than_said_whatever_their_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0

    def silent(path: str, seconds: float, listeners: frozenset[int]) -> Mapping[str, Any]:
        nonlocal now
        now += seconds
        raise ctl_client.Silent(path)

    many = [(f"{number}.sock", ALICE, frozenset({ALICE})) for number in range(ctl_find.MAX_SOCKETS)]
    monkeypatch.setattr(ctl_find, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(ctl_find, "_sockets", lambda place: iter(many))
    monkeypatch.setattr(ctl_client, "hello", silent)
    found = list(ctl_find._running(["a", "b"], 2.0))
    assert found[0].hello is None
    assert 1.9 < now <= 2.1


@needs_root
@pytest.mark.usefixtures("as_the_owner_of_sockets")
def test_silent_sockets_of_one_user_hide_no_process_of_another(machine: Path) -> None:
    """Hers come first in every order of names, and each would be waited for."""
    hers = machine / f"run/user/{ALICE}/tunrouter"
    hers.mkdir(parents=True)
    os.chown(hers, ALICE, -1)
    silent = []
    for number in range(20):
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(hers / f"{number:03}.sock"))
        server.listen()
        os.chown(hers / f"{number:03}.sock", ALICE, -1)
        silent.append(server)
    runs(machine / f"run/user/{BOB}/tunrouter/1.sock", hello(7, "hub"), BOB)
    found = ctl_find.of_others()
    for server in silent:
        server.close()
    assert [one.hello["pid"] for one in found if one.hello is not None] == [7]
    assert sum(one.hello is None for one in found) > 2
