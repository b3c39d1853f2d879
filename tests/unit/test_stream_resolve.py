"""Names: whatever getent(1) and the name servers behind it do, a look-up ends, and the others go on."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent.lock import BoundedSemaphore
from gevent.threadpool import ThreadPool

from lib import stream_resolve
from lib.stream_bounded import Bounds
from lib.stream_dial import dial

LINES = r"192.0.2.7       STREAM a.test\n192.0.2.7       DGRAM\n192.0.2.7       RAW\n"
STUCK = {
    "says nothing": "exec sleep 100",
    "says a byte now and then": "while :; do printf 1; sleep 0.02; done",
    "cannot be asked to end": "trap '' TERM INT HUP PIPE; while :; do sleep 0.05; done",
}
ODD = {
    "garbage": (r"printf '\377\0\1STREAM\n\n \n STREAM\n'", None),
    "no line end": ("printf '192.0.2.7 STREAM'", None),
    "no address": ("printf 'x.test STREAM\\n'", None),
    "nothing, and fails": ("exit 2", None),
    "dies": (f"printf '{LINES}'; kill -9 $$", "192.0.2.7"),
    "lines for ever": ("exec yes '192.0.2.7 STREAM'", "192.0.2.7"),
    "one line for ever": ("yes | tr -d '\\n'", None),
}

Getent = Callable[[str], Path]
"""Puts a shell script in getent's place; each run adds the name that it was asked for to the file returned."""


@pytest.fixture
def getent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Getent]:
    monkeypatch.setattr(stream_resolve, "_slots", BoundedSemaphore(3))
    monkeypatch.setattr(stream_resolve, "STUCK_SECONDS", 60.0)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def put(script: str) -> Path:
        asked = tmp_path / "asked"
        asked.write_text("")
        program = tmp_path / "getent"
        program.write_text(f'#!/bin/sh\nname=$3\necho "$name" >> {asked}\n{script}\n')
        program.chmod(0o755)
        return asked

    yield put
    with gevent.Timeout(30):
        while stream_resolve._under_way or stream_resolve._running:
            gevent.sleep(0.01)


def hosts(found: list[stream_resolve.Address]) -> list[str]:
    return [address[0] for *_, address in found]


def test_the_system_s_own_getent_is_asked() -> None:
    (family, kind, *_, address), *_ = stream_resolve.look_up("localhost", 80, 10)
    assert (kind, address[1]) == (socket.SOCK_STREAM, 80)
    assert (family, address[0]) in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


@pytest.mark.parametrize(
    ("four", "six", "found"),
    [
        pytest.param(f"printf '{LINES}'", "exec sleep 100", ["192.0.2.7"], id="AAAA is never answered"),
        pytest.param(
            "exec sleep 100", "printf '2001:db8::7 STREAM\n'", ["2001:db8::7"], id="A is never answered"
        ),
        pytest.param(
            f"printf '{LINES}'",
            "printf '2001:db8::7 STREAM\n'",
            ["2001:db8::7", "192.0.2.7"],
            id="both alone",
        ),
        pytest.param(f"printf '{LINES}'", "exit 2", ["192.0.2.7"], id="there is no AAAA"),
        pytest.param(
            f"printf '{LINES}'", "printf '::ffff:192.0.2.7 STREAM\n'", ["192.0.2.7"], id="AAAA made of A"
        ),
    ],
)
def test_one_family_is_enough_where_the_other_one_is_never_answered(
    getent: Getent, monkeypatch: pytest.MonkeyPatch, four: str, six: str, found: list[str]
) -> None:
    """The C library waits for both, 10 s and longer: as long as a whole connect may take."""
    monkeypatch.setattr(stream_resolve, "ALONE_AFTER", 0.05)
    monkeypatch.setattr(stream_resolve, "RESOLUTION_DELAY", 0.2 if len(found) == 1 else 30.0)
    getent(f"case $1 in ahostsv4) {four};; ahostsv6) {six};; *) exec sleep 100;; esac")
    began = time.monotonic()
    assert hosts(stream_resolve.look_up("a.test", 1, 50)) == found
    assert time.monotonic() - began < 25
    gevent.killall(list(stream_resolve._under_way.values()))


def test_a_slow_look_up_of_both_counts_where_no_family_is_found_before(
    getent: Getent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_resolve, "ALONE_AFTER", 0.05)
    getent(f"case $1 in ahosts) sleep 0.2; printf '{LINES}';; *) exit 2;; esac")
    assert hosts(stream_resolve.look_up("a.test", 1, 50)) == ["192.0.2.7"]
    getent("case $1 in ahosts) sleep 0.2; exit 2;; *) exit 2;; esac")
    with pytest.raises(OSError, match="no such name"):
        stream_resolve.look_up("a.test", 1, 50)


def test_an_address_needs_no_process(getent: Getent) -> None:
    asked = getent("exit 2")
    assert hosts(stream_resolve.look_up("127.0.0.1", 1, 0.1)) == ["127.0.0.1"]
    assert hosts(stream_resolve.look_up("::1", 1, 0.1)) == ["::1"]
    assert asked.read_text() == ""


@pytest.mark.parametrize("way", STUCK)
def test_look_ups_that_never_end_cost_until_the_deadline(
    getent: Getent, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Their processes are gone soon, and a name is found though all places were taken by others."""
    monkeypatch.setattr(stream_resolve, "STUCK_SECONDS", 1.2)
    asked = getent(f"case $name in good*) printf '{LINES}'; exit;; esac\n{STUCK[way]}")
    began = time.monotonic()
    waiting = [
        gevent.spawn(stream_resolve.look_up, name, 1, 0.8)
        for name in ("a.test", "a.test", "b.test", "c.test")
    ]
    gevent.joinall(waiting)
    assert [type(one.exception) for one in waiting] == [TimeoutError] * 4
    assert "the name a.test was not looked up within 0.8 s" in str(waiting[0].exception)
    assert sorted(asked.read_text().split()) == ["a.test", "b.test", "c.test"], "a name is looked up once"
    assert hosts(stream_resolve.look_up("good.test", 1, 50)) == ["192.0.2.7"]
    assert time.monotonic() - began < 25


def test_a_look_up_that_is_stuck_is_given_up_for_another(
    getent: Getent, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    done = tmp_path / "done"
    getent(f"test -e {done} || exec sleep 100\nprintf '{LINES}'")
    with monkeypatch.context() as patch:
        patch.setattr(stream_resolve, "STUCK_SECONDS", 0.5)
        with pytest.raises(OSError, match=r"no name server replied about a.test within 0.5 s"):
            stream_resolve.look_up("a.test", 1, 50)
    done.touch()
    assert hosts(stream_resolve.look_up("a.test", 1, 50)) == ["192.0.2.7"]


@pytest.mark.parametrize("way", ODD)
def test_whatever_getent_prints(getent: Getent, way: str) -> None:
    script, found = ODD[way]
    getent(script)
    if found is None:
        with pytest.raises(OSError, match=r"."):
            stream_resolve.look_up("a.test", 1, 50)
    else:
        got = hosts(stream_resolve.look_up("a.test", 1, 50))
        assert set(got) == {found}
        assert len(got) < stream_resolve.MAX_OUTPUT


def test_a_name_may_look_like_an_option(getent: Getent) -> None:
    """It is no option of the real one, and the script's third argument."""
    asked = getent("exit 2")
    with pytest.raises(OSError, match="no such name"):
        stream_resolve.look_up("--version", 1, 50)
    assert asked.read_text() == "--version\n"


def test_without_getent_a_thread_is_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """gevent prints what is raised in its threads: no traceback of ours."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(stream_resolve, "_pool", [ThreadPool(3)])
    found: Any = stream_resolve.look_up("localhost", 80, 10)
    assert set(hosts(found)) <= {"127.0.0.1", "::1"}
    assert found[0][4][1] == 80

    def fails(*arguments: int) -> list[object]:
        if len(arguments) == 6:
            raise socket.gaierror(socket.EAI_NONAME, "no address")
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(stream_resolve, "_getaddrinfo", fails)
    with pytest.raises(OSError, match="Temporary failure"):
        stream_resolve.look_up("no-such.test", 80, 5)
    assert capfd.readouterr().err == ""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_no_process_is_left(getent: Getent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_resolve, "STUCK_SECONDS", 0.5)
    getent("exec sleep 100")
    with pytest.raises(TimeoutError):
        stream_resolve.look_up("a.test", 1, 0.1)
    with gevent.Timeout(30):
        while not (pids := set(stream_resolve._running)):
            gevent.sleep(0.01)
        while stream_resolve._running:
            gevent.sleep(0.01)
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


@pytest.mark.parametrize("name", ["a" * 64 + ".test", "..", "x..test", "\udcff.test", "a\0b", ""])
def test_names_that_are_none_are_an_oserror(name: str) -> None:
    with pytest.raises(OSError, match=r"."):
        dial(name, 1, Bounds(2, 1))
