"""When a table's sources are read: at the start, when a file changes, periodically, and on request.

Knows: when a source is read or tried again, what is logged when it fails.
Refuses to know: how it is read, and by which process (source_origin), what its rows do (hub_tables).

Each table has one greenlet, so that its loads never overlap. While a source fails, its last good rows stay in
use. A source that gives something else than a table has failed too. The failure is logged once, and so is the
recovery. The source is tried ever less often meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import gevent
from gevent.event import Event

from lib import source_read
from lib.log_dedup import OUTAGE
from lib.log_events import Entry
from lib.log_setup import say, settle
from lib.service_supervisor import Task
from lib.settings_sources import Source, SourceSettings
from lib.source_origin import Asked, Origin
from lib.source_read import Reading, SourceError
from lib.source_text import NoTable
from lib.stream_bounded import failing_as

DEBOUNCE = 0.05
"""Seconds after a change of a file within which further changes cause no second read."""
RETRY = 1.0, 60.0
"""Seconds until a source that failed is tried again: after the first failure, and at most; they double."""

Put = Callable[[int, Reading, str], int | None]
"""Called with (rank of a source, what was read, its name); ranks are 1, 2, … in the order of the sources.

Returns how many of its rows are wrong, None where they are not counted. Raises NoTable where the source has
failed after all.
"""


@dataclass(slots=True)
class SourceState:
    """The state of one source. Times are in seconds of a steady clock, 0 for never."""

    read_at: float = 0.0
    """When it was last read without an error."""
    error: str = ""
    """Why the last try failed; empty where it did not."""
    failing_since: float = 0.0
    """When the first of the present failures was."""
    failures: int = 0
    """How often it could not be read so far."""
    bad_rows: int | None = None
    """Wrong rows in its last good text; None where they are not counted (in a router's)."""


Tried = Callable[[int, SourceState], None]
"""Called with the rank of a source and its state."""


def _nothing(rank: int, reading: Reading, name: str) -> None:
    """Do nothing with what was read: the table has gone."""


class Feed:
    """Reads the sources of one table and hands their texts to `put`."""

    def __init__(
        self,
        label: str,
        settings: SourceSettings,
        origin: Origin,
        put: Put,
        with_server: bool = False,
        tried: Tried = lambda rank, state: None,
    ) -> None:
        """`label` is the table's name in the log; `with_server` as for source_read.read.

        `tried` is called after each try of a source.
        """
        self.settings = settings
        self._with_server = with_server
        self._label, self._origin, self._put, self._tried = label, origin, put, tried
        self._ranked = dict(enumerate(settings.sources, 1))
        self._states = {rank: SourceState() for rank in self._ranked}
        self._due = set(self._ranked)
        self._failed: dict[int, float] = {}
        """Rank of a source that failed -> seconds until it is tried again."""
        self._wake, self._done = Event(), Event()
        self._tellers: dict[int, Callable[[], None]] = {
            rank: lambda rank=rank: self.refresh(rank)  # type: ignore[misc]
            for rank in self._ranked
        }
        self._task = Task(f"{label}: its sources are read", self._run)

    @property
    def loaded(self) -> bool:
        """Whether every source has been read, or has failed, since the last request to read it."""
        loaded: bool = self._done.is_set()
        return loaded

    @property
    def reads(self) -> bool:
        """Whether this process reads the sources itself."""
        return self._origin.is_own

    @property
    def untried(self) -> bool:
        """Whether a source has neither been read nor failed yet."""
        return any(not state.read_at and not state.error for state in self._states.values())

    def states(self) -> Iterator[tuple[Source, SourceState]]:
        """Every source with its state."""
        for rank, source in self._ranked.items():
            yield source, self._states[rank]

    def inherit(self, before: Feed) -> None:
        """Take over the states of the sources that are the same as those of the feed before this one."""
        for rank, source in self._ranked.items():
            if before._ranked.get(rank) == source:
                self._states[rank] = before._states[rank]
                if rank in before._failed:
                    self._failed[rank] = before._failed[rank]

    def start(self) -> None:
        """Begin to read, in a greenlet; without sources there is none."""
        if self._ranked:
            self._task.start()
        else:
            self._done.set()

    def refresh(self, *ranks: int) -> None:
        """Read the sources of these ranks again, or all of them where none is given."""
        if self._ranked:
            self._due.update(ranks or self._ranked)
            self._done.clear()
            self._wake.set()

    def wait(self, seconds: float) -> bool:
        """Wait until all sources that are due have been read; False where that takes longer."""
        self._done.wait(seconds)
        return self.loaded

    def stop(self) -> None:
        """Stop reading and watching."""
        for told in self._tellers.values():
            self._origin.leave(told)
        self._task.kill()
        self._tellers.clear()
        self._put = _nothing  # or the table and this one would have each other, and never go

    def _run(self) -> None:
        self._due.update(self._ranked)  # all of them, at the start and where this has failed
        while True:
            while self._due:
                rank = min(self._due)
                self._due.discard(rank)
                self._read(rank, self._ranked[rank])
            self._done.set()
            if self._wake.wait(self._pause()):
                self._wake.clear()
                if self.reads:
                    gevent.sleep(DEBOUNCE)
            elif self._failed and not self._periodic():
                self._due.update(self._failed)
            else:
                self._due.update(self._ranked)

    def _periodic(self) -> bool:
        """Whether the next periodic read of all sources comes before the next try of a failed one."""
        reload = self.settings.reload
        return reload > 0 and reload <= min(self._failed.values())

    def _pause(self) -> float | None:
        if not self.reads:
            return None
        times = [self.settings.reload] if self.settings.reload else []
        return min([*times, *self._failed.values()], default=None)

    def _read(self, rank: int, source: Source) -> None:
        state = self._states[rank]
        name = source_read.describe(source)
        try:
            with failing_as(lambda why: SourceError(f"{name}: {why}"), SourceError, NoTable):
                asked = Asked(self._label, rank, source, self._with_server)
                put = lambda reading: self._put(rank, reading, name)  # noqa: E731
                state.bad_rows = self._origin.read(asked, self._tellers[rank], put)
        except (SourceError, NoTable) as wrong:
            error = f"{name}: {wrong}" if isinstance(wrong, NoTable) else str(wrong)
            state.failures += 1
            rows = "its last good rows stay" if state.read_at else "it has no rows until it can be read"
            say(
                Entry.SOURCE_FAILED,
                "%s: %s; %s",
                *(self._label, error, rows),
                fold=f"{self._label} {name}",
                habit=OUTAGE,
                table=self._label,
                source=name,
                reason=error,
            )
            state.error, state.failing_since = error, state.failing_since or time.monotonic()
            self._failed[rank] = min(2 * self._failed.get(rank, RETRY[0] / 2), RETRY[1])
            self._tried(rank, state)
            return
        if self._failed.pop(rank, None):
            settle(Entry.SOURCE_FAILED, f"{self._label} {name}")
            prose = "%s: %s is read again"
            say(Entry.SOURCE_RECOVERED, prose, self._label, name, table=self._label, source=name)
        state.read_at, state.error, state.failing_since = time.monotonic(), "", 0.0
        self._tried(rank, state)
