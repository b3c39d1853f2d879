"""A configured router at run time: a routing table with the sources that fill it, or a router plugin.

Knows: how a reload changes it, what is logged about a load.
Refuses to know: how and when sources are read (source_read, source_feed), how routes are found (route_table).

A hub keeps the RouteTable it was given. A reload only changes the routes in it, never the object.
"""

from __future__ import annotations

import time
from contextlib import nullcontext

from gevent.lock import BoundedSemaphore

from lib import service_collector, service_release, source_text
from lib.acl import Acl
from lib.cli_progress import Bar
from lib.humanize import plain
from lib.log_events import Entry
from lib.log_setup import say
from lib.plugin_client import RouterPlugin
from lib.prefixes import Prefix
from lib.route_loader import STEP, LoadReport, RouteLoader, Steps
from lib.route_table import ENROLLED, RouteTable, hub_addresses
from lib.service_scheduling import breathe
from lib.settings import Hop, TableSettings
from lib.settings_sources import NO_SOURCES, SourceSettings
from lib.source_feed import Feed
from lib.source_origin import Origin
from lib.source_read import Reading

BIG = 1 << 20
"""Bytes of a source's text from which on it is loaded without the cyclic garbage collector (route_loader)."""
NO_ROWS = f"{source_text.EMPTY}\n".encode()
"""Rows of enrolled hosts where there are none."""
APPLY_SECONDS = 10.0
"""How long a reload waits for sources that it has to read."""


class AskedRoutes:
    """A router whose routes are asked for from a plugin."""

    def __init__(self, settings: TableSettings, origin: Origin) -> None:
        assert settings.plugin is not None
        self.settings = settings
        self.label = f"router {settings.name}"
        self.router = RouterPlugin(settings.plugin)
        self.router.acl, self.router.own = _acl(settings), hub_addresses(settings.own, settings.names)
        self.feed = Feed(self.label, NO_SOURCES, origin, lambda rank, reading, name: None)

    def apply(self, settings: TableSettings) -> list[str]:
        """Take other settings; returns what that changed, a line, or none."""
        old = self.settings
        changed = _is_another(settings, old) or settings.plugin != old.plugin
        self.settings = settings
        if not changed or settings.plugin is None:
            return []
        self.router.close()
        _retire(self.router.acl)
        self.router = RouterPlugin(settings.plugin)
        self.router.acl, self.router.own = _acl(settings), hub_addresses(settings.own, settings.names)
        return [f"{self.label}: another plugin is asked, or other rules or addresses count"]

    @property
    def plugin(self) -> RouterPlugin:
        """The plugin that is asked."""
        return self.router

    @property
    def total(self) -> int:
        """Routes held here: none, as the plugin has them."""
        return 0

    def stop(self) -> None:
        """Close the plugin's connections."""
        self.router.close()


class LiveRoutes:
    """A router whose routes are held here, from the configuration and from sources."""

    def __init__(self, settings: TableSettings, origin: Origin) -> None:
        self.settings = settings
        self.table = RouteTable(hold_down=settings.hold_down)
        self.table.acl, self.table.own = _acl(settings), hub_addresses(settings.own, settings.names)
        self._loader = RouteLoader(self.table)
        self._loading = BoundedSemaphore(1)
        self._origin = origin
        self._enrolled = NO_ROWS
        """The rows of enrolled hosts that were loaded last."""
        self._read: list[LoadReport] = []
        """Reports of the sources' loads since a reload began to wait for them."""
        self._load(self._loader.inline(settings.routes, settings.first_match))
        self.feed = self._feed(settings.more)

    @property
    def router(self) -> RouteTable:
        """The table that packets are routed by."""
        return self.table

    @property
    def plugin(self) -> None:
        """None: no plugin is asked."""

    @property
    def total(self) -> int:
        """Number of routes held now."""
        return len(self.table)

    @property
    def label(self) -> str:
        """Its name in the log."""
        return f"router {self.settings.name}"

    def texts(self) -> dict[int, tuple[str, bytes]]:
        """Rank of a source (1, 2, …) -> its name and the text whose rows are used; of those that have one."""
        return self._loader.texts

    @property
    def leased(self) -> dict[Prefix, Hop]:
        """The leases of its pool by which packets are routed."""
        return self._loader.leased

    def apply(self, settings: TableSettings) -> list[str]:
        """Take other settings; returns what that changed, a line, or none."""
        old, self.settings = self.settings, settings
        self.table.hold_down = settings.hold_down
        if settings.acl != old.acl:
            _retire(self.table.acl)
            self.table.acl = _acl(settings)
            self.table.changes += 1
        if (settings.own, settings.names) != (old.own, old.names):
            self.table.own = hub_addresses(settings.own, settings.names)
            self.table.changes += 1
        reports = [self._load(self._loader.inline(settings.routes, settings.first_match))]
        if settings.more != old.more:
            self.feed.stop()
            for rank, source in enumerate(old.more.sources, 1):
                if settings.more.sources[rank - 1 : rank] != (source,):  # another one's rows
                    reports.append(self._load(self._loader.forget(rank)))
            self._read = []
            before, self.feed = self.feed, self._feed(settings.more)
            self.feed.inherit(before)
            self.feed.start()
            self.feed.wait(APPLY_SECONDS)
            reports += self._read
        added, changed, removed = (
            sum(getattr(report, what) for report in reports) for what in ("added", "changed", "removed")
        )
        different = settings.hold_down != old.hold_down or settings.first_match != old.first_match
        different = different or _is_another(settings, old)
        if not (added or changed or removed or different):
            return []
        return [f"{self.label}: {_counts(added, changed, removed)} routes"]

    def lend(self, leases: dict[Prefix, Hop]) -> None:
        """Route these addresses of the router's pool to the hosts that have them, and no others of it."""
        self._load(self._loader.leases(leases))

    def route_enrolled(self, text: bytes) -> None:
        """Use these rows as those of enrolled hosts, which come after all others (enrol_lists)."""
        if text == self._enrolled:
            return
        report = self._load(self._loader.source(ENROLLED, text, "enrolled hosts"))
        self._enrolled = text
        if report.added or report.changed or report.removed:
            counts = _counts(report.added, report.changed, report.removed)
            say(
                Entry.TABLE_LOADED,
                "%s: %s (%s) with those of enrolled hosts",
                *(self.label, plain(report.total, "route"), counts),
                table=self.label,
                source="enrolled hosts",
                rows=report.total,
                added=report.added,
                changed=report.changed,
                removed=report.removed,
                seconds=0.0,
            )

    def stop(self) -> None:
        """Stop reading sources, and remove all routes."""
        self.feed.stop()
        service_release.later([self.table.swap(RouteTable().tries)])

    def _feed(self, more: SourceSettings) -> Feed:
        return Feed(self.label, more, self._origin, self._put)

    def _put(self, rank: int, reading: Reading, name: str) -> None:
        began, text = time.monotonic(), reading.text
        steps = self._loader.source(rank, text, name)
        with Bar(self.label, text.count(b"\n") if len(text) >= BIG else 0) as bar:
            report = self._load(steps, len(text), bar)
        self._read = [*self._read[-9:], report]
        for warning in report.warnings:
            prose = "%s: %s"
            say(Entry.BAD_ROW, prose, self.label, warning, fold=self.label, table=self.label, reason=warning)
        if report.added or report.changed or report.removed:
            seconds = time.monotonic() - began
            say(
                Entry.TABLE_LOADED,
                "%s: %s (%s) with %s, in %.2f s",
                *(self.label, plain(report.total, "route")),
                *(_counts(report.added, report.changed, report.removed), name, seconds),
                table=self.label,
                source=name,
                rows=report.total,
                added=report.added,
                changed=report.changed,
                removed=report.removed,
                seconds=round(seconds, 3),
            )

    def _load(self, steps: Steps, size: int = 0, bar: Bar | None = None) -> LoadReport:
        with self._loading, service_collector.paused() if size >= BIG else nullcontext():
            while True:
                try:
                    next(steps)
                except StopIteration as end:
                    report: LoadReport = end.value
                    return report
                if bar is not None:
                    bar.advance(STEP)
                breathe()


def _is_another(settings: TableSettings, old: TableSettings) -> bool:
    """Whether other rules, addresses or names count."""
    return (settings.acl, settings.own, settings.names) != (old.acl, old.own, old.names)


def _acl(settings: TableSettings) -> Acl | None:
    return Acl(settings.acl) if settings.acl is not None else None


def _retire(acl: Acl | None) -> None:
    """Forget the connections that these rules let through, as other rules take their place."""
    if acl is not None:
        acl.live = False
        service_release.later([acl])


def _counts(added: int, changed: int, removed: int) -> str:
    return f"+{added} ~{changed} -{removed}"
