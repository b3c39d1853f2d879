"""Settings of notifications about hosts that come and go: to whom, of which events, how hard it is tried.

Knows: the kinds of events. Refuses to know: how they are written (config_notify), when one happens
(notify_presence), how it is delivered (notify_delivery).
"""

from __future__ import annotations

from dataclasses import dataclass, field

JOIN, LEAVE, AWAY, FLAP, TAKEOVER = EVENTS = ("join", "leave", "away", "flap", "takeover")
DEFAULT_GRACE = 300.0
DEFAULT_TIMEOUT = 10.0
DEFAULT_RETRIES = 5
DEFAULT_QUEUE = 1000


@dataclass(frozen=True, slots=True)
class NotifySettings:
    """Who is told about hosts that come and go; either by a command or by JSON that is posted to a URL."""

    name: str
    command: tuple[str, ...] = field(default=(), repr=False)
    url: str = field(default="", repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    events: frozenset[str] = frozenset(EVENTS)
    hosts: tuple[str, ...] = ()
    """Host names; `.x` and `*.x` stand for x and everything below it; empty for every host."""
    grace: float = DEFAULT_GRACE
    """Seconds after which a host that has left counts as away."""
    timeout: float = DEFAULT_TIMEOUT
    """Seconds that one try may take."""
    retries: int = DEFAULT_RETRIES
    """How often an event is tried again."""
    queue: int = DEFAULT_QUEUE
    """Events that may wait; of more the oldest is dropped."""
