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
from lib.worker_crew import Crew, Worker

Row = dict[str, Any]
T = TypeVar("T")
PIECE = 1 << 16
MAX_LINE = 1 << 16
"""Bytes of the line before a stream."""
NOBODY = "no worker is there at the moment: each is replaced within seconds; ask again"


def workers(crew: Crew) -> list[Worker]:
    """The workers that can be asked, by number. Raises ValueError where there is none."""
    found = sorted(crew.ready(), key=lambda worker: worker.number)
    if not found:
        raise ValueError(NOBODY)
    return found


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
    """The reply of one worker; None where it has none, as it has just died."""
    try:
        with connected(worker, request) as sock:
            whole = bytearray()
            while not whole.endswith(b"\n"):
                more = sock.recv(PIECE)
                if not more:
                    return None
                whole += more
    except OSError:
        return None
    reply: Row = json.loads(whole)
    return reply


def all_at_once(crew: Crew, request: Mapping[str, Any]) -> list[Row]:
    """The replies of all workers, in their order. Raises ValueError where none is right."""
    found = each(workers(crew), lambda worker: one(worker, request))
    replies = [reply for reply in found.values() if reply is not None]
    right = [reply for reply in replies if reply["ok"]]
    if not right:
        raise ValueError(replies[0]["error"] if replies else NOBODY)
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
