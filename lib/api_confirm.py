"""A change that undoes itself unless it is confirmed: whoever has cut the branch off comes back up by itself.

Knows: that one change waits at a time, for how long, and when it is not undone any more.
Refuses to know: what a change is, and how it is undone (service_changes).

    POST …?confirm=60s   ->  the change is made, and a clock runs
    POST /x/confirm      ->  it stays
    otherwise            ->  after 60 s what was before is made again

While one waits, nothing else is changed or saved by the API: so a file never holds what nobody has confirmed,
and a restart undoes it too. After a reload, whose files say what counts, there is nothing to undo.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import gevent

from lib import api_audit, go_values, service_release, service_supervisor
from lib.api_request import Refused, Request

LEAST_SECONDS, MOST_SECONDS = 5.0, 3600.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pending:
    """A change that was made and is not confirmed yet."""

    number: int
    what: str
    request: Request
    """By which it was made."""
    until: float
    """Seconds of a steady clock."""
    version: int
    """Of the configuration, after the change."""
    undo: Callable[[int], bool]
    """Puts back what was before, if the configuration still has the version; returns whether it had."""
    timer: Any


class Confirmations:
    """The change that waits to be confirmed, if there is one."""

    def __init__(self, version: Callable[[], int]) -> None:
        """`version` tells the number of the configuration in use, which differs after each change."""
        self._version = version
        self._pending: Pending | None = None
        self._undoing = False
        """Whether it is being undone: until that is done nothing is changed or saved."""
        self._last = 0

    @property
    def pending(self) -> dict[str, Any] | None:
        """The change that waits, for people."""
        one = self._pending
        if one is None:
            return None
        left = max(0.0, one.until - time.monotonic())
        return {"id": one.number, "change": one.what, "user": one.request.who.name, "left_s": round(left, 1)}

    def check_free(self) -> None:
        """Refuse to change or save anything while a change waits. Raises Refused."""
        one = self._pending
        if one is not None:
            left = math.ceil(max(0.0, one.until - time.monotonic()))
            hint = f"POST /x/confirm keeps it; otherwise it is undone in {left} s"
            raise Refused(409, f"a change waits to be confirmed: {one.what}", hint=hint)

    def begin(self, request: Request, what: str, undo: Callable[[int], bool]) -> int | None:
        """Let a change that was just made undo itself, if the request asks for that; returns its number.

        Ask seconds() before the change is made: a wrong `confirm` must not have changed anything.
        """
        wanted = seconds(request)
        if not wanted:
            return None
        self._last += 1
        timer = gevent.spawn_later(wanted, self._undo)
        until = time.monotonic() + wanted
        self._pending = Pending(self._last, what, request, until, self._version(), undo, timer)
        return self._last

    def confirm(self, request: Request, number: int) -> None:
        """Keep the change. Raises Refused where none of that number waits."""
        one = self._found(number)
        self._pending = None
        one.timer.kill(block=False)
        service_release.later([one])  # it has what was before
        api_audit.tell(request, f"confirm: {one.what}")

    def undo(self, request: Request, number: int) -> None:
        """Undo the change now. Raises Refused where none of that number waits, and where that fails."""
        one = self._found(number)
        self._undoing = True
        one.timer.kill(block=False)
        api_audit.tell(request, f"undo: {one.what}")
        refused = to_the_end(partial(self._put_back, one))
        if refused is not None:
            raise refused

    def stop(self) -> None:
        """The process ends: nothing is undone any more."""
        if self._pending is not None:
            self._pending.timer.kill(block=False)
            self._pending = None

    def _found(self, number: int) -> Pending:
        one = self._pending
        if one is None or one.number != number or self._undoing:
            raise Refused(409, "no change of that number waits to be confirmed: it was undone, or confirmed")
        return one

    def _undo(self) -> None:
        one = self._pending
        if one is not None and not self._undoing:
            self._undoing = True
            api_audit.tell(one.request, f"undone, as nobody has confirmed it: {one.what}")
            self._put_back(one)

    def _put_back(self, one: Pending) -> Refused | None:
        """Put back what was before; returns why it was not."""
        try:
            if one.undo(one.version):
                return None
            text = f"nothing to undo, the files were read since: {one.what}"
            api_audit.tell(one.request, text)
            return Refused(409, text)
        except Exception as error:  # noqa: BLE001  whatever it is, the log has it: there may be nobody to tell
            service_supervisor.note(error)
            return Refused(409, f"it could not be undone, the log says why: {one.what}")
        finally:
            self._pending, self._undoing = None, False
            service_release.later([one])


def to_the_end(work: Callable[[], T]) -> T:
    """What `work` returns or raises; it goes on to its end also where its caller is killed meanwhile.

    So a change that moves the API ends not half-way, with the connection by which it was asked for.
    """
    value, error = gevent.spawn(_outcome, work).get()
    try:
        if error is not None:
            raise error
    finally:
        del error  # it has this frame, which would have it: a cycle
    made: T = value
    return made


def _outcome(work: Callable[[], T]) -> tuple[T | None, Exception | None]:
    """The result or the error of a call: gevent would print a traceback of one that ends a greenlet."""
    try:
        return work(), None
    except Exception as error:  # noqa: BLE001  whatever it is, it is raised in the caller
        return None, error


def seconds(request: Request) -> float:
    """How long a change may wait to be confirmed; 0 where the request does not want that. Raises Refused."""
    text = request.query.get("confirm", "")
    if not text:
        return 0.0
    try:
        found = go_values.parse_duration(text, go_values.SECONDS) / go_values.SECONDS
    except ValueError:
        raise Refused(400, f"confirm: {text[:32]!r} is no duration: write one, such as 60s") from None
    if not LEAST_SECONDS <= found <= MOST_SECONDS:
        raise Refused(400, f"confirm: from {LEAST_SECONDS:g} s to {MOST_SECONDS / 60:g} minutes")
    return found
