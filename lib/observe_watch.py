"""Watch over the services of a process: which observer is told of which state, and of whose figures.

Knows: that a service is running and ready once it serves, and closed once a reload has removed it.
Refuses to know: how an observer is told (observe_delivery), what is counted (observe_stats).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lib import observe_events, observe_stats
from lib.client import Client
from lib.observe_delivery import Observer, Report, Rows
from lib.observe_events import CLOSED, HANDLER, READY, RUNNING, SERVICE
from lib.settings import ClientSettings, HubSettings
from lib.settings_observe import ObserverSettings, ObserveSettings


class ObserveWatch:
    """The observers of a process, by name."""

    def __init__(self, hubs: Mapping[str, Any], clients: Mapping[str, Client]) -> None:
        """`hubs` are those of this process, or what stands for them where their sessions are in workers."""
        self._hubs, self._clients = hubs, clients
        self.observers: dict[str, Observer] = {}
        """Those that are told, by name."""

    def apply(self) -> list[str]:
        """Tell the observers that the services name now, of these; returns a line for each change."""
        wanted = {one.name: one for one in self._named()}
        gone = [name for name, one in self.observers.items() if wanted.get(name) != one.settings]
        lines = [f"observer {name}: {'changed' if name in wanted else 'removed'}" for name in gone]
        for name in gone:
            observer = self.observers.pop(name)
            observer.leave()
        for name, settings in wanted.items():
            if name not in self.observers:
                lines += [f"observer {name}: added"] if name not in gone else []
                self._observer(settings)
        reports: dict[str, dict[tuple[str, str], Report]] = {name: {} for name in self.observers}
        for key, one in self._reports():
            name = one.observation.observer.name
            reports[name][key] = _kept(self.observers[name].reports.get(key), one)
        for name, observer in self.observers.items():
            observer.report(reports[name])
        return lines

    def serves(self, settings: HubSettings | ClientSettings) -> None:
        """A service serves from now on."""
        self._tell(settings, RUNNING, READY)

    def closed(self, settings: HubSettings | ClientSettings) -> None:
        """A service is served no longer, because a reload has removed it."""
        self._tell(settings, CLOSED)

    def stop(self) -> None:
        """Tell nothing more."""
        for observer in self.observers.values():
            observer.stop()
        self.observers.clear()

    def _tell(self, settings: HubSettings | ClientSettings, *states: str) -> None:
        observation = settings.observe.service if settings.observe is not None else None
        if observation is None:
            return
        observer = self._observer(observation.observer)
        for state in states:
            observer.put(observe_events.status(settings.name, state))

    def _observer(self, settings: ObserverSettings) -> Observer:
        """The observer of these settings, made and started where there is none of its name."""
        observer = self.observers.get(settings.name)
        if observer is None:
            observer = self.observers[settings.name] = Observer(settings)
            observer.start()
        return observer

    def _named(self) -> Iterator[ObserverSettings]:
        for _, one, observe in self._observed():
            if observe.handler is not None and not isinstance(one, Client):
                yield observe.handler.observer
            if observe.service is not None:
                yield observe.service.observer

    def _observed(self) -> Iterator[tuple[str, Any, ObserveSettings]]:
        """(name, service, how it is observed) of each that says something of that."""
        services: dict[str, Any] = {**self._hubs, **self._clients}
        for name, one in services.items():
            if one.settings.observe is not None:
                yield name, one, one.settings.observe

    def _reports(self) -> Iterator[tuple[tuple[str, str], Report]]:
        """The figures that observers are told, by (kind, service)."""
        for service, one, observe in self._observed():
            observation = observe.service if observe.enable_stats else None
            if observation is not None:
                yield (
                    (SERVICE, service),
                    Report(SERVICE, service, observation, self._of_service(service, one), one),
                )
            observation = observe.handler
            rows = self._of_clients(service, one)
            if observation is not None and rows is not None:
                yield (HANDLER, service), Report(HANDLER, service, observation, rows, one)

    def _of_service(self, name: str, one: Any) -> Rows:
        """What reads the figures of a service."""
        if isinstance(one, Client):
            return lambda: [("", observe_stats.of_client(one))]
        return lambda: [("", observe_stats.of_hub(one))]

    def _of_clients(self, name: str, one: Any) -> Rows | None:
        """What reads those of its clients; None where it has none."""
        return None if isinstance(one, Client) else lambda: observe_stats.by_host(one)


def _kept(before: Report | None, now: Report) -> Report:
    """The report that there was, where the observer knows its figures: of the same service, told alike."""
    is_same = before is not None and before.observation == now.observation and before.source is now.source
    return before if before is not None and is_same else now
