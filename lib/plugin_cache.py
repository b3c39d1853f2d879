"""A cache of a plugin's replies, and the frames that wait for one of them.

Knows: which replies are known and for how long, which requests are under way, how many frames may wait.
Refuses to know: what is asked and replied (route_plugin_cache: routes; cluster_directory: hubs), how a plugin
is asked (plugin_client).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, TypeVar

from lib.namespace_commons import Member, PricedDict

MAX_REPLIES = 65536
REPLY_BYTES = 400
"""What a reply holds, as a rule."""
MAX_ASKING = 1024
"""Requests under way at a time; keys beyond that count as failed."""
MAX_WAITING = 32
"""Frames that may wait for the reply about one key: the first packets of its flows."""
PATIENCE_SECONDS = 120.0
"""A request that has had no reply for so long is lost, whatever became of its greenlet. It is made again."""
RETRY_SECONDS = 1.0
"""How long a plugin is not asked again about a key for which it failed."""

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")
Waiter = TypeVar("Waiter")


class Unresolved(Enum):
    """Why a look-up has no reply."""

    ASKING = "a request is under way"
    FAILED = "the plugin failed"


@dataclass(slots=True)
class Known(Generic[Value]):
    """A reply, or that there was none."""

    value: Value | None
    since: float
    expires: float
    failed: bool = False


@dataclass(slots=True, eq=False)
class ReplyCache(Generic[Key, Value, Waiter]):
    """Replies of one plugin, by what it was asked about, with the frames that wait for them."""

    seconds: float
    """How long a reply is used before the plugin is asked again."""
    most: int = field(default=MAX_REPLIES, kw_only=True)
    """Replies that are kept."""
    price: int = field(default=REPLY_BYTES, kw_only=True)
    """Bytes that one of them holds."""
    wanted: list[Key] = field(default_factory=list, init=False)
    """Keys to ask the plugin about; taken with `take_wanted`."""
    changes: int = field(default=0, init=False)
    """How often a reply differed from the one before it."""
    table: PricedDict[Key, Known[Value]] = field(init=False)
    """What is known."""
    _waiting: dict[Key, list[tuple[Waiter, bytes]]] = field(default_factory=dict, init=False)
    """Key -> (waiter, frame) of each frame that waits; a key means that a request is under way."""
    _asked_at: dict[Key, tuple[float, Member | None]] = field(default_factory=dict, init=False)
    """Key -> when its request was made, in seconds of a steady clock, and who counts it."""

    def __post_init__(self) -> None:
        self.table = PricedDict(self.most, self.price)

    def lookup(self, key: Key, now: float) -> Value | Unresolved | None:
        """The reply about a key; None where the plugin knows nothing, Unresolved while there is no reply.

        Notes in `wanted` what has to be asked. An expired reply is still used while the plugin is asked anew.
        """
        known = self.table.get(key)
        if known is not None and now < known.expires:
            # A failure is kept too, for RETRY_SECONDS: otherwise every packet would ask a broken plugin.
            return Unresolved.FAILED if known.failed else known.value
        self.ask(key, now)
        if known is not None and not known.failed:
            # Expired, but there: a slow plugin must not stop a flow that runs.
            return known.value
        # FAILED where MAX_ASKING requests are under way: nobody asks for this key, so it must not wait.
        return Unresolved.ASKING if key in self._waiting else Unresolved.FAILED

    def ask(self, key: Key, now: float) -> None:
        """Note that the plugin has to be asked about a key, unless it is being asked, or about too many."""
        if key in self._waiting:
            asked_at, counts = self._asked_at[key]
            if now - asked_at > PATIENCE_SECONDS:
                self._ask(key, now, counts)
        elif len(self._waiting) < MAX_ASKING and (self.table.member is None or self.table.member.may_ask()):
            # The empty list says that a request is under way: further packets of this key wait in it (park)
            # and ask nothing. MAX_ASKING bounds what somebody who scans addresses can make us ask.
            self._waiting[key] = []
            self._ask(key, now, self.table.member)

    def _ask(self, key: Key, now: float, counts: Member | None) -> None:
        self._asked_at[key] = now, counts
        self.wanted.append(key)

    def replies(self) -> list[tuple[Key, Value]]:
        """(key, value) of every reply that says something, expired ones too."""
        return [(key, known.value) for key, known in self.table.items() if known.value is not None]

    def park(self, key: Key, waiter: Waiter, frame: bytes) -> bool:
        """Let a frame wait for the reply about a key; False where too many wait, or none is due."""
        waiting = self._waiting.get(key)
        if waiting is None or len(waiting) >= MAX_WAITING:
            return False
        waiting.append((waiter, frame))
        return True

    def take_wanted(self) -> Iterator[Key]:
        """The keys to ask the plugin about; each is yielded once."""
        while self.wanted:
            yield self.wanted.pop()

    def store(self, key: Key, value: Value | None, now: float) -> list[tuple[Waiter, bytes]]:
        """Keep a reply (None: nothing known); returns (waiter, frame) of each frame that waited for it."""
        return self._settle(key, Known(value, now, now + self.seconds))

    def fail(self, key: Key, now: float, goes_on: bool = False) -> list[tuple[Waiter, bytes]]:
        """Note that the plugin failed; returns the frames that waited, whose look-up is FAILED now.

        With `goes_on` an earlier reply counts on, where there is one.
        """
        before = self.table.get(key)
        if goes_on and before is not None and not before.failed:
            return self._settle(key, Known(before.value, now, now + RETRY_SECONDS))
        return self._settle(key, Known(None, now, now + RETRY_SECONDS, failed=True))

    def forget(self, key: Key) -> Value | None:
        """Ask about a key anew when it is looked up the next time; returns what was known."""
        known = self.table.pop(key, None)
        return known.value if known is not None else None

    def known(self, key: Key) -> Value | None:
        """What is known about a key, however old it is; nothing is asked."""
        found = self.table.get(key)
        return found.value if found is not None else None

    def age(self, key: Key, now: float) -> float:
        """How long ago the last reply about a key came, or failed to, in seconds; infinite without one."""
        known = self.table.get(key)
        return now - known.since if known is not None else float("inf")

    def __len__(self) -> int:
        """Replies that are remembered."""
        return len(self.table)

    def is_asked(self, key: Key) -> bool:
        """Whether a request about a key is under way."""
        return key in self._waiting

    def _settle(self, key: Key, known: Known[Value]) -> list[tuple[Waiter, bytes]]:
        before = self.table.get(key)
        if before is not None and (before.value, before.failed) != (known.value, known.failed):
            # Flows remembered by sessions go by the reply before: whoever sees the count move empties them.
            self.changes += 1
        self.table.renew(key, known)
        asked = self._asked_at.pop(key, None)
        if asked is not None and asked[1] is not None:
            asked[1].answered()
        return self._waiting.pop(key, [])
