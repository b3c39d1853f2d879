"""A simulated clock, and greenlets that wait by it: what cluster_redis uses of gevent, without any real time.

Knows: which greenlet goes on when. Refuses to know: what it does.

Nothing happens at the same time but by the order in which it was asked for, so a run with a seed is always the
same. A second that nothing happens in costs nothing.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count

import greenlet


class Wait:
    """One wait of a greenlet; it is woken once."""

    __slots__ = ("_green", "is_over")

    def __init__(self) -> None:
        self._green = greenlet.getcurrent()
        self.is_over = False

    def wake(self) -> None:
        if not self.is_over and not self._green.dead:
            self.is_over = True
            self._green.switch()


class Clock:
    """The time of a simulation, in seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self.steps = 0
        """How often something was called."""
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = count()
        self._main = greenlet.getcurrent()

    def at(self, when: float, call: Callable[[], object]) -> None:
        """Have something called at a time. It may not wait, unless it is a greenlet's."""
        heapq.heappush(self._due, (max(when, self.now), next(self._numbers), call))

    def run(self, until: float) -> None:
        """Let everything happen up to a time; only the greenlet that has made the clock may call it."""
        due = self._due
        while due and due[0][0] <= until:
            self.now, _, call = heapq.heappop(due)
            self.steps += 1
            call()
        self.now = until

    def pause(self) -> Wait:
        """What wakes the present greenlet: given to somebody, and then stop() is called."""
        return Wait()

    def stop(self) -> None:
        """Let others run until somebody wakes the present greenlet."""
        self._main.switch()

    def sleep(self, seconds: float) -> None:
        """As gevent.sleep."""
        wait = Wait()
        self.at(self.now + seconds, wait.wake)
        self._main.switch()

    def spawn(self, run: Callable[[], object]) -> Greenlet:
        """Run something in a greenlet of its own, from now on."""
        return Greenlet(self, run)


class Greenlet:
    """A greenlet of the simulation."""

    def __init__(self, clock: Clock, run: Callable[[], object]) -> None:
        self._run = run
        self._green = greenlet.greenlet(self._guarded, parent=clock._main)
        clock.at(clock.now, self._begin)

    def _begin(self) -> None:
        if not self._green.dead:
            self._green.switch()

    def _guarded(self) -> None:
        try:
            self._run()
        except greenlet.GreenletExit:
            pass

    def kill(self) -> None:
        """End it at once."""
        if self._green and not self._green.dead:
            self._green.throw(greenlet.GreenletExit)
        self._run = lambda: None


class Event:
    """As gevent's."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._set = clock, False
        self._waits: list[Wait] = []

    def is_set(self) -> bool:
        """Whether it is set."""
        return self._set

    def set(self) -> None:
        """Set it, and wake all that wait."""
        self._set = True
        waits, self._waits = self._waits, []
        for wait in waits:
            self._clock.at(self._clock.now, wait.wake)

    def clear(self) -> None:
        """Let those wait that come from now on."""
        self._set = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, or for so many seconds; returns whether it is."""
        if not self._set:
            wait = self._clock.pause()
            self._waits.append(wait)
            if timeout is not None:
                self._clock.at(self._clock.now + timeout, wait.wake)
            self._clock.stop()
            if wait in self._waits:
                self._waits.remove(wait)
        return self._set
