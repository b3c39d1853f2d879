"""The audit log: each change is a line, also where its file cannot be written for a while."""

from __future__ import annotations

import errno
import json
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import monkey

from lib import api_audit, api_audit_file, log_setup, service_threads
from lib.api_request import Request, Who
from lib.errors import HostError
from lib.log_file import LogFile
from lib.settings_telemetry import RotationSettings
from tests.support.api import Api, process

WHO = Request("POST", "/config", who=Who("eve", "admin"), client="192.0.2.9:5")
ROUTER = {"name": "new", "routes": [{"dst": "10.9.0.0/16", "gateway": "g"}]}


@pytest.fixture(autouse=True)
def at_the_end() -> Iterator[None]:
    yield
    api_audit.finish()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that is in use as the audit log."""
    found = tmp_path / "audit.log"
    api_audit.use(str(found))
    return found


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def changes(path: Path) -> list[str]:
    return [line["change"] for line in lines(path)]


def failing(monkeypatch: pytest.MonkeyPatch, *errors: OSError | None) -> None:
    """Let the next writes fail so; None for one that is done."""
    real, left = LogFile.write, list(errors)

    def write(self: LogFile, data: bytes) -> int:
        error = left.pop(0) if left else None
        if error is not None:
            raise error
        return real(self, data)

    monkeypatch.setattr(LogFile, "write", write)


FULL = OSError(errno.ENOSPC, "No space left on device")


def test_each_change_by_the_api_is_a_line(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    text = f"""\
routers: [{{name: r}}]
api: {{addr: 'unix://{tmp_path}/api.sock', auth: {{username: adm, password: secret}}, auditLog: {path}}}
"""
    with process(tmp_path / "c.yml", text) as api:
        assert api.ask("POST", "/config/routers", ROUTER, "adm:secret").status == 200
        assert api.ask("GET", "/config", login="adm:secret").status == 200
        assert api.ask("POST", "/config/routers", ROUTER, "adm:secret").status == 400
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert api.ask("DELETE", "/config/routers/new", login="adm:secret").status == 200
    first, second = lines(path)
    assert first.pop("time")[:2] == "20"
    assert first == {
        "user": "adm",
        "role": "admin",
        "peer": "127.0.0.1:1",
        "change": "create router new",
        "difference": ["router new: added, with 1 route of its own"],
    }
    assert second["change"] == "delete router new"


def test_a_line_is_bounded_and_has_no_secret(path: Path) -> None:
    url = "http://user:word@192.0.2.1/?token=abcdef"
    api_audit.tell(WHO, "change", [f"{url} {'x' * 5000}"] * 1000)
    [line] = lines(path)
    assert api_audit._plain("half \udc80") == "half \\udc80"
    assert len(line["difference"]) == api_audit.FILE_LINES + 1
    assert line["difference"][-1] == "and 800 more"
    assert all(len(one) <= api_audit.FILE_TEXT for one in line["difference"])
    assert "word" not in path.read_text()
    assert "abcdef" not in path.read_text()


def test_what_cannot_be_written_waits_and_is_told_once(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "tunrouter")
    monkeypatch.setattr(api_audit_file, "RETRY_SECONDS", 0.01)
    failing(monkeypatch, FULL, FULL, FULL)
    for number in range(2):
        api_audit.tell(WHO, f"change {number}")
    assert [one.event for one in log_setup.troubles()] == ["audit-failed"]
    with gevent.Timeout(5):
        while changes(path) != ["change 0", "change 1"]:
            gevent.sleep(0.005)
    assert not log_setup.troubles()
    told = [text for text in caplog.messages if "the audit log" in text]
    assert told == [
        f"the audit log {path} cannot be written: No space left on device; changes wait until it can, and are in this log",
        f"the audit log {path} is written again; all changes that waited are there",
    ]
    assert sum("web API: eve (admin)" in text for text in caplog.messages) == 2


def test_of_more_than_may_wait_the_file_says_how_many_are_missing(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(api_audit_file, "MAX_WAITING", 1000)
    failing(monkeypatch, *[FULL] * 20)
    for number in range(20):
        api_audit.tell(WHO, f"change {number:02}")
    assert path.read_text() == ""
    api_audit.tell(WHO, "after")
    found = changes(path)
    kept = len(found) - 1
    assert 3 < kept < 10
    assert found[:kept] == [f"change {number:02}" for number in range(kept)]
    assert found[kept] == f"{21 - kept} changes before this line could not be written here; the log has them"
    assert sum("no room for more changes" in text for text in caplog.messages) == 1
    api_audit.tell(WHO, "again")
    assert changes(path)[-1] == "again"


def test_a_line_of_which_a_part_was_written_is_written_anew(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    left = [10]

    def write(descriptor: int, data: bytes) -> int:
        if b"change" in data and left:
            return real(descriptor, data[: left.pop()])
        if not left:
            left.append(0)
            raise FULL
        return real(descriptor, data)

    monkeypatch.setattr("lib.log_file.os.write", write)
    api_audit.tell(WHO, "change 0")
    monkeypatch.setattr("lib.log_file.os.write", real)
    api_audit.tell(WHO, "change 1")
    torn, *whole = path.read_text().splitlines()
    assert len(torn) == 10
    assert [json.loads(line)["change"] for line in whole] == ["change 0", "change 1"]


def test_a_disk_that_hangs_holds_up_a_change_for_a_moment_only(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    service_threads.begin()
    monkeypatch.setattr(api_audit_file, "WRITE_SECONDS", 0.05)
    monkeypatch.setattr(api_audit_file, "RETRY_SECONDS", 0.01)
    hangs = (
        monkey.get_original("threading", "Event")()
        if monkey.is_module_patched("threading")
        else threading.Event()
    )
    real = LogFile.write

    def write(self: LogFile, data: bytes) -> int:
        hangs.wait(10)
        return real(self, data)

    monkeypatch.setattr(LogFile, "write", write)
    with gevent.Timeout(5):
        api_audit.tell(WHO, "change 0")
        api_audit.tell(WHO, "change 1")
        assert any("no answer from its disk" in text for text in caplog.messages)
        hangs.set()
        while len(lines(path)) < 2:
            gevent.sleep(0.005)
    assert changes(path) == ["change 0", "change 1"]


def test_it_is_rotated_and_opened_anew_where_it_is_moved(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api_audit.tell(WHO, "before")
    path.rename(path.with_suffix(".1"))
    api_audit.tell(WHO, "after")
    assert changes(path) == ["after"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    monkeypatch.setattr(api_audit_file, "ROTATION", RotationSettings(max_bytes=300, max_backups=2))
    api_audit.use("")
    api_audit.use(str(path))
    with gevent.Timeout(5):
        for number in range(12):
            api_audit.tell(WHO, f"change {number:02}")
        while len(old := sorted(path.parent.glob("audit-*.log"))) > 2:
            gevent.sleep(0.005)
    assert len(old) == 2
    assert {stat.S_IMODE(one.stat().st_mode) for one in old} == {0o600}
    assert changes(path)[-1] == "change 11"


def test_a_file_that_cannot_be_opened_ends_the_start_with_one_line(tmp_path: Path) -> None:
    text = f"api: {{addr: 'unix://{tmp_path}/api.sock', auditLog: {tmp_path}/no/audit.log}}\n"
    with (
        pytest.raises(HostError, match=r"audit log .*/no/audit\.log: No such file"),
        process(tmp_path / "c.yml", text),
    ):
        pass
    assert not (tmp_path / "api.sock").exists()


def test_a_reload_names_another_file_or_keeps_the_one_there_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config, first, second = tmp_path / "c.yml", tmp_path / "1.log", tmp_path / "2.log"
    text = "routers: [{name: r}]\napi: {addr: 'unix://%s/api.sock', auditLog: %s}\n"

    def reload(api: Api, path: Path) -> None:
        config.write_text(text % (tmp_path, path))
        assert api.changes.reload() == []

    with process(config, text % (tmp_path, first)) as api:
        api.ask("POST", "/config/routers", ROUTER)
        reload(api, second)
        api.ask("POST", "/config/routers", ROUTER)
        reload(api, tmp_path / "no" / "3.log")
        assert any("api: audit log" in text for text in caplog.messages)
        api.ask("POST", "/config/routers", ROUTER)
    assert (len(lines(first)), len(lines(second))) == (1, 2)


def test_an_undo_is_noted_also_where_the_api_has_gone(tmp_path: Path) -> None:
    path, config = tmp_path / "audit.log", tmp_path / "c.yml"
    api = f"api: {{addr: 'unix://{tmp_path}/api.sock', auditLog: {path}}}\n"
    with process(config, api) as made:
        found = made.ask("POST", "/config/routers?confirm=60s", ROUTER)
        assert found.status == 200
        server = made.parts.api
        assert server is not None
        server.close()
        made.parts.api = None
        confirmations = made.parts._confirmations
        assert confirmations is not None
        confirmations.undo(WHO, found.json["confirm"])
    assert changes(path) == ["create router new", "undo: create router new"]


def test_what_still_waits_at_the_end_is_told(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failing(monkeypatch, FULL, FULL)
    api_audit.tell(WHO, "change")
    api_audit.finish()
    assert f"1 change will not be in the audit log {path}: it cannot be written" in caplog.messages
    assert path.read_text() == ""


def test_the_end_of_a_process_writes_what_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where the API has gone before, and told where it cannot."""
    api = f"api: {{addr: 'unix://{tmp_path}/api.sock', auditLog: {tmp_path}/audit.log}}\n"
    for errors, kept in (((FULL,), 1), ((FULL, FULL), 1)):
        with process(tmp_path / "c.yml", api) as made:
            failing(monkeypatch, *errors)
            assert made.ask("POST", "/config/routers", ROUTER).status == 200
        assert len(lines(tmp_path / "audit.log")) == kept
    assert sum("1 change will not be in the audit log" in text for text in caplog.messages) == 1
