"""The sources of all tables of a hub with workers: the main process reads each once, and all workers get it.

Knows: which tables have sources, what was read last of each and is a table, that a reading counts once all
workers use it, that a worker which is made later gets all there is before it serves.
Refuses to know: when a source is read (source_feed) and how (source_origin), what a worker does with what was
read (source_given), what rows mean.

    source -> Feed -> a file in memory -> worker 1, 2, … -> judged: how many bad rows, or no table -> Feed

Whether a text is a table is known only to who has the table, so workers say it: where one cannot use a
reading, the source has failed, and is tried again as without workers. A text that is the same as the last one
goes nowhere. Tables that this process has itself (logins for metrics and the web API) are one more receiver.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from gevent.event import Event

from lib import worker_channel
from lib.hub_tables import Key, Sourced, sourced
from lib.service_scheduling import breathe
from lib.settings import Settings
from lib.settings_sources import Source
from lib.source_feed import Feed, SourceState
from lib.source_given import Given
from lib.source_origin import Direct, identity
from lib.source_read import Reading, SourceError
from lib.source_text import NoTable
from lib.worker_crew import Crew
from lib.worker_state import Worker

HERE = "here"
"""The receiver that is this process."""
Receiver = Worker | str
Verdicts = dict[Receiver, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class _Kept:
    """A reading in a file in memory."""

    number: int
    file: int
    size: int
    server: str | None
    is_whole: bool
    bad: int | None = None
    """How many of its rows are wrong, once that is known."""


@dataclass(slots=True, eq=False)
class _Place:
    """A source of a table."""

    table: str
    rank: int
    source: Source
    in_workers: bool
    is_here: bool
    good: _Kept | None = None
    """The last one that was a table."""
    next: _Kept | None = None
    """One that receivers look at now."""
    error: str = ""
    """Why the last try failed, as receivers know it."""
    version: int = 0
    """Grows with each change."""
    waiting: set[Receiver] = field(default_factory=set)
    """Who has not said yet what the next one is worth."""
    verdicts: Verdicts = field(default_factory=dict)
    judged: Event = field(default_factory=Event)

    @property
    def about(self) -> tuple[object, ...]:
        """Which source it is, and who gets it."""
        return self.source, self.in_workers, self.is_here

    def message(self, kept: _Kept | None, error: str) -> dict[str, object]:
        """What a receiver is told."""
        said: dict[str, object] = {
            "do": "reading",
            "table": self.table,
            "rank": self.rank,
            "source": identity(self.source),
            "error": error,
            "number": 0,
        }
        if kept is not None:
            said |= {"number": kept.number, "server": kept.server, "is_whole": kept.is_whole}
        return said


@dataclass(frozen=True, slots=True)
class _Fed:
    """A table with sources."""

    wanted: tuple[Sourced, bool, bool]
    """Which sources, and whether workers and this process have the table."""
    feed: Feed


class Sources:
    """The sources of a process with workers."""

    def __init__(self, settings: Settings, own: Settings, crew: Crew, given: Given) -> None:
        """`own` has the tables of this process, which get readings from `given`."""
        self._crew, self._given = crew, given
        self._origin = Direct()
        self._feeds: dict[Key, _Fed] = {}
        self._places: dict[tuple[str, int], _Place] = {}
        self._numbers = 0
        given.judge = partial(self._judged, HERE)
        crew.heard["judged"] = self._judged
        crew.begun.append(self._greet)
        crew.gone.append(self._gone)
        self._make(settings, own)

    def start(self) -> None:
        """Begin to read; workers are being made."""
        for one in self._feeds.values():
            one.feed.start()

    def refresh(self) -> None:
        """Read every source again."""
        for one in self._feeds.values():
            one.feed.refresh()

    def apply(self, settings: Settings, own: Settings) -> None:
        """Read the sources of other settings; those that nobody has any more are left later, by leave()."""
        for feed in self._make(settings, own):
            feed.start()

    def leave(self, settings: Settings) -> None:
        """Forget the sources that no table has any more."""
        wanted = sourced(settings)
        for key in [key for key in self._feeds if key not in wanted]:
            self._feeds.pop(key).feed.stop()
        left = [one.wanted[0] for one in self._feeds.values()]
        places = {(one.label, rank) for one in left for rank, _ in one.ranked()}
        for at in [at for at in self._places if at not in places]:
            place = self._places.pop(at)
            _close(place)
            message = {"do": "forget", "table": place.table, "rank": place.rank}
            self._crew.tell_all(message)
            self._given.forget(message)

    def stop(self) -> None:
        """Read nothing more."""
        for one in self._feeds.values():
            one.feed.stop()
        for place in self._places.values():
            _close(place)
        self._places.clear()
        self._origin.stop()

    def all(self) -> Iterator[tuple[Key, str, Feed]]:
        """Every table with sources: its key, its name in the log, and what reads them."""
        return ((key, one.wanted[0].label, one.feed) for key, one in list(self._feeds.items()))

    @property
    def loaded(self) -> bool:
        """Whether every source has been read, or has failed."""
        return all(one.feed.loaded for one in self._feeds.values())

    # --- which there are

    def _make(self, settings: Settings, own: Settings) -> list[Feed]:
        """Have a feed for each table with these settings; returns those that are new."""
        made = []
        here, in_workers = sourced(own), sourced(replace(settings, authers=()))
        for key, one in sourced(settings).items():
            wanted = one, key in in_workers, key in here
            before = self._feeds.get(key)
            if before is not None and before.wanted == wanted:
                continue
            if before is not None:
                before.feed.stop()
            for rank, source in one.ranked():
                self._place(_Place(one.label, rank, source, *wanted[1:]))
            put, tried = partial(self._put, one.label), partial(self._tried, one.label)
            feed = Feed(one.label, one.more, self._origin, put, one.with_server, tried)
            if before is not None:
                feed.inherit(before.feed)
            self._feeds[key] = _Fed(wanted, feed)
            made.append(feed)
        return made

    def _place(self, new: _Place) -> None:
        """Have a place for a source; one for the same source and receivers keeps what it has."""
        old = self._places.get((new.table, new.rank))
        if old is not None and old.about == new.about:
            return
        if old is not None:
            _close(old)
        self._places[new.table, new.rank] = new

    # --- what was read

    def _put(self, table: str, rank: int, reading: Reading, name: str) -> int | None:
        """Give a reading to everybody; returns how many rows are wrong. Raises NoTable and SourceError."""
        place = self._places[table, rank]
        if place.good is not None and _is_same(place.good, reading):
            return place.good.bad
        self._numbers += 1
        file = worker_channel.held(reading.text, breathe)
        place.next = kept = _Kept(self._numbers, file, len(reading.text), reading.server, reading.is_whole)
        place.error, place.verdicts, place.waiting = "", {}, set()
        try:
            place.version += 1
            self._tell(place, kept)
            while place.waiting:
                place.judged.clear()
                place.judged.wait()
            bad = _verdict(name, place.verdicts)
            place.good, worn = replace(kept, bad=bad), place.good
            file = worn.file if worn is not None else -1
            return bad
        finally:
            if place.next is kept:
                place.next = None
            if file >= 0:
                worker_channel.shut(file)
            place.version += 1

    def _tried(self, table: str, rank: int, state: SourceState) -> None:
        """Tell everybody what has become of a try, where that is not known by the reading."""
        place = self._places[table, rank]
        if state.error != place.error:
            place.error = state.error
            place.version += 1
            self._tell(place, None)

    def _tell(self, place: _Place, kept: _Kept | None) -> None:
        """Tell all receivers of a reading, or how the last try ended."""
        message = place.message(kept, place.error)
        for worker in list(self._crew.workers.values()) if place.in_workers else ():
            if self._crew.workers.get(worker.number) is not worker or worker.ending or worker.outdated:
                continue
            if kept is not None:
                place.waiting.add(worker)
            if not self._send(worker, message, kept):
                place.waiting.discard(worker)
        if place.is_here:
            if kept is not None:
                place.waiting.add(HERE)
            self._given.take(message, *([os.dup(kept.file)] if kept is not None else []))

    def _send(self, worker: Worker, message: Mapping[str, object], kept: _Kept | None = None) -> bool:
        """Tell a worker something of a source; False where it has gone."""
        if kept is None:
            return self._crew.tell(worker, message)
        file = os.dup(kept.file)  # that one is closed where another reading comes while this waits
        try:
            return self._crew.tell(worker, message, file)
        finally:
            worker_channel.shut(file)

    def _judged(self, receiver: Receiver, message: Mapping[str, Any]) -> None:
        for place in self._places.values():
            if (
                place.next is not None
                and place.next.number == message["number"]
                and receiver in place.waiting
            ):
                place.verdicts[receiver] = message
                place.waiting.discard(receiver)
                place.judged.set()

    # --- workers that come and go

    def _greet(self, worker: Worker) -> None:
        """Tell a new worker of everything; when this returns, nothing has changed since it was told."""
        told: dict[_Place, int] = {}
        while news := [
            place
            for place in self._places.values()
            if place.in_workers and place.version != told.get(place, 0)
        ]:
            for place in news:
                told[place] = place.version
                if place.good is not None:
                    self._send(worker, place.message(place.good, place.error), place.good)
                if place.next is not None:
                    place.waiting.add(worker)
                    self._send(worker, place.message(place.next, ""), place.next)
                elif place.good is None and place.error:
                    self._send(worker, place.message(None, place.error))

    def _gone(self, worker: Worker) -> None:
        for place in self._places.values():
            place.waiting.discard(worker)
            place.judged.set()


def _verdict(name: str, verdicts: Verdicts) -> int | None:
    """How many rows are wrong. Raises NoTable and SourceError, with the words of one who cannot use it."""
    if not verdicts:
        raise SourceError(f"{name}: no worker is there to look at it")
    for verdict in verdicts.values():
        if not verdict["is_table"]:
            raise NoTable(verdict["error"])
    for verdict in verdicts.values():
        if verdict["error"]:
            raise SourceError(f"{name}: {verdict['error']}")
    counted = [verdict["bad"] for verdict in verdicts.values() if verdict["bad"] is not None]
    return max(counted, default=None)


def _is_same(kept: _Kept, reading: Reading) -> bool:
    """Whether a reading is the same as one that is there."""
    if (kept.size, kept.server, kept.is_whole) != (len(reading.text), reading.server, reading.is_whole):
        return False
    at = 0
    for piece in worker_channel.pieces(kept.file, breathe):
        if reading.text[at : at + len(piece)] != piece:
            return False
        at += len(piece)
    return True


def _close(place: _Place) -> None:
    if place.good is not None:
        worker_channel.shut(place.good.file)
        place.good = None
