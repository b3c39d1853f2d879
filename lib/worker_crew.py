"""The workers of a process, as the main process sees them: begun, linked, watched, replaced where one dies.

A hub that is in a cluster has one process more, which gets no connections: the cluster's.

Knows: which workers there are, what each has been given, that one which does not answer is killed, and that
nothing goes on once none can be made any more.
Refuses to know: how connections come (worker_front), what a worker does with them (worker_process).
"""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import gevent
from gevent.event import AsyncResult, Event
from gevent.pool import Group

from lib import service_supervisor, worker_channel, worker_handover
from lib.errors import HostError
from lib.log_dedup import OUTAGE
from lib.log_events import Entry
from lib.log_setup import say
from lib.service_scheduling import breathe
from lib.service_supervisor import Task
from lib.worker_ends import MOST
from lib.worker_forker import ENDED, Forker
from lib.worker_handover import Over
from lib.worker_state import CLUSTER_NUMBER, Worker, name_of

PING_SECONDS = 1.0
SILENT_SECONDS = 15.0
"""A worker that has said nothing for so long stands still, and is killed."""
STEADY_SECONDS, PAUSE = 10.0, (0.05, 5.0)
"""A worker that lives for less is replaced after a pause, which doubles from the first to the second."""
GIVE_SECONDS, AGAIN_SECONDS = 5.0, 0.02
"""How long a connection waits for a worker where there is none, and until it is tried again."""
_NO_ROOM = (errno.ETOOMANYREFS, errno.ENOBUFS, errno.ENOMEM)
"""Too many descriptors are on their way, or there is no memory: that passes."""
LEAVE_SECONDS = 3.0
"""How long the cluster's process may take to tell other hubs that this one ends."""
REPLY_SECONDS = 30.0
"""How long a worker may take to look at the settings of a reload, or to use them."""

Begin = Callable[[int], tuple[Mapping[str, object], Sequence[int]]]
Replies = dict[int, dict[str, Any] | None]
"""Number of a worker -> what it has said; None for nothing."""


class Crew:
    """All workers of a process."""

    def __init__(self, forker: Forker, count: int, room: int, begin: Begin, in_cluster: bool = False) -> None:
        """`begin` gives what a process of a number is told first, and to the cluster's process a descriptor.

        There are `room` connections at most at a time.
        """
        self.count, self._forker, self._room, self._begin = count, forker, room, begin
        self._first = CLUSTER_NUMBER if in_cluster else 1
        self.workers: dict[int, Worker] = {}
        self.deaths = 0
        """How often a worker has ended that nobody had told to."""
        self.failed = ""
        """Why no worker can be made any more; empty while one can."""
        self.gave_up = Event()
        """Set with `failed`: the process is to end, and to be started again by whoever started it."""
        self.changed = Event()
        """Set whenever a worker is ready, or has ended."""
        self.begun: list[Callable[[Worker], None]] = []
        """Called when a worker has been told to begin; from then on it is told what all are told."""
        self.gone: list[Callable[[Worker], None]] = []
        """Called when one has ended, by whatever."""
        self.heard: dict[str, Callable[..., None]] = {}
        """What is done with what workers say unasked, by its name: (worker, message, its descriptors)."""
        self._has_begun = False
        """Whether any worker has been ready: before that, what one cannot do is nothing to try again."""
        self._pauses: dict[int, float] = {}
        self._ending = False
        self._greenlets = Group()
        self._watching = Task("workers are watched", self._watch)

    def start(self) -> None:
        """Make all workers, and the cluster's process."""
        for number in self._wanted:
            self._make(number)
        self._watching.start()
        self._greenlets.spawn(self._watch_forker)

    def wait_ready(self, seconds: float) -> None:
        """Wait until all workers are there, for so long at most."""
        self._wait(lambda: bool(self.failed) or all(map(self._is_there, self._wanted)), seconds)

    def wait_knowing(self, seconds: float) -> None:
        """Wait until they know who is where, and take connections, for so long at most."""
        self._wait(lambda: bool(self.failed) or all(worker.knows for worker in self.ready()), seconds)

    def _wait(self, is_over: Callable[[], bool], seconds: float) -> None:
        until = time.monotonic() + seconds
        while not is_over() and time.monotonic() < until:
            self.changed.clear()
            self.changed.wait(max(0.0, until - time.monotonic()))

    @property
    def _wanted(self) -> range:
        return range(self._first, self.count + 1)

    def ready(self) -> Iterator[Worker]:
        """The workers that are there."""
        return (worker for worker in self.everybody() if worker.number != CLUSTER_NUMBER)

    def everybody(self) -> Iterator[Worker]:
        """All that can be asked: the cluster's process too."""
        return (worker for worker in list(self.workers.values()) if worker.ready and not worker.ending)

    def of_cluster(self) -> Worker | None:
        """The cluster's process; None where there is none, or none that can be asked."""
        return next((one for one in self.everybody() if one.number == CLUSTER_NUMBER), None)

    def fault(self) -> str:
        """What is wrong with the workers, or with what this process does for them; empty if nothing is."""
        faults = [f"{one.name}: {one.fault}" for one in self.workers.values() if one.fault]
        away = [f"{name_of(n)} is not there" for n in self._wanted if not self._is_there(n)]
        return "; ".join(filter(None, (self.failed, *away, *faults, service_supervisor.fault())))

    def _is_there(self, number: int) -> bool:
        return (one := self.workers.get(number)) is not None and one.ready

    # --- connections

    def settle(self) -> None:
        """Do what is to be done for connections that have ended, some at once."""
        for worker in self.workers.values():
            if worker.giver is not None:
                worker.giver.settle()

    def give(self, service: str, descriptor: int, address: Any, over: Over) -> bool:
        """Give a connection to the worker that has fewest; False where there is none that takes one.

        `over` is called once it has ended, also where its worker dies.
        """
        until = time.monotonic() + GIVE_SECONDS
        while True:
            worker = self._emptiest()
            if worker is None or worker.giver is None:
                self.changed.clear()
                if self._ending or not self.changed.wait(max(0.0, until - time.monotonic())):
                    return False
                continue
            try:
                worker.giver.give(service, descriptor, address, over)
                return True
            except OSError as error:
                self._not_taken(worker, error)
            if worker.ready:
                if self._ending or time.monotonic() > until:
                    return False
                gevent.sleep(AGAIN_SECONDS)

    def give_at_once(self, service: str, descriptor: int, address: Any, over: Over) -> bool:
        """As give(), but never waits: False where that would be needed."""
        worker = self._emptiest()
        if worker is None or worker.giver is None:
            return False
        try:
            return worker.giver.try_give(service, descriptor, address, over)
        except OSError as error:
            self._not_taken(worker, error)
        return False

    def _emptiest(self) -> Worker | None:
        """The worker with fewest connections, the first of several: for each connection, so without min()."""
        found, least = None, 0
        for worker in self.workers.values():
            if worker.giver is not None and worker.ready and worker.knows and not worker.ending:
                count = len(worker.giver)
                if found is None or count < least:
                    found, least = worker, count
        return found

    @staticmethod
    def _not_taken(worker: Worker, error: OSError) -> None:
        """A worker has not got a connection: it has died, as its reader finds out too, or has no room."""
        if error.errno not in _NO_ROOM:
            worker.ready = False

    # --- messages

    def tell(self, worker: Worker, message: Mapping[str, object], *descriptors: int) -> bool:
        """Tell a worker something; False where it has gone."""
        try:
            worker.channel.send(message, *descriptors)
        except OSError:
            return False
        return True

    def tell_all(self, message: Mapping[str, object]) -> None:
        """Tell all workers something."""
        for worker in list(self.workers.values()):
            self.tell(worker, message)

    def ask_all(
        self,
        message: Mapping[str, object],
        reply: str,
        file: bytes | None = None,
        seconds: float = REPLY_SECONDS,
        of: Iterable[Worker] | None = None,
    ) -> Replies:
        """Ask everybody at the same time; what each has said, None where it has died or says nothing.

        `reply` is the name of their reply, `file` is sent along. Only those `of` are asked where it is given.
        """
        asked: dict[int, AsyncResult] = {}
        for worker in list(self.everybody() if of is None else of):
            waiting = worker.replies[reply] = asked[worker.number] = AsyncResult()
            descriptors = [worker_channel.held(file)] if file is not None else []
            try:
                if not self.tell(worker, message, *descriptors):
                    waiting.set(None)
            finally:
                for descriptor in descriptors:
                    worker_channel.shut(descriptor)
        until = time.monotonic() + seconds
        found: Replies = {}
        for number, waiting in asked.items():
            waiting.wait(max(0.0, until - time.monotonic()))
            found[number] = waiting.value if waiting.ready() else None
        return found

    # --- life

    def _make(self, number: int) -> None:
        """Make a worker, and read what it says. Where that fails, nothing can be made any more."""
        try:
            channel, pid = self._forker.fork(number)
            takes = number != CLUSTER_NUMBER
            giver, theirs = worker_handover.made(self._room) if takes else (None, ())
        except (HostError, OSError) as error:
            self._fail(f"worker {number}: {getattr(error, 'strerror', None) or error}")
            return
        now = time.monotonic()
        try:
            process = os.pidfd_open(pid)
        except OSError:  # it has ended already, which its channel says
            process = -1
        worker = Worker(number, channel, pid, process, now, now, giver)
        message, descriptors = self._begin(number)
        self.tell(worker, {"do": "begin", **message}, *descriptors, *theirs)
        for descriptor in theirs:
            worker_channel.shut(descriptor)
        for greet in self.begun:
            greet(worker)
        worker.heard_at = time.monotonic()  # nobody has listened until now
        self.workers[number] = worker
        self._greenlets.spawn(self._read, worker)

    def _read(self, worker: Worker) -> None:
        """Take what a worker says until it ends; then have another one made in its place."""
        why = "it has ended"
        try:
            while found := worker.channel.receive():
                message, descriptors = found
                worker.heard_at = time.monotonic()
                kind = message["did"]
                if kind == "ready" and not worker.outdated:
                    self._greet(worker)
                elif kind == "knows":
                    worker.knows = True
                    self.changed.set()
                elif kind == "pong":
                    worker.sessions, worker.fault = message["sessions"], message["fault"]
                elif kind == "failed":
                    why = message["error"]
                    if not self._has_begun:
                        self._fail(why)
                elif (heard := self.heard.get(kind)) is not None:
                    heard(worker, message, *descriptors)
                elif (waiting := worker.replies.pop(kind, None)) is not None:
                    waiting.set(message)
        except OSError as error:
            why = error.strerror or str(error)
        self._ended(worker, why)

    def _greet(self, worker: Worker) -> None:
        """A worker has begun: link it with all others; once it knows their hosts it gets connections."""
        others = list(self.everybody())
        for other in others:
            ours, theirs = worker_channel.stream_pair()
            try:
                self.tell(worker, {"do": "link", "name": other.name}, ours)
                self.tell(other, {"do": "link", "name": worker.name}, theirs)
            finally:
                worker_channel.shut(ours)
                worker_channel.shut(theirs)
        self.tell(worker, {"do": "linked", "names": [one.name for one in others if one.giver is not None]})
        worker.ready = self._has_begun = True
        self.changed.set()

    def _ended(self, worker: Worker, why: str) -> None:
        worker.ready = False
        worker.channel.close()
        if worker.process >= 0:
            worker_channel.shut(worker.process)
        if worker.giver is not None:
            worker.giver.close()
            worker.giver = None
        for waiting in worker.replies.values():
            waiting.set(None)
        for told in self.gone:
            told(worker)
        if self.workers.get(worker.number) is worker:
            del self.workers[worker.number]
        self.changed.set()
        if worker.ending or self._ending or self.failed:
            return
        if worker.outdated:
            self._make(worker.number)
            return
        self.deaths += 1
        text = "%s (pid %d): %s; another one takes its place"
        say(
            Entry.WORKER_ENDED, text, worker.name, worker.pid, why,
            fold=worker.name, habit=OUTAGE, worker=worker.number, reason=why,
        )  # fmt: skip
        shortest, longest = PAUSE
        if time.monotonic() - worker.since < STEADY_SECONDS:
            pause = self._pauses.get(worker.number, 0.0)
            self._pauses[worker.number] = min(longest, max(shortest, 2 * pause))
            gevent.sleep(pause)
        else:
            self._pauses.pop(worker.number, None)
        if not self._ending and not self.failed:
            self._make(worker.number)

    def renew(self, kept: Collection[Worker]) -> None:
        """Have all others made anew: they were made with settings that are in use no longer."""
        for worker in [one for one in self.workers.values() if one not in kept]:
            worker.outdated, worker.ready = True, False
            self.tell(worker, {"do": "end"})

    def _watch_forker(self) -> None:
        """Without it the next worker that dies would not be replaced: better to end at once than then."""
        self._forker.wait_end()
        self._fail(f"{ENDED}: no worker could be replaced any more")

    def _fail(self, why: str) -> None:
        if self.failed or self._ending:
            return
        self.failed = why
        self.gave_up.set()
        self.changed.set()
        if self._has_begun:  # at the start its one line of error says it
            say(Entry.WORKER_FAILED, "%s", why, reason=why)

    def _watch(self) -> None:
        while True:
            gevent.sleep(PING_SECONDS)
            now = time.monotonic()
            for worker in list(self.workers.values()):
                for _ in range(self._room // MOST + 1):  # not for as long as one says so that has gone wrong
                    if worker.giver is None or not worker.giver.settle():
                        break
                    breathe()
                if now - worker.heard_at > SILENT_SECONDS:
                    self._kill(worker)
                else:
                    self.tell(worker, {"do": "ping"})

    def _kill(self, worker: Worker) -> None:
        if worker.process >= 0:
            try:
                signal.pidfd_send_signal(worker.process, signal.SIGKILL)
            except ProcessLookupError:
                pass

    # --- the end

    def drain(self, seconds: float) -> None:
        """Let clients of all workers move to other hubs; returns once that is over, or after `seconds`."""
        self._ending = True
        self._watching.kill(block=False)
        self.ask_all({"do": "drain"}, "drained", seconds=seconds, of=self.ready())
        last = [one for one in (self.of_cluster(),) if one is not None]  # now other hubs are told that we end
        self.ask_all({"do": "drain"}, "drained", seconds=LEAVE_SECONDS, of=last)

    def stop(self, seconds: float) -> None:
        """End all workers; those that have not ended after `seconds` are killed."""
        self._ending = True
        self._watching.kill(block=False)
        for worker in list(self.workers.values()):
            worker.ending = True
            self.tell(worker, {"do": "end"})
        self._wait(lambda: not self.workers, seconds)
        for worker in list(self.workers.values()):
            self._kill(worker)
        self._greenlets.kill(timeout=1)
