"""Domain: the namespaces of a hub service, or of several services that share them (`domain:`).

Knows: which tables a namespace has, when a namespace is made and when it is removed.
Refuses to know: who may join (auth_admission), what happens inside a namespace (namespace, forward).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

from lib.counters import Traffic
from lib.ids import NO_NAMESPACE
from lib.limits import stranger
from lib.namespace import Attachment, Namespace, Table
from lib.namespace_commons import Commons, SharedTable
from lib.namespace_elsewhere import Elsewhere
from lib.route_plugin_cache import Asker, PluginCache
from lib.route_table import RouteTable
from lib.settings_memory import COMMONS
from lib.wire_relay import Status


class Registry(Protocol):
    """Who knows at which hubs the hosts of a domain are, and is told of those that are here."""

    def elsewhere(self, namespace: Namespace) -> Elsewhere[Attachment]:
        """The hosts of a namespace at other hubs. It is asked for once, when the namespace is made."""

    def cluster_of(self, namespace: bytes) -> bytes:
        """16 bytes, the same for all hubs that reach all hosts of a namespace; empty where there is one."""

    def entered(self, attachment: Attachment) -> None:
        """A session has begun here: attachments of its host at other hubs end (`live`). Never waits."""

    def met(self, attachment: Attachment) -> None:
        """The client of a session here has said its instance. Never waits."""

    def left(self, attachment: Attachment) -> None:
        """A session has ended here. Never waits."""

    def withdraw(self, attachment: Attachment) -> None:
        """Say that a released session's host is not to be reached here any more. Never waits."""

    def has_other_session(self, attachment: Attachment) -> bool:
        """Whether the client of a session here is known to have a newer one, or one beside it, elsewhere."""

    def are_elsewhere(self, attachments: Iterable[Attachment]) -> bool:
        """Whether all hosts of these sessions are known at another hub; True where that cannot be known."""


Router = RouteTable | Asker
"""A configured table: routes, or a plugin that is asked for them."""

Claims = Callable[[bytes, str], AbstractContextManager[tuple[Status, str]]]
"""(namespace, host name) -> what has the name for one client."""
_NO_ROUTES = RouteTable(())


@dataclass(slots=True, eq=False)
class Domain:
    """Namespaces by id (16 bytes), each made when its first client joins."""

    tables: Mapping[bytes, Router]
    """Tables named by a namespace's UUID."""
    default: Router = _NO_ROUTES
    """The handler's `router:`, asked where a namespace's own table has no route."""
    plugin_cache_seconds: float = 1.0
    """How long a plugin's reply is used before it is asked again."""
    source_check: bool = True
    namespaces: dict[bytes, Namespace] = field(default_factory=dict)
    gone: Traffic = field(default_factory=Traffic)
    """The counts of namespaces that were removed."""
    commons: Commons = field(default_factory=lambda: Commons(COMMONS))
    """The memory of namespaces that nobody has named: neither a router nor clients who name none."""
    registry: Registry | None = None
    """Who knows of other hubs, where there are any; see use_registry()."""
    claim: Claims = lambda namespace, host: nullcontext((Status.OK, ""))
    """Has a host name elsewhere too, where others have sessions of this domain: until what it returns is
    left. That gives (OK, the peer of a live session there, or ""), or why the name is not to be had now."""
    on_leave: Callable[[Attachment], None] = lambda attachment: None
    """Called with each attachment that has left, while its namespace is still there."""
    _coming: set[tuple[bytes, str]] = field(default_factory=set)
    """(namespace, host name) of each session that is being let in."""

    @contextmanager
    def reserve(self, namespace: bytes, host: str) -> Iterator[bool]:
        """Reserve a host name until a session with it has begun; yields False where another has reserved it.

        It takes a while to find out whether the name is free. Without this, a second client that comes in
        that time would find it free too.
        """
        name = namespace, host
        if name in self._coming:
            yield False
            return
        self._coming.add(name)
        try:
            yield True
        finally:
            self._coming.discard(name)

    def enter(self, attachment: Attachment, now: float) -> None:
        """Add an attachment to its namespace, when its session begins."""
        namespace = self.namespaces.setdefault(attachment.namespace.id, attachment.namespace)
        attachment.namespace = namespace
        if namespace.member is None:
            self._count(namespace, stranger(attachment.peer))
        namespace.join(attachment, now)
        if self.registry is not None:
            self.registry.entered(attachment)

    def leave(self, attachment: Attachment) -> None:
        """Remove an attachment when its session ends.

        A namespace without a table of its own is removed with its last attachment.
        """
        namespace = attachment.namespace
        namespace.leave(attachment)
        self.on_leave(attachment)
        if self.registry is not None:
            self.registry.left(attachment)
        self._let_go(namespace)

    def cluster(self, namespace: bytes) -> bytes:
        """What a client is told of the cluster that its namespace is in (Registry.cluster_of)."""
        return self.registry.cluster_of(namespace) if self.registry is not None else b""

    def _count(self, namespace: Namespace, founder: str = "") -> None:
        """Count in the memory for all what a namespace has no bound of its own for.

        `founder` is the address of whoever has made it up, if anybody has.
        """
        key = namespace.id
        is_named = key == NO_NAMESPACE or key in self.tables
        if namespace.member is None:
            namespace.member = self.commons.join(key.hex() if is_named else founder)
        tables: list[SharedTable] = [namespace.gateways.away, namespace.gateways.shared]
        if namespace.elsewhere is not None and namespace.elsewhere.table is not None:
            tables.append(namespace.elsewhere.table)
        if not is_named:
            tables += [namespace.connections.table, namespace.fragments.table]
            tables += [table.table for table in namespace.tables if isinstance(table, PluginCache)]
        namespace.member.keep(tables)

    def namespace(self, key: bytes) -> Namespace:
        """The namespace of an id (16 bytes). A new one is kept only once an attachment enters it."""
        namespace = self.namespaces.get(key)
        if namespace is None:
            table, default = self._tables_of(key)
            namespace = Namespace(key, table, default, self.source_check)
            if self.registry is not None:
                namespace.elsewhere = self.registry.elsewhere(namespace)
        return namespace

    def keep(self, key: bytes) -> Namespace:
        """As namespace(), but kept without an attachment until let_go(): packets of it are passed on."""
        namespace = self.namespaces.setdefault(key, self.namespace(key))
        self._count(namespace)
        return namespace

    def let_go(self, key: bytes) -> None:
        """Forget a namespace that was kept, unless it has a table or attachments."""
        if key in self.namespaces:
            self._let_go(self.namespaces[key])

    def use_registry(self, registry: Registry | None) -> None:
        """Ask this registry about other hubs from now on, and tell it of all sessions; None for none.

        Attachments at other hubs that the one before has made have to be ended by it.
        """
        self.registry = registry
        for namespace in self.namespaces.values():
            namespace.elsewhere = None
            if registry is not None:
                namespace.elsewhere = registry.elsewhere(namespace)
            self._count(namespace)
            if registry is not None:
                for attachment in (*namespace.gateways.leaving(), *namespace.attachments()):
                    registry.entered(attachment)  # of each host the last one counts

    def replace_tables(
        self, tables: Mapping[bytes, Router], default: Router, plugin_cache_seconds: float, source_check: bool
    ) -> None:
        """Replace the tables of all namespaces. Cached replies of a plugin that is still used are kept."""
        kept = plugin_cache_seconds == self.plugin_cache_seconds
        self.tables, self.default = tables, default
        self.plugin_cache_seconds, self.source_check = plugin_cache_seconds, source_check
        for namespace in list(self.namespaces.values()):
            old = namespace.tables if kept else ()
            namespace.replace_tables(*self._tables_of(namespace.id, old), source_check)
            self._count(namespace)
            self._let_go(namespace)

    def _let_go(self, namespace: Namespace) -> None:
        hosts = namespace.gateways
        if not hosts and not hosts.released and namespace.id not in self.tables:
            del self.namespaces[namespace.id]
            if namespace.member is not None:
                namespace.member.end()
                namespace.member = None  # somebody who has looked it up before may still enter it
            self.gone.add(namespace.gone)

    def _tables_of(self, key: bytes, old: tuple[Table, ...] = ()) -> tuple[Table, Table]:
        """A namespace's own table and its default one; for a plugin a cache of this namespace's replies."""
        return self._table(self.tables.get(key, _NO_ROUTES), old), self._table(self.default, old)

    def _table(self, router: Router, old: tuple[Table, ...]) -> Table:
        if isinstance(router, RouteTable):
            return router
        for table in old:
            if isinstance(table, PluginCache) and table.asker is router:
                return table
        return PluginCache(self.plugin_cache_seconds, router, router.acl, router.own)
