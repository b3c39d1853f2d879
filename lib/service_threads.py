"""Threads for calls that may wait for a disk for ever, so that no packet waits for one.

Knows: the deadline of such a call, that the next one for the same file does not wait behind one that hangs.
Refuses to know: what is called; the log, which has threads of its own (log_output).

A disk that hangs (a server of files that is away, a FIFO that nobody opens) holds a system call, and
nothing can end that. So the thread stays until the disk comes back, and its caller goes on after the
deadline. Only one thread waits for one file: a table on a disk that hangs does not take all threads,
however often it is tried.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from gevent import monkey
from gevent.event import Event
from gevent.threadpool import ThreadPool

from lib.stream_deadline import within

THREADS = 16
"""Files that may hang at the same time before reading of others waits for them."""
SECONDS = 10.0
"""Seconds for a call."""

_thread_id = monkey.get_original("_thread", "get_ident")

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Call:
    ended: Event = field(default_factory=Event)
    is_late: bool = False


@dataclass(slots=True)
class _State:
    pool: ThreadPool | None = None
    under_way: dict[str, _Call] = field(default_factory=dict)
    served_by: int = 0
    """The thread in which packets are forwarded."""


_state = _State()


def begin() -> None:
    """Make aside() use threads from now on.

    Before, nothing is served that would have to wait, and privileges are dropped in a process of one thread.
    """
    _state.pool = _state.pool or ThreadPool(THREADS)
    _state.served_by = _thread_id()


def aside(file: str, call: Callable[..., T], *arguments: object, seconds: float | None = None) -> T:
    """The result of call(*arguments), made in a thread while other greenlets run; raises what it raises.

    `file` is what the call may wait for. Raises TimeoutError after `seconds` (None: SECONDS), and at once
    while the last call for the same file hangs. That call goes on to its end, and its result is thrown away.
    """
    if _state.pool is None or _thread_id() != _state.served_by:  # or we are in one of these threads already
        return call(*arguments)
    seconds = SECONDS if seconds is None else seconds
    late, mine = f"no answer from its disk within {seconds:g} s", _Call()
    try:
        with within(seconds, lambda: TimeoutError(errno.ETIMEDOUT, late)):
            while (other := _state.under_way.get(file)) is not None:
                if other.is_late:
                    raise TimeoutError(errno.ETIMEDOUT, late)
                other.ended.wait()
            _state.under_way[file] = mine  # at once: where all threads are busy, spawn() waits
            try:
                result = _state.pool.spawn(_outcome, call, arguments)
            except BaseException:
                _end(file, mine)
                raise
            result.rawlink(lambda _: _end(file, mine))
            value, error = result.get()
    except TimeoutError:
        mine.is_late = True
        raise
    try:
        if error is not None:
            raise error
    finally:
        del error, result  # it has this frame, which would have it: a cycle, which keeps all callers' frames
    made: T = value
    return made


def _outcome(call: Callable[..., T], arguments: tuple[object, ...]) -> tuple[T | None, Exception | None]:
    """The result or the error of a call: gevent would print a traceback of one that is raised in a thread."""
    try:
        return call(*arguments), None
    except Exception as error:  # noqa: BLE001  whatever it is, it is raised in the caller
        return None, error


def _end(file: str, call: _Call) -> None:
    if _state.under_way.get(file) is call:
        del _state.under_way[file]
    call.ended.set()
