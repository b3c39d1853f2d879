"""Where readings of a table's sources come from: the sources themselves, or another process that reads them.

Knows: what a feed asks for, and how a source is read and followed by this process.
Refuses to know: when it is asked for (source_feed), how a reading comes from another process (source_given).

With workers the main process has a feed for each table whose readings come from the sources, and each worker
has one whose readings come from the main process.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Protocol

from lib import source_read
from lib.settings_sources import FileSource, Source
from lib.source_read import Reading
from lib.source_watch import Watch

Told = Callable[[], None]
Put = Callable[[Reading], int | None]
"""Uses a reading; returns how many of its rows are wrong, None where they are not counted. Raises NoTable."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A source of a table."""

    table: str
    """The table's name in the log."""
    rank: int
    source: Source
    with_server: bool
    """As for source_read.read."""


def identity(source: Source) -> str:
    """What tells a source from others, also those that differ in a password only."""
    text = repr((type(source).__name__, asdict(source)))
    return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=16).hexdigest()


class Origin(Protocol):
    """Where readings come from."""

    is_own: bool
    """Whether this process reads sources itself. Another one that does it tells of each change, and tries a
    source again that has failed."""

    def read(self, asked: Asked, told: Told, put: Put) -> int | None:
        """Have `put` use a reading of a source; returns what it returns. `told` is called after changes.

        Raises SourceError where there is no reading, and what `put` raises.
        """

    def leave(self, told: Told) -> None:
        """Do not call `told` any more."""

    def stop(self) -> None:
        """Call nobody any more."""


class Direct:
    """The sources themselves, read by this process; files tell of changes."""

    is_own = True

    def __init__(self) -> None:
        self._watch = Watch()

    def read(self, asked: Asked, told: Told, put: Put) -> int | None:
        """As Origin."""
        if isinstance(asked.source, FileSource):
            source_read.check_disk(asked.source)  # what is watched is looked up without a thread
            self._watch.add(asked.source.path, told)
        return put(source_read.read(asked.source, asked.with_server))

    def leave(self, told: Told) -> None:
        """As Origin."""
        self._watch.remove(told)

    def stop(self) -> None:
        """As Origin."""
        self._watch.stop()
