"""Settings of what a client takes of the settings that its hub tells it (`acceptRoutes`).

Knows: which routes it takes, and what of its own configuration comes first.
Refuses to know: what a hub says (push_settings), why something is refused (push_accept).
"""

from __future__ import annotations

from dataclasses import dataclass

from lib.prefixes import Prefix

AUTO, FORCE, OFF, LISTED = "auto", "force", "off", "list"
"""Routes that a client takes: what does no harm; all of them; none; what lies within the prefixes listed."""


@dataclass(frozen=True, slots=True)
class AcceptSettings:
    """What a client takes of its hub's settings."""

    routes: str = AUTO
    """AUTO, FORCE, OFF or LISTED."""
    only: tuple[Prefix, ...] = ()
    """With LISTED: a route is taken that lies within one of these."""
    addresses: bool = True
    """Whether it takes addresses: not where `net` gives it its own."""
    mtu: bool = True
    """Whether it takes the MTU: not where `mtu` is written."""
