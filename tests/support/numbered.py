"""A flow of numbered messages between two namespaces, over UDP or TCP: which arrive, when, and in which order."""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
import threading
import time
from collections.abc import Iterable, Iterator

from tests.support.netns import Namespace, in_namespace

_NUMBER = struct.Struct("!I")
EVERY = 0.01
SO_RCVBUFFORCE = 33
"""asm-generic/socket.h; not in Python's socket module."""
STALL = 0.05
"""By so many seconds a thread wakes too late where it was not let run."""


class Numbered:
    """A message each EVERY seconds, or so many, from when it begins until it is left."""

    def __init__(self, sender: socket.socket, receiver: socket.socket, every: float = EVERY) -> None:
        self.sent, self._every = 0, every
        self.arrived: list[tuple[int, float]] = []
        """(number, when) of each message."""
        self._stalls: list[tuple[float, float]] = []
        """(from, until): when the machine let our own threads wait, and so perhaps everybody."""
        self._over = threading.Event()
        self._sender, self._receiver = sender, receiver
        self._threads = [threading.Thread(target=one, daemon=True) for one in (self._send, self._receive)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(OSError):
                self._sender.sendall(_NUMBER.pack(self.sent))
            self.sent += 1
            due = time.monotonic() + self._every
            time.sleep(self._every)
            if (now := time.monotonic()) > due + STALL:
                self._stalls.append((due, now))

    def _receive(self) -> None:
        rest = b""
        while True:
            try:
                data = self._receiver.recv(65536)
            except TimeoutError:
                if self._over.is_set():
                    return
                continue
            if not data:
                return
            rest += data
            while len(rest) >= _NUMBER.size:
                self.arrived.append((_NUMBER.unpack_from(rest)[0], time.monotonic()))
                rest = rest[_NUMBER.size :]

    def wait(self, more: int) -> None:
        """Wait until so many more have arrived."""
        wait((self,), more)

    def end(self) -> None:
        """Send no more; of several flows that all end, what is on the way is awaited at the same time then."""
        self._over.set()

    def stop(self) -> None:
        """End; what is on the way arrives."""
        self.end()
        for thread in self._threads:
            thread.join(5)

    @property
    def numbers(self) -> list[int]:
        return [number for number, _ in self.arrived]

    @property
    def longest_gap(self) -> float:
        """Seconds between two messages that arrived one after the other, at most, without stalls of the machine."""
        times = [at for _, at in self.arrived]
        return max(self._without_stalls(*both) for both in itertools.pairwise(times))

    def _without_stalls(self, before: float, after: float) -> float:
        stalled = (min(after, end) - max(before, start) for start, end in self._stalls)
        return after - before - sum(max(0.0, seconds) for seconds in stalled)

    @property
    def longest_overtaken(self) -> float:
        """Seconds by which a message arrived after a later one, at most, without stalls of the machine."""
        longest, newest = 0.0, [(-1, 0.0)]
        for number, at in self.arrived:
            if number > newest[-1][0]:
                newest.append((number, at))
            else:
                since = next(when for later, when in newest if later > number)
                longest = max(longest, self._without_stalls(since, at))
        return longest

    @property
    def lost(self) -> list[int]:
        return sorted(set(range(self.sent)) - set(self.numbers))


def wait(flows: Iterable[Numbered], more: int) -> None:
    """Wait until so many more of each flow have arrived."""
    until, least = time.monotonic() + 30, [(flow, len(flow.arrived) + more) for flow in flows]
    for flow, number in least:
        while len(flow.arrived) < number:
            assert time.monotonic() < until, f"{len(flow.arrived)} of {flow.sent} have arrived"
            time.sleep(EVERY)


@contextlib.contextmanager
def udp(
    sender: Namespace, receiver: Namespace, source: str, address: str, port: int, every: float = EVERY
) -> Iterator[Numbered]:
    """A flow of UDP datagrams."""
    with in_namespace(receiver.name):
        to = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with in_namespace(sender.name):
        by = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with to, by:
        to.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20)  # for as long as nothing lets us read
        to.bind((address, port))
        to.settimeout(0.5)
        by.bind((source, port))
        by.connect((address, port))
        flow = Numbered(by, to, every)
        try:
            yield flow
        finally:
            flow.stop()


@contextlib.contextmanager
def tcp(sender: Namespace, receiver: Namespace, address: str, port: int) -> Iterator[Numbered]:
    """A TCP connection that is written to a little at a time."""
    with in_namespace(receiver.name):
        server = socket.create_server((address, port))
    with server, in_namespace(sender.name):
        by = socket.create_connection((address, port), timeout=10)
        to, _ = server.accept()
    with to, by:
        by.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        to.settimeout(0.5)
        flow = Numbered(by, to)
        try:
            yield flow
        finally:
            flow.stop()
