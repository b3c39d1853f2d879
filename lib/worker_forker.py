"""The process that workers are forked from: it has the tables and certificates, and does nothing else.

    main process --- fork --> forker     at the start, before anything of gevent runs
    main process --- "fork", a channel --> forker --- fork --> worker     at the start, and where one has died
                                                               or the cluster's process, where there is one
    main process --- "settings" --> forker     after a reload: for workers that come later

Knows: what workers have in common and do not change (tables, keys), and that a fork copies one thread only.
Refuses to know: what a worker does (worker_process), when one is wanted, and what follows if this one ends
(worker_crew).

Nothing runs here that could be half done when a worker is made: no event loop, no thread, no lock. Tables,
certificates and code are in memory once, for the kernel copies only what is written to. The collector looks
at none of it (gc.freeze), as that would be writing.
"""

from __future__ import annotations

import gc
import os
import pwd
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import gevent
import gevent.socket
from gevent import monkey
from gevent.lock import BoundedSemaphore

from lib import (
    log_setup,
    service_preload,
    service_privileges,
    service_rights,
    service_signals,
    settings_needs,
    worker_channel,
    worker_log,
    worker_settings,
)
from lib.errors import HostError
from lib.hub_tables import Tables
from lib.settings import Settings
from lib.settings_transport import TransportSettings
from lib.source_given import Given
from lib.stream_open import Acceptor
from lib.worker_channel import Channel

if TYPE_CHECKING:
    from lib.cluster_trust import Trust

Trusted: TypeAlias = "Trust | None"
"""By what other hubs are known where there is no common secret: files that another user may not read."""
Acceptors = dict[str, tuple[TransportSettings, Acceptor]]
"""Name of a service -> its transport, and what opens its connections."""
Run = Callable[[int, Channel, Settings, Tables, Acceptors, Trusted], int]
"""A worker's life (worker_run.run): its number, its channel, and what it shares; returns a status."""
ENDED = "the process that workers are forked from has ended"

_fork = monkey.get_original("os", "fork")
_Socket = monkey.get_original("socket", "socket")


class Forker:
    """The forking process, as the main process sees it."""

    def __init__(self, settings: Settings, account: pwd.struct_passwd | None, run: Run) -> None:
        """Fork it. Raises HostError where a certificate cannot be loaded. `run` is what each worker runs."""
        log_setup.pause()  # a thread that holds a lock would hold it for ever in the copy
        ours, theirs = worker_channel.pair(_Socket)
        self.pid = _fork()
        if not self.pid:
            ours.close()
            theirs.setblocking(True)
            _end(lambda: _serve(Channel(theirs), settings, account, run))
        theirs.close()
        self.channel = Channel(gevent.socket.socket(fileno=ours.detach()))
        self._one = BoundedSemaphore(1)  # a reply belongs to the last request

    def wait_ready(self) -> None:
        """Wait until it has loaded everything. Raises HostError with its own words where it could not."""
        found = self.channel.receive()
        if found is None:
            raise HostError(ENDED)
        if error := found[0].get("error"):
            raise HostError(str(error))

    def fork(self, number: int) -> tuple[Channel, int]:
        """A new worker of this number: our end of its channel, and its pid. Raises HostError, OSError."""
        ours, theirs = worker_channel.pair(gevent.socket.socket)
        try:
            found = self._ask({"do": "fork", "number": number}, theirs.fileno())
            if "pid" not in found:
                raise HostError(str(found["error"]))
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return Channel(ours), int(found["pid"])

    def use(self, settings: bytes) -> None:
        """Use these settings, packed, for workers that come from now on. Raises HostError, OSError."""
        file = worker_channel.held(settings)
        try:
            self._ask({"do": "settings"}, file)
        finally:
            worker_channel.shut(file)

    def _ask(self, message: Mapping[str, object], descriptor: int) -> dict[str, Any]:
        """Its reply. Raises HostError where it has ended, OSError where this process has no room."""
        try:
            with self._one:
                self.channel.send(message, descriptor)
                found = self.channel.receive()
        except ConnectionError:
            found = None
        if found is None:
            raise HostError(ENDED)
        return found[0]

    def wait_end(self) -> None:
        """Wait until it has ended, by whatever."""
        try:
            process = os.pidfd_open(self.pid)  # not the channel: what is read from it are replies
        except ProcessLookupError:
            return
        try:
            gevent.socket.wait_read(process)
        finally:
            worker_channel.shut(process)

    def close(self) -> None:
        """End it; its workers go on."""
        self.channel.close()


def _end(run: Callable[[], int]) -> None:
    """Run something in a copy of a process, and end the copy with its status, whatever comes."""
    status = 1
    log_setup.begin_anew()
    try:
        status = run()
    except BaseException as error:  # noqa: BLE001  nothing of it may go on in what is the parent's code
        sys.stderr.write(f"error: a worker has ended by {type(error).__name__}: {error}\n")
    finally:
        try:
            log_setup.flush()
        finally:
            os._exit(status)


def _serve(channel: Channel, settings: Settings, account: pwd.struct_passwd | None, run: Run) -> int:
    """The life of the forking process: until the main process ends."""
    for code in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(code, signal.SIG_IGN)  # the main process decides; a supervisor signals all of us
    service_signals.release()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps workers; the main process sees them end
    try:
        service_preload.load(settings)
        if account is not None:
            service_preload.load_all()
        tables, acceptors, trust = _tables(settings), _acceptors(settings, {}), _trust(settings)
        if account is not None:
            keep = {service_rights.NUMBERS[name] for name in settings_needs.kept(settings)}
            log_setup.pause()
            service_privileges.drop(account, frozenset(keep))
    except HostError as error:
        channel.send({"error": str(error)})
        return 1
    channel.send({"do": "ready"})
    _freeze()
    while found := channel.receive():
        message, descriptors = found
        if message["do"] == "settings":
            before, settings = settings, worker_settings.unpack(worker_channel.read(descriptors[0]))
            tables = _tables(settings)
            worker_log.use(before, settings)
            try:
                service_preload.load(settings)
                acceptors = _acceptors(settings, acceptors)
                if settings.cluster != before.cluster:
                    trust = None
                    trust = _trust(settings)
            except HostError:
                pass  # the hubs that run have refused it as well
            channel.send({"do": "used"})
            gc.unfreeze()
            _freeze()
            continue
        log_setup.pause()
        try:
            pid = _fork()
        except OSError as error:
            worker_channel.shut(descriptors[0])
            channel.send({"error": f"no worker can be made: {error.strerror}"})
            continue
        if not pid:
            channel.close()
            shared = settings, tables, acceptors, trust
            _end(partial(_become, run, int(message["number"]), descriptors[0], *shared))
        worker_channel.shut(descriptors[0])
        channel.send({"pid": pid})
    return 0


def _become(run: Run, number: int, descriptor: int, *shared: Any) -> int:
    """Be a worker, with an event loop of its own."""
    gevent.reinit()
    return run(number, Channel(gevent.socket.socket(fileno=descriptor)), *shared)


def _freeze() -> None:
    gc.collect()
    gc.freeze()


def _tables(settings: Settings) -> Tables:
    """The tables of hubs; those who read the metrics log in at the main process, which reads all sources."""
    return Tables(replace(settings, authers=()), Given())


def _trust(settings: Settings) -> Trusted:
    """What proves who other hubs are, where it is more than a secret. Raises HostError."""
    cluster = settings.cluster
    if cluster is None or cluster.secret:
        return None
    from lib.cluster_trust import Trust

    return Trust(cluster)


def _acceptors(settings: Settings, before: Acceptors) -> Acceptors:
    """What opens the connections of each service; made anew only where its transport is another one."""
    found: Acceptors = {}
    for hub in settings.hubs:
        had = before.get(hub.name)
        if had is None or had[0] != hub.transport:
            had = hub.transport, Acceptor(hub.transport, hub.name)
        found[hub.name] = had
    return found
