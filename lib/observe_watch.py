"""Watch over the services of a process: which observer is told of which state, and of whose figures.

Knows: that a service is running and ready once it serves, and closed once a reload has removed it.
Refuses to know: how an observer is told (observe_delivery), what is counted (observe_stats).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lib import observe_events, observe_stats
from lib.client import Client
from lib.hub import Hub
from lib.observe_delivery import Observer, Report, Rows
from lib.observe_events import CLOSED, HANDLER, READY, RUNNING, SERVICE
from lib.settings import ClientSettings, HubSettings
from lib.settings_observe import ObserverSettings, ObserveSettings


class ObserveWatch:
    """The observers of a process, by name."""

    def __init__(self, hubs: Mapping[str, Hub], clients: Mapping[str, Client]) -> None:
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
            if observe.handler is not None and isinstance(one, Hub):
                yield observe.handler.observer
            if observe.service is not None:
                yield observe.service.observer

    def _observed(self) -> Iterator[tuple[str, Hub | Client, ObserveSettings]]:
        """(name, service, how it is observed) of each that says something of that."""
        services: dict[str, Hub | Client] = {**self._hubs, **self._clients}
        for name, one in services.items():
            if one.settings.observe is not None:
                yield name, one, one.settings.observe

    def _reports(self) -> Iterator[tuple[tuple[str, str], Report]]:
        """The figures that observers are told, by (kind, service)."""
        for service, one, observe in self._observed():
            observation = observe.service if observe.enable_stats else None
            if observation is not None:
                yield (SERVICE, service), Report(SERVICE, service, observation, _of_service(one), one)
            observation = observe.handler
            if observation is not None and isinstance(one, Hub):
                yield (HANDLER, service), Report(HANDLER, service, observation, _of_clients(one), one)


def _kept(before: Report | None, now: Report) -> Report:
    """The report that there was, where the observer knows its figures: of the same service, told alike."""
    is_same = before is not None and before.observation == now.observation and before.source is now.source
    return before if before is not None and is_same else now


def _of_service(one: Hub | Client) -> Rows:
    if isinstance(one, Hub):
        return lambda: [("", observe_stats.of_hub(one))]
    return lambda: [("", observe_stats.of_client(one))]


def _of_clients(hub: Hub) -> Rows:
    return lambda: observe_stats.by_host(hub)
