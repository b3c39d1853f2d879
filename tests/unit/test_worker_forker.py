"""The end of the process that workers are forked from: it is seen, said once, and spoils no reload."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import gevent
import pytest

from lib import service_preload, service_reload, settings_workers, worker_forker, worker_settings
from lib.errors import HostError
from lib.worker_changes import WorkerChanges
from lib.worker_crew import Crew
from lib.worker_forker import ENDED, Forker
from tests.support.program import killed_after

SETTINGS: Any = SimpleNamespace(hubs=())
SECONDS = 5.0


@pytest.fixture
def process() -> Iterator[subprocess.Popen[str]]:
    with killed_after(subprocess.Popen(["sleep", "60"], text=True)) as started:
        yield started


@pytest.fixture
def forker(process: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Forker]:
    """One whose other end of the channel is closed, as when it has been killed."""
    monkeypatch.setattr(worker_forker, "_fork", lambda: process.pid)
    made = Forker(SETTINGS, None, lambda *_: 0)
    yield made
    made.close()


def test_nothing_can_be_asked_of_one_that_has_ended(forker: Forker) -> None:
    with pytest.raises(HostError, match=ENDED):
        forker.use(b"settings")
    with pytest.raises(HostError, match=ENDED):
        forker.fork(1)
    with pytest.raises(HostError, match=ENDED):
        forker.wait_ready()


def test_a_crew_gives_up_when_it_ends(forker: Forker, process: subprocess.Popen[str]) -> None:
    crew = Crew(forker, 0, 16, lambda number: ({}, ()))
    crew.start()
    gevent.sleep(0)
    assert not crew.failed
    process.kill()
    assert crew.gave_up.wait(SECONDS)
    assert crew.failed.startswith(ENDED)
    crew.stop(0)


def test_a_crew_that_ends_does_not_mind(forker: Forker, process: subprocess.Popen[str]) -> None:
    crew = Crew(forker, 0, 16, lambda number: ({}, ()))
    crew.start()
    gevent.sleep(0)
    crew.drain(0)
    process.kill()
    forker.wait_end()
    gevent.sleep(0)
    assert (crew.failed, crew.gave_up.is_set()) == ("", False)
    crew.stop(0)


def test_a_worker_that_cannot_be_made_is_a_reason_to_give_up_said_once(forker: Forker) -> None:
    crew = Crew(forker, 2, 16, lambda number: ({}, ()))
    crew.start()
    assert crew.gave_up.is_set()
    assert crew.failed == f"worker 1: {ENDED}"
    crew.stop(0)


def test_a_reload_without_it_changes_nothing(forker: Forker, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def ask_all(message: dict[str, Any], *_: object) -> dict[int, dict[str, Any]]:
        asked.append(message["do"])
        return {1: {"problems": []}}

    said: list[str] = []
    monkeypatch.setattr(service_reload, "say", lambda entry, text, *words, **_: said.append(text % words))
    monkeypatch.setattr(settings_workers, "refuse", lambda *_: None)
    monkeypatch.setattr(service_preload, "load", lambda *_: None)
    monkeypatch.setattr(worker_settings, "pack", lambda *_: b"new")
    main: Any = SimpleNamespace(
        settings=SETTINGS,
        count=1,
        forker=forker,
        crew=SimpleNamespace(ask_all=ask_all, everybody=list, wait_ready=lambda _: True),
        sources=SimpleNamespace(refresh=lambda: None),
        api=None,
    )
    reading: Any = SimpleNamespace(config=None, settings=lambda _: SimpleNamespace(hubs=()))
    assert WorkerChanges(reading, main).reload() == [ENDED]
    assert (asked, main.settings) == (["check"], SETTINGS)
    assert said == [
        f"reload: {ENDED}",
        "reload: nothing was changed: the last good configuration stays in use",
    ]
