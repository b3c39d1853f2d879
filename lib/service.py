"""Runs settings: every hub and client of one process, until a signal ends it, through every reload.

Knows: what is shared between services, which signal does what, how the counters are printed.
Refuses to know: arguments and files (cli_main), what a reload does within a service (hub, client,
hub_tables).
"""

from __future__ import annotations

import gc
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import gevent
from gevent.event import Event

from lib import ctl_server, ids, log_setup, service_privileges
from lib.capture_service import Tapping
from lib.capture_taps import Taps
from lib.client import Client
from lib.ctl_client import default_path
from lib.ctl_handlers import handlers
from lib.ctl_server import ControlSocket
from lib.errors import ConfigError, HostError
from lib.forward_drop_reasons import Reason
from lib.framing import ReceiveBuffer
from lib.hub import Hub
from lib.hub_tables import Tables
from lib.log_events import Entry
from lib.log_setup import say
from lib.namespace_domains import Domains
from lib.service_notify import Notifier
from lib.service_scheduling import Turns
from lib.service_supervisor import keep
from lib.service_watchdog import Watchdog
from lib.settings import ClientSettings, HubSettings, Settings
from lib.settings_diff import differences

if TYPE_CHECKING:
    from lib.metrics_server import MetricsServer

LOAD_SECONDS = 2.0
"""How long hubs wait for their tables' sources before they begin to accept."""

SAME_SIGNAL = 0.2
"""Seconds within which a second signal to end is the first one again."""

Reread = Callable[[], Settings]


class Service:
    """The hubs and clients of one process."""

    def __init__(
        self,
        settings: Settings,
        reread: Reread | None = None,
        every: float = 0.0,
        notifier: Notifier | None = None,
    ) -> None:
        """Open every port and device; raises HostError where one fails, with nothing left open.

        reread gives the settings anew on SIGHUP, and every so many seconds if that is not 0; it may raise
        ConfigError and HostError. notifier is the service manager, where there is one.
        """
        self.settings = settings
        self._account = service_privileges.find(settings.user) if settings.user else None
        self.hubs: dict[str, Hub] = {}
        self.clients: dict[str, Client] = {}
        self.ended = Event()
        self._reread, self._every = reread, every
        self._buffer, self._turns = ReceiveBuffer(), Turns()
        self._reload_wanted = Event()
        self._notifier = notifier or Notifier()
        self._watchdog = Watchdog(self._notifier, self.hubs, self.clients)
        self._failure = ""
        self._control: ControlSocket | None = None
        self.taps = Taps(time.time_ns)
        self.tapping = Tapping(self.taps)
        self._metrics: MetricsServer | None = None
        self.tables = Tables(settings)
        self.domains = Domains(self.tables)
        try:
            self._metrics = self._make_metrics(settings)
            for hub in settings.hubs:
                self.hubs[hub.name] = self._make_hub(hub, settings)
            for client in settings.clients:
                self.clients[client.name] = self._make_client(client)
        except BaseException:
            self.stop()
            raise

    def run(self) -> None:
        """Serve until a signal asks to end. Raises HostError where a device goes away meanwhile."""
        for code in (signal.SIGTERM, signal.SIGINT):
            gevent.signal_handler(code, self.ended.set)
        gevent.signal_handler(signal.SIGUSR1, self.print_drops)
        gevent.signal_handler(signal.SIGHUP, self._reload_wanted.set)
        self._open_control()  # before the ports: who has read "listening" may ask
        self._drop_privileges()
        self.tapping.record(self.settings.recorder)
        self.tapping.tell_decisions(log_setup.is_on(Entry.DECISION))
        if self.settings.trace:
            self.tapping.trace(self.settings.trace)
        self.tables.rules_changed = self._recheck
        self.tables.start()
        self.tables.wait_loaded(LOAD_SECONDS)
        if self._metrics is not None:
            self._metrics.start()
        for hub in self.hubs.values():
            hub.start()
        for client in self.clients.values():
            client.start()
        tending = keep("the log is kept in order", log_setup.tend)
        reloading = keep("settings are read again", self._reload_when_wanted)
        gc.freeze()  # what is here now stays: the collector need not look at it again
        self._watchdog.start(self.tables.wait_loaded)
        self.ended.wait()
        reloading.kill()
        self._notifier.tell("STOPPING=1", "STATUS=ending")
        draining = [gevent.spawn(hub.drain) for hub in self.hubs.values()]
        again = gevent.spawn(self._wait_again)
        gevent.wait([gevent.spawn(gevent.joinall, draining), again], count=1)
        gevent.killall([*draining, again])
        if log_setup.is_on(Entry.DECISION):
            self.print_drops()
        self.stop()
        tending.kill()
        if self._failure:
            raise HostError(self._failure)

    def _wait_again(self) -> None:
        """For one more signal, after which nothing is waited for.

        Not for the same one twice: a supervisor tells every process of its service, and the executable's
        bootloader passes on what it is told.
        """
        gevent.sleep(SAME_SIGNAL)
        self.ended.clear()
        self.ended.wait()

    def _drop_privileges(self) -> None:
        """Become the user that was named; with clients it may still set addresses and routes."""
        if self._account is None:
            return
        keep = {service_privileges.NET_ADMIN} if self.clients else set()
        if any(hub.settings.port < 1024 for hub in self.hubs.values()):
            keep.add(service_privileges.NET_BIND_SERVICE)  # a reload may move it
        service_privileges.load_late()
        gevent.get_hub().threadpool.kill()  # it has looked up names; its threads would keep what we give up
        service_privileges.drop(self._account, frozenset(keep))
        name = self._account.pw_name
        say(Entry.USER_CHANGED, "user %s from here on", name, user=name)

    def _open_control(self) -> None:
        """Reply questions on the control socket, where that is possible."""
        path = self.settings.control
        try:
            if path:
                ctl_server.sweep()
                questions = handlers(self.hubs, self.clients, self.tables, lambda: self.settings.files)
                self._control = ControlSocket(path, {**questions, **self.tapping.handlers()})
            if self._control is not None and self._account is not None:
                self._control.give_to(self._account.pw_uid)  # who may end this process may ask it
        except OSError as error:
            reason = error.strerror or str(error)
            if path != default_path():  # somebody wanted it there
                self.stop()
                raise HostError(f"control socket {path}: {reason}") from None
            say(Entry.CONTROL_FAILED, "control socket %s: %s", path, reason, path=path, reason=reason)

    def stop(self) -> None:
        """Close every port and remove every device."""
        self._watchdog.stop()
        if self._control is not None:
            self._control.close()
        self.tapping.stop()
        if self._metrics is not None:
            self._metrics.stop()
        for client in self.clients.values():
            client.stop()
        for hub in self.hubs.values():
            hub.stop()
        self.tables.stop()

    def _make_hub(self, hub: HubSettings, settings: Settings) -> Hub:
        domain = self.domains.of(hub, settings.tables)
        return Hub(hub, domain, self.tables, self._buffer, self._turns, self.taps)

    def _make_client(self, client: ClientSettings) -> Client:
        return Client(client, self._buffer, self._device_gone, self.taps)

    def _make_metrics(self, settings: Settings) -> MetricsServer | None:
        if settings.metrics is None:
            return None
        from lib.metrics import Seen  # 50 ms, and pywsgi: only those who want metrics pay for it
        from lib.metrics_server import MetricsServer

        return MetricsServer(settings.metrics, Seen(self.hubs, self.clients, self.tables), self.tables.logins)

    def _apply_metrics(self, old: Settings, new: Settings) -> list[str]:
        """Serve metrics elsewhere, to others, or no more."""
        had, wanted = old.metrics, new.metrics
        if had == wanted:
            return []
        server = self._metrics
        if server is not None and had is not None and wanted is not None and had.address == wanted.address:
            server.settings = wanted
            return ["metrics: another path, or for others"]
        try:
            self._metrics = self._make_metrics(new)
        except HostError as error:
            say(Entry.RELOAD_FAILED, "reload: metrics: %s", error, service="", reason=error)
            self.settings = replace(self.settings, metrics=had)
            return []
        if server is not None:
            server.stop()
        if self._metrics is not None:
            self._metrics.start()
        return [f"metrics: {had.address if had else 'off'} -> {wanted.address if wanted else 'off'}"]

    def _device_gone(self, name: str) -> None:
        self._failure = f"device {name} has been removed"
        self.ended.set()

    def _recheck(self) -> None:
        for hub in self.hubs.values():
            for line in hub.recheck():
                name = hub.settings.name
                say(Entry.SESSION_REVOKED, "service %s: %s", name, line, service=name, change=line)

    # ------------------------------------------------------------ reload

    def _reload_when_wanted(self) -> None:
        """One reload after the other; a signal that comes during one asks for one more."""
        while True:
            signalled = self._reload_wanted.wait(self._every or None)
            self._reload_wanted.clear()
            if signalled:
                self._notifier.reloading()
            try:
                if signalled:
                    self.tables.refresh()
                self.reload()
            finally:
                if signalled:  # a manager that waits for it takes no other reload meanwhile
                    self._watchdog.ready()

    def reload(self) -> None:
        """Read the settings anew and go over to them by the difference.

        What does not check leaves everything as it is, and is logged.
        """
        if self._reread is None:
            return
        try:
            new = self._reread()
        except (ConfigError, HostError) as error:
            problems = error.problems if isinstance(error, ConfigError) else (error,)
            for problem in problems:
                say(Entry.RELOAD_FAILED, "reload: %s", problem, service="", reason=problem)
            reason = "the configuration has not changed"
            say(Entry.RELOAD_FAILED, "reload: %s", reason, service="", reason=reason)
            return
        old, self.settings = self.settings, new
        told = {str(warning) for warning in old.warnings}
        for warning in new.warnings:
            if str(warning) not in told:
                log_setup.say_problem(Entry.CONFIG_WARNING, warning)
        lines = [*self._apply_log(old, new), *self.tapping.record(new.recorder), *self.tables.apply(new)]
        lines += self._apply_metrics(old, new)
        counts: Counter[str] = Counter()
        for name in [name for name in self.hubs if name not in {hub.name for hub in new.hubs}]:
            self.hubs.pop(name).stop()
            lines.append(f"service {name}: removed")
            counts["-"] += 1
        for name in [name for name in self.clients if name not in {client.name for client in new.clients}]:
            self.clients.pop(name).stop()
            lines.append(f"service {name}: removed")
            counts["-"] += 1
        for hub in new.hubs:
            self._guarded(hub.name, lines, counts, lambda hub=hub: self._apply_hub(hub, new))  # type: ignore[misc]
        for client in new.clients:
            self._guarded(client.name, lines, counts, lambda client=client: self._apply_client(client))  # type: ignore[misc]
        self.domains.keep_only(hub.settings for hub in self.hubs.values())
        for line in lines:
            say(Entry.RELOAD_CHANGE, "reload: %s", line, change=line)
        summary = " ".join(f"{sign}{counts[sign]}" for sign in "+~-")
        text = f"done, services {summary}" if lines else "nothing is different"
        added, changed, removed = (counts[sign] for sign in "+~-")
        say(Entry.RELOAD_DONE, "reload: %s", text, added=added, changed=changed, removed=removed)

    def _guarded(
        self, name: str, lines: list[str], counts: Counter[str], apply: Callable[[], tuple[str, list[str]]]
    ) -> None:
        """Apply one service's settings; one that this host does not let us have stays as it is."""
        try:
            kind, done = apply()
        except HostError as error:
            text = "reload: service %s: %s; it stays as it was"
            say(Entry.RELOAD_FAILED, text, name, error, service=name, reason=error)
            return
        counts[kind] += bool(done)
        lines += [f"service {name}: {line}" for line in done]

    def _apply_hub(self, settings: HubSettings, new: Settings) -> tuple[str, list[str]]:
        hub = self.hubs.get(settings.name)
        if hub is None:
            self.hubs[settings.name] = hub = self._make_hub(settings, new)
            hub.start()
            return "+", ["added"]
        changed = differences(hub.settings, settings)
        done = hub.apply(settings, self.domains.of(settings, new.tables))
        return "~", [*changed, *done]

    def _apply_client(self, settings: ClientSettings) -> tuple[str, list[str]]:
        client = self.clients.get(settings.name)
        changed = differences(client.settings, settings) if client is not None else []
        if client is not None and not changed:
            return "~", []
        done = client.apply(settings) if client is not None else None
        if done is None:
            if client is not None:
                self.clients.pop(settings.name).stop()
            self.clients[settings.name] = made = self._make_client(settings)
            made.start()
            return ("~", [*changed, "made anew"]) if client is not None else ("+", ["added"])
        return "~", [*changed, *done]

    def _apply_log(self, old: Settings, new: Settings) -> list[str]:
        wanted, had = ((s.log_level, s.log_format, s.log_output) for s in (new, old))
        if wanted == had and new.log_rotation == old.log_rotation:
            return []
        try:
            log_setup.setup(*wanted, new.log_rotation)
        except HostError as error:
            say(Entry.RELOAD_FAILED, "reload: %s", error, service="", reason=error)
            return []
        self.tapping.tell_decisions(log_setup.is_on(Entry.DECISION))
        return [f"log: {', '.join(had)} -> {', '.join(wanted)}"]

    # ------------------------------------------------------------ counters

    def print_drops(self) -> None:
        """Log what was dropped so far by namespace, session and reason, and who was refused why."""
        total = 0
        for namespace, session, drops in self._drops():
            for reason, count in drops.most_common():
                total += count
                say(
                    Entry.DROP_COUNT,
                    "dropped %d %s namespace=%s session=%s (%s)",
                    *(count, reason.value, namespace, session, reason.doc),
                    namespace=namespace,
                    session=session,
                    reason=reason.value,
                    count=count,
                )
        if not total:
            say(Entry.DROP_COUNT, "dropped nothing", namespace="", session="", reason="", count=0)
        for hub in self.hubs.values():
            for why, count in hub.refused.most_common():
                name = hub.settings.name
                say(
                    Entry.REFUSAL_COUNT,
                    "refused %d %s service=%s (%s)",
                    *(count, why.value, name, why.doc),
                    service=name,
                    reason=why.value,
                    count=count,
                )

    def _drops(self) -> Iterator[tuple[str, str, Counter[Reason]]]:
        for domain in self.domains.all.values():
            for namespace in domain.namespaces.values():
                name = ids.format_uuid(namespace.id)
                for attachment in namespace.attachments():
                    yield name, f"{attachment.host}@{attachment.peer}", attachment.traffic.drops
                yield name, "(ended)", namespace.gone.drops
            yield "(gone)", "(ended)", domain.gone.drops
        for client in self.clients.values():
            yield "-", client.settings.host, client.traffic.drops
