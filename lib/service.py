"""A process: its start, the signals that it obeys, and its end.

Knows: what each signal does, what is opened before privileges are dropped, and how the end is waited for.
Refuses to know: arguments and files (cli_main), what is served (service_parts), what a reload does
(service_reload).
"""

from __future__ import annotations

import gc
import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING

import gevent
from gevent.event import Event
from gevent.pool import Group

from lib import (
    ctl_server,
    log_setup,
    service_preload,
    service_privileges,
    service_rights,
    service_signals,
    service_threads,
    settings_needs,
    stream_moulds,
    stream_options,
)
from lib.ctl_find import default_path
from lib.ctl_handlers import handlers
from lib.ctl_server import ControlSocket
from lib.errors import HostError
from lib.log_events import Entry
from lib.log_setup import say
from lib.service_drops import say_drops
from lib.service_notify import Notifier
from lib.service_parts import Parts
from lib.service_policy_watch import PolicyWatch
from lib.service_reload import Reloads, Reread
from lib.service_supervisor import Task, keep, watch_greenlets
from lib.service_watchdog import Watchdog
from lib.settings import Settings

if TYPE_CHECKING:
    from lib.service_changes import Reading, ServiceChanges

LOAD_SECONDS = 2.0
"""How long hubs wait for their tables' sources before they begin to accept."""

SAME_SIGNAL = 0.2
"""Seconds within which a second signal to end counts as a copy of the first one."""


class Service:
    """The hubs and clients of one process, from their start to their end."""

    def __init__(
        self,
        settings: Settings,
        reread: Reread,
        every: float,
        notifier: Notifier,
        reading: Reading | None = None,
    ) -> None:
        """Open every port and device. Raises HostError where one cannot be opened; nothing is left open then.

        `reread` reads the settings again: it is called on SIGHUP, and once in `every` seconds where that is
        not 0. `notifier` sends notifications to the service manager, where there is one. `reading` is what
        reads, for the web API.
        """
        self._account = service_privileges.find(settings.user) if settings.user else None
        self._ended = Event()
        self._every = every
        self._reload_wanted = Event()
        self._failure = ""
        self._making = Group()
        """Greenlets that make a client anew."""
        self._control: ControlSocket | None = None
        self._tending = Task("the log is kept in order", log_setup.tend)
        for code in (signal.SIGTERM, signal.SIGINT):
            gevent.signal_handler(code, self._ended.set)
        gevent.signal_handler(signal.SIGHUP, self._reload_wanted.set)
        service_preload.load(settings)
        self._reading, self._reloads = reading, Reloads(reread)
        self._parts = Parts(settings, self._device_gone, self._changes)
        self._reloads.parts = self._parts
        self._policy = PolicyWatch(lambda: self._parts.settings, self._parts.tables)
        self._reloads.after = self._policy.wake
        self._notifier = notifier
        self._watchdog = Watchdog(self._notifier, self._parts.hubs, self._parts.clients)

    def run(self) -> None:
        """Serve until a signal asks to end. Raises HostError where a removed device cannot be made anew."""
        with ExitStack() as ends:  # whatever comes, nothing is left behind on the host
            ends.callback(self._stop)
            self._serve()
            self._parts.ends_cleanly = not self._failure
            self._drain()
        if self._failure:
            raise HostError(self._failure)

    def _serve(self) -> None:
        """Start everything, and wait until a signal asks to end. Raises HostError."""
        parts = self._parts
        watch_greenlets()
        gevent.signal_handler(signal.SIGUSR1, say_drops, parts)
        service_signals.release()
        self._open_control()  # before the ports: who has read "listening" may ask
        if self._account is not None:
            parts.give_to(self._account.pw_uid)
        self._drop_privileges()
        service_threads.begin()
        parts.tapping.record(parts.settings.recorder)
        parts.tapping.tell_decisions(log_setup.is_on(Entry.DECISION))
        if parts.settings.trace:
            parts.tapping.trace(parts.settings.trace)
        parts.start_tables()
        parts.tables.wait_loaded(LOAD_SECONDS)
        parts.start_services()
        self._tending.start()
        reloading = keep("settings are read again", self._reload_when_wanted)
        try:
            gc.freeze()  # what is here now stays: the collector need not look at it again
            self._watchdog.start(parts.tables.wait_loaded)
            self._policy.start()
            self._ended.wait()
        finally:
            reloading.kill()

    def _drain(self) -> None:
        """Let clients of the hubs move to other hubs, until a second signal."""
        parts = self._parts
        self._notifier.tell("STOPPING=1", "STATUS=ending")
        draining, again = gevent.spawn(self._drain_hubs), gevent.spawn(self._wait_again)
        gevent.wait([draining, again], count=1)
        gevent.killall([draining, again])
        if log_setup.is_on(Entry.DECISION):
            say_drops(parts)

    def _drain_hubs(self) -> None:
        """Run what services want to be run before they end, then drain all hubs at the same time."""
        self._parts.tell_end()
        self._parts.cluster.drain()
        draining = Group()
        for hub in self._parts.hubs.values():
            draining.spawn(hub.drain)
        try:
            draining.join()
        finally:
            draining.kill()
        self._parts.cluster.leave()

    def _wait_again(self) -> None:
        """Wait for a second signal to end, after which clients are waited for no longer.

        A copy of the first signal does not count: a supervisor signals every process of its service, and the
        executable's bootloader passes on each signal that it gets.
        """
        gevent.sleep(SAME_SIGNAL)
        self._ended.clear()
        self._ended.wait()

    def _drop_privileges(self) -> None:
        """Become the user of the settings, with the rights that its features need from then on."""
        if self._account is None:
            return
        keep = {service_rights.NUMBERS[name] for name in settings_needs.kept(self._parts.settings)}
        service_preload.load_all()
        if service_privileges.NET_ADMIN not in keep:
            hubs = self._parts.settings.hubs
            stream_moulds.keep({stream_options.by_name(hub.transport.congestion) for hub in hubs} - {""})
        log_setup.pause()
        gevent.get_hub().threadpool.kill()  # it has looked up names; its threads would keep what we give up
        service_privileges.drop(self._account, frozenset(keep))
        name = self._account.pw_name
        say(Entry.USER_CHANGED, "user %s from here on", name, user=name)

    def _open_control(self) -> None:
        """Open the control socket. Raises HostError where a path that the user chose cannot be opened."""
        parts = self._parts
        path = parts.settings.control
        try:
            if path:
                ctl_server.sweep()
                questions = handlers(
                    parts.hubs, parts.clients, parts.tables, lambda: parts.settings.files, path
                )
                self._control = ControlSocket(path, {**questions, **parts.tapping.handlers()})
            if self._control is not None and self._account is not None:
                self._control.give_to(self._account.pw_uid)  # who may end this process may ask it
            if self._control is not None:
                say(Entry.CONTROL_LISTENING, "control socket %s", path, path=path)
        except OSError as error:
            reason = error.strerror or str(error)
            if path != default_path():  # somebody wanted it there
                raise HostError(f"control socket {path}: {reason}") from None
            say(Entry.CONTROL_FAILED, "control socket %s: %s", path, reason, path=path, reason=reason)

    def _stop(self) -> None:
        """Close the control socket and every port, and remove every device."""
        with ExitStack() as steps:  # the last one comes first; what fails keeps none of the others
            steps.callback(self._tending.kill)
            steps.callback(self._parts.stop)
            steps.callback(self._policy.stop)
            if self._control is not None:
                steps.callback(self._control.close)
            steps.callback(self._making.kill)
            steps.callback(self._watchdog.stop)

    def _changes(self) -> ServiceChanges | None:
        """What the web API changes the configuration by, from the first time that there is one."""
        from lib.service_changes import ServiceChanges

        if self._reading is not None and not isinstance(self._reloads, ServiceChanges):
            self._reloads = ServiceChanges(self._reading, self._reloads)
        return self._reloads if isinstance(self._reloads, ServiceChanges) else None

    def _device_gone(self, name: str) -> None:
        self._making.spawn(self._make_anew, name)  # it is one of the client's own greenlets that says so

    def _make_anew(self, name: str) -> None:
        try:
            if not self._ended.is_set():
                self._parts.make_anew(name)
        except HostError as error:
            self._failure = f"device {name} has been removed, and cannot be made anew: {error}"
            self._ended.set()

    def _reload_when_wanted(self) -> None:
        """Run reloads, one after the other. A signal that comes during a reload asks for one more."""
        while True:
            signalled = self._reload_wanted.wait(self._every or None)
            self._reload_wanted.clear()
            if signalled:
                self._notifier.reloading()
            try:
                self._reloads.reload(timed=not signalled)
            finally:
                if signalled:  # a manager that waits for it takes no other reload meanwhile
                    self._watchdog.ready()
