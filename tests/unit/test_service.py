"""A process whose start fails after it has opened something, and one that ends."""

from __future__ import annotations

from pathlib import Path

import gevent
import pytest

from lib import service, service_notify, service_signals, service_threads
from lib.errors import HostError
from lib.service import Service
from lib.settings import Settings


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Service:
    """A process without services, which has a control socket and leaves this process's signals alone."""
    monkeypatch.setattr(gevent, "signal_handler", lambda *_: None)
    monkeypatch.setattr(service_signals, "release", lambda: None)
    monkeypatch.setattr(service_threads, "begin", lambda: None)
    monkeypatch.setattr(service, "watch_greenlets", lambda: None)
    settings = Settings(control=str(tmp_path / "control.sock"))
    return Service(settings, lambda step: settings, 0.0, service_notify.take({}))


@pytest.mark.parametrize("step", ["start_tables", "start_services"])
@pytest.mark.parametrize("error", [HostError("netlink: Too many open files"), ValueError("x")], ids=type)
def test_a_start_that_fails_closes_what_is_open(
    made: Service, monkeypatch: pytest.MonkeyPatch, step: str, error: Exception
) -> None:
    """Or the control socket stays behind, and what was set on a persistent device."""
    stopped: list[str] = []

    def fails() -> None:
        assert Path(made._parts.settings.control).exists()
        raise error

    monkeypatch.setattr(made._parts, step, fails)
    monkeypatch.setattr(made._parts, "stop", lambda: stopped.append("parts"))
    with pytest.raises(type(error)):
        made.run()
    assert stopped == ["parts"]
    assert not Path(made._parts.settings.control).exists()


def test_an_error_of_one_step_of_the_end_spares_no_other(
    made: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped: list[str] = []

    def fails() -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(made._parts, "stop", lambda: stopped.append("parts"))
    monkeypatch.setattr(made._watchdog, "stop", fails)
    made._ended.set()
    with pytest.raises(OSError, match="Input/output error"):
        made.run()
    assert stopped == ["parts"]
    assert not Path(made._parts.settings.control).exists()
