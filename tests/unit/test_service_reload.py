"""A reload whose settings this host does not allow: what is said of the service, and that it is tried again."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from lib import log_setup, service_reload
from lib.errors import HostError
from lib.hub_tables import Tables
from lib.settings import AutherSettings, HubSettings, Settings


def apply(parts: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is said where the service's settings are refused."""
    said: list[str] = []

    def refused() -> tuple[str, list[str]]:
        raise HostError("no access to /dev/net/tun")

    def say(entry: object, text: str, *values: object, **fields: object) -> None:
        said.append(text % values)

    monkeypatch.setattr(service_reload, "say", say)
    lines: list[str] = []
    failed: list[tuple[str, str]] = []
    counts: Counter[str] = Counter()
    service_reload._guarded(parts, name, lines, failed, counts, refused)
    assert not lines
    assert not counts
    assert [service for service, _ in failed] == [name]
    return said[0]


def test_a_service_that_still_runs_is_told_from_one_that_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    rechecks: list[bool] = []
    parts = SimpleNamespace(
        hubs={"h": object()}, clients={"c": object()}, recheck=lambda: rechecks.append(True)
    )
    why = "no access to /dev/net/tun"
    for name in ("h", "c"):
        assert apply(parts, name, monkeypatch) == f"reload: service {name}: {why}; it stays as it was"
    gone = f"reload: service d: {why}; it does not run; the next reload tries again"
    assert apply(parts, "d", monkeypatch) == gone
    assert len(rechecks) == 3, "its logins may be others now, although its settings are not"


def test_tables_are_left_by_what_the_hubs_really_use() -> None:
    """A hub whose new port is taken goes on with its old settings, and new clients log in by its old auther."""
    old, new = (
        Settings(hubs=(HubSettings("h", "", port, authers=(AutherSettings(f"on {port}"),)),))
        for port in (8443, 8444)
    )

    def refused(*_: object) -> list[str]:
        raise HostError("the port is taken")

    tables = Tables(old)
    nothing = SimpleNamespace(of=lambda *_: None, keep_only=list, record=lambda _: [], apply=lambda _: [])
    parts: Any = SimpleNamespace(
        settings=old,
        hubs={"h": SimpleNamespace(settings=old.hubs[0], apply=refused, unchecked=0, domain=None)},
        recheck=lambda: None,
        clients={},
        tables=tables,
        tapping=nothing,
        domains=nothing,
        notify=nothing,
        observe=SimpleNamespace(apply=list),
        cluster=SimpleNamespace(apply=lambda hubs, settings: []),
        shared=None,
        remove_clients=list,
        api=None,
    )
    try:
        service_reload.reload(parts, lambda step: new)
        assert {("auther", "on 8443"), ("auther", "on 8444")} == {key for key, _ in tables.all()}
    finally:
        tables.stop()


def test_a_log_that_cannot_be_opened_is_tried_again_by_the_next_reload(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(*_: object) -> None:
        raise HostError("log file /none/t.log: No such file or directory")

    monkeypatch.setattr(log_setup, "setup", refused)
    monkeypatch.setattr(service_reload, "say", lambda *_, **__: None)
    old = Settings()
    parts: Any = SimpleNamespace(settings=replace(old, log_output="/none/t.log"))
    assert service_reload._apply_log(parts, old, parts.settings) == []
    assert parts.settings == old
