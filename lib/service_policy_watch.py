"""Policy tests in a running process: run at its start, and again after each change of a table.

Knows: when tests are run, since when each fails, what is logged of that.
Refuses to know: how a test is run (service_policy), who shows the outcomes (ctl_status, ctl_health, metrics).

A reload is refused where a test fails (service_reload). Rows of a file, Redis or a URL change without a
reload, and so do leases and routes to enrolled hosts: these are in use already when the tests are run. So a
test that fails then is a warning, once, and one more line tells when it holds again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from gevent.event import Event

from lib.hub_tables import Tables
from lib.log_events import Entry
from lib.log_setup import say
from lib.route_live import AskedRoutes, LiveRoutes
from lib.service_policy import Outcome, outcomes, rows_of_running
from lib.service_scheduling import Breaths
from lib.service_supervisor import Task
from lib.settings import Settings
from lib.settings_policy import PolicyTest

LOOK_SECONDS = 1.0
"""How often tables are looked at for changes."""
LOAD_SECONDS = 60.0
"""How long the tests of a start wait for the sources of tables."""
PLUGIN_SECONDS = 60.0
"""Plugins do not tell of changes: where there is one, tests are run so often."""
SHARE = 9
"""A run is followed by a pause of so many times the time that it took."""
HOLDS, FAILS, NOT_JUDGED = "holds", "fails", "not judged"

_State = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """How a test stands, and since when."""

    outcome: Outcome
    since: float
    """Seconds of the monotonic clock."""

    @property
    def word(self) -> str:
        """HOLDS, FAILS or NOT_JUDGED."""
        return FAILS if self.outcome.failure else NOT_JUDGED if self.outcome.unjudged else HOLDS


class PolicyWatch:
    """Runs the policy tests of a process while that serves."""

    def __init__(self, settings: Callable[[], Settings], tables: Tables) -> None:
        """`settings` gives the present ones. Nothing is run before start()."""
        self._settings, self._tables = settings, tables
        self._standing: dict[PolicyTest, Standing] = {}
        self._seen: _State = ()
        """The settings and the tables' changes by which tests were run last."""
        self.ran_at = 0.0
        """When they were run last, in seconds of the monotonic clock; 0 for never."""
        self._next_at = 0.0
        self._wake = Event()
        self._task = Task("policy tests are run", self._run, vital=False, of=self)

    def start(self) -> None:
        """Begin to run them."""
        self._task.start()

    def stop(self) -> None:
        """Run them no more."""
        self._task.kill(block=False)

    def wake(self) -> None:
        """Look now: there may be other settings."""
        self._wake.set()

    @property
    def standings(self) -> list[Standing]:
        """How every test stands, in the order in which they are written; none before the first run."""
        return list(self._standing.values())

    def counts(self) -> dict[str, int]:
        """How many tests hold, fail, and cannot be judged."""
        words = [standing.word for standing in self._standing.values()]
        return {word: words.count(word) for word in (HOLDS, FAILS, NOT_JUDGED)}

    def _run(self) -> None:
        if self._settings().tests:
            self._tables.wait_loaded(LOAD_SECONDS)
        while True:
            self.look()
            self._wake.wait(LOOK_SECONDS if self._settings().tests else None)
            self._wake.clear()

    def look(self) -> None:
        """Run the tests, if there are other settings or tables than the last time."""
        settings, began = self._settings(), time.monotonic()
        if not settings.tests:
            self._standing, self._seen = {}, ()
            return
        seen = self._state(settings, began)
        is_other = not self._seen or seen[0] is not self._seen[0]  # a reload: nobody waits for a pause to end
        if seen == self._seen or (began < self._next_at and not is_other):
            return
        found = outcomes(settings, rows_of_running(self._tables), Breaths())
        if settings is not self._settings():  # a reload has come meanwhile
            self._wake.set()
            return
        self._seen, self.ran_at = seen, time.monotonic()
        self._next_at = self.ran_at + SHARE * (self.ran_at - began)
        self._take(found)

    def _state(self, settings: Settings, now: float) -> _State:
        """What the outcomes depend on: it differs where they may be others."""
        state: list[object] = [settings.tests]
        for _, live in self._tables.routers():
            if isinstance(live, LiveRoutes):
                state += [id(live.table), live.table.changes, len(live.texts())]
            elif isinstance(live, AskedRoutes):
                state += [id(live.router), now // PLUGIN_SECONDS]
        return tuple(state)

    def _take(self, found: list[Outcome]) -> None:
        """Keep the outcomes, and log those that are new."""
        before, self._standing = self._standing, {}
        for outcome in found:
            old = before.get(outcome.test)
            new = Standing(outcome, self.ran_at)
            if old is not None and old.word == new.word:
                new = Standing(outcome, old.since)
            else:
                _tell(new, old)
            self._standing[outcome.test] = new


def _tell(new: Standing, old: Standing | None) -> None:
    """Log how a test stands now. That one holds is only worth a line where it did not before."""
    outcome = new.outcome
    test, where = outcome.test, outcome.test.where
    if new.word == FAILS:
        say(
            Entry.POLICY_FAILS, "%s", outcome.problem, test=str(test), reason=outcome.failure,
            hint=outcome.hint, file=where.file, line=where.line, column=where.column,
        )  # fmt: skip
    elif new.word == NOT_JUDGED:
        say(
            Entry.POLICY_NOT_JUDGED, "%s", outcome.problem, test=str(test), reason=outcome.unjudged,
            hint=outcome.hint, file=where.file, line=where.line, column=where.column,
        )  # fmt: skip
    elif old is not None:
        say(
            Entry.POLICY_HOLDS, "policy test %s: %s: it holds again", test, test.expected,
            test=str(test), seconds=round(new.since - old.since),
            file=where.file, line=where.line, column=where.column,
        )  # fmt: skip
