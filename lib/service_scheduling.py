"""CPU scheduling of a hub: pauses between receives, a share for expensive work.

Knows: how long to let packets gather, and in which order those work who have to wait for it.
Refuses to know: the kernel's scheduler (service_slice).

Pauses: GOST peers write every packet by itself, and a quick hub wakes up for every few of them. It does what
network cards do (interrupt moderation): while packets come in close succession, it waits a little before it
looks again, once for all sessions. Between GOST clients that saved a tenth of the CPU time for each byte; TCP
gained a tenth, with four streams more.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import gevent
from gevent.hub import Waiter
from gevent.monkey import get_original

UNKNOWN_SECONDS = 0.004
"""Seconds that a turn of the share is taken to last if leave() is not called."""

WORK_SECONDS, MOST_SECONDS = 0.001, 0.010
"""How long long work goes on between two pauses, and how long a pause is at most (Breaths)."""

ALONE_SECONDS = 0.00002
"""A pass of the event loop in which nobody has anything to do takes less, 3 µs, and a packet takes more."""

PIECE = 1 << 15
"""Bytes of an answer that are sent at once."""

COMPARED = 2000
"""Items that are compared in one step."""

PAUSE_SECONDS = 0.0002
"""How long a hub waits for more packets."""
CLOSE_SECONDS = 0.001
"""Receives with less time between them are in close succession."""
SINGLE, PLENTY = 256, 24576
"""Bytes of a receive: up to SINGLE it is one packet, whose sender may wait for a reply, so there is no pause;
from PLENTY on enough packets came together, so none is needed."""

_sleep = get_original("time", "sleep")  # not gevent's: the whole process has to sleep

T = TypeVar("T")


class Rota:
    """Greenlets that wait for a turn: keys take turns; those with the same key, in the order they came."""

    __slots__ = ("_keys",)

    def __init__(self) -> None:
        self._keys: OrderedDict[Hashable, deque[Any]] = OrderedDict()

    def __bool__(self) -> bool:
        """Whether any greenlet waits."""
        return bool(self._keys)

    def join(self, key: Hashable) -> Any:
        """A waiter for the greenlet that calls this; it waits by its get()."""
        waiter = Waiter()
        self._keys.setdefault(key, deque()).append(waiter)
        return waiter

    def leave(self, key: Hashable, waiter: Any) -> bool:
        """Wait no longer (killed, or too late); False where the waiter has had its turn already."""
        waiting = self._keys.get(key)
        if waiting is None or waiter not in waiting:
            return False
        waiting.remove(waiter)
        if not waiting:
            del self._keys[key]
        return True

    def pop(self) -> Any:
        """The waiter whose turn it is; there has to be one."""
        key, waiting = self._keys.popitem(last=False)
        waiter = waiting.popleft()
        if waiting:
            self._keys[key] = waiting
        return waiter


class Share:
    """A share of half the CPU time for expensive work, which is done in turns; packets get the other half.

    A greenlet calls enter() with a key, works, and calls leave() with the seconds that its work took. A pause
    of the same length follows. Keys take turns, so each gets an equal share. Greenlets with the same key are
    served in the order in which they came.
    """

    __slots__ = ("_free_at", "_rota", "_timer")

    def __init__(self) -> None:
        self._free_at = 0.0
        self._rota = Rota()
        self._timer: Any = None

    def enter(self, key: Hashable) -> None:
        """Wait for a turn. The caller has to work at once, and then call leave()."""
        now = time.monotonic()
        if self._rota or now < self._free_at:
            self._wait(key, now)
            now = time.monotonic()
        self._free_at = now + UNKNOWN_SECONDS  # in case leave() is never called

    def try_enter(self, key: Hashable) -> bool:
        """As enter() where no turn has to be waited for; else False, and there is nothing to leave."""
        if self._rota or time.monotonic() < self._free_at:
            return False
        self.enter(key)
        return True

    def leave(self, seconds: float) -> None:
        """End a turn that took `seconds`; the next one begins after a pause as long."""
        self._free_at = time.monotonic() + seconds
        if self._rota:
            self._call(seconds)

    def charge(self, key: Hashable, seconds: float) -> None:
        """Account for `seconds` of work that was done without a turn, then wait for a turn of this key.

        For work whose end nobody knows before (replies of helpers): the next part of it is charged in turn.
        """
        self._free_at = max(self._free_at, time.monotonic()) + seconds
        self.enter(key)
        self.leave(0.0)

    def owe(self, seconds: float) -> None:
        """Account for `seconds` of work that was done without a turn; whoever wants one next waits for it."""
        self._free_at = max(self._free_at, time.monotonic()) + seconds

    def _wait(self, key: Hashable, now: float) -> None:
        waiter = self._rota.join(key)
        if self._timer is None or not self._timer.active:
            self._call(max(0.0, self._free_at - now))
        try:
            waiter.get()
        except BaseException:  # killed, or too late: the turn is given back if it was given already
            if not self._rota.leave(key, waiter):
                self._free_at = 0.0
            raise

    def _call(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.stop()
        self._timer = gevent.get_hub().loop.timer(seconds)
        self._timer.start(self._next)

    def _next(self) -> None:
        """Give the next key a turn, once the pause is over. The event loop calls it."""
        if not self._rota:
            return
        early = self._free_at - time.monotonic()
        if early > 0:
            self._call(early)
            return
        waiter = self._rota.pop()
        self._free_at = time.monotonic() + UNKNOWN_SECONDS
        if self._rota:
            self._call(UNKNOWN_SECONDS)
        waiter.switch(None)


SHARE = Share()
"""The share of this process: for handshakes, for sessions that cost much and forward little, and for what is
read from helpers (stream_bounded)."""


def in_turns(made: Iterator[bytes]) -> Iterator[bytes]:
    """Pieces of an answer put together to PIECE bytes, with pauses in which packets get their turn."""
    waiting: list[bytes] = []
    size, step = 0, Breaths()
    for piece in made:
        waiting.append(piece)
        size += len(piece)
        step()
        if size > PIECE:
            sent = time.monotonic()
            yield b"".join(waiting)
            step.leave_out(time.monotonic() - sent)  # to wait for a reader is no work
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)


def breathe() -> None:
    """Let all other greenlets run, and packets be received, in the middle of long work.

    gevent.sleep(0) would not do: it returns many times before the event loop looks at the sockets again.
    """
    gevent.sleep(1e-9)


class Breaths:
    """Pauses in long work of one greenlet, which takes half of the time at most while others want some.

    Call it after every little piece of the work. In each pause all others get a turn; where that took no
    time, nobody had waited, and the work goes on at once. Slept through, such pauses made a change of what
    1,000 services name take twice as long. Several may be called in one greenlet, as where rows are made in
    steps while an answer is sent in turns: a pause of one counts for all. Once it was work to the others, and
    each paused for as long as the other had: a list of 1,000 services took 1.4 s.
    """

    __slots__ = ("_began",)

    def __init__(self) -> None:
        self._began = time.monotonic()

    def __call__(self) -> None:
        """Let all others run if work went on for long, and for as long as that where they have work too."""
        now = time.monotonic()
        if now - self._began < WORK_SECONDS:
            return
        me = gevent.getcurrent()
        self._began = max(self._began, getattr(me, "paused_at", 0.0))
        worked = now - self._began
        if worked >= WORK_SECONDS:
            breathe()
            others = time.monotonic() - now
            if others >= ALONE_SECONDS:
                gevent.sleep(min(worked, MOST_SECONDS))
            self._began = me.paused_at = time.monotonic()

    def leave_out(self, seconds: float) -> None:
        """Do not count so many seconds as work: others had them."""
        self._began += seconds


def in_steps(items: Iterable[T]) -> Iterator[T]:
    """The items, with pauses in which packets are received (Breaths)."""
    step = Breaths()
    for item in items:
        yield item
        step()


def equal_in_steps(some: Sequence[object], others: Sequence[object]) -> bool:
    """Whether two long sequences are equal; packets are received meanwhile."""
    if some is others or len(some) != len(others):
        return some is others
    starts = range(0, len(some), COMPARED)
    return all(
        some[start : start + COMPARED] == others[start : start + COMPARED] for start in in_steps(starts)
    )


class Pauses:
    """Short pauses before the event loop looks at the sockets again, while packets come one by one."""

    __slots__ = ("_last", "_wanted", "_watcher")

    def __init__(self) -> None:
        self._last = float("-inf")
        self._wanted = False
        self._watcher: Any = None

    def received(self, size: int, now: float) -> None:
        """Note a receive of `size` bytes from a peer that sends every packet by itself.

        `now` is in seconds of a steady clock.
        """
        close = now - self._last < CLOSE_SECONDS
        self._last = now
        if close and SINGLE < size < PLENTY:
            self._wanted = True
            if self._watcher is None:
                self._watcher = gevent.get_hub().loop.prepare(ref=False)
            if not self._watcher.active:
                self._watcher.start(self._pause)

    def _pause(self) -> None:
        if self._wanted:
            self._wanted = False
            _sleep(PAUSE_SECONDS)
        else:
            self._watcher.stop()
