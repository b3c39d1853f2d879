"""Server of the control socket: requests to a running process, one JSON object a line each way.

    {"do": "explain", …}\n   ->   {"ok": true, …}\n   or   {"ok": false, "error": "…"}\n
    {"do": "capture", …}\n   ->   {"ok": true, …}\n, then bytes until either end closes

Knows: who may connect (the file's owner: mode 0600), limits of time and size, when the file is removed, and
that packets go before replies, however long those are. Refuses to know: what is asked (ctl_handlers), the
other end (ctl_client).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gevent
from gevent.pool import Pool

from lib import hub_accept, service_supervisor
from lib.ctl_encode import pieces
from lib.ctl_find import directory
from lib.ctl_path import weak_spot
from lib.log_events import Entry
from lib.log_setup import say
from lib.service_places import Places
from lib.service_scheduling import in_turns
from lib.service_socket import UnixSocket
from lib.service_supervisor import Task

MAX_LINE = 1 << 16
"""Bytes of a request."""
MAX_CLIENTS = 16
"""At a time; one more makes the one go that has been idle longest."""
FULL = {
    "ok": False,
    "error": f"{MAX_CLIENTS} others are being answered, captures among them: end one of those",
}
SECONDS = 10.0
"""How long a client may be silent, and how long it may take for a piece of a reply."""
FULL_SECONDS = 1.0
"""How long somebody for whom there is no place may take to be told so."""

Reply = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Streamed:
    """A reply that a stream of bytes follows on the same connection, until `run` returns."""

    reply: Reply
    run: Callable[[Any], None]
    """Called with the socket; an OSError of it means that the other end has gone."""


@dataclass(frozen=True, slots=True)
class Relayed:
    """A reply that another process makes, as it comes: `run` writes all of it to the socket."""

    run: Callable[[Any], None]


Handlers = Mapping[str, Callable[[Mapping[str, Any]], Reply | Streamed | Relayed]]
"""Name of a request ("do") -> the function that makes its reply; its ValueError becomes an error reply."""


def sweep() -> None:
    """Remove from the directory what killed processes have left there. Raises OSError."""
    if weak_spot(directory()):
        return  # somebody else's: what is there is their business
    for path in Path(directory()).glob("*.sock"):
        if path.stem.isdecimal() and not Path(f"/proc/{path.stem}").exists():
            path.unlink(missing_ok=True)


class Answers:
    """Answers to whoever has a connection, by handlers."""

    def __init__(self, handlers: Handlers) -> None:
        self._handlers, self.places = handlers, Places(MAX_CLIENTS)
        self.task = Task("the control socket is answered", self._watch, vital=False)
        self.watched: Any = None
        """The server that is looked after; None where another process listens."""

    def _watch(self) -> None:
        if self.watched is not None:
            service_supervisor.watch_server(self.watched)
        while True:
            gevent.sleep(service_supervisor.LOOK_SECONDS)

    def serve(self, sock: Any, _: Any = None) -> None:
        """Answer one connection until it ends."""
        self.task.attempt(self._converse, sock)  # what it raises is a failed reply, counted

    def _converse(self, sock: Any) -> None:
        try:
            with sock, self.places.hold() as held:
                lines = _lines(sock)
                if not held:
                    with gevent.Timeout(FULL_SECONDS):
                        next(lines, None)  # a socket that is closed with something unread loses the reply
                        sock.sendall(json.dumps(FULL).encode() + b"\n")
                    return
                while True:
                    with gevent.Timeout(SECONDS):  # a new object each time: a reused one goes on counting
                        line = next(lines, None)
                    if line is None:
                        return
                    with gevent.Timeout(SECONDS), self.places.busy():
                        reply = self._reply(line)
                    if isinstance(reply, Relayed):
                        with self.places.busy():
                            reply.run(sock)
                        continue
                    plain = reply.reply if isinstance(reply, Streamed) else reply
                    for piece in in_turns(pieces(plain)):
                        with gevent.Timeout(SECONDS):
                            sock.sendall(piece)
                    if isinstance(reply, Streamed):
                        with self.places.busy():
                            reply.run(sock)
                        return
        except (OSError, gevent.Timeout):
            pass  # the client has gone, is silent, or does not read: nothing depends on it
        except RuntimeError as error:  # a table was swapped while it was read: the reply stays without end
            say(Entry.ANSWER_CUT, "control socket: %s", error, reason=error)

    def _reply(self, line: bytes) -> Reply | Streamed | Relayed:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError) as error:
            return {"ok": False, "error": f"not a proper request: {error}"}
        try:
            handler = self._handlers.get(request["do"])
            if handler is None:
                known = ", ".join(self._handlers)
                return {"ok": False, "error": f"cannot do {str(request['do'])[:64]!r}; there is {known}"}
            reply = handler(request)
            if isinstance(reply, Relayed):
                return reply
            if isinstance(reply, Streamed):
                return Streamed({"ok": True, **reply.reply}, reply.run)
            return {"ok": True, **reply}
        except ValueError as error:  # a handler's own words: no such host, which service?
            return {"ok": False, "error": str(error)}
        except (TypeError, KeyError, RecursionError) as error:
            return {"ok": False, "error": f"not a proper request: {error}"}
        except Exception as error:  # noqa: BLE001  whatever it is, the asker and the log are told
            self.task.note(error)
            return {"ok": False, "error": f"{type(error).__name__}: {error}"}


class ControlSocket:
    """A control socket that listens on a path until it is closed."""

    def __init__(self, path: str, handlers: Handlers) -> None:
        """Listen on the path. A socket file that nobody listens on is replaced. Raises OSError."""
        self.path = path
        self._unix = UnixSocket(path, MAX_CLIENTS, private=True, guarded=True)
        self._pool, self._answers = Pool(), Answers(handlers)
        self._server = hub_accept.Server(
            self._unix.sock,
            self._answers.serve,
            self._pool,
            "control socket",
            "control socket",
            hub_accept.NONE,
        )
        self._server.make_room = self._answers.places.make_room
        self._server.start()
        self._answers.watched = self._server
        self._answers.task.start()

    def give_to(self, user: int) -> None:
        """Make a user the owner of the socket. Raises OSError."""
        self._unix.give_to(user)

    def close(self) -> None:
        """Stop listening, and remove the file unless another process has replaced it."""
        self._answers.task.kill(block=False)
        self._server.close()
        self._pool.kill(timeout=1)
        self._unix.remove()


def _lines(sock: Any) -> Iterator[bytes]:
    """The lines that a client sends, until it closes or a line is longer than MAX_LINE."""
    data = b""
    while len(data) <= MAX_LINE or b"\n" in data:
        line, newline, rest = data.partition(b"\n")
        if newline:
            data = rest
            yield line
            continue
        more = sock.recv(MAX_LINE)
        if not more:
            return
        data += more
