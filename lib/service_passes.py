"""Passes of the event loop: one long turn in each, and little time in which nothing is forwarded.

Knows: which pass the loop is in, who waits for a later one, and in which order they have their turns.
Refuses to know: what a turn is, when it is a long one, what it is worth (session_cost, service_turn).

    a pass:  sockets that are ready: short turns, while little is wasted -> turns of those who have waited

Between two passes the loop looks at all sockets. So what others wait for is the length of a pass.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import gevent

from lib.service_scheduling import Rota

WASTE_SECONDS = 0.002
"""Seconds of a pass that may be wasted before newcomers wait for a later one."""
MOST_WASTE_SECONDS = 0.008
"""The same for those who have not wasted any in their last turns."""


class _Later:
    """Greenlets that wait for a later pass of the event loop; keys take turns."""

    __slots__ = ("_number", "_rota", "_timer")

    def __init__(self) -> None:
        self._number = -1
        self._timer: Any = None
        self._rota = Rota()

    def _wait(self, loop: Any, key: Hashable) -> None:
        waiter = self._rota.join(key)
        if self._timer is None:
            self._call(loop)
        try:
            waiter.get()
        except BaseException:  # killed, or too late
            self._rota.leave(key, waiter)
            raise

    def _call(self, loop: Any) -> None:
        """Ask for _next in the next pass, after all whose sockets are ready then (a lower priority)."""
        self._timer = loop.timer(1e-9, priority=-1)
        self._timer.start(self._next)

    def _next(self) -> None:
        """Stop waiting for this pass, and let some have their turns in it. The loop calls it, once a pass."""
        timer, self._timer = self._timer, None
        timer.stop()
        loop = gevent.get_hub().loop
        self._serve(loop)
        if self._rota and self._timer is None:  # who had a turn may have asked already
            self._call(loop)

    def _serve(self, loop: Any) -> None:
        """Let those have their turns who may in this pass. Nobody waits any more where all were killed."""
        raise NotImplementedError


class Passes(_Later):
    """One long turn in each pass of the event loop; keys take turns.

    Between two of them the loop looks at all sockets. So a packet of whoever has short turns waits for one
    long turn at most, however many connections have those. A short turn may be long once by accident: so
    sessions that waste time have one key for each address, and all others one each.
    """

    __slots__ = ()

    def enter(self, loop: Any, key: Hashable) -> None:
        """Wait until no other long turn has begun in this pass of `loop`. The caller has to work at once."""
        if self._rota or loop.iteration == self._number:
            self._wait(loop, key)
        self._number = loop.iteration

    def _serve(self, loop: Any) -> None:
        if self._rota:
            self._rota.pop().switch(None)


class Waste(_Later):
    """Time of a pass in which turns have forwarded nothing, and who waits where that was too much.

    Nobody knows before it what a turn will cost, so one that may be short begins at once. But the first turns
    of many sessions, or their ends, may come in the same pass. Once so much has been wasted in it, others
    wait for the next pass, in which they go on for as long. Keys (addresses) take turns, so a newcomer waits
    for one turn of each other address, whatever the number of its sessions.

    Greenlets that wait have read nothing yet: what their peers have sent is in the kernel's buffers.
    """

    __slots__ = ("is_over", "seconds")

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0
        """What was wasted in this pass; of an earlier pass until somebody looks."""
        self.is_over = False
        """Whether enter() has to be asked before a turn."""

    def enter(self, loop: Any, key: Hashable, is_known: bool) -> None:
        """Wait for a pass with time to waste. The caller has to work at once.

        `is_known` is for those whose last turns have wasted nothing.
        """
        self._look(loop)
        if not self._rota and self.seconds < WASTE_SECONDS:
            self.is_over = False
        elif not is_known or self.seconds >= MOST_WASTE_SECONDS:
            self._wait(loop, key)

    def add(self, loop: Any, seconds: float) -> None:
        """Note that a turn of this pass has wasted so many seconds."""
        self._look(loop)
        self.seconds += seconds
        if self.seconds >= WASTE_SECONDS:
            self.is_over = True

    def _look(self, loop: Any) -> None:
        if (number := loop.iteration) != self._number:
            self._number, self.seconds = number, 0.0

    def _serve(self, loop: Any) -> None:
        """Let one have its turn, and others while there is time."""
        self._look(loop)
        while self._rota:
            self._rota.pop().switch(None)  # comes back when that one waits for something else
            if self.seconds >= WASTE_SECONDS:
                break


PASSES = Passes()
"""The passes of this process's event loop."""

WASTE = Waste()
"""What is wasted in them, of this process."""

DATAGRAMS = Waste()
"""What turns of sessions with sockets of their own for datagrams take in them, whatever these forward: all of
those may be ready in one pass."""
