"""DNS look-up of host names within a deadline, in a thread pool of its own.

Knows: getaddrinfo(3) blocks its thread, and over TCP has no deadline: a name server that sends a byte a
minute holds the thread for hours, and nothing can end it.
Refuses to know: what the addresses are for (stream_bounded).

A name is looked up by one thread at a time; other callers wait for the same result. Where a look-up does not
end, another one is started beside it while there are threads. When none is left, each fails at its deadline.
"""

from __future__ import annotations

import errno
import socket
import time
from typing import Any

from gevent import monkey
from gevent.threadpool import ThreadPool

from lib.stream_deadline import within

THREADS = 16
STUCK_SECONDS = 30.0
"""Seconds after which new callers no longer wait for a look-up that is under way."""

Address = tuple[Any, Any, int, str, Any]
"""As getaddrinfo has it: family, kind, protocol, canonical name, socket address."""

_getaddrinfo = monkey.get_original("socket", "getaddrinfo")
_pool: list[ThreadPool] = []
_under_way: dict[tuple[str, int], tuple[float, Any]] = {}
"""(name, port) -> when its look-up began, and its result."""


def look_up(host: str, port: int, seconds: float) -> list[Address]:
    """The TCP addresses of a name, within `seconds`; other greenlets run. Raises OSError."""
    try:  # an address needs no thread and no name server
        return list(_getaddrinfo(host, port, 0, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST))
    except socket.gaierror:
        pass
    except UnicodeError as error:
        raise OSError(errno.EINVAL, f"{host[:64]!r} is no name: {error}") from None
    late = f"the name {host} was not looked up within {seconds:g} s"
    with within(seconds, lambda: TimeoutError(errno.ETIMEDOUT, late)):
        found: list[Address] | OSError = _shared(host, port).get()
    if isinstance(found, OSError):
        raise found
    return found


def _shared(host: str, port: int) -> Any:
    """The look-up under way for a name, or a new one; waits while no thread is free."""
    key, now = (host, port), time.monotonic()
    for known, (began, result) in list(_under_way.items()):
        if result.ready() or now - began > STUCK_SECONDS:
            del _under_way[known]
    if key not in _under_way:
        if not _pool:  # made late: a thread keeps the rights that the process had when it was made
            _pool.append(ThreadPool(THREADS))
        result = _pool[0].spawn(_found, host, port)
        _under_way[key] = now, result
    return _under_way[key][1]


def _found(host: str, port: int) -> list[Address] | OSError:
    """The addresses, or the error: gevent would print a traceback of one that is raised in a thread."""
    try:
        return list(_getaddrinfo(host, port, 0, socket.SOCK_STREAM))
    except OSError as error:
        return error
    except UnicodeError as error:
        return OSError(errno.EINVAL, f"{host[:64]!r} is no name: {error}")
