"""Sockets in another network namespace: a socket stays in the one in which it was made (setns(2)).

Knows: how a namespace is named (`ip netns`, or a path), and that only the making of a socket happens in it.
Refuses to know: what the socket is for (stream_dial, stream_listen).

Namespaces belong to threads. Nothing else of the program runs while its thread is in another one: nothing
here gives way to other greenlets.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

NAMES = "/run/netns"
"""Where `ip netns add` puts names; /var/run is a link to /run."""
_OWN = "/proc/thread-self/ns/net"
_CLONE_NEWNET = 0x40000000  # linux/sched.h

_libc = ctypes.CDLL(None, use_errno=True)


def path_of(name: str) -> str:
    """The file of a namespace that is named as in GOST: by a path, or as for `ip netns exec`."""
    return name if name.startswith("/") else f"{NAMES}/{name}"


def made_in(name: str, make: Callable[[], T]) -> T:
    """What `make` makes in a network namespace, the process's own where the name is empty. Raises OSError.

    `make` must not give way to other greenlets: they would run in that namespace.
    """
    if not name:
        return make()
    own = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(name)
        try:
            return make()
        finally:
            if _libc.setns(own, _CLONE_NEWNET) != 0:
                os._exit(1)  # everything that follows would happen in the wrong network
    finally:
        os.close(own)


def _enter(name: str) -> None:
    try:
        other = os.open(path_of(name), os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise OSError(error.errno, f"network namespace {name}: {error.strerror or error}") from None
    try:
        if _libc.setns(other, _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"network namespace {name}: {os.strerror(number)}")
    finally:
        os.close(other)
