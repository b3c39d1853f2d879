"""Another configuration for the main process and all workers: all of them use it, or none does.

Knows: the order (all workers look at it, then later ones are made with it, then all use it), that a worker
which has not looked at it is made anew, what the main process changes of itself.
Refuses to know: when a change is due (worker_service, api_routes), what may change (settings_workers), what a
worker changes (worker_process).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from lib import (
    namespace_titles,
    service_preload,
    service_release,
    service_reload,
    service_servers,
    settings_workers,
    worker_log,
    worker_settings,
)
from lib.errors import ConfigError, HostError
from lib.hub_tables import Tables
from lib.log_events import Entry
from lib.log_setup import over, say
from lib.observe_services import ObserveServices
from lib.service_changes import Reading, ServiceChanges
from lib.service_parts import label
from lib.service_reload import Reloads, Reread
from lib.service_scheduling import Breaths
from lib.service_servers import Serving
from lib.settings import Settings
from lib.worker_crew import Crew, Replies
from lib.worker_forker import Forker
from lib.worker_front import Front
from lib.worker_notify import NotifyWorkers
from lib.worker_ports import WorkerPorts
from lib.worker_sources import Sources
from lib.worker_state import CLUSTER_NUMBER, Worker, name_of

Step = Callable[[], None]
WAIT_SECONDS = 5.0
"""How long a change waits for workers that are being made: whoever has looked at it need not be made anew."""


class Main(Serving, Protocol):
    """What is used of the main process."""

    count: int
    """How many workers there are to be."""
    crew: Crew
    forker: Forker
    fronts: dict[str, Front]
    notify: NotifyWorkers
    observe: ObserveServices
    tables: Tables
    sources: Sources
    ports: WorkerPorts


class WorkerChanges(ServiceChanges):
    """The configuration in use of a process with workers (api_process.Changes)."""

    def __init__(self, reading: Reading, main: Main) -> None:
        super().__init__(reading, Reloads(reading.settings))
        self._main = main
        self._looked_at: tuple[Settings, bytes, list[Worker]] | None = None
        """What was checked last, packed, and the workers that have looked at it."""

    @property
    def settings(self) -> Settings:
        """As api_process.Changes.settings."""
        return self._main.settings

    def _refresh(self) -> None:
        self._main.sources.refresh()

    def _reload(self, reread: Reread) -> list[str]:
        step = Breaths()
        over(Entry.RELOAD_FAILED)
        try:
            new = self._checked(reread, step)
            if new is not self.settings:
                self._use_all(new)
                return []
        except (ConfigError, HostError) as error:
            return service_reload.tell_problems(error, step)
        text = "nothing is different"
        say(Entry.RELOAD_DONE, "reload: %s", text, added=0, changed=0, removed=0)
        return []

    def _change(self, made: Reread) -> list[tuple[str, str]]:
        new = self._checked(made, Breaths())
        return self._use_all(new) if new is not self.settings else []

    def _checked(self, made: Reread, step: Step) -> Settings:
        """What `made` returns, if all workers can use it. Raises ConfigError and HostError."""
        main, new = self._main, service_reload.read(made, step)
        if new is main.settings:
            return new
        settings_workers.refuse(main.settings, new)
        service_preload.load(new, step)
        packed = worker_settings.pack(new, step)
        main.crew.wait_ready(WAIT_SECONDS)
        ready = list(main.crew.everybody())
        try:
            refuse(main.crew.ask_all({"do": "check", "workers": main.count}, "checked", packed))
        except OSError as error:  # there is no room for it in memory
            raise HostError(error.strerror or str(error)) from None
        self._looked_at = new, packed, ready
        return new

    def _use_all(self, new: Settings) -> list[tuple[str, str]]:
        """Let all use what was checked last; returns (service, why) for what one cannot. Raises HostError."""
        assert self._looked_at is not None
        (_, packed, asked), self._looked_at = self._looked_at, None
        main, api = self._main, self._main.api
        try:
            main.forker.use(packed)  # first: a worker that is made meanwhile has the new ones
        except OSError as error:
            raise HostError(error.strerror or str(error)) from None
        old, main.settings = main.settings, new
        try:
            changed = self._use_here(old, new)
            replies = main.crew.ask_all({"do": "use", "changed": changed}, "used")
        finally:
            if api is not None and main.api is not api:
                api.end_soon()  # as service_reload.use
        main.sources.leave(new)
        same = worker_settings.outside(new) == worker_settings.outside(old)
        others = [one for one in asked if one.number != CLUSTER_NUMBER or same]
        main.crew.renew([one for one in others if replies.get(one.number) is not None])
        for hub in new.hubs:
            main.fronts[hub.name].use(hub)
        for line in main.observe.apply():
            say(Entry.RELOAD_CHANGE, "reload: %s", line, change=line)
        worker_log.use(old, new)
        failed = dict(pair for reply in replies.values() if reply is not None for pair in reply["failed"])
        return list(failed.items())

    def _use_here(self, old: Settings, new: Settings) -> int:
        """Change what the main process does itself; returns how many things those are."""
        main = self._main
        main.sources.apply(new, of_main(new))
        main.ports.apply(old, new)
        lines = main.tables.apply(of_main(new))
        lines += service_servers.apply_metrics(main, old, new)
        lines += service_servers.apply_api(main, old, new)
        lines += main.notify.apply(new.notify)
        lines += main.tables.leave(of_main(new))
        had = {hub.name: hub.hooks for hub in old.hubs}
        lines += [f"service {hub.name}: hooks" for hub in new.hubs if hub.hooks != had.get(hub.name)]
        if new.cluster is not None and new.cluster != old.cluster:
            lines.append(f"cluster: joined as {new.cluster.name}")
        entry = settings_workers.entrypoint(new)
        if entry is not None and entry != settings_workers.entrypoint(old):
            lines.append(f"service {entry[0]}: entrypoint {entry[1].address}")
        label(new)
        if old.titles != new.titles:
            service_release.later(namespace_titles.use(new.titles))
        for line in lines:
            say(Entry.RELOAD_CHANGE, "reload: %s", line, change=line)
        return len(lines)


def of_main(settings: Settings) -> Settings:
    """What the main process does of the settings itself: it looks at logins for metrics and the web API."""
    return Settings(authers=settings.authers)


def refuse(asked: Replies) -> None:
    """Raise HostError where a worker cannot use other settings, with the words of the first one."""
    if not asked:
        raise HostError("no worker is there at the moment: each is replaced within seconds; try again")
    for number, reply in sorted(asked.items()):
        if reply is None:
            raise HostError(f"{name_of(number)} has not looked at it")
        if reply["problems"]:
            raise HostError("; ".join(reply["problems"]))
