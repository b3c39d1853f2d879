"""The parts of a process at its end."""

from __future__ import annotations

import errno
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from gevent.event import Event

from lib import client_around, netlink_watch, service_clients, service_parts
from lib.errors import HostError
from lib.service_clients import Shared
from lib.service_parts import Parts
from lib.service_reload import _apply_services
from lib.service_supervisor import Task
from lib.settings import ClientSettings, DeviceSettings, NodeSettings, Settings


class Client:
    """A client that notes what is done to it."""

    def __init__(self, removable: int, done: list[str]) -> None:
        self.removable, self._done = removable, done

    def halt(self, wait: bool) -> None:
        self._done.append("halted" if wait else "told")

    def close(self) -> None:
        self._done.append("closed")


@pytest.mark.parametrize("refused", [0, errno.EPERM])
def test_all_clients_are_told_before_any_is_waited_for_and_their_devices_go_together(
    monkeypatch: pytest.MonkeyPatch, refused: int
) -> None:
    done: list[str] = []
    removed: list[list[int]] = []

    def remove(indices: list[int], group: int) -> int:
        assert group > 1 << 31
        done.append("removed")
        removed.append(indices)
        if refused:
            raise OSError(refused, "netlink")
        return 0

    monkeypatch.setattr(netlink_watch, "remove_together", remove)
    monkeypatch.setattr(service_clients, "TOGETHER", 2)
    clients: Any = [Client(index, done) for index in (3, 4, 0, 5, 6)]
    Shared.stop(SimpleNamespace(_leaving=[]), clients)  # type: ignore[arg-type]
    assert done == [*["told"] * 5, *["halted"] * 5, "removed", *["closed"] * 5]
    assert removed == [[3, 4]], "a device by itself goes when it is closed"


# --- an end in the middle of something

SECONDS = 5
ONE = ClientSettings("one", "host-1", DeviceSettings(), (NodeSettings("node-0", "hub.test", 8443),))


class Slow:
    """A client that can be held up in each step of its life, and says which steps were finished."""

    def __init__(self, waits_in: str = "", name: str = "one") -> None:
        self.settings, self.device_name = ONE, f"device of {name}"
        self._waits_in = waits_in
        self.waits, self.may_go = Event(), Event()
        self.done: list[str] = []
        self.error: Exception | None = None

    @property
    def removable(self) -> int:
        return 0

    def _step(self, name: str) -> None:
        if self._waits_in == name:
            self._waits_in = ""
            self.waits.set()
            self.may_go.wait()
            if self.error is not None:
                raise self.error
        self.done.append(name)

    def start(self) -> None:
        self._step("start")

    def halt(self, wait: bool) -> None:
        if wait:
            self._step("halt")

    def close(self) -> None:
        self._step("close")


def parts_of(monkeypatch: pytest.MonkeyPatch, made: Slow) -> Parts:
    """The parts of a process without services, which will make this client."""
    monkeypatch.setattr(client_around, "look_ahead", lambda clients, killswitch: None)
    monkeypatch.setattr(service_clients, "Client", lambda *_: made)
    parts = Parts(Settings(), lambda name: None)
    parts.of_clients()
    return parts


def reload_that_removes(parts: Parts) -> object:
    return _apply_services(parts, Settings(), [], [], lambda: None)


def reload_that_adds(parts: Parts) -> object:
    return _apply_services(parts, Settings(clients=(ONE,)), [], [], lambda: None)


def removed_device(parts: Parts) -> None:
    parts.make_anew("device of one")


@pytest.mark.parametrize("is_killed", [True, False], ids=["SIGTERM", "an error"])
@pytest.mark.parametrize(
    ("run", "step"),
    [
        (reload_that_removes, "halt"),
        (reload_that_removes, "close"),
        (reload_that_adds, "start"),
        (removed_device, "halt"),
        (removed_device, "close"),
    ],
)
def test_what_ends_a_reload_in_the_middle_leaves_no_device(
    monkeypatch: pytest.MonkeyPatch, run: Callable[[Parts], object], step: str, is_killed: bool
) -> None:
    """Nor host routes: the kernel removes neither these nor what was set on a persistent device."""
    client = Slow(step)
    parts = parts_of(monkeypatch, client)
    if run is not reload_that_adds:
        parts.clients["one"] = client  # type: ignore[assignment]
    client.error = None if is_killed else ValueError("an error of this program")
    running = gevent.spawn(run, parts)
    assert client.waits.wait(SECONDS)
    if is_killed:
        running.kill(timeout=SECONDS)
    client.may_go.set()
    assert running.ready() or running.join(SECONDS) is None
    parts.stop()
    assert client.done[-2:] == ["halt", "close"]
    client.done.clear()
    parts.stop()
    assert not client.done, "what has gone is not stopped again"


def test_a_client_that_cannot_start_is_not_left_as_if_it_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the next reload would find it unchanged, and never try again."""
    client = Slow("start")
    client.error = HostError("netlink: Too many open files")
    client.may_go.set()
    parts = parts_of(monkeypatch, client)
    with pytest.raises(HostError):
        parts.add_client(ONE)
    assert not parts.clients
    assert client.done == ["halt", "close"]
    reload_that_adds(parts)
    assert client.done[-1] == "start"
    assert list(parts.clients) == ["one"]
    parts.stop()


def test_no_client_is_made_anew_in_a_process_that_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Slow("close")
    parts = parts_of(monkeypatch, client)
    parts.settings = Settings(clients=(ONE,))
    parts.clients["one"] = client  # type: ignore[assignment]
    making = gevent.spawn(parts.make_anew, "device of one")
    assert client.waits.wait(SECONDS)
    stopping = gevent.spawn(parts.stop)
    client.may_go.set()
    assert len(gevent.joinall([making, stopping], timeout=SECONDS)) == 2
    assert "start" not in client.done
    assert not parts.clients


def test_what_fails_at_the_end_keeps_nothing_else_from_being_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    client, stopped = Slow(), []
    parts = parts_of(monkeypatch, client)
    parts.clients["one"] = client  # type: ignore[assignment]

    def fails() -> None:
        raise OSError(errno.EIO, "a capture on a disk that has gone")

    monkeypatch.setattr(parts.tapping, "stop", fails)
    parts.hubs["h"] = SimpleNamespace(stop=lambda: stopped.append("hub"))  # type: ignore[assignment]
    with pytest.raises(OSError, match="disk"):
        parts.stop()
    assert client.done == ["halt", "close"]
    assert stopped == ["hub"]


# --- rules that have changed


class Checked:
    """A hub that notes when its sessions are checked; the first `failing` times that fails."""

    def __init__(self, failing: int = 0, raises: bool = False) -> None:
        self.settings = SimpleNamespace(name="h")
        self.unchecked, self._failing, self._raises = 0, failing, raises
        self.times, self.done = 0, Event()

    def recheck(self) -> list[str]:
        self.times += 1
        self.unchecked = int(self.times <= self._failing)
        if self.unchecked and self._raises:
            raise KeyError("an auther")
        if not self.unchecked:
            self.done.set()
        return []


def rechecking(hubs: dict[str, Checked], waited: list[float]) -> Any:
    """What of a process checks sessions, begun."""
    parts: Any = SimpleNamespace(hubs=hubs, tables=SimpleNamespace(wait_rules=waited.append), _rules=Event())
    parts._rechecking = Task("sessions are checked", Parts._keep_rechecking, parts)
    parts._recheck_hub = lambda hub: Parts._recheck_hub(parts, hub)
    parts._rechecking.start()
    gevent.idle()
    return parts


@pytest.mark.parametrize("raises", [True, False], ids=["a hub fails", "some of its sessions fail"])
def test_an_error_at_one_hub_keeps_no_revoked_login_at_another_nor_at_its_own_for_long(
    monkeypatch: pytest.MonkeyPatch, raises: bool
) -> None:
    monkeypatch.setattr(service_parts, "AGAIN_SECONDS", 0.01)
    first, second = Checked(2, raises), Checked()
    waited: list[float] = []
    parts = rechecking({"first": first, "second": second}, waited)
    try:
        assert first.times == 0
        Parts.recheck(parts)
        assert second.done.wait(5)
        assert first.done.wait(5)
        assert first.times == len(waited) == 3
        assert parts._rechecking.failures == (2 if raises else 0)
    finally:
        parts._rechecking.kill()


def test_a_hub_that_a_reload_adds_while_sessions_are_checked_stops_no_check() -> None:
    """A check waits for hashes, and the list of hubs grows meanwhile."""
    last, hubs = Checked(), {}

    class Adding(Checked):
        def recheck(self) -> list[str]:
            hubs["new"] = Checked()
            return super().recheck()

    hubs |= {"first": Adding(), "last": last}
    parts = rechecking(hubs, [])
    try:
        Parts.recheck(parts)
        assert last.done.wait(5)
        assert parts._rechecking.failures == 0
    finally:
        parts._rechecking.kill()
