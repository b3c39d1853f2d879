"""Conversations of a hub with the Redis of a registry: connections, commands, transactions.

Knows: when a connection counts as dead, how many commands were sent, under which key a hub's list is.
Refuses to know: what is written there (cluster_redis), how lists are read (cluster_redis_lists).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lib.service_scheduling import Breaths
from lib.settings_sources import RedisSource
from lib.source_redis import redis_connection, redis_failing, redis_in_use
from lib.stream_bounded import Bounds

CONNECT_SECONDS = 5.0
SILENT_SECONDS = 3.0
"""Without a message, or a reply, for so long a connection is dead: our own HUB alone comes each second."""
REPLY_BYTES = 1 << 20
AT_ONCE = 8
"""Commands that are sent as one piece: of a list that is written anew each one has 500 hosts."""


class Talk:
    """The Redis of one cluster."""

    def __init__(self, source: RedisSource) -> None:
        self.source, self.name = source, source.name
        self.commands = 0
        """Commands that were sent so far."""

    def list_of(self, name: str) -> str:
        """The key of a hub's list."""
        return f"{self.source.key}:hub:{name}"

    def transact(self, connection: Any, commands: list[tuple[object, ...]]) -> list[Any]:
        """Have commands done as one; returns their replies. Raises OSError."""
        reply = self.ask(connection, [("MULTI",), *commands, ("EXEC",)])[-1]
        if not isinstance(reply, list) or len(reply) != len(commands):
            raise OSError(5, "a transaction was not done")
        for one in reply:
            if isinstance(one, Exception):
                raise OSError(5, str(one)[:200])
        return reply

    def ask(
        self,
        connection: Any,
        commands: list[tuple[object, ...]],
        seconds: float = SILENT_SECONDS + CONNECT_SECONDS,
        size: int = REPLY_BYTES,
    ) -> list[Any]:
        """Send commands together; returns all replies, which may take so many seconds and bytes together."""
        connection.bounds.renew(seconds, size)
        step = Breaths()
        for first in range(0, len(commands), AT_ONCE):
            connection.send_packed_command(connection.pack_commands(commands[first : first + AT_ONCE]))
            if len(commands) > AT_ONCE:
                step()
        self.commands += len(commands)
        return [connection.read_response() for _ in commands]

    def hearers(self, connection: Any, channel: str) -> object:
        """How many are subscribed to a channel, as Redis says; None where it does not allow to ask that."""
        from redis import ResponseError

        try:
            (reply,) = self.ask(connection, [("PUBSUB", "NUMSUB", channel)])
        except ResponseError:
            return None
        return reply[1] if isinstance(reply, list) and len(reply) == 2 else None

    @contextmanager
    def open(self) -> Iterator[Any]:
        """A connection for as long as it holds. Raises OSError, which names the Redis."""
        connection = redis_connection(self.source, Bounds(CONNECT_SECONDS, REPLY_BYTES))
        try:
            with redis_failing(self.name), redis_in_use(connection):
                connection.connect()
                yield connection
        except ValueError as error:  # of redis-py, about a number that is none
            raise OSError(5, f"{self.name}: {error}") from error
        finally:
            connection.disconnect()
