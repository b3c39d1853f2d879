"""The control socket: questions to a running process, one JSON object a line each way.

    {"do": "explain", …}\n   ->   {"ok": true, …}\n   or   {"ok": false, "error": "…"}\n
    {"do": "capture", …}\n   ->   {"ok": true, …}\n, then bytes until either end closes

Knows: who may ask (the file's owner: mode 0600), how long and how much, what becomes of the file.
Refuses to know: what is asked (service_control).
"""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gevent
import gevent.socket as gsocket
from gevent.pool import Pool
from gevent.server import StreamServer

from lib.errors import HostError

MAX_LINE = 1 << 16
MAX_CLIENTS = 16
SECONDS = 10.0
"""How long a client may be silent, and how long an answer may be awaited."""

Answer = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Streamed:
    """An answer after which something else goes over the connection, for as long as `run` has it."""

    answer: Answer
    run: Callable[[Any], None]
    """Called with the socket; what it raises of OSError means that the other end has gone."""


Handlers = Mapping[str, Callable[[Mapping[str, Any]], Answer | Streamed]]


def default_path() -> str:
    """Where a process that is not told otherwise has its socket: a name for each, in one directory."""
    return str(directory() / f"{os.getpid()}.sock")


def directory() -> Path:
    """The directory in which sockets are looked for."""
    if os.geteuid() == 0:
        return Path("/run/tunrouter")
    return Path(os.environ.get("XDG_RUNTIME_DIR") or f"/tmp/tunrouter-{os.getuid()}") / "tunrouter"


def sweep() -> None:
    """Remove from the directory what killed processes have left there."""
    for path in directory().glob("*.sock"):
        if path.stem.isdecimal() and not Path(f"/proc/{path.stem}").exists():
            path.unlink(missing_ok=True)


class ControlSocket:
    """Listens on a path until it is closed."""

    def __init__(self, path: str, handlers: Handlers) -> None:
        """Take the path; raises OSError. A socket that nobody listens on is replaced, one in use is not."""
        self.path, self._handlers = path, handlers
        Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        take_path(path)
        sock = gsocket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o177)  # never open to others, not for a moment
        try:
            sock.bind(path)
        finally:
            os.umask(mask)
        sock.listen(MAX_CLIENTS)
        self._inode = os.stat(path).st_ino
        self._pool = Pool(MAX_CLIENTS)
        self._server = StreamServer(sock, self._serve, spawn=self._pool)
        self._server.start()

    def close(self) -> None:
        """Listen no more, and remove the file if it is still ours."""
        self._server.close()
        self._pool.kill(timeout=1)
        try:
            if os.stat(self.path).st_ino == self._inode:
                os.unlink(self.path)
        except OSError:
            pass  # somebody has removed it already

    def _serve(self, sock: Any, _: Any) -> None:
        try:
            with sock, gevent.Timeout(SECONDS) as late:
                for line in _lines(sock):
                    answer = self._answer(line)
                    plain = answer.answer if isinstance(answer, Streamed) else answer
                    sock.sendall(json.dumps(plain).encode() + b"\n")
                    late.cancel()
                    if isinstance(answer, Streamed):
                        answer.run(sock)
                        return
                    late.start()
        except (OSError, gevent.Timeout):
            pass  # whoever asked has gone, or says nothing: nothing depends on it

    def _answer(self, line: bytes) -> Answer | Streamed:
        try:
            request = json.loads(line)
            handler = self._handlers.get(request["do"])
            if handler is None:
                known = ", ".join(self._handlers)
                return {"ok": False, "error": f"cannot do {str(request['do'])[:64]!r}; there is {known}"}
            answer = handler(request)
            if isinstance(answer, Streamed):
                return Streamed({"ok": True, **answer.answer}, answer.run)
            return {"ok": True, **answer}
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            return {"ok": False, "error": f"not a proper request: {error}"}


def ask(path: str, request: Answer) -> dict[str, Any]:
    """Ask a running process one thing. Raises HostError where it cannot be asked, or says no."""
    answer, sock = _ask(path, request, MAX_LINE)
    sock.close()
    return answer


def ask_on(path: str, request: Answer) -> tuple[dict[str, Any], Any]:
    """The same of what is streamed: the answer, and the socket on which the rest comes. Raises HostError."""
    answer, sock = _ask(path, request, 1)  # not a byte more than the line
    sock.settimeout(None)
    return answer, sock


def _ask(path: str, request: Answer, most: int) -> tuple[dict[str, Any], Any]:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(2 * SECONDS)
        sock.connect(path)
        sock.sendall(json.dumps(request).encode() + b"\n")
        answer: dict[str, Any] = json.loads(next(_lines(sock, most), b""))
        if not answer.get("ok"):
            raise HostError(f"control socket {path}: {answer.get('error')}")
    except (OSError, ValueError) as error:
        sock.close()
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise HostError(f"control socket {path}: {reason}") from None
    except BaseException:
        sock.close()
        raise
    return answer, sock


def _lines(sock: Any, most: int = MAX_LINE) -> Iterator[bytes]:
    """Lines as they come; the end of the stream, or too long a line, ends them."""
    data = b""
    while len(data) <= MAX_LINE or b"\n" in data:
        line, newline, rest = data.partition(b"\n")
        if newline:
            data = rest
            yield line
            continue
        more = sock.recv(most)
        if not more:
            return
        data += more


def take_path(path: str) -> None:
    """Remove a socket that nobody listens on. Raises OSError where the path is anything else."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise FileExistsError(17, "is there already, and is no socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            sock.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
    raise FileExistsError(17, "somebody listens there already")
