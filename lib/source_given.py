"""Readings of sources that another process has read and gives to this one.

    reading   {"table", "rank", "source", "error", "number", "server", "is_whole"} and a file in memory
    reading   {"table", "rank", "source", "error", "number": 0}     what has become of the last try
    forget    {"table", "rank"}
                -> judged  {"number", "bad", "error", "is_table"}

Knows: what the other process has of each source now, that a feed gets all of it however late it begins, and
that the other process is told what each reading was worth.
Refuses to know: which process reads a source, and when (worker_sources), what rows do (hub_tables).

A reading that is no table leaves the last good one in place here, as in the other process. The files stay
open: a feed that begins after a reload takes what is there, and no source is read for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gevent.event import Event

from lib import worker_channel
from lib.service_scheduling import breathe
from lib.source_origin import Asked, Put, Told, identity
from lib.source_read import Reading, SourceError
from lib.source_text import NoTable

Outcome = dict[str, object]


@dataclass(frozen=True, slots=True)
class _Held:
    """A reading in a file in memory."""

    number: int
    """Higher than those of all readings before it."""
    file: int
    server: str | None
    is_whole: bool


@dataclass(slots=True, eq=False)
class _Place:
    """What there is of a source of a table."""

    source: str = ""
    """The identity of the source whose readings these are."""
    good: _Held | None = None
    """The last one that was a table here."""
    next: _Held | None = None
    """A newer one that nobody has looked at."""
    error: str = ""
    """Why the last try failed, "" where it did not."""
    told: Told | None = None
    wanted: str = ""
    """The identity of the source that the feed wants to which `told` belongs."""
    taken: int = 0
    """The number of the reading that this feed took last."""
    changed: Event = field(default_factory=Event)

    def clear(self) -> None:
        """Close the files."""
        for held in (self.good, self.next):
            if held is not None:
                worker_channel.shut(held.file)
        self.good = self.next = None


class Given:
    """The readings that another process gives (source_origin.Origin)."""

    is_own = False

    def __init__(self) -> None:
        self.judge: Callable[[Outcome], None] = lambda outcome: None
        """Called with what a reading was worth."""
        self._places: dict[tuple[str, int], _Place] = {}

    # --- what the other process says

    def take(self, message: Mapping[str, Any], *files: int) -> None:
        """Take a `reading`. The file is ours from here on."""
        place = self._places.setdefault((message["table"], message["rank"]), _Place())
        if place.source != message["source"]:
            place.clear()
            place.source = message["source"]
        place.error = message["error"]
        number = message["number"]
        if number and not files:
            self.judge(_outcome(number, "there was no descriptor left for it"))
        newest = place.next or place.good
        for file in files:
            if newest is not None and number <= newest.number:
                worker_channel.shut(file)
                continue
            if place.next is not None:
                worker_channel.shut(place.next.file)
            place.next = _Held(number, file, message["server"], message["is_whole"])
        place.changed.set()
        if place.told is not None and place.wanted == place.source:
            place.told()

    def forget(self, message: Mapping[str, Any]) -> None:
        """Forget a source that no table has any more."""
        place = self._places.pop((message["table"], message["rank"]), None)
        if place is not None:
            place.clear()

    # --- what a feed asks

    def read(self, asked: Asked, told: Told, put: Put) -> int | None:
        """As Origin; waits until the other process has tried the source."""
        place = self._places.setdefault((asked.table, asked.rank), _Place())
        if place.told is not told:
            place.told, place.taken, place.wanted = told, 0, identity(asked.source)
        while True:
            place.changed.clear()
            held = (place.next or place.good) if place.source == place.wanted else None
            if held is not None and (held.number > place.taken or not place.error):
                return self._use(place, held, put)
            if place.error and place.source == place.wanted:
                raise SourceError(place.error)
            place.changed.wait()

    def _use(self, place: _Place, held: _Held, put: Put) -> int | None:
        """Have a reading used, and tell what it was worth.

        A feed that is stopped meanwhile, by a reload, says nothing: the next one of that table will.
        """
        place.taken = held.number
        try:
            text = worker_channel.read(os.dup(held.file), breathe)  # a newer one closes the file
            bad = put(Reading(text, held.server, held.is_whole))
        except NoTable as wrong:
            self._conclude(place, held, _outcome(held.number, str(wrong), is_table=False))
            raise
        except Exception as error:
            self._conclude(place, held, _outcome(held.number, f"{type(error).__name__}: {str(error)[:200]}"))
            raise
        self._conclude(place, held, _outcome(held.number, bad=bad))
        if place.error and place.told is not None:
            place.told()  # it failed since: the next look says so
        return bad

    def _conclude(self, place: _Place, held: _Held, outcome: Outcome) -> None:
        """Keep a reading where it was good, and tell what it was worth."""
        if place.next is held:
            worn: _Held | None = held
            place.next = None
            if not outcome["error"]:
                worn, place.good = place.good, held
            if worn is not None:
                worker_channel.shut(worn.file)
        self.judge(outcome)

    def leave(self, told: Told) -> None:
        """As Origin."""
        for place in self._places.values():
            if place.told is told:
                place.told = None

    def stop(self) -> None:
        """As Origin."""
        for place in self._places.values():
            place.told = None
            place.clear()
        self._places.clear()


def _outcome(number: int, error: str = "", bad: int | None = None, is_table: bool = True) -> Outcome:
    return {"number": number, "bad": bad, "error": error, "is_table": is_table}
