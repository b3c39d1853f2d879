"""How the kernel's scheduler shall treat a hub: long turns, taken late, while superpackets pass.

Knows: sched_setattr(2), the slice of an ordinary task (Linux 6.12 and later).
Refuses to know: priorities. A hub asks for no more of the CPU than anybody else.

A hub that the scheduler wakes for every few packets cuts the work of everybody on the machine into
small pieces, its own too. A task with a longer slice has a later deadline, so it interrupts others
less and finds more to do in one go: on 2 busy cores TCP between tunrouters gained a tenth, and small
UDP packets a third. On a core that is free it runs at once, as before. Between GOST peers, who send
packet by packet, it costs a tenth instead; so it is only asked for while one of our own kind is here.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct

SLICE_SECONDS = 0.010

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
