"""Tasks that must run for ever: started again, counted, told of once, a fault only where nothing helps."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from gevent.event import Event

from lib import service_supervisor
from lib.service_supervisor import BACKOFF, BROKEN_SECONDS, STEADY_SECONDS, Task, keep


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """The fields of every event."""
    lines: list[dict[str, Any]] = []
    monkeypatch.setattr(service_supervisor, "say", lambda *a, **fields: lines.append(fields))
    monkeypatch.setattr(service_supervisor, "BACKOFF", (0.001, 0.002))
    yield lines
    for task in service_supervisor.tasks():
        task.kill()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The steady clock, which stands still."""
    now = SimpleNamespace(at=1000.0)
    monkeypatch.setattr(service_supervisor, "time", SimpleNamespace(monotonic=lambda: now.at))
    return now


def test_who_works_is_found_by_kind_from_start_to_stop(said: list[dict[str, Any]]) -> None:
    class Worker:
        def __init__(self) -> None:
            self.task = Task("works", Event().wait, of=self)

    first, second = Worker(), Worker()
    keep("nobody's", Event().wait)
    assert service_supervisor.running(Worker) == []
    first.task.start()
    second.task.start()
    assert service_supervisor.running(Worker) == [first, second]
    first.task.kill()
    assert service_supervisor.running(Worker) == [second]
    assert service_supervisor.running(Event) == []


@pytest.mark.parametrize(
    "error",
    [ValueError("Invalid IPv6 URL"), TypeError("int"), RecursionError(), MemoryError(), OSError(5, "x")],
)
def test_a_task_that_fails_is_started_again_and_told_of(said: list[dict[str, Any]], error: Exception) -> None:
    runs, well = [0], Event()

    def run() -> None:
        runs[0] += 1
        if runs[0] < 4:
            raise error
        well.set()
        gevent.sleep(60)

    task = keep("x is done", run)
    assert well.wait(5)
    assert (task.failures, len(said)) == (3, 3)
    assert said[0]["task"] == "x is done"
    assert said[0]["reason"].startswith(f"{type(error).__name__}: ")
    assert "test_service_supervisor.py:" in task.error
    assert not task.dead
    assert service_supervisor.fault() == "", "three failures are no fault of the process"


def test_pauses_get_longer_up_to_a_bound(said: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_supervisor, "BACKOFF", BACKOFF)
    pauses: list[float] = []
    enough = Event()

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 12:
            enough.set()
            gevent.getcurrent().kill(block=False)
        gevent.sleep(0)

    monkeypatch.setattr(service_supervisor, "gevent", SimpleNamespace(sleep=sleep, spawn=gevent.spawn))
    keep("x", lambda: 1 / 0)
    assert enough.wait(5)
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0, 30.0]


def test_what_must_not_end_and_does_is_a_fault(said: list[dict[str, Any]]) -> None:
    ends = keep("x is done", lambda: None)
    may_end = Task("y", lambda: None, may_end=True).start()
    gevent.sleep(0)
    gevent.sleep(0)
    assert ends.dead
    assert may_end.dead
    assert service_supervisor.fault() == "x is done: has ended"
    assert [task.name for task in service_supervisor.tasks()] == ["x is done"]


def test_a_killed_task_is_forgotten(said: list[dict[str, Any]]) -> None:
    task = keep("x", gevent.sleep, 60)
    assert task in service_supervisor.tasks()
    task.kill()
    assert task not in service_supervisor.tasks()
    assert (task.failures, said) == (0, []), "its end is no failure"


def test_a_part_that_fails_costs_the_others_nothing(
    said: list[dict[str, Any]], clock: SimpleNamespace
) -> None:
    task = Task("x", lambda: None)
    done = [task.attempt(lambda n: 1 / n, n) for n in (1, 0, 2)]
    assert done == [True, False, True]
    assert task.failures == 1
    assert task.failing_for(clock.at) == 0.0
    assert task.failing_for(clock.at + STEADY_SECONDS + 1) is None


def test_failing_again_and_again_is_a_fault_until_it_is_well(
    said: list[dict[str, Any]], clock: SimpleNamespace
) -> None:
    task = Task("x", lambda: None)
    for _ in range(5):
        task.attempt(lambda: 1 / 0)
        clock.at += BROKEN_SECONDS / 3
    assert task.fault(clock.at).startswith("x: ZeroDivisionError")
    assert task.fault(clock.at + STEADY_SECONDS) == ""
    clock.at += STEADY_SECONDS + 1
    task.attempt(lambda: 1 / 0)
    assert task.fault(clock.at) == "", "a new series"


def test_deadlines_of_others_pass(said: list[dict[str, Any]]) -> None:
    task = Task("x", lambda: None)
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.01):
        task.attempt(gevent.sleep, 60)
    assert task.failures == 0


def test_a_task_that_is_not_vital_is_counted_and_no_fault(
    said: list[dict[str, Any]], clock: SimpleNamespace
) -> None:
    task = Task("x is shown", lambda: None, vital=False)
    for _ in range(5):
        task.note(ValueError("x"))
        clock.at += BROKEN_SECONDS / 2
    assert (task.failures, len(said)) == (5, 5)
    assert task.failing_for(clock.at) is not None, "status shows it"
    assert task.fault(clock.at) == ""
    other = Task("x is done", lambda: None)
    for _ in range(5):
        other.note(ValueError("x"))
        clock.at += BROKEN_SECONDS / 2
    assert "x is done: ValueError" in other.fault(clock.at)


def test_a_server_that_no_longer_accepts_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_supervisor, "LOOK_SECONDS", 0.001)
    server = SimpleNamespace(closed=False)
    watching = gevent.spawn(service_supervisor.watch_server, server)
    gevent.sleep(0.01)
    assert not watching.ready()
    server.closed = True
    with pytest.raises(RuntimeError, match="nothing is accepted"):
        watching.get(timeout=5)


@pytest.fixture
def watched(said: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """What is said of greenlets that are no tasks."""
    hub = gevent.get_hub()
    service_supervisor.watch_greenlets()
    others().failures = 0
    yield said
    others().kill()
    del hub.print_exception


def others() -> Task:
    return next(task for task in service_supervisor.tasks() if task.name == service_supervisor.OTHERS)


def test_what_ends_any_other_greenlet_is_one_line_and_counted(
    watched: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    for error in (ValueError("x"), RecursionError(), UnicodeError("idna")):

        def fail(raised: Exception = error) -> None:
            raise raised

        gevent.spawn(fail).join()
    names = [fields["reason"].partition(":")[0] for fields in watched]
    assert names == ["ValueError", "RecursionError", "UnicodeError"]
    assert all("test_service_supervisor.py:" in fields["reason"] for fields in watched)
    assert others().failures == 3
    assert capsys.readouterr().err == "", "no traceback"


def test_others_errors_are_no_fault_of_the_process(
    watched: list[dict[str, Any]], clock: SimpleNamespace
) -> None:
    """A peer that can cause one must not be able to have the process restarted."""
    for _ in range(100):
        service_supervisor.note(ValueError("never raised"))
        clock.at += 1
    assert others().failures == 100
    assert service_supervisor.fault() == ""


def test_the_end_of_a_greenlet_that_was_killed_is_no_error(watched: list[dict[str, Any]]) -> None:
    ended = gevent.spawn(gevent.sleep, 60)
    gevent.sleep(0)
    ended.kill()
    assert (watched, others().failures) == ([], 0)


def test_a_log_that_fails_leaves_the_traceback(
    watched: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*arguments: object, **fields: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(service_supervisor, "say", broken)
    gevent.spawn(lambda: 1 / 0).join()
    assert "ZeroDivisionError" in capsys.readouterr().err
