"""Deadline of a wait that no error handler on the way can take for an error of its own.

Knows: gevent raises a deadline in the middle of whatever the greenlet waits for. If that exception were an
OSError, `except OSError` around one address of several, or in a library, would go on with the next one, and
then without a deadline.
Refuses to know: what is waited for.

Until it has left the block the deadline is a gevent.Timeout, which is a BaseException as GreenletExit is.
Only then it becomes the error that callers handle. tests/unit/test_stream_deadline.py looks through lib/ for
handlers that would keep it, and for deadlines that are made otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import gevent

T = TypeVar("T")


@contextmanager
def within(seconds: float, late: Callable[[], Exception]) -> Iterator[None]:
    """Run the block for at most `seconds` (math.inf: for ever); raises late() where it takes longer.

    `late` is called at the deadline, so that it can say what was waited for. Blocks may be within others;
    each ends at its own deadline.
    """
    timer = gevent.Timeout.start_new(None if seconds == math.inf else seconds)
    try:
        yield
    except gevent.Timeout as fired:
        if fired is not timer:
            raise
        raise late() from None
    finally:
        timer.close()


def to_its_end(run: Callable[..., T], *arguments: object) -> T:
    """The result of run(*arguments), which goes on to its end where the caller is too late or killed.

    For what must not be left half done: pyroute2 leaves two descriptors open where its wait is broken off.
    Raises what run raises.
    """

    def outcome() -> tuple[T | None, Exception | None]:
        try:
            return run(*arguments), None
        except Exception as error:  # noqa: BLE001  whatever it is, it is raised in the caller
            return None, error

    value, error = gevent.spawn(outcome).get()
    try:
        if error is not None:
            raise error
    finally:
        del error  # it has this frame, which would have it: a cycle, which keeps all callers' frames
    result: T = value
    return result
