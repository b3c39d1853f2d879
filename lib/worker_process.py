"""A worker: it serves the connections that it is given, with all that a hub is, to the main process's end.

Knows: what is done for each message of the main process, and that a worker without a main process ends.
Refuses to know: who gets which connection (worker_front), what the main process makes of it (worker_crew),
how hubs work (hub).

    begin        the addresses of the services: hubs are made, tables are filled -> "ready"
    connection   a client's, for a service; not by the channel, but by worker_handover
    control      somebody asks (ctl_server), or the main process for its metrics, probes and web API
    link         our end of a pair of sockets with another worker, or the cluster's process
    datagrams    the socket of a service's UDP port for this worker, or that there is none any more
    linked       all that there are now are linked: once it is known which hosts they have -> "knows"
    check, use   the settings of a reload: first all workers look at them, then all use them
    reading      what was read from a source, or that it fails -> "judged" (source_given)
    forget       a source that no table has any more
    pool, pools  a list of addresses that was asked for; one has changed (worker_pools)
    name         whether a live session here has a host name; named-so: may one have it (worker_names)
    named        whether a client may stay that a trusted proxy has named (worker_named)
    drops        drop counters go to the log
    drain, end   clients are told to move; all ends
    ping         -> "pong", with sessions and faults
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import gevent
import gevent.socket
from gevent.pool import Group

from lib import (
    ctl_enrol,
    ctl_health,
    datagram_open,
    log_setup,
    push_routers,
    service_notify,
    service_preload,
    service_reload,
    service_supervisor,
    service_threads,
    settings_workers,
    worker_channel,
    worker_figures,
    worker_log,
    worker_settings,
)
from lib.cluster_known import KNOW_SECONDS
from lib.ctl_handlers import handlers
from lib.ctl_server import SECONDS, Answers, Handlers, Streamed
from lib.datagram_part import Part
from lib.errors import ConfigError, HostError
from lib.hub import Hub
from lib.hub_tables import Tables
from lib.log_events import Entry
from lib.push_sharing import Sharing
from lib.service_drops import say_drops
from lib.service_policy_watch import PolicyWatch
from lib.service_scheduling import Breaths
from lib.service_watchdog import Watchdog
from lib.settings import Settings
from lib.settings_cluster import EntrypointSettings
from lib.source_given import Given
from lib.worker_channel import Channel
from lib.worker_forker import Acceptors
from lib.worker_handover import Over, Taker
from lib.worker_links import WorkerLinks
from lib.worker_named import AskedCounts
from lib.worker_names import AskedNames
from lib.worker_parts import WorkerParts
from lib.worker_pools import AskedLists, sharing
from lib.worker_state import CLUSTER_NUMBER, name_of

if TYPE_CHECKING:
    from lib.worker_told import Told

LATER_SECONDS = 1.0
"""How much longer a worker waits for what the cluster's process has to tell than that does for others."""
FIRST = 1
"""The worker that says for all of them what all of them do: which tables were read, what a reload changed."""


class Links(Protocol):
    """What a process of a hub has of the others (worker_links, worker_relay)."""

    def start(self) -> None:
        """Know the hosts there, and tell of those here."""

    def stop(self) -> None:
        """Pass nothing on any more."""

    def follow(self, entry: EntrypointSettings | None) -> None:
        """After a reload: hosts are those of the namespaces of the services now, with this entrypoint."""

    def drain(self) -> None:
        """The hub ends: its clients move."""

    def add(self, name: str, sock: Any) -> None:
        """There is a new link with another process: our end of a pair of sockets."""


class Worker:
    """One worker process."""

    def __init__(
        self, number: int, channel: Channel, settings: Settings, tables: Tables, acceptors: Acceptors
    ) -> None:
        self.number, self._channel = number, channel
        self._settings, self._tables, self._acceptors = settings, tables, acceptors
        assert isinstance(tables.origin, Given)
        self._given = tables.origin
        self._given.judge = lambda outcome: self._send({"did": "judged", **outcome})
        self._parts: WorkerParts | None = None
        self._answers: Answers | None = None
        self._links: Links | None = None
        self._taker: Taker | None = None
        """Where connections come from."""
        self._watchdog: Watchdog | None = None
        self._policy: PolicyWatch | None = None
        self._new_pools: Callable[[], Sharing | None] = lambda: None
        self._told: Told | None = None
        """Its replies to the web API, once that asks."""
        self._next: Settings | None = None
        """The settings of a reload that this worker has looked at."""
        self._written = self._next_written = settings
        """The settings in use, and those of that reload, as all processes of the hub have them."""
        self._lists = AskedLists(channel.send)
        self._counts, self._names = AskedCounts(self._send), AskedNames(self._send)
        self._pools: Sharing | None = None
        """Its part in the pools of addresses."""
        self._spawned = Group()
        self._in_order: dict[str, Callable[..., None]] = {
            "begin": self._begin,
            "datagrams": self._datagrams,
            "link": self._link,
            "linked": self._linked_all,
            "reading": self._given.take,
            "forget": self._given.forget,
            "pool": self._lists.hear,
            "named": self._counts.hear,
            "named-so": self._names.hear,
            "pools": self._look_at_pools,
        }
        self._beside: dict[str, Callable[..., None]] = {
            "control": self._control,
            "check": self._check,
            "use": self._use,
            "drops": self._drops,
            "drain": self._drain,
            "ping": self._ping,
            "name": self._look_for_name,
        }
        """What may take a while, and must not hold up connections."""

    def run(self) -> int:
        """Do what the main process says until it ends; returns an exit status."""
        try:
            while found := self._channel.receive():
                message, descriptors = found
                if message["do"] == "end":
                    break
                if (act := self._in_order.get(message["do"])) is not None:
                    act(message, *descriptors)
                else:
                    self._spawned.spawn(self._beside[message["do"]], message, *descriptors)
        except HostError as error:
            self._send({"did": "failed", "error": str(error)})
            return 1
        finally:
            self._spawned.kill(block=False)
            self._stop()
        return 0

    def _send(self, message: dict[str, object], *descriptors: int) -> None:
        try:
            self._channel.send(message, *descriptors)
        except OSError:
            pass  # the main process has ended: so does this one, at its next message

    def _begin(self, message: dict[str, Any], *descriptors: int) -> None:
        workers = int(message["workers"])
        settings = worker_settings.of_worker(self._settings, workers)
        part = Part(max(0, self.number - 1), workers)
        shared = self._tables, self._acceptors, message["addresses"]
        with_main = self._counts.named, self._names.claim, self._send
        self._parts = parts = WorkerParts(settings, *shared, *with_main, part)
        parts.looker.wanted = bool(self._written.notify)
        self._links = self._linked(parts, workers, *descriptors)
        service_threads.begin()
        service_supervisor.watch_greenlets()
        parts.tapping.record(settings.recorder)
        parts.tapping.tell_decisions(log_setup.is_on(Entry.DECISION))
        if settings.trace:
            parts.tapping.trace(settings.trace)
        files = lambda: parts.settings.files  # noqa: E731
        served = self._served(parts)
        asked = handlers(served, parts.clients, parts.tables, files, "")
        for_main: Handlers = {
            "metrics": self._metrics,
            "probe": self._probe,
            "api": self._api,
            "look": lambda request: ctl_enrol.looked(served, parts.tables, request),
        }
        self._answers = Answers({**asked, **parts.tapping.handlers(), **for_main})
        self._answers.task.start()
        self._watchdog = Watchdog(service_notify.Notifier(), served, parts.clients)
        self._policy = PolicyWatch(lambda: parts.settings, parts.tables)
        self._spawned.spawn(self._start, parts, float(message["load_seconds"]))

    def _linked(self, parts: WorkerParts, workers: int, *descriptors: int) -> Links:
        """The links with other processes; the descriptors are those that come with "begin"."""
        *outside, sock, ends = descriptors
        self._taker = Taker(sock, ends, self._take)
        self._taker.start()
        others = {name_of(number) for number in range(1, workers + 1)} - {name_of(self.number)}
        if worker_settings.outside(self._written):
            others.add(name_of(CLUSTER_NUMBER))
        entry = settings_workers.entrypoint(self._written)
        port = datagram_open.shared(outside[0]) if outside else None
        links = WorkerLinks(name_of(self.number), parts.hubs, others, entry and entry[1], port)
        self._new_pools = lambda: sharing(self._written.cluster, self._lists, links, parts.tables)
        return links

    def _datagrams(self, message: dict[str, Any], *descriptors: int) -> None:
        assert self._parts is not None
        self._parts.datagrams[message["service"]].hand(*descriptors)

    def _share_pools(self) -> None:
        """Give addresses by the lists that all workers share, or all hubs of the cluster."""
        before, self._pools = self._pools, self._new_pools()
        if before is not None:
            before.stop()
        if self._pools is not None:
            push_routers.share(self._pools)
            self._pools.start()

    def _look_at_pools(self, message: dict[str, Any]) -> None:
        if self._pools is not None:
            self._pools.ring()

    def _served(self, parts: WorkerParts) -> dict[str, Hub]:
        """The hub services that have sessions here."""
        return parts.hubs

    def _serve(self, parts: WorkerParts) -> None:
        """Begin to take sessions."""
        parts.start_services()

    def _start(self, parts: WorkerParts, load_seconds: float) -> None:
        assert self._links is not None
        parts.start_tables()
        parts.tables.wait_loaded(load_seconds)
        self._links.start()
        self._share_pools()
        self._serve(parts)
        worker_log.of_worker(self._send)
        service_supervisor.keep("the log is kept in order", log_setup.tend)
        if self.number == FIRST and self._policy is not None:
            self._policy.start()
        gc.freeze()
        self._send({"did": "ready"})

    def _take(self, descriptor: int, address: Any, service: str, over: Over, number: int) -> None:
        """Serve a connection."""
        server = self._parts.servers.get(service) if self._parts is not None else None
        if server is None:
            worker_channel.shut(descriptor)
            over()
            return
        server.take(descriptor, address, over, number)

    def _control(self, message: dict[str, Any], descriptor: int) -> None:
        assert self._answers is not None
        self._answers.serve(gevent.socket.socket(fileno=descriptor))

    def _metrics(self, request: Mapping[str, Any]) -> Streamed:
        """The text of the metrics in pieces, and the mark of its end; for as long as it is read."""
        from lib import metrics  # 50 ms: only where somebody wants metrics, and then before the fork

        assert self._parts is not None
        seen = metrics.Seen(self._served(self._parts), self._parts.clients, self._parts.tables)

        def run(sock: Any) -> None:
            with gevent.Timeout(SECONDS):
                for piece in metrics.exposition(seen):
                    sock.sendall(piece)
                sock.sendall(worker_figures.END)

        return Streamed({}, run)

    def _api(self, request: Mapping[str, Any]) -> Mapping[str, object]:
        """What the main process's web API asks."""
        from lib.worker_told import Told  # as above

        assert self._parts is not None
        if self._told is None:
            self._told = Told(self._parts)
        return self._told.reply(request)

    def _probe(self, request: Mapping[str, Any]) -> dict[str, object]:
        parts = self._parts
        assert parts is not None
        probes = ctl_health.probes(self._served(parts), parts.clients, parts.tables, lambda: False)
        return {"problems": probes[request["path"]]()}

    def _link(self, message: dict[str, Any], descriptor: int) -> None:
        assert self._links is not None
        self._links.add(message["name"], gevent.socket.socket(fileno=descriptor))

    def _linked_all(self, message: dict[str, Any]) -> None:
        self._spawned.spawn(self._know, message["names"])

    def _know(self, names: list[str]) -> None:
        """Take connections once it is known who is at these workers, and at other hubs."""
        assert isinstance(self._links, WorkerLinks)
        cluster = [name_of(CLUSTER_NUMBER)] if worker_settings.outside(self._written) else []
        self._links.wait_known([*names, *cluster], KNOW_SECONDS + LATER_SECONDS)
        if self._parts is not None:
            self._parts.looker.tells_carriers = self.number == FIRST
        self._send({"did": "knows"})

    def _ping(self, message: dict[str, Any]) -> None:
        hubs = self._served(self._parts) if self._parts is not None else {}
        sessions = [len(hub.sessions) for hub in hubs.values()]
        fault = self._watchdog.fault() if self._watchdog is not None else ""
        self._send({"did": "pong", "sessions": sessions, "fault": fault})

    def _look_for_name(self, message: dict[str, Any]) -> None:
        assert self._parts is not None
        self._names.look(next(iter(self._parts.hubs.values())).domain, message)

    def _drops(self, message: dict[str, Any]) -> None:
        if self._parts is not None:
            say_drops(self._parts)

    def _check(self, message: dict[str, Any], descriptor: int) -> None:
        """Look at the settings of a reload: whether they can be used here."""
        parts, step = self._parts, Breaths()
        assert parts is not None
        problems: list[str] = []
        try:
            new = worker_settings.unpack(worker_channel.read(descriptor), step)
            service_preload.load(new, step)  # the main process's metrics, which are made here, among them
            self._look_at(new)
            self._next, self._next_written = worker_settings.of_worker(new, int(message["workers"])), new
            service_reload.checked(parts, lambda step: self._next or parts.settings, step)
        except ConfigError as error:
            problems = list(map(str, error.problems))
        except HostError as error:
            problems = [str(error)]
        self._send({"did": "checked", "problems": problems})

    def _look_at(self, new: Settings) -> None:
        """Look at what this process alone has of the settings of a reload. Raises HostError."""

    def _use(self, message: dict[str, Any]) -> None:
        """Use the settings that were looked at."""
        parts, new = self._parts, self._next
        assert parts is not None
        failed: list[tuple[str, str]] = []
        if new is not None:
            self._next = None
            failed = service_reload.use(parts, new, Breaths(), bool(message["changed"]))
            assert self._links is not None
            before, self._written = self._written, self._next_written
            parts.looker.wanted = bool(self._written.notify)
            entry = settings_workers.entrypoint(self._written)
            self._links.follow(entry and entry[1])
            if self._written.cluster != before.cluster:
                self._share_pools()
            if self.number == FIRST and self._policy is not None:
                self._policy.wake()
        self._send({"did": "used", "failed": failed})

    def _drain(self, message: dict[str, Any]) -> None:
        """Let clients move to other hubs; "drained" then."""
        if self._links is not None:
            self._links.drain()
        if self._parts is not None:
            draining = Group()
            for hub in self._parts.hubs.values():
                draining.spawn(hub.drain)
            draining.join()
        self._send({"did": "drained"})

    def _stop(self) -> None:
        if self._policy is not None:
            self._policy.stop()
        if self._pools is not None:
            self._pools.stop()
        if self._taker is not None:
            self._taker.close()
        if self._links is not None:
            self._links.stop()
        if self._parts is not None:
            self._parts.stop()
