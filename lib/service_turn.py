"""Turn of a connection: waited for where it is expensive, timed, and counted in the connection's account.

Knows: by which clock a turn is timed, and how long others wait after an expensive one.
Refuses to know: what is done in it (stream_tcp: a lane; datagram_turns: datagrams), what it is worth
(session_cost), which turns have to wait, and for how long (service_scheduling, service_passes).
"""

from __future__ import annotations

import time
from collections.abc import Hashable
from typing import Any

from lib.service_passes import DATAGRAMS, PASSES, WASTE
from lib.service_scheduling import SHARE, breathe
from lib.session_cost import Cost


class Turn:
    """The turns of one reader, one at a time. A turn that was entered or begun has to be ended."""

    __slots__ = ("_began", "_clock", "_holds", "_loop", "_waste", "origin")

    def __init__(self) -> None:
        self.origin: Hashable = None
        """The peer's address, by which those take turns that have to wait because others waste time."""
        self._began = -1.0
        """When it began, by `_clock`; negative between turns."""
        self._clock = time.monotonic
        self._holds = False
        """Whether it is one of the share of all expensive ones."""
        self._loop: Any = None
        """The event loop where it began as one that may be short, since what it wastes is to be told then."""
        self._waste = WASTE
        """To whom."""

    def wait(self, cost: Cost, loop: Any, key: Hashable) -> None:
        """Wait until the turn may begin, and begin it; `key` is for expensive ones, as of enter()."""
        self._loop = None
        if cost.expensive:
            self.enter(key)
        elif cost.long and (cost.wastes or not cost.is_of_many):
            place = self.origin if cost.wastes else self
            PASSES.enter(loop, place)
            if cost.has_rival:  # two lanes of one session have one place between them
                PASSES.enter(loop, place)
        else:
            if WASTE.is_over:
                WASTE.enter(loop, self.origin, not cost.exact)
            self._loop = loop
        self._clock = time.thread_time if cost.exact else time.monotonic  # as begin(): each packet comes here
        self._began = self._clock()

    def wait_for_datagrams(self, cost: Cost, loop: Any) -> None:
        """As wait(), of who reads datagrams, by `origin`: it waits for no long turns.

        What may wait for those of others goes by a stream. It waits for a later pass where datagrams have
        taken long in this one.
        """
        self._loop = None
        if cost.expensive:
            self.enter(self.origin)
        else:
            self._waste, self._loop = DATAGRAMS, loop
            self._wait_here(cost)
        self.begin(cost)

    def go_on(self, cost: Cost) -> None:
        """Begin another one, where the last one was not enough, once others had theirs."""
        breathe()
        self._wait_here(cost)
        self.begin(cost)

    def _wait_here(self, cost: Cost) -> None:
        if self._loop is not None and self._waste.is_over:
            self._waste.enter(self._loop, self.origin, not (cost.exact or cost.long))

    def enter(self, key: Hashable) -> None:
        """Wait for a turn of the share; those with the same `key` take turns among themselves."""
        SHARE.enter(key)
        self._holds = True

    def try_enter(self, key: Hashable) -> bool:
        """As enter() where nothing has to be waited for; else False."""
        self._holds = SHARE.try_enter(key)
        return self._holds

    def begin(self, cost: Cost) -> None:
        """The work begins: time it from here on, exactly if the account wants that."""
        self._clock = time.thread_time if cost.exact else time.monotonic
        self._began = self._clock()

    def leave(self) -> float:
        """The work that has begun is done, and was nobody's: it counts in no account. Returns its seconds."""
        seconds, self._began = self._clock() - self._began, -1.0
        if self._holds:
            self._holds = False
            SHARE.leave(seconds)
        return seconds

    def end(self, cost: Cost) -> float:
        """The work is done, if any has begun; returns when (a steady clock), or 0.0 where none had."""
        seconds = now = 0.0
        if self._began >= 0:
            now = time.monotonic()
            seconds = (now if self._clock is time.monotonic else self._clock()) - self._began
            self._began = -1.0
            cost.end(seconds, now)
            if self._loop is not None:
                wasted = cost.over if self._waste is WASTE else seconds
                if wasted > 0:
                    self._waste.add(self._loop, wasted)
        if self._holds:
            self._holds = False
            SHARE.leave(seconds)
        return now
