"""A reload whose settings this host does not allow: what is said of the service, and that it is tried again."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from lib import service_reload
from lib.errors import HostError


def apply(parts: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is said where the service's settings are refused."""
    said: list[str] = []

    def refused() -> tuple[str, list[str]]:
        raise HostError("no access to /dev/net/tun")

    def say(entry: object, text: str, *values: object, **fields: object) -> None:
        said.append(text % values)

    monkeypatch.setattr(service_reload, "say", say)
    lines: list[str] = []
    counts: Counter[str] = Counter()
    service_reload._guarded(parts, name, lines, counts, refused)
    assert not lines
    assert not counts
    return said[0]


def test_a_service_that_still_runs_is_told_from_one_that_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = SimpleNamespace(hubs={"h": object()}, clients={"c": object()})
    why = "no access to /dev/net/tun"
    for name in ("h", "c"):
        assert apply(parts, name, monkeypatch) == f"reload: service {name}: {why}; it stays as it was"
    gone = f"reload: service d: {why}; it does not run; the next reload tries again"
    assert apply(parts, "d", monkeypatch) == gone
