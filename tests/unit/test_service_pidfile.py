"""One of a kind: the pid file and its lock."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from lib import service_pidfile
from lib.errors import HostError
from tests.support.netns import ROOT


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "one.pid")


def test_the_second_one_gets_nothing(path: str) -> None:
    held = service_pidfile.take(path)
    assert held is not None
    assert Path(path).read_text() == f"{os.getpid()}\n"
    assert service_pidfile.take(path) is None
    assert Path(path).read_text() == f"{os.getpid()}\n"
    held.release()
    assert not Path(path).exists()
    again = service_pidfile.take(path)
    assert again is not None
    again.release()


@pytest.mark.parametrize("content", ["", "1\n", "99999999999\n", "4711"])
def test_a_file_left_behind_holds_nothing(path: str, content: str) -> None:
    Path(path).write_text(content)
    held = service_pidfile.take(path)
    assert held is not None
    assert Path(path).read_text() == f"{os.getpid()}\n"
    held.release()


@pytest.mark.parametrize("content", ["root:x:0:0", "12 34", "x" * 100, "7" * 70])
def test_what_is_no_pid_file_stays_as_it_is(path: str, content: str) -> None:
    Path(path).write_text(content)
    with pytest.raises(HostError, match="not a pid file"):
        service_pidfile.take(path)
    assert Path(path).read_text() == content


def test_a_link_a_pipe_a_folder_and_nowhere(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("elsewhere")
    for name in ("pipe", "link", ".", "not/there"):
        with pytest.raises(HostError, match="--single /"):
            service_pidfile.take(str(tmp_path / name))
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_that_cannot_be_removed_is_emptied(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    held = service_pidfile.take(path)
    assert held is not None

    def refuse(name: str) -> None:
        raise PermissionError(13, "Permission denied", name)

    monkeypatch.setattr("os.unlink", refuse)
    held.release()
    assert Path(path).read_text() == ""
    again = service_pidfile.take(path)
    assert again is not None
    again.release()


def test_a_disk_that_has_gone_does_not_spoil_the_end(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process ends well, and the lock goes."""
    held = service_pidfile.take(path)
    assert held is not None

    def fails(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr("os.unlink", fails)
        patched.setattr("os.ftruncate", fails)
        held.release()
    again = service_pidfile.take(path)
    assert again is not None
    again.release()


def test_somebody_elses_file_of_that_name_stays(path: str) -> None:
    held = service_pidfile.take(path)
    assert held is not None
    os.unlink(path)
    Path(path).write_text("1\n")
    held.release()
    assert Path(path).read_text() == "1\n"


def test_a_lock_on_a_removed_file_is_no_lock(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever opened the file before its holder removed it gets a lock that nobody else can see."""
    original = fcntl.flock
    calls: list[int] = []

    def flock(descriptor: int, how: int) -> None:
        if not calls:
            os.unlink(path)  # the holder ends between our open and our lock
        calls.append(descriptor)
        original(descriptor, how)

    monkeypatch.setattr("fcntl.flock", flock)
    held = service_pidfile.take(path)
    assert held is not None
    assert len(calls) == 2
    assert Path(path).read_text() == f"{os.getpid()}\n"
    held.release()


def test_never_two_at_once(path: str) -> None:
    """Four processes take and release it thirty times each, and none ever finds another one inside."""
    script = textwrap.dedent("""
        import os, sys
        from lib import service_pidfile
        path, inside = sys.argv[1:]
        taken = 0
        while taken < 30:
            held = service_pidfile.take(path)
            if held is None:
                continue
            os.close(os.open(inside, os.O_CREAT | os.O_EXCL))  # fails where another one is in here
            assert open(path).read() == f"{os.getpid()}\\n"
            taken += 1
            os.unlink(inside)
            held.release()
    """)
    argv = (sys.executable, "-c", script, path, path + ".inside")
    running = [
        subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(4)
    ]
    said = [process.communicate(timeout=30)[0].decode() for process in running]
    assert all(process.returncode == 0 for process in running), said
