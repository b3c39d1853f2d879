"""A channel between two processes of one tunrouter: whole messages, each perhaps with descriptors.

    {"do": "link", …} and a descriptor     one packet of a SOCK_SEQPACKET, SCM_RIGHTS (unix(7))

Knows: how a message and its descriptors are sent together, and that what is long goes by a file in memory.
Refuses to know: which messages there are (worker_crew, worker_process, worker_forker).
"""

from __future__ import annotations

import json
import os
import socket
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import gevent.socket
from gevent import monkey
from gevent.lock import BoundedSemaphore

MAX_MESSAGE = 1 << 16
"""Bytes of a message; what may be longer is put into a file in memory (`held`)."""
PIECE = 1 << 20
"""Bytes of a file in memory that are written or read at once."""
_SPACE = socket.CMSG_SPACE(3 * array("i", [0]).itemsize)
"""For three descriptors, which is as many as a message has ("begin", where there is an entrypoint)."""

shut: Any = monkey.get_original("os", "close")
"""Closes a descriptor at once. gevent's close waits for its loop, and the process that forks has none."""


class Channel:
    """One end of a channel, over a connected socket of the system or of gevent."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._message = bytearray(MAX_MESSAGE)
        # Only one greenlet can wait for a socket. In the process that forks nobody waits beside another one.
        has_greenlets = isinstance(sock, gevent.socket.socket)
        self._sending: Any = BoundedSemaphore(1) if has_greenlets else nullcontext()

    def send(self, message: Mapping[str, object], *descriptors: int) -> None:
        """Send a message; its descriptors stay open here. Raises OSError where the other end has gone."""
        data, beside = _packed(message, descriptors)
        with self._sending:
            while not self._sock.sendmsg([data], beside):
                pass  # gevent's says 0 where there is still no room after it has waited

    def receive(self) -> tuple[dict[str, Any], list[int]] | None:
        """The next message with its descriptors, which are the caller's to close; None at the end."""
        try:
            # socket.recv_fds() would leave the descriptors open in programs that are started.
            into = [self._message]  # a new one for each message would be memory mapped and unmapped
            size, beside, _, _ = self._sock.recvmsg_into(into, _SPACE, socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError:
            return None
        found = array("i")
        for level, kind, content in beside:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                found.frombytes(content[: len(content) - len(content) % found.itemsize])
        return (json.loads(self._message[:size]), list(found)) if size else None

    def fileno(self) -> int:
        """The socket's descriptor."""
        number: int = self._sock.fileno()
        return number

    def close(self) -> None:
        """Close this end: the other one sees the end."""
        self._sock.close()


def _packed(message: Mapping[str, object], descriptors: Sequence[int]) -> tuple[bytes, list[Any]]:
    """(a message's bytes, what goes beside them)."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))] if descriptors else []
    return json.dumps(message).encode(), rights


def pair(make: Any = socket.socket) -> tuple[Any, Any]:
    """Two connected sockets for a channel; `make` is the class of a socket of the system or of gevent."""
    ours, theirs = _connected(socket.SOCK_SEQPACKET)
    return make(fileno=ours), make(fileno=theirs)


def stream_pair() -> tuple[int, int]:
    """The descriptors of two connected sockets for bytes."""
    return _connected(socket.SOCK_STREAM)


def _connected(kind: int) -> tuple[int, int]:
    one, other = socket.socketpair(socket.AF_UNIX, kind)
    return one.detach(), other.detach()


def held(data: bytes, step: Callable[[], None] = lambda: None) -> int:
    """The descriptor of a file in memory that holds these bytes. Raises OSError.

    Calls `step` after each little piece of work, as the functions below do.
    """
    file = os.memfd_create("tunrouter", os.MFD_CLOEXEC)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(file, view[:PIECE]) :]
            step()
    except BaseException:
        shut(file)
        raise
    return file


def pieces(file: int, step: Callable[[], None] = lambda: None) -> Iterator[bytes]:
    """What a file in memory holds, piece by piece; it stays open, and others may read it meanwhile."""
    at = 0
    while piece := os.pread(file, PIECE, at):
        yield piece
        at += len(piece)
        step()


def read(file: int, step: Callable[[], None] = lambda: None) -> bytes:
    """What a file in memory holds; closes it."""
    try:
        return b"".join(pieces(file, step))
    finally:
        shut(file)
