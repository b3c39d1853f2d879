"""Unix sockets of a process at a path: made, given to the user that it becomes, removed.

Knows: who may connect, whose directory it may be in, what is left there by others.
Refuses to know: what is asked there (ctl_server, metrics_server, api_server).
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path
from typing import Any

import gevent.socket as gsocket

from lib.ctl_find import directory, is_ours
from lib.ctl_path import weak_spot
from lib.service_threads import aside

MAX_PATH = 107
"""Bytes of a unix socket's path (sockaddr_un)."""
GIVE_SECONDS = 1.0
"""How long the end of the process waits for the disk of the socket's file."""


class UnixSocket:
    """A unix socket that listens at a path until it is removed."""

    def __init__(self, path: str, backlog: int, private: bool, guarded: bool = False) -> None:
        """Make the directory, replace a socket that nobody listens on, and listen. Raises OSError.

        A `private` one is its owner's alone, from the first moment; who may use another, the umask says. A
        `guarded` one is refused where somebody else could put another socket in its place.
        """
        self.path = path
        self._has_made_directory = take_path(path, guarded)
        self.sock = _listening(path, backlog, private)
        self._inode = os.stat(path).st_ino

    def give_to(self, user: int) -> None:
        """Make a user the owner of the socket, and let everybody find it in the usual directory.

        A directory that was made for it goes with it. The mode of the socket still decides who may connect.
        Raises OSError.
        """
        # By a descriptor: who may write to the directory could have put something else there meanwhile.
        descriptor = os.open(self.path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISSOCK(found.st_mode) or found.st_ino != self._inode:
                raise FileNotFoundError(errno.ENOENT, "another process has replaced it")
            os.chown(f"/proc/self/fd/{descriptor}", user, -1)
        finally:
            os.close(descriptor)
        place = str(Path(self.path).parent)
        if place == directory():
            os.chmod(place, 0o755)
        elif self._has_made_directory:
            os.chown(place, user, -1, follow_symlinks=False)

    def remove(self) -> None:
        """Remove the socket's file, unless another process has replaced it."""

        def remove() -> None:
            if os.stat(self.path).st_ino == self._inode:
                os.unlink(self.path)

        try:
            aside(self.path, remove, seconds=GIVE_SECONDS)
        except OSError:
            pass  # somebody has removed it already, or its disk hangs


def take_path(path: str, guarded: bool = False) -> bool:
    """Make the directory and remove what is left there; returns whether the directory is new.

    Raises OSError where the path cannot be had. `guarded` as in UnixSocket.
    """
    if len(os.fsencode(path)) > MAX_PATH:
        raise OSError(errno.ENAMETOOLONG, f"a socket's path has at most {MAX_PATH} bytes")
    parent = Path(path).parent
    if guarded:
        _refuse_weak(parent)  # before anything is made there
    is_new = not parent.exists()
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if guarded:
        _refuse_weak(parent)
    if str(parent) == directory() and not is_ours(str(parent)):
        raise PermissionError(errno.EACCES, f"{parent} belongs to somebody else")
    _clear(path)
    return is_new


def _listening(path: str, backlog: int, private: bool) -> Any:
    sock = gsocket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177) if private else None
    try:
        sock.bind(path)
    finally:
        if mask is not None:
            os.umask(mask)
    sock.listen(backlog)
    return sock


def _refuse_weak(directory_: Path) -> None:
    weak = weak_spot(str(directory_))
    if weak:
        raise PermissionError(errno.EACCES, weak)


def _clear(path: str) -> None:
    """Remove a socket that nobody listens on. Raises OSError where the path is anything else."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise FileExistsError(17, "is there already, and is no socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.setblocking(False)  # a process that stands still (Ctrl-Z) accepts nobody, and has a full queue
        try:
            sock.connect(path)
        except BlockingIOError:
            pass
        except ConnectionRefusedError:
            os.unlink(path)
            return
    raise FileExistsError(17, "somebody listens there already")
