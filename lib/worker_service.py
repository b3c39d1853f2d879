"""The main process of a hub with workers: it listens, keeps the workers, reads the configuration, is asked.

Knows: the order of the start and of the end, what each signal does, what a reload may change.
Refuses to know: what a session is; the workers have them all (worker_process).

Everybody outside sees one process: one pid for the service manager, one control socket, one log, and the
signals of a process without workers (service).
"""

from __future__ import annotations

import gc
import os
import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import gevent
from gevent.event import Event

from lib import (
    cluster_far_hubs,
    cluster_running,
    ctl_server,
    log_setup,
    namespace_titles,
    service_preload,
    service_privileges,
    service_rights,
    service_signals,
    service_threads,
    settings_needs,
    settings_workers,
    worker_log,
    worker_run,
    worker_settings,
)
from lib.ctl_find import default_path
from lib.ctl_server import ControlSocket
from lib.datagram_socket import DatagramSocket
from lib.errors import HostError
from lib.hub_tables import Tables
from lib.log_events import Entry
from lib.log_setup import say
from lib.namespace_domains import Domains
from lib.observe_services import ObserveServices
from lib.service import SAME_SIGNAL
from lib.service_changes import Reading
from lib.service_notify import Notifier, status_line
from lib.service_parts import label
from lib.service_supervisor import keep, watch_greenlets
from lib.settings import Settings
from lib.settings_memory import MAX_CLIENTS
from lib.source_given import Given
from lib.stream_listen import listen
from lib.worker_changes import WorkerChanges, of_main
from lib.worker_control import Control
from lib.worker_crew import Crew
from lib.worker_forker import Forker
from lib.worker_front import Front
from lib.worker_hooks import FrontHooks
from lib.worker_named import NamedClients
from lib.worker_names import KeptNames
from lib.worker_notify import NotifyWorkers
from lib.worker_pools import KeptLists
from lib.worker_ports import WorkerPorts
from lib.worker_sources import Sources
from lib.worker_state import CLUSTER_NUMBER

if TYPE_CHECKING:
    from lib.api_confirm import Confirmations
    from lib.api_server import ApiServer
    from lib.metrics_server import MetricsServer
    from lib.observe_watch import ObserveWatch
    from lib.worker_metrics import WorkerMetrics

READY_SECONDS = 30.0
LOAD_SECONDS, FILL_SECONDS = 2.0, 15.0
"""How long a worker waits before it takes connections: at the start for sources, as a hub does, and
where they have been read for its tables to be filled, so that it serves with all rows."""
STATUS_SECONDS = 10.0
END_SECONDS = 3.0
"""How long workers may take to end."""


class WorkerService:
    """The hubs of one process, with their sessions in workers."""

    def __init__(
        self, settings: Settings, count: int, reading: Reading, every: float, notifier: Notifier
    ) -> None:
        """Listen, and make the process that workers are forked from. Raises HostError; nothing is left then.

        `count` is how many workers there are; the rest is as for Service.
        """
        self.settings, self.count, self._every = settings, count, every
        self._changes = WorkerChanges(reading, self)
        self._notifier = notifier
        self._account = service_privileges.find(settings.user) if settings.user else None
        self._ended, self._reload_wanted = Event(), Event()
        self._told = ""
        self._control: ControlSocket | None = None
        self.fronts: dict[str, Front] = {}
        self._hooks = FrontHooks(self.fronts)
        self.observe = ObserveServices(self.fronts, {}, self._observers)
        self.metrics: MetricsServer | None = None
        self.api: ApiServer | None = None
        self._confirmations: Confirmations | None = None
        self._whole: WorkerMetrics | None = None
        """The metrics and probes of all workers, once somebody wants them."""
        self._is_ending = False
        self._links: Any = None
        """The socket that links of the cluster are accepted on: it stays where its process does not."""
        self._entrypoint: DatagramSocket | None = None
        """That of the entrypoint, which all workers send from: likewise."""
        self.forker = Forker(settings, self._account, worker_run.run)
        room = MAX_CLIENTS * len(settings.hubs)
        self.crew = Crew(self.forker, count, room, self._begin, bool(worker_settings.outside(settings)))
        given = Given()
        self.tables = Tables(of_main(settings), given)
        self._names = KeptNames(self.crew)
        worker_log.of_main(self.crew.heard)
        self._lists, self._named = KeptLists(self.crew), NamedClients(self.crew)
        self.notify = NotifyWorkers(Domains(self.tables), self.crew, settings.hubs[0])
        self.sources = Sources(settings, of_main(settings), self.crew, given)
        self.ports = WorkerPorts(self.crew, self.fronts)
        namespace_titles.use(settings.titles)
        label(settings)
        looked_at = self.crew, self.fronts, self.tables, self.sources
        control = Control(*looked_at, lambda: self.settings.files, settings.control)
        self._questions = control.handlers()
        try:
            self.forker.wait_ready()
            service_preload.load(settings)
            for hub in settings.hubs:
                self.fronts[hub.name] = front = Front(hub)
                self._hooks.opened(front)
            self.ports.open()
            if settings.cluster is not None:
                self._links = listen(settings.cluster.host, settings.cluster.port)
                cluster_running.by_another.append(settings.cluster.name)
            if (found := settings_workers.entrypoint(settings)) is not None:
                self._entrypoint = cluster_far_hubs.opened(found[1])
            self.metrics, self.api = self.make_metrics(settings), self.make_api(settings)
        except BaseException:
            self._close()
            raise
        for code in (signal.SIGTERM, signal.SIGINT):
            gevent.signal_handler(code, self._ended.set)
        gevent.signal_handler(signal.SIGHUP, self._reload_wanted.set)

    def run(self) -> None:
        """Serve until a signal asks to end. Raises HostError where no worker can be made any more."""
        with ExitStack() as ends:
            ends.callback(self._stop)
            self._serve()
            self._drain()
        if self.crew.failed:
            raise HostError(self.crew.failed)

    def _begin(self, number: int) -> tuple[dict[str, Any], tuple[int, ...]]:
        """What a worker is told first, and what is accepted on or sent from outside of this hub."""
        addresses = {name: list(front.address) for name, front in self.fronts.items()}
        descriptors = (self._links.fileno(),) if number == CLUSTER_NUMBER and self._links is not None else ()
        if self._entrypoint is not None:
            descriptors = (self._entrypoint.sock.fileno(),)
        seconds = FILL_SECONDS if self.sources.loaded else LOAD_SECONDS
        return {"workers": self.count, "addresses": addresses, "load_seconds": seconds}, descriptors

    def _serve(self) -> None:
        watch_greenlets()
        gevent.signal_handler(signal.SIGUSR1, self.crew.tell_all, {"do": "drops"})
        self._open_control()
        self._drop_privileges()
        service_signals.release()
        service_threads.begin()
        self.crew.start()
        self.sources.start()
        self.tables.start()
        self.crew.wait_ready(READY_SECONDS)
        if worker_settings.outside(self.settings):
            self.crew.wait_knowing(READY_SECONDS)
        if self.crew.failed:
            return
        self.notify.apply(self.settings.notify)
        for front in self.fronts.values():
            front.start(self.crew)
        self._hooks.serve()
        for hub in self.settings.hubs:
            self.observe.serves(hub)
        self.observe.apply()
        self.notify.start()
        for server in (self.metrics, self.api):
            if server is not None:
                server.start()
        text = "%d workers, in processes %s"
        pids = ", ".join(str(one.pid) for one in self.crew.ready())
        say(Entry.WORKERS, text, self.count, pids, workers=self.count)
        tasks = [
            keep("the log is kept in order", log_setup.tend),
            keep("settings are read again", self._reload_when_wanted),
            keep("workers and listeners are watched", self._watch),
        ]
        try:
            gc.freeze()
            self._ready()
            gevent.wait([self._ended, self.crew.gave_up], count=1)
        finally:
            for task in tasks:
                task.kill()

    def _drop_privileges(self) -> None:
        """As Service, with the rights to listen anew. The workers have dropped theirs already."""
        if self._account is None:
            return
        keep_ = {service_rights.NUMBERS[name] for name in settings_needs.kept(self.settings)}
        service_preload.load_all()
        log_setup.pause()
        gevent.get_hub().threadpool.kill()
        for server in (self.metrics, self.api):
            if server is not None:
                server.give_to(self._account.pw_uid)
        self.ports.give_to(self._account.pw_uid)
        service_privileges.drop(self._account, frozenset(keep_))
        name = self._account.pw_name
        say(Entry.USER_CHANGED, "user %s from here on", name, user=name)

    def _open_control(self) -> None:
        path = self.settings.control
        if not path:
            return
        try:
            ctl_server.sweep()
            self._control = ControlSocket(path, self._questions)
            if self._account is not None:
                self._control.give_to(self._account.pw_uid)
            say(Entry.CONTROL_LISTENING, "control socket %s", path, path=path)
        except OSError as error:
            reason = error.strerror or str(error)
            if path != default_path():
                raise HostError(f"control socket {path}: {reason}") from None
            say(Entry.CONTROL_FAILED, "control socket %s: %s", path, reason, path=path, reason=reason)

    # --- metrics and the web API

    def make_metrics(self, settings: Settings) -> MetricsServer | None:
        """The metrics server, not started yet; None without `metrics` settings. Raises HostError."""
        if settings.metrics is None:
            return None
        from lib.metrics_server import MetricsServer  # as in Parts: only for those who want metrics

        whole = self._of_all()
        return MetricsServer(settings.metrics, whole.exposition, self.tables.logins, whole.probes())

    def _of_all(self) -> WorkerMetrics:
        """Metrics and probes of all workers."""
        from lib.worker_metrics import WorkerMetrics

        if self._whole is None:
            self._whole = WorkerMetrics(
                *(self.crew, self.fronts, self.tables, self.sources), lambda: self._is_ending
            )
        return self._whole

    def make_api(self, settings: Settings) -> ApiServer | None:
        """The server of the web API, not started yet; None without `api` settings. Raises HostError."""
        if settings.api is None:
            return None
        from lib.api_confirm import Confirmations
        from lib.api_process import Process
        from lib.api_server import ApiServer
        from lib.worker_hubs import WorkerHubs

        self._confirmations = self._confirmations or Confirmations(lambda: self._changes.version)
        hubs = WorkerHubs(self.crew, self.fronts, self._questions)
        process = Process(hubs, self.tables.logins, self._changes, self._confirmations)
        return ApiServer(settings.api, process, self._of_all().probes())

    def _observers(self) -> ObserveWatch:
        from lib.worker_observe import WorkerObserve  # only for those who name an observer

        return WorkerObserve(self.fronts, self.crew)

    # --- the service manager

    def _fault(self) -> str:
        deaf = [
            f"service {name}: nothing is accepted" for name, one in self.fronts.items() if not one.listens
        ]
        return "; ".join(filter(None, (*deaf, self.crew.fault())))

    def _status(self) -> str:
        each = [one.sessions for one in self.crew.workers.values() if one.sessions]
        return status_line([sum(some) for some in zip(*each, strict=True)] if each else [], ())

    def _ready(self) -> None:
        self._told = self._status()
        self._notifier.tell("READY=1", f"STATUS={self._told}")

    def _watch(self) -> None:
        """Feed the watchdog while workers serve: one that is being replaced is no fault of the process."""
        due = self._notifier.watchdog / 2 or STATUS_SECONDS
        silent = False
        while True:
            gevent.sleep(min(due, STATUS_SECONDS))
            fault = self._fault()
            dead = bool(fault) and not any(True for _ in self.crew.ready())
            if dead and not silent:
                say(Entry.NO_SIGN_OF_LIFE, "%s: %s", fault, "no worker serves", reason=fault)
            silent = dead
            status = f"broken: {fault}" if fault else self._status()
            lines = [f"STATUS={status}"] if status != self._told else []
            self._told = status
            if self._notifier.watchdog and not dead:
                lines.append("WATCHDOG=1")
            if lines:
                self._notifier.tell(*lines)

    # --- reloads

    def _reload_when_wanted(self) -> None:
        while True:
            signalled = self._reload_wanted.wait(self._every or None)
            self._reload_wanted.clear()
            if signalled:
                self._notifier.reloading()
            try:
                self._changes.reload(timed=not signalled)
            finally:
                if signalled:
                    self._ready()

    # --- the end

    def _drain(self) -> None:
        """Let clients of the hubs move to other hubs, until a second signal.

        Not where no worker can be made any more: the sooner all is started again, the less is lost.
        """
        self._is_ending = True
        self._notifier.tell("STOPPING=1", "STATUS=ending")
        if self.crew.failed:
            return
        draining, again = gevent.spawn(self._drain_hubs), gevent.spawn(self._wait_again)
        gevent.wait([draining, again], count=1)
        gevent.killall([draining, again])

    def _drain_hubs(self) -> None:
        """Run what services want to be run before they end, while they serve; then drain all workers."""
        self._hooks.end()
        for front in self.fronts.values():
            front.close()
        longest = max((hub.drain_timeout for hub in self.settings.hubs), default=0.0) + END_SECONDS
        self.crew.drain(longest)

    def _wait_again(self) -> None:
        gevent.sleep(SAME_SIGNAL)
        self._ended.clear()
        self._ended.wait()

    def _stop(self) -> None:
        if self._control is not None:
            self._control.close()
        self.notify.stop()
        self.observe.stop()
        self._hooks.end()  # of services that are not drained
        self._close()

    def _close(self) -> None:
        if self._confirmations is not None:
            self._confirmations.stop()
        for server in (self.metrics, self.api):
            if server is not None:
                server.stop()
        if self._confirmations is not None:
            from lib import api_audit

            api_audit.finish()
        self.sources.stop()
        self._lists.stop()
        self._names.stop()
        self.tables.stop()
        for front in self.fronts.values():
            front.close()
        for port in (self._links, self._entrypoint):
            if port is not None:
                port.close()
        self.forker.close()
        self.crew.stop(END_SECONDS)
        self._hooks.gone()
        self.ports.close()


def count(settings: Settings) -> int:
    """How many workers the settings ask for: 1 for none. Of `auto`, one for each processor we may use."""
    return settings.workers or len(os.sched_getaffinity(0))
