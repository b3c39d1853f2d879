"""Rows of limiters from sources at run time, and the limits of a hub together with them.

Knows: which limits of a hub a limiter adds to.
Refuses to know: the notation of a row (config_limits), how sources are read (source_feed), what a limit does
(limits).

Until a source has been read, the rows of the configuration alone are in force; a hub waits for its sources
for a moment before it accepts. While a source fails, its last good rows stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from lib.config_limits import source_row
from lib.rule_live import LiveRules, Rows
from lib.settings import HubSettings, LimiterSettings
from lib.settings_limits import HubLimits, of_scope
from lib.source_origin import Origin


class LiveLimits(LiveRules[Rows]):
    """A limiter with sources."""

    kind = "limiter"

    def __init__(self, settings: LimiterSettings, origin: Origin, changed: Callable[[], None]) -> None:
        self.reader = source_row(settings.adds_to)
        super().__init__(settings, origin, changed)

    @property
    def label(self) -> str:
        """Its name in the log, which has the kind of the limiter."""
        return self.settings.name

    @property
    def rows(self) -> Rows:
        """The rows of all sources, in their order."""
        return self._table

    def apply(self, settings: LimiterSettings) -> list[str]:
        """Take other settings; returns what that changed, a line, or none."""
        return self._apply(settings)

    def _inline(self) -> Rows:
        return ()

    def _build(self, rows: Iterator[Any]) -> Rows:
        return tuple(rows)


def with_sources(hub: HubSettings, limiters: Iterable[tuple[LimiterSettings, LiveLimits]]) -> HubLimits:
    """The limits of a hub, its own rows before those of sources."""
    limits = hub.limits
    for settings, live in limiters:
        if live.rows:
            rows: tuple[Any, ...] = live.rows
            rows = of_scope(rows, settings.scope) if settings.adds_to == "services" else rows
            limits = replace(limits, **{settings.adds_to: (*getattr(limits, settings.adds_to), *rows)})
    return limits
