"""Sockets and devices in another network namespace: each stays in the one in which it was made (setns(2)).

Knows: how a namespace is named (`ip netns`, or a path), and that only the making of something happens in it.
Refuses to know: what it is for (stream_dial, stream_listen, client_device).

Namespaces belong to threads. Nothing else of the program runs while its thread is in another one: nothing
here gives way to other greenlets.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from gevent.local import local
from gevent.monkey import get_original

from lib.settings_dial import netns_path

T = TypeVar("T")

_OWN = "/proc/thread-self/ns/net"
_CLONE_NEWNET = 0x40000000  # linux/sched.h

_close: Callable[[int], None] = get_original("os", "close")  # gevent's waits for the next turn of its loop
_place = local()
_libc = ctypes.CDLL(None, use_errno=True)


class Held:
    """A network namespace that can be entered for as long as it is held, also where its name has gone."""

    def __init__(self, name: str) -> None:
        """Hold a namespace; with an empty name it is the process's own. Raises OSError."""
        self._fd = _opened(name) if name else -1

    @property
    def path(self) -> str:
        """Its path for made_in; empty for the process's own."""
        return f"/proc/self/fd/{self._fd}" if self._fd >= 0 else ""

    def close(self) -> None:
        """Hold it no longer. May be called twice."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            _close(fd)


@contextmanager
def inside(path: str) -> Iterator[None]:
    """Run a block whose looks and changes by netlink are made in a namespace (made_here).

    That holds for the greenlet of the caller, which may give way to others.
    """
    before, _place.path = here(), path
    try:
        yield
    finally:
        _place.path = before


def here() -> str:
    """The namespace in which this greenlet looks and makes changes; empty for the process's own."""
    path: str = getattr(_place, "path", "")
    return path


def made_here(make: Callable[[], T]) -> T:
    """As made_in, in the namespace of inside()."""
    return made_in(here(), make)


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
        _close(own)


def _enter(name: str) -> None:
    other = _opened(name)
    try:
        if _libc.setns(other, _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"network namespace {name}: {os.strerror(number)}")
    finally:
        _close(other)


def _opened(name: str) -> int:
    """A descriptor of a namespace. Raises OSError, which names it."""
    try:  # a path may be anything: a pipe would be waited for, and everything with it
        return os.open(netns_path(name), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise OSError(error.errno, f"network namespace {name}: {error.strerror or error}") from None
