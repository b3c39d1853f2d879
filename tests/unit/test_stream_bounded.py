"""Sockets within bounds: the deadline, the byte bound, turns; names looked up in time; what is a failed answer."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import gevent
import pytest

from lib import source_read, stream_bounded
from lib.errors import PluginError
from lib.source_read import MAX_PAGE, SourceError, _ordered, _scanned
from lib.stream_bounded import Bounds, TooMuch, failing_as
from lib.stream_dial import dial


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def connected(server: socket.socket, bounds: Bounds) -> tuple[stream_bounded.BoundedSocket, socket.socket]:
    host, port = server.getsockname()
    sock = dial(host, port, bounds)
    return sock, server.accept()[0]


def test_a_silent_peer_costs_until_the_deadline(server: socket.socket) -> None:
    began = time.monotonic()
    sock, _ = connected(server, Bounds(0.2, 100))
    with pytest.raises(TimeoutError):
        sock.recv(10)
    assert 0.15 < time.monotonic() - began < 10
    with pytest.raises(TimeoutError, match="not over within"):
        sock.recv(10)


def test_a_library_may_be_less_patient_and_not_more(server: socket.socket) -> None:
    bounds = Bounds(60.0, 100)
    sock, _ = connected(server, bounds)
    for patience in (0.2, 60.0):
        bounds.renew(60.2 - patience, 100)
        sock.settimeout(patience)
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            sock.recv(10)
        assert 0.15 < time.monotonic() - began < 30


@pytest.mark.parametrize("way", ["recv", "recv_into"])
def test_no_byte_more_than_there_is_room_for(server: socket.socket, way: str) -> None:
    bounds = Bounds(5, 5000)
    sock, peer = connected(server, bounds)
    peer.sendall(bytes(6000))
    got: list[int] = []

    def receive() -> None:
        while True:
            got.append(len(sock.recv(100000)) if way == "recv" else sock.recv_into(bytearray(100000)))

    with pytest.raises(TooMuch, match="more than 5000 bytes"):
        receive()
    assert sum(got) <= 5000
    bounds.renew(5, 10000)
    assert sock.recv(100), "the next conversation has its own"


def test_who_does_not_read_costs_until_the_deadline(server: socket.socket) -> None:
    sock, _ = connected(server, Bounds(0.3, 100))
    with pytest.raises(TimeoutError):
        sock.sendall(bytes(64 << 20))


def test_others_run_while_there_is_data_and_the_work_is_half_of_the_time(server: socket.socket) -> None:
    sock, peer = connected(server, Bounds(10, 1 << 30))
    enough = threading.Event()

    def flood() -> None:
        try:
            while not enough.is_set():
                peer.sendall(bytes(1 << 16))
        except OSError:
            pass

    thread = threading.Thread(target=flood)
    thread.start()
    turns = 0

    def count() -> None:
        nonlocal turns
        while True:
            gevent.sleep(0.001)
            turns += 1

    counting = gevent.spawn(count)
    worked, began = 0.0, time.monotonic()
    while worked < 0.1:
        size = len(sock.recv(1 << 20))
        since = time.thread_time()  # not what another process had of the core meanwhile
        while time.thread_time() - since < size * 1e-6:  # a library that takes a microsecond a byte
            pass
        worked += time.thread_time() - since
    took = time.monotonic() - began
    enough.set()
    counting.kill()
    sock.close()
    peer.close()
    thread.join()
    assert turns > 20
    assert took > 1.7 * worked
    assert sock._piece < 4096, "a millisecond's worth"


# --- failed answers


@pytest.mark.parametrize("error", [ValueError("x"), KeyError("x"), RecursionError("x"), AttributeError("x")])
def test_any_error_is_a_failed_answer(error: Exception) -> None:
    with pytest.raises(PluginError, match=f"{type(error).__name__}: .*x"), failing_as(PluginError, OSError):
        raise error


def test_known_errors_and_deadlines_of_others_pass() -> None:
    with pytest.raises(ConnectionResetError), failing_as(PluginError, OSError):
        raise ConnectionResetError
    for other in (gevent.Timeout(1), gevent.GreenletExit()):
        with pytest.raises(type(other)), failing_as(PluginError, OSError):
            raise other


# --- rows of Redis


def test_rows_come_in_order_and_the_last_of_equal_fields_counts() -> None:
    pages = [[(b"a", b"1"), (b"c", b"1")], [(b"a", b"2"), (b"b", b"1")], []]
    assert list(_ordered(pages)) == [(b"a", b"2"), (b"b", b"1"), (b"c", b"1")]


def test_a_scan_that_never_ends_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_read, "EMPTY_PAGES", 10)
    with pytest.raises(SourceError, match="does not come to an end"):
        _scanned(lambda *command: [b"7", []], "HSCAN", "k", 2)


def test_rows_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_read, "MAX_ROWS", 100)
    with pytest.raises(SourceError, match="more than 100 rows"):
        _scanned(lambda *command: [b"7", [b"x"] * 50], "SSCAN", "k", 1)
    with pytest.raises(SourceError, match="no proper reply: 16385 values"):
        _scanned(lambda *command: [b"0", [b"x"] * (MAX_PAGE + 1)], "SSCAN", "k", 1)
