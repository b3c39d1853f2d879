"""Tasks that must run for ever: each in a greenlet, started again when it fails, counted, and told of.

Knows: which there are in this process, how often each has failed and why, how long to wait before the next
start.
Refuses to know: what a task does, and who asks (ctl_status, metrics, service_watchdog).

    task                                     started by          what ends it
    connections are accepted                 hub_accept          the hub stops; gevent itself tries again
    sessions are looked after                hub                 the hub stops
    sources of a table are read              source_feed         the table goes
    files are watched                        source_watch        the process ends
    settings are read again, the log kept    service             the process ends
    the service manager is told              service_watchdog    the process ends
    traces and decisions are counted         capture_service     the process ends
    a device is read, a hub is dialled       client              the client stops
    a session is looked after, a way home    client              the session ends

Everything else that runs in a greenlet belongs to one connection, one request or one question of a plugin,
and ends with it: whoever started it cleans up, whatever comes.
"""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable
from typing import Any

import gevent

from lib.log_dedup import OUTAGE
from lib.log_events import Entry
from lib.log_setup import say

BACKOFF = 0.1, 30.0
"""Seconds until a task is started again: at first, and at most (doubling)."""
STEADY_SECONDS = 60.0
"""A task that has run for so long is well again."""
BROKEN_SECONDS = 30.0
"""A task that has failed again and again for so long is a fault of the process."""

_tasks: list[Task] = []


class Task:
    """A function that runs for ever."""

    def __init__(
        self, name: str, run: Callable[..., object], *arguments: object, may_end: bool = False
    ) -> None:
        """name is what people are told, in a few words. Nothing runs before start().

        With may_end the function may come to its end; otherwise that is a fault.
        """
        self.name = name
        self._may_end = may_end
        self.failures = 0
        """How often it has failed, and with it parts of its work (attempt)."""
        self.error = ""
        """Why, the last time."""
        self._run, self._arguments = run, arguments
        self._failing_since = self._failed_at = 0.0
        self._greenlet: Any = None

    def start(self) -> Task:
        """Run from now on."""
        if self._greenlet is None:
            self._greenlet = gevent.spawn(self._keep_running)
            _tasks.append(self)
        return self

    def kill(self, block: bool = True) -> None:
        """Run no more."""
        self._forget()
        if self._greenlet is not None:
            self._greenlet.kill(block=block)

    @property
    def dead(self) -> bool:
        """Whether it has been started and has ended: not even tried again."""
        return self._greenlet is not None and bool(self._greenlet.dead)

    def attempt(self, step: Callable[..., object], *arguments: object) -> bool:
        """Do one part of a task's work; False where it failed, which costs the others nothing."""
        try:
            step(*arguments)
        except Exception as error:  # noqa: BLE001  whatever it is, what must run goes on, and it is told
            self._failed(error)
            return False
        return True

    def failing_for(self, now: float) -> float | None:
        """For how many seconds it has failed again and again; None where it is well."""
        if not self._failing_since or now - self._failed_at > STEADY_SECONDS:
            return None
        return now - self._failing_since

    def fault(self, now: float) -> str:
        """What is wrong that only a new start of the process may help against; empty if nothing is."""
        if self.dead:
            return f"{self.name}: has ended"
        if self.failing_for(now) is not None and self._failed_at - self._failing_since > BROKEN_SECONDS:
            return f"{self.name}: {self.error}"
        return ""

    def _keep_running(self) -> None:
        pause, longest = BACKOFF
        while True:
            began = time.monotonic()
            if self.attempt(self._run, *self._arguments):
                if self._may_end:
                    self._forget()
                return
            if time.monotonic() - began > STEADY_SECONDS:
                pause = BACKOFF[0]
            gevent.sleep(pause)
            pause = min(2 * pause, longest)

    def _forget(self) -> None:
        if self in _tasks:
            _tasks.remove(self)

    def _failed(self, error: Exception) -> None:
        now = time.monotonic()
        if self.failing_for(now) is None:
            self._failing_since = now
        self._failed_at = now
        self.failures += 1
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{os.path.basename(place.filename)}:{place.lineno}"
        self.error = f"{type(error).__name__}: {str(error)[:200]} ({where})"
        text = "%s: %s: this must not happen; it is tried again"
        told = (self.name, self.error)
        say(Entry.TASK_FAILED, text, *told, fold=self.name, habit=OUTAGE, task=self.name, reason=self.error)


def keep(name: str, run: Callable[..., object], *arguments: object) -> Task:
    """Run a function for ever from now on."""
    return Task(name, run, *arguments).start()


def tasks() -> list[Task]:
    """Every task of this process."""
    return list(_tasks)


def fault() -> str:
    """What must run and does not, empty if all is well."""
    now = time.monotonic()
    return "; ".join(filter(None, (task.fault(now) for task in _tasks)))
