"""A domain: the namespaces of a service, or of several services that share them.

Knows: which tables a namespace has, when it comes to be and when it goes.
Refuses to know: who may enter (auth_admission) and what happens inside (namespace, forward).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lib.counters import Traffic
from lib.namespace import Namespace, Port, Table
from lib.route_plugin_cache import Answers, Asker
from lib.route_table import RouteTable

Router = RouteTable | Asker
"""A configured table: routes, or a plugin that is asked for them."""

_NO_ROUTES = RouteTable(())


@dataclass(slots=True, eq=False)
class Domain:
    """Namespaces by id, made when their first client comes."""

    tables: Mapping[bytes, Router]
    """Tables named by a namespace's UUID."""
    default: Router = _NO_ROUTES
    """The handler's `router:`, asked where a namespace's own table has no route."""
    answers_seconds: float = 1.0
    """How long a plugin's answer counts."""
    source_check: bool = True
    namespaces: dict[bytes, Namespace] = field(default_factory=dict)
    gone: Traffic = field(default_factory=Traffic)
    """The counts of namespaces that have gone."""

    def enter(self, port: Port, now: float) -> None:
        """A session goes live."""
        port.namespace = self.namespaces.setdefault(port.namespace.id, port.namespace)
        port.namespace.join(port, now)

    def leave(self, port: Port) -> None:
        """A session ends; a namespace that only its clients named goes with its last one."""
        namespace = port.namespace
        namespace.leave(port)
        self._let_go(namespace)

    def namespace(self, key: bytes) -> Namespace:
        """The namespace of that id; it stays only once somebody enters."""
        namespace = self.namespaces.get(key)
        if namespace is None:
            table, default = self._tables_of(key)
            namespace = Namespace(key, table, default, self.source_check)
        return namespace

    def replace_tables(
        self, tables: Mapping[bytes, Router], default: Router, answers_seconds: float, source_check: bool
    ) -> None:
        """Route by other tables from now on; what a plugin that stays has answered is kept."""
        kept = answers_seconds == self.answers_seconds
        self.tables, self.default = tables, default
        self.answers_seconds, self.source_check = answers_seconds, source_check
        for namespace in list(self.namespaces.values()):
            old = namespace.tables if kept else ()
            namespace.replace_tables(*self._tables_of(namespace.id, old), source_check)
            self._let_go(namespace)

    def _let_go(self, namespace: Namespace) -> None:
        if not namespace.gateways and namespace.id not in self.tables:
            del self.namespaces[namespace.id]
            self.gone.add(namespace.gone)

    def _tables_of(self, key: bytes, old: tuple[Table, ...] = ()) -> tuple[Table, Table]:
        """A namespace's own table and its default one; each plugin with answers for it alone."""
        return self._table(self.tables.get(key, _NO_ROUTES), old), self._table(self.default, old)

    def _table(self, router: Router, old: tuple[Table, ...]) -> Table:
        if isinstance(router, RouteTable):
            return router
        for table in old:
            if isinstance(table, Answers) and table.asker is router:
                return table
        return Answers(self.answers_seconds, router, router.acl)
