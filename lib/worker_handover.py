"""Connections handed from the main process to one worker, and the news that they have ended.

    main process -- what a connection is, its descriptor --> worker     a SOCK_SEQPACKET, SCM_RIGHTS (unix(7))
    main process <-- the numbers of those that have ended --- worker     shared memory (worker_ends)

    17 52112 0 0 ::ffff:192.0.2.1 hub     a packet: number, port, flow label, scope, host, name of the service

Knows: which connections a worker has; that neither side needs a greenlet for one, and that the end of one
wakes nobody: to be woken is most of what a connection costs the main process.
Refuses to know: which worker gets a connection (worker_crew), what it is for (worker_listener), all other
messages (worker_channel).
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Callable
from typing import Any

import gevent
import gevent.socket
from gevent import monkey
from gevent.lock import BoundedSemaphore

from lib import worker_channel, worker_ends
from lib.worker_ends import Ends

_DESCRIPTOR = struct.calcsize("i")
_SPACE = socket.CMSG_SPACE(_DESCRIPTOR)
_OriginalSocket = monkey.get_original("socket", "socket")

Over = Callable[[], None]
"""What is done at the end of a connection."""
Take = Callable[[int, Any, str, Over, int], None]
"""Called with each connection in a worker: (its descriptor, address, service, what is called at its end,
its number)."""


class Giver:
    """The main process's side of one worker's connections."""

    def __init__(self, sock: Any, ends: Ends) -> None:
        """Over a socket of gevent's."""
        self._sock, self._ends = sock, ends
        self._given: dict[int, Over] = {}
        self._last = 0
        self._unsent: set[int] = set()
        """Connections that wait until the worker is no more behind: they may go to another one still."""
        self._sending = BoundedSemaphore(1)

    def __len__(self) -> int:
        """How many connections the worker has, with those that have ended since the last settle()."""
        return len(self._given)

    def give(self, service: str, descriptor: int, address: Any, over: Over) -> None:
        """Give it a connection; the descriptor stays open here. `over` is called once it has ended.

        Waits where the worker is behind. Raises OSError where it has died, or the kernel has no room.
        """
        number, data = self._noted(service, address, over)
        beside = _rights(descriptor)
        self._unsent.add(number)
        try:
            with self._sending:
                while not self._sock.sendmsg([data], beside):
                    pass  # gevent's says 0 where there is still no room after it has waited
        except BaseException:
            self._given.pop(number, None)
            raise
        finally:
            self._unsent.discard(number)

    def try_give(self, service: str, descriptor: int, address: Any, over: Over) -> bool:
        """As give(), but never waits: False where that would be needed."""
        if self._sending.locked():
            return False  # others wait
        number, data = self._noted(service, address, over)
        try:
            # Not socket.send_fds(), which leaves out the flags.
            self._sock.sendmsg([data], _rights(descriptor), socket.MSG_DONTWAIT)
        except BlockingIOError:
            del self._given[number]
            return False
        except BaseException:
            self._given.pop(number, None)
            raise
        return True

    def _noted(self, service: str, address: Any, over: Over) -> tuple[int, bytes]:
        """Note a connection; returns its number, and what the worker is told of it."""
        self._last = number = self._last + 1
        self._given[number] = over
        host, port, *more = address
        flow, scope = more or (0, 0)
        text = f"{number} {port} {flow} {scope} {host} {service}"
        return number, text.encode("utf-8", "surrogateescape")

    def holder(self, number: int) -> Over | None:
        """What is called at the end of a connection; None where it has ended."""
        self.settle()
        return self._given.get(number)

    def settle(self) -> bool:
        """Do what is to be done for connections that have ended, some at once; whether there were any."""
        ended = self._ends.take()
        for number in ended:
            if (over := self._given.pop(number, None)) is not None:
                over()
        return bool(ended)

    def close(self) -> None:
        """The worker has ended, and so have all its connections. Whoever still waits gets an OSError."""
        self._sock.close()
        given, self._given = self._given, {}
        for number, over in given.items():
            if number not in self._unsent:
                over()
        self._ends.close()


class Taker:
    """The worker's side."""

    def __init__(self, descriptor: int, file: int, take: Take) -> None:
        """`descriptor` is its end of the socket, `file` the memory for ends; both are taken over.

        `take` is called in the event loop, so it never waits.
        """
        try:
            self._ends = Ends(file)
        finally:
            worker_channel.shut(file)
        self._sock = _OriginalSocket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, descriptor)
        self._sock.setblocking(False)
        self._take, self._data = take, bytearray(worker_channel.MAX_MESSAGE)
        self._readable = gevent.get_hub().loop.io(descriptor, 1)

    def start(self) -> None:
        """Take connections from now on."""
        self._readable.start(self._read)

    def _read(self) -> None:
        """Take one connection (called by the event loop): what else has come has its turn before the next."""
        try:
            size, beside, _, _ = self._sock.recvmsg_into([self._data], _SPACE, socket.MSG_CMSG_CLOEXEC)
        except (BlockingIOError, InterruptedError):
            return
        except ConnectionResetError:
            size = 0
        if not size:  # the main process has ended, which its channel says
            self._readable.stop()
            return
        number, port, flow, scope, host, service = (
            self._data[:size].decode("utf-8", "surrogateescape").split(" ", 5)
        )
        ended, known = self._ends.tell, int(number)
        if not beside:  # there was no descriptor left for it
            ended(known)
            return
        address = (host, int(port), int(flow), int(scope)) if ":" in host else (host, int(port))
        descriptor = int.from_bytes(beside[0][2][:_DESCRIPTOR], sys.byteorder)
        self._take(descriptor, address, service, lambda: ended(known), known)

    def close(self) -> None:
        """Take no more. The memory stays: connections that end are told there."""
        self._readable.stop()
        self._readable.close()
        self._sock.close()


def _rights(descriptor: int) -> list[Any]:
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptor.to_bytes(_DESCRIPTOR, sys.byteorder))]


def made(connections: int) -> tuple[Giver, tuple[int, int]]:
    """A new giver for so many connections at a time, and the descriptors for its Taker. Raises OSError."""
    file = worker_ends.made(connections)
    try:
        ends = Ends(file)
        ours, theirs = worker_channel.pair(gevent.socket.socket)
    except BaseException:
        worker_channel.shut(file)
        raise
    return Giver(ours, ends), (theirs.detach(), file)
