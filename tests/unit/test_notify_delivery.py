"""Delivery of events: to a real web server and real commands, what fails is tried again, what is too much dropped."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent.pywsgi import WSGIServer

from lib import log_setup, notify_delivery, service_supervisor
from lib.notify_delivery import Receiver, wall_clock
from lib.settings_notify import NotifySettings

pytestmark = pytest.mark.usefixtures("own_children")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """No second is waited between two tries; returns what is logged."""
    said: list[str] = []
    monkeypatch.setattr(notify_delivery, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(notify_delivery, "say", lambda event, text, *words, **_: said.append(text % words))
    return said


class Web:
    """A web server that keeps what is posted, and replies as it is told to."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.got: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.hangs = False
        self.server = WSGIServer(("127.0.0.1", 0), self._answer, log=None)
        self.server.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?key=secret-in-url"

    def _answer(self, environ: dict[str, Any], start: Callable[..., object]) -> list[bytes]:
        assert (environ["REQUEST_METHOD"], environ["PATH_INFO"]) == ("POST", "/hook")
        self.headers.append(
            {key: str(value) for key, value in environ.items() if key.startswith(("HTTP", "CONTENT"))}
        )
        self.got.append(json.loads(environ["wsgi.input"].read()))
        while self.hangs:
            gevent.sleep(0.01)
        status = self.statuses.pop(0) if self.statuses else 200
        start(f"{status} so", [("Location", "/elsewhere")] if status == 302 else [])
        return [b"x" * 100_000 if status == 201 else b"ok"]


@pytest.fixture
def web() -> Iterator[Web]:
    made = Web()
    yield made
    made.hangs = False
    made.server.stop(timeout=1)


@contextmanager
def receiving(**settings: Any) -> Iterator[Receiver]:
    made = Receiver(NotifySettings("n", **settings))
    made.start()
    try:
        yield made
    finally:
        made.stop()
    assert made not in service_supervisor.running(Receiver)


def wait_for(true: Callable[[], object]) -> None:
    with gevent.Timeout(10):
        while not true():
            gevent.sleep(0.01)


def done(receiver: Receiver) -> tuple[int, int, int]:
    """Wait until nothing waits any more; (delivered, failed, dropped)."""
    wait_for(lambda: not receiver.waiting)
    counts = receiver.counts
    return counts.delivered, counts.failed, counts.dropped


def test_events_are_posted_in_order(web: Web) -> None:
    with receiving(url=web.url, headers=(("Authorization", "Bearer s3cret"),)) as receiver:
        for number in range(3):
            receiver.put({"event": "join", "host": f"h-{number}", "odd": "\udcff\n"})
        assert done(receiver) == (3, 0, 0)
    assert [one["host"] for one in web.got] == ["h-0", "h-1", "h-2"]
    assert web.headers[0]["HTTP_AUTHORIZATION"] == "Bearer s3cret"
    assert web.headers[0]["CONTENT_TYPE"] == "application/json"


@pytest.mark.parametrize("status", [500, 503, 429, 408])
def test_what_may_be_granted_later_is_tried_again(web: Web, status: int, quick: list[str]) -> None:
    web.statuses = [status, status]
    with receiving(url=web.url) as receiver:
        receiver.put({"event": "join"})
        receiver.put({"event": "leave"})
        assert done(receiver) == (2, 0, 0)
        assert receiver.error == ""
    assert [one["event"] for one in web.got] == ["join", "join", "join", "leave"]
    assert quick == [f"notify n: tried again: HTTP status {status}"] * 2


@pytest.mark.parametrize(("status", "tries"), [(400, 1), (404, 1), (302, 1), (500, 4)])
def test_what_is_given_up_is_counted_and_the_next_one_goes_on(
    web: Web, status: int, tries: int, quick: list[str]
) -> None:
    web.statuses = [status] * tries
    with receiving(url=web.url, retries=3) as receiver:
        receiver.put({"event": "join"})
        receiver.put({"event": "leave"})
        assert done(receiver) == (1, 1, 0)
    assert len(web.got) == tries + 1
    assert quick[-1] == f"notify n: given up: HTTP status {status}"
    assert not any("secret" in line for line in quick)


def test_a_long_reply_is_not_read_and_no_failure(web: Web) -> None:
    web.statuses = [201, 200]
    with receiving(url=web.url) as receiver:
        receiver.put({})
        receiver.put({})
        assert done(receiver) == (2, 0, 0)


def test_a_server_that_never_answers_meets_its_deadline_and_the_queue_its_bound(
    web: Web, quick: list[str]
) -> None:
    web.hangs = True
    with receiving(url=web.url, timeout=0.2, queue=3, retries=0) as receiver:
        for number in range(10):
            receiver.put({"host": number})
        assert receiver.waiting == 3
        assert receiver.counts.dropped == 7
        wait_for(lambda: receiver.counts.failed)
        assert receiver.error == "no reply within 0.2 s"
        web.hangs = False
        wait_for(lambda: not receiver.waiting)
        assert [one["host"] for one in web.got[-2:]] == [8, 9], "the newest are what counts"
    assert "notify n: dropped: an event, since too many wait" in quick


def test_nobody_listens(quick: list[str]) -> None:
    with receiving(url="http://127.0.0.1:1/secret", retries=1) as receiver:
        receiver.put({})
        assert done(receiver) == (0, 1, 0)
        assert "refused" in receiver.error
    assert not any("secret" in line for line in quick)


def test_a_command_gets_the_event_as_json_and_in_its_environment(tmp_path: Path) -> None:
    path = tmp_path / "got"
    command = (
        "sh",
        "-c",
        f'cat > {path}; echo "$TUNROUTER_EVENT $TUNROUTER_PREFIXES $TUNROUTER_HOST" >> {path}',
    )
    with receiving(command=command) as receiver:
        receiver.put({"event": "takeover", "host": "$(reboot)\n", "prefixes": ["a", "b"]})
        assert done(receiver) == (1, 0, 0)
    body, *words = path.read_text().split("\n")
    assert json.loads(body)["event"] == "takeover"
    assert words[0] == "takeover a b $(reboot)"


def test_a_command_that_fails_is_tried_again(tmp_path: Path, quick: list[str]) -> None:
    mark = tmp_path / "mark"
    with receiving(command=("sh", "-c", f"echo no; test -e {mark} || ! touch {mark}"), retries=2) as receiver:
        receiver.put({})
        assert done(receiver) == (1, 0, 0)
    assert quick == ["notify n: tried again: sh: ended with status 1: no"]


def test_an_error_of_ours_is_no_fault_of_the_process(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_setup, "say", lambda *_, **__: None)
    monkeypatch.setattr(service_supervisor, "say", lambda *_, **__: None)
    with receiving(url=web.url) as receiver:
        receiver.put({"event": object()})
        wait_for(lambda: receiver._task.failures)
        assert receiver._task.fault(1e9) == ""
        receiver.put({"event": "join"})
        assert done(receiver) == (1, 1, 0)


def test_the_time_of_day() -> None:
    assert wall_clock(0.0)[-1] == "Z"
    assert len(wall_clock(0.0)) == len("2026-11-26T17:00:00.000Z")
