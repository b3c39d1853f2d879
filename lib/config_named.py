"""What services of a configuration name: routers, ingresses, authers, admissions, observers, sds, limiters.

Knows: by which name each is found; that nothing of admissions and observers is loaded that nobody names.
Refuses to know: what they mean (config_tables, config_admission, config_observe, config_limits).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from lib import config_metadata
from lib.config_entrypoint import Known as Sds
from lib.config_findings import Findings
from lib.config_limits import Limiters
from lib.config_schema import Handler, Service
from lib.config_tables import namespace_of
from lib.settings import AdmissionSettings, AutherSettings, IngressSettings, TableSettings

if TYPE_CHECKING:
    from lib.settings_observe import ObserverSettings, ObserveSettings


class Tables:
    """The tables of a configuration by name: many services look for theirs among many."""

    def __init__(self, tables: tuple[TableSettings, ...]) -> None:
        self._by_name: dict[str | bytes, TableSettings] = {}
        for table in tables:
            self._by_name.setdefault(table.name, table)
            if table.namespace is not None:
                self._by_name.setdefault(table.namespace, table)
        self.has_namespaces = any(isinstance(key, bytes) for key in self._by_name)
        """Whether any table's name is a namespace's UUID."""

    def named(self, name: str) -> TableSettings | None:
        """The table of that name, a UUID in any spelling; None where there is none."""
        return self._by_name.get(name) or self._by_name.get(namespace_of(name) or b"")

    def names(self) -> list[str]:
        """The names of all tables."""
        return [name for name in self._by_name if isinstance(name, str)]


class Named(NamedTuple):
    """What services name, each thing by its name."""

    tables: Tables
    ingresses: Mapping[str, IngressSettings]
    authers: Mapping[str, AutherSettings]
    admissions: Mapping[str, AdmissionSettings]
    observers: Mapping[str, ObserverSettings | None]
    """None for one whose section is wrong."""
    sds: Sds
    limiters: Limiters

    def admissions_of(self, service: Service, found: Findings) -> tuple[AdmissionSettings, ...]:
        """The admissions that a hub names."""
        if not _has(service, "admission", "admissions"):
            return ()
        from lib.config_admission import of_hub

        return of_hub(service, self.admissions, found)

    def observe(self, service: Service, handler: Handler, found: Findings) -> ObserveSettings | None:
        """How a service is observed; None where it says nothing of that."""
        told = ("enableStats", "labels")
        if not (_has(service, "observer") or _has(handler, "observer")) and not any(
            config_metadata.find(service, name) for name in told
        ):
            return None
        from lib.config_observe import observe_settings

        return observe_settings(service, handler, self.observers, found)


def check_client(service: Service, found: Findings) -> None:
    """Warn of what a client names in vain."""
    if _has(service, "admission", "admissions"):
        from lib.config_admission import of_client

        of_client(service, found)


def _has(section: Service | Handler, *keys: str) -> bool:
    return any(getattr(section, key, None) or key in section.at for key in keys)
