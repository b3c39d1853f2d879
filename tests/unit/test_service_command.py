"""Commands of other programs: their status, their last word, their deadline, and that packets do not wait for them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import gevent
import pytest

from lib import service_command
from lib.service_command import run

pytestmark = pytest.mark.usefixtures("own_children")

CASES = [
    (("true",), "", ""),
    (("false",), "ended with status 1", ""),
    (("sh", "-c", "echo first; echo; echo last >&2; exit 3"), "ended with status 3", "last"),
    (("sh", "-c", "kill -KILL $$"), "ended by SIGKILL", ""),
    (("echo", "$HOME", "a  b", "*"), "", "$HOME a  b *"),
    (("printf", "%s", "\udcff"), "", "\ufffd"),
    (("/nowhere/at-all",), "/nowhere/at-all: there is no such program", ""),
    (("/etc/passwd",), "/etc/passwd: there is no such program", ""),
    (("printenv", "WHAT"), "", "so"),
    (("cat",), "", "given"),
]


@pytest.mark.parametrize(("words", "failure", "said"), CASES, ids=lambda value: str(value)[:30])
def test_how_a_command_ends(words: tuple[str, ...], failure: str, said: str) -> None:
    outcome = run(words, {"WHAT": "so", "PATH": os.environ["PATH"]}, 10, b"given\n")
    assert outcome == (failure, said, "", "")


def test_a_program_that_is_none_fails(tmp_path: Path) -> None:
    path = tmp_path / "none"
    path.write_bytes(b"\x7fELF junk")
    path.chmod(0o755)
    assert run((str(path),), {}, 10).failure.endswith("Exec format error")


def test_at_the_deadline_it_is_killed_with_all_that_it_has_started(tmp_path: Path) -> None:
    """And nobody waited for it meanwhile: another greenlet ran the whole time."""
    pids = tmp_path / "pids"
    turns = []

    def count() -> None:
        while True:
            turns.append(time.monotonic())
            gevent.sleep(0.01)

    counting = gevent.spawn(count)
    began = time.monotonic()
    script = f"sleep 60 & echo $! $$ > {pids}; echo waiting; wait"
    outcome = run(("sh", "-c", script), dict(os.environ), 2.0)
    counting.kill()
    assert outcome[:2] == ("it had not ended within 2 s", "waiting")
    assert time.monotonic() - began < 30
    assert len(turns) > 10
    with gevent.Timeout(5):
        for pid in map(int, pids.read_text().split()):
            while _runs(pid):
                gevent.sleep(0.01)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_who_is_killed_meanwhile_leaves_no_process(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    running = gevent.spawn(run, ("sh", "-c", f"echo $$ > {path}; exec sleep 60"), dict(os.environ), 60)
    with gevent.Timeout(5):
        while not path.exists() or not path.read_text():
            gevent.sleep(0.01)
        running.kill()
        while _runs(int(path.read_text())):
            gevent.sleep(0.01)


def test_a_child_that_stays_holds_nobody_up() -> None:
    """It has the pipe still; the command itself has ended, and that counts."""
    began = time.monotonic()
    assert run(("sh", "-c", "sleep 20 & echo done"), dict(os.environ), 60)[:2] == ("", "done")
    assert time.monotonic() - began < 15


def test_of_much_output_the_end_is_kept() -> None:
    outcome = run(("sh", "-c", "yes | head -c 3000000; echo; echo the end"), dict(os.environ), 20)
    assert outcome[:2] == ("", "the end")
    assert len(run(("sh", "-c", "yes x | tr -d '\\n' | head -c 9999"), dict(os.environ), 20).said) == (
        service_command.MAX_SHOWN
    )


def test_what_it_prints_is_kept_apart_where_somebody_wants_it() -> None:
    script = "echo out; echo wrong >&2; printf 1234567890; exit 1"
    outcome = run(("sh", "-c", script), dict(os.environ), 10, keep=9)
    assert outcome == ("ended with status 1", "wrong", "out\n12345", "wrong\n")
    assert run(("sh", "-c", "echo one; echo two"), dict(os.environ), 10, keep=99) == (
        "",
        "two",
        "one\ntwo\n",
        "",
    )


def test_a_program_of_the_system_is_found_without_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "system-only"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    found = run(("system-only",), {}, 10)
    assert found.failure == "system-only: there is no such program"
    assert found.is_missing
    monkeypatch.setattr(service_command, "SYSTEM_PATH", str(tmp_path))
    assert run(("system-only",), {}, 10).failure == ""
