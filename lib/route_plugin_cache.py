"""A cache of a router plugin's replies for one namespace, and the packets that wait for a reply.

Knows: that what is asked about is an address, and that a reply is a route.
Refuses to know: how long replies count and how many packets wait (plugin_cache), how a plugin is asked
(plugin_client), other namespaces (each has a cache of its own).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

from lib.acl import Acl
from lib.plugin_cache import ReplyCache, Waiter
from lib.route_table import HubAddress, Route


class Asker(Protocol):
    """Anything that can be asked for a route (plugin_client.RouterPlugin)."""

    acl: Acl | None
    """The access list for packets on its routes; None for everything."""
    own: tuple[HubAddress, ...]
    """The hub's own addresses (route_table)."""

    def route(self, address: bytes, namespace: bytes) -> Route | None:
        """The route to a packed address in a namespace (16 bytes); None for no route. Raises OSError."""


@dataclass(slots=True, eq=False)
class PluginCache(ReplyCache[bytes, Route, Waiter]):
    """Routes that one plugin has replied with in one namespace, by address (packed)."""

    hold_down: ClassVar[float] = 0.0
    """As of a RouteTable; a reply names one gateway, so there is no other one to prefer it to."""

    asker: Asker | None = None
    """The plugin."""
    acl: Acl | None = None
    """The access list for packets on its routes; None for everything."""
    own: tuple[HubAddress, ...] = ()
    """The hub's own addresses, as of a RouteTable."""
