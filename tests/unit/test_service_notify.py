"""What a service manager hears: the protocol, against a socket of the test's."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib import service_notify
from lib.service_notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """What $NOTIFY_SOCKET holds, and the socket behind it."""
    path = (
        str(tmp_path / "notify")
        if request.param == "path"
        else f"@tunrouter-test-{os.getpid()}-{id(request)}"
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path.replace("@", "\0", 1))
        sock.settimeout(5)
        yield path, sock


def test_a_message_is_one_datagram(manager: tuple[str, socket.socket]) -> None:
    address, sock = manager
    Notifier(address).tell("READY=1", "STATUS=hub with 1 session")
    assert sock.recv(4096) == b"READY=1\nSTATUS=hub with 1 session"


def test_a_reload_says_when_it_began(manager: tuple[str, socket.socket]) -> None:
    address, sock = manager
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    Notifier(address).reloading()
    first, second = sock.recv(4096).decode().split("\n")
    assert first == "RELOADING=1"
    name, _, value = second.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(value) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_nobody_to_tell() -> None:
    notifier = service_notify.take({})
    assert (bool(notifier), notifier.watchdog) == (False, 0.0)
    notifier.tell("READY=1")


@pytest.mark.parametrize("address", ["/nowhere/at/all", "vsock:2:1234"])
def test_a_manager_that_cannot_be_told_is_said_once(address: str, caplog: pytest.LogCaptureFixture) -> None:
    notifier = Notifier(address)
    for _ in range(3):
        notifier.tell("WATCHDOG=1")
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["NOTIFY_SOCKET"]


def test_a_manager_that_does_not_read_holds_nobody_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        notifier = Notifier(str(tmp_path / "notify"))
        started = time.monotonic()
        for _ in range(2000):  # the kernel holds net.unix.max_dgram_qlen of them
            notifier.tell("WATCHDOG=1")
            if caplog.records:
                break
        assert "not told" in caplog.text
        assert time.monotonic() - started < 5 * service_notify.SECONDS


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(os.getpid())}, 0.5),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, 0.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getppid())}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
        ({"WATCHDOG_USEC": "٣"}, 0.0),
        ({"WATCHDOG_PID": str(os.getpid())}, 0.0),
    ],
)
def test_whom_a_watchdog_waits_for(environ: dict[str, str], seconds: float) -> None:
    assert service_notify.take({**environ, "NOTIFY_SOCKET": "/run/x"}).watchdog == seconds


def test_the_loader_of_the_one_file_executable_is_us(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys._MEIPASS", "/tmp/_MEI", raising=False)
    environ = {"WATCHDOG_USEC": "4000000", "WATCHDOG_PID": str(os.getppid())}
    assert service_notify.take(environ).watchdog == 4.0


def test_what_is_taken_is_for_nobody_else() -> None:
    environ = {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "HOME": "/"}
    service_notify.take(environ)
    assert environ == {"HOME": "/"}
