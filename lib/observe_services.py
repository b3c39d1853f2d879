"""The observers of a process: nothing of them is loaded until a service names one.

Knows: which services name an observer. Refuses to know: all else about them (observe_watch).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from lib import service_supervisor

if TYPE_CHECKING:
    from lib.client import Client
    from lib.observe_delivery import Observer
    from lib.observe_watch import ObserveWatch
    from lib.settings import ClientSettings, HubSettings


class ObserveServices:
    """An ObserveWatch that is made once a service names an observer."""

    def __init__(
        self,
        hubs: Mapping[str, Any],
        clients: Mapping[str, Client],
        make: Callable[[], ObserveWatch] | None = None,
    ) -> None:
        """`make` makes another one than that of a process without workers."""
        self._hubs, self._clients, self._make = hubs, clients, make
        self._watch: ObserveWatch | None = None

    def apply(self) -> list[str]:
        """As ObserveWatch.apply."""
        services: list[Any] = [*self._hubs.values(), *self._clients.values()]
        watch = self._needed(any(_names_one(one.settings) for one in services))
        return watch.apply() if watch is not None else []

    def serves(self, settings: HubSettings | ClientSettings) -> None:
        """As ObserveWatch.serves."""
        watch = self._needed(_names_one(settings))
        if watch is not None:
            watch.serves(settings)

    def closed(self, settings: HubSettings | ClientSettings) -> None:
        """As ObserveWatch.closed."""
        if self._watch is not None:
            self._watch.closed(settings)

    def stop(self) -> None:
        """As ObserveWatch.stop."""
        if self._watch is not None:
            self._watch.stop()
            self._watch = None

    def _needed(self, is_needed: bool) -> ObserveWatch | None:
        if self._watch is None and is_needed:
            if self._make is not None:
                self._watch = self._make()
                return self._watch
            from lib.observe_watch import ObserveWatch

            self._watch = ObserveWatch(self._hubs, self._clients)
        return self._watch


def running() -> list[Observer]:
    """All observers of this process that are told now."""
    module = sys.modules.get("lib.observe_delivery")
    return service_supervisor.running(module.Observer) if module is not None else []


def _names_one(settings: HubSettings | ClientSettings) -> bool:
    return settings.observe is not None and bool(settings.observe.observations)
