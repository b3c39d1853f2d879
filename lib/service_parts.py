"""The parts of one process, made from its settings: hubs, clients, tables, captures and metrics.

Knows: what services share (tables, namespaces, the receive buffer, turns), and how all parts are opened and
closed.
Refuses to know: signals and when each part is started (service), how settings change (service_reload).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from gevent.event import Event
from gevent.lock import BoundedSemaphore

from lib import ctl_health, enrol_book, hub_recheck, log_setup, namespace_titles
from lib.capture_service import Tapping
from lib.capture_taps import Taps
from lib.cluster_watch import ClusterWatch
from lib.framing import ReceiveBuffer
from lib.hub import Hub
from lib.hub_tables import Tables
from lib.log_dedup import BUSY
from lib.log_events import Entry
from lib.log_setup import say
from lib.namespace_domains import Domains
from lib.notify_watch import NotifyWatch
from lib.observe_services import ObserveServices
from lib.route_live import APPLY_SECONDS
from lib.service_hooks import HookRunner, Place, place
from lib.service_supervisor import Task
from lib.settings import ClientSettings, HubSettings, Settings
from lib.settings_sources import EnrolSource

AGAIN_SECONDS = 5.0
"""Seconds until sessions are checked again that could not be judged because of an error."""

if TYPE_CHECKING:
    from lib.api_confirm import Confirmations
    from lib.api_process import Changes
    from lib.api_server import ApiServer
    from lib.client import Client
    from lib.metrics_server import MetricsServer
    from lib.service_clients import Shared


class Parts:
    """Everything that one process serves.

    settings   the settings in use; a reload replaces them
    """

    new_tables: Callable[[Settings], Tables] = Tables
    new_hub: Callable[..., Hub] = Hub  # both are others in a worker (worker_process)

    def __init__(
        self,
        settings: Settings,
        device_gone: Callable[[str], None],
        changes: Callable[[], Changes | None] = lambda: None,
    ) -> None:
        """Open every port and device. Raises HostError where one cannot be opened; nothing is left open then.

        `device_gone` is called with the name of a client's device that somebody has removed. `changes` is
        called once there is a web API, for what it changes the configuration by; without it there is no API.
        """
        self.settings = settings
        namespace_titles.use(settings.titles)
        label(settings)
        self.hubs: dict[str, Hub] = {}
        self.clients: dict[str, Client] = {}
        self.taps = Taps(time.time_ns)
        self.tapping = Tapping(self.taps)
        self.metrics: MetricsServer | None = None
        self.api: ApiServer | None = None
        self.since: dict[str, float] = {}
        """Name of a service -> when it was started."""
        self._changes = changes
        self._confirmations: Confirmations | None = None
        self.tables = self.new_tables(settings)
        self.domains = Domains(self.tables)
        self.notify = NotifyWatch(self.domains)
        self.observe = ObserveServices(self.hubs, self.clients)
        self.cluster = ClusterWatch(self.taps)
        self._device_gone = device_gone
        self._hooks = HookRunner()
        self.one_maker = BoundedSemaphore(1)
        """Held while a client is made anew: by a reload, or for a device that somebody has removed."""
        self._is_ending = False
        self.shared: Shared | None = None
        """What clients share; None where there has been none."""
        self.ends_cleanly = False
        """Set where somebody has asked for the end."""
        self._buffer = ReceiveBuffer()
        self._rules = Event()
        """Set when sessions are to be checked again."""
        self._rechecking = Task("sessions are checked by changed rules", self._keep_rechecking)
        try:
            self.metrics, self.api = self.make_metrics(settings), self.make_api(settings)
            for hub in settings.hubs:
                self.hubs[hub.name] = self.make_hub(hub, settings)
            self.cluster.open(self.hubs.values(), settings.cluster)
            if settings.clients:
                self.of_clients().begin(settings.clients)
            for client in settings.clients:
                self.clients[client.name] = self._open_client(client)
        except BaseException:
            self.stop()
            raise

    def start_tables(self) -> None:
        """Begin to read the tables' sources. From now on sessions are checked again when a rule changes."""
        self.tables.rules_changed = self.recheck
        self.tables.enrolled.gone = self._end_revoked
        self.tables.enrolled.present = self._connected
        self._rechecking.start()
        self.tables.start()

    def start_services(self) -> None:
        """Start the metrics server, the hubs and the clients, and what tells of hosts."""
        self.notify.apply(self.settings.notify)
        self.notify.start()
        if self.metrics is not None:
            self.metrics.start()
        if self.api is not None:
            self.api.start()
        self.cluster.start()
        for hub in self.hubs.values():
            self._start(hub)
        for client in self.clients.values():
            self._start(client)
        if self.shared is not None:
            self.shared.exits.settle(self.settings.clients)
        self.observe.apply()

    def stop(self) -> None:
        """Close every port and remove every device, also of clients whose removal was broken off before.

        What fails keeps nothing else from being stopped.
        """
        self._is_ending = True
        with ExitStack() as steps:  # the last one comes first
            steps.callback(lambda: self._hooks.gone(self._hooks.rest()))
            if self.shared is not None:
                steps.callback(self.shared.exits.close, self.ends_cleanly)
            steps.callback(self.tables.stop)
            steps.callback(self.cluster.stop)
            for hub in self.hubs.values():
                steps.callback(hub.stop)
            if self.shared is not None:
                steps.callback(self.shared.stop_all, list(self.clients.values()))
            if self.metrics is not None:
                steps.callback(self.metrics.stop)
            steps.callback(self._end_api)
            if self._confirmations is not None:
                steps.callback(self._confirmations.stop)
            steps.callback(self.tapping.stop)
            steps.callback(self._rechecking.kill, block=False)
            steps.callback(self._end_hooks, self._hooks.serving())
            steps.callback(self.notify.stop)
            steps.callback(self.observe.stop)

    def give_to(self, user: int) -> None:
        """Make a user the owner of UDP ports, and of unix sockets at which others ask. Raises HostError."""
        for hub in self.hubs.values():
            hub.datagrams.give_to(user)
        self.cluster.give_to(user)
        for server in (self.metrics, self.api):
            if server is not None:
                server.give_to(user)

    def _end_api(self) -> None:
        """Stop the web API, and write what the audit log has not got yet; an undo outlives the server."""
        if self.api is not None:
            self.api.stop()
        if self._confirmations is not None:
            from lib import api_audit

            api_audit.finish()

    def _start(self, one: Hub | Client) -> None:
        one.start()
        self.since[one.settings.name] = time.time()
        self._hooks.serves(_place(one))
        self.observe.serves(one.settings)

    def tell_end(self) -> None:
        """Run what all services want to be run before they end, while they still serve."""
        self._end_hooks(self._hooks.serving())

    def _end_hooks(self, names: Iterable[str]) -> None:
        """Run what these services want to be run before they end."""
        found = (self.hubs.get(name) or self.clients.get(name) for name in names)
        self._hooks.ends([_place(one) for one in found if one is not None])

    def remove_hub(self, name: str) -> None:
        """Stop a hub that is served no longer."""
        self._end_hooks([name])
        hub = self.hubs.pop(name)
        hub.stop()
        self.observe.closed(hub.settings)
        self._hooks.gone([name])

    def remove_clients(self, names: Sequence[str]) -> None:
        """Stop clients that are served no longer. Where this is broken off, stop() goes on with it."""
        self._end_hooks(names)
        clients = [self.clients.pop(name) for name in names]
        if clients:
            self.of_clients().stop(clients)
        for client in clients:
            self.observe.closed(client.settings)
        self._hooks.gone(names)

    def of_clients(self) -> Shared:
        """What all clients share, which is there from the first one on."""
        if self.shared is None:
            from lib.service_clients import Shared

            self.shared = Shared(self._buffer, self._device_gone, self.taps)
        return self.shared

    def make_hub(self, hub: HubSettings, settings: Settings) -> Hub:
        """A hub whose port is open, not started yet. Raises HostError; nothing is left open then."""
        domain = self.domains.of(hub, settings.tables)
        made = self.new_hub(hub, domain, self.tables, self._buffer, self.taps)
        try:
            self._hooks.opened(_place(made))
        except BaseException:
            made.stop()
            self._hooks.gone([hub.name])
            raise
        return made

    def add_hub(self, hub: HubSettings, settings: Settings) -> None:
        """Make a hub and start it. Raises HostError where that fails; nothing of it is left then."""
        self.hubs[hub.name] = made = self.make_hub(hub, settings)
        self._start(made)

    def add_client(self, settings: ClientSettings) -> None:
        """Make a client and start it. Raises HostError where that fails; nothing of it is left then."""
        self.of_clients().admit([settings])
        self.clients[settings.name] = client = self._open_client(settings)
        try:
            self._start(client)
        except BaseException:
            self.remove_clients([settings.name])
            raise

    def _open_client(self, client: ClientSettings) -> Client:
        made = self.of_clients().open(client)
        try:
            self._hooks.opened(_place(made))
        except BaseException:
            self.of_clients().stop([made])
            self._hooks.gone([client.name])
            raise
        return made

    def make_anew(self, device: str) -> None:
        """Make a client anew whose device somebody has removed; at a slow rate where that goes on and on.

        Raises HostError where the device cannot be made.
        """
        name = next((name for name, client in self.clients.items() if client.device_name == device), None)
        if name is None:
            return  # it has been said twice
        shared = self.of_clients()
        shared.device_gone(name, device)
        self.remove_clients([name])
        shared.wait_to_make_anew(name)
        with self.one_maker:
            for settings in self.settings.clients:  # a reload may have come meanwhile
                if settings.name == name and name not in self.clients and not self._is_ending:
                    self.add_client(settings)

    def make_metrics(self, settings: Settings) -> MetricsServer | None:
        """The metrics server, not started yet; None without `metrics` settings. Raises HostError."""
        if settings.metrics is None:
            return None
        from lib.metrics import Seen, exposition  # 50 ms, and pywsgi: only those who want metrics pay for it
        from lib.metrics_server import MetricsServer

        seen = Seen(self.hubs, self.clients, self.tables)
        return MetricsServer(settings.metrics, lambda: exposition(seen), self.tables.logins, self.probes())

    def probes(self) -> ctl_health.Probes:
        """What `/healthz` and `/readyz` tell of."""
        return ctl_health.probes(self.hubs, self.clients, self.tables, lambda: self.ends_cleanly)

    def make_api(self, settings: Settings) -> ApiServer | None:
        """The server of the web API, not started yet; None without `api` settings. Raises HostError."""
        changes = self._changes() if settings.api is not None else None
        if settings.api is None or changes is None:
            return None
        from lib.api_confirm import Confirmations
        from lib.api_own import OwnHubs
        from lib.api_process import Process
        from lib.api_server import ApiServer

        self._confirmations = self._confirmations or Confirmations(lambda: changes.version)
        hubs = OwnHubs(self.hubs, self.clients, self.tables, self.taps, self.since)
        process = Process(hubs, self.tables.logins, changes, self._confirmations)
        return ApiServer(settings.api, process, self.probes())

    def recheck(self) -> None:
        """Have all sessions checked again soon, by the rules as they are then.

        That takes a while where passwords are hashed. So it is no part of reading a source, which would seem
        to fail where a check does, and may be stopped by a reload.
        """
        self._rules.set()

    def _hubs_of(self, source: EnrolSource) -> list[Hub]:
        """The hubs with a list of enrolled hosts."""
        return [hub for hub in self.hubs.values() if hub.settings.enrol == source]

    def _connected(self, source: EnrolSource) -> Iterator[enrol_book.Place]:
        for hub in self._hubs_of(source):
            for session in list(hub.sessions.values()):
                yield session.attachment.namespace.id, session.attachment.host

    def _end_revoked(self, source: EnrolSource, places: set[enrol_book.Place]) -> None:
        """End the sessions of hosts that are not enrolled any more, at once."""
        for hub in self._hubs_of(source):
            _tell_revoked(hub, hub_recheck.recheck_hosts(hub, places))

    def _keep_rechecking(self) -> None:
        while True:
            unjudged = any(hub.unchecked for hub in self.hubs.values())
            self._rules.wait(AGAIN_SECONDS if unjudged else None)
            self._rules.clear()
            self.tables.wait_rules(APPLY_SECONDS)
            for hub in list(self.hubs.values()):  # a reload may add or remove one meanwhile
                self._rechecking.attempt(self._recheck_hub, hub)

    def _recheck_hub(self, hub: Hub) -> None:
        _tell_revoked(hub, hub.recheck())


def label(settings: Settings) -> None:
    """Let lines of the log about each service have its labels."""
    log_setup.label({name: dict(observe.labels) for name, observe in settings.observed if observe.labels})


def _place(one: Hub | Client) -> Place:
    """A service as its hooks see it."""
    return place(one.settings, one.address if isinstance(one, Hub) else one.device_name)


def _tell_revoked(hub: Hub, lines: Sequence[str]) -> None:
    for line in lines:
        name, text = hub.settings.name, "service %s: %s"
        say(Entry.SESSION_REVOKED, text, name, line, fold=name, habit=BUSY, service=name, change=line)
