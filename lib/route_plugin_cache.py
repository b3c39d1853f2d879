"""Answers of a router plugin, kept for one namespace, and the packets that wait for them.

Knows: what is known, what is being asked, what may wait, and how long a reply counts.
Refuses to know: how a plugin is asked (plugin_client), and other namespaces: each has its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar, Generic, Protocol, TypeVar

from lib.acl import Acl
from lib.route_table import Route

Sender = TypeVar("Sender")

MAX_REPLYS = 65536
MAX_ASKING = 1024
MAX_WAITING = 32
"""Frames that wait for one address; a flow's first packets, not its load."""
PATIENCE_SECONDS = 120.0
"""A request without a reply for so long is lost, whatever became of who asked: it is made again."""
RETRY_SECONDS = 1.0
"""How long a plugin that failed for an address is not asked about it again."""


class Unresolved(Enum):
    """Why there is no reply yet."""

    ASKING = "a request is under way"
    FAILED = "the plugin failed"


class Asker(Protocol):
    """What can be asked for a route (plugins.RouterPlugin)."""

    acl: Acl | None
    """What may be sent along its routes."""

    def route(self, address: bytes, namespace: bytes) -> Route | None:
        """The route to a packed address, None where there is none. Raises OSError where it cannot say."""


@dataclass(slots=True)
class _Known:
    route: Route | None
    expires: float
    failed: bool = False


@dataclass(slots=True, eq=False)
class PluginCache(Generic[Sender]):
    """The cache of one namespace. `seconds` is how long a reply counts, `asker` who gives it."""

    hold_down: ClassVar[float] = 0.0
    """As in routes.RouteTable; a reply names one gateway, so there is nobody to prefer."""

    seconds: float
    asker: Asker | None = None
    acl: Acl | None = None
    """What may be sent along its routes; None for everything."""
    wanted: list[bytes] = field(default_factory=list)
    """Addresses to ask about now; whoever asks takes them with `take_wanted`."""
    changes: int = 0
    """How often a reply differed from the one before it."""
    _known: dict[bytes, _Known] = field(default_factory=dict)
    _waiting: dict[bytes, list[tuple[Sender, bytes]]] = field(default_factory=dict)
    """Frames by address; a key means that a request is under way."""
    _asked_at: dict[bytes, float] = field(default_factory=dict)
    """When each of them was made."""

    def lookup(self, address: bytes, now: float) -> Route | Unresolved | None:
        """What is known of an address. A stale reply serves while a fresh one is fetched."""
        known = self._known.get(address)
        if known is not None and now < known.expires:
            return Unresolved.FAILED if known.failed else known.route
        if address in self._waiting:
            if now - self._asked_at[address] > PATIENCE_SECONDS:
                self._ask(address, now)
        elif len(self._waiting) < MAX_ASKING:
            self._waiting[address] = []
            self._ask(address, now)
        if known is not None and not known.failed:
            return known.route
        return Unresolved.ASKING if address in self._waiting else Unresolved.FAILED

    def _ask(self, address: bytes, now: float) -> None:
        self._asked_at[address] = now
        self.wanted.append(address)

    def replies(self) -> list[tuple[bytes, Route]]:
        """Every address for which a route is known, be it stale."""
        return [(address, known.route) for address, known in self._known.items() if known.route is not None]

    def park(self, address: bytes, sender: Sender, frame: bytes) -> bool:
        """Let a frame wait for the reply under way; False where too many wait."""
        waiting = self._waiting.get(address)
        if waiting is None or len(waiting) >= MAX_WAITING:
            return False
        waiting.append((sender, frame))
        return True

    def take_wanted(self) -> Iterator[bytes]:
        """The addresses to ask about; each is yielded once."""
        while self.wanted:
            yield self.wanted.pop()

    def store(self, address: bytes, route: Route | None, now: float) -> list[tuple[Sender, bytes]]:
        """A reply came (None: the plugin knows no route); returns the frames that waited."""
        return self._settle(address, _Known(route, now + self.seconds))

    def fail(self, address: bytes, now: float) -> list[tuple[Sender, bytes]]:
        """The plugin failed; returns the frames that waited (they will now find FAILED)."""
        return self._settle(address, _Known(None, now + RETRY_SECONDS, failed=True))

    def _settle(self, address: bytes, known: _Known) -> list[tuple[Sender, bytes]]:
        before = self._known.pop(address, None)
        if before is not None and (before.route, before.failed) != (known.route, known.failed):
            self.changes += 1
        if len(self._known) >= MAX_REPLYS:
            del self._known[next(iter(self._known))]
        self._known[address] = known
        self._asked_at.pop(address, None)
        return self._waiting.pop(address, [])
