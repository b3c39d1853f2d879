"""`/healthz` and `/readyz`: what makes a process ready beside what makes it healthy."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib import ctl_health, service_supervisor
from lib.hub_tables import Tables
from lib.settings import Settings, TableSettings
from lib.settings_sources import FileSource, HttpSource, SourceSettings
from tests.unit.test_cli_health import client, hub


@pytest.fixture(autouse=True)
def no_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other tests have left does not count."""
    monkeypatch.setattr(service_supervisor, "fault", lambda: "")


def test_healthz_says_what_tunrouter_health_says() -> None:
    tables = Tables(Settings())
    hubs, clients = {"hub": hub(), "ends": hub("ends", listens=False)}, {"c": client("host-1", "hub:1")}
    probes = ctl_health.probes(hubs, clients, tables, lambda: True)
    assert probes["/healthz"]() == ctl_health.health(hubs, clients, {})["problems"]
    assert len(probes["/healthz"]()) == 1


def test_ready_is_who_listens_has_read_its_sources_and_shall_go_on(tmp_path: Path) -> None:
    """A source that fails is one that was not read: what is in it is missing."""
    rows = tmp_path / "routes"
    away = HttpSource("http://user:secret@127.0.0.1:9/routes?token=secret", 1.0)
    settings = Settings(
        tables=(
            TableSettings("r", more=SourceSettings((FileSource(str(rows)),))),
            TableSettings("empty"),
        )
    )
    tables, ends = Tables(settings), False
    ready = ctl_health.probes({"hub": hub()}, {}, tables, lambda: ends)["/readyz"]
    assert [line.partition(": ")[2] for line in ready()] == [f"{rows} has not been read yet"]
    try:
        tables.start()
        assert tables.wait_loaded(5)
        assert "No such file" in ready()[0]
        rows.write_text("10.0.0.0/24 host-1\n")
        tables.refresh()
        assert tables.wait_loaded(5)
        assert ready() == []
        rows.unlink()
        tables.refresh()
        assert tables.wait_loaded(5)
        assert ready() == [], "its last good rows stay"
        ends = True
        assert ready() == ["the process has been told to end"]
    finally:
        tables.stop()
    closed = Tables(Settings(tables=(TableSettings("h", more=SourceSettings((away,))),)))
    (line,) = ctl_health.probes({}, {}, closed, lambda: False)["/readyz"]()
    assert "secret" not in line


def test_a_hub_that_does_not_listen_is_not_ready() -> None:
    tables = Tables(Settings())
    assert len(ctl_health.probes({"h": hub(listens=False)}, {}, tables, lambda: False)["/readyz"]()) == 1
    assert len(ctl_health.probes({}, {"c": client("host-1")}, tables, lambda: False)["/readyz"]()) == 1
