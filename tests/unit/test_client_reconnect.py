"""A client without a session: what it waits for, what status says of it, and what ends the wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from gevent.event import Event

from lib import (
    cli_show,
    client_backoff,
    client_dial,
    client_reconnect,
    client_session,
    ctl_status,
    service_supervisor,
)
from lib.capture_taps import Taps
from lib.client_backoff import LASTING, LOST, TEMPORARY, Pace
from lib.client_dial import Refused
from lib.client_downlink import Downlink
from lib.client_reconnect import Reconnector
from lib.counter_rates import Rates
from lib.counters import Traffic
from lib.errors import ProtocolError
from lib.forward_drop_reasons import Refusal
from lib.framing import ReceiveBuffer
from lib.settings import ClientSettings, DeviceSettings, NodeSettings
from lib.wire_relay import Response, Status

NODE = NodeSettings("node-0", "hub.test", 8443)
SETTINGS = ClientSettings("service-0", "host-1", DeviceSettings(), (NODE,))
SECONDS = 5


class World:
    """A client whose dialling does what a test says, and the delays that it asked for."""

    def __init__(self) -> None:
        self.settings = SETTINGS
        self.device_name = "none"
        self.traffic, self.rates, self.taps, self.buffer = Traffic(), Rates(0.0), Taps(), ReceiveBuffer()
        self.transit, self.around = SimpleNamespace(look=lambda *arguments: None), None
        self.instance, self.offloads, self.down = (
            bytes(16),
            0,
            Downlink(len, print, self.traffic, False, 1420),
        )
        self.dialled = Event()
        self.dial: Callable[[], Any] = lambda: None
        self.paces: list[Pace] = []
        self.said: list[dict[str, Any]] = []
        self.reconnector = Reconnector(self)  # type: ignore[arg-type]

    def use_offloads(self, *arguments: object) -> None:
        """There is no device."""

    def let_in(self, *arguments: object) -> Any:
        self.dialled.set()
        return self.dial()

    def start(self, error: Exception) -> None:
        """Dial in vain until the first delay begins."""

        def fails() -> None:
            raise error

        self.dial = fails
        self.running = gevent.spawn(self.reconnector.keep_connected)
        assert self.dialled.wait(SECONDS)
        with gevent.Timeout(SECONDS):
            while not self.reconnector.away.next_at:
                gevent.sleep(0.001)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = World()
    real = client_backoff.Backoff.next

    def noted(self: client_backoff.Backoff, pace: Pace, *more: Any) -> float:
        made.paces.append(pace)
        real(self, pace, *more)
        return 600.0

    monkeypatch.setattr(client_backoff.Backoff, "next", noted)
    monkeypatch.setattr(client_dial, "let_in", made.let_in)
    monkeypatch.setattr(client_reconnect, "say", lambda *a, **fields: made.said.append(fields))
    yield made
    made.running.kill()
    for task in service_supervisor.tasks():
        task.kill()


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """The errors that are logged and counted as errors of this program."""
    errors: list[BaseException] = []
    monkeypatch.setattr(service_supervisor, "note", errors.append)
    return errors


@pytest.mark.parametrize(
    ("error", "pace"),
    [
        (ConnectionRefusedError(111, "Connection refused"), LOST),
        (ProtocolError("TLS: certificate verify failed", Refusal.TRANSPORT), LOST),
        (Refused(Status.SERVICE_UNAVAILABLE), TEMPORARY),
        (Refused(Status.TIMEOUT), TEMPORARY),
        (Refused(Status.INTERNAL_ERROR), TEMPORARY),
        (Refused(Status.UNAUTHORIZED), LASTING),
        (Refused(Status.FORBIDDEN), LASTING),
        (Refused(Status.HOST_UNREACHABLE), LASTING),
        (Refused(99), LASTING),
    ],
)
def test_how_patient_it_is_goes_by_what_happened(world: World, error: Exception, pace: Pace) -> None:
    world.start(error)
    assert world.paces == [pace]


def test_status_names_the_hub_the_last_reason_and_the_next_try(world: World) -> None:
    world.start(ConnectionRefusedError(111, "Connection refused"))
    away = ctl_status._away(world.reconnector.away, time.monotonic())
    assert (away["hub"], away["reason"]) == ("hub.test:8443", "Connection refused")
    assert 599 < float(str(away["next_try_s"])) <= 600
    row = {"host": "host-1", "away": away}
    assert cli_show._away([row]) == [
        "host-1 has no session with hub hub.test:8443: Connection refused; next try in 10 min"
    ]
    later = ctl_status._away(world.reconnector.away, time.monotonic() + 601)
    assert cli_show._away([{**row, "away": later}])[0].endswith("; it is being tried now")
    assert cli_show._away([{"host": "host-1", "away": None}]) == []


def test_a_reload_that_changes_the_hub_ends_the_wait(world: World) -> None:
    """A login that was wrong is corrected: nobody waits five minutes for the next try."""
    world.start(Refused(Status.UNAUTHORIZED))
    world.dialled.clear()
    world.settings = ClientSettings(
        "service-0", "host-1", DeviceSettings(), (NodeSettings("node-0", "other.test", 8443),)
    )
    world.reconnector.connect_anew("the configuration has changed")
    assert world.dialled.wait(SECONDS)
    assert world.reconnector.away.hub == "other.test:8443"


def test_a_try_that_took_long_is_no_session_that_lasted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deadline of 10 s is not a session of 10 s: the node has failed."""
    now = SimpleNamespace(at=1000.0)

    def late() -> None:
        now.at += 30.0
        raise TimeoutError(110, "no connection within 30 s")

    monkeypatch.setattr(client_reconnect, "time", SimpleNamespace(monotonic=lambda: now.at))
    world.dial = late
    world.running = gevent.spawn(world.reconnector.keep_connected)
    with gevent.Timeout(SECONDS):
        while not world.reconnector.away.next_at:
            gevent.sleep(0.001)
    assert world.reconnector.failures == {"node-0": 1}


# --- errors that must not happen

INJECTED = [
    ValueError("x"),
    TypeError("y"),
    UnicodeError("idna"),
    RecursionError(),
    MemoryError(),
    KeyError("z"),
]


@pytest.mark.parametrize("error", INJECTED, ids=lambda error: type(error).__name__)
def test_an_unforeseen_error_of_dialling_is_a_failed_try(
    world: World, noted: list[BaseException], error: Exception
) -> None:
    world.start(error)
    assert noted == [error], "one line"
    assert world.reconnector.away.reason == f"an error of this program: {type(error).__name__}"
    assert world.reconnector.failures == {"node-0": 1}
    assert world.paces == [LOST], "and it is tried again"
    assert not world.running.dead


@pytest.mark.parametrize("error", INJECTED, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("step", ["receive_into", "begin", "spawn"])
def test_an_unforeseen_error_of_a_session_is_a_failed_try(
    world: World, noted: list[BaseException], monkeypatch: pytest.MonkeyPatch, error: Exception, step: str
) -> None:
    """The greenlet that reads dies, or the session cannot even begin: no session is left that nobody reads."""
    stream = SilentStream(error if step == "receive_into" else None)

    def fails(*arguments: object) -> None:
        raise error

    if step == "begin":
        monkeypatch.setattr(client_session.ClientSession, "begin", fails)
    if step == "spawn":
        spawn = SimpleNamespace(spawn=fails, Greenlet=gevent.Greenlet, sleep=gevent.sleep)
        monkeypatch.setattr(client_reconnect, "gevent", spawn)
    world.dial = lambda: (stream, Response(Status.OK, bytes(20)), b"")
    world.running = gevent.spawn(world.reconnector.keep_connected)
    with gevent.Timeout(SECONDS):
        while not world.reconnector.away.next_at:
            gevent.sleep(0.001)
    assert noted == [error], "one line"
    assert world.reconnector.away.reason == f"an error of this program: {type(error).__name__}"
    assert (world.reconnector.session, world.reconnector.sender) == (None, None)
    assert stream.closed
    assert world.reconnector.failures == {"node-0": 1}
    assert not world.running.dead


class SilentStream:
    """A stream to a hub that says nothing, and perhaps breaks with an error of ours."""

    peer, pending, cost, pongs = "192.0.2.1:8443", 0, None, 0

    def __init__(self, error: Exception | None) -> None:
        self._error, self._over, self.closed = error, Event(), False

    def receive_into(self, view: memoryview) -> int:
        if self._error is not None:
            raise self._error
        self._over.wait()
        return 0

    def shutdown(self) -> None:
        self._over.set()

    def close(self) -> None:
        self.closed = True
