"""Enrolled hosts of a hub at run time: their list is read again when it changes, and is asked about logins.

Knows: how soon a change by another process is noticed, who is let in by the list, when a host was last seen.
Refuses to know: what a change does to the list (enrol_book), where it is kept (enrol_file, enrol_redis).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace

import gevent
from gevent.event import Event
from gevent.lock import BoundedSemaphore

from lib import enrol_book
from lib.auth_admission import Login
from lib.auth_logins import Grant
from lib.enrol_book import Book, Enrolled, Place
from lib.enrol_file import FileStore
from lib.enrol_redis import RedisStore
from lib.humanize import plain
from lib.log_dedup import OUTAGE
from lib.log_events import Entry
from lib.log_setup import say, settle
from lib.rule_live import Unavailable
from lib.service_supervisor import Task
from lib.service_threads import aside
from lib.settings_sources import EnrolSource, FileSource
from lib.source_feed import SourceState
from lib.source_read import describe
from lib.wire_enrol import ID_SIZE, Answer, Ask

LOOK_SECONDS, RETRY_SECONDS = 0.3, 1.0
"""Seconds between two looks whether another process has changed the list; after one that has failed."""
SEEN_SECONDS, KEEP_SECONDS = 5.0, 60.0
"""Seconds between two looks at who is connected, and between two writes of that to the list."""


class EnrolError(OSError):
    """The list cannot be read or changed. Its text says which one, and why."""


class Enrolment:
    """The enrolled hosts of one list; an auther (auth_admission) of every hub that names it."""

    def __init__(
        self,
        source: EnrolSource,
        changed: Callable[[set[Place]], None],
        present: Callable[[], Iterable[Place]],
    ) -> None:
        """`changed` is called after a change with the hosts that may log in no more by what they know.

        `present` gives the hosts that are connected now.
        """
        self.source, self.label = source, f"enrolled hosts of {describe(source)}"
        self.book: Book | None = None
        """The list; None until it has been read once."""
        self._named: dict[str, list[Enrolled]] = {}
        """Host name -> the hosts of that name, each of another namespace."""
        self.state = SourceState()
        """When it was read, and why not."""
        self._store = FileStore(source.path) if isinstance(source, FileSource) else RedisStore(source)
        self._changed, self._present = changed, present
        self._stamp: object = None
        self._one = BoundedSemaphore(1)  # an older text must not take the place of a newer one
        self._looked = Event()
        self.seen: dict[Place, float] = {}
        """When hosts were last connected, as far as this process knows; seconds since 1970."""
        self._task = Task(f"{self.label}: the list is read", self._run)

    def start(self) -> None:
        """Begin to read the list."""
        self._task.start()

    def wait(self, seconds: float) -> bool:
        """Wait until the list was looked at once more; False where that takes longer."""
        self._looked.clear()
        return bool(self._looked.wait(seconds))

    def stop(self) -> None:
        """Stop reading the list, and keep when its hosts were last seen."""
        self._task.kill()
        with suppress(OSError):
            self._keep_seen()
        self._store.close()

    @property
    def error(self) -> str:
        """Why the list could not be read the last time; empty where it could."""
        return self.state.error

    # --- questions

    def grant(self, login: Login) -> Grant | None:
        """What a login may use: the one host that it belongs to; None where it is wrong.

        Raises Unavailable until the list has been read.
        """
        self._known()
        named = self._named.get(login.username, ())
        found = [row for row in named if enrol_book.has_password(row, login.password)]
        return Grant((login.username,), tuple(row.namespace for row in found)) if found else None

    def admits(self, host: str, namespace: bytes) -> bool:
        """Whether a host of this name is enrolled in this namespace. Raises Unavailable, as grant()."""
        return (namespace, host) in self._known().hosts

    def _known(self) -> Book:
        if self.book is None:
            raise Unavailable(self.error or f"{self.label}: the list has not been read yet")
        return self.book

    # --- changes

    def change(self, edit: Callable[[Book], Book]) -> Book:
        """Change the list as it is now, wherever it is kept; returns the new one. Raises EnrolError.

        `edit` may be called several times, in a thread; its ValueError is raised here.
        """

        def text(old: bytes) -> bytes | None:
            try:
                before = _parsed(old) or Book(os.urandom(ID_SIZE))
            except ValueError as wrong:
                raise ValueError(f"{self.label}: {wrong}") from None
            after = edit(before)
            made[:] = [after]
            return None if after is before else enrol_book.dump(after)

        made: list[Book] = []
        with self._one:
            try:
                self._store.change(text)
            except OSError as error:
                raise EnrolError(f"{self.label}: {error.strerror or error}") from error
            return self._take(made[0])

    def join(self, ask: Ask) -> tuple[Answer, float, Book]:
        """(answer, the time it is about, the list) for who shows an invitation. Raises as change().

        Only who may join changes the list, which is read and written as a whole then. What was used or
        withdrawn, or has expired, stays so: who shows such a one again costs a look at what is known.
        """
        if self.book is not None:
            new, answer, when = enrol_book.joined(self.book, ask, time.time())
            if new is self.book:
                return answer, when, new
        found: list[tuple[Answer, float]] = []

        def edit(book: Book) -> Book:
            new, answer, when = enrol_book.joined(book, ask, time.time())
            found[:] = [(answer, when)]
            return new

        book = self.change(edit)
        return *found[0], book

    def _take(self, new: Book) -> Book:
        old = self.book
        named: dict[str, list[Enrolled]] = {}
        for row in new.hosts.values():
            named.setdefault(row.host, []).append(row)
        self.book, self._named = new, named
        self.state.read_at, self.state.error, self.state.failing_since = time.monotonic(), "", 0.0
        if old is not None and replace(old, invitations={}) != replace(new, invitations={}):
            self._tell(old, new)
        elif old is None:
            self._changed(set())
        return new

    def _tell(self, old: Book, new: Book) -> None:
        gone = enrol_book.changed(old, new)
        if gone or old.hosts.keys() != new.hosts.keys():
            words = "%s: %s", self.label, plain(len(new.hosts), "host")
            name = describe(self.source)
            say(Entry.RULES_LOADED, *words, table=self.label, source=name, rows=len(new.hosts))
            self._changed(gone)

    # --- in time

    def _run(self) -> None:
        seen_at = kept_at = time.monotonic()
        while True:
            pause = self.look()
            self._looked.set()
            now = time.monotonic()
            if now - seen_at >= SEEN_SECONDS:
                seen_at = now
                self.seen.update(dict.fromkeys(self._present(), time.time()))
            if now - kept_at >= KEEP_SECONDS:
                kept_at = now
                with suppress(EnrolError):
                    self._keep_seen()
            gevent.sleep(pause)

    def look(self) -> float:
        """Read the list where it has changed; returns the seconds until the next look is due."""
        try:
            with self._one:
                stamp = self._store.stamp()
                if self.book is None or self.error or stamp != self._stamp:
                    text = self._store.read()
                    # in a thread: a list of 10,000 hosts would hold up packets
                    self._take(aside(self.label, _parsed, text) or Book(b""))
                    self._stamp = stamp
        except (OSError, ValueError) as error:
            reason = f"{self.label}: {getattr(error, 'strerror', '') or error}"
            rest = "nobody is let in by it" if self.book is None else "the last good list stays in use"
            self.state.error, self.state.failures = reason, self.state.failures + 1
            self.state.failing_since = self.state.failing_since or time.monotonic()
            say(
                Entry.SOURCE_FAILED,
                "%s; %s",
                *(reason, rest),
                fold=self.label,
                habit=OUTAGE,
                table=self.label,
                source=describe(self.source),
                reason=reason,
            )
            return RETRY_SECONDS
        settle(Entry.SOURCE_FAILED, self.label)
        return LOOK_SECONDS

    def _keep_seen(self) -> None:
        """Write to the list when its hosts were last connected, where that is news."""
        rows = self.book.hosts if self.book is not None else {}
        news = {
            place: at
            for place, at in self.seen.items()
            if place in rows and at > rows[place].seen + SEEN_SECONDS
        }
        self.seen = {place: at for place, at in self.seen.items() if place in rows}
        if news:
            self.change(lambda book: enrol_book.met(book, news))


def _parsed(text: bytes) -> Book | None:
    """The list in a text; None where there is none yet. Raises ValueError."""
    return enrol_book.parse(text) if text.strip() else None
