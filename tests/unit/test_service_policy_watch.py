"""Policy tests of a running process: run again after changes of tables, told once, shown everywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lib import (
    cli_health,
    cli_show,
    config_read,
    config_resolve,
    ctl_health,
    ctl_policy,
    metrics,
    service_policy,
    service_policy_watch,
    service_supervisor,
)
from lib.cli_paper import Paper
from lib.hub_tables import Tables
from lib.log_events import Entry
from lib.metrics import Seen
from lib.route_live import LiveRoutes
from lib.service_policy_watch import PolicyWatch
from lib.settings import Hop, Settings

HUB = """services:
- {name: hub, addr: ':8443', handler: {type: router, metadata: {router: r}}, listener: {type: tcp}}
routers:
- {name: r, pool: 10.9.0.0/24, file: {path: ROUTES}, routes: [{dst: 10.0.0.1, gateway: host-1}]}
"""
HOLDS = "{from: host-1, to: 10.2.0.9, expect: allow}"
FAILS = "{from: host-1, to: 10.2.0.9, expect: deny}"
Said = list[tuple[Entry, str]]


def settings(routes: Path, *tests: str) -> Settings:
    text = HUB.replace("ROUTES", str(routes)) + ("tests:\n" if tests else "")
    return config_resolve.resolve(config_read.read([("f", text + "".join(f"- {one}\n" for one in tests))]))


class Process:
    """The tables and the watch of a process, whose tests are run when a test says so."""

    def __init__(self, routes: Path) -> None:
        self.routes = routes
        self.settings = settings(routes, HOLDS)
        self.tables = Tables(self.settings)
        self.watch = PolicyWatch(lambda: self.settings, self.tables)
        ((_, live),) = self.tables.routers()
        assert isinstance(live, LiveRoutes)
        self.live = live

    def read(self, text: str) -> None:
        """Let the file of routes hold this text, and its feed have read it."""
        self.routes.write_text(text)
        self.live.feed.refresh()
        assert self.live.feed.wait(5.0)
        self.watch.look()


@pytest.fixture
def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Process]:
    monkeypatch.setattr(service_policy_watch, "SHARE", 0)
    monkeypatch.setattr(service_supervisor, "_tasks", [])
    routes = tmp_path / "routes"
    routes.write_text("10.2.0.0/16 host-2\n")
    made = Process(routes)
    service_supervisor._tasks.append(made.watch._task)
    made.tables.start()
    assert made.tables.wait_loaded(5.0)
    yield made
    made.tables.stop()


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Said:
    lines: Said = []

    def say(entry: Entry, text: str, *values: object, **fields: object) -> None:
        lines.append((entry, text % values))
        assert set(fields) == entry.fields, "the fields that are documented"

    monkeypatch.setattr(service_policy_watch, "say", say)
    return lines


def test_a_source_s_change_that_makes_a_test_fail_is_told_once_and_so_is_its_end(
    process: Process, said: Said
) -> None:
    process.watch.look()
    assert said == [], "a test that holds from the start is not worth a line"
    process.read("10.3.0.0/16 host-2\n")
    process.read("10.4.0.0/16 host-2\n")
    ((entry, line),) = said
    assert entry is Entry.POLICY_FAILS
    assert "f:6:" in line
    assert "policy test host-1 to 10.2.0.9: it expects allow, but the packet from 10.0.0.1 is dropped" in line
    process.read("10.2.0.0/16 host-2\n")
    assert said[1:] == [(Entry.POLICY_HOLDS, "policy test host-1 to 10.2.0.9: allow: it holds again")]


def test_one_that_fails_from_the_start_is_told(process: Process, said: Said) -> None:
    process.settings = settings(process.routes, FAILS)
    process.watch.look()
    process.watch.look()
    assert [entry for entry, _ in said] == [Entry.POLICY_FAILS]


def test_a_source_that_was_never_read_is_told_and_read_later_ends_that(
    tmp_path: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_policy_watch, "SHARE", 0)
    process = Process(tmp_path / "missing")
    try:
        process.tables.start()
        process.tables.wait_loaded(5.0)
        process.watch.look()
        process.read("10.2.0.0/16 host-2\n")
    finally:
        process.tables.stop()
    assert [entry for entry, _ in said] == [Entry.POLICY_NOT_JUDGED, Entry.POLICY_HOLDS]
    assert "has never been read" in said[0][1]


def runs(process: Process, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How often tests were run since the last call."""
    count = 0
    real = service_policy.outcomes

    def counted(*arguments: Any) -> Any:
        nonlocal count
        count += 1
        return real(*arguments)

    monkeypatch.setattr(service_policy_watch, "outcomes", counted)

    def since() -> int:
        nonlocal count
        process.watch.look()
        found, count = count, 0
        return found

    return since


def test_what_changes_a_table_or_the_tests_has_them_run_and_nothing_else(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    since = runs(process, monkeypatch)
    assert since() == 1
    assert since() == 0, "nothing has changed"
    process.live.lend({(b"\x0a\x09\x00\x07", 32): Hop("host-7")})
    assert since() == 1, "a lease of the pool"
    process.live.route_enrolled(b"10.5.0.0/16 host-5\n")
    assert since() == 1, "an enrolled host"
    process.settings = settings(process.routes, HOLDS, FAILS)
    assert since() == 1, "a reload with other tests"
    assert process.watch.counts() == {"holds": 1, "fails": 1, "not judged": 0}
    process.settings = settings(process.routes)
    assert since() == 0
    assert process.watch.counts() == {"holds": 0, "fails": 0, "not judged": 0}, "there are none any more"


def test_a_table_that_changes_all_the_time_leaves_time_for_packets(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_policy_watch, "SHARE", 1_000_000)
    since = runs(process, monkeypatch)
    assert since() == 1
    process.live.route_enrolled(b"10.5.0.0/16 host-5\n")
    assert since() == 0, "it waits"
    process.settings = settings(process.routes, FAILS)
    assert since() == 1, "a reload does not"


def test_status_health_and_metrics_show_what_fails(process: Process) -> None:
    process.settings = settings(process.routes, HOLDS, FAILS)
    assert ctl_policy.policy(False)["ran_s"] is None
    process.watch.look()
    found = ctl_policy.policy(False)
    assert (found["holds"], found["fails"], found["not_judged"]) == (1, 1, 0)
    problems: Any = found["problems"]
    assert [(one["test"], one["expect"], one["outcome"]) for one in problems] == [
        ("host-1 to 10.2.0.9", "deny", "fails")
    ]
    assert ctl_policy.policy(True)["problems"] == [], "a question about one host"
    health = ctl_health.health({}, {}, {})
    assert health["healthy"], "a restart would not mend it"
    assert health["warnings"] == ["1 policy test fails"]
    assert cli_health.line(health) == "healthy: 1 policy test fails"
    text = b"".join(metrics.exposition(Seen({}, {}, process.tables))).decode()
    assert 'tunrouter_policy_tests{outcome="fails"} 1.0' in text
    assert 'tunrouter_policy_tests{outcome="holds"} 1.0' in text
    reply = {
        "software": "tunrouter", "pid": 1, "uptime_s": 1.0, "hubs": [], "sessions": [], "clients": [],
        "tables": [], "refused": {}, "policy": found, "user": "root", "control": "/run/x",
    }  # fmt: skip
    page = "\n".join(cli_show._status(reply, Paper(None, False)))
    assert "policy test host-1 to 10.2.0.9: it expects deny, but the packet" in page


def test_it_runs_by_itself_while_the_process_serves(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_policy_watch, "LOOK_SECONDS", 0.01)
    told = SimpleNamespace(entries=[])

    def say(entry: Entry, *_: object, **__: object) -> None:
        told.entries.append(entry)
        done.set()

    from gevent.event import Event

    done = Event()
    monkeypatch.setattr(service_policy_watch, "say", say)
    service_supervisor._tasks.clear()
    process.watch.start()
    assert service_supervisor.running(PolicyWatch) == [process.watch]
    try:
        process.routes.write_text("10.3.0.0/16 host-2\n")
        process.live.feed.refresh()
        assert done.wait(5.0)
        assert told.entries == [Entry.POLICY_FAILS]
        done.clear()
        process.settings = settings(process.routes, FAILS)
        process.watch.wake()
        process.routes.write_text("10.2.0.0/16 host-2\n")
        process.live.feed.refresh()
        assert done.wait(5.0)
    finally:
        process.watch.stop()
    assert process.watch not in service_supervisor.running(PolicyWatch)
