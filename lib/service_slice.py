"""Time slice of this process: long for a hub that passes packets on, short for a client with little to do.

Knows: sched_setattr(2), the slice of an ordinary task (Linux 6.12 and later).
Refuses to know: priorities. Nobody asks for more CPU time than others; a short slice is less at once.

A task with a shorter slice has an earlier deadline: where all cores are busy it runs sooner after it was
woken, and for less time.

    hub      long while a tunrouter client is connected, but the kernel's own while the hub replies itself
    client   short while little passes, the kernel's own while much does

A hub that the scheduler wakes for every few packets interrupts all other processes, and does little each
time. With a long slice it interrupts others less often, and finds more packets to forward each time. On 2
busy cores TCP between tunrouters gained a tenth by it, and small UDP packets a third. On an idle core the hub
runs at once, as before. Between GOST peers, which send every packet by itself, it costs a tenth instead. So
it is only asked for while a tunrouter client is connected.

Who asks for names, or pings, waits three times for a processor: its client has to pass on the question, the
hub to reply, and the client to pass that on. Beside full traffic between others this is nearly all that an
answer takes (tests/bench/names.py).
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import time
from typing import Any

import gevent

LONG_SECONDS, SHORT_SECONDS = 0.010, 0.0002
"""The time slices that are asked for."""
REPLIES, REPLYING_SECONDS = 50, 0.5
"""With so many replies in that time a hub has whom to be prompt for: a ping each second is none."""
LITTLE = 4 << 20
"""Bytes a second, both ways, below which a client has little to do: 32 Mbit/s."""
TURNS, BYTES = 64, 256 << 10
"""Turns, or bytes, after which a client looks how much passes."""

_SYSCALLS = {"x86_64": 314, "aarch64": 274}
# linux/sched/types.h struct sched_attr, version 0: size, policy, flags, nice, priority, runtime,
# deadline, period
_ATTR = struct.Struct("=IIQiIQQQ")


class TimeSlice:
    """The slice of this process, by what its hubs and clients have to do."""

    __slots__ = (
        "_asked",
        "_bytes",
        "_holders",
        "_is_calm",
        "_is_prompt",
        "_replies",
        "_since",
        "_timer",
        "_turns",
    )

    def __init__(self) -> None:
        self._holders = 0
        """Sessions for which a hub wants a long slice."""
        self._is_prompt, self._replies = False, 0
        """Whether a hub replies itself, and how often it did since the last look."""
        self._is_calm = False
        """Whether little passes through the clients."""
        self._turns, self._bytes, self._since = TURNS, 0, 0.0
        """What they have passed on since then."""
        self._timer: Any = None
        self._asked = 0.0

    def hold_long(self) -> None:
        """Ask for a long time slice (a tunrouter client has connected)."""
        self._holders += 1
        self._ask()

    def release(self) -> None:
        """Take back one `hold_long`."""
        self._holders -= 1
        self._ask()

    def replied(self, count: int) -> None:
        """Note that a hub itself has replied: to pings, or about names."""
        self._replies += count
        if self._timer is None:
            self._timer = gevent.get_hub().loop.timer(REPLYING_SECONDS, REPLYING_SECONDS, ref=False)
        if not self._timer.active:
            self._timer.start(self._look_at_replies)
        if self._replies >= REPLIES and not self._is_prompt:
            self._is_prompt = True
            self._ask()

    def _look_at_replies(self) -> None:
        """Be prompt no longer where few replies were sent since the last look. The loop calls it."""
        replies, self._replies = self._replies, 0
        if replies < REPLIES:
            self._timer.stop()
            self._is_prompt = False
            self._ask()

    def passed(self, size: int) -> None:
        """Note that a client has passed on so many bytes in a turn."""
        self._turns += 1
        self._bytes += size
        if self._turns < TURNS and self._bytes < BYTES:
            return
        now = time.monotonic()
        is_calm = self._bytes < LITTLE * (now - self._since)
        self._turns, self._bytes, self._since = 0, 0, now
        if is_calm != self._is_calm:
            self._is_calm = is_calm
            self._ask()

    def _ask(self) -> None:
        if self._holders:
            seconds = 0.0 if self._is_prompt else LONG_SECONDS
        else:
            seconds = SHORT_SECONDS if self._is_calm else 0.0
        if seconds != self._asked:
            self._asked = seconds
            set_slice(seconds)


def set_slice(seconds: float) -> bool:
    """Ask the kernel for a time slice (0: its default); False where it refuses, or cannot.

    Nice value and policy stay as they are. A process under another policy than SCHED_OTHER is not changed.
    """
    number = _SYSCALLS.get(platform.machine())
    if number is None or os.sched_getscheduler(0) != os.SCHED_OTHER:
        return False
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    attr = _ATTR.pack(_ATTR.size, os.SCHED_OTHER, 0, nice, 0, int(seconds * 1e9), 0, 0)
    done: int = ctypes.CDLL(None).syscall(number, 0, attr, 0)
    return done == 0


TIME_SLICE = TimeSlice()
"""That of this process."""
