"""Registry of a cluster in a Redis: what is published there is heard, and our own list is kept there.

Knows: the commands, when a connection counts as dead, how a list is read again and written anew, jitter.
Refuses to know: what messages mean (cluster_registry, cluster_claims). No packet waits for any of this.

    KEY:changes     the channel on which all hubs publish, and to which all are subscribed
    KEY:hub:NAME    a hash: the list of one hub (cluster_claims); kept for a day after the hub's last HUB

Notifications about keys, which managed servers switch off, are not used, nor is the server's clock, but for
the day after which a hash goes that nobody renews. Our own HUB comes back on the channel each second. Where
it does not, the connection is dead, whatever the kernel thinks of it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import gevent
from gevent.event import Event

from lib import cluster_wire, framing
from lib.cluster_claims import BATCH, HEADER, JITTER, RENEW_SECONDS, RETURN_SECONDS, Claims
from lib.cluster_registry import Outcome, Registry
from lib.errors import ProtocolError
from lib.log_dedup import OUTAGE
from lib.log_events import Entry
from lib.log_setup import say, settle
from lib.service_scheduling import breathe
from lib.service_supervisor import Task
from lib.settings_sources import RedisSource
from lib.source_redis import redis_connection, redis_failing, redis_in_use
from lib.stream_bounded import Bounds
from lib.stream_deadline import within

CONNECT_SECONDS = 5.0
SILENT_SECONDS = 3.0
"""Without a message, or a reply, for so long a connection is dead: our own HUB alone comes each second."""
REPLY_BYTES = 1 << 20
LIST_BYTES = 64 << 20
"""Bytes of the list of one hub, some 200,000 hosts."""
KEPT_MS = 86_400_000
TOGETHER_SECONDS = 0.02
"""Changes that come so close together are published as one."""
FIELDS = 500
"""Fields that one command writes."""
PUBLISHED_BYTES = (BATCH + 1) * (2 + cluster_wire.MAX_MESSAGE)
"""Bytes that a hub publishes at once, at most; what is longer is of no hub."""
VERIFIED = 64
"""Messages, and entries of a list, that are looked at before packets have their turn."""
AGAIN_SECONDS, AGAIN_MOST, QUICK_TRIES = 0.5, 10.0, 4
"""Seconds until a list is read again that could not be used: after so many tries twice as long each time."""


class RedisRegistry:
    """The registry of one cluster."""

    def __init__(
        self,
        source: RedisSource,
        registry: Registry,
        claims: Claims,
        key: bytes,
        changed: Callable[[], None],
        restarted: Callable[[int], None],
    ) -> None:
        """`changed` is called when `registry` may have changed; `restarted` with a new epoch for our list."""
        self.name = source.name
        self.lost = ""
        """Why there is no connection now; empty while there is one."""
        self.commands = 0
        """Commands that were sent so far."""
        self._source, self._registry, self._claims, self._key = source, registry, claims, key
        self._changed, self._restarted = changed, restarted
        self._channel = f"{source.key}:changes"
        self._due, self._gaps = Event(), Event()
        self._unusable: dict[str, tuple[int, float]] = {}
        """Hub -> how often its list could not be used, and until when it is left alone."""
        self._tasks = (
            Task(f"registry {self.name}: changes are heard", self._keep_listening, vital=False),
            Task(f"registry {self.name}: our hosts are told", self._keep_writing, vital=False),
            Task(f"registry {self.name}: lists are read again", self._keep_reading, vital=False),
        )

    def start(self) -> None:
        """Begin to listen and to write."""
        for task in self._tasks:
            task.start()

    def stop(self) -> None:
        """End. Others learn at once that this hub has ended, if Redis takes that within a moment."""
        for task in self._tasks:
            task.kill(block=False)
        late = "not told within a moment"
        with suppress(OSError), within(1.0, lambda: TimeoutError(110, late)), self._open() as connection:
            bye, key = self._claims.bye(), self._list_of(self._claims.name)
            # Its epoch stays there: by a clock set back the next run would else be one that is over.
            header = ("HSET", key, HEADER, *cluster_wire.split(bye))
            self._transact(connection, [("DEL", key), header, ("PEXPIRE", key, KEPT_MS), self._publish(bye)])

    def touch(self) -> None:
        """Something in `claims` has changed."""
        self._due.set()

    def _list_of(self, name: str) -> str:
        return f"{self._source.key}:hub:{name}"

    # --- what others say

    def _keep_listening(self) -> None:
        while True:
            try:
                self._listen()
            except OSError as error:
                self._tell_lost(error)
            gevent.sleep(random.uniform(0.1, RETURN_SECONDS / 2))

    def _listen(self) -> None:
        with self._open() as connection:
            connection.send_command("SUBSCRIBE", self._channel)
            self.commands += 1
            while True:
                connection.bounds.renew(SILENT_SECONDS, REPLY_BYTES)
                reply = connection.read_response()
                if not isinstance(reply, list) or len(reply) != 3:
                    raise OSError(5, "no proper message")
                if reply[0] == b"subscribe":
                    self._due.set()
                    self._tell_back()
                elif reply[0] == b"message" and isinstance(reply[2], bytes):
                    self._hear(reply[2])

    def _hear(self, data: bytes) -> None:
        registry = self._registry
        messages = list(cluster_wire.split(data)) if len(data) <= PUBLISHED_BYTES else []
        for number, message in enumerate(messages or [data], 1):
            outcome = registry.hear(message, time.monotonic(), milliseconds())
            if outcome in _TOLD:
                self._tell(outcome)
            elif outcome is Outcome.GAP:
                self._gaps.set()
            if not number % VERIFIED:  # whoever may publish can send many that are none
                breathe()
        self._changed()

    def _tell(self, outcome: Outcome) -> None:
        text = "registry %s: a message is not used: %s"
        say(
            Entry.REGISTRY_REFUSED,
            text,
            *(self.name, outcome.value),
            fold=f"{self.name} {outcome.name}",
            habit=OUTAGE,
            registry=self.name,
            reason=outcome.value,
        )

    def _tell_lost(self, error: OSError) -> None:
        self.lost = error.strerror or str(error)
        text = "registry %s: %s; what is known of other hubs goes on"
        say(
            Entry.REGISTRY_LOST,
            text,
            *(self.name, self.lost),
            fold=self.name,
            habit=OUTAGE,
            registry=self.name,
            reason=self.lost,
        )

    def _tell_back(self) -> None:
        self.lost = ""
        settle(Entry.REGISTRY_LOST, self.name)

    # --- lists that are read again

    def _keep_reading(self) -> None:
        while True:
            self._gaps.wait()
            self._gaps.clear()
            gevent.sleep(random.uniform(0.0, 0.1))  # a list that all have missed is not read by all at once
            try:
                is_done = self._read_wanted()
            except OSError:
                is_done = False  # the listener says what is wrong
            if not is_done:
                gevent.sleep(AGAIN_SECONDS)
                self._gaps.set()

    def _read_wanted(self) -> bool:
        """Read the lists of all hubs of which we have missed something; returns whether all could be used.

        One that cannot be used, as somebody has changed it, is left alone for a while: to read it takes time.
        """
        wanted, now = self._registry.wanted(), time.monotonic()
        before = self._unusable
        self._unusable = {name: before[name] for name in wanted if name in before}
        due = [name for name in wanted if now >= self._unusable.get(name, (0, now))[1]]
        is_done = len(due) == len(wanted)
        if due:
            with self._open() as connection:
                for name in due:
                    if self._read_list(connection, name):
                        self._unusable.pop(name, None)
                    else:
                        is_done = False
                        tries = self._unusable.get(name, (0, now))[0] + 1
                        self._unusable[name] = tries, time.monotonic() + _left_alone(tries)
                    self._changed()
        return is_done

    def _read_list(self, connection: Any, name: str) -> bool:
        connection.bounds.renew(10 * SILENT_SECONDS, LIST_BYTES)
        connection.send_command("HGETALL", self._list_of(name))
        self.commands += 1
        reply = connection.read_response()
        if not isinstance(reply, list) or len(reply) % 2:
            raise OSError(5, "no proper list")
        fields = dict(zip(reply[::2], reply[1::2], strict=True))
        try:
            snapshot = self._registry.begin(name, fields.pop(HEADER, b""))
            if snapshot is None:
                return False
            for number, entry in enumerate(fields.values(), 1):
                snapshot.add(entry)
                if not number % VERIFIED:
                    breathe()
        except (ProtocolError, TypeError):
            return False
        return self._registry.use(snapshot)

    # --- our own list

    def _keep_writing(self) -> None:
        delay = 0.0
        while True:
            gevent.sleep(delay)
            try:
                self._write()
            except OSError as error:
                self._tell_lost(error)
            delay = random.uniform(0.1, RETURN_SECONDS)

    def _write(self) -> None:
        with self._open() as connection:
            self._write_whole(connection)
            self._tell_back()
            while True:
                wait = RENEW_SECONDS * random.uniform(1 - JITTER, 1 + JITTER)
                self._due.wait(wait)
                if self._due.is_set():
                    self._due.clear()
                    gevent.sleep(TOGETHER_SECONDS)
                while self._write_batch(connection):
                    breathe()

    def _write_batch(self, connection: Any) -> bool:
        """Write and publish the next changes; returns whether there are more."""
        claims, key = self._claims, self._list_of(self._claims.name)
        batch = claims.next_batch(milliseconds())
        commands: list[tuple[object, ...]] = [("HDEL", key, *batch.deletes)] if batch.deletes else []
        commands += [
            *(("HSET", key, *_flat(batch.sets)), ("PEXPIRE", key, KEPT_MS), ("HLEN", key)),
            self._publish(batch.published),
        ]
        replies = self._transact(connection, commands)
        if replies[-2] != len(claims) + 1:  # flushed, or written by somebody else
            self._write_whole(connection)
        return claims.is_pending

    def _write_whole(self, connection: Any) -> None:
        """Write the whole list, and publish that we live; what others have missed they will read."""
        claims, key = self._claims, self._list_of(self._claims.name)
        self._begin_later(connection, key)
        commands: list[tuple[object, ...]] = [("DEL", key)]
        some: list[tuple[bytes, bytes]] = []
        for pair in claims.whole():
            some.append(pair)
            if len(some) == FIELDS:
                commands.append(("HSET", key, *_flat(some)))
                some = []
                breathe()
        header = claims.header(milliseconds())
        commands += [
            ("HSET", key, *_flat([*some, (HEADER, header)])),
            ("PEXPIRE", key, KEPT_MS),
            self._publish(framing.encode(header)),
        ]
        self._transact(connection, commands)

    def _begin_later(self, connection: Any, key: str) -> None:
        """Begin a later epoch than that of an earlier run whose list is there, if clocks went backwards."""
        (header,) = self._ask(connection, [("HGET", key, HEADER)])
        with suppress(ProtocolError):
            before = cluster_wire.decode(header if isinstance(header, bytes) else b"", self._key)
            if before.name == self._claims.name and before.epoch > self._claims.epoch:
                self._restarted(before.epoch + 1)

    def _publish(self, frames: bytes) -> tuple[object, ...]:
        return "PUBLISH", self._channel, frames

    def _transact(self, connection: Any, commands: list[tuple[object, ...]]) -> list[Any]:
        """Have commands done as one; returns their replies. Raises OSError."""
        reply = self._ask(connection, [("MULTI",), *commands, ("EXEC",)])[-1]
        if not isinstance(reply, list) or len(reply) != len(commands):
            raise OSError(5, "a transaction was not done")
        for one in reply:
            if isinstance(one, Exception):
                raise OSError(5, str(one)[:200])
        return reply

    def _ask(self, connection: Any, commands: list[tuple[object, ...]]) -> list[Any]:
        """Send commands together; returns all replies."""
        connection.bounds.renew(SILENT_SECONDS + CONNECT_SECONDS, REPLY_BYTES)
        connection.send_packed_command(connection.pack_commands(commands))
        self.commands += len(commands)
        return [connection.read_response() for _ in commands]

    @contextmanager
    def _open(self) -> Iterator[Any]:
        """A connection for as long as it holds. Raises OSError, which names the Redis."""
        connection = redis_connection(self._source, Bounds(CONNECT_SECONDS, REPLY_BYTES))
        try:
            with redis_failing(self.name), redis_in_use(connection):
                connection.connect()
                yield connection
        except ValueError as error:  # of redis-py, about a number that is none
            raise OSError(5, f"{self.name}: {error}") from error
        finally:
            connection.disconnect()


_TOLD = frozenset({Outcome.FOREIGN, Outcome.TWIN, Outcome.SKEW, Outcome.FULL})
"""What somebody has to do something about."""


def _left_alone(tries: int) -> float:
    """For how many seconds a list is not read that could not be used so often."""
    if tries < QUICK_TRIES:
        return 0.0
    return min(AGAIN_MOST, AGAIN_SECONDS * 2.0 ** min(tries - QUICK_TRIES, 8))


def milliseconds() -> int:
    """Milliseconds since 1970, by our clock."""
    return int(time.time() * 1000)


def _flat(pairs: Iterable[tuple[bytes, bytes]]) -> Iterator[bytes]:
    for pair in pairs:
        yield from pair
