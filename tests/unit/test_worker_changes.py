"""Another configuration for all workers: who has not looked at it is made anew, and one that cannot use it undoes it."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lib import service_preload, settings_workers, worker_settings
from lib.config_schema import Config
from lib.errors import HostError
from lib.settings import HubSettings, Settings
from lib.settings_hooks import HookSettings
from lib.worker_changes import WorkerChanges
from lib.worker_state import CLUSTER_NUMBER
from tests.unit.test_cluster_live import SETTINGS as CLUSTER

BEFORE, AFTER = Settings(recorder=1 << 20), Settings(recorder=2 << 20)


class Main:
    """A main process of three workers, of which the third is being made when the others are asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self.renewed: list[set[int]] = []
        self.given: list[bytes] = []
        """What later workers are made with."""
        self.problems: dict[int, list[str]] = {}
        self.failed: dict[int, list[tuple[str, str]]] = {}
        self.silent: set[int] = set()
        self.ready = [SimpleNamespace(number=number) for number in (1, 2)]
        self.coming: list[SimpleNamespace] = []
        """Who is ready once that is waited for."""
        crew = SimpleNamespace(
            everybody=lambda: iter(self.ready),
            wait_ready=self.wait_ready,
            ask_all=self.ask_all,
            renew=lambda kept: self.renewed.append({one.number for one in kept}),
            tell_all=lambda message: self.asked.append(message["do"]),
        )
        tables = SimpleNamespace(apply=lambda settings: [], leave=lambda settings: [])
        sources = SimpleNamespace(refresh=lambda: None, apply=lambda *_: None, leave=lambda _: None)
        self.process = SimpleNamespace(
            settings=BEFORE,
            count=3,
            crew=crew,
            forker=SimpleNamespace(use=self.given.append),
            fronts={},
            notify=SimpleNamespace(apply=lambda settings: []),
            observe=SimpleNamespace(apply=list),
            tables=tables,
            sources=sources,
            ports=SimpleNamespace(apply=lambda *_: None),
            metrics=None,
            api=None,
        )
        monkeypatch.setattr(settings_workers, "refuse", lambda *_: None)
        monkeypatch.setattr(service_preload, "load", lambda *_: None)
        monkeypatch.setattr(worker_settings, "pack", lambda settings, _: str(settings.recorder).encode())
        reading = SimpleNamespace(config=Config(), settings=lambda _: AFTER, settings_of=lambda *_: AFTER)
        self.changes = WorkerChanges(cast(Any, reading), cast(Any, self.process))

    def wait_ready(self, seconds: float) -> bool:
        self.ready += [one for one in self.coming if one not in self.ready]
        return len(self.ready) == 3

    def ask_all(self, message: dict[str, Any], reply: str, *_: object) -> dict[int, Any]:
        self.asked.append(message["do"])
        found = {
            one.number: {
                "problems": self.problems.get(one.number, []),
                "failed": self.failed.get(one.number, []),
            }
            for one in self.ready
        }
        return {number: None if number in self.silent else reply for number, reply in found.items()}


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch) -> Main:
    return Main(monkeypatch)


def test_who_has_not_looked_at_it_is_made_anew(main: Main) -> None:
    assert main.changes.apply(lambda config: Config()) == []
    assert (main.asked, main.given, main.renewed) == (["check", "use"], [b"2097152"], [{1, 2}])
    assert main.process.settings is AFTER


def test_who_is_being_made_is_waited_for(main: Main) -> None:
    main.coming = [*main.ready, SimpleNamespace(number=3)]
    main.ready.clear()
    assert main.changes.apply(lambda config: Config()) == []
    assert main.renewed == [{1, 2, 3}]


def test_who_does_not_say_that_it_uses_it_is_made_anew(main: Main) -> None:
    def use(settings: bytes) -> None:
        main.silent.add(2)

    main.process.forker.use = use
    assert main.changes.reload() == []
    assert main.renewed == [{1}]


@pytest.mark.parametrize("is_other", [False, True])
def test_another_cluster_is_joined_by_another_process(main: Main, is_other: bool) -> None:
    main.ready.append(SimpleNamespace(number=CLUSTER_NUMBER))
    after = replace(AFTER, cluster=CLUSTER)
    before = replace(CLUSTER, name="hub-7") if is_other else CLUSTER
    main.process.settings = replace(BEFORE, cluster=before)
    assert main.changes._use_all(main.changes._checked(lambda step: after, lambda: None)) == []
    assert main.renewed == [{1, 2} if is_other else {1, 2, CLUSTER_NUMBER}]


def test_what_one_cannot_use_is_used_by_none(main: Main) -> None:
    main.problems[2] = ["no such file"]
    with pytest.raises(HostError, match="no such file"):
        main.changes.apply(lambda config: Config())
    assert main.changes.reload() == ["no such file"]
    assert (main.given, main.renewed, main.process.settings) == ([], [], BEFORE)
    assert "use" not in main.asked
    main.silent.add(1)
    with pytest.raises(HostError, match="worker 1 has not looked at it"):
        main.changes.apply(lambda config: Config())
    main.ready.clear()
    with pytest.raises(HostError, match="no worker is there"):
        main.changes.apply(lambda config: Config())


def test_what_has_failed_in_one_is_taken_back_in_all(main: Main) -> None:
    main.failed[2] = [("hub", "no certificate")]

    def use(settings: bytes) -> None:
        main.given.append(settings)
        if len(main.given) == 2:
            main.failed.clear()

    main.process.forker.use = use
    assert main.changes.apply(lambda config: Config()) == [("hub", "no certificate")]
    assert main.given == [b"2097152", b"1048576"], "later ones too"
    assert (main.process.settings, main.changes.version) == (BEFORE, 1)


def test_other_hooks_are_told_by_the_main_process(main: Main, caplog: pytest.LogCaptureFixture) -> None:
    """No worker has them, so none of them finds anything different."""
    had = replace(BEFORE, hubs=(HubSettings("hub", "127.0.0.1", 0),))
    hooks = HookSettings((("preDown", (("true",),)),))
    after = replace(AFTER, hubs=(replace(had.hubs[0], hooks=hooks),))
    main.process.settings = had
    main.process.fronts["hub"] = SimpleNamespace(use=lambda hub: None)
    with caplog.at_level("INFO"):
        assert main.changes._use_all(main.changes._checked(lambda step: after, lambda: None)) == []
    assert "reload: service hub: hooks" in caplog.text
