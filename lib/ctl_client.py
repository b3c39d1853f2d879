"""Client of the control socket: sends one request to a process, reads a reply of any size.

Knows: how a reply is read while it comes, and what is no reply.
Refuses to know: gevent (loading it would cost more than the request), where sockets are (ctl_find), what is
asked (cli_show), the other end (ctl_server).
"""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from lib.errors import HostError
from lib.printable import printable

SECONDS = 5.0
"""How long a process may be silent before it counts as not replying: it may be busy, or swapped out."""
ASKING_SECONDS = 20.0
"""The same where it asks others for its reply: a plugin, a Redis."""
HELLO_SECONDS = 4.0
"""How long the processes of one user may take to say who they are, all together."""
ROW = b"\r"
"""Byte in a reply where a row begins or ends: white space to JSON, and a place to cut (PROTOCOL.md)."""

_OK = b'{"ok": true, '
MAX_HELLO = 1 << 24
"""Bytes of the reply to `hello`, which another user's process may give: it has the names of all services."""
CUT_OFF = "the reply ends in the middle: the process has ended, or a table has changed; ask again"
_PIECE = 1 << 18
_STOPPED = ("T", "t")  # proc_pid_stat(5): by a signal, by a debugger
MAX_FIRST = 1 << 16
"""Bytes of the line before a stream, and of an error."""
WRONG_SHAPE = (
    *(ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError),
    struct.error,
)
"""What goes wrong with a reply that has another shape than it should, while it is used."""
_LETTERS = bytes(range(0x20, 0x7F)) + b"\r\n"
"""What a reply consists of: ctl_encode writes every other letter as \\u…."""


class Silent(HostError):
    """A process listens on the control socket, and does not reply."""


@contextmanager
def understood(path: str) -> Iterator[None]:
    """Make a HostError of what goes wrong in the block with a reply of another shape.

    A process of another version may listen, something else, or one of another user that root asks.
    """
    try:
        yield
    except WRONG_SHAPE as error:
        reason = f"{type(error).__name__}: {printable(str(error)[:80])}"
        raise HostError(
            f"control socket {path}: the reply is not one of a tunrouter of this version ({reason})"
        ) from error


def stream(path: str, request: Mapping[str, object], seconds: float = SECONDS) -> Iterator[bytes]:
    """Send a request and yield the reply in pieces. Raises HostError without one, or for an error in it.

    `seconds` is how long the process may be silent.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(seconds)
            sock.connect(path)
            _refuse_stopped(path, sock)
            sock.sendall(json.dumps(request).encode() + b"\n")
            head = b""
            while len(head) < len(_OK) and (more := sock.recv(_PIECE)):
                head += more
            if not head.startswith(_OK):
                raise _refusal(path, head, sock)
            piece = b"{" + head.removeprefix(_OK)
            while not piece.endswith(b"\n"):
                yield _checked(piece, path)
                piece = sock.recv(_PIECE)
                if not piece:
                    raise HostError(f"control socket {path}: {CUT_OFF}")
            yield _checked(piece, path)
    except TimeoutError:
        raise Silent(f"control socket {path}: no reply within {seconds:.2g} s") from None
    except OSError as error:
        raise HostError(f"control socket {path}: {error.strerror or error}") from None


def _refuse_stopped(path: str, sock: socket.socket) -> None:
    """Raise Silent where the process that listens is stopped (SIGSTOP, a debugger): it would not reply."""
    pid, _, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            state = file.read().rpartition(") ")[2][:1]
    except OSError:  # it has ended, or is of a container that we do not see into
        return
    if state in _STOPPED:
        raise Silent(f"control socket {path}: process {pid} is stopped: `kill -CONT {pid}` lets it go on")


def _checked(piece: bytes, path: str) -> bytes:
    """The piece of a reply: another user's process shall not send escape sequences to root's terminal."""
    if piece.translate(None, _LETTERS):
        raise HostError(f"control socket {path}: the reply has letters that no tunrouter sends")
    return piece


def _refusal(path: str, head: bytes, sock: socket.socket) -> HostError:
    """The error for a reply that is none: in the process's own words, where it has refused the request."""
    while head and not head.endswith(b"\n") and len(head) < MAX_FIRST and (more := sock.recv(_PIECE)):
        head += more
    if not head:
        return HostError(f"control socket {path}: no reply")
    try:
        return HostError(printable(str(_read(head)["error"])))
    except WRONG_SHAPE:
        return HostError(f"control socket {path}: no tunrouter answers there")


def _read(line: bytes) -> dict[str, Any]:
    """A reply, which another user's process may have made up. Raises ValueError for all that is none."""
    try:
        reply = json.loads(line)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if not isinstance(reply, dict):
        raise ValueError("no reply of a tunrouter")
    return reply


def ask(path: str, request: Mapping[str, object], seconds: float = SECONDS) -> dict[str, Any]:
    """Send a request and return the whole reply. Raises HostError without one, or for an error in it."""
    whole = b"".join(stream(path, request, seconds))
    try:
        reply = _read(whole)
    except ValueError:
        raise HostError(f"control socket {path}: no tunrouter answers there") from None
    return reply


def hello(path: str, seconds: float, listeners: frozenset[int]) -> dict[str, Any]:
    """The reply to `hello`, within so many seconds in all.

    `listeners` are the uids whose process may listen there; nothing is sent to one of another user, which a
    symbolic link could have led us to. Raises Silent where somebody listens and does not reply, HostError or
    ValueError where nobody does or it is no tunrouter.
    """
    end = time.monotonic() + seconds
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(seconds)
            sock.connect(path)
            _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            if uid not in listeners:
                raise HostError(f"control socket {path}: a process of another user listens there (uid {uid})")
            _refuse_stopped(path, sock)
            sock.sendall(b'{"do": "hello"}\n')
            line = b""
            while not line.endswith(b"\n") and len(line) < MAX_HELLO:
                sock.settimeout(max(0.001, end - time.monotonic()))
                more = sock.recv(_PIECE)
                if not more:
                    break
                line += more
    except TimeoutError:
        raise Silent(f"control socket {path}: no reply within {seconds:.2g} s") from None
    except OSError as error:
        raise HostError(f"control socket {path}: {error.strerror or error}") from None
    reply = _read(line)
    lists = [reply.get(name) for name in ("hubs", "clients", "files")]
    if not all(isinstance(one, list) and all(isinstance(text, str) for text in one) for one in lists):
        raise ValueError("no hello of a tunrouter")
    if type(reply.get("pid")) is not int:
        raise ValueError("no pid of a process")
    return reply


def ask_on(path: str, request: Mapping[str, object]) -> socket.socket:
    """Send a request for a stream; returns the socket, from which the stream comes next. Raises HostError."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(SECONDS)
        sock.connect(path)
        _refuse_stopped(path, sock)
        sock.sendall(json.dumps(request).encode() + b"\n")
        line = b""
        # not a byte more than the line
        while not line.endswith(b"\n") and len(line) < MAX_FIRST and (more := sock.recv(1)):
            line += more
        if not _read(line or b"{}").get("ok"):
            raise _refusal(path, line, sock)
        sock.settimeout(None)
    except BaseException as error:
        sock.close()
        if isinstance(error, OSError):
            raise HostError(f"control socket {path}: {error.strerror or error}") from None
        if isinstance(error, ValueError):
            raise HostError(f"control socket {path}: no tunrouter answers there") from None
        raise
    return sock
