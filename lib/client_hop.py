"""Nodes of a client's hops that come from a file, Redis, a URL or a plugin.

Knows: that nodes of the configuration come first, then those of each source in its order; that the last good
ones stay while a source fails or has a wrong node; that a plugin is asked at each dial, and that without its
reply nobody is dialled.
Refuses to know: how sources are read (source_feed) and plugins are asked (plugin_client), what a node may be
(config_nodes), sessions (client_reconnect).
"""

from __future__ import annotations

import errno
import math
from collections.abc import Callable

from lib import config_nodes, config_resolve, service_preload
from lib.config_nodes import Part
from lib.errors import ConfigError, HostError, PluginError
from lib.humanize import counted
from lib.log_events import Entry
from lib.log_setup import say
from lib.plugin_client import HopPlugin
from lib.settings import ClientSettings, HopSettings, NodeSettings, Settings
from lib.source_feed import Feed
from lib.source_origin import Direct, Origin
from lib.source_read import Reading
from lib.source_text import NoTable

FIRST_SECONDS = 2.0
"""How long the first dial waits for sources."""


def read(hop: HopSettings, text: bytes, name: str) -> tuple[Part, ...]:
    """The nodes of a source. Raises ValueError; ConfigError with what is wrong with a node; HostError."""
    config = config_nodes.with_nodes(hop, text, name)
    if not config_nodes.has_nodes(hop, config):
        return ()
    client = config_resolve.resolve(config).clients[0]
    service_preload.load(Settings(clients=(client,)))
    return config_nodes.parts_of(hop, client)


def _why(error: Exception) -> str:
    return error.problems[0].message if isinstance(error, ConfigError) else str(error)


class LiveHops:
    """The hops of one client, and the ways that their nodes make."""

    def __init__(self, client: ClientSettings, changed: Callable[[], None]) -> None:
        """`changed` is called when there are other ways; nothing is read before start()."""
        self.settings = client.hops
        self._changed, self._origin = changed, Direct()
        self._hops = [_LiveHop(self, hop, client, self._origin) for hop in client.hops]

    @property
    def nodes(self) -> tuple[NodeSettings, ...]:
        """All ways there are now: at least one, which cannot be dialled where none is known."""
        return config_nodes.combined([(hop.settings.name, hop.parts) for hop in self._hops])

    def start(self) -> None:
        """Begin to read."""
        for hop in self._hops:
            hop.feed.start()

    def wait(self) -> None:
        """Wait for a moment until the sources have been read once."""
        for hop in self._hops:
            hop.feed.wait(FIRST_SECONDS)

    def refresh(self) -> None:
        """Read all sources again."""
        for hop in self._hops:
            hop.feed.refresh()

    def stop(self) -> None:
        """Read nothing more."""
        for hop in self._hops:
            hop.stop()
        self._origin.stop()

    def ask(self) -> bool:
        """Ask the plugins for the next way; returns whether there is any plugin. Raises OSError."""
        asked = [hop.ask() for hop in self._hops]
        return any(asked)

    def put(self, hop: _LiveHop, rank: int, parts: tuple[Part, ...]) -> None:
        """Use these nodes of a source from now on. Raises NoTable where they make too many ways."""
        before = hop.loaded.get(rank)
        hop.loaded[rank] = parts
        ways = math.prod(max(1, len(one.parts)) for one in self._hops)
        if ways > config_nodes.MAX_WAYS:
            hop.loaded[rank] = before or ()
            raise NoTable(f"it makes {ways:,} ways to a hub, more than {config_nodes.MAX_WAYS:,}")


class _LiveHop:
    """The nodes of one hop."""

    def __init__(self, hops: LiveHops, settings: HopSettings, client: ClientSettings, origin: Origin) -> None:
        self.settings = settings
        self._hops = hops
        self.label = f"hop {settings.name} of {client.name}"
        self.loaded: dict[int, tuple[Part, ...]] = {}
        """Rank of a source -> its nodes."""
        self.feed = Feed(self.label, settings.more, origin, self._put)
        self._plugin = HopPlugin(settings.plugin) if settings.plugin else None
        self._asked: tuple[Part, ...] = ()
        addresses = client.device.addresses
        self._about = client.host, str(addresses[0].ip) if addresses else ""

    @property
    def parts(self) -> tuple[Part, ...]:
        """All nodes there are now."""
        loaded = (part for rank in sorted(self.loaded) for part in self.loaded[rank])
        return (*self.settings.inline, *loaded, *self._asked)

    def stop(self) -> None:
        """Read and ask nothing more."""
        self.feed.stop()
        if self._plugin is not None:
            self._plugin.close()

    def ask(self) -> bool:
        """Ask the plugin, where there is one, for a node. Raises OSError; then the hop has no node."""
        if self._plugin is None:
            return False
        self._asked = ()
        try:
            self._asked = read(self.settings, b"[%s]" % self._plugin.select(*self._about), self._plugin.url)
        except (ConfigError, HostError, PluginError, ValueError) as error:
            text = f"{self.label}: its plugin: {_why(error)}"
            raise OSError(errno.EHOSTUNREACH, text) from error
        return True

    def _put(self, rank: int, reading: Reading, name: str) -> int:
        try:
            parts = read(self.settings, reading.text, name)
        except (ConfigError, HostError, ValueError) as error:
            raise NoTable(_why(error)) from error
        if self.loaded.get(rank) != parts:
            self._hops.put(self, rank, parts)
            words = "%s: %s with %s", self.label, counted(len(self.parts), "node"), name
            say(Entry.RULES_LOADED, *words, table=self.label, source=name, rows=len(self.parts))
            self._hops._changed()
        return 0
