"""The list of enrolled hosts in a Redis, where several hubs share it.

Knows: compare-and-set by WATCH, MULTI and EXEC, so that of two changes at once the second one begins anew.
Refuses to know: what is in the list (enrol_book), when it is read (enrol_live).

    key    a hash: `list` has the list as text, `version` grows by one with each change
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from gevent.lock import BoundedSemaphore

from lib.service_scheduling import breathe
from lib.service_threads import aside
from lib.settings_sources import RedisSource
from lib.source_read import TOTAL
from lib.source_redis import redis_connection, redis_failing, redis_in_use
from lib.stream_bounded import Bounds

MAX_BYTES = 64 << 20
"""Bytes of a list: some 200,000 hosts."""
TRIES = 100
"""How often a change begins anew because another hub was quicker."""

LIST, VERSION = "list", "version"


class RedisStore:
    """A list in a Redis. Every method raises OSError."""

    def __init__(self, source: RedisSource) -> None:
        self.name = source.name
        self._source = source
        self._looking: tuple[Any, Bounds] | None = None
        """The connection that is kept for stamp(), which asks several times a second."""
        self._one = BoundedSemaphore(1)

    def stamp(self) -> object:
        """The version of the list; None while there is none."""
        with self._one:
            try:
                return self._ask_kept()
            except OSError:
                if self._looking is None:
                    raise
                self.close()  # it may have been idle for too long, or Redis was started anew
                return self._ask_kept()

    def read(self) -> bytes:
        """The list as text; empty while there is none."""
        with self._open() as ask:
            return _text(ask("HGET", self._source.key, LIST))

    def change(self, edit: Callable[[bytes], bytes | None]) -> bytes:
        """Change the list: `edit` makes the new text from what is there now; None leaves it.

        It may be called several times. Returns the text that is there then.
        """
        key = self._source.key
        with self._open() as ask:
            for _ in range(TRIES):
                ask("WATCH", key)
                old = _text(ask("HGET", key, LIST))
                new = aside(self.name, edit, old)  # a long list would hold up packets
                if new is None or new == old:
                    return old
                ask("MULTI")
                ask("HSET", key, LIST, new)
                ask("HINCRBY", key, VERSION, 1)
                if ask("EXEC") is not None:
                    return new
                breathe()
        raise OSError(11, f"{self.name}: other hubs change it all the time")

    def close(self) -> None:
        """Close the connection that is kept."""
        if self._looking is not None:
            self._looking[0].disconnect()
            self._looking = None

    def _ask_kept(self) -> object:
        with redis_failing(self.name):
            if self._looking is None:
                bounds = Bounds(TOTAL, MAX_BYTES)
                self._looking = redis_connection(self._source, bounds), bounds
            connection, bounds = self._looking
            bounds.grant(1 << 16)
            connection.send_command("HGET", self._source.key, VERSION)
            return connection.read_response()

    @contextmanager
    def _open(self) -> Iterator[Callable[..., Any]]:
        """A connection for one conversation: nothing to mend when the server has been away."""
        bounds = Bounds(TOTAL, MAX_BYTES)
        connection = redis_connection(self._source, bounds)

        def ask(*command: object) -> Any:
            bounds.grant(MAX_BYTES)
            connection.send_command(*command)
            return connection.read_response()

        try:
            with redis_failing(self.name), redis_in_use(connection):
                yield ask
        finally:
            connection.disconnect()


def _text(reply: object) -> bytes:
    return reply if isinstance(reply, bytes) else b""
