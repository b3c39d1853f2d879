"""What must run and does not is told, with a service manager or without."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from gevent.event import Event

from lib import service_supervisor, service_watchdog
from lib.service_notify import Notifier
from lib.service_supervisor import keep
from lib.service_watchdog import Watchdog


def test_a_dead_greenlet_is_told_of_without_a_service_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, however long it is dead; and again when it has come back and dies again."""
    said: list[str] = []
    told = Event()

    def say(entry: object, text: str, *words: object, **fields: Any) -> None:
        said.append(fields["reason"])
        told.set()

    monkeypatch.setattr(service_watchdog, "say", say)
    monkeypatch.setattr(service_watchdog, "STATUS_SECONDS", 0.005)
    dead = SimpleNamespace(why="")
    client: Any = SimpleNamespace(
        fault=lambda: dead.why, settings=SimpleNamespace(host="host-1"), session=None
    )
    watchdog = Watchdog(Notifier(), {}, {"service-0": client})
    watchdog.start(lambda seconds: None)
    try:
        gevent.sleep(0.02)
        assert said == []
        for deaths in (1, 2):
            told.clear()
            dead.why = "nobody dials any more"
            assert told.wait(5)
            gevent.sleep(0.03)
            assert said == ["service service-0: nobody dials any more"] * deaths
            dead.why = ""
            gevent.sleep(0.02)
        told.clear()
        ends = keep("something for ever", lambda: None)
        assert told.wait(5)
        assert said[-1] == "something for ever: has ended"
        ends.kill()
    finally:
        watchdog.stop()
        for task in service_supervisor.tasks():
            task.kill(block=False)
