"""Nodes of a client's hop that come from a file, Redis or a URL: read again when they change.

Knows: that nodes of the configuration come first, then those of each source in its order; that the last good
ones stay while a source fails or has a wrong node.
Refuses to know: how sources are read (source_feed), what a node may be (config_nodes), sessions
(client_reconnect).
"""

from __future__ import annotations

from collections.abc import Callable

from lib import config_nodes, config_resolve, service_preload
from lib.errors import ConfigError, HostError
from lib.humanize import counted
from lib.log_events import Entry
from lib.log_setup import say
from lib.settings import ClientSettings, HopSettings, NodeSettings, Settings
from lib.source_feed import Feed
from lib.source_read import Reading
from lib.source_text import NoTable
from lib.source_watch import Watch

FIRST_SECONDS = 2.0
"""How long the first dial waits for sources."""


def read(hop: HopSettings, text: bytes, name: str) -> ClientSettings | None:
    """A client with the nodes of a source; None for an empty list.

    Raises ValueError; ConfigError with what is wrong with a node.
    """
    config = config_nodes.with_nodes(hop.around, text, name)
    return config_resolve.resolve(config).clients[0] if config_nodes.has_nodes(config) else None


class LiveHop:
    """The nodes of one hop."""

    def __init__(self, settings: HopSettings, label: str, changed: Callable[[], None]) -> None:
        """`changed` is called when there are other nodes; nothing is read before start()."""
        self.settings = settings
        self._label, self._changed = label, changed
        self._watch = Watch()
        self._loaded: dict[int, tuple[NodeSettings, ...]] = {}
        self._feed = Feed(label, settings.more, self._watch, self._put)

    @property
    def nodes(self) -> tuple[NodeSettings, ...]:
        """All nodes there are now: at least one, which cannot be dialled where none is known."""
        loaded = (node for rank in sorted(self._loaded) for node in self._loaded[rank])
        return (*self.settings.inline, *loaded) or (config_nodes.nobody(self.settings.name),)

    def start(self) -> None:
        """Begin to read."""
        self._feed.start()

    def wait(self) -> None:
        """Wait for a moment until the sources have been read once."""
        self._feed.wait(FIRST_SECONDS)

    def refresh(self) -> None:
        """Read all sources again."""
        self._feed.refresh()

    def stop(self) -> None:
        """Read nothing more."""
        self._feed.stop()
        self._watch.stop()

    def _put(self, rank: int, reading: Reading, name: str) -> int:
        try:
            client = read(self.settings, reading.text, name)
            service_preload.load(Settings(clients=(client,) if client else ()))
        except (ConfigError, HostError, ValueError) as error:
            why = error.problems[0].message if isinstance(error, ConfigError) else str(error)
            raise NoTable(why) from error
        nodes = client.nodes if client else ()
        if self._loaded.get(rank) != nodes:
            self._loaded[rank] = nodes
            words = "%s: %s with %s", self._label, counted(len(self.nodes), "node"), name
            say(Entry.RULES_LOADED, *words, table=self._label, source=name, rows=len(self.nodes))
            self._changed()
        return 0
