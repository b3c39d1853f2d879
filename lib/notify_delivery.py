"""Delivery of notifications, one at a time, to a command or as JSON to a URL; tried again, queue bounded.

Knows: what an event looks like there (PROTOCOL.md, notifications), which failures are worth another try.
Refuses to know: when there is an event (notify_presence).

Each receiver has a queue and one greenlet. So one that answers nothing holds up no other, and no packet.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import gevent
from gevent.event import Event as Bell

from lib import service_command, service_environment
from lib.log_dedup import OUTAGE
from lib.log_events import Entry
from lib.log_setup import say
from lib.service_supervisor import Task
from lib.settings_notify import NotifySettings
from lib.stream_deadline import within
from lib.stream_http import HttpWay

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds until an event is tried again: at first, and at most (doubling)."""
MAX_REPLY = 4096
"""Bytes of a reply that are read; it means nothing but its status."""
_TEMPORARY = frozenset({408, 425, 429})
"""HTTP statuses below 500 after which the same request may be granted later (RFC 9110, 8470, 6585)."""

Message = Mapping[str, object]
"""The fields of an event, as JSON has them."""


@dataclass(slots=True)
class Counts:
    """What has become of the events for one receiver."""

    delivered: int = 0
    failed: int = 0
    """Given up after all tries."""
    dropped: int = 0
    """Thrown away because more than the queue holds were waiting."""


class _Failed(Exception):
    """A try that has failed; `is_lasting` where the same event would fail again."""

    def __init__(self, why: str, is_lasting: bool = False) -> None:
        self.is_lasting = is_lasting
        super().__init__(why)


class Receiver:
    """One who is notified."""

    def __init__(self, settings: NotifySettings) -> None:
        """Nothing is delivered before start()."""
        self.settings = settings
        self.counts = Counts()
        self.error = ""
        """Why the last try has failed; empty where it has not."""
        self._waiting: deque[Message] = deque()
        self._bell = Bell()
        name = f"notify {settings.name}: events are delivered"
        self._task = Task(name, self._run, vital=False, of=self)
        self._way: HttpWay | None = None

    @property
    def waiting(self) -> int:
        """Events that have not been delivered yet."""
        return len(self._waiting)

    def start(self) -> None:
        """Begin to deliver, if that has not begun."""
        self._task.start()

    def stop(self) -> None:
        """Deliver nothing more."""
        self._task.kill(block=False)
        if self._way is not None:
            self._way.close()

    def put(self, message: Message) -> None:
        """Let an event be delivered, after those that wait already; never waits."""
        if len(self._waiting) >= self.settings.queue:
            self._waiting.popleft()
            self.counts.dropped += 1
            self._tell("dropped", "an event, since too many wait")
        self._waiting.append(message)
        self._bell.set()

    def _run(self) -> None:
        while True:
            while self._waiting:
                message = self._waiting[0]
                if not self._task.attempt(self._deliver, message):  # an error of ours: on with the next one
                    self.counts.failed += 1
                    self._done_with(message)
            self._bell.wait()
            self._bell.clear()

    def _deliver(self, message: Message) -> None:
        """Try an event until it is delivered or given up; meanwhile it stays at the head of the queue."""
        pause = FIRST_PAUSE
        for tries_left in range(self.settings.retries, -1, -1):
            try:
                self._try(message)
                self.counts.delivered += 1
                self.error = ""
                break
            except _Failed as error:
                self.error = str(error)
                if not tries_left or error.is_lasting:
                    self.counts.failed += 1
                    self._tell("given up", str(error))
                    break
                self._tell("tried again", str(error))
            gevent.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            if not self._waiting or self._waiting[0] is not message:
                return  # it was dropped meanwhile, and is counted
        self._done_with(message)

    def _done_with(self, message: Message) -> None:
        if self._waiting and self._waiting[0] is message:  # else it was dropped meanwhile
            self._waiting.popleft()

    def _tell(self, what: str, why: str) -> None:
        """Log what becomes of an event; each kind of that is folded by itself."""
        name, fold = self.settings.name, f"{self.settings.name} {what}"
        text, reason = "notify %s: %s", f"{what}: {why}"
        say(Entry.NOTIFY_FAILED, text, name, reason, fold=fold, habit=OUTAGE, notify=name, reason=reason)

    def _try(self, message: Message) -> None:
        body = json.dumps(message, ensure_ascii=True, separators=(",", ":")).encode()
        if self.settings.command:
            self._run_command(message, body)
        else:
            self._post(body)

    def _run_command(self, message: Message, body: bytes) -> None:
        facts = {f"TUNROUTER_{key.upper()}": _text(value) for key, value in message.items()}
        environ = {**service_environment.whole(os.environ), **facts}
        outcome = service_command.run(self.settings.command, environ, self.settings.timeout, body + b"\n")
        if outcome.failure:
            raise _Failed(f"{self.settings.command[0]}: {outcome}")

    def _post(self, body: bytes) -> None:
        import urllib3

        settings, late = self.settings, f"no reply within {self.settings.timeout:g} s"
        try:
            with within(settings.timeout, lambda: TimeoutError(late)):
                status = self._converse(body)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            is_late = self._way is not None and self._way.bounds.late
            self._drop_way()
            raise _Failed(late if is_late else _why(error)) from None
        except Exception as error:  # noqa: BLE001  a reply that was made to do harm
            self._drop_way()
            raise _Failed(f"no proper reply: {type(error).__name__}") from None
        if not 200 <= status < 300:
            raise _Failed(f"HTTP status {status}", status < 500 and status not in _TEMPORARY)

    def _converse(self, body: bytes) -> int:
        settings = self.settings
        self._way = self._way or HttpWay(settings.url, settings.timeout)
        headers = {"Content-Type": "application/json", "User-Agent": "tunrouter", **dict(settings.headers)}
        response = self._way.ask(
            method="POST", url=settings.url, headers=headers, body=body,
            seconds=settings.timeout, size=MAX_REPLY,
        )  # fmt: skip
        with response:
            response.read(MAX_REPLY)
        return int(response.status)

    def _drop_way(self) -> None:
        if self._way is not None:
            self._way.close()
            self._way = None


def _why(error: Exception) -> str:
    """What has failed, without the URL, which may hold a secret."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text.rpartition("): ")[2][:200] or type(error).__name__


def _text(value: object) -> str:
    """A field's value as an environment variable has it: a list with blanks between."""
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def wall_clock(at: float) -> str:
    """A moment of the monotonic clock as RFC 3339 in UTC, to the millisecond."""
    whole = time.time() - time.monotonic() + at
    fraction, seconds = math.modf(whole)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{int(fraction * 1000):03}Z"
