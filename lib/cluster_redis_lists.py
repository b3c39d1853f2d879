"""Reader of other hubs' lists, and of their certificates, in the Redis of a registry.

Knows: when a list is read, how often one that cannot be used is read again, that packets have their turns.
Refuses to know: which lists are wanted, and what they mean (cluster_registry).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import gevent
from gevent.event import Event

from lib import service_release
from lib.cluster_claims import CERTIFICATE, HEADER
from lib.cluster_redis_talk import SILENT_SECONDS, Talk
from lib.cluster_registry import Outcome, Registry
from lib.cluster_seal import Seal
from lib.errors import ProtocolError
from lib.service_scheduling import breathe, in_steps
from lib.service_supervisor import Task

LIST_BYTES = 64 << 20
"""Bytes of the list of one hub: 200,000 hosts, and more."""
READ = 64
"""Entries of a list that are looked at before packets have their turn."""
SEARCHED = 2000
"""Fields and values of a list in which its header is looked for before packets have their turn."""
MAX_CERTIFICATE = 8192
AGAIN_SECONDS, AGAIN_MOST, QUICK_TRIES = 0.5, 10.0, 4
"""Seconds until a list is read again that could not be used: after so many tries twice as long each time."""


_NO_ENTRIES = (HEADER, CERTIFICATE)


class ListReader:
    """Reads lists of which something was missed."""

    def __init__(
        self,
        talk: Talk,
        registry: Registry,
        seal: Seal,
        changed: Callable[[], None],
        tell: Callable[[Outcome, str], None],
        hear: Callable[[bytes], None],
    ) -> None:
        """`changed` is called when `registry` may have changed, `tell` with what somebody has to look at.

        `hear` takes news that could not be proven before.
        """
        self._tell, self._hear = tell, hear
        self._talk, self._registry, self._seal, self._changed = talk, registry, seal, changed
        self._bell = Event()
        self._unusable: dict[str, tuple[int, float]] = {}
        """Hub -> how often its list could not be used, and until when it is left alone."""
        self.task = Task(f"registry {talk.name}: lists are read again", self._run, vital=False)

    def ring(self) -> None:
        """There may be something to read."""
        self._bell.set()

    def _run(self) -> None:
        while True:
            self._bell.wait()
            self._bell.clear()
            gevent.sleep(random.uniform(0.0, 0.1))  # a list that all have missed is not read by all at once
            try:
                is_done = self._read_wanted()
            except OSError:
                is_done = False  # the listener says what is wrong
            if not is_done:
                gevent.sleep(AGAIN_SECONDS)
                self._bell.set()

    def _read_wanted(self) -> bool:
        """Read the lists of all hubs of which we have missed something; returns whether all could be used.

        One that cannot be used, as somebody has changed it, is left alone for a while: to read it takes time.
        """
        self._read_certificates()
        wanted, now = self._registry.wanted(), time.monotonic()
        before = self._unusable
        self._unusable = {name: before[name] for name in wanted if name in before}
        due = [name for name in wanted if now >= self._unusable.get(name, (0, now))[1]]
        is_done = len(due) == len(wanted)
        if due:
            with self._talk.open() as connection:
                for name in due:
                    if self._read_list(connection, name):
                        self._unusable.pop(name, None)
                    else:
                        is_done = False
                        tries = self._unusable.get(name, (0, now))[0] + 1
                        self._unusable[name] = tries, time.monotonic() + _left_alone(tries)
                    self._changed()
        return is_done

    def _read_certificates(self) -> None:
        """Read the certificates of hubs that have been heard of: what they said is heard again then."""
        unread = self._registry.unread
        if unread:
            with self._talk.open() as connection:
                for name in list(unread):
                    (found,) = self._talk.ask(connection, [("HGET", self._talk.list_of(name), CERTIFICATE)])
                    news = unread.pop(name, b"")
                    if isinstance(found, bytes) and len(found) <= MAX_CERTIFICATE:
                        self._seal.learn(name, found)
                        if news:  # its next HUB comes a second later
                            self._hear(news)
                            unread.pop(name, None)  # that was not its certificate; the next HUB asks anew
                    breathe()

    def _read_list(self, connection: Any, name: str) -> bool:
        connection.bounds.renew(10 * SILENT_SECONDS, LIST_BYTES)
        connection.send_command("HGETALL", self._talk.list_of(name))
        self._talk.commands += 1
        reply = connection.read_response()
        if not isinstance(reply, list) or len(reply) % 2:
            raise OSError(5, "no proper list")
        snapshot = None
        try:
            snapshot = self._registry.begin(name, _header_of(reply))
            if snapshot is None:
                return False
            while reply:  # an entry is freed once it is read, not all of them at the end
                entry, field_name = reply.pop(), reply.pop()
                if field_name not in _NO_ENTRIES:
                    snapshot.add(entry)
                if not len(reply) % (2 * READ):
                    breathe()
        except (ProtocolError, TypeError):
            if snapshot is not None:
                self._registry.drop(snapshot)
            return False
        finally:
            service_release.later([reply, snapshot])
        if not self._registry.use(snapshot):
            return False
        if snapshot.is_untrusted:
            self._tell(Outcome.UNTRUSTED, name)
        return True


def _header_of(reply: list[Any]) -> bytes:
    """The header in the fields and values of a list; empty where there is none."""
    for first in in_steps(range(0, len(reply), SEARCHED)):
        for at in range(first, min(first + SEARCHED, len(reply)), 2):
            if reply[at] == HEADER:
                return reply[at + 1]  # type: ignore[no-any-return]
    return b""


def _left_alone(tries: int) -> float:
    """For how many seconds a list is not read that could not be used so often."""
    if tries < QUICK_TRIES:
        return 0.0
    return min(AGAIN_MOST, AGAIN_SECONDS * 2.0 ** min(tries - QUICK_TRIES, 8))
