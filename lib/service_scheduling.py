"""When a hub works, so that it finds more to do at once: long turns for superpackets, pauses for packets.

Knows: sched_setattr(2), the slice of an ordinary task (Linux 6.12 and later); how long to let packets gather.
Refuses to know: priorities. A hub asks for no more of the CPU than anybody else.

A hub that the scheduler wakes for every few packets cuts the work of everybody on the machine into
small pieces, its own too. A task with a longer slice has a later deadline, so it interrupts others
less and finds more to do in one go: on 2 busy cores TCP between tunrouters gained a tenth, and small
UDP packets a third. On a core that is free it runs at once, as before. Between GOST peers, who send
packet by packet, it costs a tenth instead; so it is only asked for while one of our own kind is here.

GOST peers write every packet by itself, and a hub that is quick wakes up for every few of them. It does
as network cards do (interrupt moderation): while packets come in close succession it waits a little
before it looks again, once for all sessions. Between GOST clients that took a tenth of all CPU time off
a byte and gave TCP a tenth, four streams more.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import time
from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Any

import gevent
from gevent.hub import Waiter
from gevent.monkey import get_original

SLICE_SECONDS = 0.010

UNKNOWN_SECONDS = 0.004
"""How long a turn of the share lasts whose end nobody has told."""

PAUSE_SECONDS = 0.0002
CLOSE_SECONDS = 0.001
"""Receives that are less apart than this are in close succession."""
SINGLE, PLENTY = 256, 24576
"""A receive of less is a lone packet whose sender may wait for an answer; one of more needs no gathering."""

_sleep = get_original("time", "sleep")  # the whole process shall sleep

_SYSCALLS = {"x86_64": 314, "aarch64": 274}
# linux/sched/types.h struct sched_attr, version 0: size, policy, flags, nice, priority, runtime,
# deadline, period
_ATTR = struct.Struct("=IIQiIQQQ")


class Turns:
    """The turns of this process: long while anybody holds them so."""

    __slots__ = ("_holders",)

    def __init__(self) -> None:
        self._holders = 0

    def hold_long(self) -> None:
        """One more wants long turns."""
        self._holders += 1
        if self._holders == 1:
            set_slice(SLICE_SECONDS)

    def release(self) -> None:
        """One who wanted long turns does no longer."""
        self._holders -= 1
        if not self._holders:
            set_slice(0)


class Share:
    """Turns of work that take half of the time at most, so that packets are not held up by it.

    Whoever wants a turn enters under a key and leaves with the time it took; as long a pause follows.
    Keys have their turns in rotation (equal shares), whoever waits under one key first come, first served.
    """

    __slots__ = ("_free_at", "_keys", "_timer")

    def __init__(self) -> None:
        self._free_at = 0.0
        self._keys: OrderedDict[Hashable, deque[Any]] = OrderedDict()
        self._timer: Any = None

    def enter(self, key: Hashable) -> None:
        """Wait for a turn; the work follows at once, and then leave()."""
        now = time.monotonic()
        if self._keys or now < self._free_at:
            self._wait(key, now)
            now = time.monotonic()
        self._free_at = now + UNKNOWN_SECONDS  # should it never be told how long it took

    def leave(self, seconds: float) -> None:
        """The turn has taken so long."""
        self._free_at = time.monotonic() + seconds
        if self._keys:
            self._call(seconds)

    def _wait(self, key: Hashable, now: float) -> None:
        waiter = Waiter()
        waiting = self._keys.setdefault(key, deque())
        waiting.append(waiter)
        if self._timer is None or not self._timer.active:
            self._call(max(0.0, self._free_at - now))
        try:
            waiter.get()
        except BaseException:  # killed, or too late: nobody holds a turn that nobody takes
            if waiter in waiting:
                waiting.remove(waiter)
            else:
                self._free_at = 0.0
            if not waiting and self._keys.get(key) is waiting:
                del self._keys[key]
            raise

    def _call(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.stop()
        self._timer = gevent.get_hub().loop.timer(seconds)
        self._timer.start(self._next)

    def _next(self) -> None:
        """Let the next key have a turn; called by the event loop."""
        if not self._keys:
            return
        early = self._free_at - time.monotonic()
        if early > 0:
            self._call(early)
            return
        key, waiting = self._keys.popitem(last=False)
        waiter = waiting.popleft()
        if waiting:
            self._keys[key] = waiting
        self._free_at = time.monotonic() + UNKNOWN_SECONDS
        if self._keys:
            self._call(UNKNOWN_SECONDS)
        waiter.switch(None)


SHARE = Share()
"""Of the time of this process: for handshakes, and for sessions that cost much and forward little."""


def breathe() -> None:
    """Let everybody else run, in the middle of long work.

    Not gevent.sleep(0): that comes back many times before the loop looks at the network again.
    """
    gevent.sleep(1e-9)


class Pauses:
    """A short sleep before the event loop looks again, after turns in which packets came one by one."""

    __slots__ = ("_last", "_wanted", "_watcher")

    def __init__(self) -> None:
        self._last = float("-inf")
        self._wanted = False
        self._watcher: Any = None

    def received(self, size: int, now: float) -> None:
        """A peer that writes packet by packet sent `size` bytes; `now` in seconds of a steady clock."""
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


def set_slice(seconds: float) -> bool:
    """Ask for a slice (0: the kernel's own choice); False where the kernel or somebody is against it.

    Nice value and policy stay as they are; a process that runs under another policy is left alone.
    """
    number = _SYSCALLS.get(platform.machine())
    if number is None or os.sched_getscheduler(0) != os.SCHED_OTHER:
        return False
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    attr = _ATTR.pack(_ATTR.size, os.SCHED_OTHER, 0, nice, 0, int(seconds * 1e9), 0, 0)
    done: int = ctypes.CDLL(None).syscall(number, 0, attr, 0)
    return done == 0
