"""Feeding a table from its sources: at the start, when a file changes, every so often, and when told to.

Knows: when a source is read (again), what is said when it fails.
Refuses to know: how it is read (source_read) and what its rows do (hub_tables).

One greenlet a table, so that its loads never overlap. A source that fails keeps its last good rows; that is
said once, and so is that it works again. Meanwhile it is tried ever more slowly.
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
from lib.settings import FileSource, Source, SourceSettings
from lib.source_read import SourceError
from lib.source_watch import Watch
from lib.stream_bounded import failing_as

DEBOUNCE = 0.05
"""Seconds after a file changed in which more changes count as one."""
RETRY = 1.0, 60.0
"""Seconds until a source that failed is tried again: at first, and at most (doubling)."""

Put = Callable[[int, bytes, str], None]
"""Takes the text of the source of a rank (1, 2, …) and its name."""


@dataclass(slots=True)
class SourceState:
    """What became of a source, by the steady clock; 0 for never."""

    read_at: float = 0.0
    """When it was read last."""
    error: str = ""
    """Why the last try failed; empty where it did not."""
    failing_since: float = 0.0
    failures: int = 0
    """How often it could not be read."""


class Feed:
    """The sources of one table."""

    def __init__(self, label: str, settings: SourceSettings, watch: Watch, put: Put) -> None:
        """`label` is what the log calls the table."""
        self.settings = settings
        self._label, self._watch, self._put = label, watch, put
        self._ranked = dict(enumerate(settings.sources, 1))
        self._states = {rank: SourceState() for rank in self._ranked}
        self._due = set(self._ranked)
        self._failed: dict[int, float] = {}
        """rank -> seconds until it is tried again."""
        self._wake, self._done = Event(), Event()
        self._tellers: dict[int, Callable[[], None]] = {}
        self._task = Task(f"{label}: its sources are read", self._run)

    @property
    def loaded(self) -> bool:
        """Whether every source has been read, or has failed, since it was last asked for."""
        loaded: bool = self._done.is_set()
        return loaded

    def states(self) -> Iterator[tuple[Source, SourceState]]:
        """Every source and what became of it."""
        for rank, source in self._ranked.items():
            yield source, self._states[rank]

    def start(self) -> None:
        """Begin to read; without sources there is nothing to do, ever."""
        if not self._ranked:
            self._done.set()
            return
        for rank, source in self._ranked.items():
            if isinstance(source, FileSource):
                self._tellers[rank] = lambda rank=rank: self.refresh(rank)  # type: ignore[misc]
        self._task.start()

    def refresh(self, *ranks: int) -> None:
        """Read these sources again, or all of them."""
        if self._ranked:
            self._due.update(ranks or self._ranked)
            self._done.clear()
            self._wake.set()

    def wait(self, seconds: float) -> bool:
        """Wait until what is due has been read; False where that takes longer."""
        self._done.wait(seconds)
        return self.loaded

    def stop(self) -> None:
        """Read no more."""
        for told in self._tellers.values():
            self._watch.remove(told)
        self._task.kill()

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
                gevent.sleep(DEBOUNCE)
            elif self._failed and not self._periodic():
                self._due.update(self._failed)
            else:
                self._due.update(self._ranked)

    def _periodic(self) -> bool:
        """Whether `reload` comes before the next try of what has failed."""
        reload = self.settings.reload
        return reload > 0 and reload <= min(self._failed.values())

    def _pause(self) -> float | None:
        times = [self.settings.reload] if self.settings.reload else []
        return min([*times, *self._failed.values()], default=None)

    def _read(self, rank: int, source: Source) -> None:
        if rank in self._tellers:
            self._watch.add(source_read.describe(source), self._tellers[rank])
        state = self._states[rank]
        name = source_read.describe(source)
        try:
            with failing_as(lambda why: SourceError(f"{name}: {why}"), SourceError):
                self._put(rank, source_read.read(source), name)
        except SourceError as error:
            state.failures += 1
            say(
                Entry.SOURCE_FAILED,
                "%s: %s; its last good rows stay",
                *(self._label, error),
                fold=f"{self._label} {name}",
                habit=OUTAGE,
                table=self._label,
                source=name,
                reason=error,
            )
            state.error, state.failing_since = str(error), state.failing_since or time.monotonic()
            self._failed[rank] = min(2 * self._failed.get(rank, RETRY[0] / 2), RETRY[1])
            return
        if self._failed.pop(rank, None):
            settle(Entry.SOURCE_FAILED, f"{self._label} {name}")
            prose = "%s: %s is read again"
            say(Entry.SOURCE_RECOVERED, prose, self._label, name, table=self._label, source=name)
        state.read_at, state.error, state.failing_since = time.monotonic(), "", 0.0
