"""Client of the control socket: finds a running process, sends one request, reads a reply of any size.

Knows: the directory of the sockets, who must own it, how a reply is read while it comes.
Refuses to know: gevent (loading it would cost more than the request), what is asked (cli_show), the other
end (ctl_server).
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
"""How long a process may be silent before it counts as not replying."""
ROW = b"\r"
"""Byte in a reply where a row begins or ends: white space to JSON, and a place to cut (PROTOCOL.md)."""

_OK = b'{"ok": true, '
CUT_OFF = "the reply ends in the middle: the process has ended, or a table has changed; ask again"
_PIECE = 1 << 18


def directory() -> str:
    """The directory of the control sockets of this user's processes."""
    if os.geteuid() == 0:
        return "/run/tunrouter"
    return f"{os.environ.get('XDG_RUNTIME_DIR') or f'/tmp/tunrouter-{os.getuid()}'}/tunrouter"


def default_path() -> str:
    """The path of this process's own control socket, unless --control names another one."""
    return f"{directory()}/{os.getpid()}.sock"


def is_ours(path: str) -> bool:
    """Whether a directory belongs to this user: in /tmp somebody else may have made it first."""
    try:
        return os.stat(path, follow_symlinks=False).st_uid == os.geteuid()
    except OSError:
        return False


def stream(path: str, request: Mapping[str, object]) -> Iterator[bytes]:
    """Send a request and yield the reply in pieces. Raises HostError without one, or for an error in it."""
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
    """Send a request and return the whole reply. Raises HostError without one, or for an error in it."""
    reply: dict[str, Any] = json.loads(b"".join(stream(path, request)))
    return reply


def ask_on(path: str, request: Mapping[str, object]) -> socket.socket:
    """Send a request for a stream; returns the socket, from which the stream comes next. Raises HostError."""
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
    """The path of the control socket of the one running process; `what` "hubs" counts only those with hubs.

    Raises HostError where there is none, ConfigError where there are several.
    """
    found: dict[str, dict[str, Any]] = {}
    where = directory()
    names = sorted(os.listdir(where)) if is_ours(where) and not weak_spot(where) else ()
    for path in (f"{where}/{name}" for name in names if name.endswith(".sock")):
        try:
            reply = ask(path, {"do": "hello"})
        except (HostError, ValueError):
            continue  # left behind by a process that was killed, or one that we may not ask
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
