"""A simulated Redis: hashes, a channel, transactions; it is counted what it does, and it can be away from some.

Knows: the commands that cluster_redis sends, and what each does. Refuses to know: what they are about.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Any

from lib.settings_sources import RedisSource
from tests.scale.clock import Clock, Wait

TRIP_SECONDS = 0.0005
"""One way between a hub and the server."""


class Server:
    """The server."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.hashes: dict[object, dict[bytes, bytes]] = {}
        self.commands: Counter[str] = Counter()
        self.delivered = 0
        """Messages that were given to subscribers."""
        self.bytes_out = 0
        self.is_away = False
        self.cut: set[str] = set()
        """Hubs that do not reach it."""
        self.connections: dict[Connection, None] = {}
        self._subscribers: dict[Connection, None] = {}
        self._known: dict[str, Callable[..., Any]] = {
            "SUBSCRIBE": self._subscribe, "PUBLISH": self._publish, "HSET": self._hset, "HDEL": self._hdel, "HLEN": self._hlen,
            "HGET": self._hget, "HSCAN": self._hscan, "HGETALL": self._hgetall, "DEL": self._del, "PEXPIRE": self._pexpire,
            "PUBSUB": self._numsub,
        }  # fmt: skip

    def reaches(self, owner: str) -> bool:
        """Whether a hub reaches it now."""
        return not self.is_away and owner not in self.cut

    def die(self) -> None:
        """It is killed: all connections are reset, and nothing is kept. It is away until somebody says otherwise."""
        self.is_away = True
        for connection in list(self.connections):
            connection.end()
        self.hashes.clear()

    def do(self, connection: Connection, command: tuple[Any, ...]) -> Any:
        """One command; returns its reply."""
        name, *rest = command
        self.commands[name] += 1
        reply = self._known[name](connection, *rest)
        if isinstance(reply, list):
            self.bytes_out += sum(len(one) for one in reply if isinstance(one, bytes))
        return reply

    def _subscribe(self, connection: Connection, channel: str) -> list[object]:
        self._subscribers[connection] = None
        return [b"subscribe", channel.encode(), 1]

    def _numsub(self, connection: Connection, what: str, channel: str) -> list[object]:
        return [channel.encode(), len(self._subscribers)]

    def _publish(self, connection: Connection, channel: str, data: bytes) -> int:
        there = [one for one in self._subscribers if self.reaches(one.owner)]
        self.delivered += len(there)
        self.bytes_out += len(data) * len(there)
        message = [b"message", channel.encode(), data]

        def deliver() -> None:
            for one in there:
                one.give(message)

        self.clock.at(self.clock.now + TRIP_SECONDS, deliver)
        return len(there)

    def _hset(self, connection: Connection, key: str, *pairs: bytes) -> int:
        self.hashes.setdefault(key, {}).update(zip(pairs[::2], pairs[1::2], strict=True))
        return len(pairs) // 2

    def _hdel(self, connection: Connection, key: str, *names: bytes) -> int:
        found = self.hashes.get(key, {})
        return sum(found.pop(name, None) is not None for name in names)

    def _hlen(self, connection: Connection, key: str) -> int:
        return len(self.hashes.get(key, {}))

    def _hget(self, connection: Connection, key: str, name: bytes) -> bytes | None:
        return self.hashes.get(key, {}).get(name)

    def _hgetall(self, connection: Connection, key: str) -> list[bytes]:
        return [one for pair in self.hashes.get(key, {}).items() for one in pair]

    def _hscan(self, connection: Connection, key: str, cursor: bytes, *more: object) -> list[object]:
        """Of a page no more than 100 fields, as cluster_redis asks for; where it goes on is a number of fields."""
        fields, at = list(self.hashes.get(key, {}).items()), int(cursor)
        page = [one for pair in fields[at : at + 100] for one in pair]
        return [b"%d" % (at + 100 if at + 100 < len(fields) else 0), page]

    def _del(self, connection: Connection, key: str) -> int:
        return self.hashes.pop(key, None) is not None

    def _pexpire(self, connection: Connection, key: str, milliseconds: int) -> int:
        return 1


class _Bounds:
    def __init__(self, clock: Clock) -> None:
        self._clock, self.until = clock, float("inf")

    def renew(self, seconds: float, most: int) -> None:
        self.until = self._clock.now + seconds


class Connection:
    """A connection of one hub (redis.Connection, as far as it is used)."""

    def __init__(self, server: Server, source: RedisSource) -> None:
        self.server, self.owner = server, source.addr.partition(":")[0]
        self.bounds = _Bounds(server.clock)
        self._replies: deque[Any] = deque()
        self._wait: Wait | None = None
        self._timer = float("inf")
        self._is_over = False

    def connect(self) -> None:
        """Connect, or fail."""
        self.server.clock.sleep(2 * TRIP_SECONDS)
        if self.server.is_away:
            raise OSError(111, "Connection refused")
        if not self.server.reaches(self.owner):
            self.server.clock.sleep(5.0)
            raise OSError(110, "timed out")
        self.server.connections[self] = None

    def disconnect(self) -> None:
        """Close it."""
        self.end()

    def end(self) -> None:
        """The connection is over; who reads it learns that."""
        self._is_over = True
        self.server.connections.pop(self, None)
        self.server._subscribers.pop(self, None)
        self.server.clock.at(self.server.clock.now, self._wake)

    def give(self, reply: object) -> None:
        """Something has come. No greenlet may call this."""
        self._replies.append(reply)
        self._wake()

    def _wake(self) -> None:
        wait, self._wait = self._wait, None
        if wait is not None:
            wait.wake()

    def _late(self) -> None:
        self._timer = float("inf")
        if self.server.clock.now >= self.bounds.until:
            self._wake()
        elif self._wait is not None:
            self._watch()

    def _watch(self) -> None:
        """Look once the bounds are over; one timer for many waits."""
        if self.bounds.until < self._timer:
            self._timer = self.bounds.until
            self.server.clock.at(self._timer, self._late)

    def pack_commands(self, commands: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """As redis-py's, but that nothing is packed."""
        return list(commands)

    def send_command(self, *command: Any) -> None:
        """Send one command."""
        self.send_packed_command([command])

    def send_packed_command(self, commands: list[tuple[Any, ...]]) -> None:
        """Send commands; they are done at once, all of them as one, and the replies come a round trip later."""
        server = self.server
        if not server.reaches(self.owner):
            return  # lost
        replies: list[object] = []
        queued: list[object] | None = None
        for command in commands:
            if command[0] == "MULTI":
                server.commands["MULTI"] += 1
                queued = []
                replies.append(b"OK")
            elif command[0] == "EXEC":
                server.commands["EXEC"] += 1
                replies.append(queued)
                queued = None
            elif queued is not None:
                queued.append(server.do(self, command))
                replies.append(b"QUEUED")
            else:
                replies.append(server.do(self, command))

        def come() -> None:
            for reply in replies:
                self.give(reply)

        server.clock.at(server.clock.now + 2 * TRIP_SECONDS, come)

    def read_response(self) -> Any:
        """The next reply. Raises OSError once the connection is over, or nothing has come in time."""
        while not self._replies:
            if self._is_over:
                raise OSError(104, "Connection reset by peer")
            if self.server.clock.now >= self.bounds.until:
                raise OSError(110, "timed out")
            self._wait = self.server.clock.pause()
            self._watch()
            self.server.clock.stop()
        return self._replies.popleft()
