"""Registry of a cluster in a Redis: what is published there is heard, and our own list is kept there.

Knows: what is published and written, how our list is written anew, jitter.
Refuses to know: what messages mean (cluster_registry, cluster_claims), how other hubs' lists are read
(cluster_redis_lists). No packet waits for any of this.

    KEY:changes     the channel on which all hubs publish, and to which all are subscribed
    KEY:hub:NAME    a hash: the list of one hub (cluster_claims), and its certificate, where hubs have some;
                    kept for a day after the hub's last HUB

Notifications about keys, which managed servers switch off, are not used, nor is the server's clock, but for
the day after which a hash goes that nobody renews. Our own HUB comes back on the channel each second. Where
it does not, the connection is dead, whatever the kernel thinks of it. What somebody else changes in our own
list is noticed: at once where an entry is missing or too many, else as all of it is looked through, a page
every few seconds.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

import gevent
from gevent.event import Event

from lib import cluster_wire, framing, service_release
from lib.cluster_claims import (
    BATCH,
    CERTIFICATE,
    HEADER,
    JITTER,
    LISTEN_SECONDS,
    RENEW_SECONDS,
    RETURN_SECONDS,
    Claims,
    Clocks,
)
from lib.cluster_known import DEAF_SECONDS, FirstLook
from lib.cluster_redis_lists import ListReader
from lib.cluster_redis_talk import REPLY_BYTES, SILENT_SECONDS, Talk
from lib.cluster_registry import Outcome, Registry
from lib.cluster_seal import Proof, Seal
from lib.errors import ProtocolError
from lib.log_dedup import OUTAGE
from lib.log_events import Entry
from lib.log_setup import say, settle
from lib.service_scheduling import breathe
from lib.service_supervisor import Task
from lib.settings_sources import RedisSource
from lib.source_redis import master_of
from lib.stream_deadline import within

KEPT_MS = 86_400_000
TOGETHER_SECONDS = 0.02
"""Changes that come so close together are published as one."""
FIELDS = 500
"""Fields that one command writes."""
PUBLISHED_BYTES = (BATCH + 1) * (2 + cluster_wire.MAX_MESSAGE)
"""Bytes that a hub publishes at once, at most; what is longer is of no hub."""
UNHEARD_SECONDS = 10.0
"""Until when after an outage a hub writes that still hears nothing: it may not be allowed to."""
LOOK_BEATS, LOOK_PAGE = 5, 100
"""After so many HUBs so many entries of our list are looked at, and whether Sentinels name another master."""
GREETINGS = 1000
"""Hubs that say HUB in a second because another one has begun: of a thousand no more than in any second."""


class RedisRegistry:
    """The registry of one cluster."""

    def __init__(
        self,
        source: RedisSource,
        registry: Registry,
        claims: Claims,
        seal: Seal,
        changed: Callable[[], None],
        restarted: Callable[[int], None],
    ) -> None:
        """`changed` is called when `registry` may have changed; `restarted` with a new epoch for our list."""
        self._talk = Talk(source)
        self.name = source.name
        self.lost = ""
        """Why there is no connection now; empty while there is one."""
        self._source, self._registry, self._claims, self._seal = source, registry, claims, seal
        self._changed, self._restarted = changed, restarted
        self._channel = f"{source.key}:changes"
        self.first_look = FirstLook(registry)
        self._due = Event()
        self._greeted_at = -RENEW_SECONDS
        """When this hub last said HUB because another one had begun."""
        self._page = b"0"
        """Where in our own list the next page begins to be looked at."""
        self._certificate = b""
        """What stands in our own list."""
        self._lists = ListReader(self._talk, registry, seal, changed, self._tell, self._hear)
        self._has_left = False
        self._hears = Event()
        """Set while we are subscribed."""
        self._untold: list[bytes] = []
        """Changes of a batch that is being written: if that fails, nobody may have heard them."""
        self._writing = Task(f"registry {self.name}: our hosts are told", self._keep_writing, vital=False)
        self._tasks = (
            Task(f"registry {self.name}: changes are heard", self._keep_listening, vital=False),
            self._writing,
            self._lists.task,
        )

    @property
    def commands(self) -> int:
        """Commands that were sent so far."""
        return self._talk.commands

    def start(self) -> None:
        """Begin to listen and to write."""
        for task in self._tasks:
            task.start()

    def stop(self) -> None:
        """End. Others learn at once that this hub has ended, if Redis takes that within a moment."""
        self.leave()
        for task in self._tasks:
            task.kill(block=False)

    def leave(self) -> None:
        """Tell others that this hub ends, and nothing after that; what they say is heard until stop()."""
        if self._has_left:
            return
        self._has_left = True
        self._writing.kill(block=False)
        late = "not told within a moment"
        with suppress(OSError), within(1.0, lambda: TimeoutError(110, late)), self._talk.open() as connection:
            bye, key = self._claims.bye(clocks()), self._talk.list_of(self._claims.name)
            # Its epoch stays there: by a clock set back the next run would else be one that is over.
            header = ("HSET", key, HEADER, bye)
            told = self._publish(framing.encode(bye))
            self._talk.transact(connection, [("DEL", key), header, ("PEXPIRE", key, KEPT_MS), told])

    def touch(self) -> None:
        """Something in `claims` has changed."""
        self._due.set()

    # --- what others say

    def _keep_listening(self) -> None:
        while True:
            try:
                self._listen()
            except OSError as error:
                self._tell_lost(error)
            finally:
                self._hears.clear()
                self.first_look.hears_nothing()
            gevent.sleep(random.uniform(*LISTEN_SECONDS))

    def _listen(self) -> None:
        with self._talk.open() as connection:
            connection.send_command("SUBSCRIBE", self._channel)
            self._talk.commands += 1
            while True:
                connection.bounds.renew(SILENT_SECONDS, REPLY_BYTES)
                reply = connection.read_response()
                if not isinstance(reply, list) or len(reply) != 3:
                    raise OSError(5, "no proper message")
                if reply[0] == b"subscribe":
                    self.first_look.hears(time.monotonic())
                    self._hears.set()
                    self._due.set()
                    self._tell_back()
                elif reply[0] == b"message" and isinstance(reply[2], bytes):
                    self._hear(reply[2])

    def _hear(self, data: bytes) -> None:
        now, runs = clocks(), self._registry.runs
        for outcome in self._registry.hear(data[: PUBLISHED_BYTES + 1], now.steady / 1000, now.wall):
            if outcome in _TOLD:
                self._tell(outcome)
            elif outcome in (Outcome.GAP, Outcome.UNREAD):
                self._lists.ring()
        if self._registry.runs != runs:
            self._greet(now.steady / 1000)
        self._changed()

    def _greet(self, now: float) -> None:
        """Another hub has begun, and waits until it has heard of us: say HUB, but not twice in a second."""
        if now - self._greeted_at >= RENEW_SECONDS:
            self._greeted_at = now
            gevent.spawn_later(random.uniform(0.0, len(self._registry.hubs) / GREETINGS), self._due.set)

    def _tell(self, outcome: Outcome, hub: str = "") -> None:
        hub = hub or self._registry.speaker
        reason = f"{outcome.value} ({hub[:64]!r})" if hub else outcome.value
        text = "registry %s: a message is not used: %s"
        say(
            Entry.REGISTRY_REFUSED,
            text,
            *(self.name, reason),
            fold=f"{self.name} {outcome.name}",
            habit=OUTAGE,
            registry=self.name,
            reason=reason,
        )

    def _tell_lost(self, error: OSError) -> None:
        whole = error.strerror or str(error)
        self.lost = whole.removeprefix(f"{self.name}: ").rstrip(".")  # whoever shows it names the registry
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

    # --- our own list

    def _keep_writing(self) -> None:
        self._hears.wait(DEAF_SECONDS)  # what others say to our first HUB is to be heard
        while True:
            try:
                self._write()
            except OSError as error:
                self._tell_lost(error)
            self._hears.wait(UNHEARD_SECONDS)
            gevent.sleep(random.uniform(*RETURN_SECONDS))

    def _write(self) -> None:
        with self._talk.open() as connection:
            self._write_whole(connection)
            self._tell_back()
            if not self.first_look.is_over(time.monotonic()):
                self.first_look.count(self._talk.hearers(connection, self._channel))
            beats = 0
            while True:
                beats += 1
                if beats % LOOK_BEATS == 0:
                    self._look_through(connection)
                wait = RENEW_SECONDS * random.uniform(1 - JITTER, 1 + JITTER)
                self._due.wait(wait)
                if self._due.is_set():
                    self._due.clear()
                    gevent.sleep(TOGETHER_SECONDS)
                while self._write_batch(connection):
                    breathe()

    def _write_batch(self, connection: Any) -> bool:
        """Write and publish the next changes; returns whether there are more."""
        claims, key = self._claims, self._talk.list_of(self._claims.name)
        batch = claims.next_batch(clocks())
        self._untold += batch.changes
        commands: list[tuple[object, ...]] = [("HDEL", key, *batch.deletes)] if batch.deletes else []
        commands += [
            *(("HSET", key, *_flat(batch.sets)), ("PEXPIRE", key, KEPT_MS), ("HLEN", key)),
            self._publish(batch.published),
        ]
        replies = self._talk.transact(connection, commands)
        self._untold.clear()
        is_whole = replies[-2] == len(claims) + 1 + bool(
            self._certificate
        )  # else flushed, or by somebody else
        if not is_whole or self._certificate != self._seal.certificate:
            self._write_whole(connection)
        if self._registry.wanted() or self._registry.unread:
            self._lists.ring()
        return claims.is_pending

    def _look_through(self, connection: Any) -> None:
        """Look at the next page of our own list, and write it anew where somebody has changed it."""
        if self._source.sentinel and master_of(self._source) != (connection.host, connection.port):
            raise OSError(5, f"{self.name}: the Sentinels name another master")
        key = self._talk.list_of(self._claims.name)
        (found,) = self._talk.ask(connection, [("HSCAN", key, self._page, "COUNT", LOOK_PAGE)])
        if not isinstance(found, list) or len(found) != 2 or not isinstance(found[1], list):
            raise OSError(5, "no proper page")
        self._page, fields = found
        for name, value in zip(fields[::2], fields[1::2], strict=False):
            if len(name) > len(CERTIFICATE) and not self._claims.is_in_list(name, value):
                self._write_whole(connection)
                break

    def _write_whole(self, connection: Any) -> None:
        """Write the whole list, and publish what nobody may have heard, and that we live."""
        claims, key = self._claims, self._talk.list_of(self._claims.name)
        self._begin_later(connection, key)
        commands: list[tuple[object, ...]] = [("DEL", key)]
        some: list[tuple[bytes, bytes]] = []
        self._page, self._certificate = b"0", self._seal.certificate
        if self._certificate:
            some.append((CERTIFICATE, self._certificate))
        for pair in claims.whole():
            some.append(pair)
            if len(some) == FIELDS:
                commands.append(("HSET", key, *_flat(some)))
                some = []
                breathe()
        last = claims.told_again(self._untold, clocks())
        commands += [
            ("HSET", key, *_flat([*some, *last.sets])),
            ("PEXPIRE", key, KEPT_MS),
            self._publish(last.published),
        ]
        try:
            self._talk.transact(connection, commands)
            self._untold.clear()
        finally:
            service_release.later([commands])

    def _begin_later(self, connection: Any, key: str) -> None:
        """Begin a later epoch than that of an earlier run whose list is there, if clocks went backwards."""
        (header,) = self._talk.ask(connection, [("HGET", key, HEADER)])
        name = self._claims.name
        with suppress(ProtocolError):
            before, signature = cluster_wire.decode(header if isinstance(header, bytes) else b"")
            proof = self._seal.check(name, header[: len(header) - len(signature)], signature)
            if proof is Proof.GOOD and before.name == name and before.epoch > self._claims.epoch:
                self._restarted(before.epoch + 1)
                self._untold.clear()  # all hosts are told anew

    def _publish(self, frames: bytes) -> tuple[object, ...]:
        return "PUBLISH", self._channel, frames


_TOLD = frozenset(
    {Outcome.FOREIGN, Outcome.STRANGER, Outcome.UNTRUSTED, Outcome.TWIN, Outcome.SKEW, Outcome.FULL}
)
"""What somebody has to do something about."""


def clocks() -> Clocks:
    """Both of our clocks now."""
    return Clocks(int(time.time() * 1000), int(time.monotonic() * 1000))


def _flat(pairs: Iterable[tuple[bytes, bytes]]) -> Iterator[bytes]:
    for pair in pairs:
        yield from pair
