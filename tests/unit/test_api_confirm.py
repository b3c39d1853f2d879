"""A change that undoes itself unless it is confirmed."""

from __future__ import annotations

import gc
from functools import partial
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent.event import Event

from lib import api_confirm, service_release
from lib.api_confirm import Confirmations
from lib.api_request import Refused, Request, Who
from tests.support.api import process as process_of


class Process:
    """A configuration with a number, and what was undone."""

    def __init__(self) -> None:
        self.version, self.undone = 1, 0
        self.waiting = Confirmations(lambda: self.version)

    def change(self, confirm: str) -> int | None:
        self.waiting.check_free()
        asked = request(confirm=confirm)
        api_confirm.seconds(asked)
        self.version += 1
        return self.waiting.begin(asked, "set a service", self.undo)

    def undo(self, version: int) -> bool:
        if version != self.version:
            return False
        self.version += 1
        self.undone += 1
        return True


def request(**query: Any) -> Request:
    return Request("POST", "/x", query=query, who=Who("ada"), client="192.0.2.1:5")


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Process:
    monkeypatch.setattr(api_confirm, "LEAST_SECONDS", 0.0)
    return Process()


def status(act: Any, *about: Any) -> int:
    with pytest.raises(Refused) as found:
        act(*about)
    return found.value.status


def test_without_it_nothing_waits(process: Process) -> None:
    assert process.change("") is None
    assert process.waiting.pending is None


def test_what_is_confirmed_stays(process: Process, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    number = process.change("60s")
    assert number is not None
    assert status(process.waiting.confirm, request(), number + 1) == 409
    pending = process.waiting.pending
    assert pending is not None
    assert (pending["change"], pending["user"], 59 < pending["left_s"] <= 60) == (
        "set a service",
        "ada",
        True,
    )
    process.waiting.confirm(request(), number)
    assert (process.waiting.pending, process.undone) == (None, 0)
    assert status(process.waiting.confirm, request(), number) == 409
    assert "web API: ada (admin) from 192.0.2.1:5: confirm: set a service" in caplog.messages


def test_what_nobody_confirms_is_undone(process: Process, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    process.change("20ms")
    with gevent.Timeout(5):
        while not process.undone:
            gevent.sleep(0.005)
    assert process.waiting.pending is None
    assert "nobody has confirmed it: set a service" in caplog.text
    process.waiting.check_free()


def test_while_it_is_undone_nothing_is_saved_either(process: Process) -> None:
    """It takes a while, in which the configuration is still the one that nobody has confirmed."""
    begun, go = Event(), Event()

    def slow(version: int) -> bool:
        begun.set()
        return bool(go.wait())

    number = process.waiting.begin(request(confirm="60s"), "x", slow)
    assert number is not None
    undoing = gevent.spawn(process.waiting.undo, request(), number)
    assert begun.wait(5)
    assert status(process.waiting.check_free) == 409
    assert status(process.waiting.confirm, request(), number) == 409
    go.set()
    undoing.join(5)
    process.waiting.check_free()


def test_somebody_may_undo_it_at_once(process: Process) -> None:
    number = process.change("60s")
    assert number is not None
    process.waiting.undo(request(), number)
    assert (process.undone, process.waiting.pending) == (1, None)


def test_while_one_waits_nothing_else_is_changed_or_saved(process: Process) -> None:
    process.change("60s")
    assert status(process.change, "") == 409
    process.waiting.stop()
    assert process.change("") is None


def test_files_that_were_read_since_count(process: Process, caplog: pytest.LogCaptureFixture) -> None:
    """A reload has put everything in place: what was before the change must not come back over it."""
    caplog.set_level("INFO")
    number = process.change("60s")
    assert number is not None
    process.version += 1
    assert status(process.waiting.undo, request(), number) == 409
    assert process.undone == 0
    assert process.waiting.pending is None
    assert "nothing to undo" in caplog.text


def test_what_cannot_be_undone_is_in_the_log_and_ends_nothing(
    process: Process, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(version: int) -> bool:
        raise OSError("port in use")

    number = process.waiting.begin(request(confirm="60s"), "x", fails)
    assert number is not None
    assert status(process.waiting.undo, request(), number) == 409
    assert "port in use" in caplog.text


def test_what_is_begun_goes_on_where_its_caller_is_killed() -> None:
    begun, go, made = Event(), Event(), Event()

    def work() -> str:
        begun.set()
        go.wait(5)
        made.set()
        return "made"

    caller = gevent.spawn(api_confirm.to_the_end, work)
    assert begun.wait(5)
    caller.kill()
    go.set()
    assert made.wait(5)
    assert api_confirm.to_the_end(work) == "made"
    assert status(api_confirm.to_the_end, partial(refuse, "x")) == 409


def refuse(text: str) -> None:
    raise Refused(409, text)


@pytest.mark.parametrize("text", ["1s", "2h", "x", "-5", "1e9", "0", "61m", "9" * 50])
def test_a_time_that_is_none(text: str) -> None:
    assert status(api_confirm.seconds, request(confirm=text)) == 400


@pytest.mark.parametrize(("text", "found"), [("60s", 60), ("60", 60), ("1m30s", 90), ("", 0), ("1h", 3600)])
def test_times(text: str, found: float) -> None:
    assert api_confirm.seconds(request(confirm=text)) == found


def test_what_a_change_has_kept_until_it_was_confirmed_goes_in_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows of a router that was replaced are kept to be put back, and hold up no packet when they go."""
    given: list[list[Any]] = []
    monkeypatch.setattr(service_release, "later", lambda some: given.append(list(some)))

    def let_go() -> int:
        steps: list[None] = []
        while given:
            service_release.let_go(given.pop(), lambda: steps.append(None))
        return len(steps)

    def routes(count: int) -> dict[str, Any]:
        return {
            "routes": [{"dst": f"10.{one >> 8}.{one & 255}.0/24", "gateway": "g"} for one in range(count)]
        }

    with process_of(
        tmp_path / "a.yml", "routers: [{name: r}]\napi: {addr: 'unix:///tmp/c-PORT.sock'}\n"
    ) as api:
        assert api.ask("PUT", "/config/routers/r", routes(2000)).status == 200
        let_go()
        answer = api.ask("PUT", "/config/routers/r?confirm=60s", routes(1))
        gc.collect()
        assert let_go() < 2000, "they may be put back"
        kept = {"X-Tunrouter": "1", "Content-Type": "application/json"}
        body = {"id": answer.json["confirm"]}
        assert api.ask("POST", "/x/confirm", body, headers=kept).status == 200
        assert let_go() > 2000
