"""Requests to workers: each has a connection of its own, on which a worker answers as a control socket does.

Knows: how a worker is asked, that one which has just died has no reply.
Refuses to know: what is asked (worker_control, worker_metrics), what a worker replies (ctl_handlers).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import gevent
import gevent.socket

from lib import worker_channel
from lib.ctl_server import SECONDS
from lib.stream_deadline import within
from lib.worker_crew import Crew
from lib.worker_state import Worker

Row = dict[str, Any]
T = TypeVar("T")
PIECE = 1 << 16
MAX_LINE = 1 << 16
"""Bytes of the line before a stream."""
NO_CLUSTER = "this hub is in no cluster, or the process that is its member is being replaced: ask again"
MOST_SECONDS = 30.0
"""How long a whole reply may take."""
MAX_REPLY = 64 << 20
"""Bytes of a reply: 10,000 sessions are a sixth of it."""


class Nobody(ValueError):
    """There is no worker at the moment."""

    def __init__(self) -> None:
        super().__init__("no worker is there at the moment: each is replaced within seconds; ask again")


def workers(crew: Crew) -> list[Worker]:
    """The workers that can be asked, by number. Raises Nobody where there is none."""
    found = sorted(crew.ready(), key=lambda worker: worker.number)
    if not found:
        raise Nobody
    return found


def having(crew: Crew, host: str, ns: str) -> Worker:
    """The worker that has a session of a host (of a namespace, where one is named); any where none has.

    Raises Nobody where there is none.
    """
    some = workers(crew)
    wanted = {"do": "status", "host": host, "ns": ns}
    replies = ((worker, one(worker, wanted)) for worker in some)
    return next((worker for worker, reply in replies if reply and reply.get("sessions")), some[0])


def connected(worker: Worker, request: Mapping[str, Any]) -> Any:
    """A connection to a worker, with a request sent. Raises OSError."""
    ours, theirs = worker_channel.stream_pair()
    sock = gevent.socket.socket(fileno=ours)
    try:
        worker.channel.send({"do": "control"}, theirs)
        sock.settimeout(SECONDS)
        sock.sendall(json.dumps(request).encode() + b"\n")
    except BaseException:
        sock.close()
        raise
    finally:
        worker_channel.shut(theirs)
    return sock


def one(worker: Worker, request: Mapping[str, Any]) -> Row | None:
    """The reply of one worker; None where it has none, as it has just died, or one that is no reply."""
    try:
        with within(MOST_SECONDS, OSError), connected(worker, request) as sock:
            whole = bytearray()
            while not whole.endswith(b"\n"):
                more = sock.recv(PIECE)
                whole += more
                if not more or len(whole) > MAX_REPLY:
                    return None
        reply: Row = json.loads(whole)
    except (OSError, ValueError, RecursionError):
        return None
    return reply


def of_cluster(crew: Crew) -> Worker:
    """The cluster's process. Raises ValueError where there is none."""
    found = crew.of_cluster()
    if found is None:
        raise ValueError(NO_CLUSTER)
    return found


def all_at_once(crew: Crew, request: Mapping[str, Any]) -> list[Row]:
    """The replies of all workers, in their order, and of the cluster's process, if there is one.

    Raises ValueError where none is right, Nobody for none.
    """
    last = [one for one in (crew.of_cluster(),) if one is not None]
    found = each([*workers(crew), *last], lambda worker: one(worker, request))
    replies = [reply for reply in found.values() if reply is not None]
    right = [reply for reply in replies if reply["ok"]]
    if not replies:
        raise Nobody
    if not right:
        raise ValueError(replies[0]["error"])
    return right


def each(
    some: Sequence[Worker], ask: Callable[[Worker], T], seconds: float | None = None
) -> dict[Worker, T | None]:
    """What `ask` finds of each worker, all at once. None where it fails, or `seconds` were not enough."""
    asked = {worker: gevent.spawn(ask, worker) for worker in some}
    try:
        gevent.joinall(list(asked.values()), timeout=seconds)
        return {worker: greenlet.value for worker, greenlet in asked.items()}
    finally:
        gevent.killall(list(asked.values()), block=False)


def line(sock: Any) -> bytes:
    """The line before a stream, and not a byte more. Raises OSError."""
    found = b""
    while not found.endswith(b"\n") and len(found) < MAX_LINE:
        more = sock.recv(1)
        if not more:
            raise OSError(71, "a worker has ended; ask again")
        found += more
    return found
