"""Delivery of events to one observer: states at once, figures at each period, until it takes them.

Knows: that an observer takes events by {"ok": true}, that what it does not take is told again, and that
whatever it does holds up nobody else.
Refuses to know: what an event is (observe_events), which services there are (observe_watch).

Each observer has one greenlet. The only queue is that of states, and it has a bound: figures are read when it
is time for them, so there are never any that wait.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from gevent.event import Event as Bell

from lib.errors import PluginError
from lib.log_dedup import OUTAGE
from lib.log_events import Entry
from lib.log_setup import say, settle
from lib.observe_events import MOST, Event, Ledger
from lib.observe_stats import Stats
from lib.plugin_client import ObserverPlugin
from lib.service_supervisor import Task
from lib.settings_observe import Observation, ObserverSettings

MAX_STATES = 1000
"""States that wait for an observer; of more the oldest are dropped."""
AGAIN_SECONDS = 5.0
"""Seconds until states are told again that an observer has not taken."""

Rows = Callable[[], Iterable[tuple[str, Stats]]]
"""Reads (client, figures) of a service or of its clients, as they are now."""


class Report:
    """Figures that an observer is told each period."""

    def __init__(self, kind: str, service: str, observation: Observation, rows: Rows, source: object) -> None:
        """`source` is whose figures they are: after a service was made anew they are those of another one."""
        self.observation, self.source = observation, source
        self._ledger = Ledger(kind, service, observation.reset)
        self._rows = rows
        self.due = time.monotonic() + observation.period

    def pieces(self) -> Iterator[tuple[list[Event], Callable[[], None]]]:
        """(events of one request, what to call once they are taken), until all news are told."""
        self.due = time.monotonic() + self.observation.period
        news = iter(self._ledger.news(self._rows()))
        while rows := list(islice(news, MOST)):
            yield [self._ledger.event(*row) for row in rows], lambda rows=rows: self._ledger.took(rows)  # type: ignore[misc]


class Observer:
    """One observer at run time."""

    def __init__(self, settings: ObserverSettings) -> None:
        """Nothing is told before start()."""
        self.settings = settings
        self.plugin = ObserverPlugin(settings.plugin)
        self.reports: dict[tuple[str, str], Report] = {}
        """(kind, service) -> the figures that it is told."""
        self._states: deque[Event] = deque()
        self._states_due = 0.0
        self._bell = Bell()
        self._leaves = False
        name = f"observer {settings.name}: it is told of services"
        self._task = Task(name, self._run, may_end=True, vital=False, of=self)

    @property
    def waiting(self) -> int:
        """States that have not been taken yet."""
        return len(self._states)

    def start(self) -> None:
        """Begin to tell, if that has not begun."""
        self._task.start()

    def stop(self) -> None:
        """Tell nothing more."""
        self._task.kill(block=False)
        self.plugin.close()

    def leave(self) -> None:
        """Tell the states that wait, once, and end; never waits."""
        self._leaves, self.reports = True, {}
        self._bell.set()

    def put(self, state: Event) -> None:
        """Tell a state of a service, after those that wait; never waits."""
        if len(self._states) >= MAX_STATES:
            self._states.popleft()
            self._complain("dropped", "a state, since too many wait")
        self._states.append(state)
        self._bell.set()

    def report(self, reports: dict[tuple[str, str], Report]) -> None:
        """Take these reports from now on."""
        self.reports = reports
        self._bell.set()

    def _run(self) -> None:
        while True:
            self._bell.wait(self._pause(time.monotonic()))
            self._bell.clear()
            if self._leaves:
                self._tell_states()
                self.plugin.close()
                return
            now = time.monotonic()
            if self._states and self._states_due <= now:
                self._tell_states()
            for report in [one for one in self.reports.values() if one.due <= now]:
                self._task.attempt(self._tell_figures, report)

    def _pause(self, now: float) -> float | None:
        """Seconds until there is something to do; None where only a bell says so."""
        moments = [report.due for report in self.reports.values()]
        moments += [self._states_due] if self._states else []
        return max(0.0, min(moments) - now) if moments else None

    def _tell_states(self) -> None:
        some = list(islice(self._states, MOST))
        if some and not self._tell(some):
            self._states_due = time.monotonic() + AGAIN_SECONDS
            return
        self._states_due = 0.0
        for state in some:  # what was dropped meanwhile is at the head no more
            if self._states and self._states[0] is state:
                self._states.popleft()
        if self._states:
            self._bell.set()

    def _tell_figures(self, report: Report) -> None:
        for events, taken in report.pieces():
            if not self._tell(events):
                return
            taken()

    def _tell(self, events: Sequence[Event]) -> bool:
        """Whether the observer has taken these events."""
        name = self.settings.name
        try:
            is_taken = self.plugin.observe(events)
            why = "" if is_taken else f"{self.plugin.url}: it does not say that it has taken them (ok: true)"
        except PluginError as error:
            is_taken, why = False, str(error)
        if is_taken:
            settle(Entry.OBSERVER_FAILED, f"{name} not taken")
        else:
            self._complain("not taken", f"events, which are told again: {why}")
        return is_taken

    def _complain(self, what: str, why: str) -> None:
        name, reason = self.settings.name, f"{what}: {why}"
        fold, text = f"{name} {what}", "observer %s: %s"
        say(Entry.OBSERVER_FAILED, text, name, reason, fold=fold, habit=OUTAGE, observer=name, reason=reason)
