"""All domains of a process: which hub services share their namespaces, and by which tables they route.

Knows: services with the same `domain:` share a domain, every other service has one of its own.
Refuses to know: how tables are filled (hub_tables), who may enter (auth_admission).
"""

from __future__ import annotations

from collections.abc import Iterable

from lib.hub_tables import Tables
from lib.namespace_domain import Domain, Router
from lib.route_table import RouteTable
from lib.settings import HubSettings, TableSettings

_NO_ROUTES = RouteTable(())


class Domains:
    """The domains of all hub services of a process."""

    def __init__(self, tables: Tables) -> None:
        self.all: dict[tuple[str, str], Domain] = {}
        self._tables = tables
        self._settings: tuple[TableSettings, ...] = ()
        self._named: dict[bytes, Router] = {}
        """The tables of these settings that are a namespace's; all services have the same."""

    def of(self, hub: HubSettings, tables: tuple[TableSettings, ...]) -> Domain:
        """The domain of a hub service, made where there is none, with the tables that settings name now."""
        if tables is not self._settings:
            self._settings, self._named = tables, self._by_namespace(tables)
        default: Router = _NO_ROUTES
        if hub.default_table is not None:
            default = self._tables.routes(hub.default_table.name)
        rules = (self._named, default, hub.cache_seconds, hub.source_check)
        domain = self.all.get(key_of(hub))
        if domain is None:
            domain = self.all[key_of(hub)] = Domain(*rules)
        else:
            domain.replace_tables(*rules)
        return domain

    def _by_namespace(self, tables: Iterable[TableSettings]) -> dict[bytes, Router]:
        return {
            table.namespace: self._tables.routes(table.name)
            for table in tables
            if table.namespace is not None
        }

    def keep_only(self, hubs: Iterable[HubSettings]) -> None:
        """Forget the domains of services that are not among these."""
        keys = {key_of(hub) for hub in hubs}
        self.all = {key: domain for key, domain in self.all.items() if key in keys}


def key_of(hub: HubSettings) -> tuple[str, str]:
    """What the domain of a hub service is known by in a process."""
    return ("domain", hub.domain) if hub.domain else ("service", hub.name)
