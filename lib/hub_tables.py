"""All routers, ingresses, authers and other lists of a process by name, with their sources and plugins.

Knows: which there are, which a reload adds, changes and removes.
Refuses to know: what is in them (route_live, rule_live), who asks them (hub).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from lib import service_release
from lib.enrol_lists import EnrolLists
from lib.plugin_client import RouterPlugin
from lib.route_live import APPLY_SECONDS, AskedRoutes, LiveRoutes
from lib.route_table import RouteTable
from lib.rule_limits import LiveLimits, with_sources
from lib.rule_live import LiveBindings, LiveIngress, LiveLogins
from lib.rule_rates import AskedLimits
from lib.service_scheduling import Breaths
from lib.settings import (
    AdmissionSettings,
    AutherSettings,
    BindingSettings,
    HubSettings,
    IngressSettings,
    LimiterSettings,
    Settings,
    TableSettings,
)
from lib.settings_limits import HubLimits
from lib.settings_sources import Source, SourceSettings
from lib.source_origin import Direct, Origin

Key = tuple[str, str]
"""(kind, name), the kind one of _KINDS; bindings go by the name of their auther."""
Wanted = (
    TableSettings | IngressSettings | AutherSettings | AdmissionSettings | BindingSettings | LimiterSettings
)
if TYPE_CHECKING:
    from lib.rule_admission import LiveAdmission

    Live = (
        LiveRoutes
        | AskedRoutes
        | LiveIngress
        | LiveLogins
        | LiveAdmission
        | LiveBindings
        | LiveLimits
        | AskedLimits
    )

_KINDS = {
    TableSettings: "router",
    IngressSettings: "ingress",
    AutherSettings: "auther",
    AdmissionSettings: "admission",
    BindingSettings: "bindings",
    LimiterSettings: "limiter",
}


@dataclass(frozen=True, slots=True)
class Sourced:
    """A table that has sources."""

    label: str
    """Its name in the log."""
    more: SourceSettings
    with_server: bool
    """As for source_read.read."""

    def ranked(self) -> Iterator[tuple[int, Source]]:
        """Every source with its rank."""
        return enumerate(self.more.sources, 1)


class Tables:
    """The routers, ingresses and authers of a process."""

    def __init__(self, settings: Settings, origin: Origin | None = None) -> None:
        """Make the tables with their inline rows; sources are read from start() on.

        `origin` is where their readings come from; None for the sources themselves.
        """
        self.rules_changed: Callable[[], None] = lambda: None
        """Called when the rows of an ingress or an auther have changed."""
        self.origin: Origin = origin or Direct()
        self._used = _wanted(settings)
        """The settings that each table has."""
        self._live = {key: self._make(wanted) for key, wanted in self._used.items()}
        self._left: list[Live] = []
        """Tables whose place another one has taken, and which services may still use."""
        self.enrolled = EnrolLists(settings, self._enrolled_changed)
        """The lists of enrolled hosts."""

    def start(self) -> None:
        """Begin to read sources."""
        for live in self._live.values():
            live.feed.start()
        self.enrolled.start()

    def wait_loaded(self, seconds: float) -> bool:
        """Wait until every source has been read or has failed; False where `seconds` were not enough."""
        until = time.monotonic() + seconds
        loaded = all(live.feed.wait(max(0.0, until - time.monotonic())) for live in list(self._live.values()))
        return self.enrolled.wait(max(0.0, until - time.monotonic())) and loaded

    def wait_rules(self, seconds: float) -> None:
        """Wait until each source of ingresses, authers and bindings has been tried once, at most so long.

        While the second source of an auther has not been read, its logins seem to be gone.
        """
        until = time.monotonic() + seconds
        for live in list(self._live.values()):
            if not isinstance(live, LiveRoutes | AskedRoutes | AskedLimits) and live.feed.untried:
                live.feed.wait(max(0.0, until - time.monotonic()))

    def refresh(self) -> None:
        """Read every source again."""
        for live in self._live.values():
            live.feed.refresh()

    def stop(self) -> None:
        """Stop reading sources and asking plugins."""
        self.enrolled.stop()
        for live in self._live.values():
            live.stop()
        self.origin.stop()

    def _enrolled_changed(self) -> None:
        self._route_enrolled()
        self.rules_changed()

    def _route_enrolled(self) -> None:
        """Put the routes to enrolled hosts into the routers that they belong to."""
        for name, text in self.enrolled.rows().items():
            live = self._live.get(("router", name))
            if isinstance(live, LiveRoutes):
                live.route_enrolled(text)

    def all(self) -> list[tuple[Key, Live]]:
        """Every table with its key."""
        return list(self._live.items())

    def routers(self) -> list[tuple[str, LiveRoutes | AskedRoutes]]:
        """(name, router) of every router."""
        return [
            (name, live)
            for (_, name), live in self._live.items()
            if isinstance(live, LiveRoutes | AskedRoutes)
        ]

    def unread_routes(self) -> frozenset[int]:
        """id() of each RouteTable of which a source has never been read: routes may be missing there."""
        return frozenset(
            id(live.router)
            for _, live in self.routers()
            if any(not state.read_at for _, state in live.feed.states())
        )

    def routes(self, name: str) -> RouteTable | RouterPlugin:
        """The router of a name. After apply() it is another object where a plugin was added or removed."""
        live = self._live["router", name]
        assert isinstance(live, LiveRoutes | AskedRoutes)
        return live.router

    def ingress(self, name: str) -> LiveIngress:
        """The ingress of a name."""
        live = self._live["ingress", name]
        assert isinstance(live, LiveIngress)
        return live

    def admissions(self, hub: HubSettings) -> list[LiveAdmission]:
        """The admissions of a hub."""
        return [cast("LiveAdmission", self._live["admission", one.name]) for one in hub.admissions]

    def refusal(self, hub: HubSettings, clients: Iterable[str]) -> str:
        """Why the lists of a hub do not let one of these clients (address:port) in; "" where they do.

        Plugins are not asked. Raises Unavailable where a list is not known.
        """
        for client in clients if hub.admissions else ():
            for live in self.admissions(hub):
                if not live.lists(client):
                    return live.refuses(client)
        return ""

    def limits(self, hub: HubSettings) -> HubLimits:
        """The limits of a hub with the rows of its limiters' sources, as they are now."""
        found = ((one, self._live.get(("limiter", one.name))) for one in hub.limiters)
        return with_sources(hub, ((one, live) for one, live in found if isinstance(live, LiveLimits)))

    def asked_limits(self, hub: HubSettings) -> list[AskedLimits]:
        """The limiters of a hub whose rates a plugin says."""
        found = (self._live.get(("limiter", one.name)) for one in hub.limiters)
        return [live for live in found if isinstance(live, AskedLimits)]

    def logins(self, name: str) -> LiveLogins:
        """The auther of a name."""
        live = self._live["auther", name]
        assert isinstance(live, LiveLogins)
        return live

    def apply(self, settings: Settings) -> list[str]:
        """Take the settings of a reload; returns a line for each table added or changed.

        Tables that are not wanted any more stay until leave(), for services still use them.
        """
        lines: list[str] = []
        step = Breaths()
        # Bindings come first: an auther's new rows may count only where those who have them are bound.
        items = sorted(_wanted(settings).items(), key=lambda item: not isinstance(item[1], BindingSettings))
        for key, wanted in items:
            live = self._live.get(key)
            if live is not None and self._used.get(key) is wanted:
                continue  # it has them: what was not changed costs nothing
            self._used.pop(key, None)  # until it has them as a whole
            if live is not None and self._fits(live, wanted):
                lines += live.apply(wanted)  # type: ignore[arg-type]  # _fits
            else:
                made = self._make(wanted)
                made.feed.start()
                made.feed.wait(APPLY_SECONDS)
                self._live[key] = made
                self._left += [live] if live is not None else []
                lines.append(f"{made.label}: added")
            self._used[key] = wanted
            step()
        lines += self.enrolled.apply(settings, APPLY_SECONDS)
        self._route_enrolled()
        return lines

    def leave(self, settings: Settings, hubs: Iterable[HubSettings] = ()) -> list[str]:
        """Stop the tables that the settings do not have any more; returns a line for each.

        `hubs` are the settings that hubs really use: one whose new settings were refused still asks its old
        auther and ingress.
        """
        hubs = tuple(hubs)
        used = _wanted(settings).keys() | _wanted(Settings(hubs=hubs)).keys()
        gone = [key for key in self._live if key not in used]
        lines = [f"{self._live[key].label}: removed" for key in gone]
        self._left += [self._live.pop(key) for key in gone]
        self._used = {key: wanted for key, wanted in self._used.items() if key in self._live}
        for live in self._left:
            live.stop()
        service_release.later(self._left)
        self._left = []
        return lines + self.enrolled.leave((*settings.hubs, *hubs))

    def _make(self, wanted: Wanted) -> Live:
        if isinstance(wanted, TableSettings):
            return AskedRoutes(wanted, self.origin) if wanted.plugin else LiveRoutes(wanted, self.origin)
        told = lambda: self.rules_changed()  # noqa: E731  whoever is set there later
        if isinstance(wanted, IngressSettings):
            return LiveIngress(wanted, self.origin, told)
        if isinstance(wanted, AdmissionSettings):
            from lib.rule_admission import LiveAdmission  # where there is none it is not loaded

            return LiveAdmission(wanted, self.origin, told)
        if isinstance(wanted, BindingSettings):
            return LiveBindings(wanted, self.origin, told)
        if isinstance(wanted, LimiterSettings):
            return (
                AskedLimits(wanted, self.origin) if wanted.plugin else LiveLimits(wanted, self.origin, told)
            )
        return LiveLogins(wanted, self.origin, told, lambda: self._bindings(wanted.name))

    def _bindings(self, name: str) -> LiveBindings | None:
        live = self._live.get(("bindings", name))
        return live if isinstance(live, LiveBindings) else None

    @staticmethod
    def _fits(live: Live, wanted: Wanted) -> bool:
        """Whether a table can take these settings: one with rows cannot get a plugin, nor lose it."""
        if isinstance(wanted, TableSettings):
            return isinstance(live, AskedRoutes) == (wanted.plugin is not None)
        if isinstance(wanted, LimiterSettings):
            return isinstance(live, AskedLimits) == (wanted.plugin is not None)
        return True


def _wanted(settings: Settings) -> dict[Key, Wanted]:
    """The settings of every router, ingress and auther, by key."""
    every: list[Wanted] = list(settings.tables)
    for hub in settings.hubs:
        every += [hub.ingress] if hub.ingress is not None else []
        every += [*hub.authers, *hub.admissions, *hub.limiters]
    every += settings.authers
    every += [wanted.bindings for wanted in every if isinstance(wanted, AutherSettings) and wanted.bindings]
    return {(_KINDS[type(wanted)], wanted.name): wanted for wanted in every}


def sourced(settings: Settings) -> dict[Key, Sourced]:
    """The tables that have sources, by key."""
    found: dict[Key, Sourced] = {}
    for (kind, name), wanted in _wanted(settings).items():
        if wanted.more.sources and not (isinstance(wanted, TableSettings) and wanted.plugin):
            label = name if isinstance(wanted, LimiterSettings) else f"{kind} {name}"
            found[kind, name] = Sourced(label, wanted.more, not isinstance(wanted, TableSettings))
    return found
