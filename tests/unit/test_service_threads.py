"""Calls that a disk may hold up: others run meanwhile, there is a deadline, one disk that hangs is one thread."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest
from gevent import monkey
from gevent.threadpool import ThreadPool

from lib import service_threads
from lib.service_threads import aside
from lib.settings_sources import FileSource, SourceSettings
from lib.source_feed import Feed
from lib.source_origin import Direct
from lib.source_read import Reading

SHORT = 0.1
system_sleep = monkey.get_original("time", "sleep")


@pytest.fixture(autouse=True)
def _serving(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads, as while packets are forwarded."""
    monkeypatch.setattr(service_threads._state, "pool", None)
    service_threads.begin()


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[str]:
    """A file that hangs whoever opens it, as one on a server that is away."""
    path = str(tmp_path / "fifo")
    os.mkfifo(path)
    yield path
    os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))  # lets go what still waits


def contents(path: str) -> bytes:
    return Path(path).read_bytes()


def write(path: str, text: bytes) -> None:
    """Write into the FIFO that somebody waits to read."""
    descriptor = os.open(path, os.O_WRONLY)
    os.write(descriptor, text)
    os.close(descriptor)


def test_a_call_gives_what_it_gives_and_raises_what_it_raises(tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"rows")
    assert aside("there", contents, str(tmp_path / "there")) == b"rows"
    with pytest.raises(FileNotFoundError):
        aside("missing", contents, str(tmp_path / "missing"))


def test_others_run_while_a_file_hangs(fifo: str) -> None:
    waiting = gevent.spawn(aside, fifo, contents, fifo)
    for _ in range(20):
        gevent.sleep(0.001)
    assert not waiting.ready()
    write(fifo, b"at last")
    assert waiting.get(timeout=5) == b"at last"


def test_a_file_that_hangs_costs_one_thread_and_the_others_are_read(fifo: str, tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(TimeoutError, match=r"no answer from its disk within 0\.1 s"):
        aside(fifo, contents, fifo, seconds=SHORT)
    assert SHORT <= time.monotonic() - began < 5
    for _ in range(100):  # more than there are threads: they fail at once
        with pytest.raises(TimeoutError):
            aside(fifo, contents, fifo, seconds=60)
    (tmp_path / "there").write_bytes(b"rows")
    assert aside("there", contents, str(tmp_path / "there")) == b"rows"


def test_a_caller_that_is_killed_says_nothing_of_the_disk(fifo: str) -> None:
    """A reload ends a feed while its file is read: who reads it next waits for its turn, and that is all."""
    killed = gevent.spawn(aside, fifo, contents, fifo)
    gevent.sleep(0.01)
    killed.kill()
    waiting = gevent.spawn(aside, fifo, lambda: b"new")
    gevent.sleep(0.01)
    assert not waiting.ready()
    write(fifo, b"old")
    assert waiting.get(timeout=5) == b"new"


def test_a_file_that_hung_is_read_once_its_disk_answers(fifo: str) -> None:
    with pytest.raises(TimeoutError):
        aside(fifo, contents, fifo, seconds=SHORT)
    write(fifo, b"nobody wants it any more")
    while fifo in service_threads._state.under_way:
        gevent.sleep(0.001)
    again = gevent.spawn(aside, fifo, contents, fifo)
    gevent.sleep(0.01)
    write(fifo, b"rows")
    assert again.get(timeout=5) == b"rows"


def test_two_may_want_the_same_file(fifo: str) -> None:
    calls = [gevent.spawn(aside, fifo, contents, fifo, seconds=5) for _ in range(2)]
    gevent.sleep(0.01)
    write(fifo, b"first")
    assert calls[0].get(timeout=5) == b"first"
    gevent.sleep(0.01)
    write(fifo, b"second")
    assert calls[1].get(timeout=5) == b"second"


def test_one_file_takes_one_thread_also_where_all_threads_are_busy(
    fifo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two that want it waited for a thread at the same time, and each got one."""
    monkeypatch.setattr(service_threads._state, "pool", ThreadPool(2))
    other = str(tmp_path / "other")
    os.mkfifo(other)
    inside: list[int] = []
    at_once: list[int] = []

    def call() -> None:
        inside.append(1)
        at_once.append(len(inside))
        system_sleep(0.02)
        inside.pop()

    busy = [gevent.spawn(aside, path, contents, path) for path in (fifo, other)]
    gevent.sleep(0.01)
    wanted = [gevent.spawn(aside, "a file", call) for _ in range(3)]
    gevent.sleep(0.01)
    assert not at_once, "there is no thread for them yet"
    for path in (fifo, other):
        write(path, b"")
    gevent.joinall([*busy, *wanted], timeout=5, raise_error=True)
    assert at_once == [1, 1, 1]


def test_a_caller_that_is_killed_while_all_threads_are_busy_holds_up_nobody(
    fifo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_threads._state, "pool", ThreadPool(1))
    (tmp_path / "there").write_bytes(b"rows")
    path = str(tmp_path / "there")
    busy = gevent.spawn(aside, fifo, contents, fifo)
    gevent.sleep(0.01)
    killed = gevent.spawn(aside, path, contents, path)
    gevent.sleep(0.01)
    killed.kill()
    write(fifo, b"")
    busy.get(timeout=5)
    assert aside(path, contents, path, seconds=5) == b"rows"


def test_what_runs_in_a_thread_may_want_a_thread_itself() -> None:
    """For the same file too: the one call would wait for the other for ever."""
    assert aside("x", lambda: aside("x", len, "four", seconds=1), seconds=5) == 4


def test_before_anything_is_served_there_is_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_threads._state, "pool", None)
    before = len(os.listdir("/proc/self/task"))
    assert aside("x", len, "four") == 4
    assert len(os.listdir("/proc/self/task")) == before


def test_a_table_whose_file_hangs_fails_and_is_read_later(fifo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_threads, "SECONDS", SHORT)
    rows: list[bytes] = []

    def put(rank: int, reading: Reading, name: str) -> None:
        rows.append(reading.text)

    watch = Direct()
    feed = Feed("router r", SourceSettings((FileSource(fifo),)), watch, put)
    feed.start()
    assert feed.wait(5)
    ((_, state),) = feed.states()
    assert state.error == f"{fifo}: no answer from its disk within 0.1 s"
    write(fifo, b"")
    while fifo in service_threads._state.under_way:
        gevent.sleep(0.001)
    os.unlink(fifo)
    Path(fifo).write_bytes(b"10.0.0.0/8 host-1\n")
    feed.refresh()
    assert feed.wait(5)
    assert (rows, state.error) == ([b"10.0.0.0/8 host-1\n"], "")
    feed.stop()
    watch.stop()
