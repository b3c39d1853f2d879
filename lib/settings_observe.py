"""Settings of observers: who is told of a service and of its clients, how often, and with which labels.

Knows: GOST's keys `observer`, `observer.period`, `observer.resetTraffic`, `enableStats` and `labels`.
Refuses to know: what is told (observe_events), and how (observe_delivery).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from lib.settings_sources import PluginSettings

DEFAULT_PERIOD, LEAST_PERIOD = 5.0, 1.0
"""Seconds between two reports of figures, and the least that may be asked for; the same as GOST's."""


@dataclass(frozen=True, slots=True)
class ObserverSettings:
    """An observer: a plugin that is told."""

    name: str
    plugin: PluginSettings


@dataclass(frozen=True, slots=True)
class Observation:
    """An observer of a service, or of its handler."""

    observer: ObserverSettings
    period: float = DEFAULT_PERIOD
    reset: bool = False
    """Whether bytes are those since the last report, instead of all since the start."""


@dataclass(frozen=True, slots=True)
class ObserveSettings:
    """How a service is observed."""

    service: Observation | None = None
    """Who is told of the states of the service, and of its figures where they are counted."""
    handler: Observation | None = None
    """Who is told of the figures of each client of the service."""
    enable_stats: bool = False
    """Whether the figures of the service are told, by its observer and in the web API (`enableStats`)."""
    labels: tuple[tuple[str, str], ...] = ()
    """Names and values that log lines about the service have."""

    @property
    def observations(self) -> tuple[Observation, ...]:
        """Those that there are: of the service, then of its handler."""
        return tuple(one for one in (self.service, self.handler) if one is not None)

    def renewed(self, observers: Mapping[str, ObserverSettings | None]) -> ObserveSettings | None:
        """The same with the observers as they are now, by name; None where one of them is no longer there."""
        now = {one.observer.name: observers.get(one.observer.name) for one in self.observations}
        if None in now.values():
            return None
        if all(now[one.observer.name] is one.observer for one in self.observations):
            return self
        service, handler = (_told(one, now) for one in (self.service, self.handler))
        return replace(self, service=service, handler=handler)


def _told(one: Observation | None, observers: Mapping[str, ObserverSettings | None]) -> Observation | None:
    observer = observers[one.observer.name] if one is not None else None
    return replace(one, observer=observer) if one is not None and observer is not None else None
