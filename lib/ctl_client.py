"""Asking a running process over its control socket: where that is, one question, a reply of any size.

Knows: the directory sockets are looked for in, whose it must be, how a reply is read while it comes.
Refuses to know: gevent (a question shall not cost its start), what is asked (cli_show), who answers
(ctl_server).
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Mapping
from typing import Any

from lib.ctl_path import weak_spot
from lib.errors import ConfigError, HostError, Position, Problem
from lib.printable import printable

SECONDS = 20.0
"""How long a process may be silent."""
ROW = b"\r"
"""Stands in a reply where a row begins or ends: space to JSON, but a place to cut (PROTOCOL.md)."""

_OK = b'{"ok": true, '
CUT_OFF = "the reply ends in the middle: the process has ended, or a table has changed; ask again"
_PIECE = 1 << 18


def directory() -> str:
    """The directory in which sockets are looked for."""
    if os.geteuid() == 0:
        return "/run/tunrouter"
    return f"{os.environ.get('XDG_RUNTIME_DIR') or f'/tmp/tunrouter-{os.getuid()}'}/tunrouter"


def default_path() -> str:
    """Where a process that is not told otherwise has its socket: a name for each, in one directory."""
    return f"{directory()}/{os.getpid()}.sock"


def is_ours(path: str) -> bool:
    """Whether a directory belongs to us: in /tmp anybody may have made it."""
    try:
        return os.stat(path, follow_symlinks=False).st_uid == os.geteuid()
    except OSError:
        return False


def stream(path: str, request: Mapping[str, object]) -> Iterator[bytes]:
    """The reply to one question in pieces as they come. Raises HostError where there is none, or a no."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(SECONDS)
            sock.connect(path)
            sock.sendall(json.dumps(request).encode() + b"\n")
            head = b""
            while len(head) < len(_OK) and (more := sock.recv(_PIECE)):
                head += more
            if not head.startswith(_OK):
                raise HostError(f"control socket {path}: {_refusal(head, sock)}")
            piece = b"{" + head.removeprefix(_OK)
            while not piece.endswith(b"\n"):
                yield piece
                piece = sock.recv(_PIECE)
                if not piece:
                    raise HostError(f"control socket {path}: {CUT_OFF}")
            yield piece
    except OSError as error:
        raise HostError(f"control socket {path}: {error.strerror or error}") from None


def _refusal(head: bytes, sock: socket.socket) -> str:
    while head and not head.endswith(b"\n") and (more := sock.recv(_PIECE)):
        head += more
    try:
        return printable(str(json.loads(head)["error"])) if head else "no reply"
    except (ValueError, KeyError, TypeError):
        return "no tunrouter answers there"


def ask(path: str, request: Mapping[str, object]) -> dict[str, Any]:
    """Ask one thing. Raises HostError where a process cannot be asked, or says no."""
    reply: dict[str, Any] = json.loads(b"".join(stream(path, request)))
    return reply


def ask_on(path: str, request: Mapping[str, object]) -> socket.socket:
    """The socket on which the rest comes, after the reply to what is streamed. Raises HostError."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(SECONDS)
        sock.connect(path)
        sock.sendall(json.dumps(request).encode() + b"\n")
        line = b""
        while not line.endswith(b"\n") and (more := sock.recv(1)):  # not a byte more than the line
            line += more
        if not json.loads(line or "{}").get("ok"):
            raise HostError(f"control socket {path}: {_refusal(line, sock)}")
        sock.settimeout(None)
    except BaseException as error:
        sock.close()
        if isinstance(error, OSError):
            raise HostError(f"control socket {path}: {error.strerror or error}") from None
        if isinstance(error, ValueError):
            raise HostError(f"control socket {path}: no tunrouter answers there") from None
        raise
    return sock


def running(what: str = "") -> str:
    """The control socket of the one process that runs here, of those with any `what` ("hubs").

    Raises HostError where there is none, ConfigError where there are several.
    """
    found: dict[str, dict[str, Any]] = {}
    where = directory()
    names = sorted(os.listdir(where)) if is_ours(where) and not weak_spot(where) else ()
    for path in (f"{where}/{name}" for name in names if name.endswith(".sock")):
        try:
            reply = ask(path, {"do": "hello"})
        except (HostError, ValueError):
            continue  # left behind by a process that was killed, or not ours to ask
        if not what or reply[what]:
            found[path] = reply
    who = what[:-1] or "tunrouter"
    if len(found) == 1:
        return next(iter(found))
    if not found:
        raise HostError(f"no running {who} has a control socket in {where}; name one with --control PATH")
    several = [
        Problem(Position(path), f"pid {one['pid']}, {', '.join(one['hubs'] + one['clients'] + one['files'])}")
        for path, one in found.items()
    ]
    wrong = Problem(
        Position("--control"), f"several {who}s run here", "name one of the above with --control PATH"
    )
    raise ConfigError([*several, wrong])
