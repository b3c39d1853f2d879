"""Replies of the main process that a worker waits for: each question has a number, which the reply names.

Knows: who waits for which number. Refuses to know: what is asked, and for how long is waited (worker_pools,
worker_named, worker_names).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gevent.event import AsyncResult


class Asking:
    """The questions of one kind that have no reply yet."""

    def __init__(self) -> None:
        self._waiting: dict[int, AsyncResult] = {}

    @contextmanager
    def about(self, number: int) -> Iterator[AsyncResult]:
        """Expect a reply until this is left: the result that it is set to."""
        waiting = self._waiting[number] = AsyncResult()
        try:
            yield waiting
        finally:
            self._waiting.pop(number, None)

    def hear(self, number: int, reply: Any) -> bool:
        """Take a reply; whether somebody waits for it."""
        waiting = self._waiting.pop(number, None)
        if waiting is not None:
            waiting.set(reply)
        return waiting is not None
