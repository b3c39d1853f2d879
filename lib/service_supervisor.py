"""Supervisor of the tasks that must run for ever: each in a greenlet, started again when it fails.

Knows: which tasks this process has, how often each has failed and why, how long to wait before it is started
again.
Refuses to know: what a task does, and who asks (ctl_status, metrics, service_watchdog).

    task                                     started by          what ends it
    connections are accepted                 hub_accept          the hub stops; gevent itself tries again
    sessions are looked after                hub                 the hub stops
    sources of a table are read              source_feed         the table goes
    sessions are checked by changed rules    service_parts       the process ends
    files are watched                        source_watch        the process ends
    settings are read again, the log kept    service             the process ends
    all that runs is watched                 service_watchdog    the process ends
    traces and decisions are counted         capture_service     the process ends
    a device is read, a hub is dialled       client              the client stops
    a device is kept as configured           client              the client stops
    a session is looked after, a way home    client_reconnect    the session ends
    the control socket is answered           ctl_server          the process ends; no fault of it
    metrics are served                       metrics_server      the process ends; no fault of it
    the web API is served                    api_server          it is served elsewhere; no fault of it
    the web API looks at hosts               api_live            the same
    hosts are told their settings            hub_push            the hub stops
    datagrams are read                       datagram_port       the socket closes; no fault of it
    rates are asked again                    rule_rates          the limiter goes
    a list of enrolled hosts is read         enrol_live          the list goes
    names are looked up, resolv.conf is kept client_stub         no client wants names
    names are listed                         client_hosts        the same
    a registry is heard, written and read    cluster_redis       the cluster is left; no fault of it
    pools are shared                         push_sharing        the same
    leases of other hubs are looked at       cluster_live        the cluster is left
    links are looked after                   cluster_links       the cluster is left
    sessions beside others are looked at     cluster_silence     the cluster is left; no fault of it
    hosts that come and go are told of       notify_watch        the process ends; no fault of it
    tables of nftables are put back          client_exit         the process ends; no fault of it
    a client's table is kept                 netfilter_keep      the client stops; no fault of it
    events are delivered to a receiver       notify_delivery     the receiver goes; no fault of it
    an observer is told of services          observe_delivery    the observer goes; no fault of it
    datagrams of other hubs are read         cluster_entrypoi…   the hub stops; no fault of it
    an sd is told of sessions                cluster_registr…    the hub stops; no fault of it
    policy tests are run                     service_policy_…    the process ends; no fault of it

Every other greenlet belongs to one session, one request or one plugin call, and ends with it. The code that
started it cleans up, whatever happens. What such a greenlet raises is noted by the task that it belongs to
(Task.note), else under one name for all (`note`, watch_greenlets). It is no fault of the process then: a peer
may have caused it.
"""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

import gevent

from lib.log_dedup import OUTAGE
from lib.log_events import Entry
from lib.log_setup import say

BACKOFF = 0.1, 30.0
"""Seconds until a task is started again: at first, and at most (doubling)."""
STEADY_SECONDS = 60.0
"""A task that has run for so long is well again."""
LOOK_SECONDS = 5.0
"""Seconds between two looks at a server."""
BROKEN_SECONDS = 30.0
"""A task that has failed again and again for so long is a fault of the process."""

OTHERS = "what one session, request or call does"
"""The name under which the errors of all other greenlets are counted."""

T = TypeVar("T")

_tasks: list[Task] = []


class Task:
    """A function that runs for ever in a greenlet."""

    def __init__(
        self,
        name: str,
        run: Callable[..., object],
        *arguments: object,
        may_end: bool = False,
        vital: bool = True,
        of: object = None,
    ) -> None:
        """`name` is for people, in a few words. Nothing runs before start().

        With `may_end` the function may return; otherwise that is a fault. A task that is not `vital` is never
        a fault of the process, which would be started again for it while it forwards packets. `of` is whose
        work it is, for those that are looked for by their kind (running).
        """
        self.name, self.of = name, of
        self._may_end, self._vital = may_end, vital
        self.failures = 0
        """How often the task, or a part of its work (attempt), has failed."""
        self.error = ""
        """Why it failed the last time: the error and its place in the source; empty before the first time."""
        self.place = ""
        """That place in the source, as file:line."""
        self._run, self._arguments = run, arguments
        self._failing_since = self._failed_at = 0.0
        self._greenlet: Any = None

    def start(self) -> Task:
        """Start the greenlet, if it is not started yet; returns the task itself."""
        if self._greenlet is None:
            self._greenlet = gevent.spawn(self._keep_running)
            _tasks.append(self)
        return self

    def kill(self, block: bool = True) -> None:
        """Stop the task. With `block`, wait until its greenlet has ended."""
        self._forget()
        if self._greenlet is not None:
            self._greenlet.kill(block=block)

    @property
    def dead(self) -> bool:
        """Whether the task was started and has ended, so that it is not tried again either."""
        return self._greenlet is not None and bool(self._greenlet.dead)

    def attempt(self, step: Callable[..., object], *arguments: object) -> bool:
        """Do one part of the task's work. False where it failed: that is counted and logged, not raised."""
        try:
            step(*arguments)
        except Exception as error:  # noqa: BLE001  whatever it is, the task goes on and the log says so
            self.note(error)
            return False
        return True

    def failing_for(self, now: float) -> float | None:
        """For how many seconds the task has failed again and again; None where it is well."""
        if not self._failing_since or now - self._failed_at > STEADY_SECONDS:
            return None
        return now - self._failing_since

    def fault(self, now: float) -> str:
        """A fault of the task that only a restart of the process may mend, as text; empty if none."""
        if not self._vital:
            return ""
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

    def note(self, error: BaseException) -> None:
        """Count and log a failure of the task, or of a part of its work."""
        now = time.monotonic()
        if self.failing_for(now) is None:
            self._failing_since = now
        self._failed_at = now
        self.failures += 1
        places = traceback.extract_tb(error.__traceback__)[-1:]  # none where it was never raised
        self.place = (
            ", ".join(f"{os.path.basename(place.filename)}:{place.lineno}" for place in places) or "?"
        )
        self.error = f"{type(error).__name__}: {str(error)[:200]} ({self.place})"
        self._tell()

    def _tell(self) -> None:
        text = "%s: %s: this must not happen; it is tried again"
        say(
            Entry.TASK_FAILED, text, self.name, self.error, fold=self.name, habit=OUTAGE,
            task=self.name, reason=self.error,
        )  # fmt: skip


class _Others(Task):
    """The errors of all greenlets that are no tasks, counted and logged like a task's."""

    def _tell(self) -> None:
        text = "%s: this must not happen; what it happened to has ended"
        say(
            Entry.TASK_FAILED, text, self.error, fold=f"{self.name} {self.place}", habit=OUTAGE,
            task=self.name, reason=self.error,
        )  # fmt: skip


_others = _Others(OTHERS, lambda: None, vital=False)


def note(error: BaseException) -> None:
    """Log and count an unforeseen error of something that has ended by it, as a session or a request."""
    _others.note(error)


def watch_greenlets() -> None:
    """Log and count, from now on, what ends greenlets that are no tasks; gevent would print a traceback."""
    hub = gevent.get_hub()
    if _others not in _tasks:
        _tasks.append(_others)

    def ended(context: object, kind: type[BaseException], error: BaseException | None, trace: Any) -> None:
        try:  # gevent wants nothing to be raised here
            note(error if error is not None else kind())
        except Exception:  # noqa: BLE001  the log itself is broken: what gevent does is all that is left
            type(hub).print_exception(hub, context, kind, error, trace)

    hub.print_exception = ended


def keep(name: str, run: Callable[..., object], *arguments: object) -> Task:
    """Start a task that runs a function for ever; returns the task."""
    return Task(name, run, *arguments).start()


def watch_server(server: Any) -> None:
    """Run until a gevent server no longer accepts connections; then raise.

    gevent itself goes on after an error of accept(2); it closes the server where the socket is of no use.
    """
    while not server.closed:
        gevent.sleep(LOOK_SECONDS)
    raise RuntimeError("nothing is accepted any more")


def tasks() -> list[Task]:
    """Every task of this process."""
    return list(_tasks)


def running(kind: type[T]) -> list[T]:
    """Those of a kind whose work is done now: they have started their tasks, and not stopped them yet."""
    return [task.of for task in _tasks if isinstance(task.of, kind)]


def fault() -> str:
    """The faults of all tasks, as text; empty if there is none."""
    now = time.monotonic()
    return "; ".join(filter(None, (task.fault(now) for task in _tasks)))
