"""Registration of a hub's sessions with an sd: told when they begin, renewed, told when they end.

Knows: when each session is told of next, that an sd which fails is left alone for a while, and that one which
was away, or has forgotten a session, is told of all of them anew.
Refuses to know: what an sd is asked (cluster_entrypoint), how (plugin_client).

Whoever has a session waits for nothing here. How many sessions there are bounds all that is kept: what has
ended while the sd could not be told is forgotten, for the sd forgets it by itself as nobody renews it.
"""

from __future__ import annotations

import heapq
import os
import random
import time
from collections import deque
from collections.abc import Callable, Hashable
from itertools import count

import gevent
from gevent.event import Event as Bell
from gevent.pool import Pool

from lib import ids
from lib.errors import PluginError
from lib.plugin_client import SdPlugin, SdService
from lib.service_scheduling import in_steps
from lib.service_supervisor import Task

AT_ONCE = 8
"""Calls under way at a time."""
PAUSE = 1.0, 5.0
"""Seconds for which nothing is told after a failure, at first and at most (doubling, up to a half more)."""
SPREAD_SECONDS = 1.0
"""An sd that is back is told of all sessions within about so long."""
MAX_ENDED = 4096
"""Sessions that have ended and that the sd is still to be told of; of more the oldest are forgotten."""
SPARE = 64
"""Places in the heap that do not count any more may be so many, and as many as there are sessions."""
LEAVE_SECONDS = 1.0
"""How long the end of sessions is told of at the end of a process."""


def name_of(namespace: bytes, host: str) -> str:
    """The name by which an sd knows a host, as in GOST."""
    return f"{host}@{ids.format_uuid(namespace)}"


class _Entry:
    """A session, as the sd is to know it."""

    __slots__ = ("is_known", "number", "service")

    def __init__(self, service: SdService) -> None:
        self.service = service
        self.is_known = False
        """Whether the sd has been told of it, and has not failed or forgotten it since."""
        self.number = 0
        """That of its place in the heap; older ones do not count."""


class Registration:
    """The sessions of a hub that an sd is told of."""

    def __init__(
        self,
        name: str,
        plugin: SdPlugin,
        node: str,
        address: str,
        renew: float,
        heard: Callable[[PluginError | None], None],
    ) -> None:
        """`node` is the hub's id, `address` where others reach it; `renew` in seconds. `heard` is called with
        what became of each call: None, or an error. Tells nothing before start()."""
        self._plugin, self._node, self._address, self._renew = plugin, node, address, renew
        self._heard = heard
        self._entries: dict[Hashable, _Entry] = {}
        self._due: list[tuple[float, int, Hashable]] = []
        """A heap of (when, number, session), with places that do not count any more."""
        self._ended: deque[SdService] = deque(maxlen=MAX_ENDED)
        self._numbers = count()
        self._bell, self._pool = Bell(), Pool(AT_ONCE)
        self._pause, self._resume_at = PAUSE[0], 0.0
        self._failed_at = 0.0
        """When a call failed last that no other one has followed with success; 0 for none."""
        self._missed = False
        """Whether a question was missed since the sd has replied to one."""
        self._task = Task(f"{name}: the sd is told of sessions", self._run, vital=False)

    @property
    def known(self) -> int:
        """Sessions that the sd knows."""
        return sum(entry.is_known for entry in self._entries.values())

    def __len__(self) -> int:
        """All sessions."""
        return len(self._entries)

    def __contains__(self, session: Hashable) -> bool:
        return session in self._entries

    def start(self) -> None:
        """Begin to tell."""
        self._task.start()

    def stop(self) -> None:
        """Tell nothing more, after a try to say which sessions have ended."""
        self._task.kill()
        self._pool.kill(timeout=LEAVE_SECONDS)
        self._ended.extend(entry.service for entry in self._entries.values() if entry.is_known)
        if time.monotonic() >= self._resume_at:
            last = Pool(AT_ONCE)
            with gevent.Timeout(LEAVE_SECONDS, False):
                while self._ended:
                    last.spawn(self._leave, self._ended.popleft())
                last.join()
            last.kill(block=False)
        self._entries.clear()

    def entered(self, session: Hashable, namespace: bytes, host: str) -> None:
        """A session of a host has begun. `session` is whatever stands for it, as for left()."""
        name = name_of(namespace, host)
        service = SdService(ids.format_uuid(os.urandom(16)), name, self._node, "udp", self._address)
        entry = self._entries[session] = _Entry(service)
        self._put(session, entry, 0.0)

    def left(self, session: Hashable) -> None:
        """A session has ended."""
        entry = self._entries.pop(session, None)
        if entry is not None and entry.is_known:
            self._ended.append(entry.service)
            self._bell.set()

    def missed(self) -> None:
        """The sd has not replied to a question: it may be started anew meanwhile, and know nobody."""
        self._missed = True

    def resume(self) -> None:
        """The sd replies: where it has failed before, it is tried again at once, if that was not just now.

        Where a question was missed, one session is renewed at once, which tells whether it knows any.
        """
        if self._missed:
            self._missed = False
            for session, entry in self._entries.items():
                if entry.is_known:
                    self._put(session, entry, 0.0)
                    break
        if self._failed_at and time.monotonic() - self._failed_at >= PAUSE[0]:
            self._pause, self._resume_at = PAUSE[0], 0.0
            self._bell.set()

    def _put(self, session: Hashable, entry: _Entry, at: float) -> None:
        entry.number = next(self._numbers)
        heapq.heappush(self._due, (at, entry.number, session))
        if len(self._due) > 2 * len(self._entries) + SPARE:
            self._due = [one for one in self._due if self._counts(one)]
            heapq.heapify(self._due)
        self._bell.set()

    def _counts(self, due: tuple[float, int, Hashable]) -> bool:
        """Whether a place in the heap counts: its session is there, and has no later one."""
        entry = self._entries.get(due[2])
        return entry is not None and entry.number == due[1]

    def _tell_anew(self) -> None:
        """Tell the sd of every session anew: it may have forgotten them."""
        now = time.monotonic()
        for session, entry in in_steps(list(self._entries.items())):
            if entry.is_known and self._entries.get(session) is entry:
                entry.is_known = False
                self._put(session, entry, now + random.random() * SPREAD_SECONDS)

    def _run(self) -> None:
        while True:
            self._bell.wait(self._seconds(time.monotonic()))
            self._bell.clear()
            while (now := time.monotonic()) >= self._resume_at and self._step(now):
                pass

    def _seconds(self, now: float) -> float | None:
        """Seconds until there is something to tell; None where only a bell says so."""
        if self._ended:
            return max(0.0, self._resume_at - now)
        return max(0.0, max(self._due[0][0], self._resume_at) - now) if self._due else None

    def _step(self, now: float) -> bool:
        """Begin to tell of one session, once there is room for one more; False where none is due."""
        if self._ended:
            self._pool.spawn(self._leave, self._ended.popleft())
            return True
        if not self._due or self._due[0][0] > now:
            return False
        due = heapq.heappop(self._due)
        if self._counts(due):
            self._pool.spawn(self._tell, due[2], self._entries[due[2]])
        return True

    def _tell(self, session: Hashable, entry: _Entry) -> None:
        """Register a session, or renew it."""
        service = entry.service
        try:
            if not entry.is_known:
                self._plugin.register(service)
            elif not self._plugin.renew(service._replace(network="", address="")):  # as GOST says it
                self._tell_anew()
                return
        except PluginError as error:
            entry.is_known = False
            self._fail(error)
            if session in self._entries:
                self._put(session, entry, 0.0)  # once it is not left alone any more
            return
        self._heard(None)
        self._pause = PAUSE[0]
        if self._failed_at:  # it was away, and may have been started anew
            self._failed_at = 0.0
            self._tell_anew()
        entry.is_known = True
        if self._entries.get(session) is entry:
            self._put(session, entry, time.monotonic() + self._renew)
        else:  # it has ended meanwhile
            self._ended.append(service)
            self._bell.set()

    def _leave(self, service: SdService) -> None:
        try:
            self._plugin.deregister(service._replace(network="", address=""))
        except PluginError as error:
            self._fail(error)

    def _fail(self, error: PluginError) -> None:
        """Leave the sd alone for a while."""
        self._heard(error)
        now = self._failed_at = time.monotonic()
        if now >= self._resume_at:  # of those calls that fail together the first one counts
            pause = self._pause * (1 + random.random() / 2)
            self._resume_at, self._pause = now + pause, min(2 * self._pause, PAUSE[1])
