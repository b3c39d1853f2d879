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
    ctl_server,
    log_setup,
    service_preload,
    service_privileges,
    service_reload,
    service_rights,
    service_signals,
    service_threads,
    settings_needs,
    settings_workers,
    worker_process,
    worker_settings,
)
from lib.ctl_find import default_path
from lib.ctl_server import ControlSocket
from lib.errors import ConfigError, HostError
from lib.hub_tables import Tables
from lib.log_events import Entry
from lib.log_setup import over, say
from lib.service import SAME_SIGNAL
from lib.service_notify import Notifier, status_line
from lib.service_reload import Reread
from lib.service_scheduling import Breaths
from lib.service_supervisor import keep, watch_greenlets
from lib.settings import Settings
from lib.worker_control import Control
from lib.worker_crew import Crew, Replies
from lib.worker_forker import Forker
from lib.worker_front import Front

if TYPE_CHECKING:
    from lib.metrics_server import MetricsServer
    from lib.worker_metrics import WorkerMetrics

READY_SECONDS = 30.0
STATUS_SECONDS = 10.0
END_SECONDS = 3.0
"""How long workers may take to end."""


class WorkerService:
    """The hubs of one process, with their sessions in workers."""

    def __init__(
        self, settings: Settings, count: int, reread: Reread, every: float, notifier: Notifier
    ) -> None:
        """Listen, and make the process that workers are forked from. Raises HostError; nothing is left then.

        `count` is how many workers there are; the rest is as for Service.
        """
        self.settings, self._count, self._reread, self._every = settings, count, reread, every
        self._notifier = notifier
        self._account = service_privileges.find(settings.user) if settings.user else None
        self._ended, self._reload_wanted = Event(), Event()
        self._told = ""
        self._control: ControlSocket | None = None
        self._fronts: dict[str, Front] = {}
        self.metrics: MetricsServer | None = None
        self._whole: WorkerMetrics | None = None
        """The metrics of all workers, once somebody wants them."""
        self._is_ending = False
        self._forker = Forker(settings, self._account, worker_process.run)
        self._crew = Crew(self._forker, count, self._begin)
        self._tables = Tables(_of_main(settings))
        try:
            self._forker.wait_ready()
            service_preload.load(settings)
            for hub in settings.hubs:
                self._fronts[hub.name] = Front(hub)
            self.metrics = self.make_metrics(settings)
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
        if self._crew.failed:
            raise HostError(self._crew.failed)

    def _begin(self) -> dict[str, Any]:
        """What a worker is told first."""
        return {
            "do": "begin",
            "workers": self._count,
            "addresses": {name: list(front.address) for name, front in self._fronts.items()},
        }

    def _serve(self) -> None:
        watch_greenlets()
        gevent.signal_handler(signal.SIGUSR1, self._crew.tell_all, {"do": "drops"})
        self._open_control()
        self._drop_privileges()
        service_signals.release()
        service_threads.begin()
        self._crew.start()
        self._crew.wait_ready(READY_SECONDS)
        if self._crew.failed:
            return
        for front in self._fronts.values():
            front.start(self._crew)
        self._tables.start()
        if self.metrics is not None:
            self.metrics.start()
        text = "%d workers, in processes %s"
        pids = ", ".join(str(one.pid) for one in self._crew.workers.values())
        say(Entry.WORKERS, text, self._count, pids, workers=self._count)
        tasks = [
            keep("the log is kept in order", log_setup.tend),
            keep("settings are read again", self._reload_when_wanted),
            keep("workers and listeners are watched", self._watch),
        ]
        try:
            gc.freeze()
            self._ready()
            gevent.wait([self._ended, self._crew.gave_up], count=1)
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
        if self.metrics is not None:
            self.metrics.give_to(self._account.pw_uid)
        service_privileges.drop(self._account, frozenset(keep_))
        name = self._account.pw_name
        say(Entry.USER_CHANGED, "user %s from here on", name, user=name)

    def _open_control(self) -> None:
        path = self.settings.control
        if not path:
            return
        control = Control(self._crew, self._fronts, self._tables, lambda: self.settings.files, path)
        try:
            ctl_server.sweep()
            self._control = ControlSocket(path, control.handlers())
            if self._account is not None:
                self._control.give_to(self._account.pw_uid)
            say(Entry.CONTROL_LISTENING, "control socket %s", path, path=path)
        except OSError as error:
            reason = error.strerror or str(error)
            if path != default_path():
                raise HostError(f"control socket {path}: {reason}") from None
            say(Entry.CONTROL_FAILED, "control socket %s: %s", path, reason, path=path, reason=reason)

    # --- metrics

    def make_metrics(self, settings: Settings) -> MetricsServer | None:
        """The metrics server, not started yet; None without `metrics` settings. Raises HostError."""
        if settings.metrics is None:
            return None
        from lib.metrics_server import MetricsServer  # as in Parts: only for those who want metrics
        from lib.worker_metrics import WorkerMetrics

        if self._whole is None:
            self._whole = WorkerMetrics(self._crew, self._fronts, self._tables, lambda: self._is_ending)
        logins, probes = self._tables.logins, self._whole.probes()
        return MetricsServer(settings.metrics, self._whole.exposition, logins, probes)

    def _use_metrics(self, old: Settings, new: Settings) -> int:
        """Change what this process does itself; returns how many things those are."""
        self._tables.refresh()
        lines = self._tables.apply(_of_main(new))
        lines += service_reload.apply_metrics(self, old, new)
        lines += self._tables.leave(_of_main(new))
        for line in lines:
            say(Entry.RELOAD_CHANGE, "reload: %s", line, change=line)
        return len(lines)

    # --- the service manager

    def _fault(self) -> str:
        deaf = [
            f"service {name}: nothing is accepted" for name, one in self._fronts.items() if not one.listens
        ]
        return "; ".join(filter(None, (*deaf, self._crew.fault())))

    def _status(self) -> str:
        each = [one.sessions for one in self._crew.workers.values() if one.sessions]
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
            dead = bool(fault) and not any(True for _ in self._crew.ready())
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
                self._reload(bool(signalled))
            finally:
                if signalled:
                    self._ready()

    def _reload(self, signalled: bool) -> None:
        """Read the settings again. All workers look at them, then all use them; or nobody does."""
        step = Breaths()
        over(Entry.RELOAD_FAILED)
        try:
            new = self._reread(step)
            if new is self.settings:
                if signalled:
                    self._tables.refresh()
                    self._crew.tell_all({"do": "refresh"})
                say(Entry.RELOAD_DONE, "reload: %s", "nothing is different", added=0, changed=0, removed=0)
                return
            settings_workers.refuse(self.settings, new)
            service_preload.load(new, step)
            packed = worker_settings.pack(new, step)
            asked = self._crew.ask_all({"do": "check", "workers": self._count}, "checked", packed)
            refuse(asked)
            self._forker.use(packed)  # first: a worker that is made meanwhile has the new ones
        except (ConfigError, HostError, OSError) as error:
            for problem in error.problems if isinstance(error, ConfigError) else (error,):
                say(Entry.RELOAD_FAILED, "reload: %s", problem, service="", reason=problem)
            reason = "nothing was changed: the last good configuration stays in use"
            say(Entry.RELOAD_FAILED, "reload: %s", reason, service="", reason=reason)
            return
        old, self.settings = self.settings, new
        changed = self._use_metrics(old, new)
        self._crew.ask_all({"do": "use", "changed": changed}, "used")
        for hub in new.hubs:
            self._fronts[hub.name].use(hub)
        self._use_log(old, new)

    def _use_log(self, old: Settings, new: Settings) -> None:
        wanted, had = ((one.log_level, one.log_format, one.log_output) for one in (new, old))
        if wanted == had:
            return
        try:
            log_setup.setup(*wanted)
        except HostError as error:
            say(Entry.RELOAD_FAILED, "reload: %s", error, service="", reason=error)

    # --- the end

    def _drain(self) -> None:
        """Let clients of the hubs move to other hubs, until a second signal.

        Not where no worker can be made any more: the sooner all is started again, the less is lost.
        """
        self._is_ending = True
        self._notifier.tell("STOPPING=1", "STATUS=ending")
        for front in self._fronts.values():
            front.close()
        if self._crew.failed:
            return
        longest = max((hub.drain_timeout for hub in self.settings.hubs), default=0.0) + END_SECONDS
        draining, again = gevent.spawn(self._crew.drain, longest), gevent.spawn(self._wait_again)
        gevent.wait([draining, again], count=1)
        gevent.killall([draining, again])

    def _wait_again(self) -> None:
        gevent.sleep(SAME_SIGNAL)
        self._ended.clear()
        self._ended.wait()

    def _stop(self) -> None:
        if self._control is not None:
            self._control.close()
        self._close()

    def _close(self) -> None:
        if self.metrics is not None:
            self.metrics.stop()
        self._tables.stop()
        for front in self._fronts.values():
            front.close()
        self._forker.close()
        self._crew.stop(END_SECONDS)


def _of_main(settings: Settings) -> Settings:
    """What the main process does of the settings itself: it looks at the logins of those who read metrics."""
    return Settings(authers=settings.authers)


def refuse(asked: Replies) -> None:
    """Raise HostError where a worker cannot use the settings of a reload, with the words of the first one."""
    for number, reply in sorted(asked.items()):
        if reply is None:
            raise HostError(f"worker {number} has not looked at it")
        if reply["problems"]:
            raise HostError("; ".join(reply["problems"]))


def count(settings: Settings) -> int:
    """How many workers the settings ask for: 1 for none. Of `auto`, one for each processor we may use."""
    return settings.workers or len(os.sched_getaffinity(0))
