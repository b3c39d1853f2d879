"""All lists of enrolled hosts of a process, and the routes that they add to routers.

Knows: which hub names which list, and which router a host's prefixes belong to.
Refuses to know: how a list is read (enrol_live), who asks it (rule_recheck, hub_enrol, ctl_enrol).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from lib import prefixes, source_text
from lib.enrol_book import Place
from lib.enrol_live import Enrolment
from lib.ids import NO_NAMESPACE
from lib.settings import HubSettings, Settings, TableSettings
from lib.settings_sources import EnrolSource


class EnrolLists:
    """The lists of enrolled hosts that the hubs of a process name."""

    def __init__(self, settings: Settings, changed: Callable[[], None]) -> None:
        """`changed` is called when a list has changed: others may be here then, and other routes count."""
        self.settings = settings
        self.gone: Callable[[EnrolSource, set[Place]], None] = lambda source, places: None
        """Called with the hosts of a list that may be here no more; whoever is set there later."""
        self.present: Callable[[EnrolSource], Iterable[Place]] = lambda source: ()
        """Gives the hosts that are connected to hubs with a list; whoever is set there later."""
        self._changed = changed
        self._live = {source: self._make(source) for source in _wanted(settings.hubs)}

    def of(self, source: EnrolSource) -> Enrolment:
        """The list of a source."""
        return self._live[source]

    def all(self) -> list[Enrolment]:
        """Every list."""
        return list(self._live.values())

    def start(self) -> None:
        """Begin to read the lists."""
        for live in self._live.values():
            live.start()

    def wait(self, seconds: float) -> bool:
        """Wait until every list was looked at; False where `seconds` were not enough."""
        until = time.monotonic() + seconds
        return all(live.wait(max(0.0, until - time.monotonic())) for live in self.all() if live.book is None)

    def stop(self) -> None:
        """Stop reading the lists."""
        for live in self._live.values():
            live.stop()

    def apply(self, settings: Settings, seconds: float) -> list[str]:
        """Take the settings of a reload; returns a line for each list added. Lists that are new are read."""
        self.settings = settings
        added = [source for source in _wanted(settings.hubs) if source not in self._live]
        for source in added:
            self._live[source] = live = self._make(source)
            live.start()
            live.wait(seconds)
        return [f"{self._live[source].label}: added" for source in added]

    def leave(self, hubs: Iterable[HubSettings]) -> list[str]:
        """Stop the lists that none of these hubs names; returns a line for each."""
        used = _wanted(hubs)
        gone = [source for source in self._live if source not in used]
        lines = [f"{self._live[source].label}: removed" for source in gone]
        for source in gone:
            self._live.pop(source).stop()
        return lines

    def rows(self) -> dict[str, bytes]:
        """Router -> the routes to enrolled hosts, as the text of a source; of a router without any, too."""
        found: dict[str, dict[str, None]] = {table.name: {} for table in self.settings.tables}
        for hub in self.settings.hubs:
            live = self._live.get(hub.enrol) if hub.enrol is not None else None
            for row in live.book.hosts.values() if live is not None and live.book is not None else ():
                table = router_of(self.settings, hub, row.namespace)
                rows = found.get(table.name, {}) if table is not None else {}
                for prefix in row.gateways:
                    rows[f"{prefixes.text(*prefix)} {row.host}"] = None
        return {name: "\n".join([source_text.EMPTY, *lines, ""]).encode() for name, lines in found.items()}

    def _make(self, source: EnrolSource) -> Enrolment:
        def changed(gone: set[Place]) -> None:
            self._changed()
            if gone:
                self.gone(source, gone)

        return Enrolment(source, changed, lambda: self.present(source))


def router_of(settings: Settings, hub: HubSettings, namespace: bytes) -> TableSettings | None:
    """The router that the routes to a host of a namespace belong to; None where there is none.

    That is the namespace's own one. The hub's default router is shared by all namespaces, so it is only that
    of the namespace of those who name none. The routes of a plugin are the plugin's.
    """
    own = next((table for table in settings.tables if table.namespace == namespace), None)
    table = own or (hub.default_table if namespace == NO_NAMESPACE else None)
    return table if table is not None and table.plugin is None else None


def gives_addresses(settings: Settings, hub: HubSettings, namespace: bytes) -> bool:
    """Whether hosts of a namespace get an address out of a pool of one of its routers."""
    own = [table for table in settings.tables if table.namespace == namespace]
    return any(table.pool for table in (*own, hub.default_table) if table is not None)


def _wanted(hubs: Iterable[HubSettings]) -> dict[EnrolSource, None]:
    return {hub.enrol: None for hub in hubs if hub.enrol is not None}
