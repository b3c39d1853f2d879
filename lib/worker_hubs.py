"""The hubs of a process with workers, as the web API asks for them: workers are asked, their replies are one.

Knows: which questions go to all workers, to the one that has a host's session, or to any; that a host may
have sessions in several; that a worker which does not answer for a moment has lost no host.
Refuses to know: how a worker is asked (worker_ask), what it replies (worker_told), what becomes of the reply
(api_live, api_x_hosts, api_x_look), how replies of the control socket become one (worker_control).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from gevent.lock import BoundedSemaphore

from lib import api_flows, worker_ask, worker_replies, worker_told, worker_watch
from lib.api_hubs import FAILED, READY, About, Key, Row, Running, Seen, Watching
from lib.api_own import MAX_WARNINGS
from lib.api_request import Refused
from lib.api_route_pages import MAX_GATEWAYS, MAX_PEERS
from lib.ctl_server import Handlers
from lib.stream_tcp import format_peer
from lib.worker_crew import Crew
from lib.worker_front import Front
from lib.worker_state import Worker

SECONDS = 3.0
"""How long a look waits for a worker."""
AT_ONCE = 4
"""Questions that are put to a worker at the same time: it has places for others too (ctl_server)."""
LATE = "a worker does not answer; ask again"


class WorkerHubs:
    """The hubs of all workers (api_hubs.Hubs)."""

    def __init__(self, crew: Crew, fronts: Mapping[str, Front], control: Handlers) -> None:
        """`control` has the replies of the control socket, which are of all workers already."""
        self._crew, self._fronts, self._control = crew, fronts, control
        self._turns = BoundedSemaphore(AT_ONCE)
        self._looks: dict[Worker, WorkerLook] = {}
        """What each worker has told last."""

    # --- hosts

    def look(self) -> WorkersLook:
        """As api_hubs.Hubs.look. Of a worker that does not answer now what it told before still holds."""
        ready = list(self._crew.ready())
        for worker, look in worker_ask.each(ready, self._look_at, SECONDS).items():
            if look is not None:
                self._looks[worker] = look
        alive = list(self._crew.workers.values())
        self._looks = {worker: look for worker, look in self._looks.items() if worker in alive}
        return WorkersLook(list(self._looks.values()))

    def _look_at(self, worker: Worker) -> WorkerLook | None:
        reply = worker_ask.one(worker, _request("look", ()))
        try:
            return WorkerLook.of(reply, worker) if reply is not None else None
        except (ValueError, TypeError, KeyError):
            return None

    def about(self, key: Key) -> About:
        """As api_hubs.Hubs.about."""
        found = [About(*(reply[name] for name in About._fields)) for reply in self._all("about", key)]
        warnings = dict.fromkeys(line for one in found for line in one.warnings)
        return About(
            [row for one in found for row in one.sessions],
            drops_of(row for one in found for row in one.drops),
            list(warnings)[:MAX_WARNINGS],
            next((one.prefixes for one in found if one.prefixes), []),
        )

    def flows(self, key: Key, seconds: float) -> list[Row]:
        """As api_hubs.Hubs.flows."""
        return api_flows.merged([reply["rows"] for reply in self._all("flows", key, seconds)])

    def kick(self, key: Key, why: str) -> int | None:
        """As api_hubs.Hubs.kick."""
        return _summed(self._all("kick", key, why))

    def drain(self, key: Key) -> int | None:
        """As api_hubs.Hubs.drain."""
        return _summed(self._all("drain", key))

    # --- as the control socket tells

    def status(self) -> Mapping[str, object]:
        """As api_hubs.Hubs.status."""
        return {**self._told({"do": "status"}), "control": ""}

    def sessions(self, host: str, ns: str) -> Iterable[Row | None]:
        """As api_hubs.Hubs.sessions."""
        rows: list[Row] = self._told({"do": "status", "host": host, "ns": ns})["sessions"]
        return iter(rows)

    def drops(self, ns: str, own_only: bool) -> Mapping[str, Any]:
        """As api_hubs.Hubs.drops: here are hubs alone."""
        return self._told({"do": "drops", "ns": ns})

    def cluster(self) -> Mapping[str, Any]:
        """As api_hubs.Hubs.cluster."""
        return self._one(worker_ask.of_cluster(self._crew), {"do": "cluster"})

    def explain(self, query: Mapping[str, str], own_only: bool) -> Mapping[str, object]:
        """As api_hubs.Hubs.explain."""
        with _somebody():
            worker = worker_ask.having(self._crew, query["from"], query["ns"])
        return self._one(worker, _request("explain", (query, own_only)))

    def _told(self, request: Mapping[str, Any]) -> Row:
        with self._turns, _somebody():
            found = self._control[request["do"]](request)
        assert isinstance(found, dict)
        return found

    # --- tables

    def routes(self, query: Mapping[str, str], ns: str, most: int, own_only: bool) -> Mapping[str, object]:
        """As api_hubs.Hubs.routes: all workers have the same."""
        return self._one(self._any(), _request("routes", (query, ns, most, own_only)))

    def gateways(self, ns: str) -> list[Row]:
        """As api_hubs.Hubs.gateways."""
        return gateways_of(row for reply in self._all("gateways", ns) for row in reply["rows"])

    def enrolled(self, ns: str) -> Mapping[str, object]:
        """As api_hubs.Hubs.enrolled."""
        return self._told({"do": "hosts", "ns": ns})

    def invite(self, asked: Mapping[str, Any]) -> Row:
        """As api_hubs.Hubs.invite: all have one list."""
        return self._one(self._any(), {**asked, "do": "invite"})

    def revoke(self, asked: Mapping[str, Any]) -> Row:
        """As api_hubs.Hubs.revoke."""
        return self._told({**asked, "do": "revoke"})

    # --- services and packets

    def service(self, name: str) -> Running:
        """As api_hubs.Hubs.service."""
        front = self._fronts.get(name)
        if front is None:
            return Running(0.0, "", "", None)
        observe = front.settings.observe
        stats = self._stats(name) if observe is not None and observe.enable_stats else None
        serves = front.listens and any(True for _ in self._crew.ready())
        place = format_peer(front.address) if front.listens else ""
        return Running(front.since, READY if serves else FAILED, place, stats)

    def _stats(self, name: str) -> dict[str, int]:
        found: dict[str, int] = {}
        for reply in self._all("stats", name):
            found = worker_replies.added(found, reply)
        return found

    def watch(self, tap: Watching, host: str, ns: str, expression: str) -> Callable[[], None]:
        """As api_hubs.Hubs.watch."""
        return worker_watch.Watch(self._crew, tap, host, ns, expression).stop

    # --- workers

    def _any(self) -> Worker:
        with _somebody():
            return worker_ask.workers(self._crew)[0]

    def _one(self, worker: Worker, request: Mapping[str, Any]) -> Row:
        """The reply of one worker. Raises ValueError and Refused with its words."""
        with self._turns:
            return _right(worker_ask.one(worker, request))

    def _all(self, what: str, *about: object) -> list[Row]:
        """The replies of all workers. Raises ValueError and Refused where one has none."""
        request = _request(what, about)
        with self._turns, _somebody():
            found = worker_ask.each(
                worker_ask.workers(self._crew), lambda worker: worker_ask.one(worker, request), SECONDS
            )
        here = [reply for worker, reply in found.items() if reply is not None or worker.ready]
        return [_right(reply) for reply in here]


@contextmanager
def _somebody() -> Iterator[None]:
    """Raise Refused where there is no worker to be asked."""
    try:
        yield
    except worker_ask.Nobody as nobody:
        raise Refused(503, str(nobody)) from None


def _request(what: str, about: Sequence[object]) -> Row:
    return {"do": "api", "what": what, "with": [*map(_plain, about)]}


def _plain(value: object) -> object:
    return worker_told.written_key(value) if isinstance(value, tuple) else value


def _right(reply: Row | None) -> Row:
    """A reply without what says that it is one. Raises ValueError and Refused where it is none."""
    if reply is None:
        raise Refused(503, LATE)
    if not reply.pop("ok"):
        raise ValueError(reply["error"])
    if "refused" in reply:
        code, message, hint = reply["refused"]
        raise Refused(code, message, hint=hint)
    return reply


def _summed(replies: Iterable[Row]) -> int | None:
    counts = [reply["count"] for reply in replies if reply["count"] is not None]
    return sum(counts) if counts else None


class WorkerLook(NamedTuple):
    """What one worker has told of hosts."""

    here: dict[Key, Seen]
    opened: dict[Key, int]
    enrolled: dict[Key, float]

    @classmethod
    def of(cls, reply: Mapping[str, Any], worker: Worker) -> WorkerLook:
        """A worker's reply. Raises ValueError, TypeError and KeyError where it is none."""
        here = {worker_told.read_key(key): worker_told.read(row, worker) for key, row in reply["here"]}
        opened = {worker_told.read_key(key): int(count) for *key, count in reply["opened"]}
        enrolled = {worker_told.read_key(key): float(seen) for *key, seen in reply["enrolled"]}
        return cls(here, opened, enrolled)


class WorkersLook:
    """All hosts of all workers (api_hubs.Look)."""

    def __init__(self, looks: Sequence[WorkerLook]) -> None:
        self._looks = looks

    def here(self) -> Mapping[Key, Seen]:
        """As api_hubs.Look.here."""
        found: dict[Key, Seen] = {}
        for look in self._looks:
            for key, seen in look.here.items():
                found[key] = both(found[key], seen) if key in found else seen
        return found

    def opened(self, key: Key) -> int:
        """As api_hubs.Look.opened; what a worker had counted that has ended is counted no longer."""
        found = [look.opened[key] for look in self._looks if key in look.opened]
        return sum(found) if found else -1

    def met(self) -> Iterable[Key]:
        """As api_hubs.Look.met."""
        return list(dict.fromkeys(key for look in self._looks for key in look.opened))

    def enrolled(self) -> Mapping[Key, float]:
        """As api_hubs.Look.enrolled."""
        found: dict[Key, float] = {}
        for look in self._looks:
            for key, seen in look.enrolled.items():
                found[key] = max(found.get(key, 0.0), seen)
        return found


def both(one: Seen, other: Seen) -> Seen:
    """A host with sessions in two workers: sums, and the worse; what is one session's is the first one's."""
    first, second = one.sample, other.sample
    losses = [loss for loss in (first.loss, second.loss) if loss is not None]
    sample = first._replace(
        sessions={**first.sessions, **second.sessions},
        loss=max(losses, default=None),
        queue=first.queue + second.queue,
        queue_s=max(first.queue_s, second.queue_s),
        conflict=first.conflict or second.conflict,
        silent=first.silent or second.silent,
    )
    return Seen(sample, one.prefixes)


def drops_of(rows: Iterable[Row]) -> list[Row]:
    """Drops of one host by reason, the most first."""
    found = worker_replies.one_for_each(rows, ("reason",), worker_replies.count)
    return sorted(found, key=lambda row: -row["count"])


def gateways_of(rows: Iterable[Row]) -> list[Row]:
    """Gateways, those of one name merged into one."""

    def merged(one: Row, other: Row) -> Row:
        sums = {name: one[name] + other[name] for name in ("sessions", "flows")}
        peers, since = [*one["peers"], *other["peers"]], max(one["since_s"], other["since_s"])
        return {**one, **sums, "peers": peers[:MAX_PEERS], "since_s": since}

    return worker_replies.one_for_each(rows, ("host", "ns"), merged)[:MAX_GATEWAYS]
