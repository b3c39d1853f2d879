"""A cache of a router plugin's replies for one namespace, and the packets that wait for a reply.

Knows: which replies are known and for how long, which requests are under way, how many packets may wait.
Refuses to know: how a plugin is asked (plugin_client), other namespaces (each has a cache of its own).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar, Generic, Protocol, TypeVar

from lib.acl import Acl
from lib.bounded_dict import BoundedDict
from lib.route_table import HubAddress, Route

Sender = TypeVar("Sender")

MAX_REPLIES = 65536
MAX_ASKING = 1024
"""Requests under way at a time; addresses beyond that count as failed."""
MAX_WAITING = 32
"""Frames that may wait for the reply about one address: the first packets of its flows."""
PATIENCE_SECONDS = 120.0
"""A request that has had no reply for so long is lost, whatever became of its greenlet. It is made again."""
RETRY_SECONDS = 1.0
"""How long a plugin is not asked again about an address for which it failed."""


class Unresolved(Enum):
    """Why a look-up has no reply."""

    ASKING = "a request is under way"
    FAILED = "the plugin failed"


class Asker(Protocol):
    """Anything that can be asked for a route (plugin_client.RouterPlugin)."""

    acl: Acl | None
    """The access list for packets on its routes; None for everything."""
    own: tuple[HubAddress, ...]
    """The hub's own addresses (route_table)."""

    def route(self, address: bytes, namespace: bytes) -> Route | None:
        """The route to a packed address in a namespace (16 bytes); None for no route. Raises OSError."""


@dataclass(slots=True)
class _Known:
    route: Route | None
    expires: float
    failed: bool = False


@dataclass(slots=True, eq=False)
class PluginCache(Generic[Sender]):
    """Replies of one plugin for one namespace, by address (packed), with the frames that wait for them."""

    hold_down: ClassVar[float] = 0.0
    """As of a RouteTable; a reply names one gateway, so there is no other one to prefer it to."""

    seconds: float
    """How long a reply is used before the plugin is asked again."""
    asker: Asker | None = None
    """The plugin."""
    acl: Acl | None = None
    """The access list for packets on its routes; None for everything."""
    own: tuple[HubAddress, ...] = ()
    """The hub's own addresses, as of a RouteTable."""
    wanted: list[bytes] = field(default_factory=list)
    """Addresses to ask the plugin about; taken with `take_wanted`."""
    changes: int = 0
    """How often a reply differed from the one before it."""
    _known: BoundedDict[bytes, _Known] = field(default_factory=lambda: BoundedDict(MAX_REPLIES))
    _waiting: dict[bytes, list[tuple[Sender, bytes]]] = field(default_factory=dict)
    """Address -> (sender, frame) of each frame that waits; a key means that a request is under way."""
    _asked_at: dict[bytes, float] = field(default_factory=dict)
    """Address -> when its request was made, in seconds of a steady clock."""

    def lookup(self, address: bytes, now: float) -> Route | Unresolved | None:
        """The route to an address; None where the plugin has none, Unresolved while there is no reply.

        Notes in `wanted` what has to be asked. An expired reply is still used while the plugin is asked anew.
        """
        known = self._known.get(address)
        if known is not None and now < known.expires:
            # A failure is kept too, for RETRY_SECONDS: otherwise every packet would ask a broken plugin.
            return Unresolved.FAILED if known.failed else known.route
        if address in self._waiting:
            if now - self._asked_at[address] > PATIENCE_SECONDS:
                self._ask(address, now)
        elif len(self._waiting) < MAX_ASKING:
            # The empty list says that a request is under way: further packets to this address wait in it
            # (park) and ask nothing. MAX_ASKING bounds what somebody who scans addresses can make us ask.
            self._waiting[address] = []
            self._ask(address, now)
        if known is not None and not known.failed:
            # Expired, but there: a slow plugin must not stop a flow that runs.
            return known.route
        # FAILED where MAX_ASKING requests are under way: nobody asks for this address, so it must not wait.
        return Unresolved.ASKING if address in self._waiting else Unresolved.FAILED

    def _ask(self, address: bytes, now: float) -> None:
        self._asked_at[address] = now
        self.wanted.append(address)

    def replies(self) -> list[tuple[bytes, Route]]:
        """(address, route) of every reply that has a route, expired ones too."""
        return [(address, known.route) for address, known in self._known.items() if known.route is not None]

    def park(self, address: bytes, sender: Sender, frame: bytes) -> bool:
        """Let a frame wait for the reply about an address; False where too many wait, or none is due."""
        waiting = self._waiting.get(address)
        if waiting is None or len(waiting) >= MAX_WAITING:
            return False
        waiting.append((sender, frame))
        return True

    def take_wanted(self) -> Iterator[bytes]:
        """The addresses to ask the plugin about; each is yielded once."""
        while self.wanted:
            yield self.wanted.pop()

    def store(self, address: bytes, route: Route | None, now: float) -> list[tuple[Sender, bytes]]:
        """Keep a reply (None: no route); returns (sender, frame) of each frame that waited for it."""
        return self._settle(address, _Known(route, now + self.seconds))

    def fail(self, address: bytes, now: float) -> list[tuple[Sender, bytes]]:
        """Note that the plugin failed; returns the frames that waited, whose look-up is FAILED now."""
        return self._settle(address, _Known(None, now + RETRY_SECONDS, failed=True))

    def _settle(self, address: bytes, known: _Known) -> list[tuple[Sender, bytes]]:
        before = self._known.get(address)
        if before is not None and (before.route, before.failed) != (known.route, known.failed):
            # Flows remembered by sessions go by the reply before: whoever sees the count move empties them.
            self.changes += 1
        self._known.renew(address, known)
        self._asked_at.pop(address, None)
        return self._waiting.pop(address, [])
