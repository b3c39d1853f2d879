"""Lists of shared pools in the Redis of a cluster: looked at, read, and changed by compare-and-set.

Knows: keys and commands; that of two changes at once the second one begins anew.
Refuses to know: what is in a list (push_shared), when one is read (push_sharing).

    KEY:pool:ID:ROUTER    a hash: `list` has the list as text, `stamp` is another one after each change
    KEY:pools             a number that grows with each change of any list

ID is made of the cluster's secret: where that changes, the hubs begin new lists with what they know.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent

from lib.cluster_redis_talk import Talk
from lib.cluster_seal import key_for
from lib.push_shared import MAX_BYTES
from lib.settings_sources import RedisSource
from lib.source_redis import master_of, redis_failing

SECONDS = 3.0
"""Seconds that Redis may take for one reply, which may be a whole list."""
TRIES = 20
"""How often a change begins anew, as another hub was quicker, before it waits for the next look."""
PAUSE_SECONDS = 0.05
"""Before a change begins anew it waits for so long at most, at random."""

LIST, STAMP = b"list", b"stamp"

Edit = Callable[[bytes], bytes | None]
"""Makes the new text from what is there (empty: nothing); None where that stays as it is."""


class PoolStore:
    """The lists of one cluster. Every method raises OSError, which names the Redis."""

    def __init__(self, source: RedisSource, secret: bytes) -> None:
        self._talk, self._key = Talk(source), source.key
        self._id = key_for(secret, "name of the lists of addresses")[:4].hex()

    @property
    def name(self) -> str:
        """What the Redis is called in messages."""
        return self._talk.name

    def key_of(self, router: str) -> str:
        """The key of a router's list."""
        return f"{self._key}:pool:{self._id}:{router}"

    @contextmanager
    def open(self) -> Iterator[Any]:
        """A connection for as long as it holds."""
        with self._talk.open() as connection:
            yield connection

    def check(self, connection: Any) -> None:
        """Raise OSError where the Sentinels name another master than the one of this connection."""
        source = self._talk.source
        if source.sentinel and master_of(source) != (connection.host, connection.port):
            raise OSError(5, f"{self.name}: the Sentinels name another master")

    def changes(self, connection: Any) -> object:
        """What differs after each change of any list."""
        return self._ask(connection, ("GET", f"{self._key}:pools"))[0]

    def stamp(self, connection: Any, router: str) -> object:
        """What differs after each change of a list; None while there is none."""
        return self._ask(connection, ("HGET", self.key_of(router), STAMP))[0]

    def change(self, connection: Any, router: str, edit: Edit) -> object:
        """Change a list by `edit`, which may be called several times; returns its stamp then."""
        key = self.key_of(router)
        for _ in range(TRIES):
            _, found = self._ask(connection, ("WATCH", key), ("HMGET", key, LIST, STAMP))
            if not isinstance(found, list) or len(found) != 2:
                raise OSError(5, f"{self.name}: no proper list")
            new = edit(found[0] if isinstance(found[0], bytes) else b"")
            if new is None:
                self._ask(connection, ("UNWATCH",))
                return found[1]
            stamp = os.urandom(8).hex().encode()
            commands = ("HSET", key, LIST, new, STAMP, stamp), ("INCR", f"{self._key}:pools")
            done = self._ask(connection, ("MULTI",), *commands, ("EXEC",))[-1]
            if isinstance(done, list):
                for one in done:
                    if isinstance(one, Exception):
                        raise OSError(5, f"{self.name}: {one}"[:200])
                return stamp
            gevent.sleep(random.uniform(0, PAUSE_SECONDS))
        raise OSError(11, f"{self.name}: other hubs change the addresses of router {router} all the time")

    def _ask(self, connection: Any, *commands: tuple[object, ...]) -> list[Any]:
        with redis_failing(self.name):
            return self._talk.ask(connection, list(commands), SECONDS, MAX_BYTES)
